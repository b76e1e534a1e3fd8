"""What became of each key of a foreign configuration: the words that `fljob convert` prints beside the manifest.

Used by the converters. Nothing here reads files or runs what it reads.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any

from fljob_api.problems import Problem, nearest

MOST_KEYS = 1000
MOST_TRAINERS = 128
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict, _SHORT.maxstring = 3, 32, 32, 8, 200


@dataclass(frozen=True)
class Said:
    """What became of a key: the fields of the FLJob ("" for none), why or how, and whether an effect is lost."""

    field: str = ""
    note: str = ""
    lost: bool = False


def to(field: str, note: str = "") -> Said:
    """Say that a key became a field."""
    return Said(field, note)


def nothing(note: str) -> Said:
    """Say that a key needs no counterpart, and why."""
    return Said("", note)


def lost(note: str) -> Said:
    """Say that a key does something there and nothing here."""
    return Said("", note, lost=True)


@dataclass(frozen=True)
class Mapped:
    """One key: the fields of the FLJob that it became ("" where it has no effect), and why or how.

    `lost`: it has an effect there, and none here; `--strict` refuses that.
    """

    key: str
    value: str
    field: str
    note: str = ""
    lost: bool = False

    def to_json(self) -> dict[str, str | bool]:
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
        if isinstance(item, Mapping) and item and depth:
            yield from flat(item, path, depth - 1)
        else:
            yield path, item


def shown(value: object) -> str:
    """Return a value in a few words, whatever it is."""
    try:
        return value[:200] if isinstance(value, str) else _SHORT.repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a very large number"


def decimal(value: object) -> Decimal | None:
    """Return a number that is written as one, also in quotes (YAML 1.1 takes 1e-05 for text); else nothing.

    Numbers of more than twenty digits before or behind the point are nothing that a rate could be.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        number = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return None
    if not number.is_finite() or abs(number.adjusted()) > 20 or len(number.as_tuple().digits) > 20:
        return None
    return number


def plain(number: Decimal) -> str:
    """Return a number as a manifest has it: without exponent."""
    return format(number.normalize(), "f")


@dataclass(frozen=True)
class Kind:
    """What a key's value must be: in words, and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**53


def _is_list(value: object, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0 and all(map(holds, value))


COUNT = Kind("a whole number above 0", lambda v: _whole(v, 1))
LIMIT = Kind("a whole number; -1 for none", lambda v: v == -1 or _whole(v, 1))
WHOLE = Kind("a whole number from 0", lambda v: _whole(v, 0))
RATE = Kind("a number above 0", lambda v: (n := decimal(v)) is not None and n > 0)
NUMBER = Kind("a number", lambda v: decimal(v) is not None)
LEAST_0 = Kind("a number from 0", lambda v: (n := decimal(v)) is not None and n >= 0)
SHARE = Kind("a number from 0 to below 1", lambda v: (n := decimal(v)) is not None and 0 <= n < 1)
SHARES = Kind("a list of numbers from 0 to below 1", lambda v: _is_list(v, SHARE.holds))
FLAG = Kind("True or False", lambda v: isinstance(v, bool))
TEXT = Kind("text", lambda v: isinstance(v, str))
PLACE = Kind("text or a number", lambda v: isinstance(v, str) or _whole(v, 0))
COUNTS = Kind("a list of whole numbers from 0", lambda v: _is_list(v, lambda n: _whole(n, 0)))
WIDTHS = Kind("a list of whole numbers above 0", lambda v: _is_list(v, lambda n: _whole(n, 1)))
NUMBERS = Kind("a list of numbers", lambda v: _is_list(v, lambda n: decimal(n) is not None))
TEXTS = Kind("a list of names", lambda v: _is_list(v, lambda n: isinstance(n, str)))


class Source:
    """A configuration's keys that are known and of the right kind; all others are problems.

    `kinds`: of each known key; a last part `*` stands for any name.
    """

    def __init__(self, config: Mapping[str, Any], kinds: Mapping[str, Kind], *, what: str) -> None:
        self.problems: list[Problem] = []
        self.written: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        for key, value in islice(flat(config), MOST_KEYS + 1):
            self.written[key] = value
            known = key if key in kinds else f"{key.rpartition('.')[0]}.*"
            if value is None or value == {}:
                if not any(name == key or name.startswith(f"{key}.") for name in kinds):
                    self._unknown(key, kinds, what)
            elif known not in kinds:
                self._unknown(key, kinds, what)
            elif not kinds[known].holds(value):
                self.problems.append(Problem(key, f"must be {kinds[known].words}, not {shown(value)!r}"))
            else:
                self._values[key] = value
        if len(self.written) > MOST_KEYS:
            self.problems = [Problem("", f"more than {MOST_KEYS} keys")]

    def _unknown(self, key: str, kinds: Mapping[str, Kind], what: str) -> None:
        meant = nearest(key, (name for name in kinds if not name.endswith("*")))
        self.problems.append(Problem(key, f"not a key of {what} that is known here", meant))

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - what YAML holds
        """Return a key's value, which is of its kind; the default where there is none."""
        return self._values.get(key, default)

    def under(self, section: str) -> dict[str, Any]:
        """Return the keys under a section that are set, without its name."""
        head = f"{section}."
        return {key.removeprefix(head): value for key, value in self._values.items() if key.startswith(head)}

    def choose(self, key: str, choices: Mapping[str, str], default: str) -> str:
        """Return what a key's value is called here; a value that is not known is a problem."""
        value = self.get(key, default)
        if value not in choices:
            known = ", ".join(choices)
            self.refuse(key, f"unknown value {value!r}; known: {known}", nearest(value, choices))
            return choices[default]
        return choices[value]

    def refuse(self, key: str, message: str, suggestion: str = "") -> None:
        """Note that a key's value can be given no meaning."""
        self.problems.append(Problem(key, message, suggestion))


def trainers(name: str, count: int) -> list[dict[str, Any]]:
    """Return so many sites, each with a claim of its own."""
    return [
        {"name": f"site-{n}", "data": {"persistentVolumeClaim": {"claimName": f"{name}-data-{n}"}}}
        for n in range(count)
    ]


def fljob(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest."""
    return {"apiVersion": "fljob.dev/v1alpha1", "kind": "FLJob", "metadata": {"name": name}, "spec": dict(spec)}
