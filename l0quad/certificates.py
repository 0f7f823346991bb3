"""What proves a lower bound. A certificate is enough to compute its bound anew: see `Result.check`."""

from dataclasses import dataclass
from typing import NamedTuple

from l0quad.types import FloatArray


@dataclass(frozen=True, slots=True)
class Trivial:
    """The ridge term alone: w differs from w0 at least outside of the support that is best for it."""


@dataclass(frozen=True, slots=True)
class AllColumns:
    """The least value over all w, dense ones too."""


@dataclass(frozen=True, slots=True, eq=False)
class Dual:
    """A point of the dual of the perspective relaxation.

    Attributes
    ----------
    nu : ndarray of shape (n,)
        In the units of b (`Result.certificate`), or in a solver's own.
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
    lower_bound : float
        What the whole tree has proven.
    n_nodes : int
    """

    root: "Certificate"
    root_bound: float
    lower_bound: float
    n_nodes: int


Certificate = Trivial | AllColumns | Dual | Separable | Tree


class Bound(NamedTuple):
    """A lower bound in a problem's own units, what proves it, and what it rests on in words.

    ``allowance`` is how much lower the value is than what was computed, because that may be off by rounding.
    """

    value: float
    certificate: Certificate
    basis: str
    allowance: float = 0.0
