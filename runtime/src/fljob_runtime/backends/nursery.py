"""A process that imports torch once and forks a trainer whenever it is told to.

Started by `local` as `python -m fljob_runtime.backends.nursery`; speaks JSON lines: commands on standard input
({"start": process, "trainer": arguments, "log": file} and {"kill": process, "signal": n}), events on standard
output ({"ready": true}, {"started": process, "pid": n}, {"exited": process, "code": n}). No thread may exist
here: the children are forks, and gRPC and torch start their threads in them alone.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from fljob_runtime import registry
from fljob_runtime.backends.parent import die_with_parent, shell_code
from fljob_runtime.programs import trainer
from fljob_runtime.programs.arguments import UsageError, read_config, set_up_logging
from fljob_runtime.transport.heap import keep_freed_pieces

_POLL_S = 0.02


def main() -> None:
    """Serve until standard input closes, then end all children."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    registry.load()
    keep_freed_pieces()
    _warm_up()
    gc.collect()
    gc.freeze()  # so that a child's garbage collection does not copy the pages it shares
    children: dict[int, str] = {}
    _say({"ready": True})
    buffer = b""
    while True:
        readable, _, _ = select.select([0], [], [], _POLL_S)
        if readable:
            chunk = os.read(0, 1 << 16)
            if not chunk:
                break
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                _obey(json.loads(line), children)
        _reap(children)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _warm_up() -> None:
    """Take one optimizer step: torch imports a second's worth of modules at the first, once here instead of per child.

    No backward pass: autograd must not have run in a process that forks.
    """
    torch.set_num_threads(1)
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.Adam([parameter], fused=True).step()


def _obey(command: dict[str, Any], children: dict[int, str]) -> None:
    if "start" in command:
        process = command["start"]
        pid = _fork(command["trainer"], Path(command["log"]))
        children[pid] = process
        _say({"started": process, "pid": pid})
    else:
        for pid in [pid for pid, process in children.items() if process == command["kill"]]:
            os.kill(pid, command["signal"])


def _fork(arguments: list[str], log: Path) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        die_with_parent(parent)
        os.setsid()
        _redirect(log)
        code = _train(arguments)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _train(arguments: list[str]) -> int:
    options = trainer.parse(arguments)
    set_up_logging(options.common.log_level, f"trainer trainer={options.trainer}")
    try:
        return int(trainer.guarded(read_config(options.common.config), options))
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1


def _redirect(log: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(file, 1)
    os.dup2(file, 2)


def _reap(children: dict[int, str]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        process = children.pop(pid, None)
        if process is not None:
            _say({"exited": process, "code": shell_code(os.waitstatus_to_exitcode(status))})


def _say(event: dict[str, Any]) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    main()
