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
