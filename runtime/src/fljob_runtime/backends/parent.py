"""Ties a process's life to its parent's (Linux), and quiets the terminal's Ctrl-C, which the parent handles."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int) -> None:
    """Have the system kill this process when its parent ends; call first thing after the fork."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)  # the parent ended before the line above


def shell_code(returncode: int) -> int:
    """Return a process's code as a shell shows it: 128 + signal for one that a signal ended."""
    return returncode if returncode >= 0 else 128 - returncode
