"""A server under its guard: no process survives, in whatever way the parent ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from keel.cli.standalone.process import LOOPBACK, Part, PartFailed, claim_port

FAMILY = textwrap.dedent(
    """
    import subprocess, sys, time, pathlib
    # as Airflow's tasks: a grandchild in a session of its own, whose parent is gone
    code = "from subprocess import *; print(Popen(['sleep', '300'], stdout=DEVNULL, start_new_session=True).pid)"
    orphan = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).stdout.strip()
    child = subprocess.Popen(["sleep", "300"])
    pathlib.Path(sys.argv[1]).write_text(f"{orphan} {child.pid}")
    if "stubborn" in sys.argv:
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "dies" in sys.argv:
        sys.exit(7)
    time.sleep(300)
    """
)


def start_family(folder: Path, *arguments: str) -> tuple[Part, list[psutil.Process]]:
    pids = folder / "pids"
    part = Part("family", [sys.executable, "-c", FAMILY, str(pids), *arguments], dict(os.environ), folder).start()
    return part, family(pids)


def family(pids: Path) -> list[psutil.Process]:
    deadline = time.monotonic() + 20
    while not (pids.exists() and pids.read_text()):
        assert time.monotonic() < deadline, "the family did not start"
        time.sleep(0.02)
    found = []
    for pid in pids.read_text().split():
        try:
            found.append(psutil.Process(int(pid)))
        except psutil.NoSuchProcess:
            continue
    return found


def all_gone(processes: list[psutil.Process], timeout: float = 15) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=timeout)
    return not alive


def test_stop_ends_the_server_and_its_descendants(tmp_path: Path) -> None:
    part, processes = start_family(tmp_path)
    assert len(processes) == 2
    part.stop()
    assert all_gone(processes, timeout=0)
    part.stop()  # safe to repeat


def test_a_server_that_ends_takes_its_orphans_along(tmp_path: Path) -> None:
    part, processes = start_family(tmp_path, "dies")
    assert all_gone(processes)
    with pytest.raises(PartFailed, match="family ended with exit code 7"):
        part.finish(10)


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from keel.cli.standalone import child_guard; sys.exit(child_guard.guard(sys.argv[1:], grace=0.3))"
    )
    pids = tmp_path / "pids"
    server = [sys.executable, "-c", FAMILY, str(pids), "stubborn"]
    guard = subprocess.Popen([sys.executable, "-c", code, *server], stdin=subprocess.PIPE)
    processes = [*family(pids), *psutil.Process(guard.pid).children()]
    assert guard.stdin is not None
    guard.stdin.close()
    assert guard.wait(10) != 0
    assert all_gone(processes, timeout=0)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_no_process_survives_a_parent_killed_by(number: signal.Signals, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = textwrap.dedent(
        f"""
        import os, pathlib, signal, sys, time
        from keel.cli.standalone.process import Part
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, under which the tests may run, ignores it
        folder = pathlib.Path({str(tmp_path)!r})
        Part("family", [sys.executable, "-c", {FAMILY!r}, {str(pids)!r}], dict(os.environ), folder).start()
        time.sleep(300)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    processes = family(pids)
    processes += psutil.Process(parent.pid).children(recursive=True)
    assert len(processes) >= 4
    parent.send_signal(number)
    parent.wait(10)
    assert all_gone(processes)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a child of its parent's death")
def test_a_killed_guard_takes_its_server_along(tmp_path: Path) -> None:
    part = Part("sleeper", ["sleep", "300"], dict(os.environ), tmp_path).start()
    guard = psutil.Process(part.pid)
    deadline = time.monotonic() + 10
    while not (children := guard.children()) and time.monotonic() < deadline:
        time.sleep(0.02)
    guard.kill()
    assert children
    assert all_gone(children)


def test_a_failed_command_quotes_the_end_of_its_log(tmp_path: Path) -> None:
    code = "import sys; [print('line', n) for n in range(100)]; sys.exit('no such table: job')"
    part = Part("migrate", [sys.executable, "-c", code], dict(os.environ), tmp_path).start()
    with pytest.raises(PartFailed) as caught:
        part.finish(30)
    message = str(caught.value)
    assert "migrate ended with exit code 1" in message
    assert str(tmp_path / "migrate.log") in message
    assert "| no such table: job" in message
    assert "line 5\n" not in message
    assert caught.value.exit_code == 3
    with pytest.raises(PartFailed, match="exit code 1"):
        part.check()


def test_a_command_that_does_not_end_in_time_is_stopped(tmp_path: Path) -> None:
    part = Part("slow", ["sleep", "300"], dict(os.environ), tmp_path).start()
    with pytest.raises(PartFailed, match="slow did not end within 0 s"):
        part.finish(0.1)
    assert part.exit_code is not None


def test_claim_port_avoids_a_port_in_use_and_else_returns_the_preferred_one() -> None:
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen()
        taken = server.getsockname()[1]
        port, claim = claim_port(taken)
        assert port != taken
        claim.close()
    port, claim = claim_port(taken)
    assert port == taken
    claim.close()


def test_claim_port_while_another_claim_is_open_returns_another_port() -> None:
    first, claim = claim_port(0)
    second, other = claim_port(first)
    assert second != first
    claim.close()
    again, claim = claim_port(first)
    assert again == first
    claim.close()
    other.close()
