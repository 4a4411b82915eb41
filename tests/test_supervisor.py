"""The supervisor with real processes, pipes, signals and ports."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smartoken.errors import ConfigError
from smartoken.supervisor import hold_port

HERE = Path(__file__).parent
PARENT = """
import sys
from smartoken.supervisor import Supervisor, hold_port
from smartoken.conf import load
import os
with hold_port("127.0.0.1", 0) as held:
    port = held.getsockname()[1]
    supervisor = Supervisor(int(sys.argv[2]), drain_s=int(sys.argv[3]), kill_after_s=2, entry="standin:" + sys.argv[1],
                            env={"PORT": str(port)}, ready=lambda: print("ready", port, flush=True))
    sys.exit(supervisor.run())
"""


@pytest.fixture
def start(tmp_path):
    """start(entry, workers, drain_s) -> a running supervisor; ended whatever the test did."""
    running = []

    def begin(entry, workers=2, drain_s=5):
        env = {**os.environ, "PYTHONPATH": str(HERE), "SMARTOKEN_DATA": str(tmp_path / "data")}
        env.pop("SMARTOKEN_CONF", None)
        process = subprocess.Popen([sys.executable, "-c", PARENT, entry, str(workers), str(drain_s)], env=env,
                                   cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def ready_port(process) -> int:
    line = process.stdout.readline()
    assert line.startswith("ready "), process.stderr.read()
    return int(line.split()[1])


def ask(port: int) -> tuple[int, int, int] | None:
    """(index, pid, workers) of whichever worker answers; None when none does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as caller:
            words = caller.makefile().read().split()
    except OSError:
        return None
    return tuple(map(int, words)) if words else None


def until(condition, what: str, within_s: float = 15):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if (value := condition()) not in (None, False):
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s} s: {what}")


def seen(port: int, workers: int) -> dict[int, int]:
    """{index: pid} once all workers have been met."""
    met: dict[int, int] = {}

    def meet():
        if answer := ask(port):
            met[answer[0]] = answer[1]
        return len(met) == workers

    until(meet, f"{workers} workers answer")
    return met


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_says_ready_only_when_all_answer_on_one_port_and_stops_clean(start):
    process = start("echo", workers=3)
    port = ready_port(process)
    met = seen(port, 3)
    assert sorted(met) == [0, 1, 2] and len(set(met.values())) == 3
    assert ask(port)[2] == 3, "a worker knows how many they are"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert all(gone(pid) for pid in met.values())
    assert ask(port) is None


def test_one_worker_takes_the_same_path(start):
    process = start("echo", workers=1)
    port = ready_port(process)
    assert ask(port)[0] == 0
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_a_killed_worker_is_started_again_while_the_other_serves(start):
    process = start("echo")
    port = ready_port(process)
    before = seen(port, 2)
    os.kill(before[0], signal.SIGKILL)
    until(lambda: (seen(port, 2)[0] != before[0]), "worker 0 is a new process")
    assert seen(port, 2)[1] == before[1]
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=10)
    assert "worker 0 ended by signal 9; it is started again" in stderr


def test_a_worker_that_cannot_start_ends_everything_with_its_sentence(start):
    process = start("misconfigured")
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "ready" not in stdout
    assert "conf.toml: 'store.url': it is the stand-in's fault; mend it" in stderr and "Traceback" not in stderr


@pytest.mark.parametrize(("entry", "code", "said"), [
    ("lacks_a_package", 2, "smartoken: cannot import a_package_that_nobody_installed (No module named"),
    ("broken", 70, "smartoken: unexpected RuntimeError: a fault of the stand-in ([log] level = \"debug\" shows where)")])
def test_a_fault_of_the_start_is_one_sentence_each(start, entry, code, said):
    process = start(entry, workers=1)
    stderr = process.communicate(timeout=20)[1]
    assert process.returncode == code and said in stderr and "Traceback" not in stderr


def test_waits_for_the_drain(start, tmp_path):
    process = start("slow_to_drain")
    ready_port(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert sorted(mark.name for mark in (tmp_path / "data").iterdir()) == ["drained-0", "drained-1"]


def test_a_second_signal_ends_the_patience(start):
    process = start("deaf", drain_s=600)
    ready_port(process)
    process.send_signal(signal.SIGTERM)
    # One signal could swallow the other before the supervisor has looked; so the second is sent until it is obeyed.
    until(lambda: process.poll() is not None or process.send_signal(signal.SIGTERM), "it stops")


def test_kills_whoever_does_not_drain_in_time(start):
    process = start("deaf", drain_s=0)
    ready_port(process)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1 and "did not drain in time" in stderr


def test_workers_do_not_outlive_a_killed_supervisor(start):
    process = start("echo")
    met = seen(ready_port(process), 2)
    process.kill()
    process.wait(10)
    # The orphans are not ours to reap: an ended one may stand as a zombie until init takes it.
    until(lambda: all(gone(pid) or "Z (zombie)" in Path(f"/proc/{pid}/status").read_text() for pid in met.values()),
          "the workers end by themselves")


def test_a_taken_port_is_told_at_once_even_by_a_twin():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot have port {port} on 127.0.0.1"):
            hold_port("127.0.0.1", port)


def test_two_supervisors_never_hold_one_port():
    with hold_port("127.0.0.1", 0) as held, pytest.raises(ConfigError, match="cannot have port"):
        hold_port("127.0.0.1", held.getsockname()[1])
