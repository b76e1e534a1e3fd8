"""`topK`: the numbers of largest magnitude; the rest waits.

Deep Gradient Compression of Lin et al. 2018 (https://arxiv.org/abs/1712.01887), without its momentum correction. What
is not sent is added to the next update: error feedback, with which it converges as uncompressed training does
(Karimireddy et al. 2019, https://arxiv.org/abs/1901.09847; Stich et al. 2018, https://arxiv.org/abs/1809.07599).

In tables it chooses among the numbers of all touched rows, not whole rows: a row's id and weight travel even where none
of its numbers do.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fljob_runtime.compression.codec import Bytes
from fljob_runtime.errors import MalformedError
from fljob_runtime.parameters import Float32Array
from fljob_runtime.registry import ParametersModel, RegistryKind, register


class TopKParameters(ParametersModel):
    """Parameters of `topK`. fraction: the part that is sent; errorFeedback: keep the rest for the next update."""

    fraction: float = Field(0.05, gt=0.0, le=1.0)
    error_feedback: bool = True


@register(RegistryKind.COMPRESSOR, "topK", TopKParameters)
class TopK:
    """Sends places, in order, and passes the numbers there on."""

    def __init__(self, parameters: TopKParameters) -> None:
        self._fraction = parameters.fraction
        self.feedback = parameters.error_feedback

    def num_bytes(self, n: int) -> int:
        """Return the bytes of the places."""
        return self.passes_on(n) * _place_type(n).itemsize

    def passes_on(self, n: int) -> int:
        """Return k: at least one, if there is any."""
        return min(n, math.ceil(self._fraction * n))

    def encode(self, values: Float32Array, bits: np.random.Philox) -> tuple[Bytes, Float32Array]:  # noqa: ARG002
        """Return the places of the k largest magnitudes, and the numbers there."""
        count = self.passes_on(values.size)
        if count == values.size:
            places = np.arange(count)
        else:
            places = np.sort(np.argpartition(np.abs(values), values.size - count)[values.size - count :])
        return places.astype(_place_type(values.size)).view(np.uint8), values[places]

    def decode(self, data: Bytes, rest: Float32Array, out: Float32Array, bits: np.random.Philox) -> None:  # noqa: ARG002
        """Put the numbers to their places, zeros elsewhere; raises MalformedError for places out of order or range."""
        places: NDArray[np.integer] = data.view(_place_type(out.size))
        if places.size and not (places[-1] < out.size and (places[1:] > places[:-1]).all()):
            raise MalformedError(f"topK: places must be sorted, unique and below {out.size}")
        out[:] = 0.0
        out[places] = rest


def _place_type(n: int) -> np.dtype[np.unsignedinteger]:
    """Return the smallest type that counts to n - 1."""
    return np.dtype("<u2" if n <= 1 << 16 else "<u4" if n <= 1 << 32 else "<u8")
