"""The scorer over gRPC on a real port: HTTP's answers and words, all bits of ids, a status for what is malformed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from unit.runtime.serving.faces import FEEDS, GOOD, LIMIT_S, Faces, faces_of, ids, numbers, request, scored
from unit.runtime.serving.test_exported import ncf
from unit.runtime.serving.test_rows import exported, trained
from unit.runtime.training.keyed import ITEM_IDS, USER_IDS

from fljob_api.wire import scorer_pb2 as pb
from fljob_runtime.serving.answers import MAX_BYTES, MAX_ROWS
from fljob_runtime.serving.feeds import Feed
from fljob_runtime.serving.served import Exported, Format

JSON = {
    "item": [1, 3],
    "price": [0.1, 0],
    "tags": [[1], [8, 0, 2]],
    "pixels": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
}
ONE = {"price": [0.1], "tags": [[8, 1]], "pixels": [[[1, 2], [3, 4]]]}
GOOD_ONE = [numbers("price", 0.1), ids("tags", 8, 1, lengths=(2,)), numbers("pixels", 1, 2, 3, 4, lengths=(4,))]


@pytest.fixture(scope="module")
def faces() -> Iterator[Faces]:
    with faces_of(Exported({"job": "movies"}, FEEDS, "probability", scored)) as made:
        yield made


def score(**changes: pb.Column | None) -> tuple[str, bytes]:
    return "Score", request(**changes).SerializeToString()


def top(k: int | None, columns: list[pb.Column]) -> tuple[str, bytes]:
    return "TopK", pb.TopKRequest(columns=columns, k=k).SerializeToString()


INVALID = {
    "garbage": ("Score", b"\xff\xfe\xfd garbage"),
    "a message that ends early": ("Score", request().SerializeToString()[:-3]),
    "text that is not UTF-8": ("Score", b"\x0a\x04\x0a\x02\xff\xfe"),
    "an empty message": ("Score", b""),
    "HTTP's JSON": ("Score", json.dumps({"inputs": JSON}).encode()),
    "an unknown column": score(other=ids("other", 1, 2)),
    "a column too few": score(price=None),
    "a column twice": score(again=ids("item", 1, 3)),
    "a column without a name": score(price=numbers("", 1, 2)),
    "rows of unequal number": score(item=ids("item", 1)),
    "no rows": ("Score", pb.ScoreRequest(columns=[pb.Column(name=n) for n in GOOD]).SerializeToString()),
    "a row too many": score(item=ids("item", *[1] * (MAX_ROWS + 1))),
    "many empty rows": score(tags=ids("tags", lengths=(0,) * 900_000)),
    "an id beyond the table": score(item=ids("item", 1, 4)),
    "a negative id": score(item=ids("item", 1, -1)),
    "an id of 63 bits": score(item=ids("item", 1, 2**63 - 1)),
    "numbers for ids": score(item=numbers("item", 1, 3)),
    "ids and numbers": score(item=pb.Column(name="item", ids=[1, 3], numbers=[1, 3])),
    "neither ids nor numbers": score(item=pb.Column(name="item")),
    "no number": score(price=numbers("price", 0.5, float("nan"))),
    "a number without end": score(price=numbers("price", 0.5, float("inf"))),
    "lists for numbers": score(price=numbers("price", 1, 2, lengths=(1, 1))),
    "a sequence without lengths": score(tags=ids("tags", 1, 2)),
    "an empty sequence": score(tags=ids("tags", 1, 2, lengths=(2, 0))),
    "a sequence of numbers": score(tags=numbers("tags", 1, 2, lengths=(1, 1))),
    "lengths that add up to less": score(tags=ids("tags", 1, 8, 0, lengths=(1, 1))),
    "lengths that add up to more": score(tags=ids("tags", 1, 8, 0, lengths=(1, 2**32 - 1))),
    "lengths of 2**32 together": score(tags=ids("tags", lengths=(2**31, 2**31))),
    "a pixel too few": score(pixels=numbers("pixels", *range(7), lengths=(4, 3))),
    "pixels without lengths": score(pixels=numbers("pixels", *range(8))),
    "k of none": top(0, GOOD_ONE),
    "k beyond the limit": top(1001, GOOD_ONE),
    "k beyond all": top(2**32 - 1, GOOD_ONE),
    "the column that is ranked": top(3, [ids("item", 1), *GOOD_ONE]),
    "two examples to rank": top(3, [GOOD["price"], GOOD["tags"], GOOD["pixels"]]),
    "garbage for a signature": ("Signature", b"\xff\xff"),
}


def test_rows_have_the_scores_that_http_tells(faces: Faces) -> None:
    status, told = faces.post("/v1/score", {"inputs": JSON})
    reply = faces.scorer.Score(request(), timeout=LIMIT_S)
    assert (status, reply.target, reply.width) == (200, "probability", 0)
    assert list(reply.values) == told["probability"]


def test_the_best_items_are_those_that_http_tells(faces: Faces) -> None:
    told = faces.post("/v1/top-k", {"inputs": ONE, "k": 3})[1]
    reply = faces.scorer.TopK(pb.TopKRequest(columns=GOOD_ONE, k=3), timeout=LIMIT_S)
    assert (list(reply.items), list(reply.scores)) == (told["items"], told["scores"])
    assert list(reply.items) == [3, 2, 1]


def test_ten_items_are_told_unless_asked_otherwise() -> None:
    model = Exported({}, (Feed("item", (), 20), Feed("x")), "probability", lambda columns: columns[0] + columns[1])
    with faces_of(model) as made:
        reply = made.scorer.TopK(pb.TopKRequest(columns=[numbers("x", 0)]), timeout=LIMIT_S)
    assert list(reply.items) == list(range(19, 9, -1))


def test_the_signature_is_told(faces: Faces) -> None:
    assert json.loads(faces.scorer.Signature(pb.SignatureRequest(), timeout=LIMIT_S).json) == {"job": "movies"}


def test_classes_of_a_row_stand_side_by_side() -> None:
    model = Exported({}, (Feed("x"),), "probabilities", lambda columns: np.stack([columns[0], -columns[0]], axis=1))
    with faces_of(model) as made:
        reply = made.scorer.Score(pb.ScoreRequest(columns=[numbers("x", 1, 2, 3)]), timeout=LIMIT_S)
        best = made.scorer.TopK(pb.TopKRequest(columns=[numbers("x", -2)], k=1), timeout=LIMIT_S)
    assert (reply.width, list(reply.values)) == (2, [1, -1, 2, -2, 3, -3])
    assert (list(best.items), list(best.scores)) == ([1], [2])


def test_a_model_of_clicks_answers_as_over_http(tmp_path: Path) -> None:
    with faces_of(ncf(tmp_path, Format.SAFETENSORS)[1]) as made:
        told = made.post("/v1/score", {"inputs": {"user": [0, 5, 2], "item": [7, 3, 3]}})[1]
        columns = [ids("user", 0, 5, 2), ids("item", 7, 3, 3)]
        assert list(made.scorer.Score(pb.ScoreRequest(columns=columns), timeout=LIMIT_S).values) == told["probability"]
        best = made.post("/v1/top-k", {"inputs": {"user": [3]}, "k": 4})[1]
        reply = made.scorer.TopK(pb.TopKRequest(columns=[ids("user", 3)], k=4), timeout=LIMIT_S)
        assert (list(reply.items), list(reply.scores)) == (best["items"], best["scores"])


def test_ids_keep_all_of_their_64_bits(tmp_path: Path) -> None:
    users, items = [int(USER_IDS[1])] * len(ITEM_IDS), ITEM_IDS.tolist()
    assert (users[0], min(items), max(items)) == (2**63 - 1, -(2**63), 2**62)
    with faces_of(exported(tmp_path, Format.SAFETENSORS, trained())) as made:
        told = made.post("/v1/score", {"inputs": {"user": users, "item": items}})[1]["probability"]
        columns = [ids("user", *users), ids("item", *items)]
        assert list(made.scorer.Score(pb.ScoreRequest(columns=columns), timeout=LIMIT_S).values) == told
        assert np.ptp(told) > 0.01
        reply = made.scorer.TopK(pb.TopKRequest(columns=[ids("user", users[0])], k=8), timeout=LIMIT_S)
        assert sorted(reply.items) == sorted(items)
        assert made.post("/v1/top-k", {"inputs": {"user": users[:1]}, "k": 8})[1]["items"] == list(reply.items)


@pytest.mark.parametrize("name", INVALID)
def test_a_malformed_request_is_invalid_and_the_next_is_answered(faces: Faces, name: str) -> None:
    method, data = INVALID[name]
    assert len(data) < MAX_BYTES
    with pytest.raises(grpc.RpcError) as error:
        faces.raw(data, f"/fljob.v1.Scorer/{method}")
    assert (error.value.code(), bool(error.value.details())) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    assert len(faces.scorer.Score(request(), timeout=LIMIT_S).values) == 2


@pytest.mark.parametrize(
    ("changed", "body"),
    [
        (request(item=ids("item", 1, 4)), {**JSON, "item": [1, 4]}),
        (request(price=numbers("price", 1)), {**JSON, "price": [1]}),
        (request(tags=ids("tags", 1, lengths=(1, 0))), {**JSON, "tags": [[1], []]}),
        (request(pixels=numbers("pixels", *range(8))), {**JSON, "pixels": list(map(float, range(8)))}),
        (request(price=None), {name: rows for name, rows in JSON.items() if name != "price"}),
    ],
)
def test_a_fault_has_the_words_that_http_has(faces: Faces, changed: pb.ScoreRequest, body: dict[str, Any]) -> None:
    with pytest.raises(grpc.RpcError) as error:
        faces.scorer.Score(changed, timeout=LIMIT_S)
    status, told = faces.post("/v1/score", {"inputs": body})
    if "must have the columns" in told["error"]:
        told["error"] = told["error"].split(", not ")[0]
    assert status == 400
    assert error.value.details().startswith(told["error"])


REFUSED: dict[str, tuple[Callable[[Faces], object], grpc.StatusCode]] = {
    "a message too large": (lambda f: f.raw(bytes(MAX_BYTES + 1)), grpc.StatusCode.RESOURCE_EXHAUSTED),
    "an unknown method": (lambda f: f.raw(b"", "/fljob.v1.Scorer/Train"), grpc.StatusCode.UNIMPLEMENTED),
    "an unknown service": (lambda f: f.raw(b"", "/fljob.v1.ParameterServer/Push"), grpc.StatusCode.UNIMPLEMENTED),
    "what is small packed and large unpacked": (
        lambda f: f.raw(bytes(1 << 24), compression=grpc.Compression.Gzip),
        grpc.StatusCode.UNIMPLEMENTED,
    ),
    "a stream of no message": (
        lambda f: f.channel.stream_unary("/fljob.v1.Scorer/Score")(iter(()), timeout=LIMIT_S),
        grpc.StatusCode.INVALID_ARGUMENT,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_request_is_refused_and_the_next_is_answered(faces: Faces, name: str) -> None:
    call, code = REFUSED[name]
    with pytest.raises(grpc.RpcError) as error:
        call(faces)
    assert error.value.code() is code
    assert len(faces.scorer.Score(request(), timeout=LIMIT_S).values) == 2


def test_requests_with_bytes_changed_are_answered_or_invalid(faces: Faces) -> None:
    drawn, codes = random.Random(7), set()
    for _ in range(300):
        data = bytearray(request().SerializeToString())
        for _ in range(drawn.randint(1, 4)):
            data[drawn.randrange(len(data))] = drawn.randrange(256)
        try:
            faces.raw(bytes(data))
            codes.add(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            codes.add(error.code())
    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
