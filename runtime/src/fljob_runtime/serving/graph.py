"""A model's graph for serving: columns in the order of its feeds -> one output. B examples, C classes, V items.

Used by `exported`. The output of a click is its probability [B], of classes theirs [B, C], and of a next item the score
of every item [B, V] after the last one of the sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn

from fljob_runtime.models.base import RecommenderModel
from fljob_runtime.models.sequences import SequenceModel
from fljob_runtime.models.tasks import Clicks, NextItem
from fljob_runtime.parameters import Int64Array
from fljob_runtime.schema import PADDING, Schema, SchemaError
from fljob_runtime.serving.feeds import Feed
from fljob_runtime.serving.rows import RowMap

_EXAMPLES = 2  # of the example batch: one would be taken for a constant


class ServingGraph(nn.Module):
    """A model of which only the columns that it reads go in; what it derives of them is a part of the graph."""

    def __init__(
        self, model: RecommenderModel, schema: Schema, ids: Mapping[str, Int64Array] = MappingProxyType({})
    ) -> None:
        """Take a model, and of columns of any ids those that have rows (`rows.with_rows`).

        Raises SchemaError for a model of next items that is no SequenceModel, or that derives ids in numpy's own ways.
        """
        super().__init__()
        if isinstance(model.task, NextItem) and not isinstance(model, SequenceModel):
            raise SchemaError(f"{type(model).__name__}: a model of the next item must derive from SequenceModel")
        self.model = model.eval()
        self._mapped = tuple(ids)
        self.maps = nn.ModuleList(RowMap(known) for known in ids.values())
        every = [_any(feed) if feed.name in schema.any_ids | ids.keys() else feed for feed in feeds_of(schema)]
        reads = _Reads({feed.name: value for feed, value in zip(every, examples(every), strict=True)})
        with torch.inference_mode():
            self._outputs(reads)
        self.feeds = tuple(feed for feed in every if feed.name in reads.names)

    @property
    def target(self) -> str:
        """Return the output's name."""
        if isinstance(self.model.task, Clicks):
            return "probability"
        return "scores" if isinstance(self.model.task, NextItem) else "probabilities"

    def forward(self, *columns: Tensor) -> Tensor:
        """Return the output of columns [B, ...] in the order of `feeds`."""
        return self._outputs({feed.name: column for feed, column in zip(self.feeds, columns, strict=True)})

    def _outputs(self, columns: Mapping[str, Tensor]) -> Tensor:
        model = self.model
        batch = _Batch(columns, self._derived(columns), dict(zip(self._mapped, self.maps, strict=True)))
        if isinstance(model, SequenceModel):
            items = batch[model.COLUMN]
            states = model.states(items.clamp(min=0))  # [B, T, D]
            last = ((items != PADDING).sum(1) - 1).clamp(min=0)  # [B]
            index = last[:, None, None].expand(-1, 1, states.shape[2])
            return model.scores(states.gather(1, index)[:, 0])
        labels = torch.zeros(0)  # which nothing but a loss reads
        outputs, _ = model.predict(batch, labels)
        return torch.sigmoid(outputs) if isinstance(model.task, Clicks) else torch.softmax(outputs, 1)

    def _derived(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the columns that the model makes of the data's."""
        try:
            derived = dict(cast(Any, self.model).derived(columns))
            wrong = [name for name, column in derived.items() if not isinstance(column, Tensor)]
        except (AttributeError, TypeError, RuntimeError) as error:
            wrong = [str(error)]
        if wrong:
            raise SchemaError(
                f"{type(self.model).__name__}.derived cannot be a part of a graph ({wrong[0]}): write it with "
                "operators that numpy's arrays and torch's tensors share, such as //, %, * and =="
            )
        return derived


class _Batch(Mapping[str, Tensor]):
    """What a model reads: the data's columns and derived ones, those of any ids as rows; each is made once."""

    def __init__(
        self, columns: Mapping[str, Tensor], derived: Mapping[str, Tensor], maps: Mapping[str, nn.Module]
    ) -> None:
        self._columns, self._derived, self._maps = columns, derived, maps
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._made:
            value = self._derived[name] if name in self._derived else self._columns[name]
            self._made[name] = self._maps[name](value) if name in self._maps else value
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self._columns), **dict.fromkeys(self._derived)})

    def __len__(self) -> int:
        return len(list(iter(self)))


class _Reads(Mapping[str, Tensor]):
    """A batch that remembers which of its columns were read."""

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self._columns = columns
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.names.add(name)
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def feeds_of(schema: Schema) -> list[Feed]:
    """Return all columns of a dataset as feeds, in order of their names."""
    ids = [Feed(name, (), count) for name, count in schema.ids.items()]
    numbers = [Feed(name, shape) for name, shape in schema.features.items()]
    sequences = [Feed(name, (s.longest,), s.num_ids, sequence=True) for name, s in schema.sequences.items()]
    return sorted([*ids, *numbers, *sequences], key=lambda feed: feed.name)


def _any(feed: Feed) -> Feed:
    return replace(feed, num_ids=0, any_ids=True)


def examples(feeds: list[Feed] | tuple[Feed, ...]) -> tuple[Tensor, ...]:
    """Return a batch of zeros."""
    return tuple(torch.zeros(_EXAMPLES, *feed.shape, dtype=getattr(torch, feed.dtype)) for feed in feeds)
