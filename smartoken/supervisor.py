"""Keeps N workers alive: starts each as a fresh process, says when all answer, restarts the fallen, drains at the end.

The supervisor holds the port bound but never listens, so that PORT=0 means the same port for every worker and a
second gateway is told at once. A worker learns by a pipe's end that its supervisor is gone, and drains by itself.
"""

import errno
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from smartoken.errors import ConfigError

BACK_OFF_S = (0.1, 0.5, 1, 2, 5, 10, 30)  # the wait before the n-th restart in a row
STEADY_S = 60                             # a worker that answered this long begins at the first wait again
KILL_AFTER_S = 30                         # on top of the drain, for what main.py and engine/jobs.py wait for, and the books
STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ENTRY = "smartoken.main:run"


class Worker:
    """One place in the row of workers, and the process that fills it now."""

    __slots__ = ("answers", "due", "falls", "index", "pipe", "process", "since")

    def __init__(self, index: int):
        self.index = index
        self.process: subprocess.Popen | None = None
        self.pipe = -1                    # the end of its readiness pipe, -1 when it has spoken or gone
        self.answers = False
        self.since = 0.0
        self.falls = 0
        self.due = 0.0                    # when to start it, while there is no process


class Supervisor:
    """`run()` once, in the main thread. `env` is put over the environment that the workers inherit; `ready` is called
    once, when all answer; `buried` gets the pid of each worker that ended, `say` a line when one fell.
    """

    def __init__(self, workers: int, *, drain_s: int = 30, kill_after_s: int = KILL_AFTER_S,
                 entry: str = ENTRY, env: Mapping[str, str] | None = None,
                 ready: Callable[[], None] = lambda: None, buried: Callable[[int], None] = lambda pid: None,
                 say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)):
        self._workers = [Worker(index) for index in range(workers)]
        self._patience_s, self._entry = drain_s + kill_after_s, entry
        self._env = {**os.environ, **(env or {})}
        self._ready, self._buried, self._say = ready, buried, say
        self._select = selectors.DefaultSelector()
        self._stopping = 0                # how often we were told to stop
        self._started = False             # all have answered once
        self._code = 0

    def run(self) -> int:
        """0 after a stop that was asked for, 1 if a worker had to be killed for it, else the code of a failed start."""
        with ExitStack() as stack:
            stack.callback(self._select.close)
            bell, wake = socket.socketpair()
            for end in (bell, wake):
                stack.callback(end.close)
                end.setblocking(False)
            stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False))
            for number in (*STOP, signal.SIGCHLD):
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup keeps its promise
                    stack.callback(signal.signal, number, signal.signal(number, lambda *_: None))
            life_read, life_write = os.pipe()
            stack.callback(os.close, life_read)
            stack.callback(os.close, life_write)
            self._life = life_read
            self._select.register(bell, selectors.EVENT_READ, None)
            try:
                self._watch(bell)
            finally:
                self._kill()
        return self._code

    def _watch(self, bell: socket.socket) -> None:
        deadline = 0.0
        while True:
            now = time.monotonic()
            if not self._stopping:
                for worker in self._workers:
                    if worker.process is None and worker.due <= now:
                        self._start(worker)
            alive = [worker for worker in self._workers if worker.process is not None]
            if self._stopping and not alive:
                return
            if self._stopping and now >= deadline > 0:
                self._say(f"{len(alive)} worker(s) did not drain in time and are killed")
                self._code = self._code or 1
                return
            for key, _ in self._select.select(self._patience(now, deadline)):
                if key.data is None:
                    stops = [number for number in bell.recv(4096) if number in STOP]
                    if stops:
                        deadline = self._stop(len(stops))
                else:
                    self._hear(key.data)
            for worker in alive:
                self._bury(worker)
            if self._code and not self._stopping:
                deadline = self._stop(1)

    def _patience(self, now: float, deadline: float) -> float | None:
        """Seconds until something is due by itself; None when only a signal or a pipe can wake us."""
        if self._stopping:
            return max(deadline - now, 0)
        due = [worker.due for worker in self._workers if worker.process is None]
        return max(min(due) - now, 0) if due else None

    def _start(self, worker: Worker) -> None:
        read, write = os.pipe()
        command = [sys.executable, "-P", "-m", "smartoken.worker", "--index", str(worker.index),
                   "--workers", str(len(self._workers)), "--ready", str(write), "--life", str(self._life),
                   "--entry", self._entry]
        try:
            worker.process = subprocess.Popen(command, pass_fds=(write, self._life), env=self._env,
                                              stdin=subprocess.DEVNULL)
        except OSError:
            os.close(read)
            raise
        finally:
            os.close(write)
        worker.pipe, worker.since, worker.answers = read, time.monotonic(), False
        self._select.register(read, selectors.EVENT_READ, worker)

    def _hear(self, worker: Worker) -> None:
        """The worker answers now, or its pipe ended with it."""
        worker.answers = os.read(worker.pipe, 16) != b""
        self._hang_up(worker)
        if not self._started and all(other.answers for other in self._workers):
            self._started = True
            self._ready()

    def _hang_up(self, worker: Worker) -> None:
        if worker.pipe >= 0:
            self._select.unregister(worker.pipe)
            os.close(worker.pipe)
            worker.pipe = -1

    def _bury(self, worker: Worker) -> None:
        code = worker.process.poll()
        if code is None:
            return
        self._buried(worker.process.pid)
        worker.process = None
        self._hang_up(worker)
        if self._stopping:
            return
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        if not self._started:
            self._say(f"worker {worker.index} ended {how} before it answered; nothing is served")
            self._code = code if code > 0 else 1
            return
        now = time.monotonic()
        worker.falls = 1 if worker.answers and now - worker.since >= STEADY_S else worker.falls + 1
        wait = BACK_OFF_S[min(worker.falls, len(BACK_OFF_S)) - 1]
        worker.due, worker.answers = now + wait, False
        self._say(f"worker {worker.index} ended {how}; it is started again in {wait} s")

    def _stop(self, times: int) -> float:
        """Ask every worker to drain; the second time, to die. Returns the moment at which patience ends."""
        self._stopping += times
        for worker in self._workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM if self._stopping == 1 else signal.SIGKILL)
        return time.monotonic() + self._patience_s

    def _kill(self) -> None:
        for worker in self._workers:
            if worker.process is not None:
                worker.process.kill()
                worker.process.wait()
                worker.process = None
            self._hang_up(worker)


def hold_port(host: str, port: int, key: str = "server.port", remedy: str = "with PORT or --port") -> socket.socket:
    """A bound socket that never listens: its port is the workers' own. ConfigError when somebody has the port: `key` is
    where it stands in the configuration, `remedy` how to choose another."""
    family, host_key = socket.AF_INET6 if ":" in host else socket.AF_INET, key.replace("port", "host")
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:  # without SO_REUSEPORT, so that a twin is noticed
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            port = probe.getsockname()[1]
        held = socket.socket(family, socket.SOCK_STREAM)
        # Not SO_REUSEADDR: two of us who both set it and do not listen would be let through.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
        return held
    except socket.gaierror as err:
        raise ConfigError(f"'{host_key}': {host!r} is no address of this machine ({err.strerror}); write an IP address, "
                          "such as 127.0.0.1, or 0.0.0.0 for every interface") from err
    except OSError as err:
        if err.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(f"'{host_key}': this machine has no address {host}; write one that it has, or 0.0.0.0 for "
                              "every interface") from err
        raise ConfigError(f"'{key}': cannot have port {port} on {host} ({err.strerror}); stop who has it, or "
                          f"choose another {remedy}") from err


def hold_admin_port(host: str, port: int, file: str) -> ExitStack | socket.socket:
    """The same for the admin port; nothing is held when it is 0. `file` is the configuration that names it."""
    return hold_port(host, port, "server.admin_port", f"in {file}") if port else ExitStack()
