"""Metric sums: hand-worked ratios, merging, and a strict wire form."""

from __future__ import annotations

import json
import math
import zlib

import numpy as np
import pytest

from fljob_runtime.metrics.sums import MAX_BYTES, MetricsError, MetricSums
from fljob_runtime.packed import pack_ids, pack_weights

LOGITS = np.array([0.0, 0.0, math.log(3.0), -math.log(3.0)], np.float32)  # probabilities 1/2 1/2 3/4 1/4
LABELS = np.array([1.0, 0.0, 1.0, 0.0], np.float32)


def test_ratios_by_hand() -> None:
    metrics = MetricSums.of(LOGITS, LABELS).compute()
    assert metrics.loss == pytest.approx((2 * math.log(2) + 2 * math.log(4 / 3)) / 4)
    assert metrics.mae == pytest.approx(0.375)
    assert metrics.rmse == pytest.approx(math.sqrt((0.25 + 0.25 + 0.0625 + 0.0625) / 4))
    assert metrics.actual_ctr == pytest.approx(0.5)
    assert metrics.predicted_ctr == pytest.approx(0.5)
    assert metrics.copc == pytest.approx(1.0)
    assert metrics.auc == pytest.approx(3.5 / 4)


def test_bucket_error_by_hand() -> None:
    # spans of 500: at logit 0 half are predicted and 400 clicked, at log 3 three quarters and 300; 20 at -3 are few
    logits = np.repeat(np.array([0.0, math.log(3.0), -3.0], np.float32), [500, 500, 20])
    labels = np.repeat([1.0, 0.0, 1.0, 0.0, 1.0], [400, 100, 300, 200, 20]).astype(np.float32)
    assert MetricSums.of(logits, labels).compute().bucket_error == pytest.approx((400 / 250 - 1 + 1 - 300 / 375) / 2)
    assert math.isnan(MetricSums.of(logits[1000:], labels[1000:]).compute().bucket_error)


def test_bucket_error_of_true_probabilities_is_small_however_few_clicks_a_cell_has() -> None:
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.005, 0.015, 200_000)
    labels = (rng.random(len(probability)) < probability).astype(np.float32)
    logits = np.log(probability / (1.0 - probability)).astype(np.float32)
    assert MetricSums.of(logits, labels).compute().bucket_error < 0.05


def test_merging_equals_pooling() -> None:
    pooled = MetricSums.of(LOGITS, LABELS)
    merged = MetricSums.of(LOGITS[:1], LABELS[:1]).merge(MetricSums.of(LOGITS[1:], LABELS[1:]))
    assert merged.compute().loss == pytest.approx(pooled.compute().loss)
    assert merged.compute().auc == pooled.compute().auc


def test_ranking_by_hand() -> None:
    metrics = MetricSums().with_ranks(np.array([0, 2, 10, 50])).compute()
    assert metrics.hit_rate_at_10 == pytest.approx(0.5)
    assert metrics.ndcg_at_10 == pytest.approx((1.0 + 0.5) / 4)
    assert metrics.mrr_at_10 == pytest.approx((1.0 + 1 / 3) / 4)


def test_extreme_logits_do_not_overflow() -> None:
    metrics = MetricSums.of(np.array([500.0, -500.0], np.float32), np.array([0.0, 1.0], np.float32)).compute()
    assert metrics.loss == pytest.approx(500.0)


def test_nothing_gives_no_number_rather_than_zero() -> None:
    assert math.isnan(MetricSums().compute().loss)


def test_wire_form_round_trips() -> None:
    sums = MetricSums.of(LOGITS, LABELS).with_ranks(np.array([3.0]))
    back = MetricSums.from_bytes(sums.to_bytes())
    assert back.compute() == sums.compute()


def test_predictions_that_are_not_finite_are_refused() -> None:
    with pytest.raises(MetricsError, match="not finite"):
        MetricSums.of(np.array([np.nan], np.float32), np.array([1.0], np.float32))


def wire(change: dict[str, object], columns: tuple[list[int], list[float], list[float]] | None = None) -> bytes:
    """Return the wire form of the sums by hand with something else in it."""
    head, _, body = zlib.decompress(MetricSums.of(LOGITS, LABELS).to_bytes()).partition(b"\n")
    if columns is not None:
        cells, *counts = columns
        packed = [pack_ids(np.array(cells, np.int64)), *(pack_weights(np.array(c, np.float64)) for c in counts)]
        sizes = [column.size for column in packed]
        change = {"histogram": {"exponent": 3, "cells": len(cells), "bytes": sizes}, **change}
        body = b"".join(column.tobytes() for column in packed)
    return zlib.compress(json.dumps(json.loads(head) | change).encode() + b"\n" + body)


def test_sums_by_hand_are_read() -> None:
    back = MetricSums.from_bytes(wire({}, ([-2, 5], [1, 1], [0, 2])))
    assert (back.histogram.cells.tolist(), back.histogram.negatives.tolist()) == ([-2, 5], [0, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": float("nan")}, "not finite"),
        ({"loss": "much"}, "could not convert"),
        ({"surprise": 1}, "surprise"),
        ({"num_samples": -1}, "negative"),
        ({"num_samples": 5}, "another number of samples"),
        ({"histogram": None}, "metric sums"),
        ({"histogram": {"exponent": 99, "cells": 0, "bytes": [0, 0, 0]}}, "exponent"),
        ({"histogram": {"exponent": 3, "cells": -1, "bytes": [0, 0, 0]}}, "exponent"),
        ({"histogram": {"exponent": 3, "cells": 1 << 17, "bytes": [0, 0, 0]}}, "more than 65536 cells"),
        ({"histogram": {"exponent": 3, "cells": 1, "bytes": [1, 1, 1]}}, "another size"),
        ({"histogram": {"exponent": 3, "cells": 1, "bytes": [-9, 9, 9]}}, "another size"),
        ({"histogram": {"exponent": 3, "cells": 1, "bytes": []}}, "another size"),
    ],
)
def test_malformed_heads_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(MetricsError, match=message):
        MetricSums.from_bytes(wire(change))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1], [-1], [5]), "negative"),
        (([1], [float("nan")], [1]), "negative"),
        (([1], [0.5], [3.5]), "not whole"),
        (([1], [2.0**41], [1]), "beyond"),
        (([1], [1, 1], [1, 1, 1]), "row weights"),
        (([257], [1], [3]), "limit of logits"),
        (([-257], [1], [3]), "limit of logits"),
        (([1 - (1 << 63), (1 << 63) - 1], [1, 1], [1, 1]), "limit of logits"),
        (([], [4], [0]), "counts of no cells"),
    ],
)
def test_malformed_histograms_are_refused(columns: tuple[list[int], list[float], list[float]], message: str) -> None:
    with pytest.raises(MetricsError, match=message):
        MetricSums.from_bytes(wire({}, columns))


def test_cells_in_a_coding_that_is_none_are_refused() -> None:
    good = zlib.decompress(wire({}, ([-2, 5], [1, 1], [0, 2])))
    head, _, body = good.partition(b"\n")
    with pytest.raises(MetricsError, match="row ids"):
        MetricSums.from_bytes(zlib.compress(head + b"\n" + body[:16] + bytes([0]) + body[17:]))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        MetricSums().to_bytes()[:-1],
        MetricSums().to_bytes() + b"x",
        zlib.compress(b" " * MAX_BYTES + b"{}"),
        zlib.compress(b"["),
    ],
)
def test_what_is_not_one_whole_deflated_text_within_the_limit_is_refused(text: bytes) -> None:
    with pytest.raises(MetricsError):
        MetricSums.from_bytes(text)
