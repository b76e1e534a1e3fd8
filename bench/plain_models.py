"""Every built-in model once more, as one would write it down in plain PyTorch. Used by `models`, which trains both.

Parameters come in the order of ours, so that values can be copied. Columns of ids have a table each; all numbers of an
example are one row of a matrix. B batch, T items of a session, F fields, K width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, max_pool2d
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

Columns = Mapping[str, Tensor]


class Peer(nn.Module):
    """A model with its loss."""

    def loss(self, columns: Columns, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch: clicks, unless a model has another."""
        return binary_cross_entropy_with_logits(self(columns), labels)


def tower(*widths: int) -> nn.Sequential:
    return nn.Sequential(*(part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())))


def tables(sizes: Sequence[int], width: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Embedding(size, width) for size in sizes)


class Ncf(Peer):
    def __init__(self, users: int, items: int, factors: int = 0, widths: tuple[int, ...] = ()) -> None:
        super().__init__()
        dims = ([factors] if factors else []) + ([widths[0] // 2] if widths else [])
        self.users = nn.ModuleList(nn.Embedding(users, dim) for dim in dims)
        self.items = nn.ModuleList(nn.Embedding(items, dim) for dim in dims)
        self.product = bool(factors)
        self.tower = tower(*widths) if widths else None
        self.output = nn.Linear(factors + (widths[-1] if widths else 0), 1)

    def forward(self, columns: Columns) -> Tensor:
        users, items = columns["user"], columns["item"]
        parts = [self.users[0](users) * self.items[0](items)] if self.product else []
        if self.tower is not None:
            parts.append(self.tower(torch.cat([self.users[-1](users), self.items[-1](items)], 1)))
        return self.output(torch.cat(parts, 1) if len(parts) > 1 else parts[0]).squeeze(1)


class Mf(Peer):
    def __init__(self, users: int, items: int, factors: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.user, self.user_bias = nn.Embedding(users, factors), nn.Embedding(users, 1)
        self.item, self.item_bias = nn.Embedding(items, factors), nn.Embedding(items, 1)

    def forward(self, columns: Columns) -> Tensor:
        users, items = columns["user"], columns["item"]
        biases = self.user_bias(users) + self.item_bias(items)
        return self.bias + biases.squeeze(1) + (self.user(users) * self.item(items)).sum(1)


class Fm(Peer):
    def __init__(self, sizes: Mapping[str, int], numbers: int, factors: int, widths: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.names = tuple(sizes)
        self.bias = nn.Parameter(torch.zeros(1))
        self.number_weights = nn.Parameter(torch.zeros(numbers))
        self.number_factors = nn.Parameter(torch.zeros(numbers, factors))
        self.weights, self.factors = tables([*sizes.values()], 1), tables([*sizes.values()], factors)
        self.tower = tower((len(sizes) + numbers) * factors, *widths) if widths else None
        self.output = nn.Linear(widths[-1], 1) if widths else None

    def forward(self, columns: Columns) -> Tensor:
        ids, numbers = [columns[name] for name in self.names], columns["numbers"]
        linear = self.bias + sum(table(column).squeeze(1) for table, column in zip(self.weights, ids, strict=True))
        linear = linear + numbers @ self.number_weights
        rows = torch.stack([table(column) for table, column in zip(self.factors, ids, strict=True)], 1)
        rows = torch.cat([rows, numbers[:, :, None] * self.number_factors], 1)  # [B, F, K]
        scores = linear + 0.5 * (rows.sum(1) ** 2 - (rows**2).sum(1)).sum(1)
        if self.tower is None or self.output is None:
            return scores
        return scores + self.output(self.tower(rows.flatten(1))).squeeze(1)


class QuotientRemainder(nn.Module):
    def __init__(self, rows: int, width: int, collisions: int) -> None:
        super().__init__()
        self.collisions = collisions
        self.quotient = nn.Embedding(-(-rows // collisions), width)
        self.remainder = nn.Embedding(collisions, width)

    def forward(self, ids: Tensor) -> Tensor:
        return self.quotient(ids // self.collisions) * self.remainder(ids % self.collisions)


class Dlrm(Peer):
    """columns: name -> the module that makes a vector of width dim of an id."""

    def __init__(self, columns: Mapping[str, nn.Module], numbers: int, dim: int, *, dot: bool) -> None:
        super().__init__()
        self.names, count = tuple(columns), len(columns) + 1
        self.tables = nn.ModuleList(columns.values())
        self.bottom = tower(numbers, 64, 32, dim)
        self.pairs = torch.tril_indices(count, count, -1) if dot else None
        self.top = tower(dim + count * (count - 1) // 2 if dot else count * dim, 64, 32)
        self.output = nn.Linear(32, 1)

    def forward(self, columns: Columns) -> Tensor:
        dense = self.bottom(columns["numbers"])
        rows = [table(columns[name]) for name, table in zip(self.names, self.tables, strict=True)]
        if self.pairs is None:
            return self.output(self.top(torch.cat([dense, *rows], 1))).squeeze(1)
        vectors = torch.stack([dense, *rows], 1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        return self.output(self.top(torch.cat([dense, products], 1))).squeeze(1)


class Mlp(Peer):
    def __init__(self, sizes: Mapping[str, int], numbers: int, dim: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.names = tuple(sizes)
        self.tables = tables([*sizes.values()], dim)
        self.tower = tower(len(sizes) * dim + numbers, *widths)
        self.output = nn.Linear(widths[-1], 1)

    def forward(self, columns: Columns) -> Tensor:
        rows = [table(columns[name]) for name, table in zip(self.names, self.tables, strict=True)]
        return self.output(self.tower(torch.cat([*rows, columns["numbers"]], 1))).squeeze(1)


class Gru4Rec(Peer):
    def __init__(self, items: int, width: int) -> None:
        super().__init__()
        self.output, self.bias = nn.Parameter(torch.zeros(items, width)), nn.Parameter(torch.zeros(items))
        self.embedding, self.gru = nn.Embedding(items, width), nn.GRU(width, width, batch_first=True)

    def loss(self, columns: Columns, labels: Tensor) -> Tensor:  # noqa: ARG002 - items are the targets
        items = columns["items"]
        lengths = (items >= 0).sum(1) - 1
        before, after = (
            pack_padded_sequence(part, lengths, batch_first=True, enforce_sorted=False)
            for part in (items[:, :-1], items[:, 1:])
        )
        states = self.gru(PackedSequence(self.embedding(before.data), before.batch_sizes))[0].data
        return cross_entropy(states @ self.output.T + self.bias, after.data)


class YoutubeDnn(Peer):
    def __init__(self, items: int, dim: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.output, self.bias = nn.Parameter(torch.zeros(items, widths[-1])), nn.Parameter(torch.zeros(items))
        self.embedding, self.tower = nn.Embedding(items, dim), tower(dim, *widths)

    def loss(self, columns: Columns, labels: Tensor) -> Tensor:  # noqa: ARG002 - items are the targets
        items = columns["items"]
        before, after = items[:, :-1], items[:, 1:]
        means = self.embedding(before.clamp(min=0)).cumsum(1) / torch.arange(1, items.shape[1])[:, None]
        users = self.tower(means[after >= 0])
        return cross_entropy(users @ self.output.T + self.bias, after[after >= 0])


class Softmax(Peer):
    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.output = nn.Linear(inputs, classes)

    def loss(self, columns: Columns, labels: Tensor) -> Tensor:
        return cross_entropy(self.output(columns["pixels"].flatten(1)), labels.long())


class Cnn(Peer):
    def __init__(self, side: int, channels: tuple[int, int], dense: int, classes: int) -> None:
        super().__init__()
        pairs = zip((1, channels[0]), channels, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 5, padding="same") for a, b in pairs)
        self.dense = nn.Linear(channels[1] * (side // 4) ** 2, dense)
        self.output = nn.Linear(dense, classes)

    def loss(self, columns: Columns, labels: Tensor) -> Tensor:
        hidden = columns["pixels"][:, None]
        for layer in self.convolutions:
            hidden = max_pool2d(torch.relu(layer(hidden)), 2)
        return cross_entropy(self.output(torch.relu(self.dense(hidden.flatten(1)))), labels.long())
