"""A round of one client a few mini-batches at a time, its values renewed from the server in between.

Used by the trainer role in the modes that exchange within a round. A window is what is trained between two
exchanges; which examples it holds is a function of (seed, client, round, window), so a trainer that was started anew
goes on at any of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from fljob_api.strategy import Mode, StrategySpec
from fljob_runtime.parameters import Float32Array, Int64Array, Kind, ModelState, RowSet, Scope
from fljob_runtime.training.local import LocalTrainer, LocalUpdate
from fljob_runtime.training.record import DivergedError, TrainProgress, silent

GEO_STEP = 10


@dataclass(frozen=True)
class Contribution:
    """What goes to the server after a window: shared dense values, touched rows with weights; and its samples."""

    state: ModelState
    num_samples: int


class StepwiseRound(ABC):
    """One round of a client in windows; `every`: mini-batches of one window."""

    def __init__(
        self, local: LocalTrainer, train_round: int, every: int, on_progress: Callable[[TrainProgress], None] = silent
    ) -> None:
        self._local = local
        self._keyed = local.keyed
        self._examples = local.round_examples(train_round)
        local.prepare()
        self._size = every * local.plan.batch_size
        self.num_windows = math.ceil(len(self._examples) / self._size)
        self._record = local.record(train_round, len(self._examples), on_progress)
        self._parameters = dict(local.model.named_parameters())
        self._dense = [s.name for s in local.layout.shared_dense]
        columns = local.model.tables()
        self._columns = {s.name: columns[s.name] for s in local.layout.shared_tables}

    @property
    def num_samples(self) -> int:
        """Return the samples of the whole round."""
        return len(self._examples)

    def rows(self, window: int) -> dict[str, Int64Array]:
        """Return the ids of the shared rows that a window (from 0) reads, sorted and unique; none past the last."""
        return {name: self._keyed.ids(name, np.unique(self._places(name, window))) for name in self._columns}

    def skip(self, windows: int) -> None:
        """Say that so many windows were trained before, by a trainer that is gone."""
        self._record.skip(min(windows * self._size, len(self._examples)))

    @abstractmethod
    def renew(self, values: ModelState) -> None:
        """Take the server's values: all dense ones, and rows."""

    @abstractmethod
    def train(self, window: int) -> Contribution:
        """Train a window and return what to send. Raises DivergedError."""

    def finish(self) -> LocalUpdate:
        """Return the round's metrics and the values that stay with the client: private ones, and rows it touched."""
        rows = {}
        for spec in self._local.layout.specs:
            if spec.kind is not Kind.DENSE and spec.scope is Scope.PRIVATE:
                column = self._local.model.tables()[spec.name]
                places, counts = np.unique(self._examples.ids(column), return_counts=True)
                rows[spec.name] = self._local.row_set(spec.name, places, counts.astype(np.float64))
        private = [s for s in self._local.layout.specs if s.kind is Kind.DENSE and s.scope is Scope.PRIVATE]
        dense = {spec.name: self._values(spec.name).copy() for spec in private}
        return LocalUpdate(ModelState(dense, rows), len(self._examples), self._record.sums())

    def _places(self, table: str, window: int) -> Int64Array:
        window_of = slice(window * self._size, (window + 1) * self._size)
        return self._examples.take(window_of).ids(self._columns[table])

    def _values(self, name: str) -> Float32Array:
        values: Float32Array = self._parameters[name].detach().numpy()
        return values

    def _checked(self, state: ModelState, window: int) -> Contribution:
        arrays = {**state.dense, **{name: rows.values for name, rows in state.rows.items()}}
        broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        if broken:
            raise DivergedError(
                f"client {self._local.plan.client}: {', '.join(broken)} not finite; lower spec.optimizer.learningRate"
            )
        done = min((window + 1) * self._size, len(self._examples)) - window * self._size
        return Contribution(state, done)


class GradientRound(StepwiseRound):
    """StepSync and Async: the gradient of each mini-batch goes to the server, which steps; private values step here."""

    def __init__(
        self, local: LocalTrainer, train_round: int, on_progress: Callable[[TrainProgress], None] = silent
    ) -> None:
        super().__init__(local, train_round, 1, on_progress)
        private = [p for n, p in self._parameters.items() if local.layout[n].scope is Scope.PRIVATE]
        self._optimizer = local.plan.optimizer.make(private, local.plan.rate(train_round)) if private else None

    def renew(self, values: ModelState) -> None:
        """Put the values into the model."""
        self._local.load(values)

    def train(self, window: int) -> Contribution:
        """Return the gradients of one mini-batch's mean loss."""
        self._local.model.train()
        start = window * self._size
        for batch, labels in self._local.batches(self._examples, self._size, start, start + self._size):
            self._local.backward(batch, labels, self._record)
        if self._optimizer is not None:
            self._optimizer.step()
        rows = {}
        for name in self._columns:
            places, counts = np.unique(self._places(name, window), return_counts=True)
            gradient = _gradient(self._parameters[name])[places]
            rows[name] = self._keyed.row_set(name, places, gradient, counts.astype(np.float64))
        dense = {name: _gradient(self._parameters[name]) for name in self._dense}
        return self._checked(ModelState(dense, rows), window)


class ReplicaRound(StepwiseRound):
    """Geo: a replica trained by the client's own optimizer; what it moved since the last exchange goes to the server.

    base: the server's values as this client knows them, with its own changes that it sent. replica - base is what it
    has not sent: a momentum moves rows also after the window that touched them, which goes along when next they are.
    """

    def __init__(
        self, local: LocalTrainer, train_round: int, every: int, on_progress: Callable[[TrainProgress], None] = silent
    ) -> None:
        super().__init__(local, train_round, every, on_progress)
        self._optimizer = local.plan.optimizer.make(local.model.parameters(), local.plan.rate(train_round))
        self._base = {name: self._values(name).copy() for name in (*self._dense, *self._columns)}

    def renew(self, values: ModelState) -> None:
        """Go on from the server's values and what is not sent yet."""
        for name, fresh in values.dense.items():
            replica, base = self._values(name), self._base[name]
            replica[...] = fresh + (replica - base)
            base[...] = fresh
        for name, rows in values.rows.items():
            places = self._keyed.places(name, rows.ids)
            replica, base = self._values(name), self._base[name]
            replica[places] = rows.values + (replica[places] - base[places])
            base[places] = rows.values

    def train(self, window: int) -> Contribution:
        """Run the optimizer over the window; return how far the dense values and the rows it touched have moved."""
        self._local.model.train()
        start = window * self._size
        for batch, labels in self._local.batches(
            self._examples, self._local.plan.batch_size, start, start + self._size
        ):
            self._local.backward(batch, labels, self._record)
            self._optimizer.step()
        last = window == self.num_windows - 1
        dense = {name: self._moved(name) for name in self._dense}
        rows = {name: self._moved_rows(name, window, everything=last) for name in self._columns}
        return self._checked(ModelState(dense, rows), window)

    def _moved(self, name: str) -> Float32Array:
        replica, base = self._values(name), self._base[name]
        moved = replica - base
        base[...] = replica
        return moved

    def _moved_rows(self, name: str, window: int, *, everything: bool) -> RowSet:
        replica, base = self._values(name), self._base[name]
        places = np.flatnonzero((replica != base).any(axis=1)) if everything else np.unique(self._places(name, window))
        moved = replica[places] - base[places]
        base[places] = replica[places]
        return self._keyed.row_set(name, places, moved, np.ones(len(places)))


def stepwise_round(
    local: LocalTrainer,
    strategy: StrategySpec,
    train_round: int,
    on_progress: Callable[[TrainProgress], None] = silent,
) -> StepwiseRound:
    """Return a round of the strategy's mode, which is not Sync."""
    if strategy.mode is Mode.GEO:
        return ReplicaRound(local, train_round, strategy.geo_step or GEO_STEP, on_progress)
    return GradientRound(local, train_round, on_progress)


def _gradient(parameter: nn.Parameter) -> Float32Array:
    if parameter.grad is None:
        return np.zeros(tuple(parameter.shape), np.float32)
    gradient: Float32Array = parameter.grad.numpy()
    return gradient
