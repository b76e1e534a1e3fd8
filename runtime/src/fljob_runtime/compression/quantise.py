"""`int8` and `int4`: stochastic rounding to whole multiples of a scale per block.

QSGD of Alistarh et al. 2017 (https://arxiv.org/abs/1610.02132), section 3.1, with a scale for each block of numbers
(their "buckets", section 4) and the block's largest magnitude in place of its 2-norm, as in their implementation:

    scale = max|x| / levels        q = floor(x / scale + u), u uniform in [0, 1)        E[q * scale] = x

so the error of a number is below its block's scale, and zero in the mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fljob_runtime.compression.codec import Bytes
from fljob_runtime.errors import MalformedError
from fljob_runtime.parameters import Float32Array
from fljob_runtime.registry import ParametersModel, RegistryKind, register

_TINY = np.finfo(np.float32).tiny


class QuantiseParameters(ParametersModel):
    """Parameters of `int8` and `int4`. block: numbers that share a scale of four bytes."""

    block: int = Field(64, ge=2, le=65_536)


class _Quantiser(ABC):
    feedback = False
    levels = 0

    def __init__(self, parameters: QuantiseParameters) -> None:
        self._block = parameters.block

    def num_bytes(self, n: int) -> int:
        """Return the bytes of the scales and of the codes."""
        return 4 * self._blocks(n) + self.code_bytes(n)

    def passes_on(self, n: int) -> int:  # noqa: ARG002 - the protocol's signature
        """Return 0."""
        return 0

    def encode(self, values: Float32Array, bits: np.random.Philox) -> tuple[Bytes, Float32Array]:
        """Return scales, then codes."""
        padded = np.zeros((self._blocks(values.size), self._block), np.float32)
        padded.reshape(-1)[: values.size] = values
        scales = np.abs(padded).max(axis=1) / np.float32(self.levels)
        scales[scales < _TINY] = 0.0  # too small to divide by: sent as zeros
        padded /= np.where(scales > 0.0, scales, np.float32(np.inf))[:, None]
        codes = padded.reshape(-1)[: values.size]
        codes += np.random.Generator(bits).random(values.size, np.float32)
        np.floor(codes, out=codes)
        np.clip(codes, -self.levels, self.levels, out=codes)
        codes[np.repeat(scales == 0.0, self._block)[: values.size]] = 0.0
        packed = self.pack(codes.astype(np.int8))
        return np.concatenate([scales.astype("<f4").view(np.uint8), packed]), np.empty(0, np.float32)

    def decode(self, data: Bytes, rest: Float32Array, out: Float32Array, bits: np.random.Philox) -> None:  # noqa: ARG002
        """Multiply codes by their scales; raises MalformedError for a code beyond the levels."""
        scales = data[: 4 * self._blocks(out.size)].view("<f4")
        if not (np.isfinite(scales) & (scales >= 0.0)).all():
            raise MalformedError("quantised values: a scale is not a finite number of at least 0")
        codes = self.unpack(data[4 * scales.size :], out.size)
        if codes.size and codes.min() < -self.levels:
            raise MalformedError(f"quantised values: a code is beyond {self.levels} levels")
        out[:] = codes
        whole = out.size // self._block
        out[: whole * self._block].reshape(whole, self._block)[:] *= scales[:whole, None]
        if scales.size > whole:
            out[whole * self._block :] *= scales[whole]

    def _blocks(self, n: int) -> int:
        return -(-n // self._block)

    @abstractmethod
    def code_bytes(self, n: int) -> int:
        """Return the bytes of n codes."""

    @abstractmethod
    def pack(self, codes: NDArray[np.int8]) -> Bytes:
        """Return the bytes of codes."""

    @abstractmethod
    def unpack(self, data: Bytes, n: int) -> NDArray[np.int8]:
        """Return n codes."""


@register(RegistryKind.COMPRESSOR, "int8", QuantiseParameters)
class Int8(_Quantiser):
    """A byte a number: -127 to 127."""

    levels = 127

    def code_bytes(self, n: int) -> int:
        """Return n."""
        return n

    def pack(self, codes: NDArray[np.int8]) -> Bytes:
        """Return them as they are."""
        return codes.view(np.uint8)

    def unpack(self, data: Bytes, n: int) -> NDArray[np.int8]:  # noqa: ARG002 - n is the size of the data
        """Return them as they are."""
        return data.view(np.int8)


@register(RegistryKind.COMPRESSOR, "int4", QuantiseParameters)
class Int4(_Quantiser):
    """Two numbers a byte, the first in its low half: -7 to 7, plus 8."""

    levels = 7

    def code_bytes(self, n: int) -> int:
        """Return half of n, rounded up."""
        return -(-n // 2)

    def pack(self, codes: NDArray[np.int8]) -> Bytes:
        """Put two in a byte; the place left over holds 0."""
        halves = np.full(2 * self.code_bytes(codes.size), 8, np.uint8)
        halves[: codes.size] = codes + np.int8(8)
        return halves[0::2] | (halves[1::2] << np.uint8(4))

    def unpack(self, data: Bytes, n: int) -> NDArray[np.int8]:
        """Take two out of a byte; raises MalformedError for something in the place left over."""
        halves = np.empty(2 * data.size, np.int8)
        halves[0::2] = data & np.uint8(15)
        halves[1::2] = data >> np.uint8(4)
        halves -= np.int8(8)
        if halves[n:].any():
            raise MalformedError("quantised values: codes behind the last one")
        return halves[:n]
