from __future__ import annotations

import pytest

from fljob_api.exit_codes import ExitCode
from fljob_runtime.messages import AcceptedUpdate, Outcome, Receipt
from fljob_runtime.rounds.history import History
from fljob_runtime.rounds.values import (
    Finished,
    ListAccepted,
    Rewound,
    RoundCommitted,
    RoundDurable,
    RoundEvaluated,
    TrainerFailed,
)


def committed(*rounds: int, durable: bool = True) -> History:
    history = History()
    for number in rounds:
        history.apply(ListAccepted(number, (), (), 10, {}))
        history.apply(RoundCommitted(number, 1.0, durable))
    return history


def test_a_round_that_does_not_follow_is_damage() -> None:
    history = committed(0)
    history.apply(ListAccepted(2, (), (), 10, {}))
    with pytest.raises(ValueError, match="round 2 cannot follow 0"):
        history.apply(RoundCommitted(2, 1.0, True))


def test_a_second_commit_record_of_the_last_round_makes_it_durable() -> None:
    history = committed(0, durable=False)
    history.apply(RoundCommitted(0, 1.0, True))
    assert history.durable == [0]


def test_a_version_may_become_durable_after_later_rounds() -> None:
    history = committed(0, 1, 2, durable=False)
    history.apply(RoundDurable(1))
    assert history.durable == [1]


def test_a_rewind_forgets_newer_rounds_and_what_was_under_way() -> None:
    history = committed(0, 1, 2)
    history.apply(ListAccepted(3, (), (), 10, {}))
    history.apply(Rewound(1))
    assert (history.committed, history.accepted) == (1, None)


def test_receipts_stay_of_the_newest_rounds_and_names_are_shared() -> None:
    history = History()
    for number in range(100):
        updates = tuple(AcceptedUpdate(f"t{k}", number, (Receipt(0, f"{number}-{k}", 8),)) for k in range(3))
        history.apply(ListAccepted(number, updates, (), 10, {}))
        history.apply(RoundCommitted(number, 1.0, durable=True))
    assert [len(commit.accepted) for commit in history.commits] == [0] * 98 + [3, 3]
    assert [commit.trainers for commit in history.commits] == [("t0", "t1", "t2")] * 100
    assert len({id(commit.trainers) for commit in history.commits}) == 1


@pytest.mark.parametrize("version", [-2, 3, 10**30])
def test_a_rewind_to_what_was_never_there_is_damage(version: int) -> None:
    with pytest.raises(ValueError, match=f"version {version} cannot be gone back to from 2"):
        committed(0, 1, 2).apply(Rewound(version))


def test_with_the_last_word_failures_are_forgotten() -> None:
    history = committed(0)
    history.apply(TrainerFailed("a", ExitCode.BAD_DATA, "torn"))
    history.apply(Finished(Outcome.PAUSED, "Suspended", "", ExitCode.STOPPED, 0))
    assert history.failed == {}


def test_the_best_is_the_highest_auc_the_first_of_equals() -> None:
    history = committed(0, 1, 2, 3)
    for number, auc in ((1, 0.7), (2, 0.8), (3, 0.8)):
        history.apply(RoundEvaluated(number, {"AUC": auc, "Loss": 0.5}))
    best = history.best()
    assert best is not None
    assert best.round == 2


def test_without_auc_the_best_is_the_lowest_loss() -> None:
    history = committed(0, 1, 2)
    for number, loss in ((1, 0.4), (2, 0.5)):
        history.apply(RoundEvaluated(number, {"Loss": loss}))
    best = history.best()
    assert best is not None
    assert best.round == 1


def told(**of_rounds: dict[str, float]) -> History:
    history = committed(0, 1, 2, 3)
    for name, metrics in of_rounds.items():
        history.apply(RoundEvaluated(int(name[1:]), metrics))
    return history


@pytest.mark.parametrize(("metric", "best"), [("", 3), ("AUC", 3), ("Loss", 1), ("HR@10", 2), ("Accuracy", 1)])
def test_the_best_is_by_the_metric_that_is_asked_for_and_by_the_loss_where_it_is_not_measured(
    metric: str, best: int
) -> None:
    history = told(
        r1={"AUC": 0.6, "HR@10": 0.1, "Loss": 0.3},
        r2={"AUC": 0.7, "HR@10": 0.4, "Loss": 0.4},
        r3={"AUC": 0.8, "HR@10": 0.2, "Loss": 0.5},
    )
    found = history.best(metric)
    assert found is not None
    assert found.round == best


def test_the_best_by_the_metric_that_is_asked_for_stays() -> None:
    history = told(r1={"AUC": 0.6, "Loss": 0.3}, r2={"AUC": 0.7, "Loss": 0.4}, r3={"AUC": 0.8, "Loss": 0.5})
    assert history.releasable(0, "Loss") == (0, 2)
    assert history.releasable(0, "AUC") == (0, 1, 2)


def test_the_last_version_is_never_releasable() -> None:
    assert committed(0, 1, 2).releasable(0) == (0, 1)
