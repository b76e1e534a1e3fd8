"""What a target is: a decoder of one input, valid inputs to begin with, and what it may answer.

An input is bytes. A stream's messages are one input too: each behind its length in two bytes, the last one cut where
the input ends, so that every input is some stream. Must hold no decoding of the project's own formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

_LENGTH = 2
MAX_MESSAGE = (1 << 8 * _LENGTH) - 1


class PassedOverError(Exception):
    """The input was skipped as damaged, as it may be."""


@dataclass(frozen=True)
class Target:
    """One decoder: `decode` may raise `refusals` and nothing else; `check` raises when valid input is no longer taken.

    streamed: inputs are joined messages, which are mutated one by one.
    """

    name: str
    valid: tuple[bytes, ...]
    decode: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    check: Callable[[], object]
    streamed: bool = False


def plain(
    name: str,
    valid: Iterable[bytes],
    decode: Callable[[bytes], object],
    *refusals: type[Exception],
    streamed: bool = False,
) -> Target:
    """Return a target without state: it must go on taking each valid input."""
    inputs = tuple(valid)

    def check() -> None:
        for data in inputs:
            decode(data)

    return Target(name, inputs, decode, refusals, check, streamed)


def join(messages: Iterable[bytes]) -> bytes:
    """Return messages as one input; those over MAX_MESSAGE are cut."""
    cut = (message[:MAX_MESSAGE] for message in messages)
    return b"".join(len(message).to_bytes(_LENGTH, "little") + message for message in cut)


def split(data: bytes) -> list[bytes]:
    """Return the messages of one input."""
    messages = []
    while data:
        length = int.from_bytes(data[:_LENGTH], "little")
        messages.append(data[_LENGTH : _LENGTH + length])
        data = data[_LENGTH + length :]
    return messages
