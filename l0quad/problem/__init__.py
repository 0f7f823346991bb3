"""The problem: as the user states it, its units, and what solvers see of it."""
