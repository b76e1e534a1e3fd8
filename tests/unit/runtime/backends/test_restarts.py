from __future__ import annotations

import pytest

from fljob_runtime.backends.restarts import Restarts


def test_crashes_are_restarted_with_growing_delays_up_to_the_limit() -> None:
    restarts = Restarts(limit=3)
    assert [restarts.delay_s("a", 1) for _ in range(4)] == [0.1, 0.2, 0.4, None]


def test_each_process_has_its_own_count() -> None:
    restarts = Restarts(limit=1)
    assert [restarts.delay_s(name, 1) for name in ("a", "b")] == [0.1, 0.1]


@pytest.mark.parametrize("code", [10, 12, 14, 20, 22, 24])
def test_a_users_mistake_is_never_tried_again(code: int) -> None:
    assert Restarts(limit=3).delay_s("a", code) is None


def test_a_kill_is_tried_once_more() -> None:
    restarts = Restarts(limit=9)
    assert [restarts.delay_s("a", 137) for _ in range(2)] == [0.1, None]


def test_a_stop_does_not_count() -> None:
    restarts = Restarts(limit=0)
    assert [restarts.delay_s("a", 143) for _ in range(3)] == [0.1, 0.1, 0.1]


def test_the_reason_after_too_many_crashes_is_the_operators() -> None:
    restarts = Restarts(limit=0)
    restarts.delay_s("server-0", 139)
    assert restarts.why_not("server-0", 139) == ("BackoffLimitExceeded: server-0 ended 1 times, the last time with 139")


def test_the_reason_of_a_single_code_is_its_meaning() -> None:
    assert Restarts(limit=3).why_not("trainer-a", 12) == "BadData: trainer-a ended with 12"
