"""Both faces of a scorer on real ports, and messages to ask over gRPC. Used by the tests of `rpc`."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from fljob_api.wire import scorer_pb2 as pb
from fljob_api.wire import scorer_pb2_grpc as stubs
from fljob_runtime.roles.scorer_metrics import ScorerMetrics
from fljob_runtime.serving.answers import Answers
from fljob_runtime.serving.feeds import Feed
from fljob_runtime.serving.http import ScoringServer
from fljob_runtime.serving.rpc import RpcServer
from fljob_runtime.serving.served import Exported

LIMIT_S = 30.0
OWN = (("grpc.use_local_subchannel_pool", 1),)
FEEDS = (Feed("item", (), 4), Feed("price"), Feed("tags", (2,), 9, sequence=True), Feed("pixels", (2, 2)))


def scored(columns: list[np.ndarray]) -> np.ndarray:
    """Score so that each value of each column counts."""
    item, price, tags, pixels = columns
    scores: np.ndarray = (item / 4 + price + tags @ [10, 100] + pixels.reshape(-1, 4) @ [1, 2, 3, 5]).astype(np.float32)
    return scores


@dataclass(frozen=True)
class Faces:
    """Both faces of one model."""

    http: ScoringServer
    rpc: RpcServer
    channel: grpc.Channel

    @property
    def scorer(self) -> Any:
        return stubs.ScorerStub(self.channel)

    def post(self, path: str, body: object) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.http.server_address[1]), timeout=LIMIT_S)
        try:
            connection.request("POST", path, json.dumps(body))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def raw(self, data: bytes, method: str = "/fljob.v1.Scorer/Score", **options: Any) -> bytes:
        answer: bytes = self.channel.unary_unary(method)(data, timeout=LIMIT_S, **options)
        return answer


@contextmanager
def faces_of(model: Exported) -> Iterator[Faces]:
    answers = Answers(model, counts=ScorerMetrics(model.told))
    server, rpc = ScoringServer(answers, "127.0.0.1", 0), RpcServer(answers, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    rpc.start()
    try:
        with grpc.insecure_channel(rpc.url.removeprefix("grpc://"), OWN) as channel:
            yield Faces(server, rpc, channel)
    finally:
        rpc.stop(LIMIT_S)
        server.shutdown()
        server.server_close()
        thread.join(LIMIT_S)


def ids(name: str, *values: int, lengths: tuple[int, ...] = ()) -> pb.Column:
    return pb.Column(name=name, ids=values, lengths=lengths)


def numbers(name: str, *values: float, lengths: tuple[int, ...] = ()) -> pb.Column:
    return pb.Column(name=name, numbers=values, lengths=lengths)


GOOD = {
    "item": ids("item", 1, 3),
    "price": numbers("price", 0.1, 0),
    "tags": ids("tags", 1, 8, 0, 2, lengths=(1, 3)),
    "pixels": numbers("pixels", *range(1, 9), lengths=(4, 4)),
}


def request(**changes: pb.Column | None) -> pb.ScoreRequest:
    return pb.ScoreRequest(columns=[column for column in {**GOOD, **changes}.values() if column is not None])
