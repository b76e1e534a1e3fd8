"""Some thousand inputs for each decoder; and that the fuzzer sees what it is there to see."""

from __future__ import annotations

import time
from pathlib import Path

import fuzz
import pytest
from fuzz_targets import Messages, Target, make_targets

INPUTS = 2000
NAMES = (
    "framing",
    "report",
    "instruction",
    "shard state",
    "metrics",
    "metrics, inflated",
    "layout",
    "row ids",
    "push",
    "first push",
    "exchange",
    "manifest",
    "manifest, signed",
    "shard file",
    "shard increment",
    "journal",
    "private state",
)


def test_every_target_is_fed(tmp_path: Path) -> None:
    assert tuple(target.name for target in make_targets(tmp_path)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_no_input_leads_to_an_undocumented_error_or_breaks_the_decoder(name: str, tmp_path: Path) -> None:
    (target,) = (made for made in make_targets(tmp_path) if made.name == name)
    found = fuzz.fuzz(target, INPUTS, seed=1)
    assert found.inputs == INPUTS
    assert found.faults == {}
    assert 0 < found.answers["taken"] < INPUTS  # neither is all refused at the door, nor is nothing looked at


def planted(fault: BaseException | None = None, *, after: int = 0) -> Target:
    """Return a target that takes all its inputs, but from number `after` on has the fault, if there is one."""
    fed: list[Messages] = []

    def decode(messages: Messages) -> None:
        fed.append(messages)
        if fault is not None and len(fed) > after:
            raise fault

    return Target("planted", [[b"a valid input"]], decode, (ValueError,), lambda: None)


def test_a_documented_error_is_an_answer() -> None:
    found = fuzz.fuzz(planted(ValueError("refused")), 100, seed=1)
    assert (found.faults, found.answers["ValueError"]) == ({}, 100)


def test_any_other_error_is_a_finding_with_its_input() -> None:
    found = fuzz.fuzz(planted(IndexError("out of range"), after=50), 100, seed=1)
    ((where, (words, messages)),) = found.faults.items()
    assert where.startswith("IndexError at test_fuzz.py:")
    assert (words, type(messages)) == ("out of range", list)


def test_memory_beyond_the_bound_is_a_finding() -> None:
    assert len(fuzz.fuzz(planted(MemoryError()), 10, seed=1).faults) == 1


def test_an_input_that_takes_too_long_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "HANG_S", 0.05)

    def decode(_: Messages) -> None:
        end = time.monotonic() + 20.0
        while time.monotonic() < end:
            pass

    found = fuzz.fuzz(Target("planted", [[b"x"]], decode, (ValueError,), lambda: None), 1, seed=1)
    assert [where.partition(" ")[0] for where in found.faults] == ["HangError"]


def test_a_decoder_that_takes_its_valid_input_no_more_is_a_finding() -> None:
    def check() -> None:
        raise ValueError("refused")

    target = Target("planted", [[b"x"]], lambda _: None, (ValueError,), check)
    assert list(fuzz.fuzz(target, 10, seed=1).faults) == ["the valid input"]


def test_inputs_are_a_function_of_the_seed() -> None:
    def inputs(seed: int) -> list[Messages]:
        seen: list[Messages] = []
        fuzz.fuzz(Target("seen", [[b"0123456789"]], seen.append, (), lambda: None), 50, seed)
        return seen

    assert inputs(1) == inputs(1)
    assert inputs(1) != inputs(2)
