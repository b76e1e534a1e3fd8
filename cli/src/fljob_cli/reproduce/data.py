"""The data that a comparison trains on, and what they are: imported once, and kept with the words that made them.

`data/` gets a folder for each site and `import.json`, all at once: what is there is a whole import. A cell is taken for
done only if it was run on data with the same digest.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fljob_api.exit_codes import ExitCode
from fljob_cli.errors import CliError
from fljob_cli.reproduce.process import finished
from fljob_cli.reproduce.tables import Setup, Table

_RECORD = "import.json"
_MANIFEST = "manifest.json"
_QUICK = "--quick needs none"


@dataclass(frozen=True)
class Data:
    """What the rows of a comparison train on.

    sites: their names, none of a population. folder: of their folders; None where data generate themselves. ratings:
    the file that a population is read from. importing: the arguments of `fljob data import` that made them. digest:
    of all that is read, "" where that follows from the manifest.
    """

    sites: tuple[str, ...] = ()
    folder: Path | None = None
    ratings: Path | None = None
    importing: tuple[str, ...] = ()
    digest: str = ""


def prepare(table: Table, setup: Setup, folder: Path, source: Path | None, importing: str = "") -> Data:
    """Return the data of a comparison that is worked out in `folder`, imported if they are not there. Raises CliError.

    importing: arguments instead of the table's own, as one would type them.
    """
    if importing and not setup.importing:
        raise CliError(f"--importing: {table.name} imports nothing here", hint="leave it away")
    if setup.file:
        kept = folder / setup.file
        return Data(ratings=kept, digest=_copied(table, kept, source))
    if not setup.importing:
        return Data(tuple(f"site-{index}" for index in range(setup.sites)))
    data = folder / "data"
    if data.is_dir():
        return _kept(data, source, _wanted(setup, importing) if importing or source else None)
    if source is None:
        hint = f"`fljob data import --help` says where they come from; {_QUICK}"
        raise CliError(f"{table.name} needs the published data: --source DIR", hint=hint)
    return _imported(data, source, _wanted(setup, importing))


def _wanted(setup: Setup, importing: str) -> tuple[str, ...]:
    try:
        chosen = shlex.split(importing)
    except ValueError as error:
        raise CliError(f"--importing {importing!r}: {error}") from error
    return (setup.importing[0], *chosen) if importing else tuple(setup.importing)


def _copied(table: Table, kept: Path, source: Path | None) -> str:
    """Keep the file of a population beside its cells, so that it can go on without its source; return its digest."""
    if source is None and not kept.exists():
        raise CliError(f"{table.name} needs {kept.name}: --source DIR", hint=_QUICK)
    try:
        if source is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / kept.name, kept)
        return hashlib.sha256(kept.read_bytes()).hexdigest()
    except OSError as error:
        raise CliError(f"{error.filename}: {error.strerror}", code=ExitCode.BAD_DATA) from error


def _imported(data: Path, source: Path, importing: Sequence[str]) -> Data:
    """Import beside the folder's place and move it there when it is whole."""
    data.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".data-", dir=data.parent) as scratch:
        made = Path(scratch) / data.name
        _import(source, made, importing)
        sites = sorted(path.name for path in made.iterdir() if (path / _MANIFEST).is_file())
        told = {"importing": list(importing), "sites": {name: _digest(made, name) for name in sites}}
        (made / _RECORD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        made.replace(data)
    return _data(data, told)


def _kept(data: Path, source: Path | None, wanted: tuple[str, ...] | None) -> Data:
    """Return what was imported before; raises CliError unless it is that, and what was asked for.

    wanted: arguments of the import; None: whichever they were. source: what should give the same data.
    """
    other = "choose another --out, or remove the folder"
    try:
        told = json.loads((data / _RECORD).read_text(encoding="utf-8"))
        same = all(_digest(data, name) == digest for name, digest in told["sites"].items())
        found = tuple(told["importing"])
    except (OSError, ValueError, KeyError) as error:
        words = f"{data}: not the data of a comparison ({error})"
        raise CliError(words, code=ExitCode.BAD_DATA, hint=other) from error
    if not same:
        raise CliError(f"{data}: changed since it was imported", code=ExitCode.BAD_DATA, hint=other)
    if wanted is not None and wanted != found:
        raise CliError(f"{data}: was imported with `{shlex.join(found)}`, not `{shlex.join(wanted)}`", hint=other)
    if source is not None:
        _import(source, data, found)  # changes nothing, and is refused where it would
    return _data(data, told)


def _import(source: Path, out: Path, importing: Sequence[str]) -> None:
    finished("fljob_cli", "data", "import", *importing, "--source", str(source), "--out", str(out))


def _data(folder: Path, told: dict[str, Any]) -> Data:
    digest = hashlib.sha256(json.dumps(told["sites"], sort_keys=True).encode()).hexdigest()
    return Data(tuple(told["sites"]), folder, importing=tuple(told["importing"]), digest=digest)


def _digest(data: Path, site: str) -> str:
    """Return the digest of a site's manifest, which has those of its files."""
    return hashlib.sha256((data / site / _MANIFEST).read_bytes()).hexdigest()
