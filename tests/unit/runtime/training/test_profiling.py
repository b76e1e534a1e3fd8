"""A profile of some mini-batches: how many, what is found and written, and that training is as without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from unit.runtime.training.tiny import trainer

from fljob_runtime.training import pooled_state
from fljob_runtime.training.pooled import PooledTraining
from fljob_runtime.training.profiling import TABLE, TRACE, Profiling, ProfilingError

CPU = torch.device("cpu")


def ignoring_the_loss(step: Callable[[], None]) -> Callable[[Tensor], None]:
    def told(_: Tensor) -> None:
        step()

    return told


def profiled(folder: Path, most: int, epochs: int = 1) -> tuple[Profiling, PooledTraining]:
    """Train epochs of three mini-batches each, of which at most so many are looked at."""
    training, profiling = PooledTraining(trainer("MLP", optimizer="Adam")), Profiling(folder, most, CPU)
    for _ in range(epochs):
        with profiling.watched() as step:
            training.run_epoch(on_step=ignoring_the_loss(step))
    return profiling, training


@pytest.mark.parametrize(("most", "looked_at"), [(1, 1), (2, 2), (50, 3)])
def test_at_most_so_many_mini_batches_of_the_first_epoch_are_looked_at(
    tmp_path: Path, most: int, looked_at: int
) -> None:
    profiling, _ = profiled(tmp_path, most, epochs=2)
    steps = next(found for found in profiling.operators if found.name == "Optimizer.step#Adam.step")
    assert (profiling.batches, steps.calls) == (looked_at, looked_at)


def test_the_dearest_operators_come_first(tmp_path: Path) -> None:
    times = [found.milliseconds for found in profiled(tmp_path, 3)[0].operators]
    assert times == sorted(times, reverse=True)
    assert times[0] > 0.0


def test_table_and_trace_are_written(tmp_path: Path) -> None:
    profiling, _ = profiled(tmp_path / "new" / "folder", 2)
    trace = json.loads((tmp_path / "new/folder" / TRACE).read_text("utf-8"))
    names = {event.get("name") for event in trace["traceEvents"]}
    table = (tmp_path / "new/folder" / TABLE).read_text("utf-8").splitlines()
    assert "aten::addmm" in names
    assert table[0].split() == ["operator", "calls", "self", "ms", "share"]
    assert len(table) == 1 + min(40, len(profiling.operators))


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    ours = pooled_state.values(profiled(tmp_path, 2)[1].trainer)
    plain = PooledTraining(trainer("MLP", optimizer="Adam"))
    plain.run_epoch()
    for name, value in pooled_state.values(plain.trainer).dense.items():
        assert np.array_equal(ours.dense[name], value), name


def test_a_trace_that_torch_does_not_write_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / TRACE).write_text("{}", "utf-8")  # of a former profile
    monkeypatch.setattr(torch.profiler.profile, "export_chrome_trace", lambda *_: None)
    with pytest.raises(ProfilingError, match=r"trace\.json: cannot be written"):
        profiled(tmp_path, 1)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProfilingError, match="file: File exists; choose another folder"):
        Profiling(tmp_path / "file", 1, CPU)
