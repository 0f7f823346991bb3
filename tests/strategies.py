"""hypothesis strategies: instances of every kind of matrix, constraint and term, with numbers people do not try."""

from dataclasses import replace

import numpy as np
import reference
import scipy.sparse as sp
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from problems import Instance

from l0quad import METHODS, Cardinality, Groups, NofM, PerBlock

ORDINARY = st.one_of(st.integers(-3, 3).map(float), st.floats(-10, 10, width=32))
RIDGES = st.sampled_from([0.0, 0.0, 1e-12, 1e-3, 0.5, 10.0, 1e6])
SMALLEST, LARGEST = 5e-324, 1e150
AWKWARD = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, SMALLEST, -1e-310, 1e-160, 1e-20, 1 + 2.0**-52, 1 - 2.0**-53, 1e8, -1e20, 1e75, LARGEST]
)


def vectors(size: int, elements):
    return hnp.arrays(np.float64, size, elements=elements)


@st.composite
def matrices(draw, n: int, p: int, elements):
    """Dense or sparse, either order, either precision; columns may repeat or be zero."""
    A = draw(hnp.arrays(np.float64, (n, p), elements=elements))
    if draw(st.booleans()):
        A = A[:, draw(st.lists(st.integers(0, p - 1), min_size=p, max_size=p))]
    if draw(st.booleans()):
        A = A + draw(st.floats(0, 10)) * np.random.default_rng(draw(st.integers(0, 99))).standard_normal((n, p))
    kind = draw(st.sampled_from(["C", "F", "csc", "csr", "coo", "float32", "float32F"]))
    if kind in ("csc", "csr", "coo"):
        return sp.coo_array(A).asformat(kind)
    if kind.startswith("float32"):
        # What overflows float32 is not finite and refused; that is tested elsewhere.
        A = np.clip(A, -1e30, 1e30).astype(np.float32)
    return np.asarray(A, order="F" if kind.endswith("F") else "C")


@st.composite
def constraints(draw, p: int):
    """Every kind, half of them with columns that must be there and columns that never are."""
    kind = draw(st.sampled_from(["k", "Cardinality", "PerBlock", "NofM", "Groups"]))
    if kind == "k":
        return draw(st.integers(0, p + 2))
    k: Cardinality | Groups | NofM | PerBlock
    if kind == "Cardinality":
        k = Cardinality(draw(st.integers(0, p + 2)))
    elif kind == "Groups":
        k = Groups(draw(st.lists(st.integers(0, 4), min_size=p, max_size=p)), draw(st.integers(0, 4)))
    elif kind == "NofM":
        order = draw(st.none() | st.permutations(range(p)))
        k = NofM(draw(st.integers(0, 3)), draw(st.integers(1, 4)), order)
    else:
        budgets = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
        k = PerBlock(draw(st.lists(st.integers(0, len(budgets) - 1), min_size=p, max_size=p)), budgets)
    if draw(st.booleans()):
        return k
    support = draw(st.sampled_from(list(reference.largest_supports(k, p))))
    must = draw(st.sets(st.sampled_from(support.tolist()))) if support.size else set()
    never = draw(st.sets(st.integers(0, p - 1))) - must
    return replace(k, must=sorted(must), never=sorted(never))


@st.composite
def instances(draw, numbers=ORDINARY, ridges=RIDGES, least_linear=1e-3, most=8):
    """``least_linear``: the least ridge with a linear term, because folding it costs naive oracles their digits."""
    n, p = draw(st.integers(1, 2 * most)), draw(st.integers(1, most))
    A = draw(matrices(n, p, numbers))
    ridge = draw(ridges)
    w0 = draw(st.none() | vectors(p, numbers))
    b = draw(vectors(n, numbers))
    if w0 is not None and draw(st.booleans()):
        with np.errstate(all="ignore"):
            b = np.nan_to_num(np.atleast_1d(A @ w0), nan=0.0, posinf=1e150, neginf=-1e150)
    linear = draw(st.none() | vectors(p, numbers)) if ridge and ridge >= least_linear else None
    return Instance(A, b, draw(constraints(p)), ridge, w0, linear)


methods = st.sampled_from(list(METHODS))
bounds = st.sampled_from(["none", "fast", "tight"])
