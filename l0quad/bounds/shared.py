"""One certificate for problems that differ in their constraint alone: every nu, and every w with its d, serves all."""

from collections.abc import Callable

from l0quad.bounds.dual import dual_bound
from l0quad.bounds.separable import expansion, separable_bound
from l0quad.certificates import Bound, Certificate, Dual, Separable, Tree
from l0quad.problem.core import CoreProblem


def serving(certificate: Certificate, problem: CoreProblem) -> Callable[[CoreProblem], Bound] | None:
    """Return what a certificate of ``problem`` proves of problems with other constraints; None where that is nothing.

    The passes over A are made here, once; each bound then takes selections among p values.
    """
    match certificate:
        case Dual(nu):
            Atnu = problem.matrix.rmatvec(nu)
            return lambda other: dual_bound(other, nu, Atnu)
        case Separable(w, d):
            expanded = expansion(problem, w)
            return lambda other: separable_bound(other, w, d, expanded)
        case Tree(root):
            return serving(root, problem)
        case _:
            return None
