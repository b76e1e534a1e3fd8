"""Files behind a URI: through fsspec's driver of a folder, and over the wire of FTP and S3."""

from __future__ import annotations

import errno
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from unit.runtime.checkpoints.test_files import full_after

from fljob_runtime.checkpoints.remote import MissingError, Patience, Remote, check_driver, folder_of, shown
from fljob_runtime.errors import CheckpointError, UnreachableError
from support.processes import free_port
from support.stores import ftp_store

HASTY = Patience(small_s=0.5, large_s=0.5, pauses_s=(0.1, 0.1))


def test_what_was_put_is_got_listed_and_deleted(remote: Remote) -> None:
    (remote.spool / "a" / "b").mkdir(parents=True)
    (remote.spool / "a" / "b" / "part").write_bytes(b"x" * 3_000_000)
    remote.put("a/b/part")
    assert not (remote.spool / "a" / "b" / "part").exists()
    remote.write("a/b/small", b"one")
    remote.write("a/b/small", b"two")
    assert remote.names("a/b") == {"part", "small"}
    assert remote.names("a") == {"b"}
    assert remote.fetch("a/b/part").read_bytes() == b"x" * 3_000_000
    assert remote.read(["a/b/small", "a/b/small"]) == [b"two", b"two"]
    remote.delete("a/b/small")
    remote.delete("a/b/small")
    assert remote.names("a/b") == {"part"}


def test_a_folder_that_is_not_there_is_empty(remote: Remote) -> None:
    assert remote.names("none/at/all") == frozenset()


def test_a_missing_file_is_named_with_the_uri(remote: Remote) -> None:
    with pytest.raises(MissingError, match=f"cannot read {remote.place}/none: "):
        remote.fetch("none")
    with pytest.raises(MissingError, match=f"cannot read {remote.place}/none: "):
        remote.read(["none"])


def test_many_files_are_read_in_the_order_asked_for(remote: Remote) -> None:
    names = [f"j/{number}" for number in (3, 1, 2)]
    for name in names:
        remote.write(name, name.encode())
    assert remote.read(names) == [b"j/3", b"j/1", b"j/2"]


def test_another_connection_sees_the_same_files(remote: Remote) -> None:
    assert remote.names("a") == frozenset()
    other = remote.beside("other")
    other.write("a/one", b"1")
    assert remote.names("a") == {"one"}
    assert other.spool != remote.spool


def test_processes_that_make_a_folder_at_once_all_write(remote: Remote) -> None:
    connections = [remote.beside(str(number)) for number in range(4)]
    for each in connections:
        each.names("")
    together = threading.Barrier(len(connections))

    def write(number: int) -> None:
        for folder in range(5):
            together.wait(20.0)
            connections[number].write(f"{folder}/made/at/once/{number}", b"1")

    with ThreadPoolExecutor(len(connections)) as pool:
        list(pool.map(write, range(len(connections))))
    assert [remote.names(f"{folder}/made/at/once") for folder in range(5)] == [frozenset("0123")] * 5


def test_paths_stay_below_the_uri(remote: Remote) -> None:
    for act in (remote.names, remote.fetch, remote.delete, lambda path: remote.read([path])):
        with pytest.raises(CheckpointError, match="leaves the checkpoint folder"):
            act("../another")


def test_a_full_store_is_said_so_at_once_and_keeps_the_old_file(tmp_path: Path) -> None:
    remote = Remote(f"file://{tmp_path}/store", tmp_path / "spool")
    remote.write("a/file", b"old")
    (remote.spool / "a" / "file").write_bytes(bytes(5000))
    with full_after(1000), pytest.raises(CheckpointError, match=r"cannot write file://.*/a/file: .*free space"):
        remote.put("a/file")
    assert remote.read(["a/file"]) == [b"old"]
    assert remote.names("a") == {"file"}


def test_a_full_volume_of_the_spool_is_said_so(tmp_path: Path) -> None:
    remote = Remote(f"file://{tmp_path}/store", tmp_path / "spool")
    with full_after(1000), pytest.raises(CheckpointError, match=f"cannot write {tmp_path}/spool: .*free space"):
        remote.write("file", bytes(5000))


def test_a_store_that_is_away_is_waited_for_then_told_as_passing(tmp_path: Path) -> None:
    remote = Remote(f"ftp://127.0.0.1:{free_port()}/a", tmp_path / "spool", HASTY)
    with pytest.raises(UnreachableError, match=r"cannot list ftp://.*ConnectionRefused.*is the store up"):
        remote.names("b")


def test_a_store_that_never_answers_costs_the_deadline(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = Remote(f"ftp://127.0.0.1:{silent.getsockname()[1]}/a", tmp_path / "spool", HASTY)
        with pytest.raises(UnreachableError, match="no answer within"):
            remote.names("b")


@pytest.mark.ftp
def test_a_store_that_comes_back_is_used_again(tmp_path: Path) -> None:
    port = free_port()
    with ftp_store(tmp_path / "ftp", port) as uri:
        remote = Remote(uri, tmp_path / "spool")
        remote.write("one", b"1")
    with ftp_store(tmp_path / "ftp", port):
        assert remote.names("") == {"one"}


def test_the_rights_that_are_missing_are_a_lasting_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Remote(f"file://{tmp_path}/store", tmp_path / "spool")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.put_file", refuse)
    with pytest.raises(CheckpointError, match=r"Permission denied; check the rights .* checkpoint\.secretRef"):
        remote.write("one", b"1")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("memory://folder", "each process has a memory:// of its own"),
        ("https://host/folder", "cannot be written"),
        ("s4://bucket", "fsspec knows no store s4://"),
        ("hdfs3://host/folder", "fsspec knows no store"),
        ("dropbox://folder", "the driver of dropbox:// is not installed"),
    ],
)
def test_what_cannot_be_a_store_is_refused_with_the_reason(uri: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        check_driver(uri)


def test_a_password_is_not_shown() -> None:
    assert shown("ftp://me:word@host/folder/") == "ftp://me@host/folder"


def test_only_a_file_uri_is_a_folder() -> None:
    assert folder_of("file:///a/b%20c") == Path("/a/b c")
    assert folder_of("s3://a/b") is None
