"""Totals of what a shard took in and folded."""

from __future__ import annotations

from pathlib import Path

import pytest

from fljob_runtime.server.staging import Staged
from fljob_runtime.server.work import Work
from support.shards import begun, push, update


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    """An update of 9 dense numbers and 2 rows of 2."""
    return push(begun(tmp_path), update(1.0, {3: 1.0, 5: 1.0}), 1, "a")


def test_rows_are_counted_by_table_and_bytes_as_without_compression(staged: Staged) -> None:
    work = Work()
    for _ in range(2):
        work.took(staged)
    assert work.totals.taken_rows == {"items": 4}
    assert work.totals.plain_bytes == 2 * (4 * 9 + 2 * (8 + 4 * 2 + 8))


def test_a_fold_counts_updates_values_and_time(staged: Staged) -> None:
    work = Work()
    with work.folding([staged, staged]):
        pass
    assert (work.totals.folded_updates, work.totals.folded_bytes) == (2, 2 * 4 * (9 + 2 * 2))
    assert work.totals.fold_seconds > 0


def test_a_fold_that_fails_counts_for_nothing(staged: Staged) -> None:
    work = Work()
    with pytest.raises(RuntimeError), work.folding([staged]):
        raise RuntimeError
    assert (work.totals.folded_updates, work.totals.fold_seconds) == (0, 0.0)
