"""Selectors: functions (seed, round, candidates, size) -> cohort, by name in one table.

Called by the round machine. A cohort depends on its arguments alone, so a restarted coordinator, which reads
the candidates of a round from its journal, draws the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

Selector = Callable[[int, int, Sequence[str], int], tuple[str, ...]]


class UnknownSelectorError(ValueError):
    """No selector of that name."""


def select_random(seed: int, round_number: int, candidates: Sequence[str], size: int) -> tuple[str, ...]:
    """Draw `size` candidates without replacement, each subset equally likely; sorted by name.

    Each candidate gets a key, sha256 of (seed, round, name), and the smallest keys win: a candidate that
    comes or goes changes no other candidate's key, hence at most one place of the cohort.
    """

    def key(name: str) -> bytes:
        return hashlib.sha256(f"cohort\0{seed}\0{round_number}\0{name}".encode()).digest()

    return tuple(sorted(sorted(candidates, key=key)[:size]))


def select_all(seed: int, round_number: int, candidates: Sequence[str], size: int) -> tuple[str, ...]:  # noqa: ARG001 - a selector's signature
    """Take every candidate, whatever `size` says; sorted by name."""
    return tuple(sorted(candidates))


SELECTORS: dict[str, Selector] = {"Random": select_random, "All": select_all}


def selector(name: str) -> Selector:
    """Return the selector of that name; raises UnknownSelectorError with the names that exist."""
    try:
        return SELECTORS[name]
    except KeyError:
        known = ", ".join(sorted(SELECTORS))
        raise UnknownSelectorError(
            f"spec.participation.selector.name: {name!r} is unknown; choose one of {known}"
        ) from None
