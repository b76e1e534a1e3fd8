"""What each fault between two processes becomes: gRPC status, exception at the peer, exit code.

A servicer raises a TransportError (tree in `fljob_runtime.errors`); it goes over the wire as a status code and
the metadata key `fljob-fault`, and `from_rpc` raises the same at the peer. Only `FAULTS` says what maps to what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import grpc

from fljob_api.exit_codes import ExitCode
from fljob_runtime.errors import (
    BusyError,
    CheckpointError,
    IdentityError,
    LayoutMismatchError,
    MalformedError,
    NotReadyError,
    PrivateParameterError,
    StaleError,
    TransportError,
    UnreachableError,
)

__all__ = [
    "FAULTS",
    "BusyError",
    "CheckpointError",
    "Fault",
    "IdentityError",
    "LayoutMismatchError",
    "MalformedError",
    "NotReadyError",
    "PrivateParameterError",
    "StaleError",
    "TransportError",
    "UnreachableError",
    "exit_code_of",
    "fault_metadata",
    "fault_of",
    "from_rpc",
]
FAULT_KEY = "fljob-fault"


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
