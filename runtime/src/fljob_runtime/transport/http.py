"""The plain port of a program: /healthz, /readyz and /metrics, for the kubelet and Prometheus.

Used by the three programs. Read-only and without secrets; a NetworkPolicy limits who reaches it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_TEXT = "text/plain; charset=utf-8"
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_TIMEOUT_S = 10.0


class HttpPort:
    """Serves the three paths on threads of its own.

    `healthy` and `ready` return "" when they are, else the reason, which is answered with status 503.
    """

    def __init__(
        self,
        metrics: Callable[[], bytes],
        *,
        healthy: Callable[[], str] = str,
        ready: Callable[[], str] = str,
    ) -> None:
        self._metrics = metrics
        self._checks = {"/healthz": healthy, "/readyz": ready}
        self._server: ThreadingHTTPServer | None = None

    def start(self, host: str, port: int) -> int:
        """Listen (port 0: any) and return the port; raises OSError when it cannot be bound.

        "[::]" is every address, IPv4 too, as in gRPC.
        """
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_TIMEOUT_S

            def do_GET(self) -> None:
                status, kind, body = answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:  # noqa: ANN401 - signature of the base class
                """Probes are no news."""

        self._server = _listen(host.strip("[]"), port, Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="http", daemon=True).start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Stop listening; idempotent."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        if path == "/metrics":
            return HTTPStatus.OK, _EXPOSITION, self._metrics()
        if path not in self._checks:
            return HTTPStatus.NOT_FOUND, _TEXT, b"there are /healthz, /readyz and /metrics\n"
        reason = self._checks[path]()
        status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
        return status, _TEXT, f"{reason or 'ok'}\n".encode()


class _DualStackServer(ThreadingHTTPServer):
    """Listens on every address of both families."""

    address_family = socket.AF_INET6
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _listen(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    if host == "::" and socket.has_dualstack_ipv6():
        return _DualStackServer((host, port), handler)
    server = ThreadingHTTPServer(("0.0.0.0" if host == "::" else host, port), handler)  # noqa: S104 - asked for
    server.daemon_threads = True
    return server
