"""Builds of the example process worker that are broken on purpose: something for rollouts to catch.

`crash` exits at once. `nopoll` answers its probes as if all were well, but never polls its task queue.
"""

import os
import signal
import sys
import threading

from process_worker.health import Health, HealthServer


def main(fault: str) -> int:
    """Be broken in one of the ways until SIGTERM."""
    if fault == "crash":
        print("this build is broken on purpose", file=sys.stderr)
        return 3
    server = HealthServer(Health(seen_polling=True), os.environ.get("POD_IP", ""), int(os.environ["PORT_HTTP"]))
    server.start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
