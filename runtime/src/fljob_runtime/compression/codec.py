"""What a codec is. Implemented by the files beside this one, used by `chain`."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.parameters import Float32Array

Bytes = NDArray[np.uint8]


class Codec(Protocol):
    """Turns n numbers into bytes of a size that n alone decides, and maybe fewer numbers for the next codec.

    bits: random bits that both ends draw alike. feedback: what was not sent is added to the next update.
    """

    @property
    def feedback(self) -> bool:
        """Return whether the sender keeps what it did not send."""

    def num_bytes(self, n: int) -> int:
        """Return how many bytes the codec itself makes of n numbers."""

    def passes_on(self, n: int) -> int:
        """Return how many numbers it leaves to the next codec; 0 ends a chain."""

    def encode(self, values: Float32Array, bits: np.random.Philox) -> tuple[Bytes, Float32Array]:
        """Return the bytes [num_bytes(n)] and the numbers left [passes_on(n)] of finite float32 [n]."""

    def decode(self, data: Bytes, rest: Float32Array, out: Float32Array, bits: np.random.Philox) -> None:
        """Fill `out` [n] from the bytes and the numbers left; raises MalformedError for bytes that mean nothing."""
