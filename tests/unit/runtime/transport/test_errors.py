"""Faults keep their kind over the wire, and each has an exit code."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import pytest

from fljob_api.exit_codes import ExitCode
from fljob_runtime import errors as e
from fljob_runtime.transport.errors import FAULTS, exit_code_of, fault_metadata, fault_of, from_rpc


@dataclass
class Failure:
    """A failed call, as a client sees it."""

    status: grpc.StatusCode
    metadata: tuple[tuple[str, str], ...] = ()

    def code(self) -> grpc.StatusCode:
        return self.status

    def details(self) -> str:
        return "details"

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.metadata


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.error.__name__)
def test_a_fault_arrives_as_what_it_was(fault: object) -> None:
    error = fault.error("text")  # type: ignore[attr-defined]
    arrived = from_rpc(Failure(fault_of(error).status, fault_metadata(error)), "call")
    assert type(arrived) is type(error)


def test_every_kind_of_error_has_a_fault() -> None:
    kinds = {cls for cls in vars(e).values() if isinstance(cls, type) and issubclass(cls, e.TransportError)}
    assert {fault.error for fault in FAULTS} == kinds - {e.TransportError}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, e.UnreachableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, e.UnreachableError),
        (grpc.StatusCode.PERMISSION_DENIED, e.IdentityError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, e.BusyError),
        (grpc.StatusCode.INVALID_ARGUMENT, e.MalformedError),
        (grpc.StatusCode.UNKNOWN, e.TransportError),
    ],
)
def test_a_status_without_a_named_fault_is_read_by_its_code(
    status: grpc.StatusCode, kind: type[e.TransportError]
) -> None:
    assert type(from_rpc(Failure(status), "call")) is kind


def test_a_fault_that_nobody_knows_is_read_by_its_code() -> None:
    failure = Failure(grpc.StatusCode.UNAVAILABLE, (("fljob-fault", "SystemExit"),))
    assert type(from_rpc(failure, "call")) is e.UnreachableError


def test_the_message_says_which_call_failed() -> None:
    assert str(from_rpc(Failure(grpc.StatusCode.UNAVAILABLE), "pull from shard 3")) == "pull from shard 3: details"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (e.UnreachableError(), ExitCode.TEMPORARY),
        (e.IdentityError(), ExitCode.IDENTITY_REFUSED),
        (e.LayoutMismatchError(), ExitCode.LAYOUT_MISMATCH),
        (e.CheckpointError(), ExitCode.CHECKPOINT_UNUSABLE),
        (e.StaleError(), ExitCode.TEMPORARY),
        (e.TransportError(), ExitCode.CRASH),
    ],
)
def test_exit_codes(error: e.TransportError, code: ExitCode) -> None:
    assert exit_code_of(error) == code
