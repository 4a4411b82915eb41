"""Whoever asks for figures holds nobody up."""

import os
import struct
import threading

from tests.harness import Gateway, until


def test_a_page_of_figures_that_takes_long_holds_nobody_up(tmp_path):
    """One of the files that the page is made of is a pipe, so that the page waits until something is written there."""
    gateway = Gateway(tmp_path).start()
    pipe, pages = tmp_path / "var" / "metrics" / "counter_slow.db", []
    os.mkfifo(pipe)
    asking = threading.Thread(target=lambda: pages.append(gateway.get("/metrics")))
    asking.start()
    try:
        writing = until(lambda: opened(pipe), "the reading of the pipe")     # succeeds once somebody reads
        try:
            assert gateway.get("/healthz")[0] == 200 and not pages
        finally:
            os.write(writing, struct.pack("<ii", 8, 0))                     # a file of figures without any
            os.close(writing)
        asking.join(30)
        assert pages[0][0] == 200 and b"smartoken_journal_healthy" in pages[0][2]
        gateway.stop()
    finally:
        gateway.close()


def opened(pipe) -> int:
    """The pipe's writing end, 0 while nobody reads."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return 0
