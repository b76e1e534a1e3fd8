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
