"""A cluster in memory: server-side apply by deep merge, label selectors, resource versions.

No shared suite compares it with a real API server yet; tests/cluster runs the real client.

Used by the operator's unit tests. It runs no controllers: Jobs get no pods unless a test says so.
"""

from __future__ import annotations

import copy
import itertools
import uuid
from typing import Any

from fljob_api import names
from fljob_operator.cluster import ClusterError
from fljob_operator.desired import Manifest

Key = tuple[str, str, str]


class FakeCluster:
    """Objects by (kind, namespace, name). `writes` lists every write, for tests that count them."""

    def __init__(self) -> None:
        self.objects: dict[Key, Manifest] = {}
        self.writes: list[tuple[str, str, str]] = []
        self._versions = itertools.count(1)

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def find(self, kind: str, namespace: str, selector: str = "", fields: str = "") -> list[Manifest]:
        wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
        found = []
        for (item_kind, item_namespace, _), item in sorted(self.objects.items()):
            labels = item["metadata"].get("labels", {})
            if item_kind == kind and namespace in ("", item_namespace) and wanted.items() <= labels.items():
                found.append(copy.deepcopy(item))
        return [item for item in found if not fields or _matches_fields(item, fields)]

    async def apply(self, manifest: Manifest, *, manager: str = names.FIELD_MANAGER) -> None:  # noqa: ARG002 - as the real one
        key = _key(manifest)
        self._store("apply", key, _merged(self.objects.get(key, {}), manifest))

    async def create(self, manifest: Manifest) -> bool:
        manifest = copy.deepcopy(manifest)
        if "name" not in manifest["metadata"]:
            manifest["metadata"]["name"] = f"{manifest['metadata'].pop('generateName')}{next(self._versions)}"
        if _key(manifest) in self.objects:
            return False
        self._store("create", _key(manifest), manifest)
        return True

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        gone = self.objects.pop((kind, namespace, name), None)
        if gone is not None:
            self.writes.append(("delete", kind, name))

    async def patch_status(self, namespace: str, name: str, resource_version: str, status: Manifest) -> None:
        key = ("FLJob", namespace, name)
        if key not in self.objects:
            raise ClusterError(404, f"fljobs {name!r} not found")
        if self.objects[key]["metadata"]["resourceVersion"] != resource_version:
            raise ClusterError(409, "the object has been modified")
        self._store("status", key, {**self.objects[key], "status": copy.deepcopy(status)})

    def _store(self, verb: str, key: Key, value: Manifest) -> None:
        value = copy.deepcopy(value)
        value["metadata"].setdefault("uid", str(uuid.uuid4()))
        value["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[key] = value
        self.writes.append((verb, key[0], key[2]))


def _key(manifest: Manifest) -> Key:
    meta = manifest["metadata"]
    return manifest["kind"], meta["namespace"], meta["name"]


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return copy.deepcopy(new)


def _matches_fields(item: Manifest, fields: str) -> bool:
    for part in fields.split(","):
        path, wanted = part.split("=", 1)
        value: Any = item
        for step in path.split("."):
            value = value.get(step, {}) if isinstance(value, dict) else {}
        if value != wanted:
            return False
    return True
