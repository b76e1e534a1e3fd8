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


def digest_of(arrays: Iterable[NDArray[np.generic]], *, previous: str = "") -> str:
    """Return the hex digest of the arrays' bytes in order; `previous` chains it to an earlier one."""
    total = hashlib.sha256(previous.encode())
    for array in arrays:
        view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        total.update(len(view).to_bytes(8, "little"))
        for start in range(0, len(view), PIECE_BYTES):
            total.update(zlib.crc32(view[start : start + PIECE_BYTES]).to_bytes(4, "little"))
    return total.hexdigest()
