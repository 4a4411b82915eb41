"""A job: one long generation, from the request to its settled charge, as one document that any process can take up.

| state    | what is true                                          | money     | goes on to                         |
|----------|-------------------------------------------------------|-----------|------------------------------------|
| new      | written down; nothing was sent to any upstream        | pending   | sending, failed, refused           |
| sending  | a create call to `channel` may be under way           | pending   | running, made, stored, new,        |
|          |                                                       |           | failed, unknown, lost              |
| running  | accepted there as `upstream_id`; it is polled         | pending   | made, stored, failed, canceled,    |
|          |                                                       |           | lost                               |
| unknown  | the create call ended unclear: never made again;      | pending   | running (a person found it), lost  |
|          | released by a person, or when upstream has forgotten  |           |                                    |
| made     | the upstream is done; its results are being copied    | pending   | stored, failed, running (new link) |
| stored   | results are ours, the cost is known                   | charged   | done                               |
| done     | delivered                                             | charged   | -                                  |
| failed, canceled, lost | nothing was delivered                   | released  | -                                  |
| refused  | the account could not pay                             | untouched | -                                  |

`open` is 1 until the money is settled; then the job never changes again. Each change names the revision that it
replaces, and only the `owner`, until `until_ms`, may make one; a job whose owner is gone is taken over by another.
"""

import msgspec

from smartoken.domain.offer import units
from smartoken.domain.usage import Attempt

NEW, SENDING, RUNNING, UNKNOWN, MADE, STORED = "new", "sending", "running", "unknown", "made", "stored"
DONE, FAILED, CANCELED, LOST, REFUSED = "done", "failed", "canceled", "lost", "refused"

GOES_ON: dict[str, frozenset[str]] = {
    NEW: frozenset({SENDING, FAILED, REFUSED}),
    SENDING: frozenset({RUNNING, MADE, STORED, NEW, FAILED, UNKNOWN, LOST}),
    RUNNING: frozenset({MADE, STORED, FAILED, CANCELED, LOST}),
    UNKNOWN: frozenset({RUNNING, LOST}),
    MADE: frozenset({STORED, FAILED, RUNNING}),
    STORED: frozenset({DONE}),
    **{state: frozenset() for state in (DONE, FAILED, CANCELED, LOST, REFUSED)},
}
ENDED = frozenset({DONE, FAILED, CANCELED, LOST, REFUSED})
"""For the client it is over, and so it is for UNKNOWN: its answer is that we do not know."""


class Link(msgspec.Struct, omit_defaults=True):
    """A result while it still lies with the upstream."""

    url: str
    note: str = ""


class Kept(msgspec.Struct, omit_defaults=True):
    """A result in our media store; `sha256` is of its content."""

    key: str
    type: str
    size: int
    sha256: str
    note: str = ""


class Fault(msgspec.Struct, omit_defaults=True):
    """Why nothing was delivered, as the client is told: a kind of errors.KINDS, or an upstream's own status."""

    kind: str
    message: str
    code: str = ""
    status: int = 0
    retry_after_s: int = 0


class Job(msgspec.Struct, kw_only=True):
    """See the module. Times are wall-clock milliseconds; `fields` is the client's body as JSON text.

    `unit_u` is the price in µUSD of one image, one second or one voice, fixed when the job was made; `held_u` is what is pending.
    `floor_u`: how far below zero the account may go for it. `lone`: no Idempotency-Key leads to it, so that only the client
    that waits for it knows of it.
    `files`: the body had files, which are in no store, so a job that nobody sent in time cannot be sent by another.
    `until_ms` ends the owner's claim, and is also when a job that nobody need look at is due again.
    """

    id: str
    rev: int = 1
    acct: str
    key: str
    wire: str
    door: str
    kind: str
    model: str
    at_ms: int
    state: str = NEW
    open: int = 1
    fields: str = "{}"
    files: bool = False
    images: int = 0
    size: str = ""
    quality: str = ""
    seconds: int = 0
    resolution: str = ""
    ratio: str = ""
    inline: bool = False
    show_cost: bool = False
    pin: str = ""
    price_rev: str = ""
    unit_u: int = 0
    held_u: int = 0
    floor_u: int = 0
    lone: bool = False
    word: str = ""
    owner: str = ""
    until_ms: int = 0
    channel: str = ""
    upstream_name: str = ""
    upstream_id: str = ""
    sent_ms: int = 0
    missing: bool = False              # the upstream did not know it when last asked
    relinks: int = 0                   # how often the upstream was asked for fresh links
    links: list[Link] = []
    kept: list[Kept] = []
    billed_ms: int = 0                 # of a video, as charged
    tokens: dict = {}                  # the upstream's usage object, part of an image's answer
    cost_p: int = 0
    fault: Fault | None = None
    attempts: list[Attempt] = []
    ended_ms: int = 0

    @property
    def ended(self) -> bool:
        """The client's answer is known."""
        return self.state in ENDED or self.state == UNKNOWN

    @property
    def delivered(self) -> bool:
        return self.state in (STORED, DONE)


def to_store(job: Job) -> dict:
    """The document."""
    doc = msgspec.to_builtins(job)
    return {"_id": doc.pop("id"), **doc}


def from_store(doc: dict) -> Job:
    """The job of a document, whatever a newer version wrote besides."""
    return msgspec.convert({**doc, "id": doc["_id"]}, Job)


def full_cost_p(job: Job) -> int:
    """pUSD if all that was asked for is delivered: what is pending for it."""
    return job.unit_u * 1_000_000 * units(job, job.kind)


def cost_p(job: Job, video_ms: int | None) -> int:
    """pUSD of what was kept: images by their number, a film by the length that the upstream billed, up to what was
    asked for (never more than is pending), a voice whole."""
    if job.kind == "image":
        return job.unit_u * 1_000_000 * min(len(job.kept), job.images)
    if job.kind == "voice":
        return job.unit_u * 1_000_000
    asked_ms = job.seconds * 1000
    return job.unit_u * 1000 * (asked_ms if video_ms is None else max(0, min(video_ms, asked_ms)))
