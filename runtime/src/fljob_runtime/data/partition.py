"""Ways to spread examples over sites, as functions of a seed. Pure numpy; used by importers.

Each returns the site of every unit, int64 [N], and gives every site at least one: raises ValueError with what to do
where that is not possible. A unit is what stays together: a row, or all rows of one user.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.data.numbering import Numbers, grouped, num_distinct, numbered

Sites = NDArray[np.int64]
_TRIES = 100
_MOST_ALPHA = 1e6  # of which shares are equal already


def equal(num_units: int, num_sites: int, rng: np.random.Generator) -> Sites:
    """Deal units at random, the numbers of two sites differing by one at most."""
    _check_enough(num_units, num_sites)
    sites: Sites = rng.permutation(np.arange(num_units, dtype=np.int64) % num_sites)
    return sites


def quantity_skewed(num_units: int, num_sites: int, alpha: float, rng: np.random.Generator) -> Sites:
    """Deal units at random, the sites' shares drawn once from Dirichlet(alpha): the smaller alpha, the less equal."""
    return dirichlet(np.zeros(num_units, np.int64), num_sites, alpha, rng)


def dirichlet(classes: Numbers, num_sites: int, alpha: float, rng: np.random.Generator) -> Sites:
    """Spread the units of each class over the sites by shares drawn from Dirichlet(alpha), for every class anew.

    classes: [N], any integers. The smaller alpha, the more a site has of few classes (Hsu et al. 2019,
    https://arxiv.org/abs/1909.06335). Shares that leave a site without a unit are drawn again.
    """
    _check_enough(len(classes), num_sites)
    if not 0.0 < alpha <= _MOST_ALPHA:
        raise ValueError(f"alpha is {alpha}; it must be above 0 and at most {_MOST_ALPHA:.0f}")
    values, places = numbered(classes.astype(np.int64, copy=False))
    members = grouped(places, len(values))
    for _ in range(_TRIES):
        sites: Sites = np.empty(len(classes), np.int64)
        for units in members:
            cuts = np.cumsum(rng.dirichlet(np.full(num_sites, alpha)))[:-1]
            # A common fraction, or rounding would give the few units of a rare class to the sites in the middle.
            borders = np.floor(cuts * len(units) + rng.random()).astype(np.int64)
            sites[rng.permutation(units)] = np.searchsorted(borders, np.arange(len(units)), side="right")
        if num_distinct(sites, num_sites) == num_sites:
            return sites
    raise ValueError(
        f"no draw of {_TRIES} gave each of {num_sites} sites a unit: take a greater alpha than {alpha}, or fewer sites"
    )


def _check_enough(num_units: int, num_sites: int) -> None:
    if num_units < num_sites:
        raise ValueError(f"{num_units} units cannot be spread over {num_sites} sites: take fewer sites")
