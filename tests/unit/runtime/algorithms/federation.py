"""Clients whose loss is h/2 (w - m)² for a dense w and each row, trained by an algorithm over a real shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fljob_api.spec import FLJobSpec
from fljob_runtime.algorithms.algorithm import LocalStart
from fljob_runtime.algorithms.modes import algorithm
from fljob_runtime.parameters import Float32Array, Kind, ModelLayout, ModelState, ParamSpec, RowSet
from fljob_runtime.server.shard import Named, Shard
from fljob_runtime.server.staging import PushHeader
from fljob_runtime.transport.encode import encode_update
from support.shards import UID, config

MODEL = ModelLayout((ParamSpec("w", (1,)), ParamSpec("table", (3, 1), Kind.ROWS)))


@dataclass(frozen=True)
class Client:
    """h: curvature; m: optimum; steps: of a round; rows: those of the table that it trains."""

    h: float
    m: float
    steps: int
    rows: tuple[int, ...] = (0,)


class Federation:
    """A job of these clients: every value starts at 0."""

    def __init__(self, folder: Path, clients: Sequence[Client], rate: float, name: str = "FedAvg", **spec: Any) -> None:
        self._clients = clients
        strategy = {"name": name, "batchSize": 1, **spec}
        base = {"model": {"name": "m"}, "dataset": {"name": "d"}, "rounds": 1, "strategy": strategy}
        optimizer = {"name": "SGD", "learningRate": str(rate)}
        trainers = [{"name": f"c{i}"} for i in range(len(clients))]
        job = FLJobSpec.from_dict({**base, "optimizer": optimizer, "trainers": trainers})
        self._algorithm, self._rate = algorithm(job.strategy), rate
        self.layout = self._algorithm.layout(MODEL)
        zeros = {s.name: np.zeros(s.shape, np.float32) for s in self.layout.specs}
        self._values = [{name: value.copy() for name, value in zeros.items()} for _ in clients]
        averaging = self._algorithm.averaging(job)
        weighting, rows = job.strategy.weighting, job.strategy.rows
        self.shard = Shard(config(folder, averaging=averaging, weighting=weighting, row_averaging=rows))
        everything = {s.name: np.arange(s.shape[0]) for s in self.layout.shared_tables}
        self._commit(0, {0: self._update(zeros, everything)})

    def round(self, number: int, members: Sequence[int] | None = None) -> None:
        """Train and commit a round of these clients, all if not given."""
        chosen = range(len(self._clients)) if members is None else members
        self._commit(number, {i: self._train(i) for i in chosen})

    def value(self, name: str, row: int | None = None) -> float:
        """Return one of the server's values: the dense parameter, or a row of a table."""
        model = self.shard.model()
        if row is not None:
            return float(model.rows(model.newest, name, np.array([row]))[0, 0])
        return float(model.dense(model.newest)[[s.name for s in self.layout.shared_dense].index(name)])

    def _train(self, number: int) -> ModelState:
        client, values, model = self._clients[number], self._values[number], self.shard.model()
        for spec, value in zip(self.layout.shared_dense, model.dense(model.newest), strict=True):
            values[spec.name][:] = value
        ids = np.array(client.rows)
        for spec in self.layout.shared_tables:
            values[spec.name][ids] = model.rows(model.newest, spec.name, ids)
        rule = self._algorithm.begin(LocalStart(values, {"w": ..., "table": ids}, self._rate))
        for _ in range(client.steps):
            gradients = {"w": client.h * (values["w"] - client.m), "table": np.zeros((3, 1), np.float32)}
            gradients["table"][ids] = client.h * (values["table"][ids] - client.m)
            for name, gradient in gradients.items():
                if rule is not None:
                    rule.correct(name, gradient, ids if name == "table" else ...)
                values[name] -= np.float32(self._rate) * gradient
        if rule is not None:
            rule.end(client.steps)
        return self._update(values, {s.name: ids for s in self.layout.shared_tables}, client.steps)

    def _update(self, values: dict[str, Float32Array], rows: dict[str, Any], weight: int = 1) -> ModelState:
        touched = {n: RowSet(ids, values[n][ids], np.full(len(ids), float(weight))) for n, ids in rows.items()}
        return ModelState({s.name: values[s.name].copy() for s in self.layout.shared_dense}, touched)

    def _commit(self, number: int, updates: dict[int, ModelState]) -> None:
        names = []
        for client, state in updates.items():
            (payload,) = encode_update(self.layout, state, 1)
            layout, samples = (self.layout.to_json() if number == 0 else b""), self._clients[client].steps
            header = PushHeader(UID, 0, number, f"c{client}", 0, samples, payload.blocks, layout)
            intake = self.shard.open_push(header)
            for array in payload.arrays:
                intake.write(np.ascontiguousarray(array).tobytes())
            names.append(Named(f"c{client}", 0, self.shard.close_push(intake).digest))
        self.shard.commit(number, names, checkpoint=False)
