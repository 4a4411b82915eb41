"""Catalog tables and calls for the journeys of long work: pictures and films, a channel per behaviour."""

import json
import subprocess
import urllib.error
import urllib.request

from smartoken.adapters.clock import SystemClock
from smartoken.domain import job as states
from smartoken.domain.job import Job, from_store
from smartoken.engine.ledger import Ledger

PICTURE_U, WIDE_U, SECOND_U, SECOND_HD_U = 20_000, 30_000, 50_000, 100_000
FILM = {"prompt": "night", "resolution": "720P", "duration": 5, "ratio": "16:9"}


def picture(slug: str, **fields: object) -> str:
    """A [[models]] table of pictures."""
    return _model(slug, "text2image", f"{{ per_image = {PICTURE_U}, per_image_by_size = {{ \"512x256\" = {WIDE_U} }} }}",
                  available_sizes=["256x256", "512x256"], **fields)


def film(slug: str, **fields: object) -> str:
    """A [[models]] table of films."""
    return _model(slug, "text2video", f"{{ video_price_per_second_by_resolution = {{ \"720P\" = {SECOND_U}, "
                  f"\"1080P\" = {SECOND_HD_U} }} }}", available_ratios=["16:9", "9:16"], available_durations=[3, 5],
                  **fields)


def _model(slug: str, type_: str, pricing: str, **fields: object) -> str:
    more = "".join(f"{name} = {value if isinstance(value, str) else json.dumps(value)}\n"
                   for name, value in fields.items())
    return f'[[models]]\nslug = "{slug}"\ntype = "{type_}"\npricing = {pricing}\n{more}'


def maker(name: str, base_url: str, models: dict[str, str], provider: str = "sandbox", **fields: object) -> str:
    """A [[channels]] table of a provider that makes pictures and films, polled ten times a second."""
    names = ", ".join(f"{json.dumps(slug)} = {json.dumps(upstream)}" for slug, upstream in models.items())
    more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
    return (f'[[channels]]\nname = "{name}"\nprovider = "{provider}"\nbase_url = "{base_url}"\n'
            f'wire_api = ["images", "videos"]\nmodels = {{ {names} }}\nsettings = {{ poll_s = 0.1 }}\n{more}')


def call(url: str, key: str, body: dict | None = None, method: str = "", timeout: float = 60,
         **headers: str) -> tuple[int, dict[str, str], dict]:
    """(status, headers in lower case, JSON) of a call; status 0 when the connection broke."""
    data = None if body is None else json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {key}", "Content-Type": "application/json",
                                                 **headers}, method=method or None)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, _lower(answer.headers), json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, _lower(error.headers), json.loads(error.read() or b"{}")
    except (OSError, urllib.error.URLError, ValueError):
        return 0, {}, {}


def fetch(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of a GET."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status, _lower(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, _lower(error.headers), error.read()


def _lower(headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def probe(data: bytes, folder) -> list[str]:
    """[codec, width, height] and, of a film, its seconds, as ffprobe reads them."""
    path = folder / "probed"
    path.write_bytes(data)
    done = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height,duration", "-of",
                           "csv=p=0", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.strip().split(",")


def _read(gateway, work):
    """What `work(store)` reads from the gateway's store."""
    return gateway.in_sqlite(work)


def balance(gateway, client):
    """The ledger's Balance of a client."""
    return _read(gateway, lambda store: Ledger(store, "test", SystemClock()).balance(client.acct))


def jobs(gateway) -> dict[str, Job]:
    """Every job that the store has."""
    async def work(store) -> dict[str, Job]:
        found, after = {}, ""
        while page := await store.find("jobs", after=after, limit=500):
            after = page[-1]["_id"]
            found |= {doc["_id"]: from_store(doc) for doc in page if not doc["_id"].startswith("~")}
        return found
    return _read(gateway, work)


def settled(gateway) -> bool:
    """Nothing is under way any more; what is unknown waits for a person."""
    return all(not job.open or job.state == states.UNKNOWN for job in jobs(gateway).values())


def prompt_of(job: Job) -> str:
    """What a job was asked for in words."""
    return json.loads(job.fields)["prompt"]
