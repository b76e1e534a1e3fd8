"""`fp16` and `bf16`: two bytes a number, rounded to the nearest (IEEE 754 half precision; bfloat16)."""

from __future__ import annotations

import numpy as np

from fljob_runtime.compression.codec import Bytes
from fljob_runtime.parameters import Float32Array
from fljob_runtime.registry import NoParameters, RegistryKind, register

_LARGEST_HALF = np.float32(65504.0)


class _TwoBytes:
    feedback = False

    def __init__(self, parameters: NoParameters) -> None:
        pass

    def num_bytes(self, n: int) -> int:
        """Return 2n."""
        return 2 * n

    def passes_on(self, n: int) -> int:  # noqa: ARG002 - the protocol's signature
        """Return 0."""
        return 0


@register(RegistryKind.COMPRESSOR, "fp16", NoParameters)
class Fp16(_TwoBytes):
    """11 significant bits down to 6e-5; larger numbers than 65504 become 65504."""

    def encode(self, values: Float32Array, bits: np.random.Philox) -> tuple[Bytes, Float32Array]:  # noqa: ARG002
        """Round to the nearest, ties to even."""
        halves = np.clip(values, -_LARGEST_HALF, _LARGEST_HALF).astype("<f2")
        return halves.view(np.uint8), np.empty(0, np.float32)

    def decode(self, data: Bytes, rest: Float32Array, out: Float32Array, bits: np.random.Philox) -> None:  # noqa: ARG002
        """Widen."""
        out[:] = data.view("<f2")


@register(RegistryKind.COMPRESSOR, "bf16", NoParameters)
class Bf16(_TwoBytes):
    """8 significant bits, the range of float32."""

    def encode(self, values: Float32Array, bits: np.random.Philox) -> tuple[Bytes, Float32Array]:  # noqa: ARG002
        """Round to the nearest, ties to even; what would round to infinity is cut off instead."""
        whole = np.ascontiguousarray(values).view(np.uint32)
        rounded = (whole + np.uint32(0x7FFF) + ((whole >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        infinite = (rounded & np.uint32(0x7FFF)) == np.uint32(0x7F80)
        rounded[infinite] -= np.uint32(1)
        return rounded.astype("<u2").view(np.uint8), np.empty(0, np.float32)

    def decode(self, data: Bytes, rest: Float32Array, out: Float32Array, bits: np.random.Philox) -> None:  # noqa: ARG002
        """Put zeros behind."""
        wide = out.view(np.uint32)
        wide[:] = data.view("<u2")
        wide <<= np.uint32(16)
