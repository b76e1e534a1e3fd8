"""Stores behind URIs for the tests, on real sockets: an FTP server, and one that speaks S3."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.processes import free_port, wait_until

START_S = 90.0
S3_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "word", "AWS_DEFAULT_REGION": "us-east-1"}
_FTP = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import ThreadedFTPServer
FTPHandler.authorizer = DummyAuthorizer()
FTPHandler.authorizer.add_anonymous(sys.argv[2], perm=sys.argv[3])
ThreadedFTPServer(("127.0.0.1", int(sys.argv[1])), FTPHandler).serve_forever()
"""


@contextmanager
def ftp_store(folder: Path, port: int | None = None, *, rights: str = "elradfmw") -> Iterator[str]:
    """Serve a folder to everyone; yields the URI of a folder in it."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    with _listening([sys.executable, "-W", "ignore", "-c", _FTP, str(port), str(folder), rights], port):
        yield f"ftp://127.0.0.1:{port}/jobs/one"


@contextmanager
def s3_store() -> Iterator[tuple[str, str]]:
    """Serve S3 with one bucket; yields the endpoint and the URI of a folder in the bucket."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with _listening([sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port):
        request = urllib.request.Request(f"{endpoint}/bucket", method="PUT")
        with urllib.request.urlopen(request, timeout=START_S):
            yield endpoint, "s3://bucket/jobs/one"


@contextmanager
def _listening(command: list[str], port: int) -> Iterator[None]:
    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    process = start()

    def ready() -> bool:
        nonlocal process
        if process.poll() is not None:  # another test's connection has the port for its own end, for a moment
            process = start()
        return _answers(port)

    try:
        wait_until(f"port {port}", ready, START_S)
        yield
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True
