"""`sketch`: sums of randomly signed groups of numbers; the rest waits.

One row of the count sketch (Charikar et al. 2002; for federated updates FetchSGD, Rothchild et al. 2020,
https://arxiv.org/abs/2007.07682), with groups of equal size in place of hash buckets. Every number belongs to one
group and has a sign, both drawn anew for each update; a group sends the mean of its signed numbers, and each number
is taken to be that mean with its own sign. This is the orthogonal projection on a random subspace: nothing but the
numbers of the groups travels, and |x|² = |sent|² + |left|², so error feedback (Karimireddy et al. 2019,
https://arxiv.org/abs/1901.09847) converges. Unlike FetchSGD's, sketches of trainers are not added before they are read.

Takes 16 bytes of memory a number while it encodes or decodes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fljob_runtime.compression.codec import Bytes
from fljob_runtime.parameters import Float32Array
from fljob_runtime.registry import ParametersModel, RegistryKind, register


class SketchParameters(ParametersModel):
    """Parameters of `sketch`. fraction: groups per number; errorFeedback: keep what is not sent for the next update."""

    fraction: float = Field(0.1, gt=0.0, le=1.0)
    error_feedback: bool = True


@register(RegistryKind.COMPRESSOR, "sketch", SketchParameters)
class Sketch:
    """Passes the groups' means on; sends nothing itself."""

    def __init__(self, parameters: SketchParameters) -> None:
        self._fraction = parameters.fraction
        self.feedback = parameters.error_feedback

    def num_bytes(self, n: int) -> int:  # noqa: ARG002 - the protocol's signature
        """Return 0: both ends draw the groups."""
        return 0

    def passes_on(self, n: int) -> int:
        """Return the number of groups: at least one, if there is any number."""
        return min(n, math.ceil(self._fraction * n))

    def encode(self, values: Float32Array, bits: np.random.Philox) -> tuple[Bytes, Float32Array]:
        """Return each group's mean of signed numbers, added up in float64."""
        groups, signs = self._draw(values.size, bits)
        count = self.passes_on(values.size)
        sums = np.bincount(groups, weights=signs * values, minlength=count)
        return np.empty(0, np.uint8), (sums / np.bincount(groups, minlength=count)).astype(np.float32)

    def decode(self, data: Bytes, rest: Float32Array, out: Float32Array, bits: np.random.Philox) -> None:  # noqa: ARG002
        """Give every number its group's mean, with its sign."""
        groups, signs = self._draw(out.size, bits)
        np.multiply(signs, rest[groups], out=out)

    def _draw(self, n: int, bits: np.random.Philox) -> tuple[NDArray[np.int64], Float32Array]:
        """Return group and sign of each of n numbers; raw bits, which every release of numpy draws alike."""
        raw = bits.random_raw(n)
        groups = np.empty(n, np.int64)
        groups[np.argsort(raw, kind="stable")] = np.arange(n) % self.passes_on(n)
        return groups, np.where(raw & np.uint64(1), np.float32(1.0), np.float32(-1.0))
