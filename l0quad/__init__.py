"""L0-constrained least squares with a proof of how good the answer is.

``l0quad`` solves

    minimise  1/2 ||A w - b||^2 + ridge ||w - w0||^2 + linear' w   subject to  ||w||_0 <= k

and returns, with the answer, a lower bound on the optimum. This page is the whole public interface; the names are
loaded when they are first used, so ``import l0quad`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from l0quad._version import __version__ as __version__

if TYPE_CHECKING:
    from l0quad.api.bound import LowerBound as LowerBound
    from l0quad.api.bound import bound as bound
    from l0quad.api.compile import compile as compile
    from l0quad.api.layer import Layer as Layer
    from l0quad.api.layer_result import LayerResult as LayerResult
    from l0quad.api.minimize import minimize as minimize
    from l0quad.api.path import path as path
    from l0quad.api.path_result import Fit as Fit
    from l0quad.api.path_result import PathResult as PathResult
    from l0quad.api.result import Check as Check
    from l0quad.api.result import Result as Result
    from l0quad.api.solve import solve as solve
    from l0quad.certificates import AllColumns as AllColumns
    from l0quad.certificates import AllSupports as AllSupports
    from l0quad.certificates import Dual as Dual
    from l0quad.certificates import Separable as Separable
    from l0quad.certificates import Tree as Tree
    from l0quad.certificates import Trivial as Trivial
    from l0quad.errors import BadFile as BadFile
    from l0quad.errors import CheckpointWarning as CheckpointWarning
    from l0quad.errors import KernelCacheWarning as KernelCacheWarning
    from l0quad.errors import Unsuited as Unsuited
    from l0quad.files.columns import open_columns as open_columns
    from l0quad.layers.budgets import PerColumn as PerColumn
    from l0quad.layers.budgets import SharedSupport as SharedSupport
    from l0quad.layers.gram import GramAccumulator as GramAccumulator
    from l0quad.matrix import as_matrix as as_matrix
    from l0quad.matrix.base import Matrix as Matrix
    from l0quad.matrix.gram import GramMatrix as GramMatrix
    from l0quad.matrix.sweeps import Swept as Swept
    from l0quad.matrix.sweeps import Wanted as Wanted
    from l0quad.problem.constraints.base import Constraint as Constraint
    from l0quad.problem.constraints.base import Kind as Kind
    from l0quad.problem.constraints.cardinality import Cardinality as Cardinality
    from l0quad.problem.constraints.groups import Groups as Groups
    from l0quad.problem.constraints.n_of_m import NofM as NofM
    from l0quad.problem.constraints.per_block import PerBlock as PerBlock
    from l0quad.problem.design import Coefficients as Coefficients
    from l0quad.problem.design import Design as Design
    from l0quad.problem.problem import Problem as Problem
    from l0quad.problem.stacking import stack_complex as stack_complex
    from l0quad.run.outcome import State as State
    from l0quad.run.outcome import Status as Status
    from l0quad.run.progress import Progress as Progress
    from l0quad.solvers.active_set import ActiveSet as ActiveSet
    from l0quad.solvers.admm import ADMM as ADMM
    from l0quad.solvers.auto import Auto as Auto
    from l0quad.solvers.backsolve import Backsolve as Backsolve
    from l0quad.solvers.block_backsolve import BlockBacksolve as BlockBacksolve
    from l0quad.solvers.coordinate_descent import CoordinateDescent as CoordinateDescent
    from l0quad.solvers.exact.exact import Exact as Exact
    from l0quad.solvers.forward import Forward as Forward
    from l0quad.solvers.iht import IHT as IHT
    from l0quad.solvers.magnitude import Magnitude as Magnitude
    from l0quad.solvers.needs import Options as Options
    from l0quad.solvers.obs import OBS as OBS
    from l0quad.solvers.registry import METHODS as METHODS
    from l0quad.solvers.rounding import Rounding as Rounding
    from l0quad.solvers.swap import Swap as Swap

_HOME = {
    "solve": "api.solve",
    "minimize": "api.minimize",
    "bound": "api.bound",
    "compile": "api.compile",
    "path": "api.path",
    "PathResult": "api.path_result",
    "Fit": "api.path_result",
    "LowerBound": "api.bound",
    "Problem": "problem.problem",
    "Design": "problem.design",
    "Coefficients": "problem.design",
    "stack_complex": "problem.stacking",
    "Result": "api.result",
    "Check": "api.result",
    "Status": "run.outcome",
    "State": "run.outcome",
    "Progress": "run.progress",
    "Trivial": "certificates",
    "AllColumns": "certificates",
    "AllSupports": "certificates",
    "Dual": "certificates",
    "Separable": "certificates",
    "Tree": "certificates",
    "Matrix": "matrix.base",
    "GramMatrix": "matrix.gram",
    "Wanted": "matrix.sweeps",
    "Swept": "matrix.sweeps",
    "as_matrix": "matrix",
    "open_columns": "files.columns",
    "Kind": "problem.constraints.base",
    "Constraint": "problem.constraints.base",
    "Cardinality": "problem.constraints.cardinality",
    "PerBlock": "problem.constraints.per_block",
    "NofM": "problem.constraints.n_of_m",
    "Groups": "problem.constraints.groups",
    "Layer": "api.layer",
    "LayerResult": "api.layer_result",
    "GramAccumulator": "layers.gram",
    "PerColumn": "layers.budgets",
    "SharedSupport": "layers.budgets",
    "METHODS": "solvers.registry",
    "Options": "solvers.needs",
    "Magnitude": "solvers.magnitude",
    "IHT": "solvers.iht",
    "CoordinateDescent": "solvers.coordinate_descent",
    "Auto": "solvers.auto",
    "ActiveSet": "solvers.active_set",
    "Backsolve": "solvers.backsolve",
    "BlockBacksolve": "solvers.block_backsolve",
    "ADMM": "solvers.admm",
    "OBS": "solvers.obs",
    "Exact": "solvers.exact.exact",
    "Forward": "solvers.forward",
    "Rounding": "solvers.rounding",
    "Swap": "solvers.swap",
    "KernelCacheWarning": "errors",
    "Unsuited": "errors",
    "BadFile": "errors",
    "CheckpointWarning": "errors",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'l0quad' has no attribute {name!r}")
    value = getattr(import_module(f"l0quad.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
