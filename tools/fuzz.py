"""Random and mutated inputs to all that decodes others' bytes: the wire, checkpoints, the journal. `make fuzz`.

    python tools/fuzz.py [--inputs 1000000] [--seed 1] [--only NAME ...]

Each target of `fuzz_targets` gets that many inputs: valid ones with bits flipped, cut, spliced, with lengths and
numbers made huge, messages repeated, lost or swapped, and pure noise. A finding is any exception but those that the
decoder documents, an input that takes over five seconds, memory beyond the bound, or a decoder that does not take the
valid input any more. A finding is printed with its input, in hex; the exit code is then 1. The last line is JSON.
Input i of a target is a function of (seed, target, i) alone.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from fuzz_targets import Messages, Target, make_targets
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

MEMORY_BYTES = 1 << 30  # address space on top of what the process has at the start
HANG_S = 5.0
FILE_BYTES = 64 << 20
_CHECK_EVERY = 2000
_MAX_FINDINGS = 5
_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 62,
    (1 << 64) - 1,
)
_WORDS = (
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"{}",
    b"[]",
    b'""',
    b"9" * 20,
    b"9" * 5000,
    b"[" * 2000,
    b'{"a":' * 2000,
    b"true",
)


class HangError(Exception):
    """An input took too long."""


@dataclass
class Findings:
    """What one target's inputs led to: how often which answer, and each kind of failure with its first input."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    faults: dict[str, tuple[str, Messages]] = field(default_factory=dict)


def mutate(dice: random.Random, messages: Messages, others: list[Messages]) -> Messages:
    """Return an input made from a valid one; others: valid ones to splice from."""
    kind = dice.random()
    if kind < 0.03:
        return [dice.randbytes(dice.choice((0, 1, 8, 60, 300))) for _ in range(dice.randint(0, 3))]
    made = list(messages)
    if kind < 0.2 and len(made) > 1:
        made = _rearranged(dice, made)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        where = dice.randrange(len(made)) if made else 0
        if made:
            made[where] = _changed(dice, made[where], dice.choice(dice.choice(others)))
    return made


def _rearranged(dice: random.Random, messages: Messages) -> Messages:
    first, second = dice.randrange(len(messages)), dice.randrange(len(messages))
    match dice.randrange(4):
        case 0:
            return messages[:first] + messages[first + 1 :]
        case 1:
            return messages[: first + 1] + messages[second:]
        case 2:
            return messages + [messages[first]] * dice.choice((1, 3, 50))
        case _:
            messages[first], messages[second] = messages[second], messages[first]
            return messages


def _changed(dice: random.Random, data: bytes, other: bytes) -> bytes:
    size = len(data)
    start = dice.randrange(size + 1)
    stop = min(size, start + dice.choice((1, 2, 4, 8, 8, 40)))
    middle = data[start:stop]
    match dice.randrange(9):
        case 0 if middle:
            middle = bytes((middle[0] ^ 1 << dice.randrange(8),)) + middle[1:]
        case 1:
            return data[:start]
        case 2:
            middle = b""
        case 3:
            middle *= dice.choice((2, 3, 100))
        case 4:
            middle = dice.randbytes(len(middle))
        case 5:
            width = dice.choice((1, 2, 4, 8))
            middle = (dice.choice(_NUMBERS) & (1 << 8 * width) - 1).to_bytes(width, dice.choice(("little", "big")))
            stop = start + width
        case 6:
            return _number_replaced(dice, data)
        case 7:
            cut = dice.randrange(len(other) + 1)
            middle = other[cut : cut + dice.choice((8, 64, len(other)))]
        case _:
            return data + dice.randbytes(dice.choice((1, 8, 100)))
    return data[:start] + middle + data[stop:]


def _number_replaced(dice: random.Random, data: bytes) -> bytes:
    """Put something else in the place of a run of digits, as texts have them; where there is none, at the end."""
    at = [i for i in range(len(data)) if 48 <= data[i] < 58 and (i == 0 or not 48 <= data[i - 1] < 58)]
    start = dice.choice(at) if at else len(data)
    stop = start
    while stop < len(data) and 48 <= data[stop] < 58:
        stop += 1
    word = dice.choice(_WORDS) if dice.random() < 0.5 else str(dice.choice(_NUMBERS)).encode()
    return data[:start] + word + data[stop:]


def fuzz(target: Target, inputs: int, seed: int, advance: Callable[[int], None] = lambda _: None) -> Findings:
    """Feed a target; return what happened."""
    found = Findings(target.name)
    began = time.monotonic()
    with _alarmed():
        for number in range(inputs):
            dice = random.Random(f"{seed} {target.name} {number}")
            valid = target.valid[number % len(target.valid)]
            _feed(target, mutate(dice, valid, target.valid), found)
            if (number + 1) % _CHECK_EVERY == 0 or number + 1 == inputs:
                _check(target, found)
                advance(number + 1 - found.inputs)
                found.inputs = number + 1
                if len(found.faults) >= _MAX_FINDINGS:
                    break
    found.seconds = time.monotonic() - began
    return found


def _feed(target: Target, messages: Messages, found: Findings) -> None:
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        target.decode(messages)
        found.answers["taken"] += 1
    except target.documented as error:
        found.answers[type(error).__name__] += 1
    except (Exception, target.panics) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
        found.faults.setdefault(where, (str(error)[:200], messages))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _check(target: Target, found: Findings) -> None:
    """See that the valid inputs are still taken as at first."""
    try:
        target.check()
    except Exception as error:
        found.faults.setdefault("the valid input", (f"fails after {found.inputs} inputs: {error!r}", []))


@contextmanager
def _alarmed() -> Iterator[None]:
    def raise_hang(_number: int, _frame: FrameType | None) -> None:
        raise HangError(f"an input took more than {HANG_S} s")

    before = signal.signal(signal.SIGALRM, raise_hang)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def bound_memory() -> None:
    """Let this process have no more address space than now and MEMORY_BYTES, and no file past FILE_BYTES."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Random and mutated inputs to the decoders.")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="names of targets")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Feed all targets; return the exit code."""
    options = _parse(arguments)
    logging.disable(logging.WARNING)  # decoders that skip what is damaged say so each time
    console = Console(stderr=True)
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None, prefix="fljob-fuzz-") as folder:
        targets = [t for t in make_targets(Path(folder)) if not options.only or t.name in options.only]
        bound_memory()
        with Progress(console=console) as progress:
            task = progress.add_task("inputs", total=options.inputs * len(targets))
            every = [fuzz(t, options.inputs, options.seed, lambda n: progress.advance(task, n)) for t in targets]
    table = Table("target", "inputs", "seconds", "taken", "refused", "findings")
    for one in every:
        taken = one.answers["taken"]
        counts = (str(one.inputs), f"{one.seconds:.0f}", str(taken), str(one.answers.total() - taken))
        table.add_row(one.target, *counts, str(len(one.faults)))
        for where, (words, messages) in one.faults.items():
            shown = [m[:400].hex() for m in messages[:4]]
            console.print(f"{one.target}: {where}: {words}\n  input: {shown}", markup=False, soft_wrap=True)
    Console().print(table)
    told = {
        one.target: {"inputs": one.inputs, "seconds": round(one.seconds, 1), "findings": list(one.faults)}
        for one in every
    }
    sys.stdout.write(json.dumps({"seed": options.seed, "peak_rss_mib": _peak_mib(), "targets": told}) + "\n")
    return 1 if any(one.faults for one in every) else 0


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
