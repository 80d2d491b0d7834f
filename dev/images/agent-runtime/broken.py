"""Builds of the example agent runtime that are broken on purpose: something for rollouts to catch.

`crash` exits at once. `bad` lives and never becomes ready.
"""

import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Probes are not worth a line."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main(fault: str) -> int:
    """Be broken in one of the ways until SIGTERM."""
    if fault == "crash":
        print("this build is broken on purpose", file=sys.stderr)
        return 3
    server = ThreadingHTTPServer((os.environ.get("POD_IP", ""), int(os.environ["PORT_HTTP"])), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
