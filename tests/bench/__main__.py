"""`python -m tests.bench`: what a call through the gateway costs, against the bare upstream in the same rounds.

The gateway (one worker, everything on) has core 0 for itself, upstream and load share core 1. Machines differ and
drift: rounds are interleaved, medians are shown, and differences are taken within a round.
"""

import argparse
import json
import platform
import resource
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from smartoken.testing.process import UpstreamProcess
from tests.bench.parts import CASES, CHAT, SPEECH, Nginx, Target, family, hold_open, load, rss_kb
from tests.harness import Gateway, channel, model, until

GATEWAY_CORE, LOAD_CORE = 0, 1
IDLE = 1000
MODELS = {"bench": "", "bench-separate": "separate", "bench-idle": "stall?after=1"}
VOICE, SPEAKS = "bench-speech", "slow?gap_ms=10"
PATHS = {VOICE: SPEECH}                   # of models that do not chat
COST_US, RATE, ADDED_MS = 120, 8000, 0.5  # what must hold: CPU µs a JSON call or JSON calls/s, and added p50 at c=1,
FIRST_MS = 5                              # and added p50 to the first byte of audio


def main() -> None:
    """Measure, show, and end with 1 when a promise is not kept and --check was given."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the gateway.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--check", action="store_true", help="exit 1 unless the promises are kept")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65536), hard))
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.rounds, options.seconds)
    print(json.dumps(figures, indent=1)) if options.json else show(figures)
    if options.check and not figures["kept"]:
        raise SystemExit(1)


def measure(folder: Path, rounds: int, seconds: float) -> dict:
    """All figures: {"machine", "cases": {case: {target: {…}}}, "added", "idle", "store", "kept"}."""
    upstream = UpstreamProcess(core=LOAD_CORE)
    gateway = Gateway(folder)
    nginx = None
    try:
        gateway.apply(*(model(slug) for slug in MODELS),
                      *(channel(slug, upstream.at("", play), {slug: slug}) for slug, play in MODELS.items()),
                      f'[[models]]\nslug = "{VOICE}"\ntype = "speech"\npricing = {{ per_mchar = "15" }}\n',
                      f'[[channels]]\nname = "{VOICE}"\nprovider = "sandbox"\nbase_url = "{upstream.at("", SPEAKS)}"\n'
                      f'wire_api = ["speech"]\nmodels = ["{VOICE}"]\n')
        gateway.start(core=GATEWAY_CORE)
        key = gateway.client("bench", "1000000").key
        plays = MODELS | {VOICE: SPEAKS}
        bare = {slug: "/" + upstream.at("", play).split("/", 3)[3] + PATHS.get(slug, CHAT) for slug, play in plays.items()}
        targets = [Target("upstream alone", upstream.port, bare)]
        if shutil.which("nginx"):
            port = _free_port()
            nginx = Nginx(folder / "nginx", upstream.port, port, GATEWAY_CORE)
            targets.append(Target("nginx", port, bare, pids=nginx.pids))
        through = Target("gateway", gateway.port, {slug: "/v1" + PATHS.get(slug, CHAT) for slug in plays},
                         {"Authorization": f"Bearer {key}"}, lambda: family(gateway.process.pid))
        targets.append(through)
        load(through, "JSON, c=1", 0.2, LOAD_CORE)
        idle = _idle(gateway, through)  # first: later, streams would live in memory that earlier load has left behind
        for case in CASES:
            load(through, case, 0.5, LOAD_CORE)  # warm
        runs: dict[str, dict[str, list[dict]]] = {case: {t.name: [] for t in targets} for case in CASES}
        before, sent = _store_calls(gateway), 0
        for _ in range(rounds):
            for case in CASES:
                for target in targets:
                    result = load(target, case, seconds, LOAD_CORE)
                    runs[case][target.name].append(result)
                    sent += result["requests"] if target is through else 0
        store = {by: round((calls - before[by]) * 1000 / sent, 2) for by, calls in _store_calls(gateway).items()}
        gateway.stop()
        code, text = gateway.reconcile()
        if code:
            raise RuntimeError(f"the books do not agree after the load:\n{text}")
        return _figures(runs, store, idle, rounds, seconds)
    finally:
        gateway.close()
        upstream.stop()
        if nginx is not None:
            nginx.stop()


def _store_calls(gateway: Gateway) -> dict[str, float]:
    """So far: those that requests waited for, and those beside them (shipping what was used, leases)."""
    return {by: gateway.metric("smartoken_store_calls_total", by=by) for by in ("request", "beside")}


def _idle(gateway: Gateway, target: Target) -> float:
    """KB of the gateway's memory for each open idle stream."""
    before = rss_kb(target.pids())
    streams = hold_open(target, "bench-idle", IDLE, LOAD_CORE)
    after = rss_kb(target.pids())
    streams.stdin.close()
    streams.wait()
    streams.stdout.close()
    until(lambda: gateway.metric("smartoken_calls_inflight") == 0, "the end of the idle streams", 60)
    return (after - before) / IDLE


def _figures(runs: dict, store: dict, idle: float, rounds: int, seconds: float) -> dict:
    middle = lambda results, name: median(result[name] for result in results)
    cases = {case: {target: {name: round(middle(results, name), 1)
                             for name in ("rps", "p50_us", "p99_us", "first_p50_us", "first_p99_us", "cpu_us")}
                    for target, results in by_target.items()} for case, by_target in runs.items()}
    added = _added(runs["JSON, c=1"], "p50_us", "p99_us")
    speech = _added(next(results for case, results in runs.items() if case.startswith("speech")), "first_p50_us",
                    "first_p99_us")
    busy = cases["JSON, c=32"]["gateway"]
    kept = (busy["rps"] >= RATE or busy["cpu_us"] <= COST_US) and added["p50_us"] <= ADDED_MS * 1000 \
        and speech["first_p50_us"] <= FIRST_MS * 1000
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {"machine": {"processor": _processor(), "python": platform.python_version(), "kernel": platform.release(),
                        "commit": commit.stdout.strip() or "unknown"},
            "rounds": rounds, "seconds": seconds, "cases": cases, "added_at_c1": added, "added_to_first_audio": speech,
            "idle_stream_kb": round(idle, 1), "store_calls_per_1000": store, "kept": kept}


def _added(results: dict[str, list[dict]], *names: str) -> dict[str, float]:
    """What the gateway adds to the upstream alone, in µs: the median of the differences within a round."""
    pairs = list(zip(results["gateway"], results["upstream alone"], strict=True))
    return {name: round(median(gateway[name] - alone[name] for gateway, alone in pairs), 1) for name in names}


def show(figures: dict) -> None:
    """The figures, for people."""
    console = Console()
    machine = figures["machine"]
    console.print(f"{machine['processor']}, Python {machine['python']}, commit {machine['commit']}: medians of "
                  f"{figures['rounds']} interleaved rounds of {figures['seconds']:g} s")
    table = Table("case", "through", "answers/s", "first byte p50 ms", "p50 ms", "p99 ms", "CPU µs each")
    for case, by_target in figures["cases"].items():
        for index, (target, row) in enumerate(by_target.items()):
            table.add_row(case if not index else "", target, f"{row['rps']:,.0f}", f"{row['first_p50_us'] / 1000:.2f}",
                          f"{row['p50_us'] / 1000:.2f}",
                          f"{row['p99_us'] / 1000:.2f}", f"{row['cpu_us']:.0f}" if row["cpu_us"] else "–")
        table.add_section()
    console.print(table)
    added = figures["added_at_c1"]
    console.print(f"added at c=1: p50 {added['p50_us'] / 1000:.2f} ms, p99 {added['p99_us'] / 1000:.2f} ms")
    speech = figures["added_to_first_audio"]
    console.print(f"added to the first byte of audio: p50 {speech['first_p50_us'] / 1000:.2f} ms, "
                  f"p99 {speech['first_p99_us'] / 1000:.2f} ms")
    console.print(f"an open idle stream: {figures['idle_stream_kb']} KB (of {IDLE:,})")
    store = figures["store_calls_per_1000"]
    console.print(f"store calls per 1,000 requests: {store['request']:g} on the requests' way, {store['beside']:g} beside it")
    console.print(f"promise (JSON ≥ {RATE:,}/s or ≤ {COST_US} µs CPU each; added p50 ≤ {ADDED_MS} ms; "
                  f"first byte of audio ≤ {FIRST_MS} ms later): "
                  + ("[green]kept[/]" if figures["kept"] else "[red]not kept[/]"))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
