"""Error feedback of a real trainer in mode Buffered: tasks that are dropped, refused, repeated and begun again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.runtime.roles.test_trainer import FAR, Bench, Server, bench

from fljob_api.strategy import CompressorSpec
from fljob_runtime.compression.chain import Chain, make
from fljob_runtime.errors import StaleError
from fljob_runtime.messages import Committed, Receipt, Train
from fljob_runtime.parameters import ModelLayout, ModelState, Scope
from fljob_runtime.roles.compressing import Compressing
from fljob_runtime.roles.private_state import PrivateStore
from fljob_runtime.roles.trainer import Trainer
from fljob_runtime.transport.encode import Coding, received_update

STRATEGY: dict[str, Any] = {"batchSize": 10, "mode": "Buffered"}
CODECS = [("topK",), ("topK", "int8"), ("sketch",)]
TOLERANCE = 1e-5  # values are below 1, sums of a few of them in float32


@dataclass
class CodingServer(Server):
    """Two shards that decode what comes; `gone` are rounds whose version they no longer hold when the push comes."""

    layout: ModelLayout | None = None
    chain: Chain | None = None
    gone: set[int] = field(default_factory=set)
    received: list[tuple[int, int, ModelState]] = field(default_factory=list)

    def push(self, round_number: int, attempt: int, num_samples: int, state: ModelState) -> tuple[Receipt, ...]:
        if round_number in self.gone:
            raise StaleError(f"version {round_number - 1} is gone")
        self.received.append((round_number, attempt, self.as_received(round_number, attempt, state)))
        return super().push(round_number, attempt, num_samples, state)

    def as_received(self, round_number: int, attempt: int, state: ModelState) -> ModelState:
        assert self.layout is not None
        assert self.chain is not None
        return received_update(self.layout, state, 2, Coding(self.chain, round_number, attempt, "a"))

    def last(self, round_number: int) -> ModelState:
        """Return what the last push of a round was understood as."""
        return [state for number, _, state in self.received if number == round_number][-1]


@dataclass
class Compressed:
    """One trainer process after another on the same storage, and the servers that outlive them."""

    folder: Path
    chain: Chain
    server: CodingServer

    def process(self) -> Bench:
        """Start a process."""
        made = bench(self.folder, strategy=STRATEGY)
        around = replace(made.trainer._around, servers=self.server, compressing=Compressing(self.store()))
        return replace(made, trainer=Trainer(around.make_local(), around))

    def store(self) -> PrivateStore:
        """Open what is left unsent."""
        assert self.server.layout is not None
        return PrivateStore(self.folder, self.server.layout, job_uid="u", scope=Scope.SHARED)


def compressed(folder: Path, codecs: Sequence[str]) -> Compressed:
    plain, chain = bench(folder), make([CompressorSpec(name=name) for name in codecs], 0)
    assert chain is not None
    server = CodingServer(plain.server.state, layout=plain.trainer._layout, chain=chain)
    return Compressed(folder, chain, server)


def true_updates(folder: Path, tasks: Mapping[int, int]) -> list[ModelState]:
    """Return how far training moves values in some tasks (by round), as a trainer without compression tells."""
    made = bench(folder, strategy=STRATEGY)
    made.follow(*(Train(number, FAR, task=task) for number, task in tasks.items()))
    return [Compressing(None).due(number, made.server.state, pushed) for number, pushed in made.server.pushed]


def total(states: Sequence[ModelState], like: ModelState) -> dict[str, np.ndarray]:
    """Return the sums of all values, rows in tables of the size of `like`'s."""
    sums = {name: np.zeros(value.shape) for name, value in like.dense.items()}
    sums |= {name: np.zeros(rows.values.shape) for name, rows in like.rows.items()}
    for state in states:
        for name, value in state.dense.items():
            sums[name] += value
        for name, rows in state.rows.items():
            sums[name][rows.ids] += rows.values
    return sums


def close(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return all(np.allclose(one[name], value, atol=TOLERANCE) for name, value in other.items())


@pytest.mark.parametrize("codecs", CODECS)
def test_what_counted_and_what_is_left_are_the_true_updates(tmp_path: Path, codecs: tuple[str, ...]) -> None:
    made = compressed(tmp_path / "coded", codecs)
    made.server.gone = {4}
    made.process().follow(
        Train(1, FAR, task=1),
        Committed(1, accepted=True),
        Train(2, FAR, task=2),
        Committed(2, accepted=False),  # it had become too stale in the buffer
        Train(4, FAR, task=2),  # its version is gone when the push comes
        Train(5, FAR, task=2),
    )
    again = made.process()  # the one before was killed before it heard of the commit
    again.follow(Train(5, FAR, task=2), Committed(5, accepted=True), Train(7, FAR, task=3, attempt=2))
    counted = [made.server.last(number) for number in (1, 5, 7)]
    true = true_updates(tmp_path / "plain", {1: 1, 5: 2, 7: 3})
    found = total([*counted, made.store().load(3)], made.server.state)
    assert close(found, total(true, made.server.state))
    assert not close(total(counted, made.server.state), total(true, made.server.state))  # something was left


@pytest.mark.parametrize("codecs", CODECS)
def test_a_killed_trainer_sends_its_task_in_the_same_bytes(tmp_path: Path, codecs: tuple[str, ...]) -> None:
    made = compressed(tmp_path, codecs)
    made.process().follow(Train(1, FAR, task=1), Committed(1, accepted=True), Train(3, FAR, task=2))
    made.process().follow(Train(3, FAR, task=2))
    (_, first), (_, second) = made.server.pushed[1:]
    assert all(np.array_equal(first.dense[name], value) for name, value in second.dense.items())
    assert all(np.array_equal(first.rows[name].values, rows.values) for name, rows in second.rows.items())


def test_an_update_is_the_difference_to_the_version_of_its_task(tmp_path: Path) -> None:
    made = compressed(tmp_path / "coded", ["topK"])
    state = made.server.state
    made.server.state = replace(state, dense={n: value + np.float32(0.25) for n, value in state.dense.items()})
    made.process().follow(Train(6, FAR, task=1))
    ((number, due),) = made.server.pushed
    assert (number, made.server.pulls) == (6, [5])
    assert max(float(np.abs(value).max()) for value in due.dense.values()) < 0.1
