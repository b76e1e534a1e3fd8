"""Kubernetes quantities (`512Mi`, `1.5G`, `128974848`) as numbers. Called by `jobs`; validation has seen the form."""

from __future__ import annotations

from decimal import Decimal

_SCALES = {"m": Decimal(1) / 1000}
_SCALES |= {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTP", start=1)}
_SCALES |= {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTP", start=1)}


def num_bytes(quantity: str | int) -> int:
    """Return the bytes of a quantity of memory, rounded down."""
    text = str(quantity)
    number = text.rstrip("mkKMGTPi")
    return int(Decimal(number) * _SCALES.get(text[len(number) :], Decimal(1)))
