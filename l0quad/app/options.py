"""The options of the commands, each with an example."""

import argparse
from pathlib import Path

# As `l0quad.METHODS` has them; listed here, because to load that takes NumPy.
METHODS = (
    "auto", "magnitude", "iht", "coordinate_descent", "active_set", "forward", "obs", "rounding", "admm", "swap",
    "backsolve", "block_backsolve", "exact",
)  # fmt: skip


def add_input(parser: argparse.ArgumentParser) -> None:
    """Add what is said of the input file, and of its columns."""
    parser.add_argument(
        "input",
        type=Path,
        metavar="INPUT",
        help=".npz, .npy, .mtx or .csv; without --target, --rhs or a separate b its last column is b; e.g. data.csv",
    )
    add = parser.add_argument_group("columns").add_argument
    add(
        "--target",
        metavar="NAME",
        help="the column to predict; with it, an intercept and standardised columns are the default; e.g. --target y",
    )
    add(
        "--must",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="columns that have a place among the K whatever their value; e.g. --must age sex",
    )
    add(
        "--never",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="columns that are not used; e.g. --never id",
    )
    add("--rhs", type=Path, metavar="FILE", help="b, as .npy, .mtx or .csv; e.g. --rhs b.npy")
    add(
        "--intercept",
        action=argparse.BooleanOptionalAction,
        help="fit an intercept, which is not penalised (default: with --target); e.g. --no-intercept",
    )
    add(
        "--standardize",
        action=argparse.BooleanOptionalAction,
        help="scale columns to norm 1, centred where there is "
        "an intercept (default: with --target); coefficients are reported in the file's units; e.g. --no-standardize",
    )
    add = parser.add_argument_group("how a .csv is written (default: what it looks like)").add_argument
    add("--header", action=argparse.BooleanOptionalAction, help="whether its first line holds names; e.g. --no-header")
    add(
        "--index",
        action=argparse.BooleanOptionalAction,
        help="whether its first column labels the rows, and is left out; e.g. --no-index",
    )
    add("--separator", type=_separator, metavar="C", help="what separates values, \\t for a tab; e.g. --separator ';'")
    add("--decimal", choices=(".", ","), help="the decimal mark; e.g. --decimal ,")
    add(
        "--drop",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="columns not to read, such as text; e.g. --drop town",
    )
    add(
        "--max-bytes",
        type=int,
        metavar="N",
        help="memory that reading may take (default: all of the machine's); e.g. --max-bytes 1000000000",
    )


def add_solve(parser: argparse.ArgumentParser) -> None:
    """Add what is said of a solve."""
    add = parser.add_argument_group("solve").add_argument
    add("-k", type=int, required=True, metavar="K", help="the largest number of nonzeros; e.g. -k 5")
    add(
        "--ridge",
        type=float,
        metavar="R",
        help="weight of the ridge term, in the units of the standardised columns (default: that of the .npz, or 0); "
        "e.g. --ridge 0.01",
    )
    add(
        "--memory",
        metavar="SIZE",
        help="leave a .npy INPUT on disk and read it by chunks, which take at most so much memory; needs --rhs; "
        "e.g. --memory 512MB",
    )
    add("--method", default="auto", metavar="NAME", help=f"{', '.join(METHODS)} (default: auto); e.g. --method exact")
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a .npz file from which the same command goes on after it was stopped; e.g. --checkpoint run.npz",
    )


def add_path(parser: argparse.ArgumentParser) -> None:
    """Add what is said of a path."""
    add = parser.add_argument_group("path").add_argument
    add(
        "-k",
        type=_sizes,
        required=True,
        metavar="KS",
        help="numbers of nonzeros, first:last, or several with commas; e.g. -k 1:20",
    )
    add(
        "--ridges",
        type=float,
        nargs="+",
        metavar="R",
        help="weights of the ridge term, in the units of the standardised columns (default: that of the .npz, or 0); "
        "e.g. --ridges 0.001 0.1",
    )
    add("--cv", type=int, metavar="N", help="folds of cross-validation, rows dealt at random; e.g. --cv 10")
    add("--seed", type=int, default=0, metavar="N", help="of the dealing (default: 0); e.g. --seed 1")
    add(
        "--criterion",
        choices=("aic", "bic", "ebic", "gic", "cv", "1se"),
        help="what chooses among the fits (default: cv with --cv, else bic; 1se: the fewest columns within a standard "
        "error of the least); e.g. --criterion 1se",
    )
    add(
        "--effort",
        choices=("fast", "thorough"),
        default="fast",
        help="of the search (default: fast); e.g. --effort thorough",
    )
    add("--plot", type=Path, metavar="FILE", help="draw the path, as .png, .pdf or .svg; e.g. --plot path.png")


def add_rest(parser: argparse.ArgumentParser) -> None:
    """Add limits and output, of every command that solves."""
    add = parser.add_argument_group("limits").add_argument
    add(
        "--bound",
        choices=("none", "fast", "tight"),
        default="fast",
        help="effort for the lower bound (default: fast); e.g. --bound tight",
    )
    add(
        "--time-limit",
        type=float,
        metavar="S",
        help="seconds, after which the best so far is the result; e.g. --time-limit 60",
    )
    add("--threads", type=int, metavar="N", help="threads (default: all cores); e.g. --threads 1")
    add = parser.add_argument_group("output").add_argument
    add(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="write the result to this .npz, .csv, .json or .txt file; e.g. -o chosen.json",
    )
    add(
        "--format",
        choices=("text", "csv", "json"),
        default="text",
        help="of what is printed (default: text); e.g. --format json",
    )
    add("--quiet", action="store_true", help="no progress on the terminal; e.g. --quiet")


def _sizes(text: str) -> list[int]:
    """Return the numbers of ``1:20`` (both ends), of ``1,5,10``, or of both together."""
    sizes: list[int] = []
    try:
        for part in text.split(","):
            ends = [int(each) for each in part.split(":")]
            first, last = ends if len(ends) == 2 else (*ends, *ends)
            sizes += range(first, last + 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be numbers such as 1:20 or 1,5,10, got {text!r}") from error
    if not sizes or min(sizes) < 0:
        raise argparse.ArgumentTypeError(f"must be numbers such as 1:20 or 1,5,10, got {text!r}")
    return sizes


def _separator(text: str) -> str:
    character = "\t" if text in ("\\t", "tab") else text
    if len(character) != 1:
        raise argparse.ArgumentTypeError(f"must be one character, got {text!r}")
    return character
