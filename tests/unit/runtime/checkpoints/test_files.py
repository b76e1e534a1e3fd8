"""Files that a crash or a full disk leaves whole."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fljob_runtime.checkpoints.files import Tensor, inside, sha256_of, write_atomically, write_safetensors
from fljob_runtime.errors import CheckpointError


@contextmanager
def full_after(num_bytes: int) -> Iterator[None]:
    """Let the system refuse to make any file longer than this, as a full volume does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_and_its_folder_are_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b", lambda file: file.write(b"content"))
    assert (tmp_path / "a" / "b").read_bytes() == b"content"


def test_a_full_volume_is_said_so_with_the_path(tmp_path: Path) -> None:
    with full_after(1000), pytest.raises(CheckpointError, match=r"cannot write .*/file: .*free space"):
        write_atomically(tmp_path / "file", lambda file: file.write(bytes(5000)))


def test_a_full_volume_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with full_after(1000), pytest.raises(CheckpointError):
        write_atomically(tmp_path / "file", lambda file: file.write(bytes(5000)))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "file", lambda _: 1 / 0)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_safetensors(tmp_path / "t", [Tensor("x.weight", (2, 3), lambda: values)], {"format": "f"})
    assert load_file(tmp_path / "t")["x.weight"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    digest = write_safetensors(tmp_path / "t", [Tensor("x", (1,), lambda: np.ones(1, np.float32))], {})
    assert digest == hashlib.sha256((tmp_path / "t").read_bytes()).hexdigest() == sha256_of(tmp_path / "t")


def test_a_strided_tensor_is_written_in_order(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)[::2]
    write_safetensors(tmp_path / "t", [Tensor("x", (3,), lambda: values)], {})
    assert load_file(tmp_path / "t")["x"].tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b"])
def test_a_path_that_leaves_the_root_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(CheckpointError, match="leaves the checkpoint folder"):
        inside(tmp_path, path)


def test_a_missing_file_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read"):
        sha256_of(tmp_path / "missing")
