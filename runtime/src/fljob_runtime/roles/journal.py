"""The coordinator's journal: one JSON line per record, appended before the record's consequences.

Lives beside the checkpoints, as `journal_log` says. Read once at start (History), written by the coordinator's loop
alone. Damage is an error, since rounds would be counted twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from fljob_api.exit_codes import ExitCode
from fljob_runtime.messages import AcceptedUpdate, Outcome, Receipt
from fljob_runtime.roles.journal_log import JournalError, Log
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

__all__ = ["Journal", "JournalError"]
FORMAT = 1
_Json = dict[str, Any]


class Journal:
    """An open journal. `history` is what it says; `append` adds to the file only."""

    def __init__(self, log: Log, *, uid: str) -> None:
        """Open or begin the journal of job `uid`; raises JournalError for another job's or a damaged one."""
        self._log = log
        lines = log.read()
        self.history = _replay(log, lines, uid)
        if not lines:
            self._write({"kind": "Begin", "format": FORMAT, "uid": uid}, durable=True)

    def append(self, record: Record) -> None:
        """Append a record. What shards will be told is durable when this returns, the rest when the log says so.

        Raises JournalError when the volume is full or gone.
        """
        durable = isinstance(record, ListAccepted | Rewound | Finished)
        self._write({"kind": type(record).__name__, **asdict(record)}, durable=durable)

    def close(self) -> None:
        """Make durable what is not yet; raises JournalError."""
        self._log.close()

    def _write(self, value: _Json, *, durable: bool) -> None:
        self._log.append(json.dumps(value, separators=(",", ":"), default=str).encode() + b"\n", durable=durable)


def _replay(log: Log, lines: list[bytes], uid: str) -> History:
    history = History()
    for number, line in enumerate(lines, 1):
        try:
            value: _Json = json.loads(line)
            kind = value.pop("kind")
            if number == 1:
                _check_begin(log.name, kind, value, uid)
            else:
                history.apply(_READERS[kind](value))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise JournalError(f"{log.where(number)}: damaged ({error}); restore the file or move it away") from error
    return history


def _check_begin(name: str, kind: str, value: _Json, uid: str) -> None:
    if kind != "Begin" or value["format"] != FORMAT:
        raise JournalError(f"{name}: not a journal of this version; move it away")
    if value["uid"] != uid:
        raise JournalError(f"{name}: belongs to job {value['uid']}, not {uid}; use another volume or folder")


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
