"""What is claimed of 10,000 tiny instances on which rounding decides, beside their optimum in rational arithmetic."""

import sys
from collections import Counter
from pathlib import Path

from measure import machine, report, table

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from judged import case, judge

INSTANCES = 10_000
KINDS = {
    "lower bounds above the optimum": "the bound is above",
    "false claims of `OPTIMAL`": "optimal",
    "false claims of `SWAP_OPTIMAL`": "swap-optimal",
    "budgets broken": "the budget",
    "objectives off by more than rounding": "the objective",
    "answers worse than their start": "worse",
    "values not finite": "not finite",
}


def main() -> None:
    counts, overshoot, tried, optimal = Counter[str](), 0.0, 0, 0
    for seed in range(INSTANCES):
        verdict = judge(case(seed))
        if verdict is None:
            continue
        tried, optimal, overshoot = tried + 1, optimal + verdict.optimal, max(overshoot, verdict.overshoot)
        counts.update(kind for kind, begin in KINDS.items() for fault in verdict.faults if fault.startswith(begin))
    rows: list[list[object]] = [
        ["instances drawn", INSTANCES],
        ["solved (the others are unbounded, refused, or do not suit the method)", tried],
        ["called `OPTIMAL`", optimal],
        *([kind, counts[kind]] for kind in KINDS),
        ["worst overshoot of a bound, beside the size of the objective's terms", f"{overshoot:g}"],
    ]
    report(
        "claims",
        "Claims",
        machine(),
        "Tiny instances (up to 8 x 5) with columns equal, 1e-15 to 1e-3 apart, or scaled by 1e-12 to 1e12, ridges of "
        "0 and 1e-12 to 1e12, linear terms, w0, every constraint, method and bound, poor starts, limits, and Gram "
        "matrices. A bound is compared to the last bit; `OPTIMAL` is false where F is more than 1e-6 (F - F_inf) and "
        "2^-40 of the size of its terms above the optimum; an exchange counts from 1e-8 of the objective on; a start "
        "from 1e-6 on, and where its columns have a condition below 1e12.",
        table(["", "count"], rows),
    )


if __name__ == "__main__":
    main()
