"""What a program exports, as numbers by name. Used by tests of the metrics."""

from __future__ import annotations

import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

_CONSTANT = frozenset({"namespace", "job", "shard", "trainer", "le"})


def samples(text: str) -> dict[str, float]:
    """Return the samples but for buckets, by name and by the labels that not all samples of the program share.

    So: `fljob_server_version`, `fljob_server_calls{call="push"}`.
    """
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()) if k not in _CONSTANT)
            if "le" not in sample.labels and not sample.name.endswith("_created"):
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def scrape(port: int) -> dict[str, float]:
    """Return the samples of a program on this machine; none while nothing listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return samples(answer.read().decode())
    except (urllib.error.URLError, ConnectionError):
        return {}
