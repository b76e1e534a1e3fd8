"""MetricSums: what trainers send; Metrics: what people read. Sums travel, ratios are computed last.

A trainer makes one MetricSums per evaluation (or training round), the coordinator merges them and computes once.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.errors import MalformedError
from fljob_runtime.metrics.histogram import (
    LOGIT_LIMIT,
    MAX_EXPONENT,
    MAX_MERGED_CELLS,
    MIN_EXPONENT,
    DyadicHistogram,
)
from fljob_runtime.metrics.ranks import MAX_K, RankCounts
from fljob_runtime.packed import Bytes, pack_ids, pack_weights, unpack_ids, unpack_weights

MAX_BYTES = 1 << 20
_MOST_SPAN, _RELATIVE_DEVIATION = 0.01, 0.05  # of the bucket error


class MetricsError(ValueError):
    """Metric sums that are not well-formed; the message says which part."""


@dataclass(frozen=True)
class Metrics:
    """The ratios, NaN where undefined. Names as in status, reports and dashboards."""

    loss: float
    auc: float
    auc_bound: float
    mae: float
    rmse: float
    actual_ctr: float
    predicted_ctr: float
    copc: float
    bucket_error: float
    precision: float
    recall: float
    f1: float
    average_precision: float
    accuracy: float
    hit_rate_at_10: float
    ndcg_at_10: float
    mrr_at_10: float
    recall_at_20: float
    ndcg_at_20: float
    mrr_at_20: float
    num_samples: int


@dataclass(frozen=True)
class MetricSums:
    """Additive parts of the metrics.

    num_samples, loss: of predictions of every kind. The errors, `predicted`, `actual` and the histogram are those of
    clicks; num_classified and num_correct of classes; items: ranks of the next item among all items; ranked: of a
    user's one positive among drawn negatives.
    """

    num_samples: int = 0
    loss: float = 0.0
    absolute_error: float = 0.0
    squared_error: float = 0.0
    predicted: float = 0.0
    actual: float = 0.0
    num_classified: int = 0
    num_correct: int = 0
    histogram: DyadicHistogram = field(default_factory=DyadicHistogram.empty)
    items: RankCounts = field(default_factory=RankCounts.empty)
    ranked: RankCounts = field(default_factory=RankCounts.empty)

    @classmethod
    def of(cls, logits: NDArray[np.float32], labels: NDArray[np.float32]) -> MetricSums:
        """Sum up predictions: logits [n], labels [n] in {0, 1}. Raises MetricsError on a value that is not finite."""
        if not np.isfinite(logits).all():
            raise MetricsError("predictions are not finite")
        z, y = logits.astype(np.float64), labels.astype(np.float64)
        probability = 0.5 * (1.0 + np.tanh(0.5 * z))  # the sigmoid, without overflow
        error = probability - y
        return cls(
            num_samples=len(z),
            loss=float((np.maximum(z, 0.0) - z * y + np.log1p(np.exp(-np.abs(z)))).sum()),
            absolute_error=float(np.abs(error).sum()),
            squared_error=float((error * error).sum()),
            predicted=float(probability.sum()),
            actual=float(y.sum()),
            histogram=DyadicHistogram.of(logits, labels),
        )

    def with_ranks(self, ranks: NDArray[np.floating] | NDArray[np.integer]) -> MetricSums:
        """Add leave-one-out ranking: ranks [users], 0 = the positive is first (He et al. 2017)."""
        return replace(self, ranked=self.ranked.merge(RankCounts.of(ranks)))

    def merge(self, other: MetricSums) -> MetricSums:
        """Return the sums over both sets of predictions."""
        added = {name: getattr(self, name) + getattr(other, name) for name in _NUMBERS}
        return MetricSums(**added, **{name: getattr(self, name).merge(getattr(other, name)) for name in _PARTS})

    @property
    def mean_loss(self) -> float:
        """Return the loss of `compute` without the rest."""
        return _ratio(self.loss, self.num_samples)

    def compute(self) -> Metrics:
        """Return the ratios."""
        clicks, h = int(self.histogram.positives.sum() + self.histogram.negatives.sum()), self.histogram
        right = self.num_correct if self.num_classified else h.num_right()
        return Metrics(
            loss=self.mean_loss,
            auc=h.auc(),
            auc_bound=h.auc_bound(),
            mae=_ratio(self.absolute_error, clicks),
            rmse=math.sqrt(_ratio(self.squared_error, clicks)) if clicks else math.nan,
            actual_ctr=_ratio(self.actual, clicks),
            predicted_ctr=_ratio(self.predicted, clicks),
            copc=_ratio(self.actual, self.predicted),
            bucket_error=_bucket_error(h),
            precision=h.precision(),
            recall=h.recall(),
            f1=h.f1(),
            average_precision=h.average_precision(),
            accuracy=_ratio(right, self.num_classified or clicks),
            hit_rate_at_10=self.ranked.hit_rate(10),
            ndcg_at_10=self.ranked.ndcg(10),
            mrr_at_10=self.ranked.mrr(10),
            recall_at_20=self.items.hit_rate(20),
            ndcg_at_20=self.items.ndcg(20),
            mrr_at_20=self.items.mrr(20),
            num_samples=self.num_samples,
        )

    def to_bytes(self) -> bytes:
        """Return the wire form, deflated: a line of JSON with numbers in full precision, then the histogram's columns.

        These are `packed`, as ids and weights of rows are: text takes three times as long to write and to read.
        """
        h = self.histogram
        value: dict[str, Any] = {name: getattr(self, name) for name in _NUMBERS}
        columns = [pack_ids(h.cells), *(pack_weights(c.astype(np.float64)) for c in (h.positives, h.negatives))]
        value["histogram"] = {"exponent": h.exponent, "cells": len(h.cells), "bytes": [c.size for c in columns]}
        for name, ranks in (("items", self.items), ("ranked", self.ranked)):
            counts = np.trim_zeros(ranks.counts, "b").tolist()
            value[name] = {"total": ranks.total, "counts": counts}
        head = json.dumps(value, separators=(",", ":")).encode()
        return zlib.compress(b"".join([head, b"\n", *(column.tobytes() for column in columns)]), level=1)

    @classmethod
    def from_bytes(cls, wire: bytes) -> MetricSums:
        """Parse and check the wire form; raises MetricsError on anything that `to_bytes` cannot have written."""
        try:
            head, _, columns = _inflated(wire).partition(b"\n")
            value: dict[str, Any] = json.loads(head)
            histogram = _read_histogram(value.pop("histogram"), np.frombuffer(columns, np.uint8))
            items, ranked = (_read_ranks(value.pop(name)) for name in ("items", "ranked"))
            if value.keys() != _NUMBERS.keys():
                raise MetricsError(f"metric sums: unexpected or missing keys {sorted(value.keys() ^ _NUMBERS.keys())}")
            numbers = {name: kind(value[name]) for name, kind in _NUMBERS.items()}
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
            raise MetricsError(f"metric sums: {error}") from error
        except (MalformedError, zlib.error) as error:
            raise MetricsError(f"metric sums: {error}") from error
        if not all(math.isfinite(number) for number in numbers.values()):
            raise MetricsError("metric sums: a value is not finite")
        if numbers["num_samples"] < 0:
            raise MetricsError("metric sums: a count is negative")
        if not 0 <= numbers["num_correct"] <= numbers["num_classified"]:
            raise MetricsError("metric sums: more classes are right than there are")
        parts = int(histogram.positives.sum() + histogram.negatives.sum()) + numbers["num_classified"] + items.total
        if parts not in (0, numbers["num_samples"]):
            raise MetricsError("metric sums: the histogram, classes and ranks count another number of samples")
        return cls(**numbers, histogram=histogram, items=items, ranked=ranked)  # type: ignore[arg-type]  # each has its field's type


_PARTS = ("histogram", "items", "ranked")
_NUMBERS = {f.name: int if f.type == "int" else float for f in fields(MetricSums) if f.name not in _PARTS}


def _inflated(wire: bytes) -> bytes:
    """Inflate one whole stream of at most MAX_BYTES; raises ValueError or zlib.error."""
    stream = zlib.decompressobj()
    text = stream.decompress(wire, MAX_BYTES)
    if not stream.eof or stream.unused_data:
        raise ValueError(f"not one whole deflated text of at most {MAX_BYTES} bytes")
    return text


def _read_histogram(value: dict[str, Any], columns: Bytes) -> DyadicHistogram:
    """Read what the head says of a histogram, and its columns."""
    exponent, count, sizes = int(value["exponent"]), int(value["cells"]), [int(size) for size in value["bytes"]]
    if not MIN_EXPONENT <= exponent <= MAX_EXPONENT or not 0 <= count <= MAX_MERGED_CELLS:
        raise MetricsError(f"histogram: exponent out of range, or more than {MAX_MERGED_CELLS} cells")
    if len(sizes) != 3 or min(sizes) < 0 or sum(sizes) != columns.size:
        raise MetricsError("histogram: columns of another size than the head says")
    packed = np.split(columns, np.cumsum(sizes)[:2])
    cells = unpack_ids(packed[0], count)
    positives, negatives = (_read_counts(column, count) for column in packed[1:])
    limit = math.ldexp(LOGIT_LIMIT, exponent)
    if count and not (-limit <= cells[0] and cells[-1] <= limit):
        raise MetricsError("histogram: a cell lies beyond the limit of logits")
    return DyadicHistogram(exponent, cells, positives, negatives)


def _read_counts(column: Bytes, count: int) -> NDArray[np.int64]:
    if count == 0:
        if column.size:
            raise MetricsError("histogram: counts of no cells")
        return np.empty(0, np.int64)
    counts = unpack_weights(column, count)
    if not (counts.min() >= 0.0 and counts.max() <= 1 << 40):  # neither holds where one is not a number
        raise MetricsError("histogram: a count is negative or beyond 2^40")
    whole = counts.astype(np.int64)
    if (whole != counts).any():
        raise MetricsError("histogram: a count is not whole")
    return whole


def _read_ranks(value: dict[str, Any]) -> RankCounts:
    total, counts = int(value["total"]), np.array(value["counts"], np.int64)
    if counts.ndim != 1 or len(counts) > 2 * MAX_K or (counts < 0).any() or (counts > 1 << 40).any():
        raise MetricsError(f"ranks: counts must be a list of at most {2 * MAX_K} numbers from 0 to 2^40")
    if not int(counts.sum()) <= total <= 1 << 50:
        raise MetricsError("ranks: fewer targets than ranks")
    return RankCounts(total, np.pad(counts, (0, 2 * MAX_K - len(counts))))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan


def _bucket_error(histogram: DyadicHistogram) -> float:
    """Mean |actual / predicted - 1| over spans of cells that hold enough predictions to tell their click rate.

    A span ends where the relative deviation of its clicks, √((1 - p) / (p n)), falls below 5 %, and begins anew where
    probabilities have moved by 1 %: what was in it then is not counted. Source: BasicAucCalculator of Paddle, whose
    cells are equal in probability. NaN where no span is whole.
    """
    counts = (histogram.positives + histogram.negatives).tolist()
    rates = (1.0 / (1.0 + np.exp(-np.ldexp(histogram.cells + 0.5, -histogram.exponent)))).tolist()
    error = counted = 0.0
    began, shown, expected, clicks = math.nan, 0.0, 0.0, 0.0
    for rate, count, positive in zip(rates, counts, histogram.positives.tolist(), strict=True):
        if not abs(rate - began) <= _MOST_SPAN:
            began, shown, expected, clicks = rate, 0.0, 0.0, 0.0
        shown, expected, clicks = shown + count, expected + rate * count, clicks + positive
        if expected and math.sqrt((shown - expected) / (shown * expected)) < _RELATIVE_DEVIATION:
            error += abs(clicks / expected - 1.0) * shown
            counted += shown
            began = math.nan
    return _ratio(error, counted)
