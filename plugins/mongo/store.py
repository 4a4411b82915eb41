"""The Store on a MongoDB: a standalone server, a replica set or a sharded cluster, without any transaction.

Writes wait for a majority and its journals (a standalone server counts as its own majority), reads see only what a
majority has: what was answered stays true after any fail-over.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import ConfigurationError, InvalidURI, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.uri_parser import parse_uri
from pymongo.write_concern import WriteConcern
from smartoken_plugins.mongo.answer import answer
from smartoken_plugins.mongo.chains import Chains
from smartoken_plugins.mongo.documents import Documents
from smartoken_plugins.mongo.usage import UsageRows

from smartoken.plugin import ConfigError, Store, StoreAway

# Defaults of ours; the URL may name its own.
OPTIONS = {"appname": "smartoken", "serverSelectionTimeoutMS": 3000, "connectTimeoutMS": 3000, "socketTimeoutMS": 5000,
           "waitQueueTimeoutMS": 5000, "heartbeatFrequencyMS": 2000, "maxPoolSize": 32}
DATABASE = "smartoken"
SAFE = {"read_concern": ReadConcern("majority"), "read_preference": ReadPreference.PRIMARY,
        "write_concern": WriteConcern("majority", wtimeout=5000, j=True)}


def open_mongo(url: str) -> Store:
    """The Store of a `mongodb://` or `mongodb+srv://` URL, not yet connected. Its path names the database
    (DATABASE without one); options are the driver's own."""
    if url.startswith("mongodb://"):           # +srv asks the DNS: not before open
        try:
            parse_uri(url)
        except (InvalidURI, ConfigurationError, ValueError) as error:
            raise ConfigError(f"'store.url': {error}; write mongodb://host:27017/{DATABASE}") from error
    return MongoStore(url)


def _passed_on(part: str) -> Callable[[str], Callable]:
    """Methods of the port that a part of the store has under a name of its own."""
    def method(name: str) -> Callable:
        async def call(self: "MongoStore", *args: Any, **more: Any) -> Any:
            return await getattr(self._get(part), name)(*args, **more)
        return call
    return method


class MongoStore:
    """See ports.Store. Make it with open_mongo."""

    def __init__(self, url: str):
        self._url = url
        self._client: AsyncIOMotorClient | None = None

    async def open(self) -> None:
        given = {option.partition("=")[0].lower() for option in self._url.partition("?")[2].split("&")}
        mine = {name: value for name, value in OPTIONS.items() if name.lower() not in given}
        try:
            client = AsyncIOMotorClient(self._url, tz_aware=True, **mine)
            db = client.get_default_database(DATABASE, **SAFE)
        except PyMongoError as error:
            raise ConfigError(f"'store.url': {error}") from error
        self._client, self._db = client, db
        self._documents, self._chains, self._usage = Documents(db), Chains(db), UsageRows(db)
        try:
            for part in (self._documents, self._chains, self._usage):
                await part.prepare()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            for part in (self._documents, self._usage):
                await part.close()
            await asyncio.to_thread(client.close)      # it says good-bye to the server, and would hold up everybody

    async def ping(self) -> None:
        await answer(self._get("_db").command("ping"))

    def _get(self, part: str) -> Any:
        if self._client is None:
            raise StoreAway("the store is not open")
        return getattr(self, part)

    get, find, insert, replace, remove = map(_passed_on("_documents"), ("get", "find", "insert", "replace", "remove"))
    append, head, entry_by_op, entries, remove_entries, chains = map(_passed_on("_chains"), (
        "append", "head", "entry_by_op", "entries", "remove_entries", "chains"))
    put_usage, usage, usage_page, usage_sums, usage_cost_p = map(_passed_on("_usage"), (
        "put", "read", "page", "sums", "cost_p"))
