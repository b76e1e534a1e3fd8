"""PFedRec over a population: the same as each client by itself with torch, and it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fljob_runtime.simulation.one_user import generated
from fljob_runtime.simulation.pfedrec import Evaluated, Population, Rule, best
from fljob_runtime.training.record import DivergedError


def one_client(made: Population, user: int, items: torch.Tensor, labels: torch.Tensor, rule: Rule) -> torch.Tensor:
    """Train one client as the paper says, by torch's own gradients; return its items [I, D]."""
    table = made.items.clone().requires_grad_()
    weight, bias = made.weights[user].clone().requires_grad_(), made.biases[user].clone().requires_grad_()
    loss_of = nn.BCEWithLogitsLoss()
    for at in range(0, len(items), rule.batch):
        batch, wanted = items[at : at + rule.batch], labels[at : at + rule.batch]
        for parameters, rate in (([weight, bias], rule.rate), ([table], rule.rate * rule.item_rate * len(table))):
            optimizer = torch.optim.SGD(parameters, lr=rate)
            for parameter in (weight, bias, table):
                parameter.grad = None
            loss_of(table[batch] @ weight + bias, wanted).backward()
            optimizer.step()
    made.weights[user], made.biases[user] = weight.detach(), bias.detach()
    return table.detach()


def test_a_round_of_all_users_is_that_of_each_by_itself() -> None:
    rule = Rule(leaky=False, dim=4, batch=16, item_rate=0.01)
    split = generated(6, 250, 20, 1)
    together, apart = Population(split, rule, 3), Population(split, rule, 3)
    list(together.rounds(1))
    work = apart._draw()
    tables = []
    for user in range(split.num_users):
        mine = work.user == user
        items = torch.from_numpy(work.pairs[:, 1])[work.pair[mine]]
        tables.append(one_client(apart, user, items, work.label[mine], rule))
    torch.testing.assert_close(together.weights, apart.weights)
    torch.testing.assert_close(together.biases, apart.biases)
    torch.testing.assert_close(together.items, torch.stack(tables).mean(0))


def test_it_learns_what_users_like() -> None:
    every = list(Population(generated(120, 1000, 40, 0), Rule(leaky=False), 0).rounds(20))
    assert every[0].test.hit_rate(10) < 0.3
    assert every[best(every)].test.hit_rate(10) > 0.3


def test_two_runs_with_one_seed_are_equal() -> None:
    split, rule = generated(20, 300, 30, 0), Rule(leaky=True)
    first, second = ([one.test.counts for one in Population(split, rule, 7).rounds(3)] for _ in range(2))
    assert np.array_equal(first, second)


def test_the_round_is_chosen_by_the_validation_items() -> None:
    every = list(Population(generated(20, 300, 30, 0), Rule(leaky=False), 0).rounds(4))
    rates = [one.valid.hit_rate(10) for one in every]
    assert isinstance(every[0], Evaluated)
    assert rates[best(every)] == max(rates)


def test_a_population_that_diverges_is_no_perfect_one() -> None:
    rule = Rule(leaky=False, rate=1e30)
    with pytest.raises(DivergedError, match="not finite"):
        list(Population(generated(6, 250, 20, 1), rule, 0).rounds(3))
