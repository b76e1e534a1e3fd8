"""Names of children: short enough, different where the jobs differ, always the same."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from fljob_api import names

LONG = "m" * 63
PARTS = st.lists(st.sampled_from(["a", "b", "trainer", "coordinator", "server", "0"]), min_size=1, max_size=4)
NAMES = PARTS.map("-".join)


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


def children(job: str, trainer: str) -> set[str]:
    return {names.coordinator(job), names.server(job, 0), names.trainer(job, trainer)}


@given(first=st.tuples(NAMES, NAMES), second=st.tuples(NAMES, NAMES))
def test_two_jobs_of_a_namespace_share_no_child(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert first[0] == second[0] or not children(*first) & children(*second)


def test_a_trainer_named_like_a_role_is_not_another_jobs_coordinator() -> None:
    assert names.trainer("a", "coordinator") != names.coordinator("a-trainer")


def test_a_trainer_named_like_another_jobs_trainer_is_told_apart() -> None:
    assert names.trainer("a", "b-trainer-c") != names.trainer("a-trainer-b", "c")


def test_a_name_that_only_one_job_can_have_carries_no_hash() -> None:
    assert names.trainer("a", "coordinator-1") == "a-trainer-coordinator-1"


def test_each_later_incarnation_has_certificates_of_its_own() -> None:
    found = [names.tls_secret("movies-server-0", "12345678-9abc", n) for n in (1, 2, 3)]

    assert found == [
        "movies-server-0-12345678-tls",
        "movies-server-0-12345678-2-tls",
        "movies-server-0-12345678-3-tls",
    ]
