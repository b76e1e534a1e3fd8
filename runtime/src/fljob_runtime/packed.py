"""Sorted ids and counts in few bits. Pure numpy; used by transport (sends), server.staging (receives) and metrics.

Ids are coded as Elias (1974, https://doi.org/10.1145/321812.321820) and Fano did: of n ids a_0 < a_1 < ..., the numbers
g_i = a_i - a_0 - i never fall. The low l bits of each are kept as they are, l planes of n bits; g_i >> l is the number
of zeros before the i-th one of a bitmap. With l the whole part of log2(g_last / n) that is at most 3 bits an id more
than log2(g_last / n), and one where all ids follow each other. A set of ids has one coding; any other is refused.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.errors import MalformedError
from fljob_runtime.parameters import Float64Array, Int64Array

Bytes = NDArray[np.uint8]
_HEAD = 16  # a_0 as int64, g_last as uint64
_WIDTHS = (1, 2, 4, 8)
_WORD = (1 << 64) - 1


def pack_ids(ids: Int64Array) -> Bytes:
    """Return the coding of ids [n], any int64; raises MalformedError unless they are sorted and unique."""
    count = ids.size
    if count == 0:
        return np.empty(0, np.uint8)
    if not (ids[1:] > ids[:-1]).all():
        raise MalformedError("row ids must be sorted and unique")
    first, last = int(ids[0]), int(ids[-1])
    gap = last - first - count + 1
    low = _low_bits(gap, count)
    order = np.arange(count, dtype=np.uint64)
    gaps = ids.view(np.uint64) - np.uint64(first & _WORD) - order
    high = np.zeros(count + (gap >> low), np.uint8)
    high[(gaps >> np.uint64(low)) + order] = 1
    head = first.to_bytes(8, "little", signed=True) + gap.to_bytes(8, "little")
    planes = [(gaps >> np.uint64(bit)).astype(np.uint8) & np.uint8(1) for bit in range(low)]
    bits = [np.packbits(plane, bitorder="little") for plane in (high, *planes)]
    return np.concatenate([np.frombuffer(head, np.uint8), *bits])


def unpack_ids(data: Bytes, count: int) -> Int64Array:
    """Return ids [count]; raises MalformedError for what `pack_ids` cannot have made of so many.

    Checks the size of the data first, so takes no more memory than 64 times that.
    """
    if count == 0 and data.size == 0:
        return np.empty(0, np.int64)
    if count < 1 or data.size < _HEAD:
        raise MalformedError(f"row ids: {data.size} bytes for {count} ids")
    head = data[:_HEAD].tobytes()
    first, gap = int.from_bytes(head[:8], "little", signed=True), int.from_bytes(head[8:], "little")
    low = _low_bits(gap, count)
    length, plane = count + (gap >> low), -(-count // 8)
    start = _HEAD + -(-length // 8)
    if data.size != start + low * plane or first + gap + count - 1 >= 1 << 63:
        raise MalformedError(f"row ids: {data.size} bytes for {count} ids, or ids beyond 64 bits")
    ones = np.flatnonzero(_bits(data[_HEAD:start], length))
    if ones.size != count:
        raise MalformedError(f"row ids: {ones.size} of {count}")
    order = np.arange(count, dtype=np.uint64)
    gaps = (ones.astype(np.uint64) - order) << np.uint64(low)
    for bit in range(low):
        at = start + bit * plane
        gaps |= _bits(data[at : at + plane], count).astype(np.uint64) << np.uint64(bit)
    if gaps[0] != 0 or int(gaps[-1]) != gap or not (gaps[1:] >= gaps[:-1]).all():
        raise MalformedError("row ids: not sorted, or others than their head says")
    gaps += order
    gaps += np.uint64(first & _WORD)
    return gaps.view(np.int64)


def most_bytes(count: int) -> int:
    """Return the most bytes that the coding of so many ids can have."""
    return _HEAD + -(-3 * count // 8) + 64 * -(-count // 8)


def pack_weights(weights: Float64Array) -> Bytes:
    """Return row weights in 1, 2 or 4 bytes each where all are whole and small enough, else in 8, as they are."""
    whole = weights.size > 0 and bool(((weights >= 0) & (weights < 1 << 32) & (weights == np.floor(weights))).all())
    if not whole:
        return weights.astype("<f8", copy=False).view(np.uint8)
    width = next(w for w in _WIDTHS if weights.max() < 1 << 8 * w)
    return weights.astype(f"<u{width}").view(np.uint8)


def unpack_weights(data: Bytes, count: int) -> Float64Array:
    """Return weights [count]; raises MalformedError for a size that is not 1, 2, 4 or 8 bytes each."""
    width = data.size // max(count, 1)
    if width not in _WIDTHS or data.size != width * count:
        raise MalformedError(f"row weights: {data.size} bytes for {count} rows")
    return data.view("<f8" if width == 8 else f"<u{width}").astype(np.float64)


def _low_bits(gap: int, count: int) -> int:
    return max(0, (gap // count).bit_length() - 1)


def _bits(data: Bytes, count: int) -> NDArray[np.uint8]:
    """Return the first bits of some bytes; raises MalformedError unless the others are zero."""
    bits = np.unpackbits(data, bitorder="little")
    if bits[count:].any():
        raise MalformedError("row ids: bits behind the last one")
    return bits[:count]
