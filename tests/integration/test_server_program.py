"""fljob-server as a real process: how it starts, serves, is asked to stop, and refuses to start."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fljob_api.exit_codes import ExitCode
from fljob_runtime.messages import AcceptedUpdate
from support.processes import wait_until
from support.server_program import Program, start
from support.shards import DEADLINE_S, initial


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """A server that serves."""
    started = start(tmp_path)
    try:
        wait_until("healthz", lambda: started.get("/healthz")[0] == 200, DEADLINE_S, started.process)
        yield started
    finally:
        started.process.stop()


def begin(program: Program) -> None:
    """Commit version 0."""
    trainer, coordinator = program.client("trainer", "a"), program.client("coordinator", "coordinator")
    receipts = trainer.push(0, 0, initial(), 1, deadline_s=DEADLINE_S)
    coordinator.commit(0, [AcceptedUpdate("a", 0, receipts)], deadline_s=DEADLINE_S)
    trainer.close()
    coordinator.close()


def test_it_serves_a_round_and_counts_it(program: Program) -> None:
    begin(program)
    text = program.get("/metrics")[1]
    labels = '{job="movies",namespace="default",shard="0"}'
    assert f"fljob_server_version{labels} 0.0" in text
    assert f"fljob_server_plain_bytes_total{labels} {36 + 40 * 24}.0" in text
    assert (
        f"fljob_server_received_bytes_total{labels} {36 + 40 * (8 + 1) + 16 + 5}.0" in text
    )  # 40 ids that follow each other: a bit each


def test_it_ends_well_when_the_coordinator_says_so(program: Program) -> None:
    coordinator = program.client("coordinator", "coordinator")
    coordinator.shutdown("Succeeded", deadline_s=DEADLINE_S)
    coordinator.close()
    assert program.ended() == ExitCode.DONE
    assert "reason=Succeeded" in program.process.log.read_text()


def test_it_says_that_it_was_asked_to_stop(program: Program) -> None:
    program.process.popen.send_signal(signal.SIGTERM)
    assert program.ended() == ExitCode.STOPPED


def test_it_does_not_load_torch(program: Program) -> None:
    maps = Path(f"/proc/{program.process.popen.pid}/maps").read_text()
    assert "libtorch" not in maps
    assert "numpy" in maps


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--shard", "1"), "--shard 1: the job has 1 shards, counted from 0"),
        (("--shard", "0", "--checkpoint-dir", "/nowhere"), "--checkpoint-dir /nowhere: no such folder"),
        (("--shard", "0", "--config", "/nowhere"), "--config /nowhere: No such file or directory"),
    ],
)
def test_a_wrong_flag_ends_it_with_what_to_mend(tmp_path: Path, flags: tuple[str, ...], message: str) -> None:
    program = start(tmp_path, *flags)
    assert program.ended() == ExitCode.BAD_CONFIG
    assert message in program.process.log.read_text()


def test_without_its_certificate_it_does_not_start(tmp_path: Path) -> None:
    program = start(tmp_path, tls=False)
    assert program.ended() == ExitCode.IDENTITY_REFUSED
    assert f"cannot read {tmp_path / 'ca.crt'}" in program.process.log.read_text()


def test_a_port_in_use_is_a_reason_to_try_again(tmp_path: Path, program: Program) -> None:
    (tmp_path / "second").mkdir()
    second = start(tmp_path / "second", "--shard", "0", "--http-port", str(program.http_port))
    assert second.ended() == ExitCode.TEMPORARY
