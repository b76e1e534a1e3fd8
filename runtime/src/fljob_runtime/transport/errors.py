"""What can go wrong between two processes, and what each fault becomes: gRPC status, exception, exit code.

    TransportError
    ├── UnreachableError      the peer did not answer before a named deadline
    ├── IdentityError         no certificate of this job, or one that may not do this
    ├── MalformedError        bytes that do not fit the layout or the protocol
    ├── LayoutMismatchError   a model of another shape than the job's
    ├── PrivateParameterError a private parameter was about to be encoded (never reaches the wire)
    ├── StaleError            another incarnation, a round that is over, a version that is gone
    ├── NotReadyError         the peer cannot yet: no layout, no version; try again later
    ├── BusyError             the peer's limits are reached; try again later
    └── CheckpointError       a checkpoint cannot be written or read

A servicer raises one of these; `abort_with` and `from_rpc` carry it over the wire by status code and the
metadata key `fljob-fault`. Only `FAULTS` says what maps to what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import grpc

from fljob_api.exit_codes import ExitCode

FAULT_KEY = "fljob-fault"


class TransportError(Exception):
    """Any fault between two processes of a job."""


class UnreachableError(TransportError):
    """The peer did not answer before the deadline that the message names."""


class IdentityError(TransportError):
    """The caller's certificate is not this job's, or not allowed to do this."""


class MalformedError(TransportError):
    """The message does not fit the protocol or the layout."""


class LayoutMismatchError(TransportError):
    """The sender's model has another shape than the job's."""


class PrivateParameterError(TransportError):
    """A private parameter was about to be encoded."""


class StaleError(TransportError):
    """The message belongs to another incarnation, a round that is over or a version that is gone."""


class NotReadyError(TransportError):
    """The peer has no layout or not that version yet."""


class BusyError(TransportError):
    """The peer's limits are reached."""


class CheckpointError(TransportError):
    """A checkpoint cannot be written or read: full, read-only, torn, or another job's."""


@dataclass(frozen=True)
class Fault:
    """How one kind of error travels and what a process that cannot go on because of it ends with."""

    error: type[TransportError]
    status: grpc.StatusCode
    exit_code: ExitCode


FAULTS: tuple[Fault, ...] = (
    Fault(UnreachableError, grpc.StatusCode.UNAVAILABLE, ExitCode.TEMPORARY),
    Fault(IdentityError, grpc.StatusCode.PERMISSION_DENIED, ExitCode.IDENTITY_REFUSED),
    Fault(MalformedError, grpc.StatusCode.INVALID_ARGUMENT, ExitCode.CRASH),
    Fault(LayoutMismatchError, grpc.StatusCode.INVALID_ARGUMENT, ExitCode.LAYOUT_MISMATCH),
    Fault(PrivateParameterError, grpc.StatusCode.INTERNAL, ExitCode.CRASH),
    Fault(StaleError, grpc.StatusCode.FAILED_PRECONDITION, ExitCode.TEMPORARY),
    Fault(NotReadyError, grpc.StatusCode.FAILED_PRECONDITION, ExitCode.TEMPORARY),
    Fault(BusyError, grpc.StatusCode.RESOURCE_EXHAUSTED, ExitCode.TEMPORARY),
    Fault(CheckpointError, grpc.StatusCode.DATA_LOSS, ExitCode.CHECKPOINT_UNUSABLE),
)
_BY_NAME = {fault.error.__name__: fault for fault in FAULTS}
_BY_STATUS: dict[grpc.StatusCode, type[TransportError]] = {
    grpc.StatusCode.UNAVAILABLE: UnreachableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnreachableError,
    grpc.StatusCode.CANCELLED: UnreachableError,
    grpc.StatusCode.PERMISSION_DENIED: IdentityError,
    grpc.StatusCode.UNAUTHENTICATED: IdentityError,
    grpc.StatusCode.INVALID_ARGUMENT: MalformedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: BusyError,
}


class RpcFailure(Protocol):
    """What grpc raises at a client, sync or async: the parts that are read here."""

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        ...

    def details(self) -> str | None:
        """Return the peer's text."""
        ...


def fault_of(error: TransportError) -> Fault:
    """Return how this error travels; an undeclared subclass counts as its nearest declared parent."""
    for cls in type(error).__mro__:
        if cls.__name__ in _BY_NAME:
            return _BY_NAME[cls.__name__]
    return Fault(type(error), grpc.StatusCode.INTERNAL, ExitCode.CRASH)


def exit_code_of(error: TransportError) -> ExitCode:
    """Return what a process ends with that cannot go on because of this error."""
    return fault_of(error).exit_code


def fault_metadata(error: TransportError) -> tuple[tuple[str, str], ...]:
    """Return the trailing metadata that lets the peer raise the same error."""
    return ((FAULT_KEY, fault_of(error).error.__name__),)


def from_rpc(failure: RpcFailure, what: str) -> TransportError:
    """Return the typed error for a failed call; `what` names the call and the peer."""
    code = failure.code()
    trailing = getattr(failure, "trailing_metadata", None)
    pairs = (trailing() or ()) if trailing is not None else ()
    named = next((str(value) for key, value in pairs if key == FAULT_KEY), "")
    cls = _BY_NAME[named].error if named in _BY_NAME else _BY_STATUS.get(code, TransportError)
    return cls(f"{what}: {failure.details() or code.name}")
