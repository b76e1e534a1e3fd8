"""Inputs for all that decodes others' bytes, led by coverage: the wire, checkpoints, journal, volumes. `make fuzz`.

    python tools/fuzz.py [--inputs 1000000] [--seed 1] [--only NAME ...]
    python tools/fuzz.py --only NAME --repeat HEX

Each target of `fuzzing` gets that many inputs, in a process of its own under atheris (libFuzzer), beginning with valid
ones. A finding is any exception but those that the decoder documents, an input over HANG_S, memory beyond the
bound, or a decoder that does not take valid input any more. It is printed with the input and how to repeat it, and
ends its target; the exit code is then 1. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from fuzzing.target import Target
from fuzzing.targets import make_targets

HANG_S = 10
RSS_MIB = 1024
_POLL_S = 0.5
# What a process starts begins with the starter's peak of memory, whatever it runs; what a small shell forks does not.
_OWN_PEAK = ("/bin/sh", "-c", '"$@"; exit $?', "sh")
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")
_PEAK = re.compile(r"stat::peak_rss_mb: +(\d+)")


@dataclass(frozen=True)
class Result:
    """What a target's inputs led to. branches and features: libFuzzer's `cov` and `ft`; finding: "" for none."""

    target: str
    inputs: int
    seconds: float
    taken: int
    branches: int
    features: int
    corpus: int
    peak_rss_mib: int
    finding: str = ""
    input: str = ""


@dataclass(frozen=True)
class Plan:
    """What each target gets. module: where the targets are made."""

    inputs: int
    seed: int
    hang_s: int = HANG_S
    module: str = "fuzzing.targets"


def fuzz(name: str, folder: Path, plan: Plan, advance: Callable[[int], None] = lambda _: None) -> Result:
    """Feed one target, in a process that works below the empty `folder`; return what happened."""
    (folder / "corpus").mkdir()
    options = {
        "seed": plan.seed,
        "timeout": plan.hang_s,
        "rss_limit_mb": RSS_MIB,
        "print_final_stats": 1,
        "artifact_prefix": f"{folder}/finding-",
    }
    command = [*_OWN_PEAK, sys.executable, "-m", "fuzzing.child", plan.module, name, str(folder), str(plan.inputs)]
    command += [f"-{key}={value}" for key, value in options.items()]
    log = folder / "log"
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True) as child,
    ):
        try:
            _watch(child, folder, advance)
        finally:
            with contextlib.suppress(ProcessLookupError):  # both have ended
                os.killpg(child.pid, signal.SIGKILL)
    return _result(name, folder, child.returncode, time.monotonic() - began)


def _watch(child: subprocess.Popen[bytes], folder: Path, advance: Callable[[int], None]) -> None:
    """Tell of progress until the child ends. Its inputs are bounded each in time, and in number."""
    told = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_S)
            return
        now = sum(_counts(folder).values())
        advance(now - told)
        told = now


def _counts(folder: Path) -> dict[str, int]:
    try:
        counts: dict[str, int] = json.loads((folder / "counts.json").read_bytes())
    except FileNotFoundError:
        return {}
    return counts


def _result(name: str, folder: Path, code: int, seconds: float) -> Result:
    log = (folder / "log").read_text(errors="replace")
    covered = _COVERAGE.findall(log)
    branches, features, corpus = map(int, covered[-1]) if covered else (0, 0, 0)
    peak = _PEAK.search(log)
    counts = _counts(folder)
    finding, data = "", b""
    if code:
        data = next((path.read_bytes() for path in folder.glob("finding-*")), b"")
        finding = _words(log) or f"exit code {code}"
    return Result(
        target=name,
        inputs=sum(counts.values()),
        seconds=round(seconds, 1),
        taken=counts.get("taken", 0),
        branches=branches,
        features=features,
        corpus=corpus,
        peak_rss_mib=int(peak[1]) if peak else 0,
        finding=finding,
        input=data.hex(),
    )


def _words(log: str) -> str:
    """Return what a log says of a finding: the exception and where it was raised, or libFuzzer's line."""
    _, found, after = log.partition("Uncaught Python exception: ===\n")
    if found:
        return after.partition("\n==")[0].strip()
    return next((line for line in log.splitlines() if "ERROR: libFuzzer" in line), log[-2000:].strip())


def repeat(target: Target, data: bytes) -> int:
    """Decode one input here and say what the answer is; raises what is a finding."""
    try:
        target.decode(data)
    except target.refusals as error:
        sys.stdout.write(f"{target.name} refuses it: {type(error).__name__}: {error}\n")
    else:
        sys.stdout.write(f"{target.name} takes it\n")
    return 0


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Make a folder, in memory if there is such a file system; deleted at the end."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None, prefix="fljob-fuzz-") as folder:
        yield Path(folder)


def fuzz_all(options: argparse.Namespace, folder: Path, console: Console) -> list[Result]:
    """Feed the targets that were asked for, one after the other."""
    results = []
    with Progress(console=console) as progress:
        task = progress.add_task("inputs", total=options.inputs * len(options.only))
        for number, name in enumerate(options.only):
            progress.update(task, description=name, completed=options.inputs * number)
            place = folder / str(number)
            place.mkdir()

            def advance(count: int) -> None:
                progress.advance(task, count)

            results.append(fuzz(name, place, Plan(options.inputs, options.seed), advance))
            if finding := results[-1].finding:
                console.print(f"{name}: {finding}\n{_how_to_repeat(results[-1])}", markup=False, soft_wrap=True)
    return results


def _how_to_repeat(result: Result) -> str:
    if not result.input:
        return "no input of its own: feed the target again with the same seed"
    return f"repeat it: python tools/fuzz.py --only {result.target} --repeat {result.input}"


def report(results: list[Result], seed: int) -> int:
    """Print the table and the JSON line; return 1 if there is a finding."""
    table = Table("target", "inputs", "seconds", "taken", "refused", "branches", "corpus", "peak MiB", "finding")
    for one in results:
        counts = (one.inputs, round(one.seconds), one.taken, one.inputs - one.taken)
        reached = (one.branches, one.corpus, one.peak_rss_mib)
        table.add_row(one.target, *map(str, counts), *map(str, reached), "yes" if one.finding else "")
    Console().print(table)
    sys.stdout.write(json.dumps({"seed": seed, "targets": [asdict(one) for one in results]}) + "\n")
    return 1 if any(one.finding for one in results) else 0


def _parse(arguments: list[str], names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Inputs for the decoders, led by coverage.")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--repeat", type=bytes.fromhex, metavar="HEX", help="decode this input only, of --only")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Feed all targets, or repeat one input; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the child ends too, and its folder goes
    with workplace() as folder:
        targets = make_targets(folder / "here")
        options = _parse(arguments, list(targets))
        if options.repeat is not None:
            return repeat(targets[options.only[0]], options.repeat)
        results = fuzz_all(options, folder, Console(stderr=True))
    return report(results, options.seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
