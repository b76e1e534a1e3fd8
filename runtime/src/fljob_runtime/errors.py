"""Faults between the processes of a job. No grpc in here, so the server's logic can raise them.

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

`transport.errors` says what each becomes on the wire and which exit code it means.
"""

from __future__ import annotations


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
