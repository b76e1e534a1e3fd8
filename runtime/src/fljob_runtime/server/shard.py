"""One shard of the parameter server: who may push what when, and what a commit does.

Used by transport.shard_service (calls in) and programs.server (wiring). Decides on values alone: no grpc, no
identity checks (the servicer has done them). Thread-safe; commits and restores exclude each other.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fljob_runtime.checkpoints.rebalance import Wanted, load_part
from fljob_runtime.checkpoints.remote_store import load_remote_part
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import CheckpointError, LayoutMismatchError, MalformedError, NotReadyError, StaleError
from fljob_runtime.messages import CommitResult, ShardState, StagedUpdate
from fljob_runtime.parameters import Kind, LayoutError, ModelLayout
from fljob_runtime.server.buffers import Budget
from fljob_runtime.server.config import ShardConfig
from fljob_runtime.server.keyed import TableCounts
from fljob_runtime.server.live import Answer, Exchange, LiveRound
from fljob_runtime.server.next_version import advance, append
from fljob_runtime.server.rebase import rebased
from fljob_runtime.server.saver import Place, Saver
from fljob_runtime.server.staging import Intake, PushHeader, Staged
from fljob_runtime.server.versions import ShardModel
from fljob_runtime.server.work import Work


@dataclass(frozen=True)
class Named:
    """One update that a commit names, with its digest at this shard. round: as in messages.AcceptedUpdate."""

    trainer: str
    attempt: int
    digest: str
    round: int = 0


@dataclass(frozen=True)
class Load:
    """What waits at a shard: updates staged and not folded, and contributions that wait for the others' of their step.

    memory_bytes: what updates take, those on their way in too; spilled_bytes: what went to files since the start.
    """

    num_staged: int
    staged_bytes: int
    num_waiting: int
    memory_bytes: int
    spilled_bytes: int


class Shard:
    """The part of the shared parameters that one server process holds."""

    def __init__(self, config: ShardConfig) -> None:
        self.config = config
        self.work = Work()
        self._budget = Budget(config.memory_bytes, config.scratch)
        self._lock = threading.Lock()
        self._committing = threading.Lock()
        self._model: ShardModel | None = None
        self._staged: dict[str, Staged] = {}
        self._last_list: tuple[int, tuple[Named, ...]] | None = None
        self.saver = _saver(config)
        self._live: LiveRound | None = None

    # Pushes.

    def open_push(self, header: PushHeader) -> Intake:
        """Check an update's identity and sizes and make room for it. Raises TransportError."""
        config = self.config
        if header.job_uid != config.job_uid:
            raise MalformedError(f"update of job {header.job_uid!r}, this shard serves {config.job_uid!r}")
        if header.incarnation != config.incarnation:
            raise StaleError(f"update of incarnation {header.incarnation}, the job is at {config.incarnation}")
        layout = self._layout_for(header)
        if header.round > 0 and header.layout and header.layout != layout.to_json():
            raise LayoutMismatchError(f"the model of {header.trainer!r} has another layout than the job's")
        if header.num_samples < 1:
            raise MalformedError(f"update of {header.trainer!r} from {header.num_samples} samples; 1 is the least")
        return Intake(header, layout, self._budget, (config.shard, config.num_shards), config.compression)

    def folded(self, header: PushHeader) -> str:
        """Return the digest under which the newest version has this update, "" if it has not.

        Asked for where another shard lost the update: a trainer then pushes to all of them again.
        """
        with self._lock:
            round_, names = self._last_list or (0, ())
            current = self._model is not None and header.round == round_ == self._model.newest
        ours = (header.job_uid, header.incarnation) == (self.config.job_uid, self.config.incarnation)
        same = (n.digest for n in names if (n.trainer, n.attempt) == (header.trainer, header.attempt))
        return next(same, "") if current and ours else ""

    def close_push(self, intake: Intake) -> Staged:
        """Check the received update and keep it in place of the trainer's older one. Raises TransportError."""
        header = intake.header
        try:
            part = self._part_for(header.round, intake.layout)
            staged = intake.finish(part.locate, part)
            if header.round == 0:
                self._check_complete(staged)
            self._keep(staged)
            self.work.took(staged)
        except BaseException:
            intake.abort()
            raise
        return staged

    def _keep(self, staged: Staged) -> None:
        header = staged.header
        with self._lock:
            self._check_push(header.round)
            older = self._staged.get(header.trainer)
            if older is not None and self._precedes(header, older.header):
                raise StaleError(f"attempt {older.header.attempt} of {header.trainer!r} is staged already")
            self._staged[header.trainer] = staged
        if older is not None:
            older.buffers.free(reusable=False)  # a running commit may still read it

    def _precedes(self, header: PushHeader, staged: PushHeader) -> bool:
        """Return whether what is staged may not give way to this older update of its trainer."""
        if self.config.buffered:
            return (staged.attempt, staged.round) > (header.attempt, header.round)
        return staged.round == header.round and staged.attempt > header.attempt

    def _layout_for(self, header: PushHeader) -> ModelLayout:
        with self._lock:
            self._check_push(header.round)
            if self._model is not None:
                return self._model.layout
        try:
            return ModelLayout.from_json(header.layout)
        except LayoutError as error:
            raise MalformedError(f"round 0 must bring the model's layout: {error}") from error

    def _check_push(self, round_: int) -> None:
        """Raise StaleError or NotReadyError for an update that no commit to come can fold."""
        if self.config.buffered and self._model is not None and 0 < round_ <= self._model.newest:
            self._model.digest(round_ - 1)  # raises when the version that it was made from is gone
        else:
            self._check_round(round_)

    def _check_round(self, round_: int) -> None:
        newest = -1 if self._model is None else self._model.newest
        if round_ <= newest:
            raise StaleError(f"round {round_} is committed; this shard collects round {newest + 1}")
        if round_ > newest + 1:
            raise NotReadyError(f"this shard is at version {newest}; it cannot collect round {round_}")

    def _part_for(self, round_: int, layout: ModelLayout) -> ShardModel:
        with self._lock:
            model = self._model
        if model is None or round_ == 0:
            return self._empty(layout)
        return model

    def _empty(self, layout: ModelLayout) -> ShardModel:
        """Return a model without a version."""
        config = self.config
        return ShardModel(layout, config.shard, config.num_shards, config.slots, seed=config.seed)

    def _check_complete(self, staged: Staged) -> None:
        part = self._part_for(0, staged.layout)
        for spec in staged.layout.shared_tables:
            given = len(staged.rows[spec.name].positions) if spec.name in staged.rows else 0
            if spec.kind is Kind.KEYED and given:
                raise MalformedError(f"table {spec.name}: its rows are made on first touch; round 0 brings none")
            wanted = part.num_rows(spec.name)
            if given != wanted:
                raise MalformedError(f"table {spec.name}: initial values of {given} of {wanted} rows")

    # Exchanges, in the modes that change values within a round.

    def open_exchange(self, header: PushHeader) -> Intake:
        """Check a contribution's identity and sizes and make room for it. Raises TransportError."""
        self._require_live(header.round)
        return self.open_push(header)

    def close_exchange(self, intake: Intake) -> Staged:
        """Check a received contribution. Raises TransportError."""
        try:
            staged = intake.finish(self.model().locate)
        except MalformedError:
            intake.abort()
            raise
        self.work.took(staged)
        return staged

    def exchange(self, asked: Exchange, round_: int, staged: Staged | None) -> Answer:
        """Apply a checked contribution, if there is one, and return values. Raises TransportError."""
        try:
            return self._require_live(round_).exchange(asked, staged)
        except (MalformedError, StaleError):
            if staged is not None:
                staged.buffers.free()
            raise

    def _require_live(self, round_: int) -> LiveRound:
        """Return the round under way, begun if this is its first exchange."""
        config = self.config
        if config.exchange is None:
            raise MalformedError("an exchange, but the job's mode is Sync; the peer speaks another version")
        with self._lock:
            self._check_round(round_)
            if self._model is None or round_ == 0:
                raise NotReadyError("no version is committed yet; round 0 takes updates, not exchanges")
            if self._live is None:
                self._live = LiveRound(self._model, config.exchange, config.max_staleness, self.work)
            return self._live

    # Pulls.

    def model(self) -> ShardModel:
        """Return the committed versions, for reading. Raises NotReadyError before the first commit."""
        with self._lock:
            if self._model is None:
                raise NotReadyError("no version is committed yet; the coordinator must begin or restore first")
            return self._model

    # Commands of the coordinator.

    def commit(
        self, round_: int, accepted: Sequence[Named], *, checkpoint: bool, release: Sequence[int] = ()
    ) -> CommitResult:
        """Fold exactly the named updates into version `round_`; repeatable. Raises TransportError.

        checkpoint: also begin to write the version; `state` tells when it is on disk.
        """
        names = tuple(sorted(accepted, key=lambda named: named.trainer))
        with self._committing:
            newest = -1 if self._model is None else self._model.newest
            staleness: tuple[int, ...] = ()
            if round_ != newest:
                with self._lock:
                    self._check_round(round_)
                missing = self._fold(round_, names)
                if missing:
                    return CommitResult(self.config.shard, round_, "", missing=missing)
                staleness = tuple(round_ - (named.round or round_) for named in names) if self.config.buffered else ()
            elif self._last_list not in (None, (round_, names)):
                raise StaleError(f"round {round_} is committed with another list of updates")
            model = self.model()
            for version in release:
                model.release(version)
            self._drop_baseless(model)
            if checkpoint and self.saver is None:
                raise CheckpointError("a checkpoint is asked for, but this server was started without --checkpoint-dir")
            if checkpoint and self.saver is not None:
                self.saver.save(model)
            return CommitResult(self.config.shard, round_, model.digest(round_), staleness=staleness)

    def _fold(self, round_: int, accepted: tuple[Named, ...]) -> tuple[str, ...]:
        """Advance to `round_`; returns the trainers whose update is missing, and then does nothing."""
        if not accepted or len({named.trainer for named in accepted}) != len(accepted):
            raise MalformedError("a commit names each of its updates once, and at least one")
        if self.config.exchange is not None and round_ > 0:
            return self._cut(round_, accepted)
        with self._lock:
            staged = [self._staged.get(named.trainer) for named in accepted]
        found = zip(staged, accepted, strict=True)
        updates = [update for update, named in found if update is not None and _is(update, named, round_)]
        if len(updates) < len(accepted):
            present = {update.header.trainer for update in updates}
            return tuple(named.trainer for named in accepted if named.trainer not in present)
        model = self._part_for(round_, updates[0].layout)
        if any(update.layout != model.layout for update in updates):
            raise LayoutMismatchError("the named updates have different layouts")
        with self.work.folding(updates):
            moved = [rebased(update, model) for update in updates] if self.config.buffered and round_ else updates
            advance(model, self.config, moved)
        with self._lock:
            self._model = model
            self._last_list = (round_, accepted)
            for trainer in [t for t, update in self._staged.items() if self._spent(update, round_, updates)]:
                freed = self._staged.pop(trainer).buffers
                freed.free(reusable=round_ > 0)  # no update is as large as the initial values
        return ()

    def _spent(self, update: Staged, round_: int, folded: list[Staged]) -> bool:
        """Return whether an update is of no use after the commit of a round; in Buffered others wait for the next."""
        if not self.config.buffered:
            return update.header.round <= round_
        return any(update is used for used in folded)

    def _drop_baseless(self, model: ShardModel) -> None:
        """Drop staged updates whose base is gone: no commit will name them."""
        held = set(model.versions)
        with self._lock:
            for trainer in [t for t, update in self._staged.items() if update.header.round - 1 not in held]:
                self._staged.pop(trainer).buffers.free()

    def _cut(self, round_: int, accepted: tuple[Named, ...]) -> tuple[str, ...]:
        """Make the values of the round under way version `round_`; returns whose exchanges are not all here."""
        names = tuple(named.trainer for named in accepted)
        live = self._live
        missing = names if live is None else live.unfinished(names)
        if live is None or missing:
            return missing
        model = self.model()
        state, rows = live.cut()
        append(model, state.dense, rows, state.dense_slots)
        with self._lock:
            self._live, self._last_list = None, (round_, accepted)
        return ()

    def _end_live(self, reason: str) -> None:
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            live.end(reason)

    def restore(self, version: int, files: Sequence[ShardFileName] = ()) -> None:
        """Make `version` the newest, from memory or else from its files; -1 forgets all. Raises TransportError.

        files: one for each shard that wrote the version, in shard order; as many as there are now, or not.
        """
        with self._committing:
            if self.saver is not None:
                self.saver.begin_anew()
            model = self._model
            if version < 0:
                model = None
            elif model is not None and version in model.versions:
                model.rewind(version)
            else:
                model = self._load(version, files)
            with self._lock:
                self._model, self._last_list = model, None
                for trainer in [t for t, u in self._staged.items() if u.header.round != version + 1]:
                    self._staged.pop(trainer).buffers.free()
            self._end_live(f"the servers went back to version {version}; begin the round again")

    def _load(self, version: int, files: Sequence[ShardFileName]) -> ShardModel:
        config = self.config
        if not files:
            raise StaleError(f"version {version} is not in memory and no checkpoint of it is named")
        if config.checkpoint is None:
            raise CheckpointError(f"cannot read {files[0].path}: this server was started without --checkpoint-dir")
        wanted = Wanted(config.job_uid, version, config.shard, config.num_shards, len(config.slots))
        if config.remote is not None:
            part = load_remote_part(config.remote, files, wanted)
        else:
            part = load_part(config.checkpoint, files, wanted)
        model = self._empty(part.layout)
        if self._model is not None:
            model.go_on_counting(self._model)
        tables = {name: table.values for name, table in part.tables.items()}
        for name, table in part.tables.items():
            tables |= {model.slot_name(name, k): slot for k, slot in enumerate(table.slots)}
        model.install(version, part.dense, tables, part.digest, part.slots, part.keyed)
        return model

    def state(self, *, bytes_received: int = 0, bytes_sent: int = 0) -> ShardState:
        """Return what this shard holds."""
        with self._lock:
            versions = () if self._model is None else self._model.versions
            staged = [self._staged[trainer] for trainer in sorted(self._staged)]
        return ShardState(
            shard=self.config.shard,
            num_shards=self.config.num_shards,
            boot_id=self.config.boot_id,
            versions=versions,
            staged=tuple(StagedUpdate(u.header.round, u.header.trainer, u.header.attempt, u.digest) for u in staged),
            bytes_received=bytes_received,
            bytes_sent=bytes_sent,
            saved=self.saver.told if self.saver is not None else None,
        )

    @property
    def table_counts(self) -> Mapping[str, tuple[int, TableCounts]]:
        """Return for each keyed table how many rows it holds, and what came and went since the process began."""
        with self._lock:
            model = self._model
        return model.counts() if model is not None else {}

    @property
    def reserved_bytes(self) -> int:
        """Return the memory that updates take, those on their way in too; what went to scratch is not counted."""
        return self._budget.used_bytes

    @property
    def staged_bytes(self) -> int:
        """Return the bytes of updates staged and not folded."""
        return self.load().staged_bytes

    def load(self) -> Load:
        """Return what waits here and the memory that it takes."""
        with self._lock:
            live, staged = self._live, list(self._staged.values())
        return Load(
            num_staged=len(staged),
            staged_bytes=sum(update.num_bytes for update in staged),
            num_waiting=0 if live is None else live.num_waiting,
            memory_bytes=self._budget.used_bytes,
            spilled_bytes=self._budget.spilled_bytes,
        )


def _saver(config: ShardConfig) -> Saver | None:
    if config.checkpoint is None:
        return None
    place = Place(config.job_uid, config.shard, config.num_shards, len(config.slots))
    return Saver(config.checkpoint, place, remote=config.remote)


def _is(update: Staged, named: Named, round_: int) -> bool:
    header = update.header
    return (header.round, header.attempt, update.digest) == (named.round or round_, named.attempt, named.digest)
