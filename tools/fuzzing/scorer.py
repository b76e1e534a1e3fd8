"""What a scorer reads over gRPC: columns of a message, as rows that are checked."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from fljob_api.wire import scorer_pb2 as pb
from fljob_runtime.serving.answers import MAX_ROWS
from fljob_runtime.serving.feeds import Columns, Feed, FeedError, arrays
from fljob_runtime.serving.rpc import inputs_of
from fuzzing.target import Target, plain

_FEEDS = (Feed("item", (), 4), Feed("any", any_ids=True), Feed("price", (2, 2)), Feed("tags", (2,), 9, sequence=True))


def targets() -> Iterator[Target]:
    """Yield the targets of this module."""
    columns = [
        pb.Column(name="item", ids=[1, 3]),
        pb.Column(name="any", ids=[-1, 2**63 - 1]),
        pb.Column(name="price", numbers=[0.5, 1, 2, 3, 4, 5, 6, 7], lengths=[4, 4]),
        pb.Column(name="tags", ids=[1, 8, 0, 2], lengths=[1, 3]),
    ]
    valid = pb.ScoreRequest(columns=columns).SerializeToString()
    yield plain("score-request", [valid], _read, FeedError, DecodeError)


def _read(data: bytes) -> Columns:
    return arrays(_FEEDS, inputs_of(pb.ScoreRequest.FromString(data).columns, _FEEDS), max_rows=MAX_ROWS)
