"""Times as Kubernetes writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from fljob_operator.times import seconds_since, stamp

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def test_a_stamp_is_in_utc_with_seconds() -> None:
    assert stamp(datetime(2026, 3, 1, 13, 30, 0, 999, tzinfo=timezone(timedelta(hours=1)))) == "2026-03-01T12:30:00Z"


def test_seconds_count_from_a_stamp() -> None:
    assert seconds_since("2026-03-01T11:58:30Z", NOW) == 90.0


def test_a_time_to_come_is_no_time_ago() -> None:
    assert seconds_since("2026-03-01T12:00:01Z", NOW) == 0.0


def test_no_stamp_is_no_time_ago() -> None:
    assert seconds_since(None, NOW) == 0.0
