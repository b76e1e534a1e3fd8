"""Reads Python scripts for the calls and settings of known objects, as text: nothing of them is imported or run.

Used by `paddlefl`. What is written out (numbers, text, lists, names of such) is read; whatever would have to be
computed is kept as its source text (`Unread`). Which way an `if` goes is not known: both are read. A name whose value
is not sure where it is used (`bindings`) counts as computed.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from fljob_cli.convert.bindings import Known, bound, given, merged, often, parameters, reached
from fljob_cli.errors import CliError


@dataclass(frozen=True)
class Unread:
    """An expression that is not written out, as its source text."""

    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Use:
    """A call of a known object, or the setting of one of its attributes (`values` then holds it under "").

    kind: of the object, such as JobGenerator; name: the method or attribute, "" for the making of the object.
    """

    where: str
    kind: str
    name: str
    positional: tuple[Any, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    setting: bool = False

    @property
    def key(self) -> str:
        """Return where it stands and what it is."""
        return f"{self.where} {'.'.join(part for part in (self.kind, self.name) if part)}"


@dataclass(frozen=True)
class Loop:
    """A `while` with a counted way out: how often it runs if that can be told, and whether steps end with a break."""

    where: str
    times: int | None
    broken: bool


@dataclass
class Script:
    """What was read of one script. constants: names that have one value from beginning to end."""

    name: str
    uses: list[Use] = field(default_factory=list)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    loops: list[Loop] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)


def read_script(source: str, text: str, made: Mapping[str, str], results: Mapping[tuple[str, str], str]) -> Script:
    """Read one script; raises CliError for text that is not Python 3.

    made: constructor → kind; results: (kind, method) → kind of what it returns.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
        reader = _Reader(PurePath(source).name, made, results)
        reader.read(tree)
    except SyntaxError as error:
        raise CliError(f"{source}: line {error.lineno}: not Python 3: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise CliError(f"{source}: not a script that can be read: {str(error) or type(error).__name__}") from error
    return reader.script


def value_of(node: ast.expr, constants: Mapping[str, Any]) -> Any:  # noqa: ANN401 - what a script writes out
    """Return what is written out, or an Unread."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [value_of(item, constants) for item in items]
        case ast.Name(id=name) if name in constants:
            return constants[name]
    return Unread(ast.unparse(node)[:200])


def last_name(node: ast.expr) -> str:
    """Return `c` of a.b.c, nothing for what is no name."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


class _Reader(ast.NodeVisitor):
    def __init__(self, script: str, made: Mapping[str, str], results: Mapping[tuple[str, str], str]) -> None:
        self.script = Script(script)
        self._made = made
        self._results = results
        self._known = Known()
        self._often: frozenset[str] = frozenset()  # bound more than once where we are
        self._reached: frozenset[str] = frozenset()  # bound from elsewhere

    def read(self, tree: ast.Module) -> None:
        """Read a whole script."""
        self._often, self._reached = often(tree.body), reached(tree)
        self.visit(tree)
        self.script.constants = self._known.copy(without=self._often).constants

    def _where(self, node: ast.stmt | ast.expr) -> str:
        return f"{self.script.name}:{node.lineno}"

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Keep a class's functions aside: they run only where they are called."""
        self._known.forget([node.name])
        self.script.functions |= {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Keep a network's function aside, read through any other."""
        self.script.functions[node.name] = node
        self._function(node, [] if node.name.endswith("_network") else node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Read through a function."""
        self._function(node, node.body)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, body: Sequence[ast.stmt]) -> None:
        self._each([*node.decorator_list, node.args])
        self._known.forget([node.name])
        self._within(parameters(node.args), body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Read through a function that has no name."""
        self.visit(node.args)
        self._within(parameters(node.args), [node.body])

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self._within(bound(one.target for one in node.generators), list(ast.iter_child_nodes(node)))

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815 - ast's names

    def _within(self, own: Iterable[str], body: Sequence[ast.AST]) -> None:
        """Read what has names of its own; of those outside it sees what they stand for at any time."""
        outside, out_there = self._known, self._often
        self._known = outside.copy(without=out_there)
        self._known.forget(own)
        self._often = often(body)
        self._each(body)
        self._known, self._often = outside, out_there

    def _each(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def visit_If(self, node: ast.If) -> None:
        """Read both ways."""
        self.visit(node.test)
        self._fork([node.body, node.orelse])

    def visit_Match(self, node: ast.Match) -> None:
        """Read every case."""
        self.visit(node.subject)
        self._known.forget(bound(case.pattern for case in node.cases))
        self._fork([*([case] for case in node.cases), []])

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        """Read the body and each handler; how far the body came before a handler is not known."""
        self._known.doubt(bound(node.body))
        self._fork([[*node.body, *node.orelse], *([handler] for handler in node.handlers)])
        self._each(node.finalbody)

    visit_TryStar = visit_Try  # noqa: N815 - ast's name

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """Read a handler."""
        self._known.forget(given(node))
        self.generic_visit(node)

    def _fork(self, ways: Sequence[Sequence[ast.AST]]) -> None:
        before, after = self._known, []
        for way in ways:
            self._known = before.copy()
            self._each(way)
            after.append(self._known)
        self._known = merged(after)

    def visit_While(self, node: ast.While) -> None:
        """Find how often a loop runs, then read through it."""
        self.script.loops += _counted(node, self._known.constants, self._where(node))
        self._loop(node, [node.test])

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        """Read through a loop over something."""
        self.visit(node.iter)
        self._unpack(node.target, node.iter, node)
        self._loop(node, [])

    visit_AsyncFor = visit_For  # noqa: N815 - ast's name

    def _loop(self, node: ast.While | ast.For | ast.AsyncFor, test: Sequence[ast.expr]) -> None:
        """Read a loop: what it binds may be of the turn before, and behind it of no turn."""
        names = list(bound([node]))
        self._known.doubt(names)
        self._each([*test, *node.body, *node.orelse])
        self._known.doubt(names)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        """Read through what is done with something."""
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self._unpack(item.optional_vars, item.context_expr, node)
        self._each(node.body)

    visit_AsyncWith = visit_With  # noqa: N815 - ast's name

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Forget names that are imported; with `*` that may be all."""
        names = list(bound([node]))
        self._known.forget(list(self._known.constants) if "*" in names else names)

    visit_ImportFrom = visit_Import  # noqa: N815 - ast's name

    def visit_Name(self, node: ast.Name) -> None:
        """Forget a name that is bound otherwise than by what is written out, or deleted."""
        self._known.forget(given(node))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Forget a name that is counted up."""
        self.visit(node.value)
        self._unpack(node.target, node, node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Follow names of objects and of what is written out, and note what is set."""
        self.visit(node.value)
        for target in node.targets:
            self._assign(target, node.value, node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Read an assignment with a type as one without."""
        if node.value is not None:
            self.visit(node.value)
            self._assign(node.target, node.value, node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """Read an assignment within an expression."""
        self.visit(node.value)
        self._assign(node.target, node.value, node)

    def _assign(self, target: ast.expr, value: ast.expr, node: ast.stmt | ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, value, self._kind(value))
        elif isinstance(target, ast.Attribute):
            self._set(target, value_of(value, self._known.constants), node)
        else:
            self._unpack(target, value, node)

    def _unpack(self, target: ast.expr, value: ast.AST, node: ast.stmt | ast.expr) -> None:
        """Forget what a target binds, and note what of known objects it sets: to what is not followed."""
        for part in ast.walk(target):
            self._known.forget(given(part))
            self._set(part, Unread(ast.unparse(value)[:200]), node)

    def _set(self, target: ast.AST, value: object, node: ast.stmt | ast.expr) -> None:
        if isinstance(target, ast.Attribute) and (owner := self._kind(target.value)):
            self.script.uses.append(Use(self._where(node), owner, target.attr, values={"": value}, setting=True))

    def _bind(self, name: str, node: ast.expr, kind: str) -> None:
        self._known.forget([name])
        value = value_of(node, self._known.constants)
        if kind:
            self._known.kinds[name] = kind
        elif not isinstance(value, Unread) and name not in self._reached:
            self._known.constants[name] = value

    def visit_Call(self, node: ast.Call) -> None:
        """Note a call of a known object, or one that makes one; a list whose method is called may be another then."""
        self.generic_visit(node)
        self._known.doubt(given(node))
        owner = self._kind(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        name = last_name(node.func)
        if owner:
            self._note(node, owner, name)
        elif name.endswith("_network") and isinstance(node.func, ast.Attribute):
            self._note(node, "network", name)
        elif kind := self._maker(node.func):
            self._note(node, kind, "" if kind == name else name)
        elif name == "setattr" and node.args and (kind := self._kind(node.args[0])):
            self._note(node, kind, name)

    def _maker(self, function: ast.expr) -> str:
        """Return the kind of what a constructor makes; whatever is in a module `optimizer` makes one."""
        name = last_name(function)
        owner = last_name(function.value) if isinstance(function, ast.Attribute) else ""
        return self._made.get(name, "optimizer" if owner == "optimizer" else "")

    def _note(self, node: ast.Call, kind: str, name: str) -> None:
        constants = self._known.constants
        positional = tuple(value_of(argument, constants) for argument in node.args)
        values = {keyword.arg or "**": value_of(keyword.value, constants) for keyword in node.keywords}
        self.script.uses.append(Use(self._where(node), kind, name, positional, values))

    def _kind(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name):
                return self._known.kinds.get(name, "")
            case ast.Call(func=ast.Attribute(value=owner, attr=name)) if kind := self._kind(owner):
                return self._results.get((kind, name), "")
            case ast.Call(func=function):
                return self._maker(function)
        return ""


def _counted(node: ast.While, constants: Mapping[str, Any], where: str) -> Iterator[Loop]:
    """Yield a loop over steps with a way out: `counter += 1` from 0, and `if counter >= N: break`."""
    steps = [index for index, part in enumerate(node.body) if isinstance(part, ast.For)]
    if not steps:
        return
    inner = node.body[steps[0]]
    broken = any(isinstance(part, ast.Break) for part in ast.walk(inner))
    changed = list(bound(node.body))
    steady = {name: value for name, value in constants.items() if name not in changed}
    for index, part in enumerate(node.body):
        match part:
            case ast.If(
                test=ast.Compare(left=ast.Name(id=counter), ops=[op], comparators=[most]), body=[*_, ast.Break()]
            ):
                last = value_of(most, steady)
                begins = constants.get(counter) == 0 and any(_adds_one(one, counter) for one in node.body[:index])
                begins = begins and changed.count(counter) == 1
                if begins and isinstance(last, int) and isinstance(op, (ast.GtE, ast.Gt, ast.Eq)):
                    times = last + isinstance(op, ast.Gt) - (index < steps[0])
                    yield Loop(where, times, broken)
                    return
    yield Loop(where, None, broken)


def _adds_one(node: ast.stmt, counter: str) -> bool:
    match node:
        case ast.AugAssign(target=ast.Name(id=name), op=ast.Add(), value=ast.Constant(value=1)):
            return name == counter
    return False
