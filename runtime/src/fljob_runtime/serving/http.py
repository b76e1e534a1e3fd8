"""A small scorer over HTTP: POST /v1/score and /v1/top-k; GET /v1/signature, /healthz, /readyz and /metrics.

JSON in and out, but for /metrics. Started by the command line and by the scorer program. Bodies, rows, answers and
connections are bounded, each connection has a deadline, and a request that is malformed gets an answer of its own (4xx)
and changes nothing. TLS by a certificate's files, if given. There is no authentication: put it behind something. No
torch here.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any, ClassVar

from fljob_runtime.serving.answers import DEADLINE_S, MAX_BYTES, USUAL_K, Answers, BusyError
from fljob_runtime.serving.feeds import FeedError

LIFE_S = 60.0  # of a connection: its one request, however slowly it comes
MAX_CONNECTIONS = 256
_MAX_UNREAD = 8 << 20  # bytes of a refused request that are taken off the wire, so that its sender hears why
_JSON = "application/json"
_KINDS = {"/metrics": "text/plain; version=0.0.4; charset=utf-8"}


class RefusedError(Exception):
    """A request that gets no result."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def _score(answers: Answers, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"inputs": {column: rows}}."""
    _only(body, {"inputs"})
    return {answers.model.target: answers.score(body.get("inputs")).tolist()}


def _top_k(answers: Answers, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"inputs": {column: [value]}, "k": 10}."""
    _only(body, {"inputs", "k"})
    items, scores = answers.top_k(body.get("inputs"), body.get("k", USUAL_K))
    return {"items": items.tolist(), "scores": scores.tolist()}


def _only(body: Mapping[str, Any], known: set[str]) -> None:
    if more := set(body) - known:
        raise FeedError(f"unknown key {sorted(more)[0][:40]!r}; there are {', '.join(sorted(known))}")


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Return what a server shows to its clients, from PEM files; raises OSError (ssl.SSLError is one)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    return context


class ScoringServer(ThreadingHTTPServer):
    """Listens until `shutdown`; a connection too many is closed at once. draining: whether /readyz says no."""

    daemon_threads = True
    request_queue_size = 64
    max_connections = MAX_CONNECTIONS
    life_s = LIFE_S

    def __init__(self, answers: Answers, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Bind; port 0 is any, host :: every address of both families. Raises OSError."""
        self._tls, self.draining, self.counts = tls, answers.draining, answers.counts
        self._began: dict[Any, float] = {}  # connections, and since when
        self._changed = threading.Condition()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _handler(answers))

    @property
    def url(self) -> str:
        """Return the address as clients write it."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http{'s' if self._tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"

    def server_bind(self) -> None:
        """Bind, with IPv4 where IPv6 is asked for, and without asking a name server who we are."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; the handshake of TLS is left to the connection's thread, so that it holds up nobody."""
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401, ARG002 - of the base class
        """Count a connection; returns whether there is room for it."""
        with self._changed:
            self._began[request] = time.monotonic()
            return len(self._began) <= self.max_connections

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - of the base class
        """End a connection."""
        with self._changed:
            self._began.pop(request, None)
            self._changed.notify_all()
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off connections that last too long; called between requests."""
        with self._changed:
            old = [request for request, began in self._began.items() if time.monotonic() - began > self.life_s]
            for request in old:
                with suppress(OSError):  # it may have ended by itself
                    socket.socket.shutdown(request, socket.SHUT_RDWR)  # below TLS, whose reader is another thread

    def finish(self, timeout_s: float) -> bool:
        """Wait for the connections that are open; returns whether all have ended."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._began, timeout_s)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - of the base class
        """Let a connection that broke be, and tell of all else."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    timeout = DEADLINE_S
    path = ""  # until the first line is read
    unread = True  # whether there may be more of the request on the wire
    posts: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]]
    gets: ClassVar[Mapping[str, Callable[[], bytes]]]
    server_version, sys_version = "fljob", ""
    server: ScoringServer

    def setup(self) -> None:
        self.began = time.monotonic()
        super().setup()
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.do_handshake()

    def parse_request(self) -> bool:
        self.began = time.monotonic()  # now that there is one: a connection may wait for it
        return super().parse_request()

    def do_GET(self) -> None:
        self.unread = any(name in self.headers for name in ("Content-Length", "Transfer-Encoding"))
        answer = self.gets.get(self.path)
        if self.path == "/readyz" and self.server.draining.is_set():
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "stopping"})
        elif answer is None:
            self._refuse()
        else:
            self._send(HTTPStatus.OK, answer(), _KINDS.get(self.path, _JSON))

    def do_POST(self) -> None:
        try:
            value = self._score()
        except FeedError as error:
            self._say(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except RefusedError as error:
            self._say(error.status, {"error": str(error)})
        except BusyError as error:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)})
        except TimeoutError:
            self._say(HTTPStatus.REQUEST_TIMEOUT, {"error": f"no whole body within {DEADLINE_S:.0f} s"})
        else:
            self._say(HTTPStatus.OK, value)

    def _score(self) -> dict[str, Any]:
        if self.path not in self.posts:
            raise RefusedError(self._not_here, f"POST goes to {' and '.join(self.posts)}")
        return self.posts[self.path](_parsed(self._body()))

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not length:
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "send Content-Length and the body as it is")
        if not (length.isascii() and length.isdecimal()):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
        if len(length) > 12 or int(length) > MAX_BYTES:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {MAX_BYTES} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the body ended early")
        self.unread = False
        return body

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the base class cannot read or has no method for: as JSON, and as the client's fault, not ours."""
        if self.request_version == "HTTP/0.9":  # or none that is known: an answer of that version has no status
            self.request_version = self.protocol_version
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._refuse()
            return
        status = HTTPStatus.BAD_REQUEST if code >= 500 else HTTPStatus(code)
        self._say(status, {"error": (message or explain or status.phrase)[:200]})

    @property
    def _not_here(self) -> HTTPStatus:
        known = self.path in self.posts or self.path in self.gets
        return HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND

    def _refuse(self) -> None:
        self._say(self._not_here, {"error": f"there are GET {', '.join(self.gets)} and POST {', '.join(self.posts)}"})

    def _say(self, status: HTTPStatus, value: Mapping[str, Any]) -> None:
        self._send(status, _encoded(value), _JSON)

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        path = self.path if self.path in self.posts or self.path in self.gets else "other"
        self.server.counts.answered(path, str(int(status)), time.monotonic() - self.began)
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET" if self.path in self.gets else "POST")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if self.unread:
            self._read_out()

    def _read_out(self) -> None:
        """Read what is left of a request: a connection that is closed before is reset, and the answer with it."""
        with suppress(OSError):  # among them the deadline of a read
            self.connection.shutdown(socket.SHUT_WR)
            left = _MAX_UNREAD
            while left > 0 and (part := self.connection.recv(min(left, 1 << 16))):
                left -= len(part)

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - signature of the base class
        """What is asked is nobody's business."""


def _handler(answers: Answers) -> type[_Handler]:
    """Return the handler of one server's connections."""
    posts = {"/v1/score": partial(_score, answers), "/v1/top-k": partial(_top_k, answers)}
    fine = partial(_encoded, {"status": "ok"})
    told = partial(_encoded, answers.model.told)
    gets = {"/v1/signature": told, "/healthz": fine, "/readyz": fine, "/metrics": answers.counts.text}
    return type("Handler", (_Handler,), {"posts": posts, "gets": gets})


def _encoded(value: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(value), allow_nan=False).encode()


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FeedError(f"the body is not JSON: {error}"[:200]) from error
    if not isinstance(value, dict):
        raise FeedError("the body must be a JSON object")
    return value
