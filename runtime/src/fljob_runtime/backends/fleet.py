"""The processes of one local run: starts them, notices their ends, stops them all. Called by `supervisor`.

Coordinator and shards are children of this process; trainers are children of the nursery. Everything is
polled from one thread.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fljob_runtime.backends.parent import die_with_parent, shell_code

NURSERY = "nursery"
_POLL_S = 0.01


@dataclass(frozen=True)
class Program:
    """What to start: a module with flags, or (module "") a trainer in the nursery with these flags."""

    process: str
    module: str
    arguments: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Exit:
    """A process ended."""

    process: str
    code: int


class Fleet:
    """Processes by name; at most one of each name runs."""

    def __init__(self, nursery_log: Path) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._trainers: dict[str, int | None] = {}
        self._nursery_log = nursery_log
        self._nursery: subprocess.Popen[bytes] | None = None
        self._buffer = b""

    @property
    def running(self) -> set[str]:
        """Return the processes that have not ended, without the nursery."""
        return set(self._children) | set(self._trainers)

    def start(self, program: Program) -> None:
        """Start a program; what it writes is appended to its log."""
        if program.module:
            self._children[program.process] = _spawn(program.module, program.arguments, program.log)
            return
        if self._nursery is None:
            self._nursery = _spawn("fljob_runtime.backends.nursery", (), self._nursery_log, piped=True)
        self._trainers[program.process] = None
        self._tell({"start": program.process, "trainer": list(program.arguments), "log": str(program.log)})

    def poll(self) -> list[Exit]:
        """Return the processes that ended since the last call; the end of the nursery ends its trainers."""
        exits: list[Exit] = []
        for process, child in list(self._children.items()):
            if child.poll() is not None:
                del self._children[process]
                exits.append(Exit(process, shell_code(child.returncode)))
        exits += self._poll_nursery()
        return exits

    def kill(self, process: str, number: signal.Signals) -> None:
        """Send a signal to a process, if it runs."""
        child = self._children.get(process)
        if child is not None:
            child.send_signal(number)
        elif process in self._trainers:
            self._tell({"kill": process, "signal": int(number)})

    def stop(self, *, ask_s: float, wait_s: float) -> None:
        """End all: let them end by themselves for `ask_s`, then SIGTERM, after `wait_s` SIGKILL."""
        self._wait(ask_s)
        for process in self.running:
            self.kill(process, signal.SIGTERM)
        self._wait(wait_s)
        for child in self._children.values():
            child.kill()
        for child in self._children.values():
            child.wait(5.0)
        if self._nursery is not None:
            self._nursery.kill()  # its trainers die with it
            self._nursery.wait(5.0)
            _close(self._nursery)
        self._children, self._trainers, self._nursery = {}, {}, None

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.running and time.monotonic() < deadline:
            self.poll()
            time.sleep(_POLL_S)

    def _poll_nursery(self) -> list[Exit]:
        nursery = self._nursery
        if nursery is None or nursery.stdout is None:
            return []
        exits: list[Exit] = []
        while select.select([nursery.stdout], [], [], 0)[0]:
            chunk = os.read(nursery.stdout.fileno(), 1 << 16)
            if not chunk:
                return exits + self._nursery_ended(nursery)
            *lines, self._buffer = (self._buffer + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if "started" in event:
                    self._trainers[event["started"]] = event["pid"]
                elif "exited" in event:
                    self._trainers.pop(event["exited"], None)
                    exits.append(Exit(event["exited"], event["code"]))
        return exits

    def _nursery_ended(self, nursery: subprocess.Popen[bytes]) -> list[Exit]:
        code = shell_code(nursery.wait(5.0))
        _close(nursery)
        self._nursery, self._buffer = None, b""
        ended, self._trainers = list(self._trainers), {}
        return [Exit(process, code or 1) for process in ended]

    def _tell(self, command: dict[str, Any]) -> None:
        nursery = self._nursery
        if nursery is None or nursery.stdin is None:
            return
        try:
            nursery.stdin.write(json.dumps(command).encode() + b"\n")
            nursery.stdin.flush()
        except BrokenPipeError:
            return  # it ended; the next poll says so

    def pid(self, process: str) -> int | None:
        """Return the process id, None while it is not running."""
        child = self._children.get(process)
        return child.pid if child is not None else self._trainers.get(process)


def _spawn(module: str, arguments: tuple[str, ...], log: Path, *, piped: bool = False) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else file,
            stderr=file,
            start_new_session=True,
            preexec_fn=_tie(parent),  # noqa: PLW1509 - one libc call; the caller has no other threads
            env=_environment(),
        )


def _tie(parent: int) -> Callable[[], None]:
    return lambda: die_with_parent(parent)


def _environment() -> dict[str, str]:
    return {"GRPC_VERBOSITY": "ERROR", "OMP_NUM_THREADS": "1", **os.environ}


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except BrokenPipeError:
                continue  # unsent commands to a process that ended
