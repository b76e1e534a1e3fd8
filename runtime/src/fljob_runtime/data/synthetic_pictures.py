"""The `synthetic-pictures` dataset: sites that draw their own pictures, with a known best reachable accuracy.

Truth: each class has a prototype, a pattern of blocks; each site is a writer, who moves it, and has a contrast and a
brightness of their own; every pixel has noise, so much of it that two prototypes are `separation` of its standard
deviations apart. The best accuracy is that of choosing the nearest prototype in the writer's style, which no
classifier exceeds in expectation. Everything is a function of (seed, site).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fljob_runtime.data.datasets import OpenRequest
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.examples import Examples, HeldOut, LabelledRows
from fljob_runtime.data.store import SiteManifest, SiteTables, make_sites, read_manifest
from fljob_runtime.registry import ParametersModel, RegistryKind, register
from fljob_runtime.schema import Schema

_BLOCKS = 7  # in a row of a prototype


class SyntheticPicturesParameters(ParametersModel):
    """Parameters of `synthetic-pictures`: sizes per site, and how hard the truth is."""

    classes: int = Field(10, ge=2, le=1000)
    samples_per_site: int = Field(500, ge=1, le=1_000_000)
    test_per_site: int = Field(100, ge=1, le=1_000_000)
    side: int = Field(28, ge=1, le=1024, description="Rows and columns of a picture.")
    separation: int = Field(8, ge=0, le=1000, description="Of two prototypes, in deviations of the noise.")
    shift: int = Field(2, ge=0, le=1024, description="Pixels by which a site moves its pictures, at most.")


@dataclass(frozen=True)
class Writing:
    """How one site writes. prototypes: [C, S, S] in the site's style; noise: standard deviation of a pixel."""

    prototypes: NDArray[np.float64]
    noise: float

    def draw(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Draw pictures [count, S, S] and their classes [count]."""
        labels = rng.integers(0, len(self.prototypes), count)
        shape = (count, *self.prototypes.shape[1:])
        return self.prototypes[labels] + self.noise * rng.normal(size=shape), labels

    def nearest(self, pictures: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the class of the nearest prototype to each picture: [N, S, S] -> [N]."""
        flat, prototypes = pictures.reshape(len(pictures), -1), self.prototypes.reshape(len(self.prototypes), -1)
        # |x - p|² = |x|² - 2 x·p + |p|², of which |x|² is the same for all classes
        nearest: NDArray[np.int64] = (np.square(prototypes).sum(1) - 2.0 * flat @ prototypes.T).argmin(1)
        return nearest


@register(RegistryKind.DATASET, "synthetic-pictures", SyntheticPicturesParameters)
class SyntheticPictures(LabelledRows):
    """One generated site, in memory. A folder that `fljob data generate` wrote is the dataset `pictures`."""

    def __init__(self, parameters: SyntheticPicturesParameters, request: OpenRequest) -> None:
        if request.folder is not None:
            raise DataError(request.folder, "synthetic-pictures are made in memory; a folder is the dataset `pictures`")
        manifest, tables, self.best_accuracy = generate_site(parameters, request)
        self.schema: Schema = manifest.schema
        train, test = (
            Examples({name: table[name] for name in manifest.columns}, table["label"])
            for table in (tables.train, tables.test)
        )
        self._train, self._held_out = train, HeldOut(test)


def generate_sites(
    out: Path, parameters: SyntheticPicturesParameters, *, num_sites: int, seed: int
) -> dict[str, SiteManifest]:
    """Write `site-0` … as folders of the dataset `pictures`; the same call again changes nothing. Raises DataError."""
    names = [f"site-{index}" for index in range(num_sites)]
    requests = {name: OpenRequest(name, index, num_sites, seed, None) for index, name in enumerate(names)}
    make_sites(out, requests, lambda name: generate_site(parameters, requests[name])[:2], most=1)
    return {name: read_manifest(out / name) for name in names}


def generate_site(
    parameters: SyntheticPicturesParameters, request: OpenRequest
) -> tuple[SiteManifest, SiteTables, float]:
    """Make one site, and return the best accuracy on what it holds out; equal arguments give equal data."""
    p = parameters
    writing, rng = writing_of(p, request)
    best = 0.0
    columns: list[dict[str, NDArray[Any]]] = []
    for count in (p.samples_per_site, p.test_per_site):
        pictures, labels = writing.draw(count, rng)
        best = float((writing.nearest(pictures) == labels).mean())
        scale = math.sqrt(1.0 + writing.noise**2)  # to about 1 a pixel
        columns.append({"picture": (pictures / scale).astype(np.float32), "label": labels.astype(np.float32)})
    manifest = SiteManifest(
        dataset="pictures",
        site=request.site,
        ids={},
        num_site_ids={},
        num_train=p.samples_per_site,
        num_samples=p.samples_per_site,
        num_test=p.test_per_site,
        negatives_per_positive=0,
        best_auc=None,
        notes=f"generated from seed {request.seed}; {request.site}'s best accuracy {best:.4f}",
        digests={},
        features=("picture",),
        shapes={"picture": (p.side, p.side)},
        num_classes=p.classes,
    )
    test = {**columns[1], "group": np.full(p.test_per_site, -1, np.int64)}
    return manifest, SiteTables(columns[0], test), best


def writing_of(p: SyntheticPicturesParameters, request: OpenRequest) -> tuple[Writing, np.random.Generator]:
    """Return how a site writes, and what its pictures are drawn from. Prototypes are the same for all sites."""
    shared = np.random.Generator(np.random.Philox(np.random.SeedSequence([request.seed, 0])))
    own = np.random.Generator(np.random.Philox(np.random.SeedSequence([request.seed, 1, request.index])))
    blocks = shared.normal(size=(p.classes, _BLOCKS, _BLOCKS))
    place = np.arange(p.side) * _BLOCKS // p.side
    prototypes = blocks[:, place][:, :, place]  # [C, S, S]
    prototypes -= prototypes.mean((1, 2), keepdims=True)
    prototypes /= np.maximum(prototypes.std((1, 2), keepdims=True), 1e-9)
    down, right = own.integers(-p.shift, p.shift + 1, 2)
    contrast, brightness = own.uniform(0.8, 1.25), own.normal(0.0, 0.25)
    moved = np.roll(prototypes, (down, right), (1, 2)) * contrast + brightness
    noise = math.sqrt(2.0) * p.side / p.separation if p.separation else 1e6
    return Writing(moved, noise), own
