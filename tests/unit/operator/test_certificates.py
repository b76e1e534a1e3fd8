"""Certificates that somebody deletes: what can be made again is; where the authority is gone, all begin anew."""

from __future__ import annotations

import base64

from cryptography import x509
from unit.operator.bench import KEY, Bench

from fljob_api import names
from support.operator_values import UID

CHILDREN = ("movies-coordinator", "movies-server-0", "movies-trainer-site-0", "movies-trainer-site-1")
AUTHORITY = "movies-ca"


def secret(child: str, incarnation: int = 1) -> str:
    return names.tls_secret(child, UID, incarnation)


def pem(bench: Bench, name: str, file: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(bench.cluster.objects["Secret", "lab", name]["data"][file]))


def drop(bench: Bench, *secrets: str) -> None:
    for name in secrets:
        del bench.cluster.objects["Secret", "lab", name]


def add_ready_pods(bench: Bench) -> None:
    for child in CHILDREN:
        labels = bench.cluster.objects["Job", "lab", child]["metadata"]["labels"] | {"job-name": child}
        meta = {"name": f"{child}-x", "namespace": "lab", "labels": labels}
        status = {"phase": "Running", "containerStatuses": [{"ready": True, "state": {"running": {}}}]}
        bench.put({"kind": "Pod", "metadata": meta, "spec": {"containers": [{}]}, "status": status})


async def test_a_lost_certificate_is_issued_again_by_the_same_authority() -> None:
    bench = Bench()
    await bench.turn()
    before = pem(bench, AUTHORITY, "tls.crt")
    drop(bench, secret("movies-server-0"))
    await bench.turn()
    pem(bench, secret("movies-server-0"), "tls.crt").verify_directly_issued_by(before)
    assert bench.status["incarnation"] == 1


async def test_a_lost_authority_alone_stops_nothing() -> None:
    bench = Bench()
    await bench.turn()
    drop(bench, AUTHORITY)
    await bench.turn(2)
    assert bench.status["incarnation"] == 1
    assert len(bench.names("Job")) == 4


async def test_authority_and_certificate_lost_begin_the_next_incarnation_with_one_new_authority() -> None:
    bench = Bench()
    await bench.turn()
    drop(bench, AUTHORITY, secret("movies-server-0"))
    await bench.turn()
    assert bench.condition("ResourcesReady")[:2] == ("False", "CertificatesLost")
    assert bench.names("Job") == set()
    await bench.turn()
    authority = pem(bench, AUTHORITY, "tls.crt")
    for child in CHILDREN:
        pem(bench, secret(child, 2), "tls.crt").verify_directly_issued_by(authority)
        assert pem(bench, secret(child, 2), "ca.crt") == authority
    incarnations = {
        bench.cluster.objects["Job", "lab", c]["metadata"]["labels"][names.LABEL_INCARNATION] for c in CHILDREN
    }
    assert (bench.status["incarnation"], incarnations) == (2, {"2"})


async def test_the_jobs_of_the_next_incarnation_mount_its_certificates() -> None:
    bench = Bench()
    await bench.turn()
    drop(bench, AUTHORITY, *(secret(child) for child in CHILDREN))
    await bench.turn(2)
    spec = bench.cluster.objects["Job", "lab", "movies-server-0"]["spec"]["template"]["spec"]
    mounted = next(v["secret"]["secretName"] for v in spec["volumes"] if v["name"] == "tls")
    assert mounted == secret("movies-server-0", 2)
    assert mounted in bench.names("Secret")


async def test_a_certificate_of_another_authority_is_found_and_mended() -> None:
    bench = Bench()
    await bench.turn()
    kept = {n: bench.cluster.objects["Secret", "lab", n] for n in bench.names("Secret")}
    drop(bench, *kept)
    other = Bench()
    await other.turn()
    for name, item in kept.items():
        bench.put(item if name != AUTHORITY else other.cluster.objects["Secret", "lab", AUTHORITY])
    await bench.turn(2)
    assert bench.status["incarnation"] == 2


async def test_pods_that_run_are_not_stopped_for_a_lost_authority() -> None:
    bench = Bench()
    await bench.turn()
    add_ready_pods(bench)
    drop(bench, AUTHORITY, secret("movies-server-0"))
    bench.controller.resync(KEY)
    await bench.turn(2)
    assert bench.status["incarnation"] == 1
    assert secret("movies-server-0") not in bench.names("Secret")


async def test_the_lost_authority_settles_in_one_incarnation() -> None:
    bench = Bench()
    await bench.turn()
    drop(bench, AUTHORITY, secret("movies-server-0"))
    await bench.turn(5)
    assert bench.status["incarnation"] == 2
    bench.cluster.writes.clear()
    await bench.turn()
    assert bench.cluster.writes == []
