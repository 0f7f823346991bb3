"""Published pruning methods to compare with, one a file, in NumPy alone."""
