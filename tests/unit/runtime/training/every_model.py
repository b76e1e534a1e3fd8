"""A small case of every registered model and of each way in which it trains otherwise, and data with columns for all.

Used by test_every_model, which also fails for a model that has no case here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from unit.runtime.training.keyed import ITEM_IDS, USER_IDS

from fljob_api.job_config import JobConfig
from fljob_runtime import registry
from fljob_runtime.data.examples import Examples, HeldOut, LabelledRows, SiteData
from fljob_runtime.schema import PADDING, IdSequence, Schema

SITES = ("a", "b")
USERS, ITEMS, TAGS, CLASSES = 6, 8, 5, 3
_TRAINED, _GROUPS, _OF_GROUP = 22, 4, 3  # rows; held-out users, each with a positive and two others


class Clicks(LabelledRows):
    """Users, items, a number, a bag of tags; each site has its own rows. Held-out rows are ranked."""

    def __init__(self, site: int) -> None:
        rng = np.random.default_rng(site)
        tags = {"tags": IdSequence(TAGS, 3)}
        self.schema = Schema({"user": USERS, "item": ITEMS}, {"age": ()}, sequences=tags)
        self._train = self._rows(rng, (rng.random(_TRAINED) < 0.5).astype(np.float32))
        labels = np.tile(np.array([1, 0, 0], np.float32), _GROUPS)
        self._held_out = HeldOut(self._rows(rng, labels), np.arange(0, len(labels) + 1, _OF_GROUP))

    def _rows(self, rng: np.random.Generator, labels: np.ndarray) -> Examples:
        count = len(labels)
        columns: dict[str, np.ndarray] = {
            "user": rng.integers(0, USERS, count),
            "item": rng.integers(0, ITEMS, count),
            "age": rng.random(count, dtype=np.float32),
            "tags": _padded(rng, count, TAGS, 3, least=0),
        }
        return Examples(columns, labels)


class HashedClicks(Clicks):
    """The same with any 64-bit numbers for users and items."""

    def __init__(self, site: int) -> None:
        super().__init__(site)
        self.schema = Schema({"user": USERS, "item": ITEMS}, any_ids=frozenset({"user", "item"}))
        held_out = self._held_out
        self._train, self._held_out = _hashed(self._train), HeldOut(_hashed(held_out.examples), held_out.groups)


class Sessions(LabelledRows):
    """Sessions of two to five items."""

    def __init__(self, site: int) -> None:
        rng = np.random.default_rng(site)
        self.schema = Schema({}, sequences={"items": IdSequence(ITEMS, 5)}, num_classes=0)
        parts = [Examples({"items": _padded(rng, n, ITEMS, 5, least=2)}, np.zeros(n, np.float32)) for n in (18, 6)]
        self._train, self._held_out = parts[0], HeldOut(parts[1])


class Pictures(LabelledRows):
    """Pictures of eight by eight pixels and one of three classes."""

    def __init__(self, site: int) -> None:
        rng = np.random.default_rng(site)
        self.schema = Schema({}, {"pixels": (8, 8)}, num_classes=CLASSES)
        parts = [
            Examples({"pixels": rng.random((n, 8, 8), np.float32)}, rng.integers(0, CLASSES, n).astype(np.float32))
            for n in (18, 6)
        ]
        self._train, self._held_out = parts[0], HeldOut(parts[1])


def _padded(rng: np.random.Generator, count: int, num_ids: int, longest: int, *, least: int) -> np.ndarray:
    sequences = rng.integers(0, num_ids, (count, longest))
    sequences[np.arange(longest) >= rng.integers(least, longest + 1, count)[:, None]] = PADDING
    return sequences


def _hashed(examples: Examples) -> Examples:
    ids = {"user": USER_IDS[examples.columns["user"]], "item": ITEM_IDS[examples.columns["item"]]}
    return Examples(ids, examples.labels)


@dataclass(frozen=True)
class Case:
    """A model with its parameters, the data it reads, and what else the job says."""

    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    data: Callable[[int], SiteData] = Clicks
    spec: Mapping[str, Any] = field(default_factory=dict)

    def config(self) -> JobConfig:
        """Return the job: rounds of two epochs, small batches, an optimizer that has a state."""
        registry.load()
        base = {
            "model": {"name": self.model, "parameters": self.parameters},
            "dataset": {"name": "synthetic"},  # by name alone: the data is `sites`
            "optimizer": {"name": "Adam", "learningRate": "0.05"},
            "strategy": {"localEpochs": 2, "batchSize": 4},
            "trainers": [{"name": name} for name in SITES],
            "rounds": 9,
        }
        job = {"name": "job", "uid": "u", "coordinator": "h:1", "servers": ["h:2"]}
        return JobConfig.from_dict({**job, "spec": {**base, **self.spec}})

    def sites(self) -> dict[str, SiteData]:
        """Return each site's data."""
        return {name: self.data(index) for index, name in enumerate(SITES)}


PRIVATE = {"parameterScopes": [{"name": "user_embedding", "scope": "Private"}]}
ANY = {"tables": [{"name": name, "keys": "Any"} for name in ("user_embedding", "item_embedding")]}
_MF = {"factors": 3}
_NCF = {"layers": "8,4", "factors": 3}
_DLRM = {"embeddingDim": 4, "bottom": 4, "top": 6, "threshold": 4}
_GRU = {"embeddingDim": 5, "hidden": 5}
_SAMPLED = {"numSamples": 3}

# Models with dropout: their parameters, and the data they read.
DROPOUT: Mapping[str, Case] = {
    "ncf": Case("ncf", {**_NCF, "dropout": "0.4"}),
    "mlp": Case("mlp", {"embeddingDim": 3, "layers": "6,4", "dropout": "0.4"}),
    "deepfm": Case("deepfm", {**_MF, "layers": "6,4", "dropout": "0.4"}),
    "youtube-dnn": Case("youtube-dnn", {"embeddingDim": 5, "layers": "6,4", "dropout": "0.4"}, Sessions),
    "gru4rec": Case("gru4rec", {**_GRU, "numLayers": 2, "dropout": "0.4"}, Sessions),
    "gru4rec, one layer, sampled": Case("gru4rec", {**_GRU, **_SAMPLED, "loss": "BprMax", "dropout": "0.4"}, Sessions),
    "cnn": Case("cnn", {"channels": "2,3", "kernel": 3, "dense": 6, "dropout": "0.4"}, Pictures),
}

CASES: Mapping[str, Case] = {
    **{f"{name}, dropout": case for name, case in DROPOUT.items()},
    "ncf, keys Any, dropout": Case("ncf", {**_NCF, "dropout": "0.4"}, HashedClicks, ANY),
    "mf": Case("mf", _MF),
    "mf, private users": Case("mf", _MF, spec=PRIVATE),
    "mf, Scaffold": Case(
        "mf",
        _MF,
        spec={
            "strategy": {"name": "Scaffold", "localEpochs": 2, "batchSize": 4},
            "optimizer": {"name": "SGD", "learningRate": "0.05"},
        },
    ),
    "ncf, GMF": Case("ncf", {**_NCF, "mode": "GMF"}),
    "ncf, MLP": Case("ncf", {**_NCF, "mode": "MLP"}),
    "ncf, NeuMF": Case("ncf", _NCF),
    "ncf, keys Any": Case("ncf", _NCF, HashedClicks, ANY),
    "ncf, keys Any, private users": Case("ncf", _NCF, HashedClicks, {**ANY, **PRIVATE}),
    "fm": Case("fm", _MF),
    "deepfm": Case("deepfm", {**_MF, "layers": "6,4"}),
    "mlp": Case("mlp", {"embeddingDim": 3, "layers": "6,4"}),
    "mlp, wide": Case("mlp", {"embeddingDim": 3, "layers": "6,4", "wide": "true"}),
    "dlrm": Case("dlrm", _DLRM),
    "dlrm, learned pooling": Case("dlrm", {**_DLRM, "pooling": "Learned"}),
    "dlrm, quotients": Case("dlrm", {**_DLRM, "embeddings": "QuotientRemainder", "collisions": 3}),
    "dlrm, mixed widths": Case("dlrm", {**_DLRM, "embeddings": "MixedDimension"}),
    "gru4rec": Case("gru4rec", {**_GRU, "numLayers": 2}, Sessions),
    "gru4rec, tied": Case("gru4rec", {**_GRU, "tied": "true"}, Sessions),
    "gru4rec, sampled": Case("gru4rec", {**_GRU, **_SAMPLED, "loss": "SampledCrossEntropy"}, Sessions),
    "gru4rec, BPR-max": Case("gru4rec", {**_GRU, **_SAMPLED, "loss": "BprMax"}, Sessions),
    "gru4rec, TOP1-max": Case("gru4rec", {**_GRU, **_SAMPLED, "loss": "Top1Max"}, Sessions),
    "youtube-dnn": Case("youtube-dnn", {"embeddingDim": 5, "layers": "6,4"}, Sessions),
    "softmax": Case("softmax", {}, Pictures),
    "cnn": Case("cnn", {"channels": "2,3", "kernel": 3, "dense": 6}, Pictures),
}
