"""save_sparse: a whole network, the same outputs to the bit or a refusal by name."""

import copy

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors")

from l0quad_adapters.torch import attach_masks, load_sparse, save_sparse
from refusals import refuse
from torch import nn
from torch.nn.utils import parametrizations


def network(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(54, 54), nn.Linear(54, 54),
        parametrizations.weight_norm(nn.Linear(54, 4)),
    )  # fmt: skip
    model[5].weight = model[4].weight
    model(torch.randn(9, 2, 5, 5) + seed)
    model.register_buffer("scale", torch.full((), 2.0 + seed), persistent=False)
    return model.eval()


def pruned():
    model = network()
    with torch.no_grad():
        for place in (0, 4):
            model[place].weight.mul_(torch.rand(model[place].weight.shape) < 0.1)
        model[4].weight[0, 0] = -0.0
    return model


INPUTS = torch.randn(5, 2, 5, 5, generator=torch.Generator().manual_seed(3))


def state(model):
    return {name: value.detach().clone() for name, value in (*model.named_parameters(), *model.named_buffers())}


def same(model, before):
    now = state(model)
    return now.keys() == before.keys() and all(
        now[name].numpy().tobytes() == value.numpy().tobytes() for name, value in before.items()
    )


@pytest.fixture
def path(tmp_path):
    save_sparse(pruned(), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_a_fresh_network_has_the_same_bits(path):
    model, fresh = pruned(), network(1)
    load_sparse(fresh, path)
    assert same(fresh, state(model))
    assert torch.equal(fresh(INPUTS), model(INPUTS))
    assert fresh[5].weight is fresh[4].weight
    dense = sum(value.numel() * value.element_size() for value in state(model).values())
    assert path.stat().st_size < 0.8 * dense


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_precision(dtype, tmp_path):
    model, fresh = pruned().to(dtype), network(1).to(dtype)
    save_sparse(model, tmp_path / "net")
    load_sparse(fresh, tmp_path / "net")
    assert all(torch.equal(value, state(fresh)[name]) for name, value in state(model).items())
    refuse(lambda: load_sparse(network(), tmp_path / "net"), ValueError, str(tmp_path), "0.weight", str(dtype))


def test_masked_networks_are_written_as_they_are_used(tmp_path, path):
    model = network()
    attach_masks(model, {"0.weight": torch.rand(6, 2, 3, 3) < 0.5})
    save_sparse(model, tmp_path / "masked")
    load_sparse(fresh := network(1), tmp_path / "masked")
    assert torch.equal(fresh(INPUTS), model(INPUTS))
    assert int((fresh[0].weight == 0).sum()) > 0
    refuse(lambda: load_sparse(model, path), ValueError, str(path), "mask", "0.weight", "detach_masks")


def test_prefixes_of_wrappers_do_not_matter(tmp_path, path):
    inner = network(1)
    wrapped = nn.ModuleDict({"module": nn.ModuleDict({"_orig_mod": inner})})
    load_sparse(wrapped, path)
    assert same(inner, state(pruned()))
    save_sparse(wrapped, tmp_path / "wrapped")
    load_sparse(fresh := network(2), tmp_path / "wrapped")
    assert same(fresh, state(pruned()))
    data_parallel = nn.DataParallel(network(1))
    load_sparse(data_parallel, path)
    assert same(data_parallel.module, state(pruned()))


def changed(change):
    model = network(1)
    change(model)
    return model


OTHERS = {
    "lacks": (lambda m: m.append(nn.Linear(4, 4)), ("lacks '7.weight'", "2 such")),
    "more": (lambda m: m.__delitem__(6), ("has '6.",)),
    "shape": (lambda m: setattr(m, "0", nn.Conv2d(2, 6, 1)), ("'0.weight'", "(6, 2, 3, 3)", "(6, 2, 1, 1)")),
    "tie": (lambda m: setattr(m[5], "bias", m[4].bias), ("'5.bias'", "ties")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_network_is_refused_by_name(name, path):
    change, words = OTHERS[name]
    model = changed(change)
    before = state(model)
    refuse(lambda: load_sparse(model, path), ValueError, str(path), *words)
    assert same(model, before)


def test_an_untied_network_gets_the_values_twice(path):
    fresh = network(1)
    fresh[5].weight = nn.Parameter(torch.zeros(54, 54))
    load_sparse(fresh, path)
    assert torch.equal(fresh(INPUTS), pruned()(INPUTS))


def test_what_no_tensor_holds_is_refused(tmp_path):
    model = network()
    model[2] = type("Telling", (nn.ReLU,), {"get_extra_state": lambda self: "words"})()
    refuse(lambda: save_sparse(model, tmp_path / "net"), ValueError, "model:", "2._extra_state")
    assert not list(tmp_path.iterdir())


def test_damage_is_refused(path, tmp_path):
    content, model = path.read_bytes(), network(1)
    before = copy.deepcopy(state(model))
    other = safetensors.torch.save({"a": torch.zeros(2)})
    for wrong in (b"", b"text", content[:-9], content[: len(content) // 2], other):
        (tmp_path / "wrong").write_bytes(wrong)
        refuse(lambda: load_sparse(model, tmp_path / "wrong"), ValueError, str(tmp_path / "wrong"))
        assert same(model, before)
    with pytest.raises(OSError, match="missing"):
        load_sparse(model, tmp_path / "missing")
