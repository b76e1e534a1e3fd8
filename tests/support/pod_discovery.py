"""Kubernetes pod discovery for a Prometheus that was built without it, as Debian's is.

Turns the chart's `kubernetes_sd_configs` into `file_sd_configs` and writes the files from the pods that the API server
has, with the same `__meta_kubernetes_*` labels as Prometheus' own discovery of role pod
(https://prometheus.io/docs/prometheus/latest/configuration/configuration/#pod). The chart's relabelling runs unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Manifest = dict[str, Any]


def with_files(config: Manifest, folder: Path) -> Manifest:
    """Return the configuration with each scrape job reading its targets from <folder>/<job_name>.json."""
    jobs = []
    for job in config["scrape_configs"]:
        kept = {key: value for key, value in job.items() if key != "kubernetes_sd_configs"}
        files = [str(folder / f"{job['job_name']}.json")]
        jobs.append({**kept, "file_sd_configs": [{"files": files, "refresh_interval": "1s"}]})
    return {**config, "scrape_configs": jobs}


def write_targets(config: Manifest, pods: Sequence[Manifest], folder: Path) -> None:
    """Write the targets of every scrape job of the chart's configuration as the pods are now."""
    for job in config["scrape_configs"]:
        (discovery,) = job["kubernetes_sd_configs"]
        (selector,) = discovery["selectors"]
        groups = [g for pod in pods if matches(selector["label"], pod) for g in _groups(pod)]
        path = folder / f"{job['job_name']}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(groups))
        partial.replace(path)


def matches(selector: str, pod: Manifest) -> bool:
    """Whether a pod's labels meet a selector of the forms `key` and `key=value`, joined by commas."""
    labels = pod["metadata"].get("labels", {})
    terms = [term.partition("=") for term in selector.split(",")]
    return all(key in labels and (not sign or labels[key] == value) for key, sign, value in terms)


def _groups(pod: Manifest) -> list[Manifest]:
    address = pod.get("status", {}).get("podIP")
    if not address:
        return []
    meta, status = pod["metadata"], pod["status"]
    shared = {
        "__meta_kubernetes_namespace": meta["namespace"],
        "__meta_kubernetes_pod_name": meta["name"],
        "__meta_kubernetes_pod_phase": status.get("phase", ""),
        **{f"__meta_kubernetes_pod_label_{_safe(key)}": value for key, value in meta.get("labels", {}).items()},
    }
    return [
        {
            "targets": [f"{address}:{port['containerPort']}"],
            "labels": {**shared, "__meta_kubernetes_pod_container_port_name": port.get("name", "")},
        }
        for container in pod["spec"]["containers"]
        for port in container.get("ports", ())
    ]


def _safe(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)
