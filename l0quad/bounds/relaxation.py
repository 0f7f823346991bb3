"""The perspective relaxation, solved by proximal points and Newton steps on the dual.

With h the convex part that the budget and the ridge term relax to, the relaxation is

    minimise  P(w) = 1/2 ||A w - b||^2 + h(w),
    h(w) = mu/2 ||w - w0||^2 + mu/2 min_z sum_i w_i^2 (1/z_i - 1),   z a mean of indicators of allowed supports.

From a centre w_t, the proximal point min P(w) + ||w - w_t||^2 / (2 sigma) has the smooth dual
max_nu Phi(nu) in n dimensions, with gradient A w(nu) - b - nu, where w(nu) = prox_{sigma h}(w_t - sigma A'nu) and

    w(nu)_i = x_i z_i / (z_i + beta),  x = w_t + sigma (mu w0 - A'nu),  beta = sigma mu,

z being the constraint's relaxed support for x (`Constraint.relaxed`): for a budget, z_i = clip(|x_i| / c - beta, 0, 1)
with the c at which they add up to it. Every nu also gives the bound D(nu) of `l0quad.bounds`.
Source: Li, Sun and Toh, "A highly efficient semismooth Newton augmented Lagrangian method for solving lasso
problems", SIAM J. Optim. 28 (2018), Algorithms SSNAL and SSN, with this h in place of the l1 norm.
"""

from typing import Any, NamedTuple

import numpy as np

from l0quad.bounds.dual import dual_bound
from l0quad.certificates import Bound
from l0quad.linalg.cholesky import factored_in_place
from l0quad.linalg.pieces import pieces
from l0quad.linalg.symmetric import block_rows
from l0quad.matrix.sweeps import Outer, as_numbers, compact, size_of, union
from l0quad.problem.constraints.base import Jacobian, RankOnes, Some
from l0quad.problem.core import CoreProblem, Point
from l0quad.types import BoolArray, ColumnSet, FloatArray, IntArray

# Beyond this many rows the Newton system is solved by conjugate gradients instead of a factorization.
DENSE_ROWS = 4096
# Up to this share of the rows, the columns that are active make a smaller system.
FEW = 0.5
# The first sigma is short of the ridge's own scale, which keeps the first Newton problems smooth; then it doubles. A
# proximal point is reached when the gradient accounts for at most this share of the primal-dual gap.
_FIRST_SIGMA = 0.1
SIGMA_GROWTH = 2.0
_LAST_SIGMA = 1e7
_INNER_SHARE = 0.5
_SMALLEST_STEP = 2.0**-11
_STATE = ("centre", "nu", "Atnu", "reach", "primal", "sigma")


class Prox(NamedTuple):
    """What w(nu) and its Jacobian come from; ``beta`` is sigma mu, ``x`` brings its entries on some columns.

    x is as long as w0 and costs a few operations an entry, so that it is not held.
    """

    z: FloatArray
    x: Some
    beta: float

    @property
    def w(self) -> FloatArray:
        """w(nu), computed anew."""
        return self._replace(z=self.z.copy()).last_w()

    def last_w(self) -> FloatArray:
        """Return the same in the memory of z, which holds something else from then on."""
        for here in pieces(self.z.size):
            share = self.z[here]
            w = self.x(here)
            w *= share
            share += self.beta
            np.divide(w, share, out=share)
        return self.z

    def pull(self) -> float:
        """Return ``sum x^2 z / (z + beta)``."""
        return sum(_pull(self.z[here], self.x(here), self.beta) for here in pieces(self.z.size))


class Relaxation:
    """The state of the ascent: `step` does one Newton step and moves the centre when its proximal point is reached.

    Attributes
    ----------
    nu : ndarray of shape (n,)
        The dual point; ``Atnu`` is A'nu, added up over steps, and ``reach`` the sizes of what it was added up from.
    primal : float
        The least value of the relaxation seen, an upper bound on its optimum.
    """

    def __init__(
        self, problem: CoreProblem, point: Point, nu: FloatArray | None = None, Atnu: FloatArray | None = None
    ) -> None:
        self.problem = problem
        self.centre = np.zeros(problem.shape[1])
        self.centre[point.support] = point.w
        if nu is None and point.refit is not None:
            nu, Atnu = point.refit.nu, point.refit.Atnu
        self.nu = problem.residual(point.support, point.w) if nu is None else nu
        self.Atnu = problem.matrix.rmatvec(self.nu) if Atnu is None else Atnu
        self.reach = float(np.linalg.norm(self.nu))
        self.primal = point.objective
        self.sigma = _FIRST_SIGMA / problem.mu
        self._outer_ones = SlowlyChangingOuter(problem)
        self._outer_between = SlowlyChangingOuter(problem)

    def state(self) -> dict[str, Any]:
        """Return all that further steps depend on; none of its arrays will be changed."""
        outers = [each.state() for each in self._outers]
        return {name: getattr(self, name) for name in _STATE} | {"outers": outers}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state` of an ascent that began at the same point."""
        for name in _STATE:
            setattr(self, name, state[name])
        for outer, each in zip(self._outers, state["outers"], strict=True):
            outer.restore(*each)

    @property
    def _outers(self) -> "tuple[SlowlyChangingOuter, ...]":
        """The products that are kept from step to step, with the rounding of all their changes."""
        return self._outer_ones, self._outer_between

    def bound(self) -> Bound:
        """Return what the dual point proves."""
        return dual_bound(self.problem, self.nu, self.Atnu, reach=self.reach)

    def point(self) -> FloatArray:
        """Return the dense w that belongs to the dual point."""
        return self._prox(self.Atnu).last_w()

    @property
    def exhausted(self) -> bool:
        """Whether the proximal term has become so weak that what remains of the gap is rounding."""
        return self.sigma * self.problem.mu > _LAST_SIGMA

    def step(self, dual: float) -> None:
        """Do one Newton step; ``dual`` is the best D so far, which says how exact a proximal point needs to be."""
        prox = self._prox(self.Atnu)
        w = prox.w
        Aw = self._product(w)
        gradient = Aw - self.problem.b - self.nu
        self.primal = min(self.primal, self._value(Aw, self._penalty(w)))
        if self._reached(gradient, dual):
            self.centre = w
            self.sigma *= SIGMA_GROWTH
            self.Atnu = self.problem.matrix.rmatvec(self.nu)
            self.reach = float(np.linalg.norm(self.nu))
            prox = self._prox(self.Atnu)
            gradient = self._product(prox.w) - self.problem.b - self.nu
        direction = self._newton_direction(gradient, *self._active(prox), prox.beta)
        self._search(self._conjugate(prox), gradient, direction, self.problem.matrix.rmatvec(direction))

    def _reached(self, gradient: FloatArray, dual: float) -> bool:
        """Whether the point is as close to the proximal point as it needs to be."""
        return 0.5 * float(gradient @ gradient) <= _INNER_SHARE * max(self.primal - dual, 0.0)

    def _prox(self, Atnu: FloatArray) -> Prox:
        return self._prox_from(self.centre, self.sigma, Atnu.__getitem__)

    def _prox_from(self, centre: FloatArray, sigma: float, Atnu: Some) -> Prox:
        mu, w0 = self.problem.mu, self.problem.w0

        def x(here: slice | IntArray) -> FloatArray:
            some = mu * w0[here]
            some -= Atnu(here)
            some *= sigma
            some += centre[here]
            return some

        z, beta = np.empty(centre.size), sigma * mu
        for here in pieces(z.size):
            z[here] = x(here)
        return Prox(self.problem.constraint.relaxed_in_place(z, beta), x, beta)

    def _product(self, w: FloatArray) -> FloatArray:
        """Return A w."""
        support = np.flatnonzero(w)
        return self.problem.matrix.matvec(support, w[support])

    def _active(self, prox: Prox) -> tuple[IntArray, Jacobian]:
        """Return the columns with z = 1, and the Jacobian in between."""
        return np.flatnonzero(prox.z == 1), self.problem.constraint.jacobian(prox.x, prox.z, prox.beta)

    def _value(self, Aw: FloatArray, penalty: float) -> float:
        """Return P(w)."""
        r = Aw - self.problem.b
        return 0.5 * float(r @ r) + penalty + self.problem.constant

    def _penalty(self, w: FloatArray) -> float:
        """Return h(w)."""
        z = self.problem.constraint.relaxed(w, 0.0)
        used = z > 0
        np.divide(1.0, z, out=z, where=used)
        np.subtract(z, 1.0, out=z, where=used)
        z *= w
        split = float(z @ w)
        del z, used
        pull = w - self.problem.w0
        return 0.5 * self.problem.mu * (float(pull @ pull) + split)

    def _conjugate(self, prox: Prox) -> float:
        """Return the maximum over w of ``<x, w> / sigma - h(w) - ||w||^2 / (2 sigma)``, at w = x z / (z + beta).

        With the h of w0 = 0: the problem's w0 is in x.
        """
        # beta is sigma mu, of the sigma that the prox belongs to.
        return prox.pull() * self.problem.mu / (2 * prox.beta)

    def _conjugate_after(self, step: float, Atd: FloatArray) -> float:
        """Return the same at A'nu + step A'd, with one vector as long as w0."""
        moved = self._prox_from(self.centre, self.sigma, lambda here: self.Atnu[here] + step * Atd[here])
        return self._conjugate(moved)

    def _inner_value(self, nu: FloatArray, conjugate: float) -> float:
        """Return Phi(nu) up to a constant."""
        return -0.5 * float(nu @ nu) - float(self.problem.b @ nu) - conjugate

    def _newton_direction(self, gradient: FloatArray, ones: ColumnSet, between: Jacobian, beta: float) -> FloatArray:
        """Solve ``(I + sigma A V A') d = gradient``, V the generalized Jacobian of the prox.

        V is 1/(1 + beta) where z = 1, and in between what the constraint says (`Constraint.jacobian`).
        """
        n, active = self.problem.shape[0], size_of(ones) + size_of(between.columns)
        if active <= min(FEW * n, DENSE_ROWS):
            return self._newton_by_columns(gradient, as_numbers(ones), between, beta)
        rank = sum(each.weights.size for each in between.rank_ones)
        if n > DENSE_ROWS or rank > n:
            return self._newton_by_cg(gradient, as_numbers(ones), between, beta)
        system = (self.sigma / (1 + beta)) * self._outer_ones(ones)
        terms = between.rank_ones if between.columns.size else ()
        coupled = [self._combined_columns(between, each) for each in terms]
        weighted = self._weighted_outer(between)
        # Of n x n matrices there are enough: no further one, and the factor lies in this one's place.
        for first in range(0, n, block_rows(n)):
            rows = slice(first, first + block_rows(n))
            system[rows] += self.sigma * weighted[rows]
            for vectors, each in zip(coupled, terms, strict=True):
                system[rows] += (vectors[rows] * (self.sigma * each.weights)) @ vectors.T
        with factored_in_place(system, 1.0) as factored:
            return gradient if factored is None else factored.solve(gradient)

    def _newton_by_columns(self, gradient: FloatArray, ones: IntArray, between: Jacobian, beta: float) -> FloatArray:
        """Solve it by Woodbury's identity, where few columns S are active.

        ``d = gradient - sigma A_S (I + sigma V A_S'A_S)^-1 V A_S' gradient``.
        """
        A_S = self._columns(np.concatenate([ones, between.columns]))
        V = np.zeros((A_S.shape[1], A_S.shape[1]))
        V[: ones.size, : ones.size] = np.eye(ones.size) / (1 + beta)
        V[ones.size :, ones.size :] = _times(between, np.eye(between.columns.size))
        try:
            x = np.linalg.solve(np.eye(V.shape[0]) + self.sigma * (V @ (A_S.T @ A_S)), V @ (A_S.T @ gradient))
        except np.linalg.LinAlgError:
            return gradient
        direction = gradient - self.sigma * (A_S @ x)
        return direction if float(direction @ gradient) > 0 else gradient

    def _columns(self, columns: IntArray) -> FloatArray:
        return np.asarray(self.problem.matrix.take(columns), dtype=np.float64)

    def _weighted_outer(self, between: Jacobian) -> FloatArray:
        """Return A_S diag(d) A_S' for the columns in between."""
        if between.diagonal is None:
            return self._outer_between(between.columns)
        total = np.zeros((self.problem.shape[0], self.problem.shape[0]))
        for piece, block in self.problem.matrix.sweep(as_numbers(between.columns)):
            total += (block * between.diagonal[piece]) @ block.T
        return total

    def _combined_columns(self, between: Jacobian, terms: RankOnes) -> FloatArray:
        """Return A_S v_q for each rank-one term q, n x (number of terms)."""
        matrix, columns = self.problem.matrix, as_numbers(between.columns)
        total = np.zeros((self.problem.shape[0], terms.weights.size))
        for piece in matrix.pieces(columns):
            spread = np.zeros((columns[piece].size, terms.weights.size))
            spread[np.arange(spread.shape[0]), terms.home[piece]] = terms.values[piece]
            total += matrix.take(columns[piece]) @ spread
        return total

    def _newton_by_cg(self, gradient: FloatArray, ones: IntArray, between: Jacobian, beta: float) -> FloatArray:
        from scipy.sparse.linalg import LinearOperator, cg

        # In order, because a view of all columns has them so.
        columns = np.union1d(ones, between.columns)
        at_one, inside = np.searchsorted(columns, ones), np.searchsorted(columns, between.columns)
        A_S, chosen = self.problem.matrix.view(columns) if columns.size else (self.problem.matrix, columns)

        def product(d: FloatArray) -> FloatArray:
            t = A_S.rmatvec(np.asarray(d).ravel(), chosen)
            t[at_one] /= 1 + beta
            if inside.size:
                t[inside] = _times(between, t[inside])
            return np.asarray(d).ravel() + self.sigma * A_S.matvec(chosen, t)

        n = gradient.size
        return np.asarray(
            cg(LinearOperator((n, n), matvec=product, dtype=np.float64), gradient, rtol=1e-3, maxiter=200)[0]
        )

    def _search(self, conjugate: float, gradient: FloatArray, direction: FloatArray, Atd: FloatArray) -> None:
        """Move nu along an ascent direction of Phi, halving the step until Phi rises enough (Armijo).

        ``Atd`` becomes the new A'nu.
        """
        value, slope, step = self._inner_value(self.nu, conjugate), float(gradient @ direction), 1.0
        while True:
            nu = self.nu + step * direction
            trial = self._inner_value(nu, self._conjugate_after(step, Atd))
            if trial >= value + 1e-4 * step * slope or step <= _SMALLEST_STEP:
                break
            step /= 2
        Atd *= step
        Atd += self.Atnu
        self.nu, self.Atnu = nu, Atd
        # The product of each step and the addition round; twice, because steps may cancel each other.
        self.reach += 2 * (step * float(np.linalg.norm(direction)) + float(np.linalg.norm(nu)))


class SlowlyChangingOuter:
    """A_S A_S' for a set S that changes by a few columns from call to call."""

    def __init__(self, problem: CoreProblem) -> None:
        self._matrix, self._size = problem.matrix, problem.shape[1]
        # Bits, because it is held while all else is.
        self._inside = np.packbits(np.zeros(self._size, dtype=np.bool_))
        self._outer: FloatArray | None = None

    def state(self) -> tuple[np.ndarray, FloatArray | None]:
        """Return the set, as bits, and a copy of its product."""
        return self._inside, None if self._outer is None else self._outer.copy()

    def restore(self, inside: np.ndarray, outer: FloatArray | None) -> None:
        """Go on from a state."""
        self._inside, self._outer = inside, None if outer is None else outer.copy()

    def changes(self, columns: ColumnSet) -> Outer:
        """Return the columns to add and to take away since the last set, onto its product."""
        if self._outer is None:
            self._outer = np.zeros((self._matrix.shape[0], self._matrix.shape[0]))
        return self.since(columns)._replace(onto=self._outer)

    def since(self, columns: ColumnSet, before: ColumnSet | None = None) -> Outer:
        """Return the columns to add and to take away since another set, or since the last; the product stays."""
        if before is None:
            leaving: BoolArray = np.unpackbits(self._inside, count=self._size).view(np.bool_)
        else:
            leaving = union((before,), self._size)
        staying = union((columns,), self._size)
        added = compact(np.greater(staying, leaving))
        return Outer(added, compact(np.greater(leaving, staying, out=leaving)))

    def change(self, columns: ColumnSet, found: FloatArray) -> FloatArray:
        """Take over what a sweep has brought of these changes; return the product."""
        if self._outer is None:
            self._outer = found
        elif found is not self._outer:
            self._outer += found
        self._inside = np.packbits(union((columns,), self._size))
        return self._outer

    def __call__(self, columns: ColumnSet) -> FloatArray:
        """Return A_S A_S' for these columns, from that of the last ones where few have changed."""
        added, removed = (as_numbers(each) for each in self.since(columns)[:2])
        if self._outer is not None and added.size + removed.size == 0:
            return self._outer
        if self._outer is None or added.size + removed.size >= size_of(columns):
            self._outer = self._matrix.outer(as_numbers(columns))
        else:
            self._outer += self._matrix.outer(added)
            self._outer -= self._matrix.outer(removed)
        self._inside = np.packbits(union((columns,), self._size))
        return self._outer


def _pull(z: FloatArray, x: FloatArray, beta: float) -> float:
    """Return ``sum x^2 z / (z + beta)``."""
    share = z + beta
    np.divide(z, share, out=share)
    share *= x
    return float(share @ x)


def _times(jacobian: Jacobian, t: FloatArray) -> FloatArray:
    """Return the product of a Jacobian with a vector over its columns, or with several vectors, the columns of t."""
    product = t.copy() if jacobian.diagonal is None else (jacobian.diagonal * t.T).T
    for values, home, weights in jacobian.rank_ones:
        inner = np.zeros((weights.size, *t.shape[1:]))
        np.add.at(inner, home, (values * t.T).T)
        product += (values * ((weights * inner.T).T)[home].T).T
    return product
