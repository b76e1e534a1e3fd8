"""What one shard exports: counts of its calls, and what it holds at the time of the scrape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.messages import CommitResult
from fljob_runtime.parameters import Kind, ModelLayout, ParamSpec
from fljob_runtime.server.live import Answer
from fljob_runtime.server.shard import Shard
from fljob_runtime.server.versions import ShardModel
from fljob_runtime.transport.shard_metrics import ShardMetrics, by_label, table_sizes
from support import keyed
from support.exposition import samples
from support.shards import DIM, NUM_ITEMS, begun, commit, config, named, push, save, save_named, update

LABELS = {"namespace": "ml", "job": "movies", "shard": "0", "mode": "Async"}


def read(metrics: ShardMetrics) -> dict[str, float]:
    return samples(metrics.text().decode())


def of(shard: Shard) -> dict[str, float]:
    return read(ShardMetrics(shard, LABELS))


@pytest.fixture
def metrics(tmp_path: Path) -> ShardMetrics:
    """Of a shard at version 0."""
    return ShardMetrics(begun(tmp_path), LABELS)


def test_staged_updates_and_their_memory_are_read_at_each_scrape(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    metrics = ShardMetrics(shard, LABELS)
    staged = push(shard, update(1.0, {3: 1.0}), 1, "a")
    found = read(metrics)
    assert (found["fljob_server_staged_updates"], found["fljob_server_staged_bytes"]) == (1, staged.num_bytes)
    assert found["fljob_server_memory_bytes"] >= staged.num_bytes
    commit(shard, 1, staged)
    assert (read(metrics)["fljob_server_staged_updates"], read(metrics)["fljob_server_memory_bytes"]) == (0, 0)


def test_the_budget_is_there_to_compare_with(metrics: ShardMetrics) -> None:
    assert read(metrics)["fljob_server_memory_limit_bytes"] == 1 << 20


def test_updates_held_in_files_are_counted(tmp_path: Path) -> None:
    shard = begun(tmp_path, memory_bytes=0)
    before = of(shard)["fljob_server_spilled_bytes_total"]
    staged = push(shard, update(1.0), 1, "a")
    assert of(shard)["fljob_server_spilled_bytes_total"] - before >= staged.num_bytes


def test_rows_taken_in_and_folded_values_are_counted(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    commit(shard, 1, push(shard, update(1.0, {3: 1.0, 7: 1.0}), 1, "a"))
    found = of(shard)
    assert found['fljob_server_received_rows_total{table="items"}'] == NUM_ITEMS + 2
    assert found["fljob_server_folded_updates_total"] == 2
    assert found["fljob_server_folded_bytes_total"] == 4 * (9 + NUM_ITEMS * DIM) + 4 * (9 + 2 * DIM)


def test_a_repeated_scrape_counts_nothing_twice(metrics: ShardMetrics) -> None:
    first = read(metrics)["fljob_server_plain_bytes_total"]
    assert read(metrics)["fljob_server_plain_bytes_total"] == first > 0


def test_tables_held_have_their_rows_and_bytes(metrics: ShardMetrics) -> None:
    found = read(metrics)
    assert found['fljob_server_table_rows{table="items"}'] == NUM_ITEMS
    assert found['fljob_server_table_bytes{table="items"}'] == 4 * NUM_ITEMS * DIM


def test_a_shard_without_a_version_has_no_tables_and_exports_the_rest(tmp_path: Path) -> None:
    found = of(Shard(config(tmp_path)))
    assert not [name for name in found if name.startswith("fljob_server_table_")]
    assert found["fljob_server_folded_updates_total"] == 0


def test_rows_sent_are_counted_by_table(metrics: ShardMetrics) -> None:
    for count in (3, 4):
        metrics.sent(100, {"items": count})
    assert read(metrics)['fljob_server_sent_rows_total{table="items"}'] == 7
    assert (read(metrics)["fljob_server_sent_bytes_total"], metrics.bytes_of("sent")) == (200, 200)


def test_a_call_is_under_way_until_it_ends_and_is_timed(metrics: ShardMetrics) -> None:
    with metrics.calling("push"):
        assert read(metrics)['fljob_server_calls{call="push"}'] == 1
    assert read(metrics)['fljob_server_calls{call="push"}'] == 0
    assert read(metrics)["fljob_server_push_seconds_count"] == 1


def test_staleness_names_the_mode_and_what_is_left_out_is_counted(metrics: ShardMetrics) -> None:
    metrics.contributed(Answer(applied=1, staleness=3, dropped=False, values=()))
    metrics.contributed(Answer(applied=2, staleness=9, dropped=True, values=()))
    found = read(metrics)
    assert found['fljob_server_staleness_updates_sum{mode="Async"}'] == 12
    assert found["fljob_server_stale_dropped_total"] == 1


def test_a_commit_that_lacks_updates_is_no_new_version(metrics: ShardMetrics) -> None:
    metrics.committed(CommitResult(0, 4, "digest"))
    metrics.committed(CommitResult(0, 5, "", missing=("a",)))
    assert read(metrics)["fljob_server_version"] == 4


def test_a_checkpoint_has_its_age_time_size_and_kind(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    for round_ in (1, 2):
        save(shard, round_, push(shard, update(1.0, {3: 1.0}), round_, "a"))
    found = of(shard)
    assert shard.saver is not None
    assert shard.saver.last is not None
    assert found["fljob_server_checkpoint_timestamp_seconds"] == shard.saver.last.unix_time > 1.7e9
    assert found["fljob_server_checkpoint_bytes"] == shard.saver.last.num_bytes
    assert found["fljob_server_checkpoint_duration_seconds"] > 0
    kinds = [found[f'fljob_server_checkpoints_total{{kind="{kind}"}}'] for kind in ("full", "increment")]
    assert kinds == [1, 1]


def test_refusals_are_there_at_0_before_the_first(metrics: ShardMetrics) -> None:
    assert read(metrics)['fljob_server_rejected_total{reason="MalformedError"}'] == 0
    metrics.refused("MalformedError")
    assert read(metrics)['fljob_server_rejected_total{reason="MalformedError"}'] == 1


def test_tables_past_the_first_32_share_a_label() -> None:
    layout = ModelLayout(tuple(ParamSpec(f"table{i:02}", (4, 1), Kind.ROWS) for i in range(40)))
    summed = by_label(ShardModel(layout, 0, 1), {"table00": 1, "table31": 2, "table32": 3, "table39": 4})
    assert summed == {"table00": 1, "table31": 2, "other": 7}


def test_bytes_of_a_table_include_the_optimizers_state_of_it() -> None:
    layout = ModelLayout((ParamSpec("items", (4, 2), Kind.ROWS),))
    model = ShardModel(layout, 0, 1, slots=(0.0, 0.0))
    model.install(0, np.empty(0, np.float32), {"items": np.zeros((4, 2), np.float32)}, "digest")
    assert table_sizes(model) == ({"items": 4}, {"items": 3 * 4 * 4 * 2})


def test_rows_of_keyed_tables_are_counted_as_they_come_and_go_also_over_a_checkpoint(tmp_path: Path) -> None:
    layout = keyed.layout(admit_after=2, expire_after_rounds=1, max_rows=1)
    shard = keyed.begun(layout, tmp_path)
    first = [keyed.push(layout, shard, keyed.rows({3: 1.0, 4: 1.0}), 1, name) for name in "ab"]
    saved = save_named(shard, 1, named(*first))
    assert events(shard) == {"made": 1, "expired": 0, "unadmitted": 0, "refused": 2}
    keyed.commit(shard, 2, keyed.push(layout, shard, keyed.rows({5: 1.0}), 2, "a"), release=[1])
    shard.restore(1, [ShardFileName(saved.checkpoint, saved.checkpoint_digest)])
    keyed.commit(shard, 2, keyed.push(layout, shard, keyed.rows({5: 1.0}), 2, "a"))
    assert events(shard) == {"made": 1, "expired": 2, "unadmitted": 2, "refused": 2}


def events(shard: Shard) -> dict[str, float]:
    found = of(shard)
    name = 'fljob_server_keyed_rows_total{{event="{}",table="items"}}'
    return {event: found[name.format(event)] for event in ("made", "expired", "unadmitted", "refused")}
