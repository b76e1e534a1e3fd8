"""Codecs one behind the other, as `strategy.compression` lists them: what leaves one goes into the next.

Used by transport.encode (the trainer's end) and server.staging (the shard's). The bytes of n numbers are each codec's
own in turn, then the numbers that the last one left as float32. Their size follows from n, so that both ends know it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fljob_api.strategy import CompressorSpec
from fljob_runtime import compression  # registers the codecs
from fljob_runtime.compression.codec import Bytes, Codec
from fljob_runtime.errors import MalformedError
from fljob_runtime.parameters import Float32Array
from fljob_runtime.registry import RegistryError, RegistryKind, find, parse_parameters

__all__ = ["Chain", "Key", "compression", "make"]
WHERE = "spec.strategy.compression"


@dataclass(frozen=True)
class Key:
    """Which piece of which update: what its random bits are a function of."""

    round: int
    attempt: int
    trainer: str
    shard: int
    name: str


class Chain:
    """One or more codecs, and the seed of their random bits."""

    def __init__(self, names: Sequence[str], codecs: Sequence[Codec], seed: int) -> None:
        self.names = tuple(names)
        self._codecs = tuple(codecs)
        self._seed = seed

    @property
    def feedback(self) -> bool:
        """Return whether the sender keeps what was not sent."""
        return any(codec.feedback for codec in self._codecs)

    def num_bytes(self, n: int) -> int:
        """Return the encoded size of n numbers."""
        total = 0
        for codec in self._codecs:
            total += codec.num_bytes(n)
            n = codec.passes_on(n)
        return total + 4 * n

    def encode(self, values: Float32Array, key: Key) -> Bytes:
        """Return the bytes [num_bytes(n)] of float32 [n]; raises MalformedError for values that are not finite."""
        if not np.isfinite(values).all():
            raise MalformedError("an update is not finite; lower spec.optimizer.learningRate")
        pieces = []
        for stage, codec in enumerate(self._codecs):
            data, values = codec.encode(values, self._bits(key, stage))
            pieces.append(data)
        return np.concatenate([*pieces, np.ascontiguousarray(values, "<f4").view(np.uint8)])

    def decode(self, data: Bytes, out: Float32Array, key: Key) -> None:
        """Fill `out` [n]; raises MalformedError for bytes that mean nothing or numbers that are not finite."""
        sizes = [out.size]
        for codec in self._codecs:
            sizes.append(codec.passes_on(sizes[-1]))
        own = [codec.num_bytes(n) for codec, n in zip(self._codecs, sizes, strict=False)]
        ends = np.cumsum([0, *own])
        values = data[ends[-1] :].view("<f4")
        if not np.isfinite(values).all():
            raise MalformedError("coded values are not finite")
        with np.errstate(over="ignore"):  # a product may overflow; looked at below
            for stage in range(len(self._codecs) - 1, -1, -1):
                target = out if stage == 0 else np.empty(sizes[stage], np.float32)
                piece = data[ends[stage] : ends[stage + 1]]
                self._codecs[stage].decode(piece, values, target, self._bits(key, stage))
                values = target
        if not np.isfinite(out).all():
            raise MalformedError("coded values are not finite")

    def _bits(self, key: Key, stage: int) -> np.random.Philox:
        text = f"{self._seed}/{key.round}/{key.attempt}/{key.shard}/{stage}/{key.name}/{key.trainer}"
        return np.random.Philox(key=int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little"))


def make(specs: Sequence[CompressorSpec], seed: int) -> Chain | None:
    """Return the chain that a job names, None for no compression; raises RegistryError."""
    names: list[str] = []
    codecs: list[Codec] = []
    for index, spec in enumerate(specs):
        cls, schema = find(RegistryKind.COMPRESSOR, spec.name)
        codec: Codec = cls(parse_parameters(f"{WHERE}[{index}].parameters", schema, spec.parameters))
        if spec.name == "none":
            continue
        if codecs and codecs[-1].passes_on(1) == 0:
            raise RegistryError(f"{WHERE}[{index}]: {names[-1]} leaves no numbers to {spec.name}; put it last")
        names.append(spec.name)
        codecs.append(codec)
    return Chain(names, codecs, seed) if codecs else None
