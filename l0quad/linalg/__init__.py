"""Factorizations of dense matrices: Cholesky, orthogonal, and the factor of a Gram matrix."""
