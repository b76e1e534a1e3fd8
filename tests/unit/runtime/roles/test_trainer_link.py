from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from fljob_api.exit_codes import ExitCode
from fljob_runtime.errors import IdentityError, TransportError, UnreachableError
from fljob_runtime.messages import (
    Committed,
    Evaluate,
    Finish,
    Heartbeat,
    Hello,
    Initialize,
    Instruction,
    Outcome,
    Report,
    Repush,
    Train,
)
from fljob_runtime.roles.trainer_link import Inbox, Link, Patience

HELLO = Hello("u", 0, "a", "layout", b"", 10)
DONE = Finish(Outcome.SUCCEEDED)


class Line:
    """One stream's far end: what comes is scripted, what goes is kept."""

    def __init__(self, *script: Instruction | TransportError) -> None:
        self._script = script
        self.reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self.closed = threading.Event()

    def report(self, report: Report) -> None:
        self.reports.put(report)

    def __iter__(self) -> Iterator[Instruction]:
        for item in self._script:
            if isinstance(item, TransportError):
                raise item
            yield item

    def close(self) -> None:
        self.closed.set()


def link_over(*lines: Line | TransportError, reach_s: float = 30.0) -> tuple[Link, Inbox, list[Hello]]:
    inbox, hellos, rest = Inbox(), [], list(lines)

    def connect(hello: Hello, _seconds: float) -> Line:
        hellos.append(hello)
        line = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(line, TransportError):
            raise line
        return line

    link = Link(connect, lambda: HELLO, inbox, Patience(reach_s, connect_s=0.1))
    link.start()
    return link, inbox, hellos


def test_instructions_arrive_in_order() -> None:
    _, inbox, _ = link_over(Line(Initialize(), Train(1, 9.0), DONE))
    assert [inbox.get(5.0) for _ in range(3)] == [Initialize(), Train(1, 9.0), DONE]


def test_a_broken_stream_is_opened_again_with_a_new_hello() -> None:
    _, inbox, hellos = link_over(Line(Train(1, 9.0), UnreachableError("reset")), Line(Train(1, 9.0), DONE))
    assert [inbox.get(5.0) for _ in range(3)] == [Train(1, 9.0), Train(1, 9.0), DONE]
    assert hellos == [HELLO, HELLO]


def test_after_finish_no_stream_is_opened() -> None:
    link, _, hellos = link_over(Line(DONE))
    assert link.wait_until_over(5.0)
    assert len(hellos) == 1


def test_a_refused_identity_ends_the_trainer() -> None:
    _, inbox, _ = link_over(IdentityError("another job's certificate"))
    finish = inbox.get(5.0)
    assert isinstance(finish, Finish)
    assert finish.exit_code is ExitCode.IDENTITY_REFUSED


def test_a_coordinator_that_stays_away_ends_the_trainer_with_a_code_to_retry() -> None:
    _, inbox, _ = link_over(UnreachableError("refused"), reach_s=0.2)
    finish = inbox.get(5.0)
    assert isinstance(finish, Finish)
    assert finish.exit_code is ExitCode.TEMPORARY


def test_a_report_without_a_stream_is_dropped() -> None:
    link, _, _ = link_over(UnreachableError("refused"))
    link.report(Heartbeat(1, "Training"))
    link.stop()
    assert not link.connected


def superseded(round_number: int, *instructions: Instruction) -> bool:
    inbox = Inbox()
    for instruction in instructions:
        inbox.put(instruction)
    return inbox.superseded(round_number)


def test_a_round_is_wanted_until_it_is_committed() -> None:
    assert not superseded(1, Train(1, 9.0))
    assert superseded(1, Train(1, 9.0), Committed(1, accepted=False))


def test_a_repetition_of_the_same_round_keeps_it_wanted() -> None:
    assert not superseded(1, Train(1, 9.0), Repush(1))


def test_another_round_makes_the_running_one_useless() -> None:
    assert superseded(3, Train(3, 9.0), Train(2, 9.0))


def test_the_end_makes_everything_useless() -> None:
    assert superseded(1, Train(1, 9.0), DONE)


def test_an_evaluation_is_useless_once_the_next_round_begins() -> None:
    inbox = Inbox()
    inbox.put(Evaluate(1))
    assert not inbox.evaluation_superseded(1)
    inbox.put(Train(2, 9.0))
    assert inbox.evaluation_superseded(1)
