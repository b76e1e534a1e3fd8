"""Commands of the documentation are found, run, and believed only when they end well."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_docs import broken_links, check, commands

ROOT = Path(__file__).parents[3]


def test_only_marked_blocks_are_commands() -> None:
    page = "```console\nrm -rf x\n```\n\n<!-- run -->\n```console\necho a\n```\n"

    assert commands(page) == "echo a"


def test_output_below_a_prompt_is_not_a_command() -> None:
    assert commands("<!-- run -->\n```console\n$ echo a\na\n$ echo b\nb\n```\n") == "echo a\necho b"


def test_the_blocks_of_a_page_make_one_script() -> None:
    block = "<!-- run -->\n```bash\necho {}\n```\ntext\n"

    assert commands(block.format(1) + block.format(2)) == "echo 1\necho 2"


def test_a_failing_command_is_a_fault(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- run -->\n```bash\nfalse\necho after\n```\n", encoding="utf-8")

    (fault,) = check(page, ROOT)

    assert "exit code 1" in fault


def test_a_command_sees_the_examples_of_the_repository(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- run -->\n```bash\ntest -f examples/minimal/fljob.yaml\n```\n", encoding="utf-8")

    assert check(page, ROOT) == []


@pytest.mark.parametrize(
    ("link", "broken"),
    [
        ("there.md", False),
        ("there.md#part", False),
        ("gone.md", True),
        ("https://x.example/gone", False),
        ("#a", False),
    ],
)
def test_a_relative_link_must_lead_somewhere(tmp_path: Path, link: str, broken: bool) -> None:
    (tmp_path / "there.md").write_text("", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(f"[a]({link})", encoding="utf-8")

    assert bool(broken_links(page)) is broken
