"""The table of exit codes is complete and says what to do."""

from __future__ import annotations

import pytest

from fljob_api.exit_codes import MEANINGS, ExitCode, Retry, meaning


def test_every_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize("code", ExitCode, ids=lambda code: code.name)
def test_every_meaning_has_a_reason_of_a_condition_and_a_help(code: ExitCode) -> None:
    found = meaning(code)

    assert found.reason.isalpha()
    assert found.help.endswith(".")


@pytest.mark.parametrize("code", [10, 11, 12, 13, 14, 20, 21, 22, 23, 24])
def test_a_mistake_and_an_end_are_never_tried_again(code: int) -> None:
    assert meaning(code).retry is Retry.NEVER


def test_a_crash_is_counted() -> None:
    assert meaning(1).retry is Retry.COUNTED


def test_out_of_memory_is_tried_once_more() -> None:
    assert meaning(137).retry is Retry.ONCE


def test_a_stop_is_free() -> None:
    assert meaning(143).retry is Retry.FREE


def test_a_code_that_nobody_stated_is_a_crash() -> None:
    assert (meaning(99).reason, meaning(99).retry) == ("Crashed", Retry.COUNTED)
