"""A round on few rows of a large table: the embedding holds just those within, so that a step costs what they cost.

Used by `local`. Gradients and an optimizer's state of an embedding are as large as its table, and a fresh optimizer
leaves rows without a gradient as they are (weight decay moves them, and nobody asks for them): a round of a site with a
tenth of the users would spend its time on the others' rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fljob_runtime.models.base import RecommenderModel
from fljob_runtime.parameters import Int64Array
from fljob_runtime.training.vocabulary import whole_blocks

_MOST_SHARE = 0.75  # of a table's rows; of more there is too little to gain


@contextmanager
def few_rows(model: RecommenderModel, rows: Mapping[str, Int64Array]) -> Iterator[None]:
    """Let each table that can hold only these rows, by places ascending, within; changes are in the whole one after.

    Ids stay as they are: an embedding that is asked for another row than these raises IndexError.
    """
    held = [
        _FewRows(module, places)
        for name, places in rows.items()
        if model.by_row and (module := _embedding(model, name)) and _is_worth_it(module, places)
    ]
    try:
        yield
    finally:
        for table in held:
            table.put_back()


class _FewRows:
    """An embedding, its whole table put aside."""

    def __init__(self, module: nn.Embedding, rows: Int64Array) -> None:
        weight = module.weight
        self._weight, self._whole, self._rows = weight, weight.data, torch.from_numpy(rows)
        few = torch.zeros(whole_blocks(len(rows)), weight.shape[1])
        few[: len(rows)] = self._whole[self._rows]
        self._places = torch.full((len(self._whole),), len(few))  # past the end: who was not named is not there
        self._places[0] = 0  # also read in place of padding, where nothing comes of it
        self._places[self._rows] = torch.arange(len(rows))
        weight.data, weight.grad = few, None
        self._hook = module.register_forward_pre_hook(self._placed)

    def put_back(self) -> None:
        """Put the whole table back, with the rows as they are now."""
        self._hook.remove()
        self._whole[self._rows] = self._weight.data[: len(self._rows)]
        self._weight.data, self._weight.grad = self._whole, None

    def _placed(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        ids = inputs[0]
        if self._places.device != ids.device:
            self._places = self._places.to(ids.device)
        return (self._places[ids],)


def _embedding(model: RecommenderModel, table: str) -> nn.Embedding | None:
    """Return the embedding whose weight a table is; None where it is something else."""
    path, _, name = table.rpartition(".")
    module = model.get_submodule(path)
    if isinstance(module, nn.Embedding) and name == "weight" and module.padding_idx is None:
        return module
    return None


def _is_worth_it(module: nn.Embedding, rows: Int64Array) -> bool:
    return 0 < whole_blocks(len(rows)) <= _MOST_SHARE * len(module.weight)
