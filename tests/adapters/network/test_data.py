"""Samples: batches from tensors, data sets and loaders, the same ones for the same seed."""

import itertools
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch.network.data import Samples, as_batch, part_of, regrouped
from refusals import refuse
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

N = 20


def pair(n=N):
    """Inputs that tell their number, and targets that tell it too."""
    return torch.arange(n).float().reshape(n, 1).repeat(1, 3), torch.arange(n)


class Squares:
    """Neither a Dataset nor iterable, but with an index and a length."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        if not 0 <= i < N:
            raise IndexError(i)
        return np.full(3, i, dtype=np.float32), i


class Stream(IterableDataset):
    """Yields batches; a length makes it no data set that can be indexed."""

    def __iter__(self):
        inputs, targets = pair()
        return iter(zip(inputs.split(6), targets.split(6), strict=True))

    def __len__(self):
        return 4


def numbers(batches):
    """The number of every sample, by batch; inputs and targets must belong together."""
    found = []
    for inputs, targets in batches:
        assert isinstance(inputs, torch.Tensor)
        assert inputs.shape == (len(targets), 3)
        assert (inputs == targets[:, None]).all()
        found.append(targets.tolist())
    return found


INDEXED = {
    "pair": pair,
    "list": lambda: list(pair()),
    "dataset": lambda: TensorDataset(*pair()),
    "subset": lambda: Subset(TensorDataset(*pair(40)), range(N)),
    "indexable": Squares,
}
over_indexed = pytest.mark.parametrize("make", INDEXED.values(), ids=INDEXED)


def loader(**options):
    return DataLoader(TensorDataset(*pair()), **{"batch_size": 6, **options})


@over_indexed
def test_batches_are_drawn_without_repetition_by_the_seed(make):
    samples = Samples(make())
    assert samples.size == N
    found = numbers(samples.batches(4, 5, seed=0))
    assert [len(each) for each in found] == [5] * 4
    assert sorted(itertools.chain(*found)) == list(range(N))
    assert found == numbers(Samples(pair()).batches(4, 5, seed=0)), "whatever holds the samples"
    assert found == numbers(samples.batches(4, 5, seed=0)), "however often"
    assert found != numbers(samples.batches(4, 5, seed=1))
    assert numbers(samples.batches(2, 5, (0, 1))) != numbers(samples.batches(2, 5, (0, 2)))
    assert numbers(samples.batches(20, 1, 0)) == [[i] for i in itertools.chain(*found)]


@over_indexed
def test_what_is_skipped_is_what_came_before(make):
    samples = Samples(make())
    everything = list(itertools.chain(*numbers(samples.batches(1, N, 3))))
    assert numbers(samples.batches(1, 8, 3, skip=12)) == [everything[12:]]


@over_indexed
def test_more_samples_than_there_are_is_an_error_at_once(make):
    samples = Samples(make())
    refuse(lambda: samples.batches(7, 3, 0), ValueError, "n_rows:", "21", "20")
    refuse(lambda: samples.batches(6, 3, 0, skip=3), ValueError, "n_rows:", "21", "20")
    assert len(numbers(samples.batches(6, 3, 0, skip=2))) == 6


@over_indexed
def test_all_batches_are_one_epoch(make):
    samples = Samples(make())
    assert numbers(samples.all_batches(8)) == [list(range(8)), list(range(8, 16)), list(range(16, 20))]
    shuffled = numbers(samples.all_batches(8, seed=0))
    assert [len(each) for each in shuffled] == [8, 8, 4]
    assert sorted(itertools.chain(*shuffled)) == list(range(N))
    assert shuffled == numbers(samples.all_batches(8, seed=0)) != numbers(samples.all_batches(8, seed=1))


def test_the_global_generators_have_no_part_in_it():
    samples, states = Samples(pair()), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        states.append(numbers(samples.batches(4, 5, 0)) + numbers(samples.all_batches(5, 0)))
        assert torch.equal(before, torch.get_rng_state())
    assert states[0] == states[1]


@pytest.mark.parametrize("make", [loader, Stream], ids=["loader", "stream"])
def test_a_loader_is_read_on_in_its_own_order(make):
    samples = Samples(make())
    assert samples.size is None
    assert numbers(samples.batches(2, 4, 0)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert numbers(samples.batches(1, 4, 0)) == [[12, 13, 14, 15]], "the rest of a batch is gone"
    assert numbers(samples.batches(3, 1, 0)) == [[18], [19], [0]], "then from its beginning"
    assert numbers(samples.all_batches(100)) == [[*range(i, min(i + 6, N))] for i in (0, 6, 12, 18)]


@pytest.mark.parametrize("size", [1, 4, 6, 19, 20])
def test_a_loader_gives_all_its_samples(size):
    found = numbers(Samples(loader()).batches(N // size, size, 0))
    assert list(itertools.chain(*found)) == list(range(size * (N // size)))


def test_a_loader_that_is_too_short_is_an_error():
    refuse(lambda: list(Samples(loader()).batches(21, 1, 0)), ValueError, "n_rows:", "21")
    refuse(lambda: list(Samples(loader(drop_last=True)).batches(1, 19, 0)), ValueError, "n_rows:", "19")


def test_an_iterator_can_be_read_once():
    samples = Samples(iter(loader()))
    assert numbers(samples.batches(1, 6, 0)) == [[0, 1, 2, 3, 4, 5]]
    batches: Any = samples.batches(5, 1, 0)
    assert next(batches)[1].tolist() == [6]
    batches.close()
    assert numbers(samples.batches(1, 8, 0)) == [list(range(12, 20))]
    refuse(lambda: list(samples.batches(1, 1, 0)), ValueError, "n_rows:", "1")


def test_a_generator_is_not_closed_by_a_reader_that_stops():
    inputs, targets = pair()
    samples = Samples(batch for batch in zip(inputs.split(6), targets.split(6), strict=True))
    for first in (0, 6, 12):
        assert next(samples.batches(2, 6, 0))[1].tolist() == list(range(first, first + 6))


def test_three_tensors_are_never_misread():
    inputs, targets = pair()
    for batches in (Cycle([(inputs, targets, targets)]), [(inputs, targets, targets)]):
        call = lambda batches=batches: list(Samples(batches).batches(1, 3, 0))  # noqa: E731
        refuse(call, TypeError, "data:", "((a, b), targets)", "3 parts")
    refuse(
        lambda: list(Samples(TensorDataset(inputs, inputs, targets)).batches(1, 3, 0)), TypeError, "data:", "3 parts"
    )
    refuse(lambda: Samples((inputs, inputs, targets)), TypeError, "data:", "tuple of Tensor, Tensor, Tensor")


def several():
    inputs, targets = pair()
    return {
        "tuple": ((inputs, inputs[:, 0]), targets),
        "dict": ({"x": inputs, "y": inputs[:, 0], "names": None}, targets),
        "one dict": {"x": inputs, "labels": targets},
    }


@pytest.mark.parametrize("form", several())
@pytest.mark.parametrize("whole", [True, False])
def test_inputs_may_be_several(form, whole):
    data = several()[form]
    batches = [part_of(as_batch(data), first, first + 6) for first in range(0, N, 6)]
    if form == "one dict":
        batches = [inputs for inputs, _ in batches]
    samples = Samples(data if whole else batches)
    assert samples.about == N
    assert samples.size == (N if whole else None)
    found = []
    for inputs, targets in samples.batches(5, 4, 0):
        x = inputs[0] if form == "tuple" else inputs["x"]
        numbers_ = targets["labels"] if form == "one dict" else targets
        assert (x == numbers_[:, None]).all()
        assert x.shape == (4, 3)
        assert (targets is inputs) == (form == "one dict")
        found += numbers_.tolist()
    assert sorted(found) == list(range(N))
    assert (found == list(range(N))) == (not whole)


def test_a_list_of_batches_is_read_like_a_loader():
    inputs, targets = pair()
    batches = list(zip(inputs.split(6), targets.split(6), strict=True))
    found = numbers(Samples(batches).batches(4, 5, 0))
    assert found == numbers(Samples(loader()).batches(4, 5, 0))
    assert numbers(Samples([list(batch) for batch in batches[:2]]).batches(1, 12, 0)) == [list(range(12))]
    assert Samples(loader()).about == N
    assert Samples(iter(batches)).about is None


class Cycle:
    """A loader of given batches."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize("size", [1, 2, 5, 7, 30])
def test_regrouping_keeps_samples_and_order(size):
    inputs, targets = pair()
    batches = zip(inputs.split([3, 0, 9, 1, 7]), targets.split([3, 0, 9, 1, 7]), strict=True)
    found = numbers(regrouped(batches, size))
    assert list(itertools.chain(*found)) == list(range(N))
    assert [len(each) for each in found[:-1]] == [size] * (len(found) - 1)
    assert 1 <= len(found[-1]) <= size
    assert list(regrouped([], size)) == []


@pytest.mark.parametrize("wrong", [
    None, 5, pair()[0], np.ones((3, 2)), (np.ones((3, 2)), np.ones(3)), (pair(), pair()), (*pair(), pair()[0]), [1, 2],
    {"inputs": 1}, "data.pt", Dataset,
], ids=lambda wrong: type(wrong).__name__)  # fmt: skip
def test_what_holds_no_samples_is_refused(wrong):
    refuse(lambda: Samples(wrong), TypeError, "data:", type(wrong).__name__)


def test_wrong_lengths_are_refused():
    refuse(lambda: Samples((pair(4)[0], pair(5)[1])), ValueError, "data:", "4", "5")
    refuse(lambda: Samples(pair(0)), ValueError, "data:", "none")
    refuse(lambda: Samples([]), ValueError, "data:", "none")
    refuse(lambda: Samples({"a": pair(4)[0], "b": pair(5)[1]}), ValueError, "data:", "[4, 5]")
    refuse(lambda: Samples(TensorDataset(*pair(0))), ValueError, "data:", "none")
