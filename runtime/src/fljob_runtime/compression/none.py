"""`none`: the identity."""

from __future__ import annotations

import numpy as np

from fljob_runtime.compression.codec import Bytes
from fljob_runtime.parameters import Float32Array
from fljob_runtime.registry import NoParameters, RegistryKind, register


@register(RegistryKind.COMPRESSOR, "none", NoParameters)
class Identity:
    """Passes every number on. A chain of nothing else is no compression at all: values travel, not differences."""

    feedback = False

    def __init__(self, parameters: NoParameters) -> None:
        pass

    def num_bytes(self, n: int) -> int:  # noqa: ARG002 - the protocol's signature
        """Return 0."""
        return 0

    def passes_on(self, n: int) -> int:
        """Return n."""
        return n

    def encode(self, values: Float32Array, bits: np.random.Philox) -> tuple[Bytes, Float32Array]:  # noqa: ARG002
        """Return no bytes, and the values."""
        return np.empty(0, np.uint8), values

    def decode(self, data: Bytes, rest: Float32Array, out: Float32Array, bits: np.random.Philox) -> None:  # noqa: ARG002
        """Copy."""
        out[:] = rest
