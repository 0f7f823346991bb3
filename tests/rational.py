"""The optimum of tiny instances in rational arithmetic: nothing here is rounded, and nothing calls the package."""

from fractions import Fraction

import numpy as np
import reference


class NotSemidefinite(Exception):
    """A Gram matrix that has a negative eigenvalue, however small: the problem has no optimum."""


class Exact:
    """The objective of an instance, as q(w) = 1/2 w'Hw - g'w + constant with rational H, g and constant.

    Floats are rational numbers, so that H and g are those that the instance means, to the last bit.
    """

    def __init__(self, H, g, constant, k):
        self.H, self.g, self.constant, self.k, self.p = H, g, constant, k, len(g)

    @classmethod
    def of(cls, A, b, k, ridge=0.0, w0=None, linear=None):
        """From the arguments of a problem."""
        A, b = rational(A), rational(b)
        H = [[sum((row[i] * row[j] for row in A), Fraction(0)) for j in range(len(A[0]))] for i in range(len(A[0]))]
        g = [sum((row[i] * y for row, y in zip(A, b, strict=True)), Fraction(0)) for i in range(len(H))]
        return cls(H, g, sum((y * y for y in b), Fraction(0)) / 2, k).with_terms(ridge, w0, linear)

    @classmethod
    def of_gram(cls, H, g, k, const=0.0, ridge=0.0, w0=None):
        """From the arguments of `Problem.from_gram`."""
        return cls(rational(H), rational(g), Fraction(const), k).with_terms(ridge, w0, None)

    def with_terms(self, ridge, w0, linear):
        ridge = Fraction(ridge)
        w0 = rational(np.zeros(self.p) if w0 is None else w0)
        linear = rational(np.zeros(self.p) if linear is None else linear)
        for i in range(self.p):
            self.H[i][i] += 2 * ridge
            self.g[i] += 2 * ridge * w0[i] - linear[i]
        self.constant += ridge * sum((v * v for v in w0), Fraction(0))
        return self

    def objective(self, w) -> Fraction:
        w = rational(w)
        S = [i for i in range(self.p) if w[i]]
        return self.constant + sum(
            (w[i] * (sum((self.H[i][j] * w[j] for j in S), Fraction(0)) / 2 - self.g[i]) for i in S), Fraction(0)
        )

    def least(self, support) -> Fraction:
        """The least objective on a support: constant - 1/2 g_S'H_SS^-1 g_S, by elimination."""
        S = [int(i) for i in support]
        H, g = [[self.H[i][j] for j in S] for i in S], [self.g[i] for i in S]
        value, left = self.constant, list(range(len(S)))
        while left:
            pivot = max(left, key=lambda i: H[i][i])
            if H[pivot][pivot] <= 0:
                # What is left of a semidefinite matrix without a positive pivot is zero, and so is what is left of g.
                if any(H[i][j] for i in left for j in left) or any(g[i] for i in left):
                    raise NotSemidefinite
                break
            left.remove(pivot)
            value -= g[pivot] ** 2 / H[pivot][pivot] / 2
            for i in left:
                share = H[i][pivot] / H[pivot][pivot]
                if share:
                    g[i] -= share * g[pivot]
                    for j in left:
                        H[i][j] -= share * H[pivot][j]
        return value

    def optimum(self) -> Fraction:
        return min(self.least(support) for support in reference.largest_supports(self.k, self.p))

    def unconstrained(self) -> Fraction:
        return self.least(range(self.p))


def rational(array):
    """The entries as fractions, in nested lists."""
    array = np.asarray(array)
    if array.ndim == 1:
        return [Fraction(float(each)) for each in array]
    return [[Fraction(float(each)) for each in row] for row in array]


def is_semidefinite(M) -> bool:
    """Whether a symmetric matrix of rationals is positive semidefinite, by elimination."""
    M, left = [list(row) for row in M], list(range(len(M)))
    while left:
        pivot = max(left, key=lambda i: M[i][i])
        if M[pivot][pivot] <= 0:
            return not any(M[i][j] for i in left for j in left)
        left.remove(pivot)
        for i in left:
            share = M[i][pivot] / M[pivot][pivot]
            for j in left:
                M[i][j] -= share * M[pivot][j]
    return True
