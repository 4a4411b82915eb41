"""A FaultProxy in front of a real server, for tests that wait in blocking ways."""

import asyncio
import threading

from smartoken.testing.proxy import FaultProxy


class Between:
    """The proxy on a thread of its own: the proof's other parts wait in blocking ways."""

    def __init__(self, port: int):
        self.proxy, self._loop = FaultProxy("127.0.0.1", port), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self.proxy.start())

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def mode(self, mode: str) -> None:
        """From now on; what is open is cut, so that the other side notices as it would."""
        self.proxy.mode = mode
        if mode == "pass":
            self._do(self.proxy.cut())

    def stop(self) -> None:
        self._do(self.proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
