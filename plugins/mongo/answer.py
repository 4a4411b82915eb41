"""Every call to the driver passes here: it gets a time limit, and what means "away" becomes StoreAway."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from motor.motor_asyncio import AsyncIOMotorCollection
from pymongo.errors import (
    ConnectionFailure,
    ExecutionTimeout,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from smartoken.plugin import StoreAway

LIMIT_S = 6.0                  # a little above what the driver allows itself, see store.OPTIONS

# Server errors that pass by themselves, by their codes in MongoDB's error_codes.yml; any other is a fault of ours.
AWAY = frozenset({
    6, 7, 89, 9001,            # HostUnreachable, HostNotFound, NetworkTimeout, SocketException
    91, 11600,                 # ShutdownInProgress, InterruptedAtShutdown
    189, 10107, 11602, 13435, 13436,  # a primary stepped down, or there is none
    50, 262, 24, 46, 112,      # time limits, locks, write conflicts
    64, 100, 133, 134,         # a majority did not answer
    14031,                     # out of disk space
    13, 18,                    # not allowed (any more): nobody can be vouched for, and a client is not to blame
})

Answer = TypeVar("Answer")


async def answer(call: Awaitable[Answer]) -> Answer:
    """What the driver answers. StoreAway: it may or may not have happened."""
    try:
        async with asyncio.timeout(LIMIT_S):
            return await call
    except TimeoutError as error:
        raise StoreAway(f"MongoDB did not answer within {LIMIT_S:g} s") from error
    except PyMongoError as error:
        if passes(error):
            # The driver goes on to tell its own settings and what it knows of every server.
            raise StoreAway(f"MongoDB: {str(error).partition(' (configured timeouts')[0]}") from error
        raise


async def index(rows: AsyncIOMotorCollection, *fields: str, unique: bool = False) -> None:
    """Make an index on the fields, ascending ("-name": descending), if it is not there. One at a time: FerretDB 1.24
    cuts the connection when two indexes of one command exist already."""
    keys = [(field.lstrip("-"), -1 if field.startswith("-") else 1) for field in fields]
    await answer(rows.create_index(keys, unique=unique))


def passes(error: PyMongoError) -> bool:
    """Is it the server's or the network's trouble? Anything else (a taken key, a bad document) is the caller's."""
    return (isinstance(error, (ConnectionFailure, ExecutionTimeout, WriteConcernError))
            or (isinstance(error, OperationFailure) and error.code in AWAY)
            or (isinstance(error, InvalidOperation) and "after close" in str(error)))
