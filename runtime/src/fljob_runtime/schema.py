"""Which columns a dataset's examples have. Told by `data`, read by `models`, which know nothing of each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

PADDING = -1  # in a column of sequences: no id, behind the last one


class SchemaError(ValueError):
    """A model and a dataset do not fit; the message names the column."""


@dataclass(frozen=True)
class IdSequence:
    """A column of sequences of ids. num_ids: how many ids there are; longest: the entries of the longest sequence."""

    num_ids: int
    longest: int


@dataclass(frozen=True)
class Schema:
    """What a dataset's examples look like, the same at every site.

    ids: column of ids -> how many there are, which is the number of rows of a table that they address.
    features: column of numbers -> shape of one example's.
    any_ids: columns whose ids are any 64-bit numbers rather than 0 to n - 1, so that their tables need keys Any.
    sequences: column of which an example has several ids, in their order.
    num_classes: labels are 0 to num_classes - 1; 0 where there are none, as the sequences say what comes next.
    """

    ids: Mapping[str, int]
    features: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    any_ids: frozenset[str] = frozenset()
    sequences: Mapping[str, IdSequence] = field(default_factory=dict)
    num_classes: int = 2

    @property
    def numbers(self) -> tuple[str, ...]:
        """Return the columns of single numbers."""
        return tuple(name for name, shape in self.features.items() if shape == ())

    def num_ids(self, column: str) -> int:
        """Return how many ids a column has; raises SchemaError where there is no such column."""
        if column not in self.ids:
            raise self._missing("ids", column, self.ids)
        return self.ids[column]

    def feature_shape(self, column: str) -> tuple[int, ...]:
        """Return the shape of one example's features; raises SchemaError where there is no such column."""
        if column not in self.features:
            raise self._missing("features", column, self.features)
        return self.features[column]

    def sequence(self, column: str) -> IdSequence:
        """Return what a column of sequences is like; raises SchemaError where there is no such column."""
        if column not in self.sequences:
            raise self._missing("sequences", column, self.sequences)
        return self.sequences[column]

    @staticmethod
    def _missing(kind: str, column: str, there: Iterable[str]) -> SchemaError:
        return SchemaError(
            f"the model reads {kind} {column!r}, which the dataset does not have (it has "
            f"{', '.join(sorted(there)) or 'none'}); choose another spec.model or spec.dataset"
        )
