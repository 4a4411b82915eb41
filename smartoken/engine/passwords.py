"""Passwords as argon2id hashes. A hash takes 20 MB and some 20 ms on purpose, so two threads of their own make them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST, LONGEST = 10, 1024
THREADS = 2


class Passwords:
    """Make one per process; `close` at the end."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._pool = ThreadPoolExecutor(THREADS, "password")
        self._nobody = ""                  # a hash to compare with when there is none, so that time tells nothing

    async def hash(self, clear: str) -> str:
        """The text to store. ValueError when the password is too short to be one."""
        if not SHORTEST <= len(clear) <= LONGEST:
            raise ValueError(f"a password has at least {SHORTEST} characters")
        return await self._in_pool(self._hasher.hash, clear)

    async def check(self, stored: str, clear: str) -> bool:
        """Whether `clear` is the password behind `stored`; '' is nobody's, and takes as long to refuse."""
        if not self._nobody:
            self._nobody = await self._in_pool(self._hasher.hash, "nobody's password")
        return await self._in_pool(self._verify, stored or self._nobody, clear[:LONGEST]) and bool(stored)

    def stale(self, stored: str) -> bool:
        """Whether a hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _verify(self, stored: str, clear: str) -> bool:
        try:
            return self._hasher.verify(stored, clear)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_pool(self, work, *values):
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *values)
