"""What StepSync, Async and Geo share: values that change while trainers train. Pure numpy.

Used by the server's `live` round, which decides whose contribution is applied when; a rule says what it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fljob_runtime.parameters import Float32Array, RowSet


@dataclass
class LiveState:
    """One shard's part of the shared parameters, changed in place.

    dense: float32 [K]; tables: name -> float32 [N, D]. The slots are the server optimizer's state, arrays of the same
    shapes; none where it has no state. Of a keyed table N are the rows that the round has touched so far.
    """

    dense: Float32Array
    tables: dict[str, Float32Array]
    dense_slots: Sequence[Float32Array] = ()
    table_slots: dict[str, Sequence[Float32Array]] | None = None

    def slots_of(self, table: str) -> Sequence[Float32Array]:
        """Return the optimizer's state of a table."""
        return self.table_slots[table] if self.table_slots else ()


@dataclass(frozen=True)
class Contribution:
    """What one trainer sends at a time: gradients (StepSync, Async) or changes of its replica (Geo).

    dense: float32 [K]; rows: name -> positions in this shard's part, float32 [n, D], and how many samples trained each.
    num_samples: of this contribution; share: the trainer's part of all samples of the round, in (0, 1].
    """

    dense: Float32Array
    rows: Mapping[str, RowSet]
    num_samples: int
    share: float


class ExchangeRule(Protocol):
    """How contributions change the state."""

    @property
    def lockstep(self) -> bool:
        """Return whether one contribution of every trainer is applied at a time."""

    def apply(self, state: LiveState, contributions: Sequence[Contribution]) -> None:
        """Change the state in place; contributions come in the order of the trainers' names."""
