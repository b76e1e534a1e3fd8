"""Metrics come from the table, and nothing else can be exported."""

from __future__ import annotations

import pytest

from fljob_api.metric_names import SERVER
from fljob_runtime.transport.metrics import Metrics

LABELS = {"namespace": "ml", "job": "movies", "shard": "0"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(SERVER, LABELS)


def test_a_gauge_shows_its_last_value(metrics: Metrics) -> None:
    metrics.set("fljob_server_version", 3)
    assert b'fljob_server_version{job="movies",namespace="ml",shard="0"} 3.0' in metrics.text()


def test_a_counter_adds_up(metrics: Metrics) -> None:
    metrics.add("fljob_server_received_bytes_total", 3)
    metrics.add("fljob_server_received_bytes_total", 4)
    assert b'fljob_server_received_bytes_total{job="movies",namespace="ml",shard="0"} 7.0' in metrics.text()


def test_a_counter_follows_a_total_that_is_counted_elsewhere(metrics: Metrics) -> None:
    for total in (3, 3, 7):
        metrics.total("fljob_server_folded_bytes_total", total)
    assert b'fljob_server_folded_bytes_total{job="movies",namespace="ml",shard="0"} 7.0' in metrics.text()


def test_totals_are_held_apart_by_their_labels(metrics: Metrics) -> None:
    for table, total in (("users", 2), ("items", 5), ("users", 3)):
        metrics.total("fljob_server_received_rows_total", total, table=table)
    assert b'shard="0",table="users"} 3.0' in metrics.text()
    assert b'shard="0",table="items"} 5.0' in metrics.text()


def test_a_label_that_few_families_have_is_given_to_these() -> None:
    text = Metrics(SERVER, {**LABELS, "mode": "Geo"}).text()
    assert b'fljob_server_staleness_updates_count{job="movies",mode="Geo",namespace="ml",shard="0"} 0.0' in text
    assert b'fljob_server_pull_seconds_count{job="movies",namespace="ml",shard="0"} 0.0' in text


def test_a_histogram_counts(metrics: Metrics) -> None:
    metrics.observe("fljob_server_push_seconds", 0.2)
    assert b'fljob_server_push_seconds_count{job="movies",namespace="ml",shard="0"} 1.0' in metrics.text()


def test_a_label_of_its_own_is_shown(metrics: Metrics) -> None:
    metrics.add("fljob_server_rejected_total", reason="BusyError")
    assert b'reason="BusyError",shard="0"} 1.0' in metrics.text()


def test_every_family_is_there_from_the_start_with_its_help(metrics: Metrics) -> None:
    text = metrics.text().decode()
    assert [row.name for row in SERVER if row.help not in text] == []


def test_a_name_that_is_not_in_the_table_is_an_error(metrics: Metrics) -> None:
    with pytest.raises(KeyError, match="fljob_made_up"):
        metrics.set("fljob_made_up", 1.0)
