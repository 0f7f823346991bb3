"""Small instances on which local searches meet their naive twins."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from problems import gaussian, pruning, stored_as, thinned

from l0quad import Cardinality, NofM, PerBlock

CENTRE = np.random.default_rng(11).standard_normal(14)
LABELS = np.array([0, 1, 2, 0, 1, 2, 1, 1, 0, 2, 1, 0, 2, 0])

SMALL = {
    "no_ridge": gaussian(20, 14, 4, rho=0.9),
    "ridge": gaussian(20, 14, 5, seed=1, rho=0.95, ridge=0.1),
    "w0": gaussian(25, 14, 6, seed=2, rho=0.8, ridge=0.3, w0=CENTRE),
    "wide": gaussian(9, 14, 5, seed=3, rho=0.6, ridge=0.05, w0=CENTRE),
    "wide_no_ridge": gaussian(9, 14, 5, seed=3, rho=0.6),
    "tall": gaussian(90, 14, 5, seed=5, rho=0.98),
    "float32": stored_as(gaussian(20, 14, 5, seed=6, rho=0.9, ridge=0.1), np.float32),
    "csc": stored_as(stored_as(gaussian(20, 14, 5, seed=7, ridge=0.1), thinned), sp.csc_array),
    "per_block": gaussian(20, 14, PerBlock(LABELS, [2, 3, 1]), seed=8, rho=0.9, ridge=0.1, w0=CENTRE),
    "n_of_m": gaussian(20, 14, NofM(2, 4), seed=10, rho=0.9),
    "must": gaussian(20, 14, Cardinality(5, must=[3, 10], never=[0, 6]), seed=11, rho=0.9, ridge=0.1, w0=CENTRE),
    "per_block_must": gaussian(20, 14, PerBlock(LABELS, [2, 3, 1], must=[0, 5], never=[4]), seed=12, rho=0.9),
}
# Here and there more columns are kept than there are rows.
KEPT = {
    "plain": pruning(12, 60, 25, seed=1, ridge=0.3),
    "small_ridge": pruning(15, 60, 20, seed=2, ridge=1e-3),
    "per_block": pruning(12, 60, 25, seed=3, ridge=0.1).but(k=PerBlock(np.arange(60) % 3, [10, 3, 12])),
    "n_of_m": pruning(12, 60, 25, seed=4, ridge=0.1).but(k=NofM(2, 4)),
    "float32": stored_as(pruning(12, 60, 25, seed=5, ridge=0.3), np.float32),
    "csc": stored_as(stored_as(pruning(12, 60, 25, seed=6, ridge=0.3), thinned), sp.csc_array),
    "rows_suffice": pruning(40, 60, 12, seed=7, ridge=0.1),
}
over_small = pytest.mark.parametrize("name", SMALL)
over_kept = pytest.mark.parametrize("name", KEPT)


def arguments(instance):
    return instance.dense, instance.b, instance.k, instance.ridge, instance.w0


def value(instance, support):
    return reference.value(instance.dense, instance.b, support, instance.ridge, instance.w0)


def random_support(problem, seed):
    return problem.constraint.select(np.random.default_rng(seed).random(problem.shape[1]))
