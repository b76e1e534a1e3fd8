"""Generated pictures: a function of (seed, site), as hard as they are said to be."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from fljob_runtime.data.datasets import OpenRequest, open_dataset
from fljob_runtime.data.describe import describe_folder
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.synthetic_pictures import (
    SyntheticPictures,
    SyntheticPicturesParameters,
    Writing,
    generate_site,
    generate_sites,
    writing_of,
)
from fljob_runtime.registry import load

SMALL = SyntheticPicturesParameters(classes=4, samples_per_site=60, test_per_site=20, side=8)


def request(index: int = 0, *, seed: int = 0, folder: Path | None = None) -> OpenRequest:
    return OpenRequest(f"site-{index}", index, 3, seed, folder)


def test_the_nearest_prototype_by_hand() -> None:
    writing = Writing(np.array([[[0.0, 0.0]], [[4.0, 0.0]]]), 1.0)
    assert writing.nearest(np.array([[[1.9, 9.0]], [[2.1, -9.0]]])).tolist() == [0, 1]


def test_two_classes_are_confused_as_often_as_their_distance_says() -> None:
    writing = Writing(np.array([[[0.0, 0.0]], [[4.0, 0.0]]]), 2.0)
    pictures, labels = writing.draw(20_000, np.random.default_rng(0))
    # at 2 standard deviations, half of them to the border between the two: right with probability phi(1)
    assert (writing.nearest(pictures) == labels).mean() == pytest.approx(NormalDist().cdf(1.0), abs=0.01)


def test_the_noise_sets_prototypes_apart_as_asked() -> None:
    parameters = SyntheticPicturesParameters(classes=200, side=7, separation=6, shift=0)
    writing, _ = writing_of(parameters, request())
    # of two independent patterns the mean of squares of their differences is twice that of each
    centred = writing.prototypes - writing.prototypes.mean((1, 2), keepdims=True)
    distances = np.square(centred[::2] - centred[1::2]).sum((1, 2)) / np.square(centred).mean()
    assert math.sqrt(distances.mean()) / writing.noise == pytest.approx(6.0, rel=0.05)


def test_a_site_is_a_function_of_seed_and_index() -> None:
    first, again = generate_site(SMALL, request(1)), generate_site(SMALL, request(1))
    assert first[0] == again[0]
    assert np.array_equal(first[1].train["picture"], again[1].train["picture"])


@pytest.mark.parametrize("other", [request(2), request(1, seed=5)])
def test_another_index_or_seed_gives_other_pictures(other: OpenRequest) -> None:
    pictures = generate_site(SMALL, request(1))[1].train["picture"]
    assert not np.array_equal(pictures, generate_site(SMALL, other)[1].train["picture"])


def test_sites_move_the_same_prototypes() -> None:
    far = SyntheticPicturesParameters(classes=2, side=14, shift=3)
    one, other = (writing_of(far, request(index))[0].prototypes[0] for index in (0, 1))
    styles = [np.sort(p.ravel() - p.mean()) / p.std() for p in (one, other)]
    assert np.allclose(styles[0], styles[1])
    assert not np.allclose(one, other)


def test_a_dataset_without_a_folder_has_pictures_and_classes() -> None:
    load()
    data = open_dataset("synthetic-pictures", {"side": 9, "classes": 3, "testPerSite": 7}, request())
    assert (data.schema.features, data.schema.num_classes) == ({"picture": (9, 9)}, 3)
    held_out = data.held_out().examples
    assert held_out.columns["picture"].shape == (7, 9, 9)
    assert set(held_out.labels.tolist()) <= {0.0, 1.0, 2.0}


def test_written_sites_are_the_dataset_pictures(tmp_path: Path) -> None:
    load()
    generate_sites(tmp_path, SMALL, num_sites=3, seed=0)
    read = open_dataset("pictures", {}, request(2, folder=tmp_path / "site-2"))
    made = SyntheticPictures(SMALL, request(2))
    first, second = (data.epoch(np.random.default_rng(0)) for data in (read, made))
    assert np.array_equal(first.columns["picture"], second.columns["picture"])
    assert np.array_equal(first.labels, second.labels)


def test_a_site_with_other_content_keeps_all_others_from_being_written(tmp_path: Path) -> None:
    generate_sites(tmp_path, SMALL, num_sites=2, seed=0)
    (tmp_path / "site-0").rename(tmp_path / "away")
    with pytest.raises(DataError, match="site-1: exists with other content"):
        generate_sites(tmp_path, SMALL, num_sites=2, seed=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["away", "site-1"]


def test_classes_are_described_without_a_rate_of_positives(tmp_path: Path) -> None:
    generate_sites(tmp_path, SMALL, num_sites=1, seed=0)
    found = describe_folder(tmp_path)[0]
    assert (found.manifest.num_classes, found.positive_rate) == (4, None)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder is the dataset `pictures`"):
        SyntheticPictures(SMALL, request(folder=tmp_path))
