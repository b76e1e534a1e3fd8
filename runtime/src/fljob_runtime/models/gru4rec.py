"""GRU4Rec (Hidasi et al. 2016, https://arxiv.org/abs/1511.06939): what comes next in a session, by a recurrent network.

The batch's sessions run side by side: a step takes the next item of each that still goes on, and a session that ended
takes no part. The losses over a sample of items are those of Hidasi and Karatzoglou (CIKM 2018,
https://arxiv.org/abs/1706.03847). Evaluation ranks all items.

B batch, T items of the longest session, E places that have a next item, H width of the state, V items, C candidates.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, logsigmoid
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from fljob_runtime.models.base import Batch
from fljob_runtime.models.layers import DropoutRate, dropped, embedding
from fljob_runtime.models.sequences import SequenceModel
from fljob_runtime.models.tasks import NextItem
from fljob_runtime.registry import ParametersModel, RegistryKind, register
from fljob_runtime.schema import PADDING, Schema

INITIAL_STD = 0.05
_SURE = 1.0 - 1e-9  # the greatest probability whose complement has a logarithm


class Loss(StrEnum):
    """What is trained: the softmax over all items, or one of three losses over candidates."""

    CROSS_ENTROPY = "CrossEntropy"
    SAMPLED_CROSS_ENTROPY = "SampledCrossEntropy"
    BPR_MAX = "BprMax"
    TOP1_MAX = "Top1Max"


class Gru4RecParameters(ParametersModel):
    """Parameters of `gru4rec`. The last four are for losses over candidates.

    Candidates are all next items of the batch, and numSamples that are drawn in proportion to popularity^alpha, the
    popularity of an item being how often it is in all the training data of the site.
    """

    embedding_dim: int = Field(100, ge=1, le=4096)
    hidden: int = Field(100, ge=1, le=4096, description="Width of the state.")
    num_layers: int = Field(1, ge=1, le=8)
    tied: bool = Field(False, description="Whether items are scored by their embeddings, which are then dense.")
    dropout: DropoutRate = Field(0.0, description="Share of each layer's states that a training batch leaves out.")
    loss: Loss = Loss.CROSS_ENTROPY
    num_samples: int = Field(2048, ge=0, le=1_000_000)
    alpha: float = Field(0.75, ge=0.0, le=1.0)
    logq: float = Field(1.0, ge=0.0, le=1.0, description="How far SampledCrossEntropy allows for the draw.")
    regularization: float = Field(1.0, ge=0.0, description="Of BprMax: weight of the candidates' squared scores.")

    @model_validator(mode="after")
    def _fits(self) -> Gru4RecParameters:
        if self.tied and self.embedding_dim != self.hidden:
            raise ValueError(f"tied needs embeddingDim {self.embedding_dim} and hidden {self.hidden} to be equal")
        return self


@register(RegistryKind.MODEL, "gru4rec", Gru4RecParameters)
class Gru4Rec(SequenceModel):
    """Item embeddings, layers of gated recurrent units, a product with a vector of each item."""

    TABLES: ClassVar = {"embedding.weight": SequenceModel.COLUMN}
    by_row = True  # where it is tied, it is no table

    def __init__(self, parameters: Gru4RecParameters, schema: Schema, generator: torch.Generator) -> None:
        super().__init__(schema)
        p = self._p = parameters
        self.task = NextItem(sampled=p.loss is not Loss.CROSS_ENTROPY)
        self.embedding = embedding(self.num_items, p.embedding_dim, generator, INITIAL_STD)
        between = p.dropout if p.num_layers > 1 else 0.0  # behind the last layer it is here
        gru = nn.GRU(p.embedding_dim, p.hidden, p.num_layers, batch_first=True, dropout=between, device="meta")
        self.gru = gru.to_empty(device="cpu")
        for value in self.gru.parameters():
            nn.init.uniform_(value, -1.0 / math.sqrt(p.hidden), 1.0 / math.sqrt(p.hidden), generator=generator)
        if not p.tied:
            self.output = nn.Parameter(torch.empty(self.num_items, p.hidden))  # [V, H]
            nn.init.normal_(self.output, 0.0, INITIAL_STD, generator=generator)
        self.bias = nn.Parameter(torch.zeros(self.num_items))
        self._count(np.ones(self.num_items))

    def tables(self) -> dict[str, str]:
        """Return the embeddings; none if they score all items, too, so that every row moves in every step."""
        return {} if self._p.tied else super().tables()

    def states(self, items: Tensor) -> Tensor:
        """Return the state after each item: [B, T] -> [B, T, H]."""
        return dropped(self.gru(self.embedding(items))[0], self._p.dropout, training=self.training)

    def known(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states before each next item and those items, [B, T] -> [E, H], [E]: all first ones, all second …

        No state is made for padding.
        """
        before, after = items[:, :-1], items[:, 1:]
        lengths = (after != PADDING).sum(1)
        if not bool((lengths > 0).all()):
            before, after, lengths = before[lengths > 0], after[lengths > 0], lengths[lengths > 0]
        if len(lengths) == 0:
            return self.bias.new_empty(0, self._p.hidden), items.new_empty(0)
        taken, wanted = (
            pack_padded_sequence(part, lengths.cpu(), batch_first=True, enforce_sorted=False)
            for part in (before, after)
        )
        inputs = PackedSequence(
            self.embedding(taken.data), taken.batch_sizes, taken.sorted_indices, taken.unsorted_indices
        )
        return dropped(self.gru(inputs)[0].data, self._p.dropout, training=self.training), wanted.data

    def scores(self, states: Tensor) -> Tensor:
        """Return the score of each item as the next one: [E, H] -> [E, V]."""
        return linear(states, self._vectors, self.bias)

    def prepare(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Count the items of the site: negatives are drawn by it."""
        items = columns[self.COLUMN]
        self._count(np.bincount(items[items != PADDING], minlength=self.num_items).astype(np.float64))

    def loss(self, batch: Batch, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean loss, and the scores it is of: of all items [E, V], or of the candidates [E, C]."""
        if self._p.loss is Loss.CROSS_ENTROPY:
            return super().loss(batch, labels)
        states, targets = self.known(batch[self.COLUMN])
        if not len(targets):
            return super().loss(batch, labels)
        candidates, expected = self._candidates(batch[self.COLUMN], targets)
        places = torch.searchsorted(candidates, targets)  # [E]
        scores = linear(states, self._vectors[candidates], self.bias[candidates]).float()  # [E, C]
        if self._p.loss is Loss.SAMPLED_CROSS_ENTROPY:
            scores = scores - self._p.logq * expected.log()
            return cross_entropy(scores, places), scores, places
        pairwise = bpr_max if self._p.loss is Loss.BPR_MAX else top1_max
        return pairwise(scores, places, self._p.regularization), scores, places

    @property
    def _vectors(self) -> Tensor:
        return self.embedding.weight if self._p.tied else self.output

    def _candidates(self, items: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the items to score, ascending, and with which probability each is among them: [C], float32 [C].

        Drawn by a generator that follows from the batch, so that a batch that is trained again has the same.
        """
        rng = np.random.Generator(np.random.Philox(zlib.crc32(items.cpu().numpy().tobytes())))
        drawn = np.searchsorted(self._up_to, rng.random(self._p.num_samples), side="right")
        chosen = np.unique(np.concatenate([targets.cpu().numpy(), drawn.clip(max=self.num_items - 1)]))
        missed = len(targets) * np.log1p(-self._shares[chosen].clip(max=_SURE))
        missed += self._p.num_samples * np.log1p(-self._drawn[chosen].clip(max=_SURE))
        among = np.maximum(-np.expm1(missed), 1.0 - _SURE).astype(np.float32)
        return torch.from_numpy(chosen).to(items.device), torch.from_numpy(among).to(items.device)

    def _count(self, counts: NDArray[np.float64]) -> None:
        """Keep of items [V] their shares of what comes next, and the probabilities by which negatives are drawn."""
        raised = np.where(counts > 0, counts**self._p.alpha, 0.0)
        self._shares, self._drawn = counts / max(counts.sum(), 1.0), raised / max(raised.sum(), 1.0)
        self._up_to = self._drawn.cumsum()


def bpr_max(scores: Tensor, places: Tensor, regularization: float) -> Tensor:
    """Return the mean of -log Σ s_j σ(r_i - r_j) + λ Σ s_j r_j², s the softmax of the others: [E, C], [E] -> scalar.

    0 of one candidate, as there are no others.
    """
    if scores.shape[1] < 2:
        return scores.sum() * 0.0
    own, log_weights = _against(scores, places)
    likelihood = torch.logsumexp(log_weights + logsigmoid(own - scores), 1)
    penalty = (log_weights.exp() * scores**2).sum(1)
    return (regularization * penalty - likelihood).mean()


def top1_max(scores: Tensor, places: Tensor, regularization: float) -> Tensor:  # noqa: ARG001 - it has its own
    """Return the mean of Σ s_j (σ(r_j - r_i) + σ(r_j²)), s the softmax of the others: [E, C], [E] -> scalar.

    0 of one candidate, as there are no others.
    """
    if scores.shape[1] < 2:
        return scores.sum() * 0.0
    own, log_weights = _against(scores, places)
    return (log_weights.exp() * (torch.sigmoid(scores - own) + torch.sigmoid(scores**2))).sum(1).mean()


def _against(scores: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scores of the right candidates [E, 1] and the logarithms of the others' softmax [E, C]."""
    own = scores.gather(1, places[:, None])
    others = scores.scatter(1, places[:, None], -math.inf)
    return own, torch.log_softmax(others, 1)
