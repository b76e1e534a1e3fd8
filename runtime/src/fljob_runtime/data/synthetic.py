"""The `synthetic` dataset: sites that make their own data, with a known best reachable AUC.

Truth: user u has a vector p_u, item i a vector q_i and a bias b_i; P(label = 1) = sigmoid(b_i + s <p_u, q_i>). Users
belong to one site each; popular items are drawn more often. Everything is a function of (seed, site), so a pod makes
just its own part. The best AUC is the expected AUC of the true probabilities over the held-out pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fljob_runtime.data.datasets import OpenRequest
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import HeldOut, Ids, LabelledRows, pairs
from fljob_runtime.data.store import SiteManifest, SiteTables, read_manifest, read_tables, write_sites
from fljob_runtime.registry import ParametersModel, RegistryKind, register


class SyntheticParameters(ParametersModel):
    """Parameters of `synthetic`: sizes per site, and how hard the truth is."""

    users_per_site: int = Field(200, ge=1, le=1_000_000)
    items: int = Field(500, ge=2, le=10_000_000)
    samples_per_user: int = Field(100, ge=1, le=100_000)
    test_per_user: int = Field(10, ge=1, le=10_000)
    factors: int = Field(4, ge=1, le=256)
    scale: int = Field(2, ge=0, le=100, description="s: how strongly taste decides.")
    hashed_ids: bool = Field(
        False, description="Whether ids are hashes, any 64-bit numbers; tables then need keys: Any."
    )


@dataclass(frozen=True)
class _Truth:
    """users [U, K] of one site, items [I, K], bias [I], popularity [I] summing to 1."""

    users: NDArray[np.float64]
    items: NDArray[np.float64]
    bias: NDArray[np.float64]
    popularity: NDArray[np.float64]


@register(RegistryKind.DATASET, "synthetic", SyntheticParameters)
class Synthetic(LabelledRows):
    """One generated site, made in memory or read from a folder that `fljob data generate` wrote."""

    def __init__(self, parameters: SyntheticParameters, request: OpenRequest) -> None:
        if request.folder is None:
            manifest, tables = generate_site(parameters, request)
        else:
            manifest = read_manifest(request.folder)
            _refuse_others(request.folder, manifest)
            tables = read_tables(request.folder, manifest)
        self.schema = manifest.schema
        self.best_auc = manifest.best_auc
        self._train = pairs(tables.train["user"], tables.train["item"], tables.train["label"])
        self._held_out = HeldOut(pairs(tables.test["user"], tables.test["item"], tables.test["label"]))


def _refuse_others(folder: Path, manifest: SiteManifest) -> None:
    """Refuse a site's folder of another dataset, before its columns are looked for."""
    if manifest.negatives_per_positive:
        raise DataError(folder, f"holds dataset {manifest.dataset!r} without labels, not synthetic data")
    if set(manifest.columns) != {"user", "item"} or manifest.num_classes != 2:
        problem = "not synthetic data, which has users, items and labels 0 and 1 alone"
        raise DataError(folder, f"holds dataset {manifest.dataset!r}, {problem}")


def generate_sites(out: Path, parameters: SyntheticParameters, *, num_sites: int, seed: int) -> dict[str, SiteManifest]:
    """Write `site-0` … as folders under `out`; the same call again changes nothing. Raises DataError."""
    names = [f"site-{index}" for index in range(num_sites)]
    requests = [OpenRequest(name, index, num_sites, seed, None) for index, name in enumerate(names)]
    write_sites(out, {request.site: generate_site(parameters, request) for request in requests})
    return {name: read_manifest(out / name) for name in names}


def generate_site(parameters: SyntheticParameters, request: OpenRequest) -> tuple[SiteManifest, SiteTables]:
    """Make one site; equal arguments give equal data."""
    p, offset = parameters, request.index * parameters.users_per_site
    truth, rng = _truth(p, request)
    train = _draw(truth, p.samples_per_user, rng)
    test = _draw(truth, p.test_per_user, rng)
    users, items = (_hashed(request.seed, 0), _hashed(request.seed, 1)) if p.hashed_ids else (_same, _same)
    manifest = SiteManifest(
        dataset="synthetic",
        site=request.site,
        ids={"user": p.users_per_site * request.num_sites, "item": p.items},
        num_site_ids={"user": p.users_per_site, "item": len(np.unique(train[1]))},
        num_train=len(train[0]),
        num_samples=len(train[0]),
        num_test=len(test[0]),
        negatives_per_positive=0,
        best_auc=expected_auc(test[3]),
        notes=f"generated from seed {request.seed}",
        digests={},
        any_ids=("user", "item") if p.hashed_ids else (),
    )
    columns = {"user": users(train[0] + offset), "item": items(train[1]), "label": train[2]}
    groups = np.full(len(test[0]), -1, np.int64)
    held_out = {"user": users(test[0] + offset), "item": items(test[1]), "label": test[2], "group": groups}
    return manifest, SiteTables(columns, held_out)


def _same(numbers: Ids) -> Ids:
    return numbers


def _hashed(seed: int, column: int) -> Callable[[Ids], Ids]:
    """Return what makes an id of a number, never the same of two: the finalizer of splitmix64 (Steele et al. 2014)."""
    salt = np.random.SeedSequence([seed, 2, column]).generate_state(1, np.uint64)

    def hashed(numbers: Ids) -> Ids:
        mixed = numbers.astype(np.uint64) + salt
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        return (mixed ^ (mixed >> np.uint64(31))).view(np.int64)

    return hashed


def _truth(p: SyntheticParameters, request: OpenRequest) -> tuple[_Truth, np.random.Generator]:
    """Items are the same for all sites, users follow from the site's index."""
    shared = np.random.Generator(np.random.Philox(np.random.SeedSequence([request.seed, 0])))
    own = np.random.Generator(np.random.Philox(np.random.SeedSequence([request.seed, 1, request.index])))
    popularity = 1.0 / np.arange(1, p.items + 1) ** 0.5
    truth = _Truth(
        users=own.normal(size=(p.users_per_site, p.factors)) * (p.scale / np.sqrt(p.factors)),
        items=shared.normal(size=(p.items, p.factors)),
        bias=shared.normal(size=p.items) - 1.0,
        popularity=popularity / popularity.sum(),
    )
    return truth, own


def _draw(truth: _Truth, per_user: int, rng: np.random.Generator) -> tuple[NDArray[Any], ...]:
    """Return users, items, labels (float32) and true probabilities (float64), per_user pairs for each user."""
    users = np.arange(len(truth.users)).repeat(per_user)
    items = rng.choice(len(truth.items), size=len(users), p=truth.popularity)
    logits = truth.bias[items] + np.einsum("nk,nk->n", truth.users[users], truth.items[items])
    probability = 1.0 / (1.0 + np.exp(-logits))
    labels = (rng.random(len(users)) < probability).astype(np.float32)
    return users, items, labels, probability


def expected_auc(probability: NDArray[np.floating]) -> float:
    """Return the expected AUC of ranking pairs [n] by their true probabilities, when labels are drawn from them.

    That is P(s_i > s_j) + P(s_i = s_j) / 2 with i drawn by p and j by 1 - p: no ranking has a greater expectation.
    """
    values, inverse = np.unique(np.asarray(probability, np.float64), return_inverse=True)
    positive = np.bincount(inverse, weights=values[inverse])
    negative = np.bincount(inverse) - positive
    below = np.cumsum(negative) - negative
    return float((positive * (below + 0.5 * negative)).sum() / (positive.sum() * negative.sum()))
