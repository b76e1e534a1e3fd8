"""What every model offers to training: a torch module whose tables are known by name.

A model is an `nn.Module` that reads named columns of examples. It names its tables; everything else in its state is
dense. Most predict clicks and have `logits`; others name another task and override `predict`. Made by `make_model`;
used by `training` alone.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fljob_runtime.models.tasks import Clicks, Task
from fljob_runtime.parameters import BESIDE, Kind, LayoutError, ModelError, ModelLayout, ParamSpec
from fljob_runtime.registry import RegistryError, RegistryKind, find, parse_parameters
from fljob_runtime.schema import Schema, SchemaError

# What a model's own code raises. Memory that is out, and all that is not an error of code, is not among it.
CODE_FAULTS = (ArithmeticError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
INITIAL_STD = 0.01  # of tables that do not tell
Batch = Mapping[str, Tensor]  # column -> values of B examples [B, ...]


class RecommenderModel(nn.Module, ABC):
    """Base of all models. TABLES: parameter name -> the column whose ids address its rows.

    task: what it is trained for. evaluation_batch: examples that are evaluated at a time, as memory allows.
    by_row: whether its tables are read in no other way than by embeddings that are asked for the ids of these columns;
    then a round keeps gradients and optimizer state of the rows of its own examples only.
    """

    TABLES: ClassVar[Mapping[str, str]] = {}
    task: Task = Clicks()
    evaluation_batch = 16_384
    by_row = False

    def logits(self, batch: Batch) -> Tensor:
        """Score examples of a click: columns [B, ...] -> logits [B] float32."""
        raise NotImplementedError(f"{type(self).__name__} scores no clicks")

    def predict(self, batch: Batch, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the task's outputs [E, ...] and targets [E] of a batch: columns and labels [B, ...]."""
        return self.logits(batch), labels

    def loss(self, batch: Batch, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean loss to train on, and the outputs and targets that it is of: float32.

        Called under autocast where spec.precision is BFloat16: who overrides this makes outputs float32 first.
        """
        outputs, targets = self.predict(batch, labels)
        outputs = outputs.float()
        return self.task.loss(outputs, targets), outputs, targets

    def prepare(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """See the columns [N, ...] of all the site's training examples, those of its first epoch.

        Called once, before the first of them is trained, and only where a model has this method of its own.
        """

    def tables(self) -> dict[str, str]:
        """Return the tables that this instance has: parameter name -> id column."""
        names = {name for name, _ in self.named_parameters()}
        return {name: column for name, column in self.TABLES.items() if name in names}

    def derived(self, columns: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[np.int64]]:  # noqa: ARG002 - most need none
        """Return columns of ids that `tables` names and the dataset does not have, made of those that it has.

        columns: [N, ...]. Training asks once for all examples; a batch has both. Sequences stay padded. A graph for
        serving asks with tensors, so what is written with operators alone (//, %, ==, …) can be exported.
        """
        return {}

    def initial_std(self, table: str) -> float:
        """Return the standard deviation, around 0, of the values that a row of a table with keys Any begins with."""
        return float(getattr(self.get_submodule(table.rpartition(".")[0]), "initial_std", INITIAL_STD))

    def layout(self) -> ModelLayout:
        """Return names, shapes and kinds of all parameters, in module order; all of them shared. Raises LayoutError."""
        tables = self.tables()
        if taken := [name for name, _ in self.named_parameters() if BESIDE in name]:
            raise LayoutError(f"parameters {taken}: a name may not have {BESIDE!r} in it; rename them in the model")
        return ModelLayout(
            tuple(
                ParamSpec(name, tuple(value.shape), Kind.ROWS if name in tables else Kind.DENSE)
                for name, value in self.named_parameters()
            )
        )


def make_model(name: str, parameters: Mapping[str, Any], schema: Schema, seed: int) -> RecommenderModel:
    """Make a registered model with initial values that are a function of the seed alone.

    Raises RegistryError for an unknown name or parameter, SchemaError for data that the model cannot read, ModelError
    for one of the user's that is not made as models are. Source of the rule: design, "Determinism".
    """
    cls, accepted = find(RegistryKind.MODEL, name)
    values = parse_parameters("spec.model.parameters", accepted, parameters)
    generator = torch.Generator().manual_seed(seed)
    try:
        model = cls(values, schema, generator)
    except SchemaError:
        if getattr(cls, "predict", None) is RecommenderModel.predict:  # of clicks; data without any are the wrong data
            _check_labels(name, schema)
        raise
    except (RegistryError, LayoutError):
        raise
    except CODE_FAULTS as error:
        raise failed(name, error) from error
    if not isinstance(model, RecommenderModel):
        raise TypeError(f"model {name!r}: {cls.__name__} must derive from RecommenderModel")
    if isinstance(model.task, Clicks):
        _check_labels(name, schema)
    _check_parts(name, model, schema)
    return model


def failed(name: str, error: Exception, batch: Batch | None = None) -> ModelError:
    """Return the error of a model whose code has raised one; batch: what it was given."""
    words = str(error).partition("\n")[0]
    given = f"; a batch has {', '.join(f'{key} {list(v.shape)}' for key, v in batch.items())}" if batch else ""
    return ModelError(f"model {name!r} fails: {type(error).__name__}: {words}{given}")


def _check_parts(name: str, model: RecommenderModel, schema: Schema) -> None:
    """Raise ModelError for values that no update and no checkpoint would have, and for tables that are none."""
    parameters, kept = {key for key, _ in model.named_parameters()}, model.state_dict().keys()
    if beside := [key for key, _ in model.named_buffers() if key in kept]:
        problem = f"keeps {', '.join(beside)} beside its parameters, which is neither sent nor saved"
        raise ModelError(f"model {name!r} {problem}; use layers without such state, or buffers with persistent=False")
    tables, columns = model.tables(), {*schema.ids, *schema.sequences}
    if model.TABLES and not tables and parameters.isdisjoint(model.TABLES):  # of some a variant may be without
        raise ModelError(
            f"model {name!r}: its TABLES name {sorted(model.TABLES)}, its parameters are {sorted(parameters)}"
        )
    if type(model).derived is not RecommenderModel.derived:
        return  # which columns there are, is known when there are data
    for table, column in tables.items():
        if column not in columns:
            raise ModelError(f"model {name!r}: table {table} has rows of {column!r}; the data have {sorted(columns)}")


def _check_labels(name: str, schema: Schema) -> None:
    """Raise SchemaError for data whose labels are not those of clicks."""
    if schema.num_classes != 2:
        labels = f"{schema.num_classes} classes" if schema.num_classes else "no labels"
        raise SchemaError(f"model {name!r} learns labels 0 and 1; the dataset has {labels}: choose another spec.model")
