"""From gradients to pruned weights: the problem, one stage, several, and training in between."""
