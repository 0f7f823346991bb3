"""From gradients to a problem: the quadratic model of CHITA.

With A the gradients at the weights w0, a row a sample (or the mean of m samples), the loss near w0 is modelled by

    n/m (L(w) - L(w0)) ~ 1/2 ||A (w - w0)||^2 + e'A (w - w0) / m + n l2 / 2 ||w - w0||^2,

the empirical Fisher matrix in the place of the Hessian: 1/2 ||A w - b||^2 + ridge ||w - w0||^2 with ridge = n l2 / 2
and b = A w0 - e/m, up to a constant; b = A w0 without the first-order term. (The Fisher matrix of mean gradients is 1/m
of that of single ones.) Source: Benbaki et al., "Fast as CHITA: neural network pruning with combinatorial
optimization", ICML 2023, equations 3 to 6.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.utils.dlpack import from_dlpack

import l0quad
from l0quad_adapters.torch.budgets import Budget, checked_sparsity, kept
from l0quad_adapters.torch.checks import check_integers, real, vector


def pruning_problem(
    A: ArrayLike,
    w0: ArrayLike,
    sparsity: float | Budget,
    l2: float,
    first_order: bool | float | ArrayLike = True,
    batch_size: int = 1,
    centre: ArrayLike | None = None,
) -> l0quad.Problem:
    """Return the problem of pruning the weights w0 with the gradients A.

    Parameters
    ----------
    A : ndarray of shape (n, p)
        Gradients at w0, a row a sample or the mean over a batch.
    w0 : ndarray of shape (p,)
        The weights, in the order of A's columns.
    sparsity : float, Cardinality, PerBlock or NofM
        A number s keeps k = p - floor(s p + 1/2) weights. A pattern's groups run through the columns as they stand;
        `budget` has those along the inputs of a model's parameters.
    l2 : float
        The damping; ridge = n l2 / 2.
    first_order : bool, float, or ndarray of shape (n,)
        Whether the model has the gradient itself, or its share, for all rows or by row. With the whole of it the
        quadratic's gradient at w0 is the loss's times n / m, and it asks each row's loss to fall by 1 / m.
    batch_size : int
        m, the samples behind a row.
    centre : ndarray of shape (p,), optional
        What the damping pulls towards, and what weights are compared by at first; w0 by default.

    Raises
    ------
    ValueError, TypeError
        Naming the argument.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(8, 3).eval()
    >>> import l0quad
    >>> from l0quad_adapters.torch import gradient_matrix, pruning_problem
    >>> data = torch.randn(60, 8), torch.randint(3, (60,))
    >>> A = gradient_matrix(model, torch.nn.functional.cross_entropy, [data], n_rows=60)
    >>> problem = pruning_problem(A, model.weight.detach().numpy().ravel(), 0.5, l2=0.01)
    >>> l0quad.solve(problem, "backsolve").support.size
    12
    """
    if not isinstance(A, (np.ndarray, l0quad.Matrix)):
        raise TypeError(f"A: must be a NumPy array or a l0quad.Matrix, got {type(A)}")
    if len(A.shape) != 2:
        raise ValueError(f"A: must be 2-D, got shape {A.shape}")
    rows, size = A.shape
    check_integers(batch_size=batch_size)
    w0 = vector(w0, "w0", size, "one value for each column of A")
    centre = w0 if centre is None else vector(centre, "centre", size, "one value for each column of A")
    first_order = np.asarray(first_order)
    if first_order.dtype.kind not in "bif":
        raise TypeError(f"first_order: must be a number or numbers, got {first_order}")
    if not np.all(np.isfinite(first_order)):
        raise ValueError(f"first_order: must be finite, got {first_order}")
    if first_order.shape not in ((), (rows,)):
        raise ValueError(f"first_order: must be a number or one a row ({rows}), got shape {first_order.shape}")
    ridge = 0.5 * rows * real(l2, "l2")
    # Not in float64 where A is float32, for which NumPy would convert the whole of it.
    if isinstance(A, np.ndarray):
        b = A @ w0.astype(A.dtype) if A.dtype == np.float32 else A @ w0
    else:
        b = A.matvec(None, w0)
    b = np.asarray(b, dtype=np.float64) - first_order.astype(np.float64) / batch_size
    if isinstance(sparsity, Budget):
        k: int | Budget = sparsity
    else:
        k = kept(checked_sparsity(sparsity, kind="a number, Cardinality, PerBlock or NofM"), size)
    return l0quad.Problem(A, b, k, ridge=ridge, w0=centre)


def problem_from_gradients(
    A: ArrayLike,
    w0: ArrayLike,
    sparsity: float | Budget,
    l2: float,
    first_order: bool | float | ArrayLike = True,
    batch_size: int = 1,
    centre: ArrayLike | None = None,
) -> l0quad.Problem:
    """Return `pruning_problem` for gradients and weights from any library that speaks DLPack, on any device.

    Parameters
    ----------
    A, w0, centre : array of shape (n, p), (p,) and (p,)
        NumPy, PyTorch, CuPy, JAX, ...; shared without a copy where the memory is the host's.
    sparsity, l2, first_order, batch_size
        As for `pruning_problem`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument.

    Examples
    --------
    >>> import torch
    >>> from l0quad_adapters.torch import problem_from_gradients
    >>> problem = problem_from_gradients(torch.ones(4, 6), torch.arange(6.0), 0.5, l2=0.01)
    >>> problem.shape, problem.constraint.total
    ((4, 6), 3)
    """
    about = None if centre is None else _host(centre, "centre")
    return pruning_problem(_host(A, "A"), _host(w0, "w0"), sparsity, l2, first_order, batch_size, about)


def _host(array: Any, name: str) -> np.ndarray:
    if isinstance(array, np.ndarray):
        return array
    if not hasattr(array, "__dlpack__"):
        raise TypeError(f"{name}: must be an array that speaks DLPack, got {type(array)}")
    tensor = array.detach() if isinstance(array, torch.Tensor) else from_dlpack(array)
    # NumPy has no bfloat16, and no solver computes in float16.
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    return np.asarray(tensor.cpu().numpy())
