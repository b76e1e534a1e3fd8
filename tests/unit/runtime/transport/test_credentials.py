"""Loading a process's certificate."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from fljob_api import pki
from fljob_runtime.errors import IdentityError
from fljob_runtime.transport.credentials import SERVER_OPTIONS, Credentials
from fljob_runtime.transport.identity import Identity
from support.shards import UID, authority

ME = Identity(UID, "trainer", "a")


def write_files(folder: Path) -> None:
    for name, content in pki.issue(authority(UID), "trainer", "a").files().items():
        (folder / name).write_bytes(content)


def test_the_files_of_the_secret_are_loaded(tmp_path: Path) -> None:
    write_files(tmp_path)
    loaded = Credentials.load(tmp_path, ME)
    assert loaded.secure
    assert loaded.authority == authority(UID).certificate


@pytest.mark.parametrize("missing", ["ca.crt", "tls.crt", "tls.key"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    write_files(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(IdentityError, match=f"cannot read .*{missing}: No such file"):
        Credentials.load(tmp_path, ME)


def test_a_certificate_speaks_for_itself() -> None:
    assert Credentials(ME, b"ca", b"crt", b"key").metadata() == ()


def test_without_certificates_the_identity_is_claimed() -> None:
    assert Credentials.insecure(ME).metadata() == (("fljob-identity", f"fljob://{UID}/trainer/a"),)


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    servers = [grpc.server(ThreadPoolExecutor(1), options=SERVER_OPTIONS) for _ in range(2)]
    port = Credentials.insecure(ME).listen(servers[0], "127.0.0.1:0")
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
        Credentials.insecure(ME).listen(servers[1], f"127.0.0.1:{port}")
