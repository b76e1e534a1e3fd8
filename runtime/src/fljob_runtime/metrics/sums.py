"""MetricSums: what trainers send; Metrics: what people read. Sums travel, ratios are computed last.

A trainer makes one MetricSums per evaluation (or training round), the coordinator merges them and computes once.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fljob_runtime.metrics.histogram import (
    LOGIT_LIMIT,
    MAX_EXPONENT,
    MAX_MERGED_CELLS,
    MIN_EXPONENT,
    DyadicHistogram,
)

MAX_BYTES = 1 << 20
TOP_K = 10


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
    hit_rate_at_10: float
    ndcg_at_10: float
    mrr_at_10: float
    num_samples: int


@dataclass(frozen=True)
class MetricSums:
    """Additive parts of the metrics. `num_ranked` is the number of users in the ranking sums."""

    num_samples: int = 0
    loss: float = 0.0
    absolute_error: float = 0.0
    squared_error: float = 0.0
    predicted: float = 0.0
    actual: float = 0.0
    num_ranked: int = 0
    hits: float = 0.0
    ndcg: float = 0.0
    reciprocal_rank: float = 0.0
    histogram: DyadicHistogram = field(default_factory=DyadicHistogram.empty)

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

    def with_ranks(self, ranks: NDArray[np.floating], k: int = TOP_K) -> MetricSums:
        """Add leave-one-out ranking: ranks [users], 0 = the positive is first. HR, NDCG, MRR at k (He et al. 2017)."""
        hit = ranks < k
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {
            "num_ranked": self.num_ranked + len(ranks),
            "hits": self.hits + float(hit.sum()),
            "ndcg": self.ndcg + float((1.0 / np.log2(ranks[hit] + 2.0)).sum()),
            "reciprocal_rank": self.reciprocal_rank + float((1.0 / (ranks[hit] + 1.0)).sum()),
        }
        return MetricSums(**values)

    def merge(self, other: MetricSums) -> MetricSums:
        """Return the sums over both sets of predictions."""
        added = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "histogram"}
        return MetricSums(**added, histogram=self.histogram.merge(other.histogram))

    def compute(self) -> Metrics:
        """Return the ratios."""
        n, ranked = self.num_samples, self.num_ranked
        return Metrics(
            loss=_ratio(self.loss, n),
            auc=self.histogram.auc(),
            auc_bound=self.histogram.auc_bound(),
            mae=_ratio(self.absolute_error, n),
            rmse=math.sqrt(_ratio(self.squared_error, n)) if n else math.nan,
            actual_ctr=_ratio(self.actual, n),
            predicted_ctr=_ratio(self.predicted, n),
            copc=_ratio(self.actual, self.predicted),
            bucket_error=_bucket_error(self.histogram),
            hit_rate_at_10=_ratio(self.hits, ranked),
            ndcg_at_10=_ratio(self.ndcg, ranked),
            mrr_at_10=_ratio(self.reciprocal_rank, ranked),
            num_samples=n,
        )

    def to_bytes(self) -> bytes:
        """Return the wire form: deflated JSON with numbers in full precision and cells as differences."""
        h = self.histogram
        value: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "histogram"}
        value["histogram"] = {
            "exponent": h.exponent,
            "cells": np.diff(h.cells, prepend=0).tolist(),
            "positives": h.positives.tolist(),
            "negatives": h.negatives.tolist(),
        }
        return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), level=1)

    @classmethod
    def from_bytes(cls, wire: bytes) -> MetricSums:
        """Parse and check the wire form; raises MetricsError on anything that `to_bytes` cannot have written."""
        try:
            value: dict[str, Any] = json.loads(_inflated(wire))
            histogram = _read_histogram(value.pop("histogram"))
            known = {f.name: f.type for f in fields(cls) if f.name != "histogram"}
            if value.keys() != known.keys():
                raise MetricsError(f"metric sums: unexpected or missing keys {sorted(value.keys() ^ known.keys())}")
            numbers = {name: (int if kind == "int" else float)(value[name]) for name, kind in known.items()}
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError, zlib.error) as error:
            raise MetricsError(f"metric sums: {error}") from error
        if not all(math.isfinite(number) for number in numbers.values()):
            raise MetricsError("metric sums: a value is not finite")
        if numbers["num_samples"] < 0 or numbers["num_ranked"] < 0:
            raise MetricsError("metric sums: a count is negative")
        if numbers["num_samples"] != int(histogram.positives.sum() + histogram.negatives.sum()):
            raise MetricsError("metric sums: the histogram counts another number of samples")
        return cls(**numbers, histogram=histogram)  # type: ignore[arg-type]  # each has its field's type, see above


def _inflated(wire: bytes) -> bytes:
    """Inflate one whole stream of at most MAX_BYTES; raises ValueError or zlib.error."""
    stream = zlib.decompressobj()
    text = stream.decompress(wire, MAX_BYTES)
    if not stream.eof or stream.unused_data:
        raise ValueError(f"not one whole deflated text of at most {MAX_BYTES} bytes")
    return text


def _read_histogram(value: dict[str, Any]) -> DyadicHistogram:
    exponent = int(value["exponent"])
    steps, positives, negatives = (np.array(value[key], np.int64) for key in ("cells", "positives", "negatives"))
    if not (steps.shape == positives.shape == negatives.shape == (len(steps),)) or len(steps) > MAX_MERGED_CELLS:
        raise MetricsError(f"histogram: columns must be equally long and at most {MAX_MERGED_CELLS}")
    if not MIN_EXPONENT <= exponent <= MAX_EXPONENT or (steps[1:] <= 0).any():
        raise MetricsError("histogram: exponent out of range or cells not ascending")
    if (positives < 0).any() or (negatives < 0).any() or (positives > 1 << 40).any() or (negatives > 1 << 40).any():
        raise MetricsError("histogram: a count is negative or beyond 2^40")
    limit = math.ldexp(LOGIT_LIMIT, exponent)
    if (np.abs(steps.astype(np.float64)) > 2.0 * limit).any():  # so that their sum cannot wrap around either
        raise MetricsError("histogram: a cell lies beyond the limit of logits")
    cells = np.cumsum(steps)
    if (np.abs(cells) > limit).any():
        raise MetricsError("histogram: a cell lies beyond the limit of logits")
    return DyadicHistogram(exponent, cells, positives, negatives)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan


def _bucket_error(histogram: DyadicHistogram, min_impressions: float = 50.0) -> float:
    """Mean |actual / predicted - 1| over runs of cells of equal size (the bucket error of PaddleRec's CTR metrics)."""
    counts = histogram.positives + histogram.negatives
    total = float(counts.sum())
    if total == 0.0:
        return math.nan
    centre = np.ldexp(histogram.cells + 0.5, -histogram.exponent)
    predicted = counts / (1.0 + np.exp(-centre))
    size = max(min_impressions, total / 100.0)
    group = np.floor((np.cumsum(counts) - counts) / size).astype(np.int64)
    _, first = np.unique(group, return_index=True)
    weight = np.add.reduceat(counts, first).astype(np.float64)
    ratio = np.add.reduceat(histogram.positives, first) / np.maximum(np.add.reduceat(predicted, first), 1e-12)
    return float((np.abs(ratio - 1.0) * weight).sum() / total)
