"""What became of each key of a foreign configuration: the words that `fljob convert` prints beside the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Mapped:
    """One key: the fields of the FLJob that it became ("" where it has no effect), and why or how."""

    key: str
    value: str
    field: str
    note: str = ""

    def to_json(self) -> dict[str, str]:
        """Return it for `--output json`."""
        return asdict(self)


@dataclass(frozen=True)
class Converted:
    """A manifest, and what became of every key, in the order of the source."""

    manifest: dict[str, Any]
    keys: tuple[Mapped, ...]


def flat(value: Mapping[str, Any], prefix: str = "", depth: int = 8) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and their values; lists, and what lies deeper (YAML can hold itself), count as values."""
    for key, item in value.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(item, Mapping) and depth:
            yield from flat(item, path, depth - 1)
        else:
            yield path, item
