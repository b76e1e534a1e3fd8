"""One fault of a manifest, in the words that `fljob validate`, the operator and the tests share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Where (`spec.trainers[1].data`), what is wrong, and what was perhaps meant (may be empty)."""

    path: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        meant = f" Did you mean `{self.suggestion}`?" if self.suggestion else ""
        return f"{where}{self.message}{meant}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that `word` was perhaps meant to be, or nothing."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def child(path: str, key: str | int) -> str:
    """Return the path of one field, map entry or list item under `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key
