"""One FLJob in a real cluster whose pods are deleted at random, held against the undisturbed job. `make chaos-cluster`.

    python tools/chaos_cluster.py [--runs 10] [--seed 1] [--deadline 300] [--keep DIR]

Run i has seed SEED + i, which alone chooses the schedule: `--runs 1 --seed N` repeats run N. The coordinator, any shard
and any trainer lose their pod, gracefully or with --force --grace-period=0. Each job must succeed in time with every
metric in full precision and the model's digest of the undisturbed one. The cluster is the tests' (support.cluster): the
one that is kept or given, else one of its own; needs root on Linux. Prints each run, and as its last line one JSON
object; exits with 1 after a failure, of which manifests, events and logs are kept in a folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.cluster import Cluster, OwnCluster, given
from support.cluster_fixtures import SYSTEM, install
from support.images import build
from support.jobs import Jobs, Numbers, manifest

NAME = "chaos"
SITES, SHARDS, ROUNDS = 3, 2, 8
TARGETS = ("coordinator", *(f"server-{i}" for i in range(SHARDS)), *(f"trainer-site-{i}" for i in range(SITES)))
_POLL_S = 0.2
_AT_START = 0.2  # part of the strikes that fall before the first round is committed


@dataclass(frozen=True)
class Strike:
    """One pod to delete: `part` of the undisturbed span after the job was applied, or after its first round."""

    target: str
    force: bool
    training: bool
    part: float

    def __str__(self) -> str:
        where = f"{self.part:.3f} of {'the training' if self.training else 'the start'}"
        return f"delete {'--force ' if self.force else ''}{self.target} at {where}"


def schedule(seed: int) -> list[Strike]:
    """Return the strikes of one run, a function of the seed alone.

    A child Job makes its next pod 10, 20, 40 s after failures, so no target is struck more often than twice.
    """
    dice = random.Random(seed)
    struck, strikes = Counter[str](), list[Strike]()
    for _ in range(dice.randint(1, 3)):
        training, part = dice.random() >= _AT_START, dice.uniform(0.0, 0.9)
        together = dice.randint(2, len(TARGETS)) if dice.random() < 0.15 else 1
        for target in dice.sample(TARGETS, together):
            struck[target] += 1
            if struck[target] <= 2:
                strikes.append(Strike(target, dice.random() < 0.5, training, part))
    return strikes


@dataclass(frozen=True)
class Spans:
    """Seconds that the undisturbed job takes to its first committed round, and from there to its end."""

    start_s: float
    training_s: float


_NOT_YET = Spans(0.0, 0.0)


def make_job() -> dict[str, Any]:
    """Return the job: quorum all, two shards, half a minute long."""
    strategy = {"batchSize": 256, "localEpochs": 4}
    private = [{"name": "user_embedding", "scope": "Private"}]
    return manifest(
        NAME,
        sites=SITES,
        rounds=ROUNDS,
        strategy=strategy,
        server={"replicas": SHARDS},
        parameterScopes=private,
        backoffLimit=50,
        roundTimeoutSeconds=3600,
        startupDeadlineSeconds=3600,
    )


@dataclass
class Watch:
    """Follows one job and deletes pods when it is time; `fell` are the strikes that found one."""

    jobs: Jobs
    spans: Spans
    due: list[Strike]
    began: float = field(default_factory=time.monotonic)
    first_round: float | None = None
    fell: list[Strike] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)

    def until_end(self, deadline_s: float) -> Spans:
        """Return what the job took; raises TimeoutError when it does not end in time."""
        self.jobs.cluster.wait_for(f"{NAME} to end", self._step, deadline_s, every_s=_POLL_S)
        now = time.monotonic()
        first = self.first_round or now
        return Spans(first - self.began, now - first)

    def _step(self) -> bool:
        self.status = self.jobs.status(NAME)
        if self.first_round is None and self.status.get("training", {}).get("round", 0) >= 1:
            self.first_round = time.monotonic()
        if self.status.get("state") in {"Succeeded", "Failed"}:
            return True
        for strike in [s for s in self.due if self._is_time(s)]:
            if self._delete(strike):
                self.due.remove(strike)
                self.fell.append(strike)
        return False

    def _is_time(self, strike: Strike) -> bool:
        now = time.monotonic()
        if not strike.training:
            return now >= self.began + strike.part * self.spans.start_s
        return self.first_round is not None and now >= self.first_round + strike.part * self.spans.training_s

    def _delete(self, strike: Strike) -> bool:
        """Delete the target's pod; False while it has none: the strike waits for it."""
        cluster, namespace = self.jobs.cluster, self.jobs.namespace
        pods = cluster.items("pods", namespace, f"job-name={NAME}-{strike.target}")
        alive = [p for p in pods if "deletionTimestamp" not in p["metadata"] and p["status"]["phase"] in _ALIVE]
        if not alive:
            return False
        how = ("--force", "--grace-period=0") if strike.force else ()
        pod = alive[0]["metadata"]["name"]
        cluster.kubectl("delete", "pod", pod, "-n", namespace, "--wait=false", "--ignore-not-found", *how)
        return True


_ALIVE = {"Pending", "Running"}


@dataclass(frozen=True)
class Trial:
    """One run and what was wrong with it ("" for nothing)."""

    seed: int
    fell: tuple[Strike, ...]
    missed: tuple[Strike, ...]
    seconds: float
    fault: str


class Bed:
    """Runs the job in one namespace after the other. quiet, spans: of the undisturbed job, where they are known."""

    def __init__(
        self, cluster: Cluster, root: Path, deadline_s: float, quiet: Numbers | None = None, spans: Spans = _NOT_YET
    ) -> None:
        self._cluster = cluster
        self._root = root
        self._deadline_s = deadline_s
        self.spans = spans
        self.quiet = quiet

    def undisturbed(self) -> Numbers:
        """Run the job without strikes and measure it; raises RuntimeError when even that fails."""
        with self._cluster.namespace("chaos-undisturbed") as namespace:
            watch = self._started(namespace, [])
            self.spans = watch.until_end(self._deadline_s)
        if watch.status["state"] != "Succeeded":
            raise RuntimeError(f"the undisturbed job ended with {watch.status}")
        self.quiet = Numbers.of(watch.status["training"])
        return self.quiet

    def trial(self, seed: int) -> Trial:
        """Run the schedule of one seed and judge it."""
        quiet, strikes = self.quiet or self.undisturbed(), schedule(seed)
        with self._cluster.namespace(f"chaos-{seed}") as namespace:
            watch = self._started(namespace, list(strikes))
            try:
                watch.until_end(self._deadline_s)
                fault = judge(watch.status, quiet)
            except TimeoutError as error:
                fault = str(error)
            seconds = time.monotonic() - watch.began
            if fault:
                keep(self._cluster, namespace, self._root / f"seed-{seed}")
        return Trial(seed, tuple(watch.fell), tuple(watch.due), seconds, fault)

    def _started(self, namespace: str, strikes: list[Strike]) -> Watch:
        jobs, job = Jobs(self._cluster, namespace), make_job()
        for trainer in job["spec"]["trainers"]:  # where private rows survive
            claim = f"private-{trainer['name']}"
            self._cluster.claim(namespace, claim)
            trainer["storage"] = {"persistentVolumeClaim": {"claimName": claim}}
        jobs.apply(jobs.with_checkpoint(job))
        return Watch(jobs, self.spans, strikes)


def judge(status: dict[str, Any], quiet: Numbers) -> str:
    """Return what is wrong with how a disturbed job ended, "" for nothing."""
    if status["state"] != "Succeeded":
        return f"ended as {status['state']}: {status.get('failure')}"
    found = Numbers.of(status["training"])
    if found.metrics != quiet.metrics:
        return f"metrics {found.metrics}, undisturbed {quiet.metrics}"
    return "" if found.model_digest == quiet.model_digest else "the model's digest differs, its metrics do not"


def keep(cluster: Cluster, namespace: str, folder: Path) -> None:
    """Write what a failed run left: objects, events, and the log of each pod that is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("flj,jobs,pods", "events", "configmaps"):
        text = cluster.kubectl("get", kind, "-n", namespace, "-o", "yaml", check=False)
        (folder / f"{kind.partition(',')[0]}.yaml").write_text(text)
    for pod in cluster.items("pods", namespace):
        name = pod["metadata"]["name"]
        (folder / f"{name}.log").write_text(cluster.kubectl("logs", name, "-n", namespace, check=False))
    operator = cluster.kubectl("logs", "deployment/fljob-operator", "-n", SYSTEM, "--tail=2000", check=False)
    (folder / "operator.log").write_text(operator)


@contextlib.contextmanager
def prepared() -> Iterator[Cluster]:
    """Yield a cluster with the images of this tree and the chart installed; one that was started here is ended."""
    with contextlib.ExitStack() as stack:
        cluster = given()
        if cluster is None:
            own = OwnCluster.start()
            stack.callback(own.stop)
            cluster = own.cluster()
        cluster.make_namespace(SYSTEM)
        install(cluster, build(cluster.registry))
        yield cluster


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Random deletions of the pods of an FLJob in a real cluster.")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=300.0, help="seconds a run may take")
    parser.add_argument("--keep", type=Path, help="folder for what failed runs leave; a new temporary one by default")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the schedules; return the exit code."""
    options = _parse(arguments)
    root = options.keep or Path(tempfile.mkdtemp(prefix="fljob-chaos-cluster-"))
    trials: list[Trial] = []
    with prepared() as cluster:
        bed = Bed(cluster, root, options.deadline)
        bed.undisturbed()
        _say(f"undisturbed: {bed.spans.start_s:.1f} s to the first round, {bed.spans.training_s:.1f} s from there")
        for seed in range(options.seed, options.seed + options.runs):
            trials.append(bed.trial(seed))
            _tell(trials[-1], root)
    failed = [t.seed for t in trials if t.fault]
    fell = Counter(f"{s.target.partition('-')[0]}{' --force' if s.force else ''}" for t in trials for s in t.fell)
    facts = {
        "seed": options.seed,
        "runs": len(trials),
        "failures": failed,
        "strikes": dict(sorted(fell.items())),
        "missed": sum(len(t.missed) for t in trials),
        "seconds": [round(t.seconds, 1) for t in trials],
    }
    _say(json.dumps(facts))
    return 1 if failed else 0


def _tell(trial: Trial, root: Path) -> None:
    _say(f"seed={trial.seed} seconds={trial.seconds:.1f} {'FAILED' if trial.fault else 'same'}")
    for strike in trial.fell:
        _say(f"  fell: {strike}")
    for strike in trial.missed:
        _say(f"  missed: {strike}")
    if trial.fault:
        _say(f"  {trial.fault}\n  kept: {root / f'seed-{trial.seed}'}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
