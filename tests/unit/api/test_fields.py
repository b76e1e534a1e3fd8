"""Scalars with bounds."""

from __future__ import annotations

import re

import pytest

from fljob_api.fields import DECIMAL, LABEL_KEY, LABEL_VALUE, QUANTITY, SUB_PATH, IntOrString

PERCENTAGE = IntOrString(pattern=r"^[1-9][0-9]?%$", max_length=3, minimum=1)


@pytest.mark.parametrize("value", [1, 128, "5%", "99%"])
def test_an_int_or_string_within_its_bounds_passes_unchanged(value: str | int) -> None:
    assert PERCENTAGE.check(value) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "must be an integer or a string; quote it: 'true'"),
        (0.5, "must be an integer or a string; quote it: '0.5'"),
        (None, "must be an integer or a string"),
        (0, "must be at least 1"),
        ("1000%", "at most 3 characters"),
        ("5", "does not match"),
    ],
)
def test_an_int_or_string_out_of_its_bounds_is_refused(value: object, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        PERCENTAGE.check(value)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (DECIMAL, ["1", "0.001", "1e-3", "2.5E+4"], ["", ".5", "-1", "1.", "0x1", "1e", "inf", "nan"]),
        (QUANTITY, ["1", "500m", "1.5Gi", "2G"], ["", "-1", "1gi", "Gi", "1 Gi"]),
        (LABEL_KEY, ["a", "a.b/c", "A_b-c.d"], ["", "/a", "a/", "a b", "-a", "A/b"]),
        (LABEL_VALUE, ["", "a", "a-b_c.d"], ["-a", "a-", "a b"]),
        (SUB_PATH, ["a", "a/b", "a/b.c"], ["", "/a", "../a", "a/../b", "a/..", "./a", "a//b", "a/", "a:b"]),
    ],
    ids=["decimal", "quantity", "label key", "label value", "sub path"],
)
def test_patterns_tell_good_from_bad(pattern: str, good: list[str], bad: list[str]) -> None:
    assert [text for text in (*good, *bad) if re.search(pattern, text)] == good
