from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fljob_runtime.checkpoints.remote import Remote
from support.stores import S3_ENVIRONMENT, ftp_store, s3_store

KINDS = ["file", pytest.param("ftp", marks=pytest.mark.ftp), pytest.param("s3", marks=pytest.mark.s3)]


@pytest.fixture(scope="session")
def s3() -> Iterator[tuple[str, str]]:
    with s3_store() as found:
        yield found


@pytest.fixture(params=KINDS)
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URI of an empty folder: through fsspec's driver of a folder, over FTP, over S3."""
    if request.param == "ftp":
        with ftp_store(tmp_path / "ftp") as found:
            yield found
    elif request.param == "s3":
        endpoint, found = request.getfixturevalue("s3")
        for name, value in {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        yield f"{found}/{tmp_path.name}"
    else:
        yield f"file://{tmp_path}/store/jobs"


@pytest.fixture
def remote(uri: str, tmp_path: Path) -> Remote:
    return Remote(uri, tmp_path / "spool")
