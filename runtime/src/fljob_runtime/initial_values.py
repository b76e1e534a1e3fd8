"""The values of a keyed table's rows before anybody has trained them: a function of (seed, table, id, column). numpy.

Used by the server, which answers a pull of an id that has no row with them and makes a row from them, so that nothing
has to be stored or sent for ids that nobody has touched; and by whoever must know them without asking.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.parameters import Float32Array, Float64Array, Int64Array, LayoutError, ParamSpec

_UINT64 = NDArray[np.uint64]
_BLOCK_ELEMENTS = 1 << 14  # so that what is made on the way stays in the cache
_STEP = np.uint64(0x9E3779B97F4A7C15)


def initial_rows(spec: ParamSpec, seed: int, ids: Int64Array) -> Float32Array:
    """Return the initial values of the rows with these ids, in any order: float32 [n, D].

    Row `id` is a stream of splitmix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators") of its
    own, which begins at a mix of the id, the seed and the table's name; column k is made of the stream's k-th number,
    with `initial_std` by Box and Muller's transform of the numbers of a pair of columns. What else is asked for in
    the same call has no part in it. Uniform values are the same everywhere; normal ones are made in float64 and then
    rounded, so that another library's logarithm can differ in a last bit at most.
    """
    if spec.rules is None:
        raise LayoutError(f"parameter {spec.name}: only keyed tables have initial values by id")
    values = np.zeros((ids.size, spec.dim), np.float32)
    if not (spec.rules.initial_std or spec.rules.initial_bound):
        return values
    salt = np.uint64(int.from_bytes(hashlib.sha256(f"{seed}/{spec.name}".encode()).digest()[:8], "little"))
    starts = _mixed((ids.astype(np.int64, copy=False).view(np.uint64) ^ salt) + _STEP)
    step = max(1, _BLOCK_ELEMENTS // spec.dim)
    for first in range(0, ids.size, step):
        block = slice(first, first + step)
        if spec.rules.initial_std:
            values[block] = spec.rules.initial_std * _normal(starts[block], spec.dim)
        else:
            values[block] = spec.rules.initial_bound * (2.0 * _uniform(starts[block], spec.dim) - 1.0)
    return values


def _normal(starts: _UINT64, dim: int) -> Float64Array:
    """Return standard normal numbers [n, dim]: columns 2k and 2k + 1 are of one pair of uniform ones."""
    pairs = _uniform(starts, dim + dim % 2)
    radius = np.sqrt(-2.0 * np.log(pairs[:, 0::2]))
    angle = (2.0 * np.pi) * pairs[:, 1::2]
    pairs[:, 0::2] = radius * np.cos(angle)
    pairs[:, 1::2] = radius * np.sin(angle)
    return pairs[:, :dim]


def _uniform(starts: _UINT64, dim: int) -> Float64Array:
    """Return numbers [n, dim] in the open interval (0, 1), in steps of 2^-24 from 2^-25: exact in float64."""
    streams = starts[:, None] + _STEP * np.arange(1, dim + 1, dtype=np.uint64)
    uniform: Float64Array = (_mixed(streams) >> np.uint64(40)).astype(np.float64)
    uniform += 0.5
    uniform *= 2.0**-24
    return uniform


def _mixed(z: _UINT64) -> _UINT64:
    """Return splitmix64's output function of its states."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z
