"""A cluster in memory. tests/conformance/test_cluster_client.py holds it and the real client to one behaviour.

Used by the operator's unit tests. It runs no controller but the garbage collector's first step: Jobs get no pods
unless a test says so. Lists are replaced as a whole by an apply, where the real one merges some by key.
"""

from __future__ import annotations

import copy
import itertools
import uuid
from collections.abc import Iterator
from typing import Any

from fljob_api import names
from fljob_operator.cluster import API_VERSIONS, ClusterError
from fljob_operator.desired import Manifest

Key = tuple[str, str, str]
Path = tuple[str, ...]
CREATED = "2026-03-01T12:00:00Z"
_MAPS = ("data", "spec", "status")  # a value of another type is a schema error


class FakeCluster:
    """Objects by (kind, namespace, name).

    `writes` lists every write that changed something, for tests that count them; `forbidden` holds (verb, kind).
    """

    def __init__(self) -> None:
        self.objects: dict[Key, Manifest] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.forbidden: set[tuple[str, str]] = set()
        self._owned: dict[tuple[Key, str], set[Path]] = {}
        self._versions = itertools.count(1)

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        self._authorize("get", kind)
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def find(self, kind: str, namespace: str, selector: str = "", fields: str = "") -> list[Manifest]:
        self._authorize("list", kind)
        found = []
        for (item_kind, item_namespace, _), item in sorted(self.objects.items()):
            if item_kind != kind or namespace not in ("", item_namespace):
                continue
            if _selected(item["metadata"].get("labels", {}), selector) and _matches_fields(item, fields):
                found.append({k: v for k, v in copy.deepcopy(item).items() if k not in ("kind", "apiVersion")})
        return found

    async def apply(self, manifest: Manifest, *, manager: str = names.FIELD_MANAGER) -> None:
        key = _key(manifest)
        self._authorize("patch", key[0])
        _check_types(manifest)
        old = self.objects.get(key, {})
        wanted = set(_leaves(manifest))
        others = {path for (k, m), paths in self._owned.items() if k == key and m != manager for path in paths}
        value = _merged(old, manifest)
        for path in self._owned.get((key, manager), set()) - wanted - others:
            _remove(value, path)
        _check_immutable(old, value)
        for (k, m), paths in self._owned.items():  # forced: what is taken over is owned by this manager alone
            if k == key and m != manager:
                paths -= {p for p in paths & wanted if _at(old, p) != _at(value, p)}
        self._owned[key, manager] = wanted
        if value != old:
            self._store("apply", key, value)

    async def create(self, manifest: Manifest) -> bool:
        self._authorize("create", manifest["kind"])
        manifest = copy.deepcopy(manifest)
        if "name" not in manifest["metadata"]:
            manifest["metadata"]["name"] = f"{manifest['metadata'].pop('generateName')}{next(self._versions)}"
        if _key(manifest) in self.objects:
            return False
        if manifest["kind"] == "FLJob":
            manifest.pop("status", None)
        self._store("create", _key(manifest), manifest)
        return True

    async def delete(self, kind: str, namespace: str, name: str, uid: str = "") -> None:
        self._authorize("delete", kind)
        present = self.objects.get((kind, namespace, name))
        if present is None or (uid and uid != present["metadata"]["uid"]):
            return
        del self.objects[kind, namespace, name]
        self.writes.append(("delete", kind, name))
        for key, item in list(self.objects.items()):
            owners = item["metadata"].get("ownerReferences", ())
            if any(owner["uid"] == present["metadata"]["uid"] for owner in owners):
                await self.delete(*key)

    async def put(self, manifest: Manifest) -> Manifest:
        key = _key(manifest)
        self._authorize("update", key[0])
        self._at_version(key, manifest["metadata"].get("resourceVersion", ""))
        _check_immutable(self.objects[key], manifest)
        self._store("put", key, {**manifest, "metadata": {**self.objects[key]["metadata"], **manifest["metadata"]}})
        return copy.deepcopy(self.objects[key])

    async def patch_status(self, namespace: str, name: str, resource_version: str, status: Manifest) -> None:
        key = ("FLJob", namespace, name)
        self._authorize("patch", "FLJob/status")
        self._at_version(key, resource_version)
        self._store("status", key, {**self.objects[key], "status": copy.deepcopy(status)})

    def _authorize(self, verb: str, kind: str) -> None:
        if (verb, kind) in self.forbidden:
            raise ClusterError(403, f"{kind} is forbidden: the test's user cannot {verb} it")

    def _at_version(self, key: Key, version: str) -> None:
        if key not in self.objects:
            raise ClusterError(404, f"{key[0]} {key[2]!r} not found")
        if version and self.objects[key]["metadata"]["resourceVersion"] != version:
            raise ClusterError(409, f"Operation cannot be fulfilled on {key[2]!r}: the object has been modified")

    def _store(self, verb: str, key: Key, value: Manifest) -> None:
        value = {"apiVersion": API_VERSIONS[key[0]], "kind": key[0], **copy.deepcopy(value)}
        meta, old = value["metadata"], self.objects.get(key, {})
        meta.setdefault("uid", str(uuid.uuid4()))
        meta.setdefault("creationTimestamp", CREATED)
        if key[0] == "FLJob":
            changed = bool(old) and old.get("spec") != value.get("spec")
            meta["generation"] = meta.get("generation", 1) + (1 if changed else 0)
        meta["resourceVersion"] = str(next(self._versions))
        self.objects[key] = value
        self.writes.append((verb, key[0], key[2]))


def _key(manifest: Manifest) -> Key:
    meta = manifest["metadata"]
    return manifest["kind"], meta["namespace"], meta["name"]


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return copy.deepcopy(new)


def _leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield path


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _remove(value: Manifest, path: Path) -> None:
    """Remove a field, and the mappings that are empty without it."""
    parent = _at(value, path[:-1])
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
        if not parent and len(path) > 1:
            _remove(value, path[:-1])


def _check_types(manifest: Manifest) -> None:
    for name in _MAPS:
        if not isinstance(manifest.get(name, {}), dict):
            raise ClusterError(500, f"failed to create typed patch object: .{name}: expected map")


def _check_immutable(old: Manifest, new: Manifest) -> None:
    if old.get("immutable") and (old.get("data") != new.get("data") or not new.get("immutable")):
        raise ClusterError(
            422, f"{old['kind']} is invalid: data: Forbidden: field is immutable when `immutable` is set"
        )
    if old.get("kind") == "Job" and old["spec"].get("template") != new["spec"].get("template"):
        raise ClusterError(422, "Job is invalid: spec.template: field is immutable")


def _selected(labels: dict[str, str], selector: str) -> bool:
    for part in selector.split(","):
        name, equals, wanted = part.partition("=")
        if part and (name not in labels or (equals and labels[name] != wanted)):
            return False
    return True


def _matches_fields(item: Manifest, fields: str) -> bool:
    return all(_at(item, tuple(p.split("=", 1)[0].split("."))) == p.split("=", 1)[1] for p in fields.split(",") if p)
