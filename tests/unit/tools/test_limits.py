"""The page of limits says what the constants say."""

from __future__ import annotations

import limits
import pytest

from fljob_api.crd import structural
from fljob_api.spec import FLJobSpec


def value(what: str) -> str:
    (found,) = [row[1] for row in limits.rows() if row[0] == what]
    return found


@pytest.mark.parametrize(
    ("constant", "changed", "what", "said"),
    [
        ("CHUNK_BYTES", 3 << 20, "payload of one chunk of a stream", "3 MiB"),
        ("DEFAULT_MEMORY_BYTES", 512 << 10, "memory of a shard's staged updates", "512 KiB"),
        ("UPDATES_SHARE", 0.25, "the same, where a server has a memory limit", "25% of the limit over 64 MiB"),
        ("MAX_LAYOUT_BYTES", 1001, "a model's layout", "1,001 bytes"),
        ("CALLS_PER_TRAINER", 7, "open pushes, pulls and exchanges of a trainer at a shard", "7"),
        ("STEP_WAIT_S", 2.5, "a step of StepSync that waits for others", "2.5 s"),
    ],
)
def test_a_row_follows_its_constant(
    monkeypatch: pytest.MonkeyPatch, constant: str, changed: float, what: str, said: str
) -> None:
    assert value(what) != said
    monkeypatch.setattr(limits, constant, changed)
    assert value(what) == said


def test_trainers_are_as_many_as_the_crd_allows() -> None:
    most = structural(FLJobSpec)["properties"]["trainers"]["maxItems"]
    assert (value("trainers of a job"), most) == ("128", 128)


def test_every_row_is_whole() -> None:
    assert {len(row) for row in limits.rows()} == {len(limits.HEADER)}
