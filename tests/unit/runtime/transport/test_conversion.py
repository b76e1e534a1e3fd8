"""Messages survive the wire; what breaks its bounds does not get in."""

from __future__ import annotations

import pytest

from fljob_api.exit_codes import ExitCode
from fljob_api.wire import coordinator_pb2 as pb
from fljob_runtime import messages as m
from fljob_runtime.errors import MalformedError
from fljob_runtime.transport import conversion as c

REPORTS = [
    m.Hello("uid", 2, "a", "digest", b"[]", 10, 20, 3, "cuda", 4, 5, 6),
    m.Heartbeat(3, "Training", 5, 10, 0.5, 0.75),
    m.TrainReport(3, 1, (m.Receipt(0, "d0", 4), m.Receipt(1, "d1", 5)), 10, b'{"a":1}', 1.5, 0.5, 6, 7),
    m.EvaluateReport(3, b"{}", 0.25),
    m.Failure(ExitCode.BAD_DATA, "row 3"),
]
INSTRUCTIONS = [
    m.Initialize(),
    m.Train(3, 1234.5),
    m.Train(3, 1234.5, 10, 0.1, task=2, attempt=4),
    m.Evaluate(3, next_task=2),
    m.Evaluate(3, 4),
    m.Repush(3),
    m.Committed(3, True),
    *(m.Finish(outcome, "Why", "in words", ExitCode.DIVERGED) for outcome in m.Outcome),
]


@pytest.mark.parametrize("report", REPORTS, ids=lambda r: type(r).__name__)
def test_a_report_comes_back(report: m.Report) -> None:
    wire = c.report_to_proto(report).SerializeToString()
    assert c.report_from_proto(pb.ClientReport.FromString(wire)) == report


@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=repr)
def test_an_instruction_comes_back(instruction: m.Instruction) -> None:
    wire = c.instruction_to_proto(instruction).SerializeToString()
    assert c.instruction_from_proto(pb.Instruction.FromString(wire)) == instruction


def test_a_state_comes_back() -> None:
    saved = m.SavedVersion(4, "d", "a", "b", (("c", "d"), ("e", "f")), "full")
    state = m.ShardState(1, 2, "boot", (3, 4), (m.StagedUpdate(5, "a", 1, "d"),), 10, 20, saved)
    assert c.state_from_proto(c.state_to_proto(state)) == state


def test_an_empty_report_is_refused() -> None:
    with pytest.raises(MalformedError, match="another version"):
        c.report_from_proto(pb.ClientReport())


def test_an_empty_instruction_is_refused() -> None:
    with pytest.raises(MalformedError, match="another version"):
        c.instruction_from_proto(pb.Instruction())


def test_a_layout_over_the_bound_is_refused() -> None:
    hello = pb.ClientReport(hello=pb.Hello(layout=bytes(c.MAX_LAYOUT_BYTES + 1)))
    with pytest.raises(MalformedError, match="layout"):
        c.report_from_proto(hello)


def test_metrics_over_the_bound_are_refused() -> None:
    report = pb.ClientReport(evaluate=pb.EvaluateReport(metrics=bytes(c.MAX_METRICS_BYTES + 1)))
    with pytest.raises(MalformedError, match="metrics"):
        c.report_from_proto(report)


def test_an_exit_code_that_nobody_stated_counts_as_a_crash() -> None:
    failure = pb.ClientReport(failure=pb.Failure(exit_code=99, message="x"))
    assert c.report_from_proto(failure) == m.Failure(ExitCode.CRASH, "x")


def test_a_long_message_is_cut() -> None:
    wire = c.report_to_proto(m.Failure(ExitCode.CRASH, "x" * 10_000))
    assert len(wire.failure.message) == c.MAX_TEXT
