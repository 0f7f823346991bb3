"""Extreme sizes, corrupt sparse matrices and unusable kernel caches: what happens, counted."""

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from measure import machine, report, table

import l0quad

SIZES = (1e-150, 1e-100, 1e-50, 1e-10, 1.0, 1e10, 1e50, 1e100, 1e150)
METHODS = ("magnitude", "iht", "coordinate_descent", "active_set", "backsolve", "auto")


def scales() -> list[list[object]]:
    """Solve the same data at many sizes; count the supports that differ and the false claims of optimality."""
    rng = np.random.default_rng(0)
    rows: list[list[object]] = []
    for ridge in (0.0, 0.1):
        A = rng.standard_normal((40, 25))
        b = A[:, :4] @ [1.0, -2.0, 3.0, 1.0] + rng.standard_normal(40)
        for what in ("b", "A", "A and b"):
            different = false = 0
            for method in METHODS:
                reference = l0quad.minimize(A, b, 4, ridge=ridge, method=method, bound="tight")
                for size in SIZES:
                    a = size if "A" in what else 1.0
                    f = size if "b" in what else 1.0
                    result = l0quad.minimize(a * A, f * b, 4, ridge=ridge * a * a, method=method, bound="tight")
                    different += not np.array_equal(result.support, reference.support)
                    false += result.status is l0quad.Status.OPTIMAL and reference.status is not l0quad.Status.OPTIMAL
            rows.append([what, f"{ridge:g}", len(METHODS) * len(SIZES), different, false])
    return rows


def corrupt(rng: np.random.Generator) -> sp.csr_matrix | sp.csc_matrix:
    """Return a CSR or CSC matrix with one thing broken in its arrays."""
    kind = sp.csr_matrix if rng.random() < 0.5 else sp.csc_matrix
    matrix = kind(sp.random(30, 20, 0.2, random_state=int(rng.integers(1 << 30))))
    indices, indptr = matrix.indices.copy(), matrix.indptr.copy()
    far = int(rng.choice([-1, -(1 << 30), 1 << 20, (1 << 31) - 1]))
    match rng.integers(6):
        case 0:
            indices[rng.integers(indices.size)] = far
        case 1:
            indptr[rng.integers(1, indptr.size)] = far
        case 2:
            indptr[0] = far
        case 3:
            indptr = indptr[: rng.integers(1, indptr.size)]
        case 4:
            indices = indices[: rng.integers(indices.size)]
        case 5:
            matrix.data = matrix.data[: rng.integers(matrix.data.size)]
    matrix.indices, matrix.indptr = indices, indptr
    return matrix


def corrupt_matrices(count: int) -> int:
    """Return how many of this many corrupt matrices are refused by a ValueError; a crash ends the process."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(count):
        matrix = corrupt(rng)
        try:
            l0quad.Problem(matrix, np.ones(matrix.shape[0]), 3)
        except ValueError:
            refused += 1
    return refused


CODE = """
import warnings
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
    import numpy as np, l0quad
    rng = np.random.default_rng(0)
    A = rng.standard_normal((60, 90))
    result = l0quad.minimize(A, A[:, :3].sum(axis=1), 3, ridge=0.01)
print(result.success, len(caught))
"""


def first_solve(environment: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, env=environment)
    return done.stdout.strip() or f"failed: {done.stderr.strip().splitlines()[-1]}"


def caches() -> list[list[object]]:
    """Run a first solve with a cache that cannot be written, one that is damaged, and no home folder."""
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        blocked = Path(folder, "file")
        blocked.write_text("not a folder", encoding="utf-8")
        rows.append(["cache folder cannot be made", first_solve(dict(os.environ, NUMBA_CACHE_DIR=str(blocked)))])
        good = dict(os.environ, NUMBA_CACHE_DIR=str(Path(folder, "cache")))
        first_solve(good)
        for index in Path(folder, "cache").rglob("*.nb?"):
            index.write_bytes(b"damaged")
        rows.append(["cache files damaged", first_solve(good)])
    homeless = {name: value for name, value in os.environ.items() if name not in ("HOME", "NUMBA_CACHE_DIR")}
    rows.append(["no HOME", first_solve(homeless)])
    return rows


def main() -> None:
    warnings.simplefilter("error")
    count = 3000
    refused = corrupt_matrices(count)
    report(
        "robustness",
        "Robustness",
        machine(),
        f"Inputs scaled by {SIZES[0]:g} to {SIZES[-1]:g} (the ridge with A squared), every method:",
        table(["scaled", "ridge", "solves", "other support", "false claims of optimality"], scales()),
        f"Corrupt CSR and CSC matrices: {refused} of {count} refused by a ValueError, no crash.",
        table(["kernel cache", "solved, warnings"], caches()),
    )


if __name__ == "__main__":
    main()
