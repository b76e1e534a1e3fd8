"""The work of `fljob convert`: reads a file, checks what came of it as `fljob validate` does, prints both parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape

from fljob_api.validation import validate
from fljob_cli.convert import paddlerec
from fljob_cli.convert.mapping import Converted
from fljob_cli.errors import CliError, InputError


def convert_paddlerec(file: Path, *, name: str, workers: int, servers: int, as_json: bool) -> None:
    """Convert PaddleRec's configuration; raises CliError."""
    show(paddlerec.convert(str(file), read(file), name=name, workers=workers, servers=servers), as_json=as_json)


def read(file: Path) -> Mapping[str, Any]:
    """Parse a YAML file that holds one mapping; raises CliError."""
    try:
        parsed = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CliError(f"{file}: not YAML: {error}") from error
    if not isinstance(parsed, Mapping):
        raise CliError(f"{file}: holds no mapping of sections")
    return parsed


def show(converted: Converted, *, as_json: bool) -> None:
    """Print the manifest, and what became of each key; raises InputError for an FLJob that is not valid."""
    problems = validate(converted.manifest)
    if problems:
        raise InputError("the converted FLJob", problems)
    if as_json:
        typer.echo(json.dumps({"fljob": converted.manifest, "keys": [key.to_json() for key in converted.keys]}))
        return
    typer.echo(yaml.safe_dump(converted.manifest, sort_keys=False), nl=False)
    err = Console(stderr=True, highlight=False, soft_wrap=True)
    for key in converted.keys:
        became = f"[green]{escape(key.field)}[/green]" if key.field else "[yellow]without effect[/yellow]"
        note = f" [dim]({escape(key.note)})[/dim]" if key.note else ""
        err.print(f"{escape(key.key)}: {escape(key.value)} → {became}{note}")
