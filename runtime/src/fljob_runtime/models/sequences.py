"""What models of sequences have in common: after each item of a sequence, a score for every item that may come next.

B batch, T items of the longest sequence, E places that have a next item, D width of a state, V items.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from fljob_runtime.models.base import Batch, RecommenderModel
from fljob_runtime.models.tasks import NextItem, Task
from fljob_runtime.schema import PADDING, Schema, SchemaError

_EVALUATED_SCORES = 1 << 24  # of one batch of an evaluation: 64 MiB


class SequenceModel(RecommenderModel):
    """A model of the dataset's one column of sequences, which its tables' TABLES name, too."""

    COLUMN = "items"
    task: Task = NextItem()

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        if self.COLUMN in schema.any_ids:
            raise SchemaError(f"{self.COLUMN!r} are any 64-bit numbers; a score for every item needs ids 0 to n - 1")
        self.num_items, self.longest = schema.sequence(self.COLUMN).num_ids, schema.sequence(self.COLUMN).longest
        self.evaluation_batch = max(1, _EVALUATED_SCORES // (self.num_items * self.longest))

    @abstractmethod
    def states(self, items: Tensor) -> Tensor:
        """Return what is known after each item: [B, T] ids, 0 where there is none -> [B, T, D].

        What is behind a place may not change its state.
        """

    @abstractmethod
    def scores(self, states: Tensor) -> Tensor:
        """Return the score of each item as the next one: [E, D] -> [E, V]."""

    def predict(self, batch: Batch, labels: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - items are the targets
        """Return scores [E, V] and the items that came next [E]: of all places of all sequences but the last ones."""
        states, targets = self.known(batch[self.COLUMN])
        return self.scores(states), targets

    def known(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states before each next item and those items: [B, T] -> [E, D], [E]."""
        before, after = items[:, :-1], items[:, 1:]
        there = after != PADDING
        return self.states(before.clamp(min=0))[there], after[there]
