"""Training in one place: all sites' data pooled, the reference that federation is compared with, or one site's alone.

Called by the command line. How it is saved and gone on with is `pooled_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch import Tensor

from fljob_runtime.data.examples import Examples, HeldOut, SiteData, epoch_rng, shuffled
from fljob_runtime.metrics.sums import Metrics
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.training.record import TrainProgress, silent
from fljob_runtime.training.vocabulary import stretch


def unwatched(_: Tensor) -> None:
    """Look at no mini-batch."""


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


class PooledTraining:
    """One model trained by one optimizer, epoch after epoch, in mini-batches between which it may stop.

    epoch: whole ones done; batch: mini-batches done of the next. What its examples are follows from (seed, client,
    epoch), so that these two, the model's values, the optimizer's state and torch's generator are all there is of it.
    """

    def __init__(self, trainer: LocalTrainer, epochs_per_round: int = 1) -> None:
        """Begin with the trainer's present values. epochs_per_round: for the learning rate, which goes by rounds."""
        self.trainer = trainer
        self.optimizer = trainer.plan.optimizer.make(trainer.model.parameters(), trainer.plan.learning_rate)
        self.epoch = self.batch = 0
        self._epochs_per_round = epochs_per_round

    def run_epoch(
        self,
        on_progress: Callable[[TrainProgress], None] = silent,
        stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[Tensor], None] = unwatched,
    ) -> bool:
        """Train to the end of an epoch; return whether it got there before `stop` said so. Raises DivergedError.

        on_step: told the loss after each mini-batch, when its gradients are still there.
        """
        trainer, plan = self.trainer, self.trainer.plan
        examples = trainer.keyed.mapped(trainer.data.epoch(epoch_rng(plan.seed, plan.client, self.epoch)))
        stretch(self.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate(self.epoch // self._epochs_per_round + 1)
        record = trainer.record(self.epoch + 1, len(examples), on_progress)
        record.skip(self.batch * plan.batch_size)
        trainer.model.train()
        trainer.prepare()
        with plan.compute.placed(trainer.model, self.optimizer):
            for batch, labels in trainer.batches(examples, plan.batch_size, self.batch * plan.batch_size):
                if stop():
                    return False
                loss = trainer.backward(batch, labels, record)
                self.optimizer.step()
                self.batch += 1
                on_step(loss)
        record.sums()
        self.epoch, self.batch = self.epoch + 1, 0
        return True


def train_pooled(trainer: LocalTrainer, num_epochs: int, epochs_per_round: int = 1) -> Iterator[Metrics]:
    """Train on the pooled data, keeping the optimizer's state; yields the held-out metrics after each epoch."""
    training = PooledTraining(trainer, epochs_per_round)
    while training.epoch < num_epochs:
        training.run_epoch()
        yield trainer.evaluate().sums.compute()
