"""Quantities of memory as bytes."""

from __future__ import annotations

import pytest

from fljob_operator.desired.quantities import num_bytes


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (4096, 4096),
        ("4096", 4096),
        ("2500m", 2),
        ("1k", 1000),
        ("1.5M", 1_500_000),
        ("2G", 2_000_000_000),
        ("1T", 10**12),
        ("1P", 10**15),
        ("1Ki", 1024),
        ("512Mi", 536_870_912),
        ("1.5Gi", 1_610_612_736),
        ("1Ti", 1 << 40),
        ("1Pi", 1 << 50),
    ],
)
def test_a_quantity_is_so_many_bytes(quantity: str | int, expected: int) -> None:
    assert num_bytes(quantity) == expected
