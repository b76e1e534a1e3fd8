"""Digest of tensor bytes: tells two contents apart, not two adversaries.

sha256 over the length and the CRC-32 of each MiB. The wire is already authenticated, and a trainer can only
collide with itself; full sha256 costs 2.7 ms/MiB where a gRPC stream costs 1 (measured), this 0.4.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

PIECE_BYTES = 1 << 20


class Digest:
    """Takes the bytes of one array after another, in any pieces; `previous` chains it to an earlier digest."""

    def __init__(self, previous: str = "") -> None:
        self._total = hashlib.sha256(previous.encode())
        self._crc = 0
        self._length = 0

    def update(self, data: memoryview) -> None:
        """Add bytes of the present array."""
        while data:
            piece = data[: PIECE_BYTES - self._length % PIECE_BYTES]
            self._crc = zlib.crc32(piece, self._crc)
            self._length += len(piece)
            data = data[len(piece) :]
            if self._length % PIECE_BYTES == 0:
                self._close_piece()

    def end_array(self) -> None:
        """Close the present array: its length is part of the digest."""
        if self._length % PIECE_BYTES:
            self._close_piece()
        self._total.update(self._length.to_bytes(8, "little"))
        self._length = 0

    def hexdigest(self) -> str:
        """Return the digest of the arrays closed so far."""
        return self._total.hexdigest()

    def _close_piece(self) -> None:
        self._total.update(self._crc.to_bytes(4, "little"))
        self._crc = 0


def digest_of(arrays: Iterable[NDArray[np.generic]], *, previous: str = "") -> str:
    """Return the hex digest of the arrays' bytes in order; `previous` chains it to an earlier one."""
    digest = Digest(previous)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        digest.end_array()
    return digest.hexdigest()
