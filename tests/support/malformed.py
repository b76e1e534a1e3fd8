"""Pushes that a shard must refuse, as raw messages, and one that it takes."""

from __future__ import annotations

from typing import Any

from fljob_api.wire import server_pb2 as pb
from fljob_runtime.transport.encode import encode_update
from fljob_runtime.transport.framing import blocks_to_proto
from support.shards import LAYOUT, UID, update

(PAYLOAD,) = encode_update(LAYOUT, update(1.0, {3: 1.0, 9: 1.0}), 1)
DATA = b"".join(array.tobytes() for array in PAYLOAD.arrays)  # 36 bytes, ids [head 16, 2], values [16], weights [2]


NAN = b"\x00\x00\xc0\x7f"


def first(trainer: str = "a", **changes: object) -> bytes:
    """Return the first chunk of a good push to the one shard of a job, with some of its header changed."""
    push: dict[str, Any] = {"job_uid": UID, "round": 1, "trainer": trainer, "num_samples": 1, **changes}
    return pb.Chunk(push=pb.PushHeader(**push), blocks=blocks_to_proto(PAYLOAD.blocks)).SerializeToString()


def data(content: bytes) -> bytes:
    return pb.Chunk(data=content).SerializeToString()


def malformed(trainer: str = "a", round_: int = 1) -> dict[str, list[bytes]]:
    """Return pushes of a trainer that must be answered with INVALID_ARGUMENT, by what is wrong with them."""
    good = first(trainer, round=round_)

    def announcing(*blocks: pb.Block) -> bytes:
        push = pb.PushHeader(job_uid=UID, round=round_, trainer=trainer, num_samples=1)
        return pb.Chunk(push=push, blocks=blocks).SerializeToString()

    return {
        "nothing at all": [],
        "garbage": [b"\xff\xff\xff\xff"],
        "data before the header": [data(DATA), good],
        "data in the header": [pb.Chunk(push=pb.PushHeader(job_uid=UID), data=b"x").SerializeToString()],
        "garbage after the header": [good, b"\xff\xff\xff"],
        "too short": [good, data(DATA[:-1])],
        "too long": [good, data(DATA + b"x")],
        "much too long": [good, data(DATA), *[data(bytes(1 << 20))] * 3],
        "a chunk over a mebibyte": [good, data(bytes((1 << 20) + 1))],
        "not finite": [good, data(NAN + DATA[4:])],
        "ids beyond their head": [good, data(DATA[:44] + b"\x04" + DATA[45:])],
        "another number of ids": [good, data(DATA[:52] + b"\x07" + DATA[53:])],
        "an id out of range": [good, data(DATA[:36] + (34).to_bytes(8, "little") + DATA[44:])],
        "a negative id": [good, data(DATA[:36] + b"\xff" * 8 + DATA[44:])],
        "a weight of zero": [good, data(DATA[:-1] + bytes(1))],
        "blocks of another size": [announcing(pb.Block(kind=pb.Block.DENSE, num_bytes=40)), data(bytes(40))],
        "an enormous block": [announcing(pb.Block(kind=pb.Block.DENSE, num_bytes=1 << 62))],
        "a private table": [
            announcing(
                pb.Block(kind=pb.Block.DENSE, num_bytes=36),
                pb.Block(name="users", kind=pb.Block.PACKED_IDS, num_bytes=8, num_rows=1),
            )
        ],
        "a kind of block that is not known": [announcing(pb.Block.FromString(b"\x10\x63"))],
        "another job": [first(trainer, round=round_, job_uid="other"), data(DATA)],
        "no samples": [first(trainer, round=round_, num_samples=0), data(DATA)],
    }
