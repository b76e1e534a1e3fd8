"""Private parameters stay with their trainer: no byte of them passes a socket, and a restart finds them again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration.local_jobs import UID, LocalJob, job
from integration.wire_tap import WireTap
from safetensors.numpy import load, load_file

from fljob_api.progress import Outcome, RoundState

PRIVATE: dict[str, Any] = {"parameterScopes": [{"name": "user_embedding", "scope": "Private"}]}
TABLE = "rows/user_embedding.mlp.weight"


def stored_rows(run: LocalJob, trainer: str, round_number: int) -> np.ndarray:
    path = run.folder.storage(trainer) / f"private-{UID}" / f"private-{round_number:06d}.safetensors"
    return load_file(path)[TABLE]


def tapped(run: LocalJob) -> list[WireTap]:
    """Put a relay between the trainers and everyone else."""
    taps = [WireTap(run.config.coordinator), *(WireTap(address) for address in run.config.servers)]
    addresses = {"coordinator": taps[0].address, "servers": [tap.address for tap in taps[1:]]}
    path = run.root / "tapped.json"
    path.write_text(run.config.model_copy(update=addresses).to_json())
    for name, program in run.supervisor.programs.items():
        if name.startswith("trainer-"):
            arguments = tuple(str(path) if a == str(run.folder.config) else a for a in program.arguments)
            run.supervisor.programs[name] = replace(program, arguments=arguments)
    return taps


@pytest.fixture(scope="module")
def private_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalJob, list[bytes]]:
    run = LocalJob(job(sites=2, security={"tls": "Disabled"}, **PRIVATE), tmp_path_factory.mktemp("private"))
    taps = tapped(run)
    assert run.run().outcome is Outcome.SUCCEEDED
    for tap in taps:
        tap.close()
    return run, [part for tap in taps for part in tap.recorded]


def test_no_private_row_is_in_any_byte_that_passed(private_run: tuple[LocalJob, list[bytes]]) -> None:
    run, recorded = private_run
    rows = [row.tobytes() for site in ("site-0", "site-1") for n in (2, 3) for row in stored_rows(run, site, n)]
    assert len(rows) == 80  # 2 sites, 2 rounds kept, 20 users
    assert not [row for row in rows if any(row in part for part in recorded)]


def test_the_capture_does_see_shared_rows(private_run: tuple[LocalJob, list[bytes]]) -> None:
    run, recorded = private_run
    path = run.folder.checkpoint / UID / "2" / "shard-0-of-1.safetensors"
    (table,) = [values for name, values in load_file(path).items() if "item_embedding" in name]
    seen = [any(row.tobytes() in part for part in recorded) for row in table]
    assert sum(seen) >= len(table) // 2


def test_the_finished_model_has_no_private_parameter(private_run: tuple[LocalJob, list[bytes]]) -> None:
    run, _ = private_run
    assert not [name for name in load(run.model()) if name.startswith("user_embedding")]


def test_the_private_states_of_the_last_three_rounds_are_kept(private_run: tuple[LocalJob, list[bytes]]) -> None:
    run, _ = private_run
    folder = run.folder.storage("site-0") / f"private-{UID}"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"private-00000{round_}.safetensors" for round_ in (1, 2, 3)
    ]


def test_a_killed_trainer_goes_on_with_its_private_state(
    private_run: tuple[LocalJob, list[bytes]], tmp_path: Path
) -> None:
    run = LocalJob(job(sites=2, **PRIVATE), tmp_path)
    run.once(RoundState.TRAINING, 1, lambda: run.kill("trainer-site-1"))
    assert run.run().outcome is Outcome.SUCCEEDED
    assert run.metrics() == private_run[0].metrics()
    assert np.array_equal(stored_rows(run, "site-1", 3), stored_rows(private_run[0], "site-1", 3))
