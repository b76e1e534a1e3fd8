"""The trainer's program: what it makes of its job and its flags."""

from __future__ import annotations

from pathlib import Path

from unit.runtime.training.tiny import trainer

from fljob_api.job_config import JobConfig
from fljob_runtime.data.dumped import find_dumps
from fljob_runtime.programs.trainer import _dumps, parse


def test_dumps_of_a_job_lie_in_a_folder_named_by_its_uid(tmp_path: Path) -> None:
    spec = {
        "model": {"name": "ncf"},
        "rounds": 1,
        "dataset": {"name": "synthetic"},
        "trainers": [{"name": "a"}],
        "dump": {"fields": ["item"]},
    }
    job = JobConfig.from_dict({"name": "job", "uid": "u", "spec": spec, "coordinator": "h:1", "servers": ["h:2"]})
    options = parse(["--config", "job.json", "--trainer", "a", "--storage-dir", str(tmp_path)])
    written = _dumps(job, options)
    assert written is not None
    written.write(1, trainer("GMF"))
    ((path, dump),) = find_dumps(tmp_path)
    assert (path, dump.job) == (tmp_path / "dumps/u/1", "u")
