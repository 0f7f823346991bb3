"""Gains of whole groups of columns, from the diagonal blocks of a Schur complement.

Group g has the columns ``columns[starts[g]:starts[g + 1]]``; its block, m x m row by row, begins at ``offsets[g]`` of
``blocks``.
"""

from l0quad.kernels.jit import inlined, kernel
from l0quad.types import FloatArray, IntArray


@kernel
def subtract_outer_blocks(
    blocks: FloatArray, offsets: IntArray, starts: IntArray, columns: IntArray, x: FloatArray, y: FloatArray
) -> None:
    """Subtract the diagonal blocks of ``x y'`` in place."""
    for g in range(offsets.size):
        place = offsets[g]
        for i in range(starts[g], starts[g + 1]):
            for j in range(starts[g], starts[g + 1]):
                blocks[place] -= x[columns[i]] * y[columns[j]]
                place += 1


@inlined
def _gain(block: FloatArray, r: FloatArray, floor: FloatArray) -> float:
    """Return 1/2 r'block^-1 r over the rows whose pivot is above their floor; overwrites block and r."""
    gain, m = 0.0, r.size
    for i in range(m):
        pivot = block[i, i]
        if not pivot > floor[i]:
            continue
        gain += 0.5 * r[i] * r[i] / pivot
        for j in range(i + 1, m):
            factor = block[j, i] / pivot
            r[j] -= factor * r[i]
            for q in range(i + 1, m):
                block[j, q] -= factor * block[i, q]
    return gain


@kernel
def group_gains(
    blocks: FloatArray,
    offsets: IntArray,
    starts: IntArray,
    columns: IntArray,
    r: FloatArray,
    floor: FloatArray,
    gains: FloatArray,
) -> None:
    """Write by how much adding each group lowers the objective; columns at or below their floor are left out."""
    for g in range(offsets.size):
        own = columns[starts[g] : starts[g + 1]]
        m = own.size
        block = blocks[offsets[g] : offsets[g] + m * m].copy().reshape(m, m)
        gains[g] = _gain(block, r[own], floor[own])


@kernel
def group_pivots(
    blocks: FloatArray,
    offsets: IntArray,
    starts: IntArray,
    columns: IntArray,
    sizes: FloatArray,
    least: FloatArray,
) -> None:
    """Write the least pivot of each group's block over its column's size; 0 where one is not positive."""
    for g in range(offsets.size):
        own = columns[starts[g] : starts[g + 1]]
        m = own.size
        block = blocks[offsets[g] : offsets[g] + m * m].copy().reshape(m, m)
        least[g] = 1.0
        for i in range(m):
            pivot, size = block[i, i], sizes[own[i]]
            if not pivot > 0.0:
                least[g] = 0.0
                break
            least[g] = min(least[g], pivot / size)
            for j in range(i + 1, m):
                factor = block[j, i] / pivot
                for q in range(i + 1, m):
                    block[j, q] -= factor * block[i, q]
