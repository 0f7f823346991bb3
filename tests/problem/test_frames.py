"""Frames of pandas and polars at the door: every kind of numeric column, names, missing values and row labels."""

import copy

import numpy as np
import pytest
from narrowed import a, some
from refusals import refuse

import l0quad
from l0quad import Cardinality, Groups, Problem, as_matrix, minimize
from l0quad.matrix.dense import DenseMatrix

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

N = 12
RNG = np.random.default_rng(0)
PLAIN = {
    "income": RNG.standard_normal(N),
    "smoker": RNG.random(N) < 0.4,
    "visits": RNG.integers(0, 5, N),
    "height": RNG.standard_normal(N).astype(np.float32),
}
VALUES = np.column_stack([each.astype(np.float64) for each in PLAIN.values()])
B = VALUES[:, 0] - 2 * VALUES[:, 1] + 0.1 * RNG.standard_normal(N)
LABELS = [f"patient {i}" for i in range(N)]


def pandas_nullable():
    kinds = {"income": "Float64", "smoker": "boolean", "visits": "Int64", "height": "Float32"}
    return pd.DataFrame({name: pd.array(PLAIN[name], dtype=kinds[name]) for name in PLAIN})


FRAMES = {
    "pandas": lambda: pd.DataFrame(PLAIN),
    "pandas with rows named": lambda: pd.DataFrame(PLAIN, index=LABELS),
    "pandas nullable": pandas_nullable,
    "pandas sparse": lambda: pd.DataFrame(PLAIN).astype({"smoker": pd.SparseDtype(bool)}),
    "polars": lambda: pl.DataFrame(PLAIN),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_is_its_values_and_names(kind):
    frame = FRAMES[kind]()
    problem = Problem(frame, B, 2)
    np.testing.assert_array_equal(problem.matrix.take(np.arange(4)), VALUES)
    assert problem.names == problem.with_(k=1).names == copy.deepcopy(problem).names == tuple(PLAIN)
    result = minimize(frame, B, 2)
    assert result.support.tolist() == [0, 1]
    assert result.names == ("income", "smoker")
    assert result.names == minimize(as_matrix(frame), B, 2).names
    assert "[income, smoker] of 4" in repr(result)


def test_columns_of_one_kind_are_not_copied():
    frame = pd.DataFrame(RNG.standard_normal((N, 3)))
    assert np.shares_memory(as_matrix(frame).take(np.arange(3)).base, frame.to_numpy()) or np.shares_memory(
        a(DenseMatrix, as_matrix(frame))._array, frame.to_numpy()
    )
    for each in (pd.DataFrame({"a": np.ones(N, np.float32)}), pl.DataFrame({"a": np.ones(N, np.float32)})):
        assert as_matrix(each).dtype == np.float32


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_targets_of_a_frame(kind):
    frame = kind({"y": B})
    for target in (frame, frame["y"], B[:, None], B.tolist()):
        np.testing.assert_array_equal(Problem(VALUES, target, 2).b, B)
    nullable = pd.Series(pd.array(np.arange(N), dtype="Int64"))
    np.testing.assert_array_equal(Problem(VALUES, nullable, 2).b, np.arange(N))


@pytest.mark.parametrize("missing", ["pandas", "nullable", "polars"])
@pytest.mark.parametrize(("column", "number"), [("income", 0), ("visits", 2)])
def test_a_missing_value_is_named_by_row_column_and_name(missing, column, number):
    values = [None if i == 7 else x.item() for i, x in enumerate(PLAIN[column])]
    if missing == "polars":
        frame = pl.DataFrame(PLAIN).with_columns(pl.Series(column, values))
    elif missing == "pandas":
        frame = pd.DataFrame(PLAIN).assign(**{column: np.array(values, dtype=np.float64)})
    else:
        frame = pandas_nullable().assign(**{column: pd.array(values, dtype="Float64" if number == 0 else "Int64")})
    message = f"A: all values must be finite, got nan in row 7, column {number} ({column!r})"
    refuse(lambda: Problem(frame, B, 2), ValueError, message)


def test_a_missing_flag():
    for frame in (
        pandas_nullable().assign(smoker=pd.array([None] + [True] * (N - 1), dtype="boolean")),
        pl.DataFrame(PLAIN).with_columns(pl.Series("smoker", [None] + [True] * (N - 1))),
    ):
        refuse(lambda frame=frame: Problem(frame, B, 2), ValueError, "A: ", "row 0, column 1 ('smoker')")


def test_what_is_no_number_is_named_by_its_column():
    towns = ["Ulm", "Bonn"] * (N // 2)
    wrong = {
        "str": pd.DataFrame(PLAIN).assign(town=towns),
        "category": pd.DataFrame(PLAIN).assign(town=pd.Categorical(towns)),
        "datetime64": pd.DataFrame(PLAIN).assign(town=pd.to_datetime("2020-01-01")),
        "String": pl.DataFrame(PLAIN).with_columns(pl.Series("town", towns)),
    }
    for kind, frame in wrong.items():
        words = ["A: column 'town' must hold real numbers", kind, "dummies"]
        refuse(lambda frame=frame: Problem(frame, B, 2), TypeError, *words)
    dummies = pd.get_dummies(wrong["str"])
    assert minimize(dummies, B, 2).names == ("income", "smoker")
    wide = pd.DataFrame({"x": [2**53 + 2] * N, "y": B})
    refuse(lambda: Problem(wide, B, 1), ValueError, "A: column 'x': integers must lie within")


def test_rows_in_another_order_are_refused():
    frame, target = pd.DataFrame(PLAIN, index=LABELS), pd.Series(B, index=LABELS)
    turned = target.iloc[::-1]
    words = ["b: its index must be A's", "got patient 11 in row 0, where A has patient 0", "b.loc[A.index]"]
    refuse(lambda: Problem(frame, turned, 2), ValueError, *words)
    refuse(lambda: Problem(frame, turned.to_frame(), 2), ValueError, *words)
    refuse(lambda: Problem(as_matrix(frame), turned, 2), ValueError, *words)
    problem = Problem(frame, target, 2)
    refuse(lambda: problem.with_(b=turned), ValueError, *words)
    refuse(lambda: Problem(frame, target.iloc[:-1], 2), ValueError, "b: must have shape (12,)")
    for aligned in (turned.loc[frame.index], target.to_numpy(), pl.Series(B), list(B)):
        np.testing.assert_array_equal(Problem(frame, aligned, 2).b, B)
    assert Problem(VALUES, turned, 2).b[0] == B[-1], "an array has no labels"


def test_columns_by_name_in_a_constraint():
    frame = pd.DataFrame(PLAIN)
    k = Cardinality(2, must=["visits"], never=["smoker"])
    result = minimize(frame, B, k)
    assert result.w.tobytes() == minimize(VALUES, B, Cardinality(2, must=[2], never=[1])).w.tobytes()
    assert result.names == ("income", "visits")
    assert Problem(frame, B, Cardinality(2, must=frame.columns[:1])).constraint.must.tolist() == [0]
    groups = Problem(frame, B, Groups([0, 0, 1, 1], 1, must=["height"]))
    assert groups.constraint.select(np.ones(4)).tolist() == [2, 3]
    refuse(
        lambda: Problem(frame, B, Cardinality(2, must=["visit"])), ValueError, "must: ", "'visit'; is 'visits' meant?"
    )
    refuse(lambda: Problem(VALUES, B, k), ValueError, "must: 'visits' is a name, but A has none")
    refuse(lambda: Cardinality(2, must=["a", "a"]), ValueError, "must: columns must be different, got a, a")
    refuse(lambda: Cardinality(2, must=["a", 1]), TypeError, "must: ")  # type: ignore[arg-type]
    refuse(lambda: Cardinality(2, must=["a"], never=["a"]), ValueError, "must: column a is also in never")
    both = Cardinality(2, must=["visits"], never=[2])
    refuse(lambda: Problem(frame, B, both), ValueError, "must: column 2 is also in never")
    double = pd.concat([frame, frame["visits"]], axis=1)
    refuse(lambda: Problem(double, B, k), ValueError, "must: 2 columns of A are named 'visits'")
    assert some(Problem(double, B, 2).names)[-1] == "visits"


def test_names_of_an_array():
    matrix = as_matrix(VALUES, names=list(PLAIN))
    assert minimize(matrix, B, Cardinality(2, must=["visits"])).names == ("smoker", "visits")
    assert as_matrix(matrix, names=list("abcd")).names == tuple("abcd")
    assert matrix.names == tuple(PLAIN)
    refuse(lambda: as_matrix(VALUES, names=["a"]), ValueError, "names: must be 4, one for each column, got 1")
    refuse(lambda: as_matrix(VALUES, names="abcd"), TypeError, "names: must be strings")
    refuse(lambda: as_matrix(VALUES, names=[1, 2, 3, 4]), TypeError, "names: must be strings")  # type: ignore[list-item]
    assert minimize(VALUES, B, 2).names is None


def test_names_of_a_gram_matrix():
    H = pd.DataFrame(VALUES.T @ VALUES, index=list(PLAIN), columns=list(PLAIN))
    problem = Problem.from_gram(H, VALUES.T @ B, 2)
    assert l0quad.solve(problem).names == ("income", "smoker")


def test_results_and_problems_in_a_notebook():
    frame = pd.DataFrame(PLAIN).rename(columns={"income": "income <k€>"})
    problem = Problem(frame, B, 2)
    result = l0quad.solve(problem)
    shown = result._repr_html_()
    assert "w: income &lt;k€&gt;" in shown
    assert f"{result.lower_bound:.6g}" in shown
    assert "12 rows, 4 columns, float64" in problem._repr_html_()
    assert "income &lt;k€&gt;, smoker, visits, height" in problem._repr_html_()
    many = minimize(np.eye(40), np.ones(40), 30)
    assert "10 more" in many._repr_html_()
    assert "[0, 1, 2, 3, 4, 5, ... 24 more] of 40" in repr(many)


def test_names_along_a_path(tmp_path):
    frame = pd.DataFrame(PLAIN, index=LABELS)
    target = pd.DataFrame({"y": B}, index=LABELS)

    def held(k):
        return Cardinality(k, must=["smoker"])

    found = l0quad.path(frame, target, [1, 2], fit_intercept=True, standardize=True, constraint=held, cv=3)
    assert found.names == tuple(PLAIN)
    assert found.best("cv").result.names == ("income", "smoker")
    assert "income smoker" in found.table()
    assert "income smoker" in found._repr_html_()
    found.save(tmp_path / "path.npz")
    again = l0quad.PathResult.load(tmp_path / "path.npz")
    assert (again.names, again[1].result.names) == (found.names, found[1].result.names)
    refuse(lambda: l0quad.path(frame, target.iloc[::-1], [1]), ValueError, "b: its index must be A's")
