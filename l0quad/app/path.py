"""``l0quad path``: the best subsets of many sizes, which of them to take, and a picture."""

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import l0quad
from l0quad.api.path_result import Fit, PathResult
from l0quad.app.inputs import Input, read, shown
from l0quad.app.report import OUTPUTS
from l0quad.app.wrong_input import checked
from l0quad.files.atomic import check_writable, write_atomically
from l0quad.run.progress import Progress

_PICTURES = (".png", ".pdf", ".svg")


class Paths(NamedTuple):
    """A path whose columns have names, and the fit that was chosen, None where it was cut short before it could be."""

    found: PathResult
    names: tuple[str, ...]
    intercept: bool
    criterion: str
    best: Fit | None


def answered(arguments: argparse.Namespace) -> Paths:
    """Solve what the arguments ask for."""
    criterion = arguments.criterion or ("bic" if arguments.cv is None else "cv")
    with checked():
        for path, suffixes in ((arguments.output, tuple(OUTPUTS)), (arguments.plot, _PICTURES)):
            if path is not None:
                check_writable(path, suffixes)
        if criterion in ("cv", "1se") and arguments.cv is None:
            raise ValueError(f"--criterion: {criterion} needs --cv, the number of folds")
        given = read(arguments)
        if given.file.linear is not None:
            raise ValueError("a path has no linear term, but the file has one")
        ridges = arguments.ridges or [0.0 if given.file.ridge is None else float(given.file.ridge)]
        progress = Progress() if shown(arguments) else None
        # What is wrong with the arguments is a ValueError before any work; nothing else raises one.
        found = l0quad.path(
            given.A,
            given.file.b,
            _possible(arguments, given),
            ridges,
            w0=given.file.w0,
            fit_intercept=given.intercept,
            standardize=given.standardize,
            constraint=given.constraint,
            effort=arguments.effort,
            bound=arguments.bound,
            cv=arguments.cv,
            seed=arguments.seed,
            time_limit=arguments.time_limit,
            n_threads=arguments.threads,
            callback=progress,
        )
    if progress is not None:
        progress.clear()
    ended = bool(found.fits) and (arguments.cv is None or "cv" in found[0].scores)
    names = found.names or tuple(map(str, range(found.n_columns)))
    return Paths(found, names, given.intercept, criterion, found.best(criterion) if ended else None)


def _possible(arguments: argparse.Namespace, given: Input) -> list[int]:
    """Return the numbers of columns, none above what there is: these would all have the same fit."""
    most = given.A.shape[1] - len(arguments.never)
    if max(arguments.k) > most:
        print(f"l0quad: note: {arguments.input}: -k ends at {most}, the number of columns", file=sys.stderr)
    return [min(k, most) for k in arguments.k]


def report(paths: Paths, arguments: argparse.Namespace) -> None:
    """Write and print a path."""
    try:
        _write(paths, arguments)
    finally:
        print(FORMATS[arguments.format](paths))


def _write(paths: Paths, arguments: argparse.Namespace) -> None:
    output, picture = arguments.output, arguments.plot
    if output is not None:
        with checked(output):
            form = OUTPUTS[output.suffix.lower()]
            if form is None:
                paths.found.save(output)
            else:
                text = FORMATS[form](paths) + "\n"
                write_atomically(output, lambda file: file.write(text.encode()))
    if picture is not None and paths.found.fits:
        try:
            drawn = paths.found.plot(names=paths.names)
        except ImportError:
            print('l0quad: note: for a picture: pip install "l0quad[plot]"', file=sys.stderr)
            return
        with checked(picture):
            form = picture.suffix[1:].lower()
            write_atomically(picture, lambda file: drawn.savefig(file, format=form, dpi=150))


def as_text(paths: Paths) -> str:
    """Return a line for each fit, and the one that was chosen."""
    cv = any("cv" in fit.scores for fit in paths.found)
    score = "cv" if cv else "bic"
    lines = [f"{'k':>4} {'ridge':>9} {'objective':>12} {'lower bound':>12} {'gap %':>8} {score:>11}  chosen"]
    for fit in paths.found:
        result = fit.result
        gap = "proven" if result.status is l0quad.Status.OPTIMAL else f"{100 * min(result.relative_gap, 99.99):.2f}"
        numbers = f"{fit.k:4d} {fit.ridge:9.3g} {result.objective:12.6g} {result.lower_bound:12.6g} {gap:>8}"
        lines.append(f"{numbers} {fit.scores[score]:11.5g}  {' '.join(_chosen(paths, fit))}")
    best = paths.best
    if best is None:
        lines.append(f"\n{paths.found.status.value}")
        return "\n".join(lines)
    lines.append(f"\nbest by {paths.criterion}: k = {best.k}, ridge = {best.ridge:g}; {best.result.message}")
    if paths.intercept:
        lines.append(f"  {'(intercept)':<20}{best.intercept:12.5g}")
    lines += [f"  {paths.names[j]:<20}{best.coef[j]:12.5g}" for j in best.result.support.tolist()]
    return "\n".join(lines)


def as_csv(paths: Paths) -> str:
    """Return a line for each fit: its numbers, its scores, the intercept and a coefficient for each column."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    table = paths.found.to_dict()
    rows.writerow([*table, "(intercept)", *paths.names])
    for fit, values in zip(paths.found, zip(*table.values(), strict=True), strict=True):
        rows.writerow([*map(_plain, values), repr(float(fit.intercept)), *(repr(float(each)) for each in fit.coef)])
    return text.getvalue().rstrip("\n")


def as_json(paths: Paths) -> str:
    """Return everything as JSON."""
    table = paths.found.to_dict()
    fits: list[dict[str, Any]] = []
    for fit, values in zip(paths.found, zip(*table.values(), strict=True), strict=True):
        coefficients = [
            {"name": paths.names[j], "column": j, "value": float(fit.coef[j])} for j in fit.result.support.tolist()
        ]
        known = dict(zip(table, values, strict=True))
        fits.append({**known, "intercept": float(fit.intercept), "coefficients": coefficients})
    best = None if paths.best is None else {"k": paths.best.k, "ridge": paths.best.ridge}
    content = {
        "status": paths.found.status.name.lower(),
        "seconds": paths.found.seconds,
        "criterion": paths.criterion,
        "best": best,
        "fits": fits,
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def _chosen(paths: Paths, fit: Fit) -> Sequence[str]:
    return [paths.names[j] for j in fit.result.support.tolist()]


def _plain(value: object) -> object:
    return repr(value) if isinstance(value, float) else value


FORMATS = {"text": as_text, "csv": as_csv, "json": as_json}
