"""What shards decode: chunks, pushes plain and by every codec, exchanges, what is asked for by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from fljob_api.strategy import CompressorSpec
from fljob_api.wire import server_pb2 as pb
from fljob_runtime.algorithms.geo import Geo
from fljob_runtime.compression.chain import make
from fljob_runtime.errors import TransportError
from fljob_runtime.server.shard import Shard
from fljob_runtime.transport.exchange import answer_exchange, located
from fljob_runtime.transport.framing import data_chunks, unpack
from fljob_runtime.transport.row_ids import ids_to_proto
from fljob_runtime.transport.shard_service import receive_push
from fuzzing.model import commit, make_shard, only_trainer, owned, push
from fuzzing.target import Target, join, plain, split

_LAST_ATTEMPT = (1 << 32) - 1
CODECS = {
    "fp16": [CompressorSpec(name="fp16")],
    "bf16": [CompressorSpec(name="bf16")],
    "int8": [CompressorSpec(name="int8", parameters={"block": 8})],
    "int4": [CompressorSpec(name="int4", parameters={"block": 8})],
    "topK": [CompressorSpec(name="topK", parameters={"fraction": "0.3"})],
    "sketch": [CompressorSpec(name="sketch", parameters={"fraction": "0.3"})],
    "topK-sketch-int4": [
        CompressorSpec(name="topK", parameters={"fraction": "0.6"}),
        CompressorSpec(name="sketch", parameters={"fraction": "0.5"}),
        CompressorSpec(name="int4", parameters={"block": 4}),
    ],
}


def targets(folder: Path) -> Iterator[Target]:
    """Yield the targets of this module."""
    yield plain("framing", push(1), unpack, TransportError)
    yield _push("push", make_shard(folder / "push"), push(1, attempt=_LAST_ATTEMPT))
    first = make_shard(folder / "first-push", begun=False)
    yield _push("first-push", first, push(0, attempt=_LAST_ATTEMPT))
    for name, specs in CODECS.items():
        chain = make(specs, seed=7)
        shard = make_shard(folder / f"push-{name}", compression=chain)
        yield _push(f"push-{name}", shard, push(1, attempt=_LAST_ATTEMPT, chain=chain))
    yield _exchange(make_shard(folder / "exchange", exchange=Geo()))
    yield _pull(make_shard(folder / "pull"))


def _push(name: str, shard: Shard, messages: list[bytes]) -> Target:
    """Return a target for a push up to a staged update. Its attempt is the last: no mutant's is later."""
    valid = join(messages)

    def decode(data: bytes) -> object:
        return receive_push(shard, iter(split(data)), only_trainer)

    decode(valid)
    reserved = shard.reserved_bytes

    def check() -> None:
        decode(valid)
        if shard.reserved_bytes > 1.25 * reserved:  # so much larger a piece that was given back may serve again: Budget
            raise AssertionError(f"{shard.reserved_bytes} bytes are reserved, {reserved} for the same at first")

    return Target(name, (valid,), decode, (TransportError,), check, streamed=True)


def _exchange(shard: Shard) -> Target:
    wanted = ids_to_proto(owned())
    headers = [pb.ExchangeHeader(sequence=k, members=2, share=0.5, wanted=wanted) for k in (1, 2)]
    asking = pb.ExchangeHeader(members=2, share=0.5, wanted=wanted)  # number 0: without data
    valid = [join(push(1, exchange=header)) for header in headers]
    valid.append(join(push(1, exchange=asking)[:1]))
    at_rest = shard.reserved_bytes

    def decode(data: bytes) -> object:
        return list(answer_exchange(shard, iter(split(data)), only_trainer).chunks())

    def check() -> None:
        for data in valid:
            decode(data)
        if shard.reserved_bytes != at_rest:
            raise AssertionError(f"{shard.reserved_bytes} bytes stay reserved, {at_rest} before")

    return Target("exchange", tuple(valid), decode, (TransportError,), check, streamed=True)


def _pull(shard: Shard) -> Target:
    """Return a target for what a pull asks for. grpc decodes the request: its DecodeError costs the call."""

    def decode(data: bytes) -> object:
        request = pb.PullRequest.FromString(data)
        model = shard.model()
        arrays = [] if request.without_dense else [model.dense(request.version)]
        for table, where in located(model, request.rows).items():
            arrays.append(model.rows(request.version, table, where))
        return list(data_chunks(arrays))

    for round_ in (1, 2):  # then some keyed rows are there, and some wait
        commit(shard, round_)
    valid = [pb.PullRequest(version=v, rows=ids_to_proto(owned())).SerializeToString() for v in (0, 2)]
    return plain("pull", valid, decode, TransportError, DecodeError)
