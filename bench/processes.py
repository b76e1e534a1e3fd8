"""What the processes below one process cost: CPU, memory by role, bytes on the loopback. Linux only (/proc)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_ROLES = ("coordinator", "server", "nursery")


@dataclass(frozen=True)
class Snapshot:
    """CPU seconds by process, and bytes that crossed the loopback."""

    cpu_s: dict[int, float]
    loopback_bytes: int


@dataclass(frozen=True)
class Memory:
    """Megabytes of one role: peak resident, and now without what forks share (proportional set)."""

    processes: int
    peak_mb: float
    proportional_mb: float


def descendants(pid: int) -> list[int]:
    """Return the live processes below one, itself included."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int(_stat(int(entry.name))[1])
        except (OSError, IndexError):
            continue
    found, fresh = {pid}, {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return sorted(found)


def snapshot(pid: int, namespace_of: int) -> Snapshot:
    """Read CPU of all descendants, and the loopback's counter as `namespace_of` sees it."""
    cpu: dict[int, float] = {}
    for process in descendants(pid):
        try:
            fields = _stat(process)
        except OSError:
            continue
        cpu[process] = (int(fields[11]) + int(fields[12])) / _TICK
    for line in Path(f"/proc/{namespace_of}/net/dev").read_text().splitlines():
        if line.strip().startswith("lo:"):
            return Snapshot(cpu, int(line.split(":")[1].split()[0]))
    raise RuntimeError("there is no loopback device")


def memory_by_role(pid: int) -> dict[str, Memory]:
    """Return the memory of coordinator, server, nursery (with torch), trainers, and the command itself."""
    found: dict[int, tuple[str, int, tuple[float, float]]] = {}
    for process in descendants(pid):
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")
            size = _megabytes(process)
            parent = int(_stat(process)[1])
        except OSError:
            continue
        role = next((name for name in _ROLES if any(word.endswith(f".{name}") for word in words)), "command")
        found[process] = (role, parent, size)
    grouped: dict[str, list[tuple[float, float]]] = {}
    for role, parent, size in found.values():
        forked = role == "nursery" and parent in found and found[parent][0] == "nursery"
        grouped.setdefault("trainer" if forked else role, []).append(size)
    return {
        role: Memory(len(sizes), sum(peak for peak, _ in sizes), sum(share for _, share in sizes))
        for role, sizes in grouped.items()
    }


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name: [0] state, [1] parent, [11] user, [12] system ticks."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def _megabytes(pid: int) -> tuple[float, float]:
    peak = proportional = 0.0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            peak = int(line.split()[1]) / 1024
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            proportional = int(line.split()[1]) / 1024
    return peak, proportional


def resident_mb(pid: int) -> float:
    """Return the resident memory of one process, 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS:")), 0.0)


def cpu_seconds(pid: int) -> float:
    """Return the CPU that one process used so far, in user and system mode."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICK
