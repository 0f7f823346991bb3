"""What a method needs of a problem, stated once on its options; `Unsuited` where the problem does not have it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from l0quad.errors import Unsuited
from l0quad.problem.core import CoreProblem


@dataclass(frozen=True, slots=True)
class Needs:
    """What a method asks of a problem, and how it wants to be run.

    Attributes
    ----------
    ridge : bool
        A ridge that is not lost beside A.
    most_rows, most_order : int, optional
        The largest n, and the largest min(n, p), that its factorizations take.
    single_columns : bool
        A constraint whose columns come and go one by one, not in groups.
    most_columns : int, optional
        The largest p.
    most_entries : int, optional
        The largest k p, the size of its table.
    in_memory : bool
        A in memory, or files that take little of it, or tall ones: it holds tables, or passes over A again and again.
    parts : bool
        A constraint that is a budget of columns, or groups, for each part of a partition.
    unless : callable, optional
        On problems for which this is true, nothing of the above is needed.
    from_zero : bool
        It starts from w = 0 unless told otherwise, not from the largest entries of w0 or of the ridge solution.
    solves_start : bool
        It begins with exact solves on its start's support, so that the objective of the start is not asked for.
    reducible : bool
        It passes over A so often that a tall problem is reduced to p rows first.
    any_size : bool
        The columns' sizes change nothing for it; for others, without a ridge, they are brought to one size first.
    final_solve : bool
        The exact solve on its support belongs to its answer.
    resumes : bool
        It saves states (`Monitor.save`) from which it goes on to the same end, so that a solve may have a checkpoint.
    """

    ridge: bool = False
    most_rows: int | None = None
    most_order: int | None = None
    single_columns: bool = False
    most_columns: int | None = None
    most_entries: int | None = None
    in_memory: bool = False
    parts: bool = False
    unless: Callable[[CoreProblem], bool] | None = None
    from_zero: bool = False
    solves_start: bool = False
    reducible: bool = False
    any_size: bool = False
    final_solve: bool = True
    resumes: bool = False

    def lacking(self, problem: CoreProblem) -> str | None:
        """Return the need that the problem does not meet, in words, or None."""
        reduced = problem.in_tall_files
        if self.in_memory and problem.in_large_files and not reduced:
            return "A in memory"
        if self.unless is not None and self.unless(problem):
            return None
        n, p = problem.shape
        n = p if reduced else n
        order, constraint = min(n, p), problem.constraint
        entries = constraint.total * p
        unmet = {
            "a ridge that is not lost beside A": self.ridge and not problem.has_ridge,
            f"at most {self.most_rows} rows, got {n}": self.most_rows is not None and n > self.most_rows,
            f"min(n, p) of at most {self.most_order}, got {order}": self.most_order is not None
            and order > self.most_order,
            f"at most {self.most_columns} columns, got {p}": self.most_columns is not None and p > self.most_columns,
            f"a table k x p of at most {self.most_entries} entries, got {entries}": self.most_entries is not None
            and entries > self.most_entries,
            "budgets for the parts of a partition": self.parts and constraint.parts() is None,
            "columns that come and go one by one, not in groups": self.single_columns and constraint.units is not None,
        }
        return next((need for need, lacks in unmet.items() if lacks), None)


class Options(Protocol):
    """The options of a method: what ``method=`` takes beside a name.

    Attributes
    ----------
    name : str
        The method's.
    needs : object
        What it asks of a problem.

    Examples
    --------
    >>> import l0quad
    >>> methods: dict[str, l0quad.Options] = {"fast": l0quad.IHT(), "good": l0quad.Swap(kicks=4)}
    >>> [each.name for each in methods.values()]
    ['iht', 'swap']
    """

    name: ClassVar[str]
    needs: ClassVar[Needs]


def require(name: str, needs: Needs, problem: CoreProblem, others: dict[str, Needs]) -> None:
    """Raise `Unsuited` where the method cannot work on the problem, naming what it needs and which methods can."""
    lacking = needs.lacking(problem)
    if lacking is not None:
        able = ", ".join(repr(other) for other, each in others.items() if each.lacking(problem) is None)
        raise Unsuited(f"method: {name!r} needs {lacking}; these methods do not: {able}")


def require_resumable(name: str, needs: dict[str, Needs]) -> None:
    """Raise `Unsuited` where the method cannot go on from a checkpoint, naming those that can."""
    if not needs[name].resumes:
        able = ", ".join(repr(other) for other, each in needs.items() if each.resumes)
        raise Unsuited(f"method: {name!r} cannot go on from a checkpoint; these methods can: {able}")
