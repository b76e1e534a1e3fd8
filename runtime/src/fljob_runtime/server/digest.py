"""Digest of tensor bytes: tells two contents apart, not two adversaries.

sha256 over the length and the 128-bit XXH3 of each array. The wire is already authenticated, and a trainer can only
collide with itself; sha256 of all bytes costs 2.7 ms/MiB where a gRPC stream costs 1 (measured), XXH3 0.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import xxhash
from numpy.typing import NDArray


class Digest:
    """Takes the bytes of one array after another, in any pieces; `previous` chains it to an earlier digest."""

    def __init__(self, previous: str = "") -> None:
        self._total = hashlib.sha256(previous.encode())
        self._array = xxhash.xxh3_128()
        self._length = 0

    def update(self, data: memoryview) -> None:
        """Add bytes of the present array."""
        self._array.update(data)
        self._length += data.nbytes

    def end_array(self) -> None:
        """Close the present array: its length is part of the digest."""
        self._total.update(self._array.digest() + self._length.to_bytes(8, "little"))
        self._array.reset()
        self._length = 0

    def hexdigest(self) -> str:
        """Return the digest of the arrays closed so far."""
        return self._total.hexdigest()


def digest_of(arrays: Iterable[NDArray[np.generic]], *, previous: str = "") -> str:
    """Return the hex digest of the arrays' bytes in order; `previous` chains it to an earlier one."""
    digest = Digest(previous)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
        digest.end_array()
    return digest.hexdigest()
