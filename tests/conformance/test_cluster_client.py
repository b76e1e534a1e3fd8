"""One suite for the operator's cluster client: over a real API server, and over the fake of the unit tests.

What the operator relies on holds for both, so a unit test on the fake says what a cluster would do.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import CoreV1Api

from fljob_operator import cluster as cluster_module
from fljob_operator.cluster import ClusterClient, ClusterError, RealCluster
from fljob_operator.desired import Manifest
from fljob_operator.metrics import OperatorMetrics
from support.controlplane import ControlPlane
from support.fake_cluster import FakeCluster

DEADLINE_S = 15.0
KINDS = ("ConfigMap", "Secret", "Job", "FLJob")
VERBS = ("get", "list", "create", "patch", "delete", "update")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Bed:
    """A client, a namespace of the test's own and another one, and a client of somebody who may do nothing."""

    client: ClusterClient
    namespace: str
    other: str
    powerless: ClusterClient

    def config_map(self, name: str, data: Any = None, **meta: Any) -> Manifest:
        body: Manifest = {"apiVersion": "v1", "kind": "ConfigMap"}
        body["metadata"] = {"name": name, "namespace": self.namespace, **meta}
        return body if data is None else {**body, "data": data}

    async def read(self, name: str, kind: str = "ConfigMap") -> Manifest:
        found = await self.client.get(kind, self.namespace, name)
        assert found is not None, f"{kind} {name} is not there"
        return found

    async def gone(self, kind: str, name: str) -> None:
        """Wait until an object is gone: a real cluster deletes what it owns first."""
        async with asyncio.timeout(DEADLINE_S):
            while await self.client.get(kind, self.namespace, name) is not None:
                await asyncio.sleep(0.05)


def fake_bed() -> Bed:
    powerless = FakeCluster()
    powerless.forbidden = set(itertools.product(VERBS, KINDS)) | {("patch", "FLJob/status")}
    return Bed(FakeCluster(), "one", "two", powerless)


@pytest.fixture(scope="module")
def kubeconfigs(apiserver: ControlPlane) -> tuple[Path, Path]:
    """The administrator's, and that of an account without any right."""
    admin = apiserver.with_controllers().kubeconfig
    apiserver.kubectl("create", "namespace", "powerless")
    return admin, apiserver.service_account("powerless", "nobody")


async def real_bed(admin: Path, powerless: Path) -> Bed:
    number = next(_numbers)
    one, two = f"client-{number}", f"client-{number}-other"
    client = await RealCluster.connect(admin, 10.0, OperatorMetrics())
    for namespace in (one, two):
        await CoreV1Api(client.api).create_namespace({"metadata": {"name": namespace}})
    return Bed(client, one, two, await RealCluster.connect(powerless, 10.0, OperatorMetrics()))


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.controllers)])
async def bed(request: pytest.FixtureRequest) -> AsyncIterator[Bed]:
    if request.param == "fake":
        yield fake_bed()
        return
    bed = await real_bed(*request.getfixturevalue("kubeconfigs"))
    yield bed
    for client in (bed.client, bed.powerless):
        assert isinstance(client, RealCluster)
        await client.close()


async def refused(call: Awaitable[object]) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        await call
    return caught.value


def secret(bed: Bed, value: str) -> Manifest:
    meta = {"name": "key", "namespace": bed.namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "immutable": True, "data": {"tls.key": value}}


def batch_job(bed: Bed, image: str) -> Manifest:
    pod = {"restartPolicy": "Never", "containers": [{"name": "fljob", "image": image}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "shard", "namespace": bed.namespace},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }


def fljob(bed: Bed, **spec: Any) -> Manifest:
    base = {"model": {"name": "ncf"}, "rounds": 5, "dataset": {"name": "synthetic"}, "trainers": [{"name": "site-0"}]}
    return {
        "apiVersion": "fljob.dev/v1alpha1",
        "kind": "FLJob",
        "metadata": {"name": "movies", "namespace": bed.namespace},
        "spec": {**base, **spec},
    }


# -- get and create


async def test_what_is_created_is_read_back_with_a_uid_and_a_version(bed: Bed) -> None:
    assert await bed.client.create(bed.config_map("a", {"k": "v"})) is True
    found = await bed.read("a")
    assert (found["kind"], found["data"]) == ("ConfigMap", {"k": "v"})
    assert all(found["metadata"][name] for name in ("uid", "resourceVersion", "creationTimestamp"))


async def test_what_is_not_there_is_none(bed: Bed) -> None:
    assert await bed.client.get("ConfigMap", bed.namespace, "nothing") is None


async def test_creating_what_is_there_says_so_and_changes_nothing(bed: Bed) -> None:
    await bed.client.create(bed.config_map("a", {"k": "first"}))
    before = await bed.read("a")
    assert await bed.client.create(bed.config_map("a", {"k": "second"})) is False
    assert await bed.read("a") == before


async def test_the_same_name_in_another_namespace_is_another_object(bed: Bed) -> None:
    await bed.client.create(bed.config_map("a", {"k": "here"}))
    assert await bed.client.create(bed.config_map("a", {"k": "there"}, namespace=bed.other)) is True
    assert (await bed.read("a"))["data"] == {"k": "here"}


async def test_a_generated_name_is_another_one_each_time(bed: Bed) -> None:
    manifest = bed.config_map("", {"k": "v"}, generateName="event-")
    del manifest["metadata"]["name"]
    assert [await bed.client.create(manifest) for _ in range(2)] == [True, True]
    found = [item["metadata"]["name"] for item in await bed.client.find("ConfigMap", bed.namespace)]
    assert len([name for name in found if name.startswith("event-")]) == 2


async def test_a_new_fljob_has_its_first_generation_and_no_status(bed: Bed) -> None:
    await bed.client.create({**fljob(bed), "status": {"state": "Succeeded"}})
    found = await bed.read("movies", "FLJob")
    assert found["metadata"]["generation"] == 1
    assert "status" not in found


# -- apply


async def test_an_apply_makes_what_is_not_there(bed: Bed) -> None:
    await bed.client.apply(bed.config_map("a", {"k": "v"}, labels={"x": "1"}))
    found = await bed.read("a")
    assert (found["data"], found["metadata"]["labels"]) == ({"k": "v"}, {"x": "1"})


async def test_the_same_apply_again_writes_nothing(bed: Bed) -> None:
    await bed.client.apply(bed.config_map("a", {"k": "v"}))
    before = (await bed.read("a"))["metadata"]["resourceVersion"]
    await bed.client.apply(bed.config_map("a", {"k": "v"}))
    assert (await bed.read("a"))["metadata"]["resourceVersion"] == before


async def test_another_apply_changes_the_object_and_keeps_its_uid(bed: Bed) -> None:
    await bed.client.apply(bed.config_map("a", {"k": "v"}))
    before = (await bed.read("a"))["metadata"]
    await bed.client.apply(bed.config_map("a", {"k": "w"}))
    after = await bed.read("a")
    assert (after["data"], after["metadata"]["uid"]) == ({"k": "w"}, before["uid"])
    assert after["metadata"]["resourceVersion"] != before["resourceVersion"]


async def test_a_field_that_is_no_longer_applied_goes(bed: Bed) -> None:
    await bed.client.apply(bed.config_map("a", {"k": "v", "old": "x"}))
    await bed.client.apply(bed.config_map("a", {"k": "v"}))
    assert (await bed.read("a"))["data"] == {"k": "v"}


async def test_a_field_of_another_manager_stays(bed: Bed) -> None:
    await bed.client.apply(bed.config_map("a", {"mine": "v"}))
    await bed.client.apply(bed.config_map("a", {"theirs": "w"}), manager="somebody")
    await bed.client.apply(bed.config_map("a", {"mine": "v2"}))
    assert (await bed.read("a"))["data"] == {"mine": "v2", "theirs": "w"}


async def test_data_that_the_operator_never_applies_outlives_its_applies(bed: Bed) -> None:
    await bed.client.apply(bed.config_map("progress"))
    await bed.client.apply(bed.config_map("progress", {"progress.json": "{}"}), manager="coordinator")
    await bed.client.apply(bed.config_map("progress", labels={"x": "1"}))
    assert (await bed.read("progress"))["data"] == {"progress.json": "{}"}


async def test_a_conflicting_field_is_taken_over(bed: Bed) -> None:
    await bed.client.apply(bed.config_map("a", {"k": "theirs"}), manager="somebody")
    await bed.client.apply(bed.config_map("a", {"k": "mine"}))
    assert (await bed.read("a"))["data"] == {"k": "mine"}


async def test_what_was_taken_over_is_not_its_former_owners_to_remove(bed: Bed) -> None:
    await bed.client.apply(bed.config_map("a", {"k": "theirs"}), manager="somebody")
    await bed.client.apply(bed.config_map("a", {"k": "mine"}))
    await bed.client.apply(bed.config_map("a"), manager="somebody")
    assert (await bed.read("a"))["data"] == {"k": "mine"}


async def test_what_two_own_stays_until_both_let_go(bed: Bed) -> None:
    for manager in ("first", "second"):
        await bed.client.apply(bed.config_map("a", {"k": "same"}), manager=manager)
    await bed.client.apply(bed.config_map("a"), manager="first")
    assert (await bed.read("a"))["data"] == {"k": "same"}
    await bed.client.apply(bed.config_map("a"), manager="second")
    assert not (await bed.read("a")).get("data")


async def test_an_applied_spec_raises_the_generation_and_a_label_does_not(bed: Bed) -> None:
    await bed.client.apply(fljob(bed))
    await bed.client.apply({**fljob(bed), "metadata": {**fljob(bed)["metadata"], "labels": {"x": "1"}}})
    assert (await bed.read("movies", "FLJob"))["metadata"]["generation"] == 1
    await bed.client.apply(fljob(bed, rounds=6))
    assert (await bed.read("movies", "FLJob"))["metadata"]["generation"] == 2


# -- what cannot be written


async def test_an_immutable_secret_is_refused_another_value(bed: Bed) -> None:
    await bed.client.create(secret(bed, "YQ=="))
    error = await refused(bed.client.apply(secret(bed, "Yg==")))
    assert (error.code, error.retriable) == (422, False)
    assert "immutable" in str(error)
    assert (await bed.read("key", "Secret"))["data"] == {"tls.key": "YQ=="}


async def test_an_immutable_secret_may_get_a_label(bed: Bed) -> None:
    await bed.client.create(secret(bed, "YQ=="))
    labelled = secret(bed, "YQ==")
    labelled["metadata"]["labels"] = {"x": "1"}
    await bed.client.apply(labelled)
    assert (await bed.read("key", "Secret"))["metadata"]["labels"] == {"x": "1"}


async def test_the_template_of_a_job_never_changes(bed: Bed) -> None:
    await bed.client.create(batch_job(bed, "one"))
    error = await refused(bed.client.apply(batch_job(bed, "two")))
    assert (error.code, error.retriable) == (422, False)
    assert "spec.template" in str(error)
    assert (await bed.read("shard", "Job"))["spec"]["template"]["spec"]["containers"][0]["image"] == "one"


async def test_a_schema_error_of_an_apply_is_never_tried_again(bed: Bed) -> None:
    error = await refused(bed.client.apply(bed.config_map("a", data="not a map")))
    assert (error.code, error.retriable) == (500, False)
    assert "failed to create typed patch object" in str(error)


CALLS: dict[str, Callable[[ClusterClient, Bed], Awaitable[object]]] = {
    "get": lambda client, bed: client.get("ConfigMap", bed.namespace, "a"),
    "find": lambda client, bed: client.find("ConfigMap", bed.namespace),
    "create": lambda client, bed: client.create(bed.config_map("a")),
    "apply": lambda client, bed: client.apply(bed.config_map("a")),
    "delete": lambda client, bed: client.delete("ConfigMap", bed.namespace, "a"),
    "put": lambda client, bed: client.put(bed.config_map("a")),
    "status": lambda client, bed: client.patch_status(bed.namespace, "movies", "1", {}),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_missing_right_is_said_and_not_retriable(bed: Bed, call: str) -> None:
    error = await refused(CALLS[call](bed.powerless, bed))
    assert (error.code, error.retriable) == (403, False)
    assert "forbidden" in str(error)


# -- put: the lease


async def test_a_put_at_the_read_version_is_written_and_returned(bed: Bed) -> None:
    await bed.client.create(bed.config_map("lease", {"holder": "a"}))
    read = await bed.read("lease")
    written = await bed.client.put({**read, "data": {"holder": "b"}})
    assert written["metadata"]["resourceVersion"] != read["metadata"]["resourceVersion"]
    assert (await bed.read("lease"))["data"] == {"holder": "b"}


async def test_of_two_puts_at_one_version_the_second_is_a_conflict(bed: Bed) -> None:
    await bed.client.create(bed.config_map("lease", {"holder": ""}))
    read = await bed.read("lease")
    await bed.client.put({**read, "data": {"holder": "first"}})
    error = await refused(bed.client.put({**read, "data": {"holder": "second"}}))
    assert (error.code, error.retriable) == (409, True)
    assert (await bed.read("lease"))["data"] == {"holder": "first"}


async def test_a_put_of_what_is_gone_is_not_found(bed: Bed) -> None:
    await bed.client.create(bed.config_map("lease", {"holder": ""}))
    read = await bed.read("lease")
    await bed.client.delete("ConfigMap", bed.namespace, "lease")
    await bed.gone("ConfigMap", "lease")
    assert (await refused(bed.client.put(read))).code in (404, 409)


# -- status


async def test_a_status_is_replaced_as_a_whole_and_leaves_the_generation(bed: Bed) -> None:
    await bed.client.create(fljob(bed))
    version = (await bed.read("movies", "FLJob"))["metadata"]["resourceVersion"]
    await bed.client.patch_status(bed.namespace, "movies", version, {"state": "Running", "restarts": 2})
    version = (await bed.read("movies", "FLJob"))["metadata"]["resourceVersion"]
    await bed.client.patch_status(bed.namespace, "movies", version, {"state": "Suspended"})
    found = await bed.read("movies", "FLJob")
    assert found["status"]["state"] == "Suspended"
    assert found["status"].get("restarts", 0) == 0
    assert found["metadata"]["generation"] == 1


async def test_a_status_for_a_former_version_is_a_conflict(bed: Bed) -> None:
    await bed.client.create(fljob(bed))
    version = (await bed.read("movies", "FLJob"))["metadata"]["resourceVersion"]
    await bed.client.apply(fljob(bed, rounds=6))
    error = await refused(bed.client.patch_status(bed.namespace, "movies", version, {"state": "Running"}))
    assert (error.code, error.retriable) == (409, True)
    assert "status" not in await bed.read("movies", "FLJob")


async def test_a_status_of_what_is_gone_is_not_found(bed: Bed) -> None:
    error = await refused(bed.client.patch_status(bed.namespace, "movies", "1", {"state": "Running"}))
    assert (error.code, error.retriable) == (404, False)


# -- delete


async def test_a_deleted_object_goes_with_what_it_owns(bed: Bed) -> None:
    await bed.client.create(bed.config_map("owner"))
    uid = (await bed.read("owner"))["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    await bed.client.create(bed.config_map("child", ownerReferences=[owner]))
    await bed.client.create(bed.config_map("stranger"))
    await bed.client.delete("ConfigMap", bed.namespace, "owner")
    await bed.gone("ConfigMap", "owner")
    await bed.gone("ConfigMap", "child")
    await bed.read("stranger")


async def test_deleting_what_is_not_there_is_fine(bed: Bed) -> None:
    await bed.client.delete("ConfigMap", bed.namespace, "nothing")
    await bed.client.delete("ConfigMap", bed.namespace, "nothing", "some-uid")


async def test_a_delete_by_uid_spares_another_object_of_the_name(bed: Bed) -> None:
    await bed.client.create(bed.config_map("a"))
    before = (await bed.read("a"))["metadata"]["uid"]
    await bed.client.delete("ConfigMap", bed.namespace, "a", "11111111-2222-3333-4444-555555555555")
    after = (await bed.read("a"))["metadata"]
    assert (after["uid"], "deletionTimestamp" in after) == (before, False)


async def test_a_delete_by_its_uid_deletes(bed: Bed) -> None:
    await bed.client.create(bed.config_map("a"))
    await bed.client.delete("ConfigMap", bed.namespace, "a", (await bed.read("a"))["metadata"]["uid"])
    await bed.gone("ConfigMap", "a")


# -- find


async def names_of(bed: Bed, selector: str = "", fields: str = "", namespace: str | None = None) -> list[str]:
    where = bed.namespace if namespace is None else namespace
    found = await bed.client.find("ConfigMap", where, selector, fields)
    return [item["metadata"]["name"] for item in found if item["metadata"]["name"] != "kube-root-ca.crt"]


@pytest.fixture
async def labelled(bed: Bed) -> Bed:
    for name, labels in (("c", {"job": "x", "role": "server"}), ("a", {"job": "x"}), ("b", {"job": "y"}), ("d", None)):
        await bed.client.create(bed.config_map(name, labels=labels) if labels else bed.config_map(name))
    await bed.client.create(bed.config_map("far", labels={"job": "x", "test": bed.namespace}, namespace=bed.other))
    return bed


async def test_everything_is_found_without_a_selector_by_name(labelled: Bed) -> None:
    assert await names_of(labelled) == ["a", "b", "c", "d"]


async def test_a_selector_finds_by_value(labelled: Bed) -> None:
    assert await names_of(labelled, "job=x") == ["a", "c"]


async def test_all_parts_of_a_selector_must_hold(labelled: Bed) -> None:
    assert await names_of(labelled, "job=x,role=server") == ["c"]


async def test_a_selector_finds_by_a_labels_presence(labelled: Bed) -> None:
    assert await names_of(labelled, "job") == ["a", "b", "c"]


async def test_a_selector_that_nothing_meets_finds_nothing(labelled: Bed) -> None:
    assert await names_of(labelled, "job=z") == []


async def test_an_object_is_found_by_the_field_of_its_name(labelled: Bed) -> None:
    assert await names_of(labelled, fields="metadata.name=b") == ["b"]


async def test_no_namespace_is_all_of_them(labelled: Bed) -> None:
    assert await names_of(labelled, f"test={labelled.namespace}", namespace="") == ["far"]


async def test_items_of_a_list_do_not_carry_their_kind(labelled: Bed) -> None:
    (found,) = await labelled.client.find("ConfigMap", labelled.namespace, "role=server")
    assert "kind" not in found
    assert "apiVersion" not in found


async def test_a_list_of_several_pages_is_whole(labelled: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "PAGE", 1)
    assert await names_of(labelled) == ["a", "b", "c", "d"]


async def test_a_write_is_in_the_next_list(bed: Bed) -> None:
    for number in range(5):
        await bed.client.create(bed.config_map(f"n{number}", labels={"job": "x"}))
        assert len(await names_of(bed, "job=x")) == number + 1


async def test_events_are_found_by_the_object_and_the_type(bed: Bed) -> None:
    for reason, kind, uid in (
        ("FailedCreate", "Warning", "u1"),
        ("Created", "Normal", "u1"),
        ("Else", "Warning", "u2"),
    ):
        involved = {"kind": "Job", "namespace": bed.namespace, "name": "shard", "uid": uid}
        meta = {"generateName": "shard.", "namespace": bed.namespace}
        event = {"apiVersion": "v1", "kind": "Event", "metadata": meta, "involvedObject": involved}
        await bed.client.create({**event, "reason": reason, "type": kind})
    found = await bed.client.find("Event", bed.namespace, fields="involvedObject.uid=u1,type=Warning")
    assert [item["reason"] for item in found] == ["FailedCreate"]
