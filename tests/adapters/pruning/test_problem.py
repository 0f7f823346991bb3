"""From gradients to a problem: its first and second order are those of the loss, and budgets are exact."""

import math

import numpy as np
import pytest
from narrowed import a, some

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from l0quad_adapters.torch import budget, choose, gradient_matrix, problem_from_gradients, pruning_problem
from refusals import refuse
from torch import nn
from torch.nn.functional import cross_entropy

import l0quad

N, P, L2 = 24, 30, 0.3
A, W0 = np.random.default_rng(0).standard_normal((N, P)), np.random.default_rng(1).standard_normal(P)
over_batch_sizes = pytest.mark.parametrize("batch_size", [1, 4])


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval()
    return model, torch.randn(N, 4).double(), torch.randint(3, (N,))


def in_the_digits_of(dtype, value):
    """Products of the same numbers may differ by where these lie in memory."""
    return pytest.approx(value, rel=1000 * float(np.finfo(dtype).eps))


class Foreign:
    """An array of another library."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **arguments):
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@over_batch_sizes
def test_the_slope_at_w0_is_that_of_the_loss(batch_size):
    model, inputs, targets = network()
    weights, n = choose(model), N // batch_size
    batches = zip(inputs.split(batch_size), targets.split(batch_size), strict=True)
    rows = "sample" if batch_size == 1 else "batch"
    gradients = gradient_matrix(model, cross_entropy, batches, rows=rows, n_rows=n, dtype=np.float64)
    w0 = weights.read(model)
    problem = pruning_problem(gradients, w0, 0.5, L2, batch_size=batch_size)
    cross_entropy(model(inputs), targets).backward()
    slope = np.concatenate([some(each.grad).numpy().ravel() for each in weights.tensors(model).values()])
    assert np.abs(slope).max() > 0.01
    assert np.allclose(problem.gradient(w0), slope * n / batch_size, rtol=1e-10, atol=1e-12)
    share = pruning_problem(gradients, w0, 0.5, L2, 0.25, batch_size)
    assert np.allclose(share.gradient(w0), 0.25 * slope * n / batch_size, rtol=1e-10, atol=1e-12)
    by_row = pruning_problem(gradients, w0, 0.5, L2, np.full(n, 0.25), batch_size)
    assert np.array_equal(by_row.b, share.b)
    flat = pruning_problem(gradients, w0, 0.5, L2, False, batch_size)
    assert np.allclose(flat.gradient(w0), 0, atol=1e-12)
    assert flat.objective(w0) == pytest.approx(0, abs=1e-20)


@over_batch_sizes
@pytest.mark.parametrize("first_order", [True, False])
def test_the_objective_is_the_quadratic_model(batch_size, first_order):
    problem = pruning_problem(A, W0, 0.5, L2, first_order, batch_size)
    for d in np.random.default_rng(2).standard_normal((5, P)):
        expected = 0.5 * np.sum((A @ d) ** 2) + 0.5 * N * L2 * np.sum(d**2)
        expected += first_order * np.sum(A @ d) / batch_size
        assert problem.objective(W0 + d) - problem.objective(W0) == pytest.approx(expected, rel=1e-10)


def test_the_damping_pulls_towards_the_centre():
    rng = np.random.default_rng(3)
    centre = W0 + rng.standard_normal(P)
    problem, about = pruning_problem(A, W0, 0.5, L2), pruning_problem(A, W0, 0.5, L2, centre=centre)
    for w in rng.standard_normal((5, P)):
        pull = 0.5 * N * L2 * (np.sum((w - centre) ** 2) - np.sum((w - W0) ** 2))
        assert about.objective(w) - problem.objective(w) == pytest.approx(pull, rel=1e-10)


def test_the_parts_of_the_problem():
    problem = pruning_problem(A, W0, 0.5, L2)
    assert problem.ridge == pytest.approx(N * L2 / 2)
    assert problem.shape == (N, P)
    assert problem.dtype == np.float64
    assert pruning_problem(A.astype(np.float32), W0, 0.5, L2).dtype == np.float32
    assert pruning_problem(A, W0, 0.5, 0).ridge == 0


@pytest.mark.parametrize(
    "sparsity", [0, 0.0, 0.1, 0.5, 1 / 3, 0.95, 0.98, 0.984, 1 - 1e-9, np.float32(0.5), np.float64(0.7)]
)
def test_a_number_keeps_exactly_so_many(sparsity):
    problem = pruning_problem(A, W0, sparsity, L2)
    k = P - math.floor(float(sparsity) * P + 0.5)
    assert problem.k == k
    assert l0quad.solve(problem, "magnitude", bound="none").support.size == k


@pytest.mark.parametrize("k", [l0quad.Cardinality(4), l0quad.NofM(2, 4),
                               l0quad.PerBlock(np.arange(P) // 10, np.array([1, 2, 3]))])  # fmt: skip
def test_a_constraint_is_taken_as_it_is(k):
    assert pruning_problem(A, W0, k, L2).k is k


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float32_is_as_good_as_its_digits(dtype):
    gradients = A.astype(dtype)
    problem = pruning_problem(gradients, W0, 0.5, L2)
    eps = np.finfo(dtype).eps
    assert np.allclose(problem.gradient(W0), gradients.sum(axis=0, dtype=np.float64), atol=100 * N * eps)


@pytest.mark.parametrize("make", [torch.from_numpy, Foreign, np.asarray], ids=["torch", "dlpack", "numpy"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_other_arrays_give_the_same_problem_without_a_copy(make, dtype):
    gradients, w0 = A.astype(dtype), W0.astype(dtype)
    expected = pruning_problem(gradients, w0, 0.5, L2, batch_size=2)
    found = problem_from_gradients(make(gradients), make(w0), 0.5, L2, batch_size=2)
    assert found.dtype == dtype
    for w in (W0, np.zeros(P), np.ones(P)):
        assert found.objective(w) == in_the_digits_of(dtype, expected.objective(w))
    assert found.k == expected.k
    before = found.objective(np.zeros(P)), found.objective(np.ones(P))
    gradients[0] += 1.0
    assert found.objective(np.zeros(P)) == before[0]
    assert found.objective(np.ones(P)) != before[1], "A is shared"


def test_mixed_kinds_of_arrays():
    expected = pruning_problem(A, W0, 0.5, L2).objective(np.ones(P))
    expected = in_the_digits_of(np.float64, expected)
    assert problem_from_gradients(torch.from_numpy(A), W0, 0.5, L2).objective(np.ones(P)) == expected
    parameter = nn.Parameter(torch.from_numpy(W0))
    assert problem_from_gradients(A, parameter, 0.5, L2).objective(np.ones(P)) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(dtype):
    gradients, w0 = torch.from_numpy(A).to(dtype), torch.from_numpy(W0).to(dtype)
    found = problem_from_gradients(gradients, w0, 0.5, L2)
    expected = pruning_problem(gradients.float().numpy(), w0.float().numpy(), 0.5, L2)
    assert found.dtype == np.float32
    assert found.objective(np.ones(P)) == in_the_digits_of(np.float32, expected.objective(np.ones(P)))


NAN_A = np.where(np.arange(P) == 3, np.nan, A)
WRONG = [
    ({"sparsity": 1.0}, ValueError, "sparsity:", "[0, 1)", "1.0"),
    ({"sparsity": -0.1}, ValueError, "sparsity:", "-0.1"),
    ({"sparsity": math.nan}, ValueError, "sparsity:", "nan"),
    ({"sparsity": "0.5"}, TypeError, "sparsity:", "'0.5'"),
    ({"sparsity": True}, TypeError, "sparsity:", "True"),
    ({"sparsity": None}, TypeError, "sparsity:", "None"),
    ({"l2": -1.0}, ValueError, "l2:", "-1.0"),
    ({"l2": math.inf}, ValueError, "l2:", "inf"),
    ({"l2": math.nan}, ValueError, "l2:", "nan"),
    ({"l2": "auto"}, TypeError, "l2:", "'auto'"),
    ({"l2": None}, TypeError, "l2:", "None"),
    ({"batch_size": 0}, ValueError, "batch_size:", "0"),
    ({"batch_size": 1.5}, TypeError, "batch_size:", "1.5"),
    ({"w0": W0[:-1]}, ValueError, "w0:", "(30,)", "(29,)"),
    ({"w0": np.where(np.arange(P) == 3, np.nan, W0)}, ValueError, "w0:", "finite"),
    ({"A": NAN_A}, ValueError, "A:", "finite"),
    ({"A": NAN_A.astype(np.float32)}, ValueError, "A:", "finite"),
    ({"A": A[0]}, ValueError, "A:", "2-D", "(30,)"),
]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("make", [pruning_problem, problem_from_gradients])
def test_wrong_arguments_are_refused_by_name(make, wrong):
    arguments, error, *words = wrong
    refuse(lambda: make(**{"A": A, "w0": W0, "sparsity": 0.5, "l2": L2} | arguments), error, *words)


@pytest.mark.parametrize("wrong", [
    ({"first_order": np.ones(N + 1)}, ValueError, "first_order:", str(N), str(N + 1)),
    ({"first_order": None}, TypeError, "first_order:", "None"),
    ({"first_order": "0.5"}, TypeError, "first_order:", "0.5"),
    ({"first_order": math.nan}, ValueError, "first_order:", "nan"),
    ({"centre": W0[1:]}, ValueError, "centre:", str(P), str(P - 1)),
    ({"centre": np.full(P, np.inf)}, ValueError, "centre:", "finite"),
    ({"centre": np.full(P, "1")}, TypeError, "centre:", "real numbers"),
])  # fmt: skip
def test_wrong_terms_are_refused_under_their_own_names(wrong):
    arguments, error, *words = wrong
    refuse(lambda: pruning_problem(A, W0, 0.5, L2, **arguments), error, *words)


def test_what_is_no_array_is_refused():
    refuse(lambda: pruning_problem(A.tolist(), W0, 0.5, L2), TypeError, "A:", "list")
    refuse(lambda: pruning_problem(torch.from_numpy(A), W0, 0.5, L2), TypeError, "A:", "Tensor")
    refuse(lambda: problem_from_gradients(A.tolist(), W0, 0.5, L2), TypeError, "A:", "DLPack", "list")
    refuse(lambda: problem_from_gradients(A, W0.tolist(), 0.5, L2), TypeError, "w0:", "DLPack", "list")


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), nn.Linear(3, 3))


def test_a_sparsity_by_layer_is_a_budget_for_each(net):
    by_layer = budget(net, {"0": 0.75, "2.weight": 0.5})
    assert isinstance(by_layer, l0quad.PerBlock)
    assert by_layer.budgets.tolist() == [20 - 15, 15 - 8, 9], "the layer that is not named is kept whole"
    assert by_layer.labels.tolist() == [0] * 20 + [1] * 15 + [2] * 9
    assert a(l0quad.PerBlock, budget(net, {})).budgets.tolist() == [20, 15, 9]
    assert budget(net, 0.5) == l0quad.Cardinality(22)


def test_a_layer_may_be_called_as_its_parameter(net):
    found = a(l0quad.PerBlock, budget(net, {"0": 0.5, "0.bias": 0.4}, "*"))
    assert found.budgets.tolist() == [10, 3, 15, 3, 9, 3]


@pytest.mark.parametrize("wrong", [
    ({"1": 0.5}, ValueError, "sparsity:", "'1'"),
    ({"0.bias": 0.5}, ValueError, "sparsity:", "'0.bias'"),
    ({"": 0.5}, ValueError, "sparsity:", "''"),
    ({"0": 0.5, "0.weight": 0.6}, ValueError, "sparsity:", "'0.weight'"),
    ({"0": 0.5, "2": 1.0}, ValueError, "sparsity['2']:", "1.0"),
    ({"0": math.nan}, ValueError, "sparsity['0']:", "nan"),
    ({"0": None}, TypeError, "sparsity['0']:", "None"),
    (l0quad.Cardinality(3), TypeError, "sparsity:", "Cardinality"),
    ([0.5], TypeError, "sparsity:", "[0.5]"),
])  # fmt: skip
def test_wrong_sparsities_are_refused_by_name(net, wrong):
    sparsity, error, *words = wrong
    refuse(lambda: budget(net, sparsity), error, *words)
