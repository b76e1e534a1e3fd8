"""What one trainer keeps from round to round on its own storage: one file per round, the last few kept.

Private parameters, and where updates are compressed what was not sent of shared ones (`compressing`).

Used by the trainer alone. Nothing here knows the wire. Files are named by the round whose training made them;
what is newer than a round to be trained belongs to a round that did not count and is discarded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fljob_runtime.parameters import Float32Array, Kind, LayoutError, ModelLayout, ModelState, RowSet, Scope

_PREFIX, _SUFFIX = "private-", ".safetensors"
_IDS, _ROWS, _DENSE = "ids/", "rows/", "dense/"
_log = logging.getLogger(__name__)


class PrivateStore:
    """Values of one trainer's parameters of a scope by round; round 0 is what the seed says, which is not stored."""

    def __init__(
        self,
        folder: Path,
        layout: ModelLayout,
        *,
        job_uid: str,
        rounds_per_checkpoint: int = 1,
        scope: Scope = Scope.PRIVATE,
    ) -> None:
        """Open the folder (made if absent) of one job's values of this scope; raises OSError.

        rounds_per_checkpoint: servers may go back two checkpoints, as the last may still be written; the states of
        the rounds since then, and one more, are kept.
        """
        self._keep = 2 * rounds_per_checkpoint + 1
        self._layout = layout
        self._digest = layout.digest
        self._scope = scope
        self._folder = folder / f"{scope}-{job_uid}"
        self.needed = any(spec.scope is scope for spec in layout.specs)
        if self.needed:
            self._folder.mkdir(parents=True, exist_ok=True)

    def newest(self, at_most: int | None = None) -> int:
        """Return the newest round stored (not after `at_most`), 0 if none is."""
        rounds = [number for number in self._rounds() if at_most is None or number <= at_most]
        return max(rounds, default=0)

    def has(self, round_number: int) -> bool:
        """Return whether the state of this very round is stored."""
        return round_number in self._rounds()

    def save(self, round_number: int, state: ModelState) -> None:
        """Store the private part of a round, whole or not at all, and drop the oldest. Raises OSError."""
        if not self.needed:
            return
        path = self._path(round_number)
        draft = path.with_suffix(".tmp")
        own = state.private(self._layout) if self._scope is Scope.PRIVATE else state.shared(self._layout)
        save_file(_flatten(own), draft, {"round": str(round_number), "layout": self._digest})
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(path)
        for old in sorted(self._rounds())[: -self._keep]:
            self._path(old).unlink(missing_ok=True)

    def load(self, round_number: int) -> ModelState:
        """Return the state of the newest stored round up to `round_number`; empty for round 0.

        A damaged file is skipped with a warning, as the one before it is.
        """
        for number in sorted((n for n in self._rounds() if n <= round_number), reverse=True):
            try:
                return self._checked(_unflatten(load_file(self._path(number))))
            except (SafetensorError, KeyError, ValueError, LayoutError, OSError) as error:
                _log.warning("%s state of round %d is damaged and skipped: %s", self._scope, number, error)
        return ModelState({}, {})

    def _checked(self, state: ModelState) -> ModelState:
        """Return the state if it fits the scope's part of the layout; raises KeyError, LayoutError or ValueError."""
        for name in (*state.dense, *state.rows):
            if self._layout[name].scope is not self._scope:
                raise ValueError(f"{name} is not {self._scope}")
        for name, value in state.dense.items():
            if value.dtype != np.float32 or value.shape != self._layout[name].shape:
                raise ValueError(f"{name}: {value.dtype} {value.shape}, not float32 {self._layout[name].shape}")
        for name, rows in state.rows.items():
            spec = self._layout[name]
            if rows.ids.dtype != np.int64 or rows.values.dtype != np.float32:
                raise ValueError(f"{name}: ids {rows.ids.dtype} and values {rows.values.dtype}, not int64 and float32")
            if rows.ids.ndim != 1 or rows.values.shape != (len(rows.ids), spec.dim):
                raise ValueError(f"{name}: {rows.ids.shape} ids and values {rows.values.shape}, not rows of {spec.dim}")
            ids = rows.ids
            if not (ids[1:] > ids[:-1]).all():
                raise ValueError(f"{name}: ids are not ascending")
            if spec.kind is Kind.ROWS and len(ids) and not (ids[0] >= 0 and ids[-1] < spec.shape[0]):
                raise ValueError(f"{name}: ids are not within {spec.shape[0]} rows")
        return state

    def discard_after(self, round_number: int) -> None:
        """Delete what is newer than a round: it belongs to rounds that did not count."""
        for number in self._rounds():
            if number > round_number:
                self._path(number).unlink(missing_ok=True)

    def _rounds(self) -> list[int]:
        if not self.needed:
            return []
        names = [path.name for path in self._folder.glob(f"{_PREFIX}*{_SUFFIX}")]
        return [int(name[len(_PREFIX) : -len(_SUFFIX)]) for name in names]

    def _path(self, round_number: int) -> Path:
        return self._folder / f"{_PREFIX}{round_number:06d}{_SUFFIX}"


def merge_rows(older: Mapping[str, RowSet], newer: Mapping[str, RowSet]) -> dict[str, RowSet]:
    """Return every row of both, the newer one's values where both have it."""
    merged = dict(older)
    for name, rows in newer.items():
        before = older.get(name)
        if before is None:
            merged[name] = RowSet(rows.ids, rows.values)
            continue
        kept = ~np.isin(before.ids, rows.ids, assume_unique=True)
        ids = np.concatenate([before.ids[kept], rows.ids])
        values = np.concatenate([before.values[kept], rows.values])
        order = np.argsort(ids)
        merged[name] = RowSet(ids[order], values[order])
    return merged


def _flatten(state: ModelState) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {f"{_DENSE}{name}": value for name, value in state.dense.items()}
    for name, rows in state.rows.items():
        tensors[f"{_IDS}{name}"] = rows.ids
        tensors[f"{_ROWS}{name}"] = rows.values
    return {name: np.ascontiguousarray(value) for name, value in tensors.items()}


def _unflatten(tensors: Mapping[str, np.ndarray]) -> ModelState:
    dense: dict[str, Float32Array] = {n[len(_DENSE) :]: v for n, v in tensors.items() if n.startswith(_DENSE)}
    tables = [name[len(_IDS) :] for name in tensors if name.startswith(_IDS)]
    return ModelState(dense, {name: RowSet(tensors[_IDS + name], tensors[_ROWS + name]) for name in tables})
