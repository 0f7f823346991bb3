"""The ascent of `Relaxation` where passes over A are counted: two sweeps a step, and refits that ride along.

    sweep 1     A w(nu), and what the Newton system needs: A_S A_S' as far as S has changed, or few columns themselves;
                the same for the next centre, which is known before it is known whether it is reached
    sweep 2     A'd for the direction d

A refit on a support asks of the same sweeps what `l0quad.problem.counted` asks of two of its own.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from l0quad.bounds.dual import proven
from l0quad.bounds.relaxation import DENSE_ROWS, FEW, SIGMA_GROWTH, Relaxation, SlowlyChangingOuter
from l0quad.matrix.sweeps import Columns, Follow, Outer, Swept, Wanted, as_numbers, compact, norm_on, size_of, union
from l0quad.problem.constraints.base import Jacobian, RankOnes
from l0quad.problem.core import CoreProblem, Point
from l0quad.problem.counted import Refit, first_sweep
from l0quad.problem.restricted import dual_solution, keeps_digits
from l0quad.types import BoolArray, ColumnSet, FloatArray, IntArray

_NONE: IntArray = np.empty(0, dtype=np.int64)


class _Newton(NamedTuple):
    """What a Newton step takes from a prox: w(nu), the columns that are active, and the conjugate.

    w is dense: a vector as long as w0, however many columns it has. ``coupled`` is the v of the rank-one term. ``few``
    says that the active columns make the smaller system, for which that is not needed.
    """

    w: FloatArray
    ones: ColumnSet
    between: Jacobian
    coupled: Columns
    beta: float
    conjugate: float
    few: bool

    @property
    def weights(self) -> tuple[Columns, Columns]:
        """What products with A are needed: A w(nu), and A_S v for the rank-one term."""
        return Columns(self.w != 0, self.w), self.coupled


class CountedRelaxation(Relaxation):
    """The same ascent in two sweeps a step, for budgets; in as many as `Relaxation` takes for other constraints.

    At a time some two vectors as long as w0 are held beside `centre` and `Atnu`, and masks in place of column numbers.
    """

    def __init__(
        self, problem: CoreProblem, point: Point, nu: FloatArray | None = None, Atnu: FloatArray | None = None
    ) -> None:
        super().__init__(problem, point, nu, Atnu)
        self._outer_kept = SlowlyChangingOuter(problem)
        self._taken: tuple[IntArray, FloatArray] | None = None
        self._coupled: FloatArray | None = None

    @property
    def _outers(self) -> tuple[SlowlyChangingOuter, ...]:
        return *super()._outers, self._outer_kept

    def step(self, dual: float) -> None:
        """Do one Newton step."""
        self._step(dual, None)

    def step_and_refit(self, dual: float, last: ColumnSet) -> Point | None:
        """Do one Newton step; return the best point on the largest entries of w(nu), where the sweeps bring it.

        Not where these are the columns of the ``last`` one. Its bound is proven, and A'nu let go of.
        """
        return self._step(dual, last)

    def _step(self, dual: float, last: ColumnSet | None) -> Point | None:
        problem = self.problem
        here = self._newton(self.centre, self.sigma)
        support = None if here is None or last is None else self._new_support(here.w, last)
        penalty = 0.0 if here is None else self._penalty(here.w)
        there = None if here is None else self._newton(here.w, self.sigma * SIGMA_GROWTH)
        if here is None or there is None:
            del here
            self._taken = self._coupled = None
            super().step(dual)
            return None
        wanted = self._wanted(here, there, support)
        swept = first_sweep(problem.matrix, wanted, problem.pause)
        self._taken = as_numbers(wanted.columns[-1]), swept.gather
        at, gradient = here, swept.products[0] - problem.b - self.nu
        self.primal = min(self.primal, self._value(swept.products[0], penalty))
        self._take_over(here, swept.outers[:2])
        if self._reached(gradient, dual):
            self.centre, self.sigma, at = here.w, self.sigma * SIGMA_GROWTH, there
            gradient = swept.products[2] - problem.b - self.nu
            self._take_over(there, swept.outers[2:4])
        self._coupled = swept.products[1 if at is here else 3][:, None]
        y = None if support is None else self._dual_of(support, swept)
        ones, between, beta, conjugate = at.ones, at.between, at.beta, at.conjugate
        # The vectors as long as w0.
        del here, there, at, wanted, swept
        direction = self._newton_direction(gradient, ones, between, beta)
        del ones, between
        return self._second_sweep(conjugate, gradient, direction, support, y)

    def _second_sweep(
        self,
        conjugate: float,
        gradient: FloatArray,
        direction: FloatArray,
        support: BoolArray | None,
        y: FloatArray | None,
    ) -> Point | None:
        """Move nu along the direction; return the refit on a support where y solves its dual."""
        problem, refit = self.problem, None
        if support is None or y is None:
            (Atd,) = problem.matrix.swept(Wanted(rows=(direction,)), problem.pause).rows
        else:
            follow = Follow(support, problem.w0, problem.dtype)
            swept = problem.matrix.swept(Wanted(rows=(y, direction), follow=follow), problem.pause)
            (t, Atd), w, residual = swept.rows, swept.follow, swept.follow_product - problem.b
            del swept
            exact = keeps_digits(self._outer_kept(support), y, norm_on(support, t))
            t *= -problem.mu
            refit = proven(problem, Refit(w, residual, -problem.mu * y, t)) if exact else None
            del t, w
        self._search(conjugate, gradient, direction, Atd)
        del Atd
        if refit is None or support is None:
            return None
        point = problem.evaluate(np.flatnonzero(support), refit.w, refit.residual)
        return replace(point, refit=refit)

    def _newton(self, centre: FloatArray, sigma: float) -> _Newton | None:
        """Return what a Newton step needs, None where that is more than one sweep brings."""
        prox = self._prox_from(centre, sigma, self.Atnu.__getitem__)
        ones = compact(prox.z == 1)
        between = self.problem.constraint.jacobian(prox.x, prox.z, prox.beta)
        n, terms = self.problem.shape[0], between.rank_ones
        few = size_of(ones) + between.columns.size <= min(FEW * n, DENSE_ROWS)
        single = between.diagonal is None and len(terms) == 1 and terms[0].weights.size == 1
        simple = n <= DENSE_ROWS and (single or between.columns.size == 0)
        if not (few or simple):
            return None
        coupled = Columns(_NONE, np.empty(0))
        if not few:
            between, coupled = self._compacted(between)
        beta, conjugate, w = prox.beta, self._conjugate(prox), prox.last_w()
        del prox
        return _Newton(w, ones, between, coupled, beta, conjugate, few)

    def _compacted(self, between: Jacobian) -> tuple[Jacobian, Columns]:
        """Return a Jacobian of at most one rank-one term with its columns compact, and the values of that term."""
        p, columns = self.problem.shape[1], compact(union((between.columns,), self.problem.shape[1]))
        values = between.rank_ones[0].values if between.rank_ones else np.empty(0)
        if columns.dtype == np.bool_:
            dense = np.zeros(p, dtype=values.dtype)
            dense[between.columns] = values
            values = dense
        return between._replace(columns=columns), Columns(columns[: values.size], values)

    def _new_support(self, w: FloatArray, last: ColumnSet) -> BoolArray | None:
        """Return the largest entries of w, marked; None where these are the columns of the last support."""
        support = self.problem.constraint.marked_nearest(w.copy())
        return None if np.array_equal(support, union((last,), w.size)) else support

    def _wanted(self, here: _Newton, there: _Newton, support: BoolArray | None) -> Wanted:
        weights: tuple[Columns, ...] = (*here.weights, *there.weights)
        outers = [Outer(_NONE)] * 4
        if not here.few:
            outers[0] = self._outer_ones.changes(here.ones)
            outers[1] = self._outer_between.changes(here.between.columns)
        if not there.few:
            # Not onto what is kept: it is not known whether here is reached.
            before = (None, None) if here.few else (here.ones, here.between.columns)
            outers[2] = self._outer_ones.since(there.ones, before[0])
            outers[3] = self._outer_between.since(there.between.columns, before[1])
        if support is not None:
            weights = (*weights, Columns(support, self.problem.w0))
            outers.append(self._outer_kept.changes(support))
        few = [
            _NONE,
            *(
                np.union1d(as_numbers(each.ones), as_numbers(each.between.columns))
                for each in (here, there)
                if each.few
            ),
        ]
        return Wanted(weights=weights, outers=tuple(outers), gather=np.unique(np.concatenate(few)))

    def _take_over(self, newton: _Newton, outers: tuple[FloatArray, ...]) -> None:
        if not newton.few:
            self._outer_ones.change(newton.ones, outers[0])
            self._outer_between.change(newton.between.columns, outers[1])

    def _columns(self, columns: IntArray) -> FloatArray:
        if self._taken is None:
            return super()._columns(columns)
        taken, values = self._taken
        return values[:, np.searchsorted(taken, columns)]

    def _combined_columns(self, between: Jacobian, terms: RankOnes) -> FloatArray:
        return super()._combined_columns(between, terms) if self._coupled is None else self._coupled

    def _dual_of(self, support: BoolArray, swept: Swept) -> FloatArray | None:
        """Return the dual solution of the refit on a support."""
        problem = self.problem
        gram = self._outer_kept.change(support, swept.outers[4])
        return dual_solution(gram, problem.b - swept.products[4], problem.mu, problem.pause)


def relaxation_of(
    problem: CoreProblem, point: Point, nu: FloatArray | None = None, Atnu: FloatArray | None = None
) -> Relaxation:
    """Return the ascent from a point as suits the matrix."""
    return (CountedRelaxation if problem.matrix.counted else Relaxation)(problem, point, nu, Atnu)
