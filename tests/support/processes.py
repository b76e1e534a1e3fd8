"""Child processes of the tests: started with a log file, waited for with a name and a deadline, always stopped."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.05


@dataclass
class Process:
    """One running program and its log."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, name: str, command: list[str], folder: Path, env: Mapping[str, str] | None = None) -> Process:
        """Start a program in its own session, output to <folder>/<name>.log."""
        log = folder / f"{name}.log"
        with log.open("wb") as out:
            popen = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, cwd=folder, env=env, start_new_session=True
            )
        return cls(name, popen, log)

    def tail(self, lines: int = 15) -> str:
        """Return the end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, grace_s: float = 5.0) -> None:
        """Ask the program to end, then make it."""
        if self.popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(grace_s)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        self.popen.wait()


def wait_until(what: str, ready: Callable[[], bool], deadline_s: float, *processes: Process) -> None:
    """Wait until `ready()` is true; raises TimeoutError or ChildProcessError with the end of the logs."""
    end = time.monotonic() + deadline_s
    while not ready():
        dead = [p for p in processes if p.popen.poll() is not None]
        if dead:
            raise ChildProcessError(f"{dead[0].name} ended while waiting for {what}:\n{dead[0].tail()}")
        if time.monotonic() > end:
            logs = "\n".join(f"--- {p.name}\n{p.tail()}" for p in processes)
            raise TimeoutError(f"{what}: not within {deadline_s:.0f} s\n{logs}")
        time.sleep(POLL_S)


def free_port() -> int:
    """Return a TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of live processes that name the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def exit_code_after_sigterm(command: list[str], what: str, ready: Callable[[], bool]) -> int:
    """Start a program, send it alone SIGTERM once `ready()` is true, and return what it ends with."""
    process = subprocess.Popen(command)
    try:
        wait_until(what, ready, 60.0)
        process.terminate()
        return process.wait(30)
    finally:
        process.kill()
        process.wait()
