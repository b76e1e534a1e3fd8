"""The trainers' streams to the coordinator: real gRPC on loopback with mutual TLS."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from fljob_api.exit_codes import ExitCode
from fljob_runtime import messages as m
from fljob_runtime.errors import IdentityError, MalformedError, StaleError, TransportError, UnreachableError
from fljob_runtime.transport.coordinator_service import CoordinatorService
from fljob_runtime.transport.coordinator_stream import CoordinatorStream
from fljob_runtime.transport.credentials import Credentials
from support.shards import DEADLINE_S, UID, credentials

HELLO = m.Hello(job_uid=UID, incarnation=3, trainer="a", layout_digest="d", layout=b"[]", num_samples=5)
GONE = "gone"
Heard = queue.SimpleQueue[tuple[str, m.Report | str]]


class Coordinator:
    """A served coordinator and what it hears."""

    def __init__(self) -> None:
        self.heard: Heard = queue.SimpleQueue()
        self.service = CoordinatorService(
            credentials("coordinator", "coordinator"),
            incarnation=3,
            trainers=frozenset({"a", "b"}),
            on_report=lambda trainer, report: self.heard.put((trainer, report)),
            on_gone=lambda trainer: self.heard.put((trainer, GONE)),
        )
        self.address = f"127.0.0.1:{self.service.start('127.0.0.1:0')}"

    def hears(self) -> tuple[str, m.Report | str]:
        """Return what is heard next."""
        return self.heard.get(timeout=DEADLINE_S)

    @contextmanager
    def joined(self, hello: m.Hello = HELLO, presented: Credentials | None = None) -> Iterator[CoordinatorStream]:
        """Open a stream."""
        presented = presented or credentials("trainer", hello.trainer)
        stream = CoordinatorStream.connect(self.address, presented, hello, deadline_s=DEADLINE_S)
        try:
            yield stream
        finally:
            stream.close()


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    served = Coordinator()
    yield served
    served.service.stop(0.1)


def test_a_hello_and_what_follows_are_heard_in_order(coordinator: Coordinator) -> None:
    reports = [m.EvaluateReport(n, b"{}") for n in range(20)]
    with coordinator.joined() as stream:
        for report in reports:
            stream.report(report)
        heard = [coordinator.hears() for _ in range(21)]
    assert heard == [("a", HELLO), *(("a", report) for report in reports)]


def test_instructions_arrive_in_order(coordinator: Coordinator) -> None:
    wanted: list[m.Instruction] = [m.Initialize(), m.Train(1, 2.5), m.Committed(1, True), m.Finish(m.Outcome.SUCCEEDED)]
    with coordinator.joined() as stream:
        coordinator.hears()
        for instruction in wanted:
            coordinator.service.send("a", instruction)
        coordinator.service.close("a")
        assert list(stream) == wanted


def test_an_instruction_goes_to_its_trainer_only(coordinator: Coordinator) -> None:
    with coordinator.joined() as one, coordinator.joined(replace(HELLO, trainer="b")) as other:
        coordinator.hears(), coordinator.hears()
        coordinator.service.send("a", m.Repush(7))
        coordinator.service.close("a")
        coordinator.service.close("b")
        assert (list(one), list(other)) == ([m.Repush(7)], [])


def test_an_instruction_to_someone_absent_is_dropped(coordinator: Coordinator) -> None:
    coordinator.service.send("b", m.Initialize())
    with coordinator.joined() as stream:
        coordinator.hears()
        coordinator.service.close("a")
        assert list(stream) == []


def test_a_stream_that_ends_is_told(coordinator: Coordinator) -> None:
    with coordinator.joined():
        coordinator.hears()
    assert coordinator.hears() == ("a", GONE)


def test_a_newer_stream_replaces_the_older_without_a_farewell(coordinator: Coordinator) -> None:
    with coordinator.joined() as older, coordinator.joined() as newer:
        assert [coordinator.hears(), coordinator.hears()] == [("a", HELLO)] * 2
        assert list(older) == []
        coordinator.service.send("a", m.Repush(1))
        assert next(iter(newer)) == m.Repush(1)
    assert coordinator.hears() == ("a", GONE)


def refusal(coordinator: Coordinator, hello: m.Hello, presented: Credentials) -> TransportError:
    """Return why a stream is refused; nothing of it may be heard."""
    with coordinator.joined(hello, presented) as stream, pytest.raises(TransportError) as refused:
        list(stream)
    assert coordinator.heard.empty()
    return refused.value


def test_one_trainer_s_certificate_does_not_speak_for_another(coordinator: Coordinator) -> None:
    error = refusal(coordinator, replace(HELLO, trainer="b"), credentials("trainer", "a"))
    assert isinstance(error, IdentityError)
    assert "may not speak for trainer 'b'" in str(error)


def test_a_shard_may_not_join(coordinator: Coordinator) -> None:
    assert isinstance(refusal(coordinator, HELLO, credentials("server", "0")), IdentityError)


def test_a_trainer_that_the_spec_does_not_name_may_not_join(coordinator: Coordinator) -> None:
    error = refusal(coordinator, replace(HELLO, trainer="c"), credentials("trainer", "c"))
    assert isinstance(error, IdentityError)
    assert "not in spec.trainers" in str(error)


def test_another_incarnation_is_stale(coordinator: Coordinator) -> None:
    error = refusal(coordinator, replace(HELLO, incarnation=2), credentials("trainer", "a"))
    assert isinstance(error, StaleError)
    assert "of incarnation 2, the job of 3" in str(error)


def test_a_second_hello_ends_the_stream(coordinator: Coordinator) -> None:
    with coordinator.joined() as stream:
        coordinator.hears()
        stream.report(HELLO)
        with pytest.raises(MalformedError, match="a second Hello"):
            list(stream)
    assert coordinator.hears() == ("a", GONE)


def test_without_certificate_nobody_answers(coordinator: Coordinator) -> None:
    plain = Credentials.insecure(credentials("trainer", "a").identity)
    with pytest.raises(UnreachableError, match=r"did not answer within 0.5 s"):
        CoordinatorStream.connect(coordinator.address, plain, HELLO, deadline_s=0.5)


def test_a_coordinator_that_stops_ends_the_streams_after_its_last_words(coordinator: Coordinator) -> None:
    finish = m.Finish(m.Outcome.FAILED, "Diverged", "loss is NaN", ExitCode.DIVERGED)
    with coordinator.joined() as stream:
        coordinator.hears()
        coordinator.service.send("a", finish)
        coordinator.service.stop(2.0)
        assert list(stream) == [finish]


def test_a_stream_closed_here_ends_its_iteration(coordinator: Coordinator) -> None:
    with coordinator.joined() as stream:
        coordinator.hears()
        stream.close()
        with pytest.raises(UnreachableError):
            list(stream)
