"""Targets with planted faults, for the tests of the fuzzer. Loaded by its child process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fuzzing.target import Target, plain, split

VALID = b"a valid input"
WORD = b"!"


def make_targets(_: Path) -> dict[str, Target]:
    """Return the targets by what is wrong with them."""
    kept: list[bytes] = []

    def forgetful() -> None:
        if kept:
            raise ValueError("refused")

    every = (
        _target("nothing", _refuse),
        _target("fault", _fault),
        _target("memory", lambda _: bytes(2 << 30)),
        _target("hang", _spin),
        replace(_target("forgetful", kept.append), check=forgetful),
        replace(_target("stream", _second_message), valid=(b"\3\0one\3\0two",), streamed=True),
    )
    return {target.name: target for target in every}


def _target(name: str, decode: Callable[[bytes], object]) -> Target:
    return replace(plain(name, [VALID], decode, ValueError), check=lambda: None)


def _refuse(data: bytes) -> None:
    if data != VALID:
        raise ValueError("refused")


def _fault(data: bytes) -> None:
    if WORD in data:
        raise IndexError("out of range")


def _spin(data: bytes) -> None:
    end = time.monotonic() + 60.0
    while data != VALID and time.monotonic() < end:
        pass


def _second_message(data: bytes) -> None:
    """Fail for a changed second message behind an unchanged first one: what whole streams' mutants hardly are."""
    messages = split(data)
    if len(messages) == 2 and messages[0] == b"one" and len(messages[1]) == 3 and WORD in messages[1]:
        raise IndexError("out of range")
