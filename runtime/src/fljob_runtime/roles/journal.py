"""The coordinator's journal: one JSON line per record, appended before the record's consequences.

Lives beside the checkpoints. Read once at start (History), written by the coordinator's loop alone. A last
line that a crash tore is dropped; damage anywhere else is an error, since rounds would be counted twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fljob_api.exit_codes import ExitCode
from fljob_runtime.messages import AcceptedUpdate, Outcome, Receipt
from fljob_runtime.rounds.history import History
from fljob_runtime.rounds.values import (
    CohortChosen,
    Finished,
    ListAccepted,
    Record,
    Rewound,
    RoundCommitted,
    RoundDurable,
    RoundEvaluated,
    TrainerFailed,
    TrainerMended,
)

FORMAT = 1
_Json = dict[str, Any]


class JournalError(Exception):
    """The journal cannot be used; the message names the file and line and what to do."""


class Journal:
    """An open journal. `history` is what it says; `append` adds to the file only."""

    def __init__(self, path: Path, *, uid: str) -> None:
        """Open or begin the journal of job `uid`; raises JournalError for another job's or a damaged one."""
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = _drop_torn_tail(path)
            self.history = _replay(path, whole, uid)
            self._file = path.open("ab")
            if not whole:
                self._write({"kind": "Begin", "format": FORMAT, "uid": uid}, durable=True)
                _sync_folder(path.parent)
        except OSError as error:
            raise JournalError(f"cannot write {path}: {error.strerror}") from error

    def append(self, record: Record) -> None:
        """Append a record. What shards will be told is on disk when this returns, the rest with the system.

        Raises JournalError when the volume is full or gone.
        """
        durable = isinstance(record, ListAccepted | Rewound | Finished)
        try:
            self._write({"kind": type(record).__name__, **asdict(record)}, durable=durable)
        except OSError as error:
            raise JournalError(f"cannot write {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, value: _Json, *, durable: bool) -> None:
        self._file.write(json.dumps(value, separators=(",", ":"), default=str).encode() + b"\n")
        self._file.flush()
        if durable:
            os.fsync(self._file.fileno())


def _drop_torn_tail(path: Path) -> list[bytes]:
    """Cut the file after its last whole line; return the lines."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.splitlines()
    if lines and not _is_json(lines[-1]):
        lines.pop()
        whole = b"".join(line + b"\n" for line in lines)
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    return lines


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _replay(path: Path, lines: list[bytes], uid: str) -> History:
    history = History()
    for number, line in enumerate(lines, 1):
        try:
            value: _Json = json.loads(line)
            kind = value.pop("kind")
            if number == 1:
                _check_begin(path, kind, value, uid)
            else:
                history.apply(_READERS[kind](value))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise JournalError(f"{path}, line {number}: damaged ({error}); restore the file or move it away") from error
    return history


def _check_begin(path: Path, kind: str, value: _Json, uid: str) -> None:
    if kind != "Begin" or value["format"] != FORMAT:
        raise JournalError(f"{path}: not a journal of this version; move it away")
    if value["uid"] != uid:
        raise JournalError(f"{path}: belongs to job {value['uid']}, not {uid}; use another volume or folder")


def _accepted(value: _Json) -> ListAccepted:
    updates = tuple(
        AcceptedUpdate(
            u["trainer"], u["attempt"], tuple(Receipt(**receipt) for receipt in u["receipts"]), u.get("round", 0)
        )
        for u in value.pop("accepted")
    )
    return ListAccepted(accepted=updates, dropped=tuple(value.pop("dropped")), **value)


def _cohort(value: _Json) -> CohortChosen:
    cohort, candidates, samples = (tuple(value.pop(key, ())) for key in ("cohort", "candidates", "samples"))
    return CohortChosen(cohort=cohort, candidates=candidates, samples=samples, **value)


def _finished(value: _Json) -> Finished:
    outcome, code = Outcome(value.pop("outcome")), ExitCode(value.pop("exit_code"))
    return Finished(outcome=outcome, exit_code=code, **value)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_READERS: Mapping[str, Callable[[_Json], Record]] = {
    "CohortChosen": _cohort,
    "ListAccepted": _accepted,
    "RoundCommitted": lambda value: RoundCommitted(**value),
    "RoundDurable": lambda value: RoundDurable(**value),
    "RoundEvaluated": lambda value: RoundEvaluated(**value),
    "TrainerFailed": lambda value: TrainerFailed(exit_code=ExitCode(value.pop("exit_code")), **value),
    "TrainerMended": lambda value: TrainerMended(**value),
    "Rewound": lambda value: Rewound(**value),
    "Finished": _finished,
}
