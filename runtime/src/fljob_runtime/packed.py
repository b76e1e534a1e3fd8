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
_SWAPS = tuple(
    (np.uint64(by), np.uint64(mask))
    for by, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))
)


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
    eights = [_transposed(_bytes_of(gaps, bit)).T[: low - bit] for bit in range(0, low, 8)]
    planes = [part.reshape(-1) for part in eights]
    return np.concatenate([np.frombuffer(head, np.uint8), np.packbits(high, bitorder="little"), *planes])


def unpack_ids(data: Bytes, count: int, out: Int64Array | None = None) -> Int64Array:
    """Return ids [count], sorted and unique, in `out` if given.

    Raises MalformedError for what `pack_ids` cannot have made of so many. Checks the size of the data first, so takes
    no more memory than 64 times that.
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
    ones = np.unpackbits(data[_HEAD:start], bitorder="little").view(np.bool_).nonzero()[0]
    if ones.size != count:
        raise MalformedError(f"row ids: {ones.size} of {count}")
    planes = data[start:].reshape(low, plane)
    if ones[-1] >= length or (count % 8 and (planes[:, -1] >> count % 8).any()):
        raise MalformedError("row ids: bits behind the last one")
    order = np.arange(count, dtype=np.uint64)
    gaps = ones.view(np.uint64)
    gaps -= order
    gaps <<= np.uint64(low)
    _add_planes(gaps, planes)
    if gaps[0] != 0 or int(gaps[-1]) != gap or not (gaps[1:] >= gaps[:-1]).all():
        raise MalformedError("row ids: not sorted, or others than their head says")
    ids = np.empty(count, np.int64) if out is None else out
    gaps += order
    np.add(gaps, np.uint64(first & _WORD), out=ids.view(np.uint64))
    return ids


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


def unpack_weights(data: Bytes, count: int, out: Float64Array | None = None) -> Float64Array:
    """Return weights [count], in `out` if given; raises MalformedError for a size that is not 1, 2, 4 or 8 each."""
    width = data.size // max(count, 1)
    if width not in _WIDTHS or data.size != width * count:
        raise MalformedError(f"row weights: {data.size} bytes for {count} rows")
    weights = np.empty(count, np.float64) if out is None else out
    weights[:] = data.view("<f8" if width == 8 else f"<u{width}")
    return weights


def _low_bits(gap: int, count: int) -> int:
    return max(0, (gap // count).bit_length() - 1)


def _bytes_of(gaps: NDArray[np.uint64], bit: int) -> Bytes:
    """Return eight bits of each number, from this one on: [n / 8, 8], with zeros behind the last."""
    eights = np.zeros((-(-gaps.size // 8), 8), np.uint8)
    eights.reshape(-1)[: gaps.size] = (gaps >> np.uint64(bit)).astype(np.uint8)
    return eights


def _add_planes(gaps: NDArray[np.uint64], planes: Bytes) -> None:
    """Set the low bits of numbers [n], which are zero, from planes [l, n / 8]."""
    low, width = planes.shape
    eights = np.zeros((-(-low // 8), width, 8), np.uint8)
    for bit in range(low):
        eights[bit // 8, :, bit % 8] = planes[bit]
    parts = _transposed(eights.reshape(-1, 8)).reshape(len(eights), 8 * width)[:, : gaps.size]
    for byte, part in enumerate(parts):
        gaps |= part.astype(np.uint64) << np.uint64(8 * byte) if byte else part


def _transposed(eights: Bytes) -> Bytes:
    """Exchange, in each row of eight bytes [m, 8], bit i of byte k and bit k of byte i, in place; returns the same.

    Three exchanges of ever larger parts of an 8 x 8 matrix in a word (Warren, Hacker's Delight, 7-3).
    """
    words = eights.view("<u8")[:, 0]
    for by, mask in _SWAPS:
        apart = words >> by
        apart ^= words
        apart &= mask
        words ^= apart
        apart <<= by
        words ^= apart
    return eights
