"""A table of variables with names, as pandas writes it: its rows are numbered."""

import numpy as np

RNG = np.random.default_rng(0)
NAMES = ("age", "bmi", "sex", "id")
X = np.column_stack([50 + 9 * RNG.standard_normal(40), RNG.standard_normal((40, 2)), np.arange(40.0)])
Y = 100 + 0.5 * X[:, 0] - 2 * X[:, 1] + 0.1 * RNG.standard_normal(40)


def write_table(path):
    rows = [",".join(["", *NAMES, "y"])]
    rows += [",".join(map(repr, [i, *map(float, X[i]), float(Y[i])])) for i in range(40)]
    path.write_text("\n".join(rows), encoding="utf-8")
