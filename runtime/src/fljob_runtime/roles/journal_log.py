"""Where the journal's lines are kept: one file that is appended to, or numbered files in a store that cannot append.

Used by `journal`. Knows nothing of what a line says. In a file a last line that a crash tore is dropped. In a store a
file holds the lines since the last durable one, and is put whole, so a damaged or missing one is an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from fljob_runtime.checkpoints.files import sync_folder
from fljob_runtime.checkpoints.remote import Remote
from fljob_runtime.errors import CheckpointError

SEGMENT_FORMAT = "fljob-journal-1"


class JournalError(Exception):
    """The journal cannot be used; the message names the file and line and what to do."""


class Log(Protocol):
    """Lines that outlive the process. Every method raises JournalError."""

    @property
    def name(self) -> str:
        """Return where the lines are."""

    def read(self) -> list[bytes]:
        """Return all lines; called once, first."""

    def where(self, number: int) -> str:
        """Return where a line that was read is, counted from 1."""

    def append(self, line: bytes, *, durable: bool) -> None:
        """Append a line; with durable it and all before it outlive the machine when this returns."""

    def close(self) -> None:
        """Make durable what is not yet."""


class FileLog:
    """A file. What is not durable yet is with the operating system, and so outlives the process at least."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    @property
    def name(self) -> str:
        """Return the path."""
        return str(self._path)

    def read(self) -> list[bytes]:
        """Return the whole lines, after cutting off a torn one."""
        with self._errors():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return _drop_torn_tail(self._path)

    def where(self, number: int) -> str:
        """Return path and line."""
        return f"{self._path}, line {number}"

    def append(self, line: bytes, *, durable: bool) -> None:
        """Append a line, and have it on disk if it is durable."""
        with self._errors():
            begins = self._file is None
            if self._file is None:
                self._file = self._path.open("ab")
            self._file.write(line)
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())
            if begins:
                sync_folder(self._path.parent)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise JournalError(f"cannot write {self._path}: {error.strerror}") from error


class SegmentLog:
    """Numbered files in a folder of a store: a first line with number and digests, then the journal's lines.

    The digest of the file before is in each, so that one which was replaced is noticed too. What is not durable yet is
    lost with the process. Besides JournalError every method raises UnreachableError: started anew, it may work.
    """

    def __init__(self, remote: Remote, folder: str) -> None:
        self._remote = remote
        self._folder = folder
        self._lengths: list[int] = []  # lines of each file
        self._digest = ""
        self._waiting: list[bytes] = []

    @property
    def name(self) -> str:
        """Return the folder's URI."""
        return f"{self._remote.place}/{self._folder}"

    def read(self) -> list[bytes]:
        """Return the lines of all files in order."""
        with _store_errors():
            names = sorted(name for name in self._remote.names(self._folder) if _number(name))
            for expected, name in enumerate(names, 1):
                if _number(name) != expected:
                    raise JournalError(f"{self.name}/{_file(expected)}: missing; restore it or move the folder away")
            contents = self._remote.read([f"{self._folder}/{name}" for name in names])
        lines: list[bytes] = []
        for name, content in zip(names, contents, strict=True):
            lines += self._checked(name, content)
        return lines

    def where(self, number: int) -> str:
        """Return the file and the line in it."""
        for segment, length in enumerate(self._lengths, 1):
            if number <= length:
                return f"{self.name}/{_file(segment)}, line {number + 1}"
            number -= length
        raise IndexError(number)

    def append(self, line: bytes, *, durable: bool) -> None:
        """Keep a line, and put it with all that wait if it is durable."""
        self._waiting.append(line)
        if durable:
            self._put()

    def close(self) -> None:
        """Put what waits."""
        if self._waiting:
            self._put()

    def _put(self) -> None:
        body = b"".join(self._waiting)
        number = len(self._lengths) + 1
        digest = hashlib.sha256(body).hexdigest()
        head = {"format": SEGMENT_FORMAT, "number": number, "digest": digest, "previous": self._digest}
        with _store_errors():
            self._remote.write(f"{self._folder}/{_file(number)}", json.dumps(head).encode() + b"\n" + body)
        self._note(digest, len(self._waiting))
        self._waiting = []

    def _checked(self, name: str, content: bytes) -> list[bytes]:
        first, _, body = content.partition(b"\n")
        digest = hashlib.sha256(body).hexdigest()
        wanted = {"format": SEGMENT_FORMAT, "number": _number(name), "digest": digest, "previous": self._digest}
        if first != json.dumps(wanted).encode():
            raise JournalError(
                f"{self.name}/{name}: torn, changed or not the one that followed; restore it or move the folder away"
            )
        lines = body.splitlines()
        self._note(digest, len(lines))
        return lines

    def _note(self, digest: str, length: int) -> None:
        self._lengths.append(length)
        self._digest = digest


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise JournalError(str(error)) from error


def _file(number: int) -> str:
    return f"{number:08d}.jsonl"


def _number(name: str) -> int:
    """Return the number of a segment's file, 0 for another file."""
    stem, _, kind = name.partition(".")
    return int(stem) if kind == "jsonl" and stem.isdecimal() and stem.isascii() else 0


def _drop_torn_tail(path: Path) -> list[bytes]:
    """Cut the file after its last whole line; return the lines."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.splitlines()
    if lines and not _is_json(lines[-1]):
        lines.pop()
        whole = b"".join(line + b"\n" for line in lines)
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    return lines


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
