"""Which trainers take part in a round: pure functions of seed, round and candidates."""

from fljob_runtime.selection.selectors import All, Random, Selector

__all__ = ["All", "Random", "Selector"]
