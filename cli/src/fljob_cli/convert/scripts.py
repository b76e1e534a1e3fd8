"""Reads Python scripts for the calls and settings of known objects, as text: nothing of them is imported or run.

Used by `paddlefl`. What is written out (numbers, text, lists, names of such) is read; whatever would have to be
computed is kept as its source text (`Unread`). Which way an `if` goes is not known: both are read.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

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
    """What was read of one script."""

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
        reader.visit(tree)
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
        self._kinds: dict[str, str] = {}

    def _where(self, node: ast.stmt | ast.expr) -> str:
        return f"{self.script.name}:{node.lineno}"

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Keep a class's functions aside: they run only where they are called."""
        self.script.functions |= {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Keep a network's function aside, read through any other."""
        self.script.functions[node.name] = node
        if not node.name.endswith("_network"):
            self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        """Find how often a loop runs, then read through it."""
        self.script.loops += _counted(node, self.script.constants, self._where(node))
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Forget a name that is counted up."""
        self.visit(node.value)
        self.script.constants.pop(last_name(node.target), None)
        self._set(node.target, Unread(ast.unparse(node)), node)

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
            self._set(target, value_of(value, self.script.constants), node)
        else:
            for part in ast.walk(target):
                self._set(part, Unread(ast.unparse(value)[:200]), node)

    def _set(self, target: ast.AST, value: object, node: ast.stmt | ast.expr) -> None:
        if isinstance(target, ast.Attribute) and (owner := self._kind(target.value)):
            self.script.uses.append(Use(self._where(node), owner, target.attr, values={"": value}, setting=True))

    def _bind(self, name: str, node: ast.expr, kind: str) -> None:
        self._kinds.pop(name, None)
        self.script.constants.pop(name, None)
        value = value_of(node, self.script.constants)
        if kind:
            self._kinds[name] = kind
        elif not isinstance(value, Unread):
            self.script.constants[name] = value

    def visit_Call(self, node: ast.Call) -> None:
        """Note a call of a known object, or one that makes one."""
        self.generic_visit(node)
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
        constants = self.script.constants
        positional = tuple(value_of(argument, constants) for argument in node.args)
        values = {keyword.arg or "**": value_of(keyword.value, constants) for keyword in node.keywords}
        self.script.uses.append(Use(self._where(node), kind, name, positional, values))

    def _kind(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name):
                return self._kinds.get(name, "")
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
    for index, part in enumerate(node.body):
        match part:
            case ast.If(
                test=ast.Compare(left=ast.Name(id=counter), ops=[op], comparators=[bound]), body=[*_, ast.Break()]
            ):
                last = value_of(bound, constants)
                begins = constants.get(counter) == 0 and any(_adds_one(one, counter) for one in node.body[:index])
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
