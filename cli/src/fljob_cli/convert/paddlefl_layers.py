"""The layers of PaddleFL's GRU4Rec as its function makes them: what each argument must be for the network to be ours.

Used by `paddlefl`. Source: fluid.layers and fluid.ParamAttr of Paddle 1.8. What is no layer or argument that is known,
and what makes another network, is a problem; what is known and otherwise than here is told as lost. Pure.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeGuard

from fljob_api.problems import Problem, nearest
from fljob_cli.convert.bindings import given, parameters
from fljob_cli.convert.mapping import Said, lost, nothing, to
from fljob_cli.convert.paddlefl_calls import NETWORK, Entry
from fljob_cli.convert.scripts import Unread, last_name, value_of

_SOMETIMES = (ast.For, ast.While, ast.If, ast.IfExp, ast.ListComp, ast.GeneratorExp, ast.FunctionDef)
_ITEMS, _FLOATS = "the model reads sequences of items' numbers", "training is in float32"


class _Any(Enum):
    """An argument that may be anything."""

    FREE = "of which nothing follows: a variable, a name"
    TOLD = "told wherever it is written (`said_of_layer`)"
    ATTR = "a ParamAttr: what it says of a parameter is read"


@dataclass(frozen=True)
class _Must:
    """An argument that is as here with one of these values; why any other has no effect here."""

    values: tuple[Any, ...]
    why: str


_Rule = _Any | _Must
_FREE, _TOLD, _ATTR = _Any.FREE, _Any.TOLD, _Any.ATTR
# Layer → its arguments in order.
_LAYERS: dict[str, dict[str, _Rule]] = {
    "data": {
        "name": _FREE,
        "shape": _Must(([1], [-1, 1]), _ITEMS),
        "append_batch_size": _Must((True, False), _ITEMS),
        "dtype": _Must(("int64",), _ITEMS),
        "lod_level": _Must((1,), _ITEMS),
        "type": _FREE,
        "stop_gradient": _Must((True,), _ITEMS),
    },
    "embedding": {
        "input": _FREE,
        "size": _FREE,  # looked at with those of the others
        "is_sparse": _TOLD,
        "is_distributed": _TOLD,
        "padding_idx": _Must((None,), "no item is padding here"),
        "param_attr": _ATTR,
        "dtype": _Must(("float32",), _FLOATS),
    },
    "fc": {
        "input": _FREE,
        "size": _FREE,  # as above
        "num_flatten_dims": _Must((1,), "a layer reads one vector for each item"),
        "param_attr": _ATTR,
        "bias_attr": _ATTR,
        "act": _FREE,  # as above
        "name": _FREE,
    },
    "dynamic_gru": {
        "input": _FREE,
        "size": _FREE,  # as above
        "param_attr": _ATTR,
        "bias_attr": _ATTR,
        "is_reverse": _Must((False,), "sessions are read forwards"),
        "gate_activation": _Must(("sigmoid",), "gates are sigmoids"),
        "candidate_activation": _Must(("tanh",), "what may be the next state goes through tanh"),
        "h_0": _Must((None,), "the first state is 0"),
        "origin_mode": _TOLD,
    },
    "cross_entropy": {
        "input": _FREE,
        "label": _FREE,
        "soft_label": _Must((False,), "one item is the right one"),
        "ignore_index": _Must((-100,), "every next item counts"),
    },
    "accuracy": {"input": _FREE, "label": _FREE, "k": _TOLD, "correct": _FREE, "total": _FREE},
    "mean": {"x": _FREE, "name": _FREE},
    "relu": {"x": _FREE, "name": _FREE},
}
_PARAM_ATTR: dict[str, _Rule] = {
    "name": _FREE,
    "initializer": _TOLD,
    "learning_rate": _TOLD,
    "regularizer": _Must((None,), "there is none here yet"),
    "trainable": _Must((True,), "all parameters are trained"),
    "gradient_clip": _Must((None,), "there is none here yet"),
    "do_model_average": _FREE,  # for a ModelAverage, which is no call that is known here
}


_MODEL = "spec.model.name: gru4rec"
_MADE = {
    "relu": lost("there is no such layer here"),
    "dynamic_gru": to(_MODEL, "its reset gate acts behind the product with the state, there before it"),
}
_ALWAYS = {
    "size": to("spec.model.parameters.embeddingDim"),
    "is_sparse": nothing("rows that were touched travel"),
    "is_distributed": nothing("rows that were touched travel"),
    "origin_mode": nothing("the gate, or what it lacks to 1: both learn alike"),
}
# Argument → the value that it should have, what is said of that, and of any other.
_SHOULD: dict[str, tuple[Any, Said, Said]] = {
    "learning_rate": (1, nothing("as here"), lost("one learning rate is for all parameters")),
    "initializer": (None, nothing("as here"), lost("initial values are the model's own")),
    "k": (20, to("metric Recall@20"), lost("Recall@20 is measured")),
}


def said_of_layer(entry: Entry) -> Said:
    """Return what became of a layer or of one of its arguments."""
    argument = entry.argument.rpartition(".")[2]
    if not argument:
        return _MADE.get(entry.name, to(_MODEL))
    if argument in _ALWAYS:
        return _ALWAYS[argument]
    if argument in _SHOULD:
        wanted, same, other = _SHOULD[argument]
        return same if entry.value == wanted else other
    rule = _rules(entry)
    if isinstance(rule, _Must):
        return lost(rule.why)
    return lost("every layer has its parameters" if entry.value is False else "what it says is not read")


def _rules(entry: Entry) -> _Rule:
    *within, argument = entry.argument.split(".")
    return (_PARAM_ATTR if within else _LAYERS[entry.name])[argument]


@dataclass(frozen=True)
class _Scope:
    """What names stand for within the function: values, and expressions that are given to a name once."""

    values: dict[str, Any]
    written: dict[str, ast.expr]

    def number(self, node: ast.expr) -> int | None:
        """Return a whole number that is written out or a product or sum of such."""
        match node:
            case ast.BinOp(left=left, op=ast.Mult() | ast.Add() as op, right=right):
                a, b = self.number(left), self.number(right)
                if a is None or b is None:
                    return None
                return a * b if isinstance(op, ast.Mult) else a + b
        value = value_of(node, self.values)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def meant(self, node: ast.expr) -> ast.expr:
        """Return the expression that a name stands for; itself, if it is none of these."""
        return self.written.get(node.id, node) if isinstance(node, ast.Name) else node


def _scope(function: ast.FunctionDef, constants: Mapping[str, Any], sizes: Mapping[str, int]) -> _Scope:
    """Return what is sure of names; sizes: of the function's parameters."""
    counts = Counter(name for node in function.body for part in ast.walk(node) for name in given(part))
    own = parameters(function.args)
    values = {name: value for name, value in constants.items() if name not in own and name not in counts}
    values |= {name: value for name, value in sizes.items() if name in own and name not in counts}
    written: dict[str, ast.expr] = {}
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if counts[name] == 1 and name not in own:
                written[name] = value
                values[name] = value_of(value, values)
    return _Scope(values, written)


@dataclass
class Layers:
    """Reads the function of the network. entries: what it says, in order; problems: what makes another network.

    sizes: vocab_size and hid_size, as they are called or by default; of what is computed, any numbers below 0.
    """

    script: str
    sizes: Mapping[str, int]
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def read(self, function: ast.FunctionDef, constants: Mapping[str, Any]) -> None:
        """Read all layers, by their lines."""
        scope = _scope(function, constants, self.sizes)
        every = [node for part in function.body for node in ast.walk(part)]
        calls = [node for node in every if _is_layer(node)]
        if any(_is_layer(within) for node in every if isinstance(node, _SOMETIMES) for within in ast.walk(node)):
            self._refuse(
                f"{self.script}:{function.lineno} {NETWORK}", "makes layers in a loop or a branch; write them out"
            )
        seen: Counter[str] = Counter()
        for node in sorted(calls, key=lambda one: (one.lineno, one.col_offset)):
            name = last_name(node.func)
            key = f"{self.script}:{node.lineno} layers.{name}"
            self.entries.append(Entry(key, "layers", name, "", Unread("(…)")))
            if name not in _LAYERS:
                self._refuse(key, "not a layer of GRU4Rec as it is known here", nearest(name, _LAYERS))
                continue
            said = self._arguments(key, node, _LAYERS[name])
            for argument, value in said.items():
                self._argument(Entry(f"{key}.{argument}", "layers", name, argument, value), scope)
            seen[self._sized(key, name, said, scope)] += 1
        self._count(f"{self.script}:{function.lineno} {NETWORK}", seen)

    def _arguments(self, key: str, node: ast.Call, known: Mapping[str, _Rule]) -> dict[str, ast.expr]:
        """Return the arguments of a call by their names."""
        if any(isinstance(one, ast.Starred) for one in node.args) or any(one.arg is None for one in node.keywords):
            self._refuse(key, "its arguments cannot be read behind * and **; write them out")
            return {}
        if len(node.args) > len(known):
            self._refuse(key, f"takes {len(known)} arguments at most")
        said = dict(zip(known, node.args, strict=False))
        for keyword in node.keywords:
            name = keyword.arg or ""
            if name not in known:
                self._refuse(f"{key}.{name}", "not an argument that is known here", nearest(name, known))
            else:
                said[name] = keyword.value
        return said

    def _argument(self, entry: Entry, scope: _Scope) -> None:
        """Keep an argument if there is something to say of it. entry: whose value is an expression yet."""
        rule, value = _rules(entry), value_of(entry.value, scope.values)
        if rule is _ATTR:
            self._attribute(entry, scope)
        elif rule is _TOLD or (isinstance(rule, _Must) and value not in rule.values):
            self._tell(entry, value)

    def _attribute(self, entry: Entry, scope: _Scope) -> None:
        """Read what a ParamAttr says; None and a name say nothing."""
        node = scope.meant(entry.value)
        if isinstance(node, ast.Call) and last_name(node.func) == "ParamAttr":
            key = entry.key.removesuffix(".param_attr")  # of the weights, which are meant where nothing is said
            for argument, value in self._arguments(entry.key, node, _PARAM_ATTR).items():
                path = f"{entry.argument}.{argument}"
                self._argument(Entry(f"{key}.{argument}", "layers", entry.name, path, value), scope)
            return
        value = value_of(node, scope.values)
        if not (value is None or value is True or isinstance(value, str)):
            self._tell(entry, value)

    def _tell(self, entry: Entry, value: object) -> None:
        self.entries.append(Entry(entry.key, entry.kind, entry.name, entry.argument, value))

    def _sized(self, key: str, layer: str, said: Mapping[str, ast.expr], scope: _Scope) -> str:
        """Return which part of the network a layer is, by its size; its own name if that has no size."""
        if layer not in {"embedding", "fc", "dynamic_gru"}:
            return layer
        hidden, size = self.sizes["hid_size"], scope.meant(said["size"]) if "size" in said else None
        if layer == "embedding":
            self._embedded(key, size, scope)
            return layer
        act = value_of(said["act"], scope.values) if "act" in said else None
        if layer == "fc" and act == "softmax":
            return "scores"  # of as many items as the data have
        number = scope.number(size) if size is not None else None
        if layer == "dynamic_gru" and number == hidden:
            return layer
        if layer == "fc" and number == 3 * hidden and act is None:
            return "gates"
        wanted = "size=hid_size" if layer == "dynamic_gru" else "size=hid_size * 3, or act='softmax' over all items"
        self._refuse(key, f"is another layer than those of GRU4Rec, which have {wanted}")
        return layer

    def _embedded(self, key: str, size: ast.expr | None, scope: _Scope) -> None:
        """Note a width of the embeddings that is not the state's."""
        width = scope.number(size.elts[1]) if isinstance(size, (ast.List, ast.Tuple)) and len(size.elts) == 2 else None
        if width is None:
            self._refuse(f"{key}.size", "must be [vocab_size, width], the width written out or a name of a number")
        elif width != self.sizes["hid_size"]:
            self.entries.append(Entry(f"{key}.size", "layers", "embedding", "size", width))

    def _count(self, key: str, seen: Counter[str]) -> None:
        """Refuse a network that has not one table of embeddings, units with a layer of gates each, and scores."""
        units = seen["dynamic_gru"]
        if self.problems or (units and (seen["embedding"], seen["gates"], seen["scores"]) == (1, units, 1)):
            return
        there = ", ".join(f"{count} {name}" for name, count in sorted(seen.items())) or "none"
        wanted = "one embedding, for each layer an fc of size=hid_size * 3 and a dynamic_gru, and one fc with softmax"
        self._refuse(key, f"must have {wanted}, called as fluid.layers.…; it has {there}")

    def _refuse(self, key: str, message: str, suggestion: str = "") -> None:
        self.problems.append(Problem(key, message, suggestion))


def _is_layer(node: ast.AST) -> TypeGuard[ast.Call]:
    match node:
        case ast.Call(func=ast.Attribute(value=owner)):
            return last_name(owner) == "layers"
    return False
