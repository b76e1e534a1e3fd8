"""One call to a peer: with a deadline, repeated while the peer cannot be reached or asks to wait.

Used by the clients of this package. Every call here is safe to repeat.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import grpc

from fljob_runtime.errors import BusyError, NotReadyError, TransportError, UnreachableError
from fljob_runtime.transport.errors import from_rpc

_FIRST_PAUSE_S = 0.05
_LAST_PAUSE_S = 2.0
_T = TypeVar("_T")


def call_until(
    call: Callable[[float], _T],
    what: str,
    deadline_s: float,
    *,
    transient: tuple[type[TransportError], ...] = (UnreachableError, BusyError, NotReadyError),
    patience_s: float | None = None,
) -> _T:
    """Return call(seconds left), repeated on transient faults with growing, jittered pauses.

    patience_s: for how long it is repeated, `deadline_s` unless given; a call once begun has the whole deadline.
    Raises the last fault when that has passed: UnreachableError names the call and the deadline.
    """
    end = time.monotonic() + deadline_s
    last = end if patience_s is None else min(end, time.monotonic() + patience_s)
    pause = _FIRST_PAUSE_S
    while True:
        try:
            return call(max(0.001, end - time.monotonic()))
        except grpc.RpcError as failure:
            error = from_rpc(failure, what)
        wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, keeps no secret
        if not isinstance(error, transient):
            raise error from None
        if time.monotonic() + wait >= last:
            given_s = deadline_s if patience_s is None else min(deadline_s, patience_s)
            raise type(error)(f"{error} (given up after {given_s:g} s)") from None
        time.sleep(wait)
        pause = min(2 * pause, _LAST_PAUSE_S)
