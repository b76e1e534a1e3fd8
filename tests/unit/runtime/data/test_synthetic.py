"""Generated sites: a function of (seed, site), with a best reachable AUC that is worked out, not guessed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from unit.runtime.data.sites import site

from fljob_runtime.data.datasets import OpenRequest
from fljob_runtime.data.errors import DataError
from fljob_runtime.data.store import write_sites
from fljob_runtime.data.synthetic import (
    Synthetic,
    SyntheticParameters,
    expected_auc,
    generate_site,
    generate_sites,
)
from fljob_runtime.metrics.histogram import exact_auc

SMALL = SyntheticParameters(users_per_site=30, items=40, samples_per_user=20, test_per_user=5)


def request(index: int = 0, *, seed: int = 0, folder: Path | None = None) -> OpenRequest:
    return OpenRequest(f"site-{index}", index, 3, seed, folder)


def test_best_auc_by_hand() -> None:
    # i is drawn by p, j by 1 - p: weights of (1/4, 3/4) as positives 1/4, 3/4, as negatives 3/4, 1/4; of all 1 * 1
    # pairs 3/4 * 3/4 rank right and the ties 1/4 * 3/4 + 3/4 * 1/4 count half
    assert expected_auc(np.array([0.25, 0.75])) == pytest.approx(9 / 16 + (3 / 16 + 3 / 16) / 2)


def test_best_auc_of_equal_probabilities_is_a_half() -> None:
    assert expected_auc(np.full(10, 0.3)) == pytest.approx(0.5)


def test_best_auc_is_what_the_true_probabilities_reach_over_many_draws() -> None:
    random = np.random.default_rng(0)
    probability = random.random(400)
    reached = [exact_auc(probability, (random.random(400) < probability).astype(np.float32)) for _ in range(200)]
    assert np.mean(reached) == pytest.approx(expected_auc(probability), abs=0.005)


def test_a_site_is_a_function_of_seed_and_index() -> None:
    first, again = generate_site(SMALL, request(1)), generate_site(SMALL, request(1))
    assert first[0] == again[0]
    assert np.array_equal(first[1].train["label"], again[1].train["label"])


@pytest.mark.parametrize("other", [request(2), request(1, seed=5)])
def test_another_index_or_seed_gives_other_data(other: OpenRequest) -> None:
    items = generate_site(SMALL, request(1))[1].train["item"]
    assert not np.array_equal(items, generate_site(SMALL, other)[1].train["item"])


def test_users_belong_to_one_site_each() -> None:
    users = [set(generate_site(SMALL, request(index))[1].train["user"].tolist()) for index in range(3)]
    assert users == [set(range(0, 30)), set(range(30, 60)), set(range(60, 90))]


def test_hashed_ids_stand_for_the_same_pairs() -> None:
    plain, hashed = (generate_site(SMALL.model_copy(update={"hashed_ids": on}), request(1)) for on in (False, True))
    for column, size in (("user", 30), ("item", 40)):
        before = np.concatenate([plain[1].train[column], plain[1].test[column]])
        after = np.concatenate([hashed[1].train[column], hashed[1].test[column]])
        pairs = set(zip(before.tolist(), after.tolist(), strict=True))
        assert len(pairs) == len(set(before.tolist())) == len(set(after.tolist())) <= size
        assert after.dtype == np.int64
        assert np.abs(after.astype(np.float64)).max() > 2**62
    assert (plain[0].any_ids, hashed[0].any_ids) == ((), ("user", "item"))


def test_an_item_has_the_same_hash_at_every_site() -> None:
    parameters = SMALL.model_copy(update={"hashed_ids": True})
    one, other = (set(generate_site(parameters, request(index))[1].train["item"].tolist()) for index in (0, 1))
    assert len(one & other) > 30


def test_hashed_ids_are_read_back_from_a_folder(tmp_path: Path) -> None:
    parameters = SMALL.model_copy(update={"hashed_ids": True})
    generate_sites(tmp_path, parameters, num_sites=3, seed=0)
    data = Synthetic(SyntheticParameters(), request(1, folder=tmp_path / "site-1"))
    assert data.schema.any_ids == {"user", "item"}
    assert np.array_equal(
        data.held_out().examples.columns["user"], generate_site(parameters, request(1))[1].test["user"]
    )


def test_counts_follow_from_the_parameters() -> None:
    manifest, _ = generate_site(SMALL, request())
    assert manifest.ids == {"user": 90, "item": 40}
    assert (manifest.num_samples, manifest.num_test) == (600, 150)


def test_a_folder_holds_the_same_as_memory(tmp_path: Path) -> None:
    generate_sites(tmp_path, SMALL, num_sites=3, seed=0)
    read = Synthetic(SMALL, request(2, folder=tmp_path / "site-2"))
    made = Synthetic(SMALL, request(2))
    assert read.best_auc == made.best_auc
    first, second = (data.epoch(np.random.default_rng(0)) for data in (read, made))
    assert np.array_equal(first.columns["item"], second.columns["item"])
    assert np.array_equal(first.labels, second.labels)
    held_out = [data.held_out().examples.columns["item"] for data in (read, made)]
    assert np.array_equal(held_out[0], held_out[1])


def test_generating_again_changes_nothing(tmp_path: Path) -> None:
    first = generate_sites(tmp_path, SMALL, num_sites=2, seed=0)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert generate_sites(tmp_path, SMALL, num_sites=2, seed=0) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_folder_with_more_classes_than_two_is_refused(tmp_path: Path) -> None:
    manifest, tables = generate_site(SMALL, request())
    write_sites(tmp_path, {"site-0": (replace(manifest, num_classes=3), tables)})
    with pytest.raises(DataError, match="not synthetic data, which has users, items and labels 0 and 1 alone"):
        Synthetic(SMALL, request(folder=tmp_path / "site-0"))


def test_a_folder_of_positives_alone_is_refused(tmp_path: Path) -> None:
    write_sites(tmp_path, {"site-0": site()})
    with pytest.raises(DataError, match="holds dataset 'movielens' without labels"):
        Synthetic(SMALL, request(folder=tmp_path / "site-0"))
