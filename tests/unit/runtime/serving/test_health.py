"""The health service, as a client asks it that has grpc.health.v1 from elsewhere: bytes of one field each way."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from unit.runtime.serving.faces import FEEDS, Faces, faces_of, scored

from fljob_runtime.serving.served import Exported

CHECK = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


@pytest.fixture
def faces() -> Iterator[Faces]:
    with faces_of(Exported({}, FEEDS, "probability", scored)) as made:
        yield made


@pytest.mark.parametrize("service", [b"", b"fljob.v1.Scorer"])
def test_it_serves_until_it_drains(faces: Faces, service: bytes) -> None:
    asked = b"\x0a" + bytes([len(service)]) + service if service else b""
    assert faces.raw(asked, CHECK) == SERVING
    faces.http.draining.set()
    assert faces.raw(asked, CHECK) == NOT_SERVING


@pytest.mark.parametrize(
    ("asked", "method", "code"),
    [
        (b"\x0a\x05other", CHECK, grpc.StatusCode.NOT_FOUND),
        (b"\xff\xff", CHECK, grpc.StatusCode.INVALID_ARGUMENT),
        (b"", "/grpc.health.v1.Health/Watch", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_other_services_and_calls_are_refused(faces: Faces, asked: bytes, method: str, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as error:
        faces.raw(asked, method)
    assert error.value.code() is code
    assert faces.raw(b"", CHECK) == SERVING
