"""The process that feeds one target, started by tools/fuzz.py.

    python -m fuzzing.child MODULE TARGET FOLDER INPUTS LIBFUZZER-OPTION ...

libFuzzer makes the inputs, led by the branches of fljob_runtime that they reach (https://github.com/google/atheris).
A stream's messages are changed one at a time, or lost, repeated and swapped. What is no refusal, an input over the
limits of time and memory, and valid input that is not taken any more end the process as a finding.
FOLDER/counts.json says how often what was answered.
"""

from __future__ import annotations

import atexit
import importlib
import json
import logging
import random
import resource
import sys
from collections import Counter
from pathlib import Path

import atheris

from fuzzing.target import MAX_MESSAGE, Target, join, split

MEMORY_BYTES = 1 << 30  # address space on top of what the process has at the start
FILE_BYTES = 64 << 20
MIN_INPUT_BYTES = 4096
CHECK_EVERY = 2000
COUNTS = "counts.json"
_REARRANGED = 0.15


class Feeder:
    """Feeds a target and counts its answers."""

    def __init__(self, target: Target, counts: Path, inputs: int) -> None:
        """inputs: how many will come."""
        self._target = target
        self._counts = counts
        self._inputs = inputs
        self._answers: Counter[str] = Counter()

    def feed(self, data: bytes) -> None:
        """Decode one input; raises what is no refusal."""
        try:
            self._target.decode(data)
            answer = "taken"
        except self._target.refusals as error:
            answer = type(error).__name__
        self._answers[answer] += 1
        fed = self._answers.total()
        if fed % CHECK_EVERY == 0 or fed == self._inputs:
            self.tell()
            self._target.check()

    def tell(self) -> None:
        """Write the counts."""
        draft = self._counts.with_suffix(".tmp")
        draft.write_text(json.dumps(self._answers))
        draft.replace(self._counts)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Return a changed stream: one message changed by libFuzzer, or whole ones moved."""
    dice = random.Random(seed)
    messages = split(data)
    if not messages or dice.random() < _REARRANGED:
        messages = rearranged(dice, messages)
    else:
        at = dice.randrange(len(messages))
        room = min(MAX_MESSAGE, max(1, max_size - len(data) + len(messages[at])))
        messages[at] = atheris.Mutate(messages[at], room)
    return join(messages)[:max_size]


def rearranged(dice: random.Random, messages: list[bytes]) -> list[bytes]:
    """Return the messages with one lost, repeated, swapped or new."""
    if not messages:
        return [b""]
    first, second = dice.randrange(len(messages)), dice.randrange(len(messages))
    match dice.randrange(4):
        case 0:
            return messages[:first] + messages[first + 1 :]
        case 1:
            return messages[:first] + [messages[first]] * dice.choice((2, 4, 50)) + messages[first + 1 :]
        case 2:
            messages[first], messages[second] = messages[second], messages[first]
            return messages
        case _:
            return [*messages[:first], dice.randbytes(dice.choice((0, 8, 60))), *messages[first:]]


def bound_memory() -> None:
    """Let this process have no more address space than now and MEMORY_BYTES, and no file past FILE_BYTES."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))


def main(module: str, name: str, folder: str, inputs: str, *options: str) -> None:
    """Feed one target of a module; its valid inputs are the first ones of the corpus."""
    logging.disable(logging.WARNING)  # decoders that skip what is damaged say so each time
    root = Path(folder)
    with atheris.instrument_imports(include=["fljob_runtime", module]):
        make_targets = importlib.import_module(module).make_targets
    target: Target = make_targets(root / "targets")[name]
    target.check()
    seeds = root / "seeds"
    seeds.mkdir()
    for number, data in enumerate(target.valid):
        (seeds / str(number)).write_bytes(data)
    feeder = Feeder(target, root / COUNTS, int(inputs))
    atexit.register(feeder.tell)
    longest = max(MIN_INPUT_BYTES, 2 * max(len(data) for data in target.valid))
    bound_memory()
    own = [f"-runs={inputs}", f"-max_len={longest}", str(root / "corpus"), str(seeds)]
    mutator = {"custom_mutator": mutate} if target.streamed else {}
    atheris.Setup([sys.argv[0], *options, *own], feeder.feed, **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
