"""A small HTTP server with objects by path and merge patches: what the coordinator needs of an API server."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fljob_runtime.roles.kube import KubeClient


class ObjectServer:
    """Objects by path; `requests` are (method, path, authorization, content type)."""

    def __init__(self, objects: dict[str, dict[str, Any]]) -> None:
        self.objects = objects
        self.requests: list[tuple[str, str, str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(lambda found: found)

            def do_PATCH(self) -> None:
                patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(lambda found: _merge(found, patch))

            def answer(self, change: Any) -> None:
                headers = self.headers
                outer.requests.append((self.command, self.path, headers["Authorization"], headers["Content-Type"]))
                found = outer.objects.get(self.path)
                body = json.dumps(change(found) if found is not None else {"message": "not found"}).encode()
                self.send_response(200 if found is not None else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def client(self, token_file: Path) -> KubeClient:
        """Return a client of this server."""
        return KubeClient(f"http://127.0.0.1:{self._server.server_address[1]}", token_file, None)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    for key, value in patch.items():
        target[key] = _merge(target.get(key, {}), value) if isinstance(value, dict) else value
    return target
