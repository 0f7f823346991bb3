"""Pruning layer by layer: ResNet20's accuracy, a transformer's pseudo-perplexity, seconds and memory, a kill.

``python layerwise.py [ResNet20] [antiberty] [kill]``; antiberty needs ``transformers`` and ``antiberty<1``, whose wheel
holds the trained network (26 million parameters, BERT for antibodies). Every run is a process of its own on one thread;
what is done is kept in results/layerwise.jsonl and not run again. The published rules are implementations of our own.
"""

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from l0quad_adapters.torch import PruneReport, prune_layers
from measure import RESULTS, PeakMemory, machine, report, table
from torch import nn

import l0quad

KEPT = RESULTS / "layerwise.jsonl"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
METHODS = {"magnitude": "magnitude", "Wanda": "wanda", "SparseGPT": "sparsegpt", "ALPS' ADMM": "admm", "ours": "auto"}
PATTERNS = {"2:4": l0quad.NofM(2, 4)}
SPARSITIES = {"ResNet20": ("0.5", "0.6", "0.7", "0.8", "0.9", "2:4"), "antiberty": ("0.7", "0.5", "2:4")}
# Images; sequences to gather from and to measure on, masked places of each, and the blocks that are pruned.
IMAGES = 500
SEQUENCES, UNSEEN, PLACES, BLOCKS = 24, 16, 10, 1
LENGTH, A_STEP, SPECIAL, MASK = 115, 5, 5, 4


def sparsity_of(name: str) -> Any:
    return PATTERNS[name] if name in PATTERNS else float(name)


def child(network: str, method: str, sparsity: str) -> None:
    """Print one run as a line of JSON."""
    torch.set_num_threads(1)
    begin = time.process_time()
    measured, found = (resnet20 if network == "ResNet20" else antiberty)(METHODS.get(method), sparsity)
    told: dict[str, Any] = {"network": network, "method": method, "sparsity": sparsity} | measured
    if found is not None:
        told |= {
            "seconds": found.seconds, "gap": found.total.relative_gap, "zeros": found.achieved_sparsity,
            "layers": [
                [stage.layer, stage.relative_error, stage.gradient_seconds, stage.solve_seconds]
                for stage in found.stages
            ],
        }  # fmt: skip
    print(json.dumps(told | {"cpu": time.process_time() - begin}))


def resnet20(method: str | None, sparsity: str) -> tuple[dict[str, Any], PruneReport | None]:
    """Return the test accuracy, the statistics of batch normalisation kept."""
    import networks

    network = networks.load("ResNet20")
    model, images = network.model, network.train[0]
    chosen = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:IMAGES]]
    with PeakMemory() as peak:
        found = prune_layers(model, chosen, sparsity_of(sparsity), method=method, batch_size=50, n_threads=1)
    return {"accuracy": network.accuracy(model), "peak": peak.extra}, found


def antiberty(method: str | None, sparsity: str) -> tuple[dict[str, Any], PruneReport | None]:
    """Return the pseudo-perplexity on sequences that are not used; ``method`` None: of the dense network."""
    model, tokens = _antiberty(), torch.load(_sampled())
    if method is None:
        return {"perplexity": _perplexity(model, tokens[SEQUENCES:])}, None
    weights = [f"bert.encoder.layer.{block}.*" for block in range(BLOCKS)]
    exclude = ["*.bias", "*LayerNorm*"]
    with PeakMemory() as peak:
        found = prune_layers(
            model, tokens[:SEQUENCES], sparsity_of(sparsity), method=method, weights=weights, exclude=exclude,
            bound="none", n_threads=1,
        )  # fmt: skip
    return {"perplexity": _perplexity(model, tokens[SEQUENCES:]), "peak": peak.extra}, found


class _Logits(nn.Module):
    """The language model alone: tokens to logits."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert, self.cls = bert.bert, bert.cls

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.cls(self.bert(input_ids=tokens).last_hidden_state)


def _antiberty() -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    package = importlib.util.find_spec("antiberty")
    assert package is not None
    folder = Path(str(package.origin)).parent / "trained_models" / "AntiBERTy_md_smooth"
    model = BertForMaskedLM(BertConfig(**json.loads((folder / "config.json").read_text())))
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


def _perplexity(model: nn.Module, tokens: torch.Tensor) -> float:
    """Return exp of the mean negative log-probability of a residue where it alone is masked."""
    generator = torch.Generator().manual_seed(1)
    total = 0.0
    with torch.no_grad():
        for sequence in tokens:
            places = 1 + torch.randperm(LENGTH, generator=generator)[:PLACES]
            masked = sequence.repeat(PLACES, 1)
            masked[torch.arange(PLACES), places] = MASK
            told = _residues(model(masked)).log_softmax(-1)[torch.arange(PLACES), places]
            total -= float(told.gather(1, sequence[places, None] - SPECIAL).sum())
    return math.exp(total / (len(tokens) * PLACES))


def killed() -> str:
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
    return (
        f"ResNet20 at .7 with 100 images: killed (SIGKILL) after layer {done}, another process went on with layer "
        f"{first}; the file of the network is {'the same to the byte' if same else 'ANOTHER'} as that of a run that "
        "was not stopped."
    )


def done() -> list[dict[str, Any]]:
    return [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []


def run(network: str, method: str, sparsity: str) -> None:
    if any((each["network"], each["method"], each["sparsity"]) == (network, method, sparsity) for each in done()):
        return
    command = [sys.executable, __file__, "--child", network, method, sparsity]
    out = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False)
    if out.returncode:
        print(network, method, sparsity, out.stderr[-1500:], flush=True)
        return
    line = out.stdout.splitlines()[-1]
    with KEPT.open("a") as file:
        file.write(line + "\n")
    print(line[:200], flush=True)


def cell(network: str, method: str, sparsity: str, value: str, scale: float = 1.0, digits: int = 2) -> str:
    for each in done():
        if (each["network"], each["method"], each["sparsity"]) == (network, method, sparsity):
            return f"{each[value] * scale:.{digits}f}"
    return "-"


def pruned_together() -> dict[str, dict[str, str]]:
    """Return ResNet20's accuracies after `prune`, by sparsity and method, from the first table of their own page."""
    lines = (RESULTS / "pruning-resnet20.md").read_text().split("| sparsity |")[1].splitlines()
    cells = [[part.strip() for part in line.strip("| ").split("|")] for line in lines if line.strip()]
    names = cells[0]
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in cells[2:] if len(row) == len(names) + 1}


def accuracies() -> str:
    beside = (
        "magnitude, statistics kept",
        "CHITA, statistics kept",
        "ours, one stage, statistics kept",
        "ours, stages",
    )
    told = pruned_together()
    rows = [
        [sparsity, cell("ResNet20", "ours", sparsity, "accuracy")]
        + [told.get(sparsity, {}).get(name, "-") for name in beside]
        + [cell("ResNet20", "ours", sparsity, "gap", 100, 0), cell("ResNet20", "ours", sparsity, "seconds", 1, 0),
           cell("ResNet20", "ours", sparsity, "peak", 2**-20, 0)]
        for sparsity in SPARSITIES["ResNet20"]
    ]  # fmt: skip
    head = ["sparsity", "layer by layer", *(f"`prune`: {name}" for name in beside)]
    return table([*head, "gap, %", "seconds", "MiB"], rows)


def perplexities() -> str:
    rows = [
        [method] + [cell("antiberty", method, sparsity, "perplexity", 1, 3) for sparsity in SPARSITIES["antiberty"]]
        + [cell("antiberty", method, sparsity, "seconds", 1, 0) for sparsity in SPARSITIES["antiberty"]]
        + [cell("antiberty", method, SPARSITIES["antiberty"][0], "peak", 2**-20, 0)]
        for method in METHODS
    ]  # fmt: skip
    names = SPARSITIES["antiberty"]
    return table(["method", *names, *(f"seconds, {name}" for name in names), f"MiB, {names[0]}"], rows)


def by_layer() -> str:
    """Return seconds and errors of the first block's layers at the first sparsity."""
    first = SPARSITIES["antiberty"][0]
    runs = {each["method"]: each for each in done() if (each["network"], each["sparsity"]) == ("antiberty", first)}
    rows = []
    for i, (name, _, gathered, _) in enumerate(runs[next(iter(runs))]["layers"] if runs else []):
        cells = [f"{100 * run['layers'][i][1]:.2f} %, {run['layers'][i][3]:.1f}" for run in runs.values()]
        rows.append([name.removeprefix("bert.encoder."), f"{gathered:.1f}", *cells])
    return table(["layer", "gathering, s", *(f"{name}: error, s" for name in runs)], rows)


def tell(kill: str) -> None:
    dense = cell("antiberty", "dense", "0", "perplexity", 1, 3)
    report(
        "layerwise",
        "Pruning layer by layer",
        f"`prune_layers` with its defaults, {machine(1)}. Wall-clock seconds on a machine that others used too; "
        "private memory over what was there before. Published rules are our own implementations, as their papers state "
        "them, on the same inputs, damping and budgets (of a whole layer, Wanda too).",
        f"## ResNet20\n\nTest accuracy, %, dense 88.30. {IMAGES} training images, no labels, one seed. Beside them "
        "`prune` as it stands in [pruning-resnet20](pruning-resnet20.md): it shares one budget among all layers, and "
        "has labels.",
        accuracies(),
        "## A transformer\n\nAntiBERTy (26 million parameters, 8 blocks): pseudo-perplexity (a residue alone masked, "
        f"{PLACES} places of each of {UNSEEN} sequences that are not used), dense {dense}. {SEQUENCES} sequences of "
        f"{LENGTH} residues to gather from, sampled from the model itself, places in random order, {A_STEP} at a time. "
        f"**Pruned are the linear layers of {BLOCKS} block, the first**, the others are dense; no bounds computed. "
        "A dash was not run. This is too little to rank methods by pseudo-perplexity: magnitude pruning came out below "
        "the dense network. The errors are those on the sequences gathered from, not on others.",
        perplexities(),
        f"By layer at {SPARSITIES['antiberty'][0]}: the error beside the outputs' size, and seconds to solve.",
        by_layer(),
        f"## After a kill\n\n{kill}",
    )  # fmt: skip


def main(names: list[str]) -> None:
    RESULTS.mkdir(exist_ok=True)
    kill = "Not run."
    for network in names:
        if network == "kill":
            kill = killed()
            continue
        if network == "antiberty":
            run(network, "dense", "0")
        for sparsity in SPARSITIES[network]:
            for method in METHODS if network == "antiberty" else ("ours",):
                run(network, method, sparsity)
    tell(kill)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main(sys.argv[1:] or ["ResNet20", "antiberty", "kill"])
