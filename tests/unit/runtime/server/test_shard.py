"""One shard: which pushes it takes when, what a commit does, and that repeating anything changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fljob_api.strategy import RowAveraging, Weighting
from fljob_runtime.checkpoints.shard_file import ShardFileName
from fljob_runtime.errors import (
    CheckpointError,
    LayoutMismatchError,
    MalformedError,
    NotReadyError,
    StaleError,
)
from fljob_runtime.parameters import ModelLayout, ParamSpec
from fljob_runtime.server.shard import Named, Shard
from support.shards import LAYOUT, NUM_ITEMS, begun, commit, config, initial, named, push, save, update


def dense(shard: Shard, version: int) -> float:
    return float(shard.model().dense(version)[0])


def row(shard: Shard, version: int, item: int) -> float:
    return float(shard.model().rows(version, "items", np.array([item]))[0, 0])


# What is taken.


def test_nothing_can_be_read_before_the_first_commit(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="no version is committed yet"):
        Shard(config(tmp_path)).model()


def test_initial_values_are_version_0(tmp_path: Path) -> None:
    shard = begun(tmp_path, 0.5)
    assert (dense(shard, 0), row(shard, 0, NUM_ITEMS - 1)) == (0.5, 0.5)


def test_initial_values_must_have_every_row(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="table items: initial values of 1 of 40 rows"):
        push(Shard(config(tmp_path)), update(0.0, {3: 0.0}), 0, "a")


def test_round_0_must_bring_a_layout(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="round 0 must bring the model's layout"):
        push(Shard(config(tmp_path)), initial(), 0, "a", layout=b"")


def test_an_update_with_another_layout_is_refused(tmp_path: Path) -> None:
    other = ModelLayout((ParamSpec("weight", (9,)),)).to_json()
    with pytest.raises(LayoutMismatchError, match="another layout"):
        push(begun(tmp_path), update(1.0), 1, "a", layout=other)


def test_an_update_of_another_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="update of job 'other'"):
        push(begun(tmp_path), update(1.0), 1, "a", job_uid="other")


def test_an_update_of_an_older_incarnation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StaleError, match="incarnation 0, the job is at 1"):
        push(Shard(config(tmp_path, incarnation=1)), initial(), 0, "a")


def test_an_update_of_a_committed_round_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StaleError, match="round 0 is committed; this shard collects round 1"):
        push(begun(tmp_path), initial(), 0, "a")


def test_an_update_of_a_later_round_is_not_taken_yet(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="at version 0; it cannot collect round 2"):
        push(begun(tmp_path), update(1.0), 2, "a")


def test_an_update_from_no_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="from 0 samples"):
        push(begun(tmp_path), update(1.0), 1, "a", num_samples=0)


def test_a_newer_attempt_replaces_an_older_one(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    push(shard, update(1.0), 1, "a")
    commit(shard, 1, push(shard, update(2.0), 1, "a", attempt=1))
    assert dense(shard, 1) == 2.0


def test_an_older_attempt_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    push(shard, update(2.0), 1, "a", attempt=1)
    with pytest.raises(StaleError, match="attempt 1 of 'a' is staged already"):
        push(shard, update(1.0), 1, "a")


def test_a_refused_push_leaves_the_staged_update_alone(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    staged = push(shard, update(1.0), 1, "a")
    with pytest.raises(MalformedError):
        push(shard, update(float("nan")), 1, "a", attempt=1)
    assert commit(shard, 1, staged).missing == ()


def test_a_refused_push_gives_its_memory_back(tmp_path: Path) -> None:
    shard = begun(tmp_path, memory_bytes=700)
    for attempt in range(5):
        with pytest.raises(MalformedError):
            push(shard, update(float("nan")), 1, "a", attempt=attempt)
    assert not push(shard, update(1.0), 1, "a", attempt=9).buffers.spilled


# What a commit does.


def test_dense_values_are_averaged_by_samples(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    a, b = push(shard, update(1.0), 1, "a", num_samples=1), push(shard, update(5.0), 1, "b", num_samples=3)
    commit(shard, 1, a, b)
    assert dense(shard, 1) == 4.0


def test_uniform_weighting_ignores_samples(tmp_path: Path) -> None:
    shard = begun(tmp_path, weighting=Weighting.UNIFORM)
    a, b = push(shard, update(1.0), 1, "a", num_samples=1), push(shard, update(5.0), 1, "b", num_samples=3)
    commit(shard, 1, a, b)
    assert dense(shard, 1) == 3.0


def test_rows_are_averaged_over_those_who_touched_them(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    a = push(shard, update(0.0, {3: 4.0, 7: 6.0}, weight=1.0), 1, "a")
    b = push(shard, update(0.0, {3: 8.0}, weight=3.0), 1, "b")
    commit(shard, 1, a, b)
    assert [row(shard, 1, item) for item in (3, 7, 8)] == [7.0, 6.0, 0.0]


def test_rows_averaged_over_all_count_every_client_by_samples(tmp_path: Path) -> None:
    shard = begun(tmp_path, 2.0, row_averaging=RowAveraging.ALL)
    a = push(shard, update(0.0, {3: 10.0}, weight=99.0), 1, "a", num_samples=1)
    b = push(shard, update(0.0), 1, "b", num_samples=3)
    commit(shard, 1, a, b)
    assert row(shard, 1, 3) == 4.0


def test_only_named_updates_are_folded(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    push(shard, update(100.0), 1, "late")
    commit(shard, 1, push(shard, update(1.0), 1, "a"))
    assert dense(shard, 1) == 1.0


def test_a_round_leaves_nothing_staged(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    push(shard, update(100.0), 1, "late")
    commit(shard, 1, push(shard, update(1.0), 1, "a"))
    assert (shard.staged_bytes, shard.state().staged) == (0, ())


def test_a_missing_update_is_named_and_nothing_is_folded(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    there = push(shard, update(1.0), 1, "a")
    result = shard.commit(1, [*named(there), Named("b", 0, "0" * 64)], checkpoint=False)
    assert (result.missing, shard.model().newest) == (("b",), 0)


@pytest.mark.parametrize("wrong", [Named("a", 1, ""), Named("a", 0, "0" * 64)])
def test_another_attempt_or_content_counts_as_missing(tmp_path: Path, wrong: Named) -> None:
    shard = begun(tmp_path)
    staged = push(shard, update(1.0), 1, "a")
    asked = Named("a", wrong.attempt, wrong.digest or staged.digest)
    assert shard.commit(1, [asked], checkpoint=False).missing == ("a",)


def test_the_missing_update_can_be_pushed_again_and_the_commit_repeated(tmp_path: Path) -> None:
    shard, other = begun(tmp_path), begun(tmp_path)
    staged = push(other, update(1.0), 1, "a")
    assert shard.commit(1, named(staged), checkpoint=False).missing == ("a",)
    push(shard, update(1.0), 1, "a")
    assert shard.commit(1, named(staged), checkpoint=False).missing == ()


def test_a_folded_update_is_known_until_the_round_is_undone(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    staged = push(shard, update(1.0), 1, "a")
    assert shard.folded(staged.header) == ""
    commit(shard, 1, staged)
    assert shard.folded(staged.header) == staged.digest
    assert shard.folded(replace(staged.header, attempt=1)) == shard.folded(replace(staged.header, incarnation=1)) == ""
    shard.restore(0)
    assert shard.folded(staged.header) == ""


def test_a_repeated_commit_answers_the_same(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    staged = push(shard, update(1.0, {3: 1.0}), 1, "a")
    assert commit(shard, 1, staged) == commit(shard, 1, staged)
    assert shard.model().newest == 1


def test_a_committed_round_does_not_take_another_list(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    a, b = push(shard, update(1.0), 1, "a"), push(shard, update(2.0), 1, "b")
    commit(shard, 1, a)
    with pytest.raises(StaleError, match="committed with another list"):
        commit(shard, 1, a, b)


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_a_commit_of_nothing_or_of_one_twice_is_refused(tmp_path: Path, names: list[str]) -> None:
    shard = begun(tmp_path)
    staged = push(shard, update(1.0), 1, "a")
    with pytest.raises(MalformedError, match="each of its updates once"):
        shard.commit(1, [Named(name, 0, staged.digest) for name in names], checkpoint=False)


def test_released_versions_are_forgotten(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    staged = push(shard, update(1.0), 1, "a")
    shard.commit(1, named(staged), checkpoint=False, release=[0])
    assert shard.state().versions == (1,)


# Restoring.


def test_a_version_in_memory_is_restored_by_undoing_the_newer(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    commit(shard, 1, push(shard, update(1.0, {3: 5.0}), 1, "a"))
    shard.restore(0)
    assert (dense(shard, 0), row(shard, 0, 3), shard.state().versions) == (0.0, 0.0, (0,))


def test_a_restarted_shard_restores_from_its_checkpoint(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    result = save(shard, 1, push(shard, update(1.0, {3: 5.0}), 1, "a"))
    fresh = Shard(config(tmp_path))
    fresh.restore(1, [ShardFileName(result.checkpoint, result.checkpoint_digest)])
    assert (dense(fresh, 1), row(fresh, 1, 3), fresh.model().digest(1)) == (1.0, 5.0, result.digest)


def test_a_restored_shard_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    saved = save(shard, 1, push(shard, update(1.0, {3: 5.0}), 1, "a"))
    fresh = Shard(config(tmp_path))
    fresh.restore(1, [ShardFileName(saved.checkpoint, saved.checkpoint_digest)])
    results = [commit(s, 2, push(s, update(2.0, {4: 6.0}), 2, "a")) for s in (shard, fresh)]
    assert results[0].digest == results[1].digest


def test_a_restored_version_can_be_committed_again(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    staged = push(shard, update(1.0), 1, "a")
    saved = save(shard, 1, staged)
    fresh = Shard(config(tmp_path))
    fresh.restore(1, [ShardFileName(saved.checkpoint, saved.checkpoint_digest)])
    assert save(fresh, 1, staged) == saved


def test_restoring_nothing_forgets_everything(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    push(shard, update(1.0), 1, "a")
    shard.restore(-1)
    assert (shard.state().versions, shard.state().staged) == ((), ())


def test_updates_of_the_next_round_survive_a_restore(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    staged = push(shard, update(1.0), 1, "a")
    shard.restore(0)
    assert commit(shard, 1, staged).missing == ()


def test_a_version_that_is_nowhere_cannot_be_restored(tmp_path: Path) -> None:
    with pytest.raises(StaleError, match="version 7 is not in memory and no checkpoint"):
        begun(tmp_path).restore(7)


def test_the_checkpoint_of_another_shard_is_refused(tmp_path: Path) -> None:
    shard = begun(tmp_path)
    result = save(shard, 1, push(shard, update(1.0), 1, "a"))
    other = Shard(config(tmp_path, shard=1, num_shards=2))
    file = ShardFileName(result.checkpoint, result.checkpoint_digest)
    with pytest.raises(CheckpointError, match=r"holds \(job, version, shard, shards\)"):
        other.restore(1, [file, file])


def test_a_checkpoint_without_a_folder_is_refused(tmp_path: Path) -> None:
    shard = begun(tmp_path, checkpoint=None)
    with pytest.raises(CheckpointError, match="started without --checkpoint"):
        save(shard, 1, push(shard, update(1.0), 1, "a"))


def test_a_failed_checkpoint_does_not_undo_the_round(tmp_path: Path) -> None:
    shard = begun(tmp_path, checkpoint=tmp_path / "file")
    (tmp_path / "file").write_text("in the way")
    staged = push(shard, update(1.0), 1, "a")
    with pytest.raises(CheckpointError, match="cannot write"):
        save(shard, 1, staged)
    (tmp_path / "file").unlink()
    assert save(shard, 1, staged).checkpoint.endswith("/1/shard-0-of-1.safetensors")


def test_state_tells_what_is_held(tmp_path: Path) -> None:
    shard = begun(tmp_path, boot_id="b1")
    staged = push(shard, update(1.0), 1, "a", attempt=4)
    state = shard.state()
    (held,) = state.staged
    assert (state.boot_id, state.versions) == ("b1", (0,))
    assert (held.round, held.trainer, held.attempt, held.digest) == (1, "a", 4, staged.digest)


def test_the_layout_is_the_one_of_round_0(tmp_path: Path) -> None:
    assert begun(tmp_path).model().layout == LAYOUT
