"""What proves a lower bound. A certificate is enough to compute its bound anew: see `Result.check`."""

from dataclasses import dataclass
from typing import NamedTuple

from l0quad.types import FloatArray


@dataclass(frozen=True, slots=True)
class Trivial:
    """The ridge term alone: w differs from w0 at least outside of the support that is best for it.

    It costs no work, and is 0 without a ridge. With a linear term c, w0 - c / (2 ridge) has the place of w0, and what
    that takes off the objective is counted. Where the budget is 0, it is the objective at 0.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> l0quad.minimize(A, A[:, 2] - A[:, 5], k=1, bound="none").certificate
    Trivial()
    """


@dataclass(frozen=True, slots=True)
class AllColumns:
    """The least value over all w, dense ones too.

    It proves an answer optimal where k allows a w of that value, as where k is at least the rank of A.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> l0quad.minimize(A[:8], np.arange(8.0), k=8).certificate
    AllColumns()
    """


@dataclass(frozen=True, slots=True)
class AllSupports:
    """The least of the optima of all allowed supports, each of which was tried.

    Up to rounding it is the optimum. It is computed where supports are so few that this takes about what a solve takes.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((10, 12))
    >>> result = l0quad.minimize(A, A[:, 2] - 2 * A[:, 5] + A[:, 0], k=2)
    >>> result.certificate, result.status.name
    (AllSupports(), 'OPTIMAL')
    """


@dataclass(frozen=True, slots=True, eq=False)
class Dual:
    """A point of the dual of the perspective relaxation.

    Attributes
    ----------
    nu : ndarray of shape (n,)
        In the units of b (`Result.certificate`), or in a solver's own. Of shape (p,) where A lies in tall files, of
        which solvers see p rows.

    Notes
    -----
    The bound is D(nu) of the page *Mathematics*: for every nu it lies below every feasible point. It needs a ridge.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> problem = l0quad.Problem(A[:8], A[:8, 2] - A[:8, 5], k=1, ridge=0.1)
    >>> l0quad.bound(problem).certificate.nu.shape
    (8,)
    """

    nu: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Separable:
    """A point and a separable diagonal: ``A'A + 2 ridge I - diag(d)`` is positive semidefinite.

    Attributes
    ----------
    w : ndarray of shape (p,)
        Any point, dense too; in the user's units (`Result.certificate`), or in a solver's own.
    d : ndarray of shape (p,)
        At least 0; 0 for columns that play no part.

    Notes
    -----
    The bound is L(w) of the page *Mathematics*: for every w it lies below every feasible point. That the matrix is
    semidefinite is proven by a Cholesky factorization that allows for its rounding (Rump, BIT 2006).

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> problem = l0quad.Problem(A, A[:, 2] - 2 * A[:, 5] + 0.1 * A[:, 0], k=2)
    >>> d = l0quad.bound(problem).certificate.d
    >>> bool(np.linalg.eigvalsh(A.T @ A - np.diag(d)).min() >= 0)
    True
    """

    w: FloatArray
    d: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A branch-and-bound tree, of which only the root can be computed anew.

    Attributes
    ----------
    root : Trivial, AllColumns, Dual or Separable
        What proves the bound of the root, ``root_bound``.
    root_bound : float
        In the units of the objective, as ``lower_bound``.
    lower_bound : float
        What the whole tree has proven.
    n_nodes : int
        How many nodes have been looked at.

    Examples
    --------
    >>> import numpy as np, l0quad
    >>> A = np.random.default_rng(0).standard_normal((40, 12))
    >>> result = l0quad.minimize(A, A[:, 2] - 2 * A[:, 5] + 0.1 * A[:, 0], k=2, method="exact")
    >>> tree = result.certificate
    >>> type(tree.root).__name__, result.lower_bound <= tree.lower_bound
    ('Separable', True)
    """

    root: "Certificate"
    root_bound: float
    lower_bound: float
    n_nodes: int


Certificate = Trivial | AllColumns | AllSupports | Dual | Separable | Tree


class Bound(NamedTuple):
    """A lower bound in a problem's own units, what proves it, and what it rests on in words.

    ``allowance`` is how much lower the value is than what was computed, because that may be off by rounding.
    """

    value: float
    certificate: Certificate
    basis: str
    allowance: float = 0.0
