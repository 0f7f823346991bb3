"""Proven optima: branch and bound on the perspective relaxation."""
