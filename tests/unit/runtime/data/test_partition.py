"""Spreading units over sites: everybody gets some, nothing is lost, the seed decides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fljob_runtime.data.partition import Sites, dirichlet, equal, quantity_skewed

CLASSES = np.arange(400) % 4
WAYS: dict[str, Callable[[np.random.Generator], Sites]] = {
    "equal": lambda rng: equal(400, 7, rng),
    "quantity": lambda rng: quantity_skewed(400, 7, 0.5, rng),
    "dirichlet": lambda rng: dirichlet(CLASSES, 7, 0.5, rng),
}


@pytest.mark.parametrize("way", WAYS)
@given(seed=st.integers(0, 2**32))
def test_every_site_gets_some_and_the_same_seed_gives_the_same(way: str, seed: int) -> None:
    sites = WAYS[way](np.random.default_rng(seed))
    assert np.array_equal(np.unique(sites), np.arange(7))
    assert len(sites) == 400
    assert np.array_equal(sites, WAYS[way](np.random.default_rng(seed)))


def test_equal_sites_differ_by_one_at_most() -> None:
    counts = np.bincount(equal(100, 7, np.random.default_rng(0)))
    assert sorted(counts.tolist()) == [14, 14, 14, 14, 14, 15, 15]


def plain_dirichlet(classes: np.ndarray, num_sites: int, alpha: float, rng: np.random.Generator) -> Sites:
    """Deal each class in turn, as the paper has it."""
    while True:
        sites: Sites = np.empty(len(classes), np.int64)
        for value in np.unique(classes):
            units = np.flatnonzero(classes == value)
            cuts = np.cumsum(rng.dirichlet(np.full(num_sites, alpha)))[:-1]
            borders = np.floor(cuts * len(units) + rng.random()).astype(np.int64)
            sites[rng.permutation(units)] = np.searchsorted(borders, np.arange(len(units)), side="right")
        if len(np.unique(sites)) == num_sites:
            return sites


@given(seed=st.integers(0, 2**32), count=st.integers(1, 300), least=st.sampled_from([0, -5, 1 << 40]))
def test_the_classes_are_dealt_in_their_order_by_the_same_draws(seed: int, count: int, least: int) -> None:
    classes = least + np.random.default_rng(seed).integers(0, count, 300)
    ours, plain = (way(classes, 5, 0.5, np.random.default_rng(seed)) for way in (dirichlet, plain_dirichlet))
    assert np.array_equal(ours, plain)


def test_a_small_alpha_gives_sites_of_few_classes() -> None:
    def mixed(alpha: float) -> float:
        """Return the mean share of a site's most frequent class."""
        sites = dirichlet(CLASSES, 4, alpha, np.random.default_rng(1))
        counts = np.array([np.bincount(CLASSES[sites == site], minlength=4) for site in range(4)])
        return float((counts.max(1) / counts.sum(1)).mean())

    assert mixed(1000.0) < 0.35
    assert mixed(0.1) > 0.6


def test_a_small_alpha_gives_sites_of_unequal_size() -> None:
    even, uneven = (np.bincount(quantity_skewed(1000, 4, alpha, np.random.default_rng(0))) for alpha in (1000.0, 0.5))
    assert even.max() < 1.2 * even.min()
    assert uneven.max() > 2 * uneven.min()


def test_less_units_than_sites_are_refused() -> None:
    with pytest.raises(ValueError, match="3 units cannot be spread over 4 sites: take fewer sites"):
        equal(3, 4, np.random.default_rng(0))


def test_shares_that_leave_a_site_empty_again_and_again_are_refused() -> None:
    with pytest.raises(ValueError, match=r"gave each of 20 sites a unit: take a greater alpha than 0\.001"):
        dirichlet(np.zeros(20, np.int64), 20, 0.001, np.random.default_rng(0))


def test_alpha_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match=r"alpha is 0\.0; it must be above 0"):
        dirichlet(CLASSES, 2, 0.0, np.random.default_rng(0))


@pytest.mark.parametrize("alpha", [0.5, 10.0])
def test_classes_of_one_unit_go_to_every_site_alike(alpha: float) -> None:
    draws = [dirichlet(np.arange(1000), 10, alpha, np.random.default_rng(seed)) for seed in range(10)]
    counts = np.bincount(np.concatenate(draws), minlength=10)
    assert 800 < counts.min() <= counts.max() < 1200
