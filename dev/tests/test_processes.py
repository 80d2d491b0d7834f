"""Servers are stopped with all they started, and do not outlive a parent that is killed."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ameide_dev.ports import Ports
from ameide_dev.processes import Guard, ProcessError, Server, spawn, terminate, wait_until

FAMILY = "sleep 300 & echo $! > child; echo up; wait"


@pytest.fixture
def guard() -> Iterator[Guard]:
    made = Guard()
    yield made
    made.close()


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def eventually(check: Callable[[], bool], within: float = 10.0) -> bool:
    deadline = time.monotonic() + within
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def shell(folder: Path, guard: Guard, script: str = FAMILY) -> Server:
    return Server("family", ["sh", "-c", script], log=folder / "log", guard=guard, cwd=folder)


def child_of(folder: Path) -> int:
    assert eventually(lambda: (folder / "child").exists() and (folder / "child").read_text().strip() != "")
    return int((folder / "child").read_text())


def test_stop_ends_the_whole_group(tmp_path: Path, guard: Guard) -> None:
    server = shell(tmp_path, guard)
    server.start()
    child = child_of(tmp_path)
    assert running(server.pid)
    assert running(child)
    server.stop()
    assert not server.alive
    assert eventually(lambda: not running(child))


def test_stop_does_not_wait_for_the_stubborn(tmp_path: Path, guard: Guard) -> None:
    server = shell(tmp_path, guard, "trap '' TERM; echo $$ > child; while :; do sleep 0.05; done")
    server.start()
    child_of(tmp_path)
    began = time.monotonic()
    server.stop(grace=0.3)
    assert 0.3 <= time.monotonic() - began < 5
    assert not server.alive


def test_a_server_survives_the_thread_that_started_it(tmp_path: Path, guard: Guard) -> None:
    server = shell(tmp_path, guard)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    child_of(tmp_path)
    time.sleep(0.3)
    assert server.alive
    server.stop()


def test_an_early_end_shows_the_log(tmp_path: Path, guard: Guard) -> None:
    server = shell(tmp_path, guard, "echo cannot bind; exit 4")
    server.start()
    with pytest.raises(ProcessError, match=r"(?s)family ended with exit code 4; log: .*cannot bind"):
        wait_until("The family", lambda: False, [server], timeout=10)


def test_waiting_ends(tmp_path: Path, guard: Guard) -> None:
    server = shell(tmp_path, guard)
    server.start()
    with pytest.raises(ProcessError, match="The family was not ready within 0 s"):
        wait_until("The family", lambda: False, [server], timeout=0.1)
    server.stop()


def test_a_missing_program(tmp_path: Path, guard: Guard) -> None:
    server = Server("ghost", ["/nowhere/ghost"], log=tmp_path / "log", guard=guard)
    with pytest.raises(ProcessError, match="ghost cannot be started: /nowhere/ghost"):
        server.start()


PARENT = """
import sys, time
from pathlib import Path
from ameide_dev.processes import Guard, Server, own_guard, spawn
folder = Path(sys.argv[1])
(folder / "data").mkdir()
if sys.argv[3] == "own":
    own_guard().remove_at_end(folder / "data")
    pid = spawn(["sh", "-c", sys.argv[2]], cwd=folder, stdout=2).pid
else:
    guard = Guard()
    guard.remove_at_end(folder / "data")
    server = Server("family", ["sh", "-c", sys.argv[2]], log=folder / "log", guard=guard, cwd=folder)
    server.start()
    pid = server.pid
print(pid, flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whose", ["own", "another"])
def test_nothing_outlives_a_parent_that_dies(tmp_path: Path, number: signal.Signals, whose: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), FAMILY, whose],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        leader = int(parent.stdout.readline())
        child = child_of(tmp_path)
        parent.send_signal(number)
        parent.wait()
    assert eventually(lambda: not running(leader))
    assert eventually(lambda: not running(child))
    assert eventually(lambda: not (tmp_path / "data").exists())


def test_the_child_is_asked_and_its_group_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 300 & echo $! > child; trap 'exit 7' TERM; wait"
    process = spawn(["sh", "-c", script], cwd=tmp_path)
    child = child_of(tmp_path)
    time.sleep(0.2)  # until the second trap is set
    assert terminate(process) == 7
    assert eventually(lambda: not running(child))
    assert terminate(process) == 7


def test_a_guard_that_has_ended_takes_no_orders(tmp_path: Path) -> None:
    guard = Guard()
    server = shell(tmp_path, guard)
    server.start()
    child = child_of(tmp_path)
    guard.close()
    assert eventually(lambda: not running(child))
    server.stop()


def test_reserved_ports_differ_also_between_processes() -> None:
    ports = Ports()
    mine = {ports.reserve() for _ in range(20)}
    script = "from ameide_dev.ports import Ports; p = Ports(); print(*(p.reserve() for _ in range(20)))"
    others = [
        set(map(int, subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout.split()))
        for _ in range(2)
    ]
    assert len(mine) == 20
    assert not mine & others[0]
    assert not mine & others[1]
    ports.release()
