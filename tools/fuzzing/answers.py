"""What trainers decode of shards' answers: pulled values, answers to exchanges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fljob_api.wire import server_pb2 as pb
from fljob_runtime.algorithms.geo import Geo
from fljob_runtime.errors import TransportError
from fljob_runtime.transport.exchange import answer_exchange, read_answer
from fljob_runtime.transport.framing import data_chunks
from fljob_runtime.transport.row_ids import ids_to_proto
from fljob_runtime.transport.shard_client import receive
from fuzzing.model import DIM, make_shard, only_trainer, owned, push
from fuzzing.target import Target, join, plain, split


def targets(folder: Path) -> Iterator[Target]:
    """Yield the targets of this module."""
    ids = owned()
    wanted = ids_to_proto(ids)
    asked = pb.ExchangeHeader(sequence=1, members=2, share=0.5, wanted=wanted)
    shard = make_shard(folder / "answers", exchange=Geo())
    answered = list(answer_exchange(shard, iter(push(1, exchange=asked)), only_trainer).chunks())
    model = shard.model()
    dense, rows = model.dense(0), [model.rows(0, name, model.locate(name, some)) for name, some in ids.items()]
    pulled = [pb.Chunk().SerializeToString(), *data_chunks([dense, *rows])]
    halves = [pulled[0], *data_chunks([dense]), *data_chunks(rows)]

    def blocks() -> list[NDArray[np.generic]]:
        return [np.empty(dense.size, np.float32), *(np.empty((some.size, DIM), np.float32) for some in ids.values())]

    def read_pull(data: bytes) -> object:
        return receive(iter(split(data)), blocks())

    def read_exchange(data: bytes) -> object:
        stream = iter(split(data))
        return read_answer(next(stream, b"")), receive(stream, blocks())

    yield plain("pull-answer", [join(pulled), join(halves)], read_pull, TransportError, streamed=True)
    yield plain("exchange-answer", [join(answered)], read_exchange, TransportError, streamed=True)
