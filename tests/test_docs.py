"""Every Python example of the README and the docs runs as it stands."""

import doctest
import importlib
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import l0quad
from l0quad.app.cli import main
from l0quad.solvers import registry

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=lambda page: page.name)
def test_examples_run_one_after_the_other(page: Path, folder: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "example"}
    for example in examples(page):
        for needed in ("torch", "pandas", "cvxpy", "distributed"):
            if re.search(rf"\b(import|from) {needed}\b", example):
                pytest.importorskip(needed)
        exec(compile(example, str(page), "exec"), namespace)
    if page.name in ("selecting-variables.md", "larger-than-memory.md"):
        commands = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[0].splitlines()
        for command in commands:
            assert main(shlex.split(command)[1:]) == 0
    if page.name == "larger-than-memory.md":
        assert f"    {commands[0]}\n" in (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    if page.name == "selecting-variables.md":
        assert (folder / "path.csv").read_text(encoding="utf-8").startswith("k,ridge,objective,")
    if page.name == "README.md":
        assert list(namespace["result"].support) == [7, 70, 170]


def test_the_gallery_example_runs_and_draws(tmp_path: Path) -> None:
    for needed in ("torch", "sklearn", "matplotlib"):
        pytest.importorskip(needed)
    script, picture = ROOT / "docs" / "examples" / "prune_digits.py", tmp_path / "digits.png"
    done = subprocess.run([sys.executable, script, picture], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "20 + 10 stages" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        # The gallery's pages are made of its scripts.
        source = re.sub(r"^auto_gallery/(plot_.*)\.rst$", r"gallery/\1.py", target)
        source = source.replace("auto_gallery/index.rst", "gallery/GALLERY_HEADER.rst")
        assert (page.parent / source).exists(), target


def test_a_method_added_by_the_page_solves(monkeypatch):
    from problems import PROBLEMS

    namespace: dict = {"__name__": "correlation"}
    exec(examples(ROOT / "docs" / "adding-a-method.md")[0], namespace)
    method = registry.Method(namespace["Correlation"], namespace["correlation"])
    monkeypatch.setitem(registry.METHODS, "correlation", method)
    for instance in PROBLEMS.values():
        result = l0quad.solve(instance.problem(), "correlation")
        assert instance.allows(result.support)
        assert result.check(instance.problem()).ok


# What each package needs beside the core.
NEEDED = {
    "l0quad": (),
    "l0quad_adapters.cvxpy": ("cvxpy",),
    "l0quad_adapters.dask": ("distributed",),
    "l0quad_adapters.sklearn": ("sklearn",),
    "l0quad_adapters.torch": ("torch", "safetensors"),
}


@pytest.mark.parametrize("package", NEEDED)
def test_the_reference_lists_every_public_name(package: str) -> None:
    for needed in NEEDED[package]:
        pytest.importorskip(needed)
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.rst")]
    own = [text for text in pages if f".. currentmodule:: {package}\n" in text]
    listed = [name for text in own for name in re.findall(r"^(?:   |\.\. data:: )(\w+)$", text, re.MULTILINE)]
    assert sorted(listed) == sorted(set(importlib.import_module(package).__all__) - {"__version__"})


# A dict has no docstring; the example is that of what it holds. A cluster takes seconds to begin: several-machines.md.
NO_EXAMPLE = {"METHODS", "BASELINES", "sharded"}


def public(package: str) -> Iterator[tuple[str, Any]]:
    module = importlib.import_module(package)
    return ((name, getattr(module, name)) for name in sorted(set(module.__all__) - NO_EXAMPLE - {"__version__"}))


def told(value: object) -> str:
    return inspect.getdoc(value) or ""


def described(value: object) -> set[str]:
    """The arguments and fields that a docstring describes."""
    lines = re.findall(r"^(\w[\w, ]*)(?: :|$)", told(value), re.MULTILINE)
    return {each.strip() for line in lines for each in line.split(",")}


@pytest.mark.parametrize("package", NEEDED)
def test_every_public_name_has_an_example(package: str) -> None:
    for needed in NEEDED[package]:
        pytest.importorskip(needed)
    without = [name for name, value in public(package) if "\nExamples\n--------\n" not in told(value)]
    assert not without
    assert [name for name, value in public(package) if ">>> " not in told(value)] == []


@pytest.mark.parametrize("package", NEEDED)
def test_every_argument_and_field_is_described(package: str) -> None:
    for needed in NEEDED[package]:
        pytest.importorskip(needed)
    for name, value in public(package):
        bare = isinstance(value, type) and (issubclass(value, (Enum, Exception)) or value is l0quad.Options)
        missing = set() if bare else set(inspect.signature(value).parameters) - described(value)
        assert not missing, name
        # Of methods, those that describe any argument describe all of them.
        for method in vars(value).values() if isinstance(value, type) else ():
            function = getattr(method, "__func__", method)
            if inspect.isfunction(function) and "\nParameters\n" in told(function):
                assert not set(inspect.signature(function).parameters) - described(function) - {"self", "cls"}, function


SOURCES = (*(ROOT / "l0quad").rglob("*.py"), *(ROOT / "adapters").rglob("*.py"))
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removeprefix("adapters.")
    for path in SOURCES
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name: str) -> None:
    for needed in next(NEEDED[each] for each in sorted(NEEDED, reverse=True) if name.startswith(each)):
        pytest.importorskip(needed)
    module = importlib.import_module(name)
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0
