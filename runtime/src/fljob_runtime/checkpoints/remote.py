"""Files behind a URI that all processes of a job share, put and got whole by an fsspec driver.

Used by `remote_store`, server.saver and roles.journal_log. A file is written and read below a folder of the process's
own, the spool. One operation at a time; each has a deadline, and is tried again when its fault may pass. Raises
CheckpointError for what will not pass, UnreachableError for what may.
"""

from __future__ import annotations

import contextlib
import errno
import ftplib
import logging
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from fljob_runtime.checkpoints.files import inside
from fljob_runtime.errors import CheckpointError, UnreachableError

# Their puts show the old object or the new one, and have no folders; elsewhere a file is written aside and renamed.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
_FOLDERS = frozenset({"file", "local"})
_UNFIT = {
    "memory": "each process has a memory:// of its own",
    "http": "it cannot be written",
    "https": "it cannot be written",
}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LASTING = (PermissionError, IsADirectoryError, NotADirectoryError, ImportError)
_LASTING_WORDS = ("NoCredentials", "PartialCredentials", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied")
_MAKE_TRIES = 3
_MAX_READ = 200  # objects read by one operation
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """Seconds that an operation may take, all its tries together; pauses_s: between the tries.

    large_s is for a shard's file or the model; it is less than the coordinator waits for a shard.
    """

    small_s: float = 60.0
    large_s: float = 240.0
    pauses_s: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 5.0)


class MissingError(CheckpointError):
    """There is no such file."""


def folder_of(uri: str) -> Path | None:
    """Return the folder that a file:// URI names, None for another."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme in _FOLDERS else None


def check_driver(uri: str) -> None:
    """Raise CheckpointError if there is no store behind such a URI, or its driver is not installed."""
    import fsspec  # noqa: PLC0415 - a fifth of the start of a process that may need no store

    scheme = urlsplit(uri).scheme
    if scheme in _UNFIT:
        raise CheckpointError(f"checkpoint.uri {shown(uri)}: {_UNFIT[scheme]}; name a store that all processes share")
    try:
        fsspec.get_filesystem_class(scheme)
    except ValueError as error:
        raise CheckpointError(
            f"checkpoint.uri {shown(uri)}: fsspec knows no store {scheme}://; did you mean s3://, gs:// or file://?"
        ) from error
    except ImportError as error:
        raise CheckpointError(
            f"checkpoint.uri {shown(uri)}: the driver of {scheme}:// is not installed: {error}; use a runtime image "
            "that has it"
        ) from error


def shown(uri: str) -> str:
    """Return a URI as messages may show it, without a password."""
    return re.sub(r"^([a-z0-9+.-]+://[^/@:]*):[^/@]*@", r"\1@", uri).rstrip("/")


class Remote:
    """The files below one URI. `spool` is emptied; paths are relative to both."""

    def __init__(self, uri: str, spool: Path, patience: Patience | None = None) -> None:
        """Make it ready; nothing is asked of the store yet. Raises CheckpointError for a URI without a driver."""
        check_driver(uri)
        self.place = shown(uri)
        self.spool = spool
        self._uri = uri
        self._patience = patience or Patience()
        self._whole = urlsplit(uri).scheme in _OBJECT_STORES
        self._open: tuple[Any, str] | None = None
        self._one = threading.Lock()
        self.forget()

    def beside(self, name: str) -> Remote:
        """Return the same store with a connection and a spool of its own, for another thread."""
        return Remote(self._uri, self.spool.with_name(f"{self.spool.name}-{name}"), self._patience)

    def put(self, path: str) -> None:
        """Make what lies in the spool durable in the store, and take it out of the spool."""
        local = inside(self.spool, path)
        self._do("write", path, self._patience.large_s, lambda fs, at: self._put(fs, local, at))
        local.unlink()

    def write(self, path: str, content: bytes) -> None:
        """Make a small file durable."""
        local = inside(self.spool, path)
        with self._spooling():
            local.parent.mkdir(parents=True, exist_ok=True)
            local.write_bytes(content)
        self._do("write", path, self._patience.small_s, lambda fs, at: self._put(fs, local, at))
        local.unlink()

    def fetch(self, path: str) -> Path:
        """Copy a file into the spool and return where it lies; raises MissingError."""
        local = inside(self.spool, path)
        with self._spooling():
            local.parent.mkdir(parents=True, exist_ok=True)
        self._do("read", path, self._patience.large_s, lambda fs, at: self._get(fs, at, local))
        return local

    def read(self, paths: Sequence[str]) -> list[bytes]:
        """Return the content of small files; raises MissingError."""
        for path in paths:
            inside(self.spool, path)
        found: list[bytes] = []
        for start in range(0, len(paths), _MAX_READ):
            some = paths[start : start + _MAX_READ]
            what = some[0] if len(some) == 1 else f"{some[0]} to {some[-1]}"
            found += self._do("read", what, self._patience.small_s, partial(self._read, paths=some))
        return found

    def names(self, folder: str) -> frozenset[str]:
        """Return the names of what lies directly in a folder; none if there is no such folder."""
        inside(self.spool, folder)
        try:
            return frozenset(self._do("list", folder, self._patience.small_s, _names))
        except MissingError:
            return frozenset()

    def delete(self, path: str) -> None:
        """Delete a file; that it is gone already is no fault."""
        inside(self.spool, path)
        with contextlib.suppress(MissingError):
            self._do("delete", path, self._patience.small_s, self._rm)

    def delete_folder(self, folder: str) -> None:
        """Delete an empty folder, where the store has folders."""
        inside(self.spool, folder)
        if not self._whole:
            with contextlib.suppress(MissingError):
                self._do("delete", folder, self._patience.small_s, lambda fs, at: fs.rmdir(at))

    def forget(self) -> None:
        """Empty the spool."""
        with self._spooling():
            shutil.rmtree(self.spool, ignore_errors=True)
            self.spool.mkdir(parents=True, exist_ok=True)

    def _put(self, fs: Any, local: Path, at: str) -> None:  # noqa: ANN401 - fsspec has no types
        if self._whole:
            fs.put_file(str(local), at)
            return
        folder, _, name = at.rpartition("/")
        _make_folder(fs, folder)
        aside = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.part"
        try:
            fs.put_file(str(local), aside)
            _rename(fs, aside, at)
        except BaseException:
            with contextlib.suppress(Exception):  # the fault itself says more
                fs.rm_file(aside)
            raise

    def _get(self, fs: Any, at: str, local: Path) -> None:  # noqa: ANN401
        if not self._whole:
            fs.info(at)  # some drivers say of a missing file only that it cannot be read, and leave the copy open
        fs.get_file(at, str(local))

    def _rm(self, fs: Any, at: str) -> None:  # noqa: ANN401
        if not self._whole:
            fs.info(at)
        fs.rm_file(at)

    def _read(self, fs: Any, _: str, paths: Sequence[str]) -> list[bytes]:  # noqa: ANN401
        root = self._opened()[1]
        found = fs.cat([f"{root}/{path}" for path in paths], on_error="raise")
        by_name = {name.strip("/"): content for name, content in found.items()}
        return [by_name[f"{root}/{path}".strip("/")] for path in paths]

    def _opened(self) -> tuple[Any, str]:
        """Return the driver and the URI's own path, connected anew after each fault."""
        import fsspec  # noqa: PLC0415 - see check_driver

        if self._open is None:
            fs, root = fsspec.core.url_to_fs(self._uri, skip_instance_cache=True)
            self._open = (fs, root.rstrip("/"))
        return self._open

    def _do(self, verb: str, path: str, limit_s: float, call: Callable[[Any, str], T]) -> T:
        """Call with the driver and the whole path until it is done, its fault will not pass or its time is up."""
        deadline = time.monotonic() + limit_s

        def work() -> T:
            fs, root = self._opened()
            fs.invalidate_cache()  # others write too
            return call(fs, f"{root}/{path}")

        with self._one:
            for pause_s in (*self._patience.pauses_s, float("inf")):
                try:
                    return _within(max(deadline - time.monotonic(), 0.001), f"{verb} {path}", work)
                except Exception as error:
                    self._open = None
                    fault = self._fault(verb, path, error)
                    if isinstance(fault, CheckpointError) or time.monotonic() + pause_s >= deadline:
                        raise fault from error
                    _log.warning("event=store_again pause_s=%g message=%s", pause_s, fault)
                    time.sleep(pause_s)
        raise AssertionError("the last pause is endless")

    def _fault(self, verb: str, path: str, error: Exception) -> CheckpointError | UnreachableError:
        """Return what an error of a driver means and what can be done about it."""
        text = " ".join(str(error).split())[:300]
        cause = f"cannot {verb} {self.place}/{path}: {type(error).__name__}: {self._without_password(text)}"
        if isinstance(error, FileNotFoundError) and not _passing_within(error):
            return MissingError(f"{cause}; is it deleted, or is there no such bucket?")
        if getattr(error, "errno", None) in _FULL or (isinstance(error, ftplib.error_perm) and text[:3] == "552"):
            return CheckpointError(f"{cause}; free space in the store or on the volume of the spool {self.spool}")
        lasting = isinstance(error, (*_LASTING, ftplib.error_perm)) or getattr(error, "errno", None) == errno.EROFS
        if lasting or any(word in f"{type(error).__name__} {text}" for word in _LASTING_WORDS):
            return CheckpointError(f"{cause}; check the rights there, and the credentials in checkpoint.secretRef")
        return UnreachableError(f"{cause}; is the store up, and reachable from coordinator and servers?")

    def _without_password(self, text: str) -> str:
        password = urlsplit(self._uri).password
        return text.replace(password, "***") if password else text

    @contextlib.contextmanager
    def _spooling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CheckpointError(f"cannot write {self.spool}: {error.strerror}; free space there") from error


def _within(limit_s: float, name: str, call: Callable[[], T]) -> T:
    """Return what `call` does; raises TimeoutError when it takes longer. Drivers have no deadline of their own."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name=name, daemon=True).start()
    try:
        return future.result(limit_s)
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {limit_s:.0f} s") if not future.done() else error from error


def _passing_within(error: BaseException | None) -> bool:
    """Return whether a refusal for the time being is behind an error: fsspec's FTP calls it a missing file."""
    while error is not None:
        if isinstance(error, ftplib.error_temp):
            return True
        error = error.__cause__ or error.__context__
    return False


def _names(fs: Any, at: str) -> list[str]:  # noqa: ANN401
    return [entry["name"].rstrip("/").rpartition("/")[2] for entry in fs.ls(at, detail=True)]


def _make_folder(fs: Any, folder: str) -> None:  # noqa: ANN401
    """Make a folder that other processes may be making too, or one above it: drivers look first and then make."""
    for _ in range(_MAKE_TRIES):
        try:
            fs.makedirs(folder, exist_ok=True)
        except Exception as error:
            fs.invalidate_cache()
            if fs.isdir(folder):
                return
            _log.debug("event=make_folder_again message=%s", error)
        else:
            return
    fs.makedirs(folder, exist_ok=True)


def _rename(fs: Any, source: str, target: str) -> None:  # noqa: ANN401
    """Rename a file over another, also where the store does not do so in one step."""
    try:
        fs.mv(source, target)
    except OSError:
        if not fs.exists(target):
            raise
        fs.rm_file(target)
        fs.mv(source, target)
