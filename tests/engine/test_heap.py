"""What a burst leaves behind goes back to the machine, seen from outside as the process's resident memory."""

import subprocess
import sys

# 64 MiB in pieces that malloc makes itself (above what Python's own allocator takes, below what is mapped), all freed
# but the last of each hundred: nothing at the top, so nothing that goes back by itself.
BURST = """
import asyncio
from smartoken.engine.heap import trim_now_and_then

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

async def main():
    task = asyncio.create_task(trim_now_and_then(0.3))
    await asyncio.sleep(0.1)
    begun = resident()
    pieces = [bytes(60_000) for _ in range(1_100)]
    kept = pieces[99::100]
    del pieces
    left = resident() - begun
    await asyncio.sleep(1.5)
    print(left >> 20, (resident() - begun) >> 20, len(kept))

asyncio.run(main())
"""


def test_what_a_burst_left_behind_is_given_back():
    done = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    left, after, _ = map(int, done.stdout.split())
    assert left > 30, "the burst left nothing: this test shows nothing"
    assert after < 8
