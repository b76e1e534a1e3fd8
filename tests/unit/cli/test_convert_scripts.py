"""Scripts that are read and not run: a name has a value where that is sure, and no stale or foreign one."""

from __future__ import annotations

import pytest

from fljob_cli.convert.scripts import Unread, read_script


def used(text: str) -> list[object]:
    """Return what `size` is wherever a Job is made."""
    script = read_script("job.py", text, {"Job": "Job"}, {})
    values = [use.values["size"] for use in script.uses if use.kind == "Job"]
    return ["?" if isinstance(value, Unread) else value for value in values]


@pytest.mark.parametrize(
    "text",
    [
        "n = 10",
        "n = 3\nn = 10",
        "n = m = 10",
        "n: int = 10",
        "n = 10\nother, k = 2, 5",
        "n = 10\nfor k in (1, 2): pass",
        "n = 10\nwith open(path) as file: pass",
        "n = 10\ndef smoke():\n    n = 2",
        "n = 10\ndef smoke(n): pass",
        "n = 10\nlast = [n for n in (1, 2)]",
        "n = 10\nlast = lambda n: n + 1",
        "if here:\n    n = 10\nelse:\n    n = 10",
        "try:\n    n = 10\nexcept OSError:\n    n = 10",
        "match here:\n    case 1:\n        n = 10\n    case _:\n        pass\nn = 10",
    ],
)
def test_a_name_of_one_value_is_read(text: str) -> None:
    assert used(f"{text}\nJob(size=n)") == [10]


@pytest.mark.parametrize(
    "text",
    [
        "n, k = 2, 5",
        "[n, *k] = 2, 5, 6",
        "for n in (1, 2): pass",
        "for k in (1, 2): n = 2",
        "for k, n in pairs: pass",
        "while more():\n    n = 2",
        "with open(path) as n: pass",
        "with open(path) as (n, k): pass",
        "n += 1",
        "del n",
        "import n",
        "import k as n",
        "from elsewhere import n",
        "from elsewhere import *",
        "def n(): pass",
        "class n: pass",
        "if here:\n    n = 2",
        "if here:\n    n = 10.0\nelse:\n    n = 10",
        "if here:\n    pass\nelse:\n    n = 2",
        "if here:\n    del n",
        "try:\n    n = 2\nexcept OSError: pass",
        "try: pass\nexcept OSError as n: pass",
        "match here:\n    case n: pass",
        "match here:\n    case [1, *n]: pass",
        "match here:\n    case {'k': 1, **n}: pass",
        "match here:\n    case 1:\n        n = 2",
        "def later():\n    global n\n    n = 2\nlater()",
        "more((n := 2))",
    ],
)
def test_a_name_that_may_have_been_given_something_else_is_not_read(text: str) -> None:
    assert used(f"n = 10\n{text}\nJob(size=n)") == ["?"]


@pytest.mark.parametrize("text", ["n.append('c')", "n[0] = 'c'", "n += ['c']", "for k in more: n.append(k)"])
def test_a_list_that_may_have_grown_is_not_read(text: str) -> None:
    assert used(f"n = ['a', 'b']\n{text}\nJob(size=n)") == ["?"]


@pytest.mark.parametrize(
    "text",
    [
        "def smoke(n): Job(size=n)",
        "def smoke(*, n=3): Job(size=n)",
        "async def smoke(*n): Job(size=n)",
        "made = lambda n: Job(size=n)",
        "made = [Job(size=n) for n in (1, 2)]",
        "for k in (1, 2):\n    Job(size=n)\n    n = 2",
        "try:\n    n = 2\n    more()\nexcept OSError: Job(size=n)",
    ],
)
def test_a_name_within_is_not_that_without(text: str) -> None:
    assert used(f"n = 10\n{text}") == ["?"]


def test_a_function_sees_names_outside_that_have_one_value_from_beginning_to_end() -> None:
    assert used("n = 10\ndef main():\n    Job(size=n)\nmain()") == [10]
    assert used("n = 10\ndef main():\n    Job(size=n)\nn = 2\nmain()") == ["?"]


def test_a_function_within_sees_no_name_that_is_bound_again() -> None:
    text = "n = 10\ndef main():\n    n = 2\n    def within():\n        Job(size=n)\n    {}\n    within()"
    assert used(text.format("pass")) == [2]
    assert used(text.format("n = 3")) == ["?"]


def test_what_a_function_binds_is_its_own() -> None:
    assert used("n = 10\ndef smoke():\n    n = 2\n    Job(size=n)\nJob(size=n)") == [2, 10]


def test_an_object_that_is_made_on_either_way_is_known_behind_both() -> None:
    text = "if here:\n    job = Job(size=1)\nelse:\n    job = Job(size=1)\njob.rounds = 4"
    script = read_script("job.py", text, {"Job": "Job"}, {})
    assert [(use.kind, use.name) for use in script.uses] == [("Job", ""), ("Job", ""), ("Job", "rounds")]


@pytest.mark.parametrize("text", ["job, k = 1, 2", "for job in jobs: pass", "job = other()", "def job(): pass"])
def test_an_object_is_forgotten_where_its_name_is_given_something_else(text: str) -> None:
    script = read_script("job.py", f"job = Job(size=1)\n{text}\njob.rounds = 4", {"Job": "Job"}, {})
    assert [use.name for use in script.uses] == [""]


@pytest.mark.parametrize(("text", "times"), [("pass", 7), ("most = 3", None), ("turn = 0", None), ("turn -= 1", None)])
def test_turns_are_counted_where_nothing_else_counts(text: str, times: int | None) -> None:
    loop = "    turn += 1\n    for data in all():\n        break\n    if turn >= most:\n        break\n"
    script = read_script("job.py", f"turn = 0\nmost = 7\nwhile True:\n{loop}    {text}\n", {}, {})
    assert [found.times for found in script.loops] == [times]


def test_constants_are_names_of_one_value() -> None:
    assert read_script("job.py", "a = 1\nb = 2\nb = 3\nc = more()", {}, {}).constants == {"a": 1}
