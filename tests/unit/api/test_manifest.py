"""Strict reading of YAML."""

from __future__ import annotations

import pytest

from fljob_api.manifest import MAX_BYTES, ManifestError, read

ALIASES = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]" for before, name in zip("abcdef", "bcdefg", strict=True)
)


def test_plain_data_comes_out() -> None:
    text = "a: {b: [1, x, true, null, 1.5]}"

    assert read(text).value == {"a": {"b": [1, "x", True, None, 1.5]}}


def test_a_date_stays_text_as_in_json() -> None:
    assert read("day: 2026-01-02").value == {"day": "2026-01-02"}


def test_json_is_read_too() -> None:
    assert read('{"a": {"b": [1]}}').value == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "a", "line 3: the key is given twice"),
        ("a:\n  b: 1\n  b: 2\n", "a.b", "line 3: the key is given twice"),
        ("a: 1\n---\nb: 2\n", "", "second document"),
        ("", "", "empty"),
        ("- a", "", "must be a mapping"),
        ("a: [1", "", "not valid YAML: line 1"),
        ("a: !!python/object:os.system x", "a", "no meaning here"),
        ("a: !!binary aGk=", "a", "no meaning here"),
        ("1: x", "", "the key '1' is not text"),
        ("a: &x {b: 1}\nc: {<<: *x}", "c", "merge keys"),
        ("a: " + "x" * MAX_BYTES, "", "larger than"),
        (ALIASES, None, "more than 100000 values"),
    ],
    ids=[
        "duplicate key",
        "nested duplicate key",
        "two documents",
        "nothing",
        "a list",
        "broken",
        "python tag",
        "binary",
        "number as key",
        "merge key",
        "too large",
        "alias bomb",
    ],
)
def test_what_is_no_manifest_is_refused(text: str, path: str | None, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(text)

    (problem,) = caught.value.problems
    assert words in problem.message
    assert path is None or problem.path == path


def test_every_fault_of_form_is_told_at_once() -> None:
    with pytest.raises(ManifestError) as caught:
        read("a: 1\na: 2\n3: x\n")

    assert [problem.message for problem in caught.value.problems] == [
        "line 2: the key is given twice",
        "line 3: the key '3' is not text; quote it",
    ]


def test_each_path_knows_its_line() -> None:
    manifest = read("spec:\n  trainers:\n  - name: a\n  - name: b\n")

    assert manifest.line_of("spec.trainers[1].name") == 4


def test_a_path_that_is_not_there_has_the_line_of_what_is_around_it() -> None:
    manifest = read("spec:\n  trainers:\n  - name: a\n  - name: b\n")

    assert manifest.line_of("spec.trainers[1].data.csi") == 4


def test_a_path_of_nothing_has_line_one() -> None:
    assert read("spec: {}").line_of("metadata.name") == 1
