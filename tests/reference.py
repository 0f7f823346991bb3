"""Slow, obvious NumPy twins of what the package computes. Nothing here calls the package."""

import itertools

import numpy as np


def objective(A, b, w, ridge=0.0, w0=None, linear=None):
    """1/2 ||A w - b||^2 + ridge ||w - w0||^2 + linear'w."""
    A, b, w = _float64(A), _float64(b), _float64(w)
    w0 = np.zeros(A.shape[1]) if w0 is None else _float64(w0)
    c = np.zeros(A.shape[1]) if linear is None else _float64(linear)
    return 0.5 * np.sum((A @ w - b) ** 2) + ridge * np.sum((w - w0) ** 2) + c @ w


def gradient(A, b, w, ridge=0.0, w0=None, linear=None):
    A, b, w = _float64(A), _float64(b), _float64(w)
    w0 = np.zeros(A.shape[1]) if w0 is None else _float64(w0)
    c = np.zeros(A.shape[1]) if linear is None else _float64(linear)
    return A.T @ (A @ w - b) + 2 * ridge * (w - w0) + c


def brute_force(A, b, k, ridge=0.0, w0=None, linear=None):
    """The optimum over all supports, as (objective, w); k is an integer or any kind of constraint."""
    p = np.shape(A)[1]
    assert p <= 14
    best, best_w = np.inf, None
    for support in largest_supports(k, p):
        w = best_on(A, b, support, ridge, w0, linear)
        value = objective(A, b, w, ridge, w0, linear)
        if value < best:
            best, best_w = value, w
    return best, best_w


def best_on(A, b, support, ridge=0.0, w0=None, linear=None):
    """The minimiser with this support, the one nearest to w0 where there are several: lstsq on [A; sqrt(2 ridge) I]."""
    A, b = _float64(A), _float64(b)
    p = A.shape[1]
    w0 = np.zeros(p) if w0 is None else _float64(w0)
    # ridge ||w - w0||^2 + c'w = ridge ||w - (w0 - c / (2 ridge))||^2 + constant.
    centre = w0 if linear is None else w0 - _float64(linear) / (2 * ridge)
    support = np.asarray(support, dtype=int)
    root = np.sqrt(2 * ridge)
    system = np.vstack([A[:, support], root * np.eye(support.size)])
    target = np.concatenate([b - A[:, support] @ centre[support], np.zeros(support.size)])
    w = np.zeros(p)
    w[support] = centre[support] + np.linalg.lstsq(system, target, rcond=None)[0]
    return w


def parts(k, p):
    """The budgets of the constraint k over p columns as a list of (columns, budget); not for groups."""
    if hasattr(k, "labels"):
        return [(np.flatnonzero(np.asarray(k.labels) == q), int(k.budgets[q])) for q in range(len(k.budgets))]
    if hasattr(k, "m"):
        order = np.arange(p) if k.order is None else np.asarray(k.order)
        return [(np.sort(order[first : first + k.m]), int(k.n)) for first in range(0, p, k.m)]
    return [(np.arange(p), int(getattr(k, "k", k)))]


def fixed(k):
    """The columns that have a place anyway, and those that never have one."""
    return list(getattr(k, "must", ())), list(getattr(k, "never", ()))


def is_groups(k):
    return hasattr(k, "labels") and not hasattr(k, "budgets")


def groups(k):
    """The usable columns of each group, the groups that have a place anyway first and then by label."""
    must, never = fixed(k)
    labels = np.asarray(k.labels)
    found = [np.setdiff1d(np.flatnonzero(labels == each), never) for each in np.unique(labels)]
    held = [each for each in found if np.isin(each, must).any()]
    return held, [each for each in found if each.size and not np.isin(each, must).any()]


def units(k, p):
    """What comes and goes together: the usable groups, or each usable column, that is not there anyway."""
    if is_groups(k):
        return groups(k)[1]
    return [np.array([j]) for j in range(p) if j not in fixed(k)[0] + fixed(k)[1]]


def closed(support, k):
    """The support with all that has a place beside it."""
    if not is_groups(k):
        return np.union1d(support, fixed(k)[0]).astype(int)
    held, others = groups(k)
    return np.sort(join([*held, *(each for each in others if np.isin(each, support).any())]))


def join(arrays):
    return np.concatenate([np.empty(0, dtype=int), *arrays]).astype(int)


def largest_supports(k, p):
    """Every allowed support that no other contains."""
    if is_groups(k):
        held, others = groups(k)
        for chosen in itertools.combinations(others, min(k.k - len(held), len(others))):
            yield np.sort(join([*held, *chosen]))
        return
    must, never = fixed(k)
    choices = []
    for columns, budget in parts(k, p):
        free, held = np.setdiff1d(columns, must + never), np.intersect1d(columns, must)
        choices.append([(*held, *each) for each in itertools.combinations(free, min(budget - len(held), len(free)))])
    for chosen in itertools.product(*choices):
        yield np.sort(join(chosen))


def select(scores, k, fixed_in=(), fixed_out=()):
    """The best allowed support, a part at a time: larger score first, then smaller index."""
    must, never = fixed(k)
    if is_groups(k):
        held, others = groups(k)
        held += [each for each in others if np.isin(each, fixed_in).any()]
        worth = [(-sum(float(scores[j]) for j in each if j not in fixed_out), q) for q, each in enumerate(others)]
        free = [others[q] for _, q in sorted(worth) if not np.isin(others[q], fixed_in).any()]
        return np.setdiff1d(join([*held, *free[: k.k - len(held)]]), fixed_out).astype(int)
    chosen = []
    for columns, budget in parts(k, len(scores)):
        held = [j for j in columns if j in fixed_in or j in must]
        free = [j for j in columns if j not in held and j not in fixed_out and j not in never]
        free.sort(key=lambda j: (-scores[j], j))
        chosen += [j for j in held if j not in fixed_out] + free[: max(budget - len(held), 0)]
    return np.sort(np.asarray(chosen, dtype=int))


def select_parts(scores, starts, budgets):
    chosen = np.zeros(len(scores), dtype=bool)
    for q, budget in enumerate(budgets):
        part = range(starts[q], starts[q + 1])
        for i in sorted(part, key=lambda i: (-scores[i], i))[:budget]:
            chosen[i] = True
    return chosen


def dual_bound(A, b, k, nu, ridge, w0=None):
    """D(nu), without any allowance for rounding."""
    A, mu = _float64(A), 2 * ridge
    w0 = np.zeros(A.shape[1]) if w0 is None else _float64(w0)
    scores = (w0 - A.T @ nu / mu) ** 2
    return -0.5 * nu @ nu - b @ nu + ridge * (w0 @ w0 - scores[select(scores, k)].sum())


def threshold(magnitudes, budget, beta):
    """c with sum_i clip(magnitudes_i / c - beta, 0, 1) = budget, by bisection on a logarithmic scale."""
    magnitudes = np.asarray(magnitudes, dtype=float)
    if budget == 0:
        return np.inf
    if np.count_nonzero(magnitudes) <= budget:
        return 0.0

    def count(c):
        return np.clip(magnitudes / c - beta, 0, 1).sum()

    # At the first every nonzero counts as 1, at the second none counts.
    low = magnitudes[magnitudes > 0].min() / (1 + beta) / 2
    high = magnitudes.max() * magnitudes.size * 2
    for _ in range(100):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if count(middle) > budget else (low, middle)
    return high


def perspective(w, k):
    """The least sum_i w_i^2 / z_i over z in [0, 1]^p within the budgets of k: z_i = min(1, |w_i| / c)."""
    must, never = fixed(k)
    if np.any(w[never]):
        return np.inf
    if is_groups(k):
        held, others = groups(k)
        norms = np.array([np.linalg.norm(w[each]) for each in others])
        return sum(w[each] @ w[each] for each in held) + _perspective(norms, k.k - len(held))
    total = float(w[must] @ w[must])
    for columns, budget in parts(k, len(w)):
        free = np.setdiff1d(columns, must + never)
        total += _perspective(np.abs(w[free]), budget - np.isin(columns, must).sum())
    return total


def _perspective(magnitudes, budget):
    magnitudes = magnitudes[magnitudes > 0]
    if magnitudes.size and budget == 0:
        return np.inf
    c = threshold(magnitudes, budget, 0.0)
    z = np.ones(magnitudes.size) if c == 0 else np.minimum(1, magnitudes / c)
    return np.sum(magnitudes**2 / z)


def relaxed_objective(A, b, w, k, ridge, w0=None):
    """The objective with ||w||^2 replaced by its perspective: P(w) of the relaxation."""
    w0 = np.zeros(len(w)) if w0 is None else w0
    return 0.5 * np.sum((A @ w - b) ** 2) + ridge * (perspective(w, k) - 2 * w0 @ w + w0 @ w0)


def descend(columns, residual, w, w0, mu):
    """One sweep of coordinate descent; returns the new w, the new residual and the decrease."""
    columns, residual, w = _float64(columns), residual.copy(), w.copy()
    before = 0.5 * residual @ residual + 0.5 * mu * np.sum((w - w0) ** 2)
    for t in range(len(w)):
        curvature = columns[t] @ columns[t] + mu
        if curvature > 0:
            step = -(columns[t] @ residual + mu * (w[t] - w0[t])) / curvature
            w[t] += step
            residual += step * columns[t]
    return w, residual, before - 0.5 * residual @ residual - 0.5 * mu * np.sum((w - w0) ** 2)


def minimum_norm(A, r, mu):
    """The shortest minimiser of 1/2 ||A v - r||^2 + mu/2 ||v||^2."""
    A = _float64(A)
    if mu == 0:
        return np.linalg.pinv(A, rcond=1e-12) @ r
    return np.linalg.solve(A.T @ A + mu * np.eye(A.shape[1]), A.T @ r)


def _float64(array):
    return np.asarray(array, dtype=np.float64)


def allowed(support, k, p):
    """Whether k allows this support, or one that contains it."""
    must, never = fixed(k)
    if np.isin(support, never).any():
        return False
    if is_groups(k):
        return len(set(np.asarray(k.labels)[[*support, *must]].tolist())) <= k.k
    taken = np.union1d(support, must)
    return all(np.isin(columns, taken).sum() <= budget for columns, budget in parts(k, p))


def swaps(support, k, p):
    """Every allowed support that differs by one exchange, with the column that leaves and the one that joins.

    Of groups whole ones are exchanged, and named by their first columns.
    """
    for leaving, joining in itertools.product(units(k, p), units(k, p)):
        if np.isin(leaving, support).all() and not np.isin(joining, support).any():
            other = np.append(np.setdiff1d(support, leaving), joining)
            if allowed(other, k, p):
                yield leaving[0], joining[0], other


def additions(support, k, p):
    """Every allowed support that has one column, or one group, more."""
    must = [np.array([j]) for j in fixed(k)[0]] if not is_groups(k) else []
    for joining in [*units(k, p), *must]:
        if not np.isin(joining, support).any() and allowed(other := np.append(support, joining), k, p):
            yield joining[0], other


def value(A, b, support, ridge=0.0, w0=None):
    """The least objective on a support."""
    return objective(A, b, best_on(A, b, support, ridge, w0), ridge, w0)


def best_neighbour(A, b, k, support, ridge=0.0, w0=None):
    """The least objective, refitted, after one exchange or one addition that k allows; inf where there is none."""
    p = np.shape(A)[1]
    support = closed(support, k)
    around = [other for *_, other in swaps(support, k, p)] + [other for _, other in additions(support, k, p)]
    return min((value(A, b, other, ridge, w0) for other in around), default=np.inf)


def best_swap(B, w, e, r, s, floor, leaving, home, part, room):
    """The table of exact swap costs written out; (-1, -1, 0) where no entry is negative."""
    best = (-1, -1, 0.0)
    for i, j in itertools.product(leaving, range(len(r))):
        left = s[j] + B[i, j] ** 2 / e[i]
        if left <= floor[j] or (len(part) and part[j] != home[i] and room[part[j]] <= 0):
            continue
        change = w[i] ** 2 / (2 * e[i]) - (r[j] + B[i, j] * w[i] / e[i]) ** 2 / (2 * left)
        if change < best[2]:
            best = (i, j, change)
    return best


def group_gain(S, columns, r, floor):
    """1/2 r'S^-1 r over a group's columns without those that depend on the ones before or are barred by floor."""
    kept = []
    for j in columns:
        rest = S[j, j] - (S[j, kept] @ np.linalg.solve(S[np.ix_(kept, kept)], S[kept, j]) if kept else 0.0)
        if rest > floor[j]:
            kept.append(j)
    return 0.5 * r[kept] @ np.linalg.solve(S[np.ix_(kept, kept)], r[kept]) if kept else 0.0


def tableau_state(A, b, support, ridge=0.0, w0=None):
    """E = H_SS^-1, B = E H_S:, w_S, r = g - H w and s = diag(H) - diag(H_:S B), from their definitions."""
    A, b = _float64(A), _float64(b)
    w0 = np.zeros(A.shape[1]) if w0 is None else _float64(w0)
    H = A.T @ A + 2 * ridge * np.eye(A.shape[1])
    g = A.T @ b + 2 * ridge * w0
    E = np.linalg.inv(H[np.ix_(support, support)])
    B, w = E @ H[support], E @ g[support]
    return {"E": E, "B": B, "w": w, "r": g - H[:, support] @ w, "s": np.diag(H) - np.sum(H[support] * B, axis=0)}


def stepwise(A, b, k, ridge=0.0, w0=None, width=1):
    """Forward selection by refits, the best ``width`` different supports side by side; the best objective of each size.

    For data without dependent columns.
    """
    p = np.shape(A)[1]
    beam = [closed([], k)]
    path = [value(A, b, each, ridge, w0) for each in beam if each.size]
    while True:
        grown = {frozenset(other.tolist()) for support in beam for _, other in additions(support, k, p)}
        children = sorted((value(A, b, sorted(each), ridge, w0), sorted(each)) for each in grown)[:width]
        if not children:
            return path, np.sort(beam[0])
        path.append(children[0][0])
        beam = [np.array(each) for _, each in children]


def backward(A, b, k, ridge=0.0, w0=None):
    """Backward elimination by refits, one column at a time, to an integer k."""
    support = np.arange(np.shape(A)[1])
    while support.size > k:
        support = min((np.setdiff1d(support, i) for i in support), key=lambda each: value(A, b, each, ridge, w0))
    return support


def one_shot(A, b, k, ridge, w0=None):
    """WoodFisher's rule: the largest w_i^2 / (2 [H^-1]_ii) at the best dense w."""
    state = tableau_state(A, b, np.arange(np.shape(A)[1]), ridge, w0)
    return select(state["w"] ** 2 / (2 * np.diag(state["E"])), k)


def best_subset(A, b, k, ridge=0.0, w0=None):
    """The optimum for an integer k as (objective, support), all supports at once through the normal equations."""
    A, b = _float64(A), _float64(b)
    w0 = np.zeros(A.shape[1]) if w0 is None else _float64(w0)
    H, g = A.T @ A + 2 * ridge * np.eye(A.shape[1]), A.T @ b + 2 * ridge * w0
    supports = np.array(list(itertools.combinations(range(A.shape[1]), k)))
    w = np.linalg.solve(H[supports[:, :, None], supports[:, None, :]], g[supports][:, :, None])[:, :, 0]
    best = supports[np.argmax(np.sum(g[supports] * w, axis=1))]
    return value(A, b, best, ridge, w0), best
