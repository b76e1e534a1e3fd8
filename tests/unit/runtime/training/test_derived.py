"""Tables that go by ids which the model derives: rows are asked for, trained and weighed like those of any column."""

from __future__ import annotations

import numpy as np
from unit.runtime.training.tiny import TinyData, plan

from fljob_runtime.models.base import make_model
from fljob_runtime.training.local import LocalTrainer
from fljob_runtime.training.stepwise import GradientRound

QUOTIENTS, REMAINDERS = (f"embeddings.item.{part}.weight" for part in ("quotient", "remainder"))
PARAMETERS = {"embeddings": "QuotientRemainder", "threshold": 7, "collisions": 3, "embeddingDim": 2, "top": 4}


def trainer() -> LocalTrainer:
    made = plan()  # registers models
    model = make_model("dlrm", PARAMETERS, TinyData.schema, 0)
    return LocalTrainer(model, model.layout(), TinyData(), made)


def test_the_rows_of_a_round_are_those_of_its_quotients_and_remainders() -> None:
    needed = trainer().needed_rows(1)  # items 0 to 4
    assert (needed[QUOTIENTS].tolist(), needed[REMAINDERS].tolist()) == ([0, 1], [0, 1, 2])


def test_the_rows_of_an_evaluation_are_those_of_the_held_out_items() -> None:
    needed = trainer().needed_rows(evaluation=True)  # items 5, 6 and 7
    assert (needed[QUOTIENTS].tolist(), needed[REMAINDERS].tolist()) == ([1, 2], [0, 1, 2])


def test_an_update_has_the_touched_rows_weighed_by_use() -> None:
    rows = trainer().train(1).state.rows
    # items 0, 0, 0, 0, 1, 1, 2, 2, 3 and 4: quotient 0 eight times; remainders of 0 and 3, of 1 and 4, of 2
    assert (rows[QUOTIENTS].ids.tolist(), rows[QUOTIENTS].weights.tolist()) == ([0, 1], [8.0, 2.0])
    assert (rows[REMAINDERS].ids.tolist(), rows[REMAINDERS].weights.tolist()) == ([0, 1, 2], [5.0, 3.0, 2.0])


def test_training_moves_the_rows_it_touches_and_no_other() -> None:
    local = trainer()
    before = local.initial_state().rows[QUOTIENTS].values
    local.train(1)
    moved = (local.initial_state().rows[QUOTIENTS].values != before).any(axis=1)
    assert np.flatnonzero(moved).tolist() == [0, 1]


def test_a_mini_batch_sends_the_gradients_of_the_rows_it_reads() -> None:
    step = GradientRound(trainer(), 1)
    asked = step.rows(0)
    sent = step.train(0).state.rows
    assert {name: rows.ids.tolist() for name, rows in sent.items()} == {
        name: ids.tolist() for name, ids in asked.items()
    }
    assert asked.keys() == {QUOTIENTS, REMAINDERS, "embeddings.user.weight"}
    assert sent[QUOTIENTS].weights.sum() == 4.0  # examples of a mini-batch
