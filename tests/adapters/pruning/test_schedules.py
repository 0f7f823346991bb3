"""How sparsity rises over the stages."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch.pruning.schedules import SCHEDULES, sparsities

RNG = np.random.default_rng(0)
ENDS = [(0.0, 0.9), (0.0, 0.0), (0.1, 0.7), (0.5, 0.5), (0.9, 0.3), (1.0, 0.98), (0.0, 1 - 2**-53), (0.3, 0.3 + 1e-16)]
ENDS += [tuple(pair) for pair in RNG.random((20, 2))]
over_schedules = pytest.mark.parametrize("schedule", SCHEDULES)


@over_schedules
def test_sparsity_rises_to_exactly_the_final_one(schedule):
    for (initial, final), stages in itertools.product(ENDS, [1, 2, 7, 100]):
        found, case = sparsities(schedule, initial, final, stages), (initial, final, stages)
        assert len(found) == stages
        assert found[-1] == final, case
        assert all(0 <= a <= b < 1 for a, b in zip(found, [*found[1:], final], strict=True)), case
        assert found[0] >= min(initial, final) - 1e-15, case
        if initial >= final:
            assert found == pytest.approx([final] * stages, abs=1e-15), case


@over_schedules
def test_each_rises_in_its_own_way(schedule):
    s = np.array([0.2, *sparsities(schedule, 0.2, 0.9, 10)])
    t = np.arange(11) / 10
    if schedule == "poly":
        assert np.allclose((0.9 - s) / 0.7, (1 - t) ** 3)
    elif schedule == "geometric":
        assert np.allclose((1 - s[1:]) / (1 - s[:-1]), (0.1 / 0.8) ** 0.1)
    elif schedule == "linear":
        assert np.allclose(np.diff(s), 0.07)
    else:
        assert (s[1:] == 0.9).all()
