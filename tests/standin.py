"""Stand-ins for smartoken.main:run, for tests of the supervisor: real processes that do one thing each."""

import os
import signal
import socket
import threading
import time

from smartoken.errors import ConfigError


def echo(conf, index, ready):
    """Serve `index pid workers` to whoever connects, until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((conf.server.host, conf.server.port))
        listener.listen(64)
        ready()
        while True:
            caller = listener.accept()[0]
            with caller:
                caller.sendall(f"{index} {os.getpid()} {conf.server.workers}\n".encode())


def misconfigured(conf, index, ready):
    """Worker 1 cannot start; the others would."""
    if index == 1:
        raise ConfigError("conf.toml: 'store.url': it is the stand-in's fault; mend it")
    ready()
    threading.Event().wait()


def lacks_a_package(conf, index, ready):
    import a_package_that_nobody_installed  # noqa: F401


def broken(conf, index, ready):
    raise RuntimeError("a fault of the stand-in")



def slow_to_drain(conf, index, ready):
    """Take a while to stop, and leave a mark when done."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    ready()
    while not told.wait(0.05):
        pass
    time.sleep(0.3)
    conf.data_folder.mkdir(exist_ok=True)
    (conf.data_folder / f"drained-{index}").touch()


def deaf(conf, index, ready):
    """Never stop when asked."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready()
    threading.Event().wait()
