"""A small site as a value, for tests that write and damage folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.data.store import SiteManifest, SiteTables


def site(
    *, train: Sequence[tuple[int, int]] = ((0, 0), (1, 2)), num_users: int = 2, num_items: int = 3
) -> tuple[SiteManifest, SiteTables]:
    """Return positives `train` (user, item), and for user 0 the test item 1 against item 2."""
    users, items = np.array(train, np.int64).T
    test: dict[str, NDArray[Any]] = {
        "user": np.zeros(2, np.int64),
        "item": np.array([1, 2], np.int64) % num_items,
        "label": np.array([1, 0], np.float32),
        "group": np.zeros(2, np.int64),
    }
    manifest = SiteManifest(
        dataset="movielens",
        site="site-0",
        ids={"user": num_users, "item": num_items},
        num_site_ids={"user": num_users, "item": len(set(items.tolist()))},
        num_train=len(train),
        num_samples=len(train) * 5,
        num_test=2,
        negatives_per_positive=4,
        best_auc=None,
        notes="",
        digests={},
    )
    return manifest, SiteTables({"user": users, "item": items}, test)
