"""A scorer's metrics: what either face answers is counted, by paths of which there are few."""

from __future__ import annotations

import http.client

import grpc
import pytest
from unit.runtime.serving.faces import FEEDS, LIMIT_S, Faces, faces_of, ids, request, scored
from unit.runtime.serving.test_rpc import JSON, ONE

from fljob_runtime.serving.served import Exported

TOLD = {"job": "movies", "round": 8, "model": {"name": "fm", "parameters": {}}}


def shown(faces: Faces) -> tuple[str, str]:
    """Return the type of what is shown, and the text."""
    connection = http.client.HTTPConnection("127.0.0.1", int(faces.http.server_address[1]), timeout=LIMIT_S)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    kind, text = answer.getheader("Content-Type", ""), answer.read().decode()
    connection.close()
    return kind, text


def test_answers_of_both_faces_are_counted() -> None:
    with faces_of(Exported(TOLD, FEEDS, "probability", scored)) as made:
        made.post("/v1/score", {"inputs": JSON})
        made.post("/v1/score", {"inputs": {}})
        made.post("/v1/top-k", {"inputs": ONE, "k": 1})
        made.post("/v2/score", {"inputs": JSON})
        made.scorer.Score(request(), timeout=LIMIT_S)
        with pytest.raises(grpc.RpcError):
            made.scorer.Score(request(item=ids("item", 1, 4)), timeout=LIMIT_S)
        kind, text = shown(made)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    assert {
        'fljob_scorer_requests_total{code="200",path="/v1/score"} 1.0',
        'fljob_scorer_requests_total{code="400",path="/v1/score"} 1.0',
        'fljob_scorer_requests_total{code="200",path="/v1/top-k"} 1.0',
        'fljob_scorer_requests_total{code="404",path="other"} 1.0',
        'fljob_scorer_requests_total{code="OK",path="/fljob.v1.Scorer/Score"} 1.0',
        'fljob_scorer_requests_total{code="INVALID_ARGUMENT",path="/fljob.v1.Scorer/Score"} 1.0',
        'fljob_scorer_request_seconds_count{path="/v1/score"} 2.0',
        'fljob_scorer_rows_total{call="score"} 4.0',
        'fljob_scorer_rows_total{call="top-k"} 4.0',
        'fljob_scorer_model_info{fljob="movies",model="fm",round="8"} 1.0',
    } <= set(text.splitlines())


def test_a_signature_that_tells_nothing_is_no_fault() -> None:
    with faces_of(Exported({"model": "fm"}, FEEDS, "probability", scored)) as made:
        assert 'fljob_scorer_model_info{fljob="",model="",round=""} 1.0' in shown(made)[1]
