"""The competitors: from data to a support, each package loaded only when its competitor is asked for.

Where w0 = 0 the packages are given A and b without the ridge, which in the instances here is negligible or 0. With a w0
they are given what is equivalent: the rows sqrt(2 ridge) I appended (abess, sparse), its Gram form (scikit-learn's
orthogonal_mp_gram) or the objective itself (skscope, always).
"""

from collections.abc import Callable, Iterable
from importlib import metadata

import numpy as np
import scipy.sparse as sp
from instances import Instance

import l0quad

Competitor = Callable[[Instance], np.ndarray]


def ours(effort: str) -> Competitor:
    method = l0quad.Auto(effort=effort)

    def call(instance: Instance) -> np.ndarray:
        A, b, k, ridge, w0 = instance
        return l0quad.minimize(A, b, k, ridge=ridge, w0=w0, method=method, bound="none", n_threads=1).support

    return call


def sklearn_omp() -> Competitor:
    from sklearn.linear_model import OrthogonalMatchingPursuit, orthogonal_mp_gram

    def call(instance: Instance) -> np.ndarray:
        A, b, k, ridge, w0 = instance
        if not w0.any():
            return np.flatnonzero(OrthogonalMatchingPursuit(n_nonzero_coefs=k, fit_intercept=False).fit(A, b).coef_)
        gram = A.T @ A
        gram[np.diag_indices_from(gram)] += 2 * ridge
        g = A.T @ b + 2 * ridge * w0
        return np.flatnonzero(orthogonal_mp_gram(gram, g, n_nonzero_coefs=k, copy_Gram=False, copy_Xy=False))

    return call


def abess(path: bool) -> Competitor:
    """Return abess at size k, or along its path of warm starts from 1 to k."""
    from abess import LinearRegression

    def call(instance: Instance) -> np.ndarray:
        A, b, k, ridge, w0 = instance
        options = {
            "support_size": range(1, k + 1) if path else [k],
            "ic_coef": 0.0,
            "fit_intercept": False,
            "thread": 1,
        }
        if not w0.any():
            return np.flatnonzero(LinearRegression(**options).fit(A, b, is_normal=False).coef_)
        root = np.sqrt(2 * ridge)
        X = sp.vstack([sp.coo_matrix(A), root * sp.identity(w0.size)], format="csc")
        y = np.concatenate([b, root * w0])
        return np.flatnonzero(LinearRegression(**options).fit(X, y, is_normal=False, sparse_matrix=True).coef_)

    return call


def skscope() -> Competitor:
    import jax
    import jax.numpy as jnp
    from skscope import ScopeSolver

    jax.config.update("jax_enable_x64", True)

    def call(instance: Instance) -> np.ndarray:
        A, b, k, ridge, w0 = instance
        X, y, centre = jnp.asarray(A), jnp.asarray(b), jnp.asarray(w0)

        def loss(w: jax.Array) -> jax.Array:
            return 0.5 * jnp.sum((X @ w - y) ** 2) + ridge * jnp.sum((w - centre) ** 2)

        solver = ScopeSolver(A.shape[1], sparsity=k, sample_size=A.shape[0], thread=1)
        solver.solve(loss, jit=True)
        return np.sort(solver.get_support())

    return call


COMPETITORS: dict[str, Callable[[], Competitor]] = {
    "l0quad auto, fast": lambda: ours("fast"),
    "l0quad auto, thorough": lambda: ours("thorough"),
    "scikit-learn OMP": sklearn_omp,
    "abess": lambda: abess(path=False),
    "abess, path": lambda: abess(path=True),
    "skscope": skscope,
}
PACKAGES = {"scikit-learn OMP": "scikit-learn", "abess": "abess", "abess, path": "abess", "skscope": "skscope"}


def installed(names: Iterable[str]) -> dict[str, Competitor]:
    """Return those of these competitors whose package can be loaded."""
    found = {}
    for name in names:
        try:
            found[name] = COMPETITORS[name]()
        except ImportError:
            continue
    return found


def versions() -> str:
    """Return the peers' packages with their versions."""
    parts = []
    for package in dict.fromkeys(PACKAGES.values()):
        try:
            parts.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            parts.append(f"{package} not installed")
    return ", ".join(parts)
