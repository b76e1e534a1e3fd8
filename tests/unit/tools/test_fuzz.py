"""A thousand inputs for each decoder; and that the fuzzer sees what it is there to see."""

from __future__ import annotations

import json
from pathlib import Path

import fuzz
import pytest
from fuzz import Plan, Result

from fuzzing.target import MAX_MESSAGE, join, split
from fuzzing.targets import make_targets
from support.planted_targets import VALID, WORD

pytestmark = pytest.mark.timeout(900)  # a process with the runtime instrumented for each; a busy machine takes minutes
INPUTS = 1000
NAMES = (
    "report",
    "instruction",
    "shard-state",
    "metrics",
    "metrics-inflated",
    "layout",
    "row-ids",
    "framing",
    "push",
    "first-push",
    "push-fp16",
    "push-bf16",
    "push-int8",
    "push-int4",
    "push-topK",
    "push-sketch",
    "push-topK-sketch-int4",
    "exchange",
    "pull",
    "pull-answer",
    "exchange-answer",
    "manifest",
    "manifest-signed",
    "shard-file",
    "shard-increment",
    "checkpoint",
    "journal",
    "segment",
    "private-state",
    "site-manifest",
    "score-request",
)


def test_every_target_is_fed(tmp_path: Path) -> None:
    assert tuple(make_targets(tmp_path)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_valid_inputs_are_taken(name: str, tmp_path: Path) -> None:
    target = make_targets(tmp_path)[name]
    for data in target.valid:
        target.decode(data)
    target.check()


@pytest.mark.atheris
@pytest.mark.parametrize("name", NAMES)
def test_no_input_leads_to_an_undocumented_error_or_breaks_the_decoder(name: str, tmp_path: Path) -> None:
    found = fuzz.fuzz(name, tmp_path, Plan(INPUTS, seed=1))
    assert (found.finding, found.inputs) == ("", INPUTS)
    assert 0 < found.taken < INPUTS  # neither is all refused at the door, nor is nothing looked at
    assert found.branches > 0  # the inputs were led by what they reached


def planted(name: str, tmp_path: Path, *, inputs: int = 20_000, hang_s: int = fuzz.HANG_S) -> Result:
    return fuzz.fuzz(name, tmp_path, Plan(inputs, seed=1, hang_s=hang_s, module="support.planted_targets"))


@pytest.mark.atheris
def test_a_documented_error_is_an_answer(tmp_path: Path) -> None:
    found = planted("nothing", tmp_path, inputs=100)
    assert (found.finding, found.inputs) == ("", 100)
    assert found.taken >= 1


@pytest.mark.atheris
def test_any_other_error_is_a_finding_with_its_input(tmp_path: Path) -> None:
    found = planted("fault", tmp_path)
    assert found.finding.startswith("IndexError: out of range")
    assert "planted_targets.py" in found.finding
    assert WORD in bytes.fromhex(found.input)


@pytest.mark.atheris
def test_a_streams_messages_are_changed_one_by_one(tmp_path: Path) -> None:
    found = planted("stream", tmp_path, inputs=200_000)
    first, second = split(bytes.fromhex(found.input))
    assert (first, WORD in second) == (b"one", True)


@pytest.mark.atheris
def test_memory_beyond_the_bound_is_a_finding(tmp_path: Path) -> None:
    assert planted("memory", tmp_path).finding.startswith("MemoryError")


@pytest.mark.atheris
def test_an_input_that_takes_too_long_is_a_finding(tmp_path: Path) -> None:
    found = planted("hang", tmp_path, hang_s=1)
    assert "timeout" in found.finding
    assert bytes.fromhex(found.input) != VALID


@pytest.mark.atheris
def test_a_decoder_that_takes_its_valid_input_no_more_is_a_finding(tmp_path: Path) -> None:
    assert planted("forgetful", tmp_path, inputs=10).finding.startswith("ValueError: refused")


def test_an_input_is_repeated_without_the_fuzzer(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--only", "layout", "--repeat", b"[".hex()]) == 0
    assert "layout refuses it: LayoutError" in capsys.readouterr().out


@pytest.mark.atheris
def test_the_last_line_says_what_happened_to_each_target(capsys: pytest.CaptureFixture[str]) -> None:
    code = fuzz.main(["--inputs", "50", "--only", "layout", "framing"])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == 0
    assert [(one["target"], one["inputs"]) for one in said["targets"]] == [("layout", 50), ("framing", 50)]


def test_messages_of_a_stream_come_apart_as_they_were_joined() -> None:
    assert split(join([b"", b"one", bytes(MAX_MESSAGE)])) == [b"", b"one", bytes(MAX_MESSAGE)]


def test_every_input_is_some_stream() -> None:
    assert split(b"\x05\x00ab") == [b"ab"]
    assert split(b"\x05") == [b""]
