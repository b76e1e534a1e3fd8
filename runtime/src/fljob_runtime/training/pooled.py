"""Pooled training: all sites' data in one place, the reference that federation is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fljob_runtime.data.examples import Examples, HeldOut, SiteData, epoch_rng, shuffled
from fljob_runtime.metrics.sums import Metrics
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.training.record import TrainProgress
from fljob_runtime.training.vocabulary import stretch


class PooledData(SiteData):
    """Several sites' data as one client's. tested: those whose held-out data are evaluated, by default the same."""

    def __init__(self, parts: Sequence[SiteData], tested: Sequence[SiteData] = ()) -> None:
        self.parts, self._tested = tuple(parts), tuple(tested or parts)
        self.schema = parts[0].schema
        other = next((part.schema for part in (*parts, *tested) if part.schema != self.schema), None)
        if other is not None:
            raise ValueError(f"the sites' data differ: {self.schema} and {other}; import them together")

    @property
    def num_samples(self) -> int:
        """Samples of all parts."""
        return sum(part.num_samples for part in self.parts)

    def epoch(self, rng: np.random.Generator) -> Examples:
        """Return all parts' examples, shuffled together."""
        return shuffled(Examples.joined([part.epoch(rng) for part in self.parts]), rng)

    def held_out(self) -> HeldOut:
        """Return the held-out examples, one part's after another's."""
        held = [part.held_out() for part in self._tested]
        groups = [part.groups for part in held if part.groups is not None]
        if len(groups) != len(held):
            return HeldOut(Examples.joined([part.examples for part in held]))
        offsets = np.cumsum([0, *(len(part.examples) for part in held)])
        starts = [g[:-1] + offset for g, offset in zip(groups, offsets, strict=False)]
        return HeldOut(Examples.joined([part.examples for part in held]), np.concatenate([*starts, offsets[-1:]]))


def train_pooled(
    trainer: LocalTrainer, num_epochs: int, on_progress: Callable[[TrainProgress], None] = lambda _: None
) -> Iterator[Metrics]:
    """Train on the pooled data, keeping the optimizer's state; yields the held-out metrics after each epoch."""
    plan = trainer.plan
    optimizer = plan.optimizer.make(trainer.model.parameters(), plan.learning_rate)
    for epoch in range(num_epochs):
        examples = trainer.keyed.mapped(trainer.data.epoch(epoch_rng(plan.seed, "pooled", epoch)))
        stretch(optimizer)
        trainer.fit(examples, optimizer, on_progress)
        yield trainer.evaluate().sums.compute()
