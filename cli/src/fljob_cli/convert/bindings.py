"""What the names of a script stand for, as far as that is sure of a script that is read and not run.

Used by `scripts` and `paddlefl_layers`. A name that may have been given something else on the way is not known, so that
what it once stood for is never taken for what it stands for. Pure.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Known:
    """constants: name → what is written out; kinds: name → kind of object."""

    constants: dict[str, Any] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def copy(self, *, without: Container[str] = ()) -> Known:
        """Return another that changes of this one leave alone, without some of the constants."""
        constants = {name: value for name, value in self.constants.items() if name not in without}
        return Known(constants, dict(self.kinds))

    def forget(self, names: Iterable[str]) -> None:
        """Forget names that now stand for something else."""
        for name in names:
            self.constants.pop(name, None)
            self.kinds.pop(name, None)

    def doubt(self, names: Iterable[str]) -> None:
        """Forget the values of names that perhaps stand for something else; what kind of object they are is kept."""
        for name in names:
            self.constants.pop(name, None)


def merged(ways: Sequence[Known]) -> Known:
    """Return what is known behind a fork, whichever way was taken: constants of the same value, objects of any."""
    first, *others = ways
    same = {
        name: value
        for name, value in first.constants.items()
        if all(name in other.constants and _same(other.constants[name], value) for other in others)
    }
    kinds: dict[str, str] = {}
    for way in ways:
        kinds |= way.kinds
    return Known(same, kinds)


def _same(one: object, other: object) -> bool:
    return repr(one) == repr(other)  # 1 == True, and is not the same


def given(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node itself, not what is in it, gives something to, or of whose list it calls a method."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
        case ast.alias(name=name, asname=given_name):
            yield given_name or name.partition(".")[0]
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))):
            yield name
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            yield name


def bound(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield each name as often as nodes give it something; functions' insides are their own, classes' are not."""
    left = list(nodes)
    while left:
        node = left.pop()
        yield from given(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            left += ast.iter_child_nodes(node)


def often(nodes: Iterable[ast.AST]) -> frozenset[str]:
    """Return the names that nodes bind more than once: when a function is called, they stand for who knows what."""
    once: set[str] = set()
    more: set[str] = set()
    for name in bound(nodes):
        (more if name in once else once).add(name)
    return frozenset(more)


def parameters(arguments: ast.arguments) -> list[str]:
    """Return the names of a function's parameters."""
    found = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [one.arg for one in (*found, arguments.vararg, arguments.kwarg) if one is not None]


def reached(tree: ast.AST) -> frozenset[str]:
    """Return the names that are bound from within a function or an expression, at whatever time."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                found.update(names)
            case ast.NamedExpr(target=ast.Name(id=name)):
                found.add(name)
    return frozenset(found)
