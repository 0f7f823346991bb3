"""Certified gaps on the MLPNet instance over sparsities and l2, with the time of each bound."""

import time

import numpy as np
from instances import mlpnet, mlpnet_gradients
from measure import machine, report, table

import l0quad

METHODS = ("active_set", "backsolve")


def main() -> None:
    gradients = mlpnet_gradients()
    rows = []
    for sparsity in (0.5, 0.8, 0.9, 0.95, 0.98):
        for l2 in (1e-4, 1e-3, 1e-2, 1e-1):
            problem = l0quad.Problem(*mlpnet(sparsity, l2, gradients))
            for method in METHODS:
                results, seconds = {}, {}
                for bound in ("none", "fast", "tight"):
                    begin = time.perf_counter()
                    results[bound] = l0quad.solve(problem, method, bound=bound)
                    seconds[bound] = time.perf_counter() - begin
                objective = results["tight"].objective
                assert np.isclose(objective, results["none"].objective)
                rows.append(
                    [
                        f"{sparsity:.0%}",
                        f"{l2:g}",
                        method,
                        f"{objective:.5g}",
                        f"{results['fast'].relative_gap:.3%}",
                        f"{results['tight'].relative_gap:.3%}",
                        f"{seconds['none']:.2f}",
                        f"{seconds['fast'] - seconds['none']:.2f}",
                        f"{seconds['tight'] - seconds['none']:.2f}",
                    ]
                )
                print(*rows[-1], flush=True)
    header = ["sparsity", "l2", "method", "objective", "gap, fast", "gap, tight", "solve s", "fast s", "tight s"]
    report(
        "gaps",
        "Certified gaps on the MLPNet instance",
        "n = 1000, p = 32360, first-order term off; relative gap (objective - bound) / objective; seconds of the solve "
        f"and of each bound. {machine()}.",
        table(header, rows),
    )


if __name__ == "__main__":
    main()
