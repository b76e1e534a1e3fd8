"""Selectors: which of the candidates make the cohort of a round.

Called by the round machine. A cohort depends on seed, round, candidates and size alone, so a restarted
coordinator, which reads the candidates of a round from its journal, draws the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from fljob_runtime.registry import NoParameters, RegistryKind, register


class Selector(Protocol):
    """Draws cohorts; made once per process from spec.participation.selector."""

    def select(self, seed: int, round_number: int, candidates: Sequence[str], size: int) -> tuple[str, ...]:
        """Return the cohort, sorted by name: at most `size` of the candidates unless the selector says otherwise."""


@register(RegistryKind.SELECTOR, "Random", NoParameters)
class Random:
    """Draws without replacement, each subset equally likely (the cohorts of McMahan et al. 2017).

    Each candidate gets a key, sha256 of (seed, round, name), and the smallest keys win: a candidate that comes
    or goes changes no other candidate's key, hence at most one place of the cohort.
    """

    def __init__(self, _parameters: NoParameters) -> None:
        pass

    def select(self, seed: int, round_number: int, candidates: Sequence[str], size: int) -> tuple[str, ...]:
        """Return `size` of the candidates, or all if there are fewer."""

        def key(name: str) -> bytes:
            return hashlib.sha256(f"cohort\0{seed}\0{round_number}\0{name}".encode()).digest()

        return tuple(sorted(sorted(candidates, key=key)[:size]))


@register(RegistryKind.SELECTOR, "All", NoParameters)
class All:
    """Takes every candidate, whatever the size asked for."""

    def __init__(self, _parameters: NoParameters) -> None:
        pass

    def select(self, seed: int, round_number: int, candidates: Sequence[str], size: int) -> tuple[str, ...]:  # noqa: ARG002 - the protocol
        """Return all candidates."""
        return tuple(sorted(candidates))
