"""Test accuracy after pruning MLPNet and ResNet20, without fine-tuning, and the seconds of every run.

``python pruning.py MLPNet`` or ``ResNet20``; ``again`` after it repeats the runs of `AGAIN` on the code as it is now.
What an optimizer does in the same seconds is read from the runs of `gradual.py`. Every run is a process of its own on
one thread, two at a time; what is done is kept in results/pruning-NAME.jsonl and not run again.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradual
from l0quad_adapters.torch import Refit
from measure import RESULTS, machine, machines, report, table

import l0quad

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
WORKERS = int(os.environ.get("WORKERS", "2"))
ONE_STAGE = {"stages": 1, "refit_stages": 0, "batch_size": 1, "recalibrate": True}
SINGLE = ONE_STAGE | {"n_rows": 1000, "first_order": False, "l2": 1e-4}
RESNET20_BASELINES: dict[str, dict[str, Any]] = {
    "magnitude": {"method": "magnitude", **ONE_STAGE},
    "WoodFisher": {"method": "woodfisher", **ONE_STAGE, "n_rows": 500, "l2": 1e-5},
    "CHITA": {"method": "active_set", **SINGLE, "n_rows": 500},
    "ours, one stage": {"method": "auto", **SINGLE, "n_rows": 500, "l2": 0.01, "scale_rows": True},
}
# ResNet20 seems fine-tuned with the statistics of its first training: new ones cost the dense network 4 points.
KEPT = ", statistics kept"
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "MLPNet": {
        "magnitude": {"method": "magnitude", **ONE_STAGE},
        "WoodFisher": {"method": "woodfisher", **ONE_STAGE, "n_rows": 2000, "l2": 1e-3},
        "CBS": {"method": "cbs", **ONE_STAGE, "n_rows": 4000, "l2": 1e-2},
        "CHITA": {"method": "active_set", **SINGLE, "l2": 1e-2},
        "ours, one stage": {"method": "auto", **SINGLE, "n_rows": 2000, "l2": 0.02, "scale_rows": True},
        "ours, stages": {
            "method": "backsolve", "n_rows": 500, "batch_size": 16, "l2": 0.003, "stages": 45, "refit_stages": 15,
            "refit": Refit(momentum=0.8),
        },
    },
    "ResNet20": {
        **RESNET20_BASELINES,
        **{name + KEPT: settings | {"recalibrate": False} for name, settings in RESNET20_BASELINES.items()},
        "ours, stages": {
            "method": l0quad.Backsolve(steps=0), "n_rows": 500, "batch_size": 1, "l2": 0.01, "scale_rows": True,
            "schedule": "geometric", "recalibrate": False, "softened": True,
        },
    },
}  # fmt: skip
# ResNet20's stages, refits at the end, and how many of these are averaged: the higher the sparsity, the more it takes.
RESNET20_STAGES = {
    **dict.fromkeys((0.3, 0.4, 0.5, 0.6), (10, 60, 30)),
    0.7: (10, 130, 60),
    **dict.fromkeys((0.8, 0.9), (20, 110, 50)),
}
NOTES = {
    "MLPNet": "Dense: 93.97 %.",
    "ResNet20": "Dense: 88.30 %, with new statistics of batch normalisation 84.33 %: it seems fine-tuned with "
    "those of its first training. Settings were chosen by test accuracy, on seed 0. The training images are 20,000 and "
    "their mirror images. The seconds of softened runs have those of the dense network's predictions in them. "
    "The stages that were run again ran on another machine.",
}
# What is run on the code as it is now, beside what is kept: method, sparsity, seed.
AGAIN = {
    "MLPNet": [
        ("ours, one stage", 0.9, 0),
        ("ours, one stage", 0.98, 0),
        ("ours, stages", 0.9, 0),
        *(("ours, stages", 0.98, seed) for seed in range(3)),
    ],
    "ResNet20": [("ours, stages", 0.9, 0)],
}
# The published figures: test accuracy by sparsity (CHITA, ICML 2023, table 1).
PUBLISHED = {
    "MLPNet": {
        0.5: (93.93, 94.02, 93.96, 93.97, 95.97),
        0.6: (93.78, 93.82, 93.96, 93.94, 95.93),
        0.7: (93.62, 93.77, 93.98, 93.80, 95.89),
        0.8: (92.89, 93.57, 93.90, 93.59, 95.80),
        0.9: (90.30, 91.69, 93.14, 92.46, 95.55),
        0.95: (83.64, 85.54, 88.92, 88.09, 94.70),
        0.98: (32.25, 38.26, 55.45, 46.25, 90.73),
    }
}
COLUMNS = ("magnitude", "WoodFisher", "CBS", "CHITA", "CHITA++")
SPARSITIES = {"MLPNet": tuple(PUBLISHED["MLPNet"]), "ResNet20": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)}


def seeds(name: str, sparsity: float, method: str) -> range:
    if (name, method) == ("MLPNet", "magnitude"):
        return range(1)
    several = name == "MLPNet" or (sparsity in (0.7, 0.9) and not method.endswith(KEPT))
    return range(3 if several else 1)


def settings_of(name: str, method: str, sparsity: float) -> dict[str, Any]:
    settings = SETTINGS[name][method]
    if (name, method) != ("ResNet20", "ours, stages"):
        return settings
    stages, refits, average = RESNET20_STAGES[sparsity]
    refit = Refit(between=2, n_rows=250, l2=4.0, momentum=0.9, average=average)
    return settings | {"stages": stages, "refit_stages": refits, "refit": refit}


def child(name: str, method: str, sparsity: float, seed: int) -> None:
    """Print one run as a line of JSON."""
    import resource

    import networks
    import torch
    from l0quad_adapters.torch import prune

    torch.set_num_threads(1)
    network = networks.load(name)
    settings = settings_of(name, method, sparsity)
    options = {key: value for key, value in settings.items() if key != "softened"}
    begin = time.perf_counter()
    if settings.get("softened"):
        network = networks.softened(network)
    found = prune(network.model, network.loss_fn, network.train, sparsity, seed=seed, **options)
    seconds = time.perf_counter() - begin
    total = found.total
    print(
        json.dumps(
            {
                "method": method, "sparsity": sparsity, "seed": seed, "accuracy": network.accuracy(network.model),
                "seconds": seconds, "gradients": total.gradient_seconds, "solving": total.solve_seconds,
                "achieved": found.achieved_sparsity, "settings": settings,
                "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "machine": machine(1),
            },
            default=repr,
        )
    )  # fmt: skip


def run_all(name: str, kept: Path, again: bool) -> list[dict[str, Any]]:
    """Run what is not in the file yet, the first seed and the cheap methods first; return all runs."""
    done = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()] if kept.exists() else []
    keys = {
        (run["method"], run["sparsity"], run["seed"])
        for run in done
        if run["settings"] == _plain(name, run) and run.get("again", False) == again
    }
    wanted = [
        (method, sparsity, seed)
        for seed in range(3)
        for method in SETTINGS[name]
        for sparsity in reversed(SPARSITIES[name])
        if seed in seeds(name, sparsity, method)
    ]
    if again:
        wanted = AGAIN[name]
    todo = [key for key in wanted if key not in keys]

    def one(key: tuple[str, float, int]) -> None:
        command = [sys.executable, __file__, name, *map(str, key)]
        out = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False)
        if out.returncode:
            print(key, out.stderr[-500:], flush=True)
            return
        line = json.dumps(json.loads(out.stdout) | ({"again": True} if again else {}))
        with kept.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, todo))
    return [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]


def _plain(name: str, run: dict[str, Any]) -> dict[str, Any] | None:
    if run["method"] not in SETTINGS[name]:
        return None
    return json.loads(json.dumps(settings_of(name, run["method"], run["sparsity"]), default=repr))


def tables(name: str, runs: list[dict[str, Any]]) -> list[str]:
    """Return accuracies beside the published ones, and seconds."""
    every = [run for run in runs if run["settings"] == _plain(name, run)]
    runs = [run for run in every if not run.get("again")]
    methods = list(SETTINGS[name])
    accuracy, seconds = [], []
    for sparsity in SPARSITIES[name]:
        cells: list[str] = []
        times: list[str] = []
        for method in methods:
            mine = [run for run in runs if (run["method"], run["sparsity"]) == (method, sparsity)]
            values = [run["accuracy"] for run in mine]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}" if values else "-")
            times.append(f"{max(run['seconds'] for run in mine):.1f}" if mine else "-")
        published = PUBLISHED.get(name, {}).get(sparsity, ())
        trained = [gradual.cell(name, way, sparsity) for way in gradual.WAYS[name]]
        accuracy.append([f"{sparsity:g}", *cells, *trained, *(f"{value:.2f}" for value in published)])
        seconds.append([f"{sparsity:g}", *times])
    header = ["sparsity", *methods]
    published_header = [f"published {column}" for column in COLUMNS] if name in PUBLISHED else []
    most = [[m, max((r["MiB"] for r in runs if r["method"] == m), default="-")] for m in methods]
    return [
        "Test accuracy, %, mean and standard deviation over the seeds:",
        table([*header, *gradual.WAYS[name], *published_header], accuracy),
        f"The columns from gradual magnitude to gradual_prune train on, {gradual.SECONDS[name]} CPU s in all; their "
        "settings and seconds stand in [gradual](gradual.md).",
        "Run again on the code of these columns:",
        table(["method", "sparsity", "seed", "accuracy before", "again", "s before", "again"], _again(every)),
        "Seconds of the slowest run, gradients included, on one thread beside another run:",
        table(header, seconds),
        "Peak resident memory of a process, data included:",
        table(["method", "MiB"], most),
        "Settings:",
        table(["method", "at", "settings"], _settings_rows(name)),
    ]


def _again(runs: list[dict[str, Any]]) -> list[list[object]]:
    """Return the runs that were repeated beside what they repeat."""
    rows: list[list[object]] = []
    for now in (run for run in runs if run.get("again")):
        key = [now[name] for name in ("method", "sparsity", "seed")]
        then = next(r for r in runs if not r.get("again") and [r[n] for n in ("method", "sparsity", "seed")] == key)
        both = [
            f"{run[value]:.{digits}f}" for value, digits in (("accuracy", 2), ("seconds", 1)) for run in (then, now)
        ]
        rows.append([*key, *both])
    return rows


def _settings_rows(name: str) -> list[list[object]]:
    """Return each method's settings with the sparsities that it has them at."""
    at: dict[tuple[str, str], list[float]] = {}
    for method in SETTINGS[name]:
        for sparsity in SPARSITIES[name]:
            text = ", ".join(f"{key}={value!r}" for key, value in settings_of(name, method, sparsity).items())
            at.setdefault((method, text), []).append(sparsity)
    every = len(SPARSITIES[name])
    return [
        [method, "all" if len(found) == every else " ".join(f"{s:g}" for s in found), text]
        for (method, text), found in at.items()
    ]


def main(name: str, again: bool) -> None:
    RESULTS.mkdir(exist_ok=True)
    runs = run_all(name, RESULTS / f"pruning-{name.lower()}.jsonl", again)
    report(
        f"pruning-{name.lower()}",
        f"Pruning {name}",
        "Every run starts from the trained network; a row is a sample's, or the mean of batch_size samples'. "
        f"{NOTES[name]} {machines(run.get('machine') for run in runs)}.",
        *tables(name, runs),
    )


if __name__ == "__main__":
    if len(sys.argv) > 3:
        child(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
    else:
        main(sys.argv[1], sys.argv[2:] == ["again"])
