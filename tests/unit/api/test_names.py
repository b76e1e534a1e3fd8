"""Names of children: short enough, different where the jobs differ, always the same."""

from __future__ import annotations

import re

from fljob_api import names

LONG = "m" * 63


def test_a_short_name_is_its_parts() -> None:
    assert names.fit("movies", "fl") == "movies-fl"


def test_a_long_name_is_cut_to_the_limit() -> None:
    assert len(names.fit(LONG, "coordinator")) == 63


def test_long_names_that_differ_at_the_end_stay_different() -> None:
    assert names.fit(LONG, "a") != names.fit(LONG, "b")


def test_a_name_of_the_limit_is_not_cut() -> None:
    assert names.fit("a" * 63) == "a" * 63


def test_a_cut_name_is_still_a_dns_label() -> None:
    name = names.fit("a" * 53 + "-" * 5, "b" * 20)

    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert "--" not in name


def test_a_child_leaves_room_for_the_suffix_of_its_pod() -> None:
    pod_suffix = "-abcde"

    assert len(names.trainer(LONG, "site-0") + pod_suffix) <= 63


def test_the_progress_of_another_incarnation_is_another_object() -> None:
    assert names.progress("movies", "uid", 1) != names.progress("movies", "uid", 2)


def test_a_host_is_a_pod_of_the_headless_service() -> None:
    assert names.host("movies-server-0", "movies", "films") == "movies-server-0.movies-fl.films.svc"


def test_owned_labels_say_whose_child_it_is() -> None:
    labels = names.owned_labels("movies", "1234")

    assert (labels["fljob.dev/job"], labels["fljob.dev/uid"]) == ("movies", "1234")


def test_the_children_of_one_job_have_the_names_that_people_and_rules_expect() -> None:
    found = (
        names.coordinator("movies"),
        names.server("movies", 1),
        names.trainer("movies", "site-0"),
        names.service("movies"),
        names.config("movies", "12345678-9abc", 2),
        names.progress("movies", "12345678-9abc", 2),
        names.authority_secret("movies"),
        names.tls_secret("movies-server-1", "12345678-9abc"),
        names.service_account("movies", "coordinator"),
        names.checkpoint_claim("movies"),
    )

    assert found == (
        "movies-coordinator",
        "movies-server-1",
        "movies-trainer-site-0",
        "movies-fl",
        "movies-config-12345678-2",
        "movies-progress-12345678-2",
        "movies-ca",
        "movies-server-1-12345678-tls",
        "movies-coordinator",
        "movies-checkpoint",
    )


def test_the_host_in_a_certificate_is_of_one_process_of_one_job() -> None:
    assert names.tls_host("1234", "server", "0") == "0.server.1234.fljob.internal"


def test_an_identity_is_of_one_process_of_one_job() -> None:
    assert names.identity("1234", "trainer", "site-0") == "fljob://1234/trainer/site-0"
