"""The work of `fljob convert`: reads files, checks what came of it as `fljob validate` does, prints both parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape

from fljob_api.problems import Problem
from fljob_api.validation import validate
from fljob_cli.convert import paddlefl, paddlerec, recoedge
from fljob_cli.convert.mapping import Converted
from fljob_cli.errors import CliError, InputError


def convert_paddlerec(file: Path, *, name: str, workers: int, servers: int, strict: bool, as_json: bool) -> None:
    """Convert PaddleRec's configuration; raises CliError."""
    converted = paddlerec.convert(str(file), read(file), name=name, workers=workers, servers=servers)
    show(converted, str(file), strict=strict, as_json=as_json)


def convert_recoedge(file: Path, chosen: Mapping[str, Any], *, strict: bool, as_json: bool) -> None:
    """Convert RecoEdge's configuration; raises CliError."""
    show(recoedge.convert(str(file), read(file), **chosen), str(file), strict=strict, as_json=as_json)


def convert_paddlefl(files: Sequence[Path], *, name: str, rounds: int | None, strict: bool, as_json: bool) -> None:
    """Convert the scripts of a job of PaddleFL, none of which is run; raises CliError."""
    scripts = {str(file): _text(file) for file in files}
    source = ", ".join(scripts)
    show(paddlefl.convert(scripts, name=name, rounds=rounds), source, strict=strict, as_json=as_json)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{file}: not text in UTF-8") from error


def read(file: Path) -> Mapping[str, Any]:
    """Parse a YAML file that holds one mapping; raises CliError."""
    text = _text(file)
    try:
        parsed = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CliError(f"{file}: not YAML: {error}") from error
    if not isinstance(parsed, Mapping):
        raise CliError(f"{file}: holds no mapping of sections")
    return parsed


def show(converted: Converted, source: str, *, strict: bool, as_json: bool) -> None:
    """Print the manifest, and what became of each key; raises InputError for an FLJob that is not valid.

    With `strict` also for keys whose effect is lost.
    """
    if strict and (gone := [Problem(k.key, f"has no effect here yet: {k.note}") for k in converted.keys if k.lost]):
        raise InputError(source, gone)
    problems = validate(converted.manifest)
    if problems:
        raise InputError("the converted FLJob", problems)
    if as_json:
        typer.echo(json.dumps({"fljob": converted.manifest, "keys": [key.to_json() for key in converted.keys]}))
        return
    typer.echo(yaml.safe_dump(converted.manifest, sort_keys=False), nl=False)
    err = Console(stderr=True, highlight=False, soft_wrap=True)
    for key in converted.keys:
        none = "[red]without effect yet[/red]" if key.lost else "[yellow]without effect[/yellow]"
        became = f"[green]{escape(key.field)}[/green]" if key.field else none
        note = f" [dim]({escape(key.note)})[/dim]" if key.note else ""
        err.print(f"{escape(key.key)}: {escape(key.value)} → {became}{note}")
