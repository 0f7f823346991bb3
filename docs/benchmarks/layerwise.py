"""Pruning layer by layer: ResNet20's accuracy, a transformer's pseudo-perplexity, seconds and memory, a kill.

``python layerwise.py [ResNet20] [antiberty] [kill]``, or ``page`` to write what is there; antiberty needs
``transformers`` and ``antiberty<1``, whose wheel holds the trained network (26 million parameters, BERT for
antibodies). Every run is a process of its own on one thread; what is done is kept in results/layerwise.jsonl and not
run again. The published rules are implementations of our own.
"""

import importlib.util
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from l0quad_adapters.torch import StageReport, prune, prune_layers, recalibrate_batchnorm
from measure import RESULTS, PeakMemory, machine, machines, report, table
from torch import nn

import l0quad

KEPT = RESULTS / "layerwise.jsonl"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
METHODS = {"magnitude": "magnitude", "Wanda": "wanda", "SparseGPT": "sparsegpt", "ALPS' ADMM": "admm", "ours": "auto"}
PATTERNS = {"2:4": l0quad.NofM(2, 4)}
SPARSITIES = {"ResNet20": ("0.5", "0.6", "0.7", "0.8", "0.9", "2:4"), "antiberty": ("0.7", "0.5", "2:4")}
IMAGES = 500
# What `prune` does to ResNet20, with the statistics of batch normalisation kept and new.
TOGETHER = {
    f"`prune`: {name}": (f"{name}, statistics kept", name) for name in ("magnitude", "CHITA", "ours, one stage")
} | {"`prune`: ours, stages": ("ours, stages",)}
# Sequences to gather from and to measure on; of the latter every APART-th residue is masked, in TURNS turns.
SEQUENCES, UNSEEN, APART, TURNS = 24, 104, 23, 2
LENGTH, A_STEP, SPECIAL, MASK = 115, 5, 5, 4


def child(network: str, method: str, sparsity: str) -> None:
    """Print one run as a line of JSON."""
    torch.set_num_threads(1)
    begin = time.process_time()
    if network == "antiberty":
        measured = antiberty(METHODS.get(method), sparsity)
    else:
        measured = resnet20(sparsity) if method == "ours" else together(method, sparsity)
    told = {"network": network, "method": method, "sparsity": sparsity} | measured
    print(json.dumps(told | {"cpu": time.process_time() - begin}))


def pruned(model: nn.Module, batches: Any, sparsity: str, **options: Any) -> dict[str, Any]:
    """Prune a network and return what that took."""
    wanted = PATTERNS[sparsity] if sparsity in PATTERNS else float(sparsity)
    peaks, spent = [], [time.process_time()]

    def mark(_: StageReport) -> None:
        peaks.append(peak.extra)
        spent.append(time.process_time())
        peak.peak = peak.before

    with PeakMemory() as peak:
        found = prune_layers(model, batches, wanted, n_threads=1, callback=mark, **options)
    return {
        "seconds": spent[-1] - spent[0], "peak": max(peaks), "gap": found.total.relative_gap,
        "zeros": found.achieved_sparsity,
        "layers": [
            [stage.layer, stage.relative_error, after - before, most]
            for stage, before, after, most in zip(found.stages, spent[:-1], spent[1:], peaks, strict=True)
        ],
    }  # fmt: skip


def resnet20(sparsity: str) -> dict[str, Any]:
    """Return the test accuracy with the statistics of batch normalisation as they were, and with new ones."""
    import networks

    network = networks.load("ResNet20")
    model, images = network.model, network.train[0]
    chosen = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:IMAGES]]
    told = pruned(model, chosen, sparsity, batch_size=50) | {"accuracy": network.accuracy(model)}
    recalibrate_batchnorm(model, network.train, n_samples=1024)
    return told | {"renewed": network.accuracy(model)}


def together(method: str, sparsity: str) -> dict[str, Any]:
    """Return the test accuracy after `prune`, in the settings of pruning.py; where the budget is a pattern, of .5."""
    import networks
    import pruning

    network, settings = networks.load("ResNet20"), dict(pruning.settings_of("ResNet20", method, 0.5))
    if settings.pop("softened", False):
        network = networks.softened(network)
    prune(network.model, network.loss_fn, network.train, PATTERNS[sparsity], **settings)
    return {"accuracy": network.accuracy(network.model)}


def antiberty(method: str | None, sparsity: str) -> dict[str, Any]:
    """Return minus the mean log-probability of a residue in each unseen sequence; ``method`` None: before pruning."""
    model, tokens = _antiberty(), torch.load(_sampled())
    told = {}
    if method is not None:
        # Without bounds: they are not what is compared here.
        told = pruned(model, tokens[:SEQUENCES], sparsity, method=method, weights="bert.encoder", bound="none")
    return {"losses": _losses(model, tokens[SEQUENCES:])} | told


class _Logits(nn.Module):
    """The language model alone: tokens to logits."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self.bert, self.cls = bert.bert, bert.cls

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.cls(self.bert(input_ids=tokens).last_hidden_state)


def _antiberty() -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    package = importlib.util.find_spec("antiberty")
    assert package is not None
    folder = Path(str(package.origin)).parent / "trained_models" / "AntiBERTy_md_smooth"
    model = BertForMaskedLM(BertConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8"))))
    state = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    missing = model.load_state_dict(state, strict=False).missing_keys
    assert not missing, missing
    return _Logits(model).eval()


def _sampled() -> Path:
    """Return a file of sequences drawn from the model itself, places in random order, a few at a time."""
    path = Path(tempfile.gettempdir()) / "l0quad-antiberty-sequences.pt"
    if path.exists():
        return path
    model = _antiberty()
    torch.manual_seed(0)
    tokens = torch.full((SEQUENCES + UNSEEN, LENGTH + 2), MASK)
    tokens[:, 0], tokens[:, -1] = 2, 3
    with torch.no_grad():
        while (masked := tokens == MASK).any():
            drawn = torch.distributions.Categorical(logits=_residues(model(tokens))).sample() + SPECIAL
            places = (torch.rand(tokens.shape) * masked).topk(A_STEP, dim=1).indices
            tokens.scatter_(1, places, drawn.gather(1, places))
    torch.save(tokens, path)
    return path


def _residues(logits: torch.Tensor) -> torch.Tensor:
    return logits[..., SPECIAL:]


def _losses(model: nn.Module, tokens: torch.Tensor) -> list[float]:
    generator = torch.Generator().manual_seed(1)
    found = []
    with torch.no_grad():
        for sequence in tokens:
            first = 1 + torch.randperm(APART, generator=generator)[:TURNS, None]
            places = first + torch.arange(0, LENGTH, APART)
            masked = sequence.repeat(TURNS, 1).scatter(1, places, MASK)
            told = _residues(model(masked)).log_softmax(-1)
            told = told.gather(1, places[:, :, None].expand(-1, -1, told.shape[-1]))
            found.append(-float(told.gather(2, sequence[places][:, :, None] - SPECIAL).mean()))
    return found


def killed() -> None:
    """Kill a run in the middle, let another one go on, and compare with one that was not stopped."""
    script = (
        "import sys, torch, networks; from l0quad_adapters.torch import prune_layers, save_sparse\n"
        "torch.set_num_threads(1); n = networks.load('ResNet20')\n"
        "tell = lambda stage: print(stage.stage, flush=True)\n"
        "options = {'checkpoint': sys.argv[2]} if len(sys.argv) > 2 else {}\n"
        "prune_layers(n.model, n.train[0][:100], .7, batch_size=50, n_threads=1, callback=tell, **options)\n"
        "save_sparse(n.model, sys.argv[1])\n"
    )
    environment = {**os.environ, **ONE_THREAD}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, resumed, checkpoint = folder / "whole", folder / "resumed", folder / "run.pt"
        command = [sys.executable, "-c", script]
        subprocess.run([*command, whole], env=environment, check=True, capture_output=True)
        process = subprocess.Popen([*command, resumed, checkpoint], env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        done = 0
        for line in process.stdout:
            done = int(line)
            if done == 11:
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
        process.stdout.close()
        again = subprocess.run([*command, resumed, checkpoint], env=environment, check=True, capture_output=True)
        first = int(again.stdout.split()[0])
        same = whole.read_bytes() == resumed.read_bytes()
    keep({"network": "kill", "after": done, "first": first, "same": same})


def every() -> list[dict[str, Any]]:
    return [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()] if KEPT.exists() else []


def kept(network: str) -> list[dict[str, Any]]:
    return [each for each in every() if each["network"] == network]


def keep(told: dict[str, Any]) -> None:
    with KEPT.open("a", encoding="utf-8") as file:
        file.write(json.dumps(told | {"machine": machine(1)}) + "\n")
    print(str(told)[:200], flush=True)


def one(network: str, method: str, sparsity: str) -> dict[str, Any] | None:
    found = [each for each in kept(network) if (each["method"], each["sparsity"]) == (method, sparsity)]
    return found[-1] if found else None


def run(network: str, method: str, sparsity: str) -> None:
    if one(network, method, sparsity) is not None:
        return
    command = [sys.executable, __file__, "--child", network, method, sparsity]
    out = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False)
    if out.returncode:
        print(network, method, sparsity, out.stderr[-1500:], flush=True)
    else:
        keep(json.loads(out.stdout.splitlines()[-1]))


def cell(told: dict[str, Any] | None, value: str, scale: float = 1.0, digits: int = 0) -> str:
    return "-" if told is None or value not in told else f"{told[value] * scale:.{digits}f}"


def pruned_together() -> dict[tuple[str, str], str]:
    """Return ResNet20's accuracies after `prune`, by sparsity and method, from the first table of their own page."""
    lines = (RESULTS / "pruning-resnet20.md").read_text(encoding="utf-8").split("| sparsity |")[1].splitlines()
    cells = [[part.strip() for part in line.strip("| ").split("|")] for line in lines if line.strip()]
    rows = [row for row in cells[2:] if len(row) == len(cells[0]) + 1]
    return {(row[0], name): value for row in rows for name, value in zip(cells[0], row[1:], strict=True)}


def accuracies() -> str:
    told, rows = pruned_together(), []
    for each in kept("ResNet20"):
        told[each["sparsity"], each["method"]] = f"{each['accuracy']:.2f}"
    for sparsity in SPARSITIES["ResNet20"]:
        found = one("ResNet20", "ours", sparsity)
        others = [" / ".join(told.get((sparsity, name), "-") for name in names) for names in TOGETHER.values()]
        costs = [cell(found, "gap", 100), cell(found, "seconds"), cell(found, "peak", 2**-20)]
        rows.append([sparsity, f"{cell(found, 'accuracy', 1, 2)} / {cell(found, 'renewed', 1, 2)}", *others, *costs])
    return table(["sparsity", "layer by layer", *TOGETHER, "gap, %", "seconds", "MiB"], rows)


def perplexity(losses: list[float]) -> float:
    return math.exp(statistics.fmean(losses))


def beside(losses: list[float], other: list[float]) -> str:
    """Return by how much a perplexity is above another, in %, and the standard error over the sequences."""
    ratios = [a - b for a, b in zip(losses, other, strict=True)]
    error = statistics.stdev(ratios) / math.sqrt(len(ratios))
    return f"{100 * math.expm1(statistics.fmean(ratios)):+.1f} ± {100 * error:.1f}"


def perplexities() -> str:
    names, dense, rows = SPARSITIES["antiberty"], one("antiberty", "dense", "0"), []
    for method in METHODS:
        runs = [one("antiberty", method, name) for name in names]
        told = ["-" if each is None else f"{perplexity(each['losses']):.3f}" for each in runs]
        above = ["-" if each is None or dense is None else beside(each["losses"], dense["losses"]) for each in runs]
        rows.append([method, *(part for pair in zip(told, above, strict=True) for part in pair)])
    return table(["method", *(part for name in names for part in (name, "beside dense, %"))], rows)


def ours_beside(method: str) -> str:
    told = []
    for name in SPARSITIES["antiberty"]:
        ours, other = one("antiberty", "ours", name), one("antiberty", method, name)
        if ours is not None and other is not None:
            told.append(f"{beside(ours['losses'], other['losses'])} % at {name}")
    return f"Ours beside {method}, sequence by sequence: {', '.join(told) or '-'}."


def costs() -> str:
    names = SPARSITIES["antiberty"]
    rows = [
        [method, *(cell(each, "seconds") for each in runs), *(cell(each, "peak", 2**-20) for each in runs)]
        for method in METHODS
        for runs in [[one("antiberty", method, name) for name in names]]
    ]
    return table(["method", *(f"seconds, {each}" for each in names), *(f"MiB, {each}" for each in names)], rows)


def by_layer() -> str:
    """Return the errors, seconds and memory of each kind of layer at the first sparsity, over the blocks."""
    runs = {method: told for method in METHODS if (told := one("antiberty", method, SPARSITIES["antiberty"][0]))}
    found: dict[str, dict[str, list[list[Any]]]] = {}
    for method, told in runs.items():
        for layer in told["layers"]:
            found.setdefault(layer[0].split(".", 4)[4], {}).setdefault(method, []).append(layer)
    rows = []
    for kind, by_method in found.items():
        cells = []
        for layers in by_method.values():
            error, seconds = (statistics.fmean(layer[i] for layer in layers) for i in (1, 2))
            most = max(layer[3] for layer in layers) / 2**20
            cells.append(f"{100 * error:.2f} %, {seconds:.1f} s, {most:.0f} MiB")
        rows.append([kind.removesuffix(".weight"), *cells])
    return table(["layer", *runs], rows)


def the_kill() -> str:
    if not (found := kept("kill")):
        return "Not run."
    return (
        f"ResNet20 at .7 with 100 images: killed (SIGKILL) after layer {found[-1]['after']}, another process went on "
        f"with layer {found[-1]['first']}; the file of the network is "
        f"{'the same to the byte' if found[-1]['same'] else 'ANOTHER'} as that of a run that was not stopped."
    )


def page() -> None:
    dense = one("antiberty", "dense", "0")
    before = "-" if dense is None else f"{perplexity(dense['losses']):.3f}"
    report(
        "layerwise",
        "Pruning layer by layer",
        f"`prune_layers` with its defaults. {machines(each.get('machine') for each in every())}. "
        "CPU seconds; private memory over what was there before. "
        "Published rules are our own implementations, as their papers state them, on the same inputs, damping and "
        "budgets (of a whole layer, Wanda too).",
        "## ResNet20\n\nTest accuracy, %, with the statistics of batch normalisation as they were and, after the "
        f"stroke, with new ones (1024 images); dense 88.30 / 84.33. {IMAGES} training images, no labels, one seed. "
        "Beside them `prune` as it stands in [pruning-resnet20](pruning-resnet20.md), at 2:4 in its settings for .5: "
        "it shares one budget among all layers, and has labels; its stages keep the statistics.",
        accuracies(),
        f"## A transformer\n\nAntiBERTy (26 million parameters): the linear layers of all 8 blocks are pruned. "
        f"Pseudo-perplexity on {UNSEEN} sequences that are not used, {LENGTH // APART} residues masked at a time, "
        f"{APART} places apart, {TURNS} times a sequence: {before} "
        "before pruning; beside it, by how much it is higher, with the standard error over the sequences (the same "
        f"masks for all). {SEQUENCES} sequences of {LENGTH} residues to gather from. All sequences are sampled from "
        f"the model itself, places in random order, {A_STEP} at a time. No bounds computed. Seconds are those of "
        "gathering and solving. A dash was not run.",
        perplexities(),
        " ".join(ours_beside(method) for method in ("SparseGPT", "ALPS' ADMM")),
        costs(),
        f"By layer at {SPARSITIES['antiberty'][0]}: the error beside the outputs' size (on the sequences gathered "
        "from), CPU seconds with gathering, means over the blocks; and the most memory, in which is a copy of the "
        "network (100 MiB), for failures. Magnitude's seconds are those of gathering.",
        by_layer(),
        f"## After a kill\n\n{the_kill()}",
    )  # fmt: skip


def main(names: list[str]) -> None:
    RESULTS.mkdir(exist_ok=True)
    for network in names:
        if network == "kill":
            killed()
        elif network == "ResNet20":
            for sparsity in SPARSITIES[network]:
                run(network, "ours", sparsity)
            for method in (name for names in TOGETHER.values() for name in names):
                run(network, method, "2:4")
        elif network == "antiberty":
            run(network, "dense", "0")
            for sparsity in SPARSITIES[network]:
                for method in METHODS:
                    run(network, method, sparsity)
        page()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main(sys.argv[1:] or ["ResNet20", "antiberty", "kill"])
