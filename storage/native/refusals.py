"""What a server's exception means to us, told from its code.

The split that matters is for inserts: data at fault will never go in and must be set aside, while a state of
the server (out of memory, too many parts, a table that is not there yet) passes or is mended, so data wait.
"""

from __future__ import annotations

from clickhouse_driver.errors import ServerException

from storage.errors import (
    EpochClosed,
    InsertRefused,
    InsertUnknown,
    NeveError,
    QueryCancelled,
    QueryFailed,
    QueryLimit,
    QueryTimeout,
    StorageUnavailable,
)

# Codes of ClickHouse (ErrorCodes.cpp) that speak of the server's state, not of the data.
SERVER_STATE = {
    3: "unexpected end of file",
    60: "the table is missing",
    74: "cannot read from a file",
    75: "cannot write to a file",
    76: "cannot open a file",
    81: "the database is missing",
    159: "out of time",
    164: "the user may only read",
    192: "the user is unknown",
    202: "too many queries at once",
    209: "a connection timed out",
    210: "a network error",
    218: "the table is dropped",
    236: "stopped",
    241: "out of memory",
    242: "the table is read-only",
    243: "the disk is full",
    252: "too many parts are waiting to be merged",
    285: "too few replicas are up",
    286: "too few replicas answered",
    319: "too few replicas answered in time",
    394: "cancelled",
    425: "a system error",
    439: "no thread is free",
    473: "locked for too long",
    497: "the user has no right to do that",
    516: "wrong user or password",
    999: "the keeper is not there",
}
VIOLATED_CONSTRAINT = 469  # the only constraints are the fences of closed epochs
TIMEOUTS = {159, 160, 209}
LIMITS = {158, 167, 241, 307, 396}
CANCELLED = {394}
UNAVAILABLE = set(SERVER_STATE) - TIMEOUTS - LIMITS - CANCELLED - {60, 81, 497}


def insert_error(error: ServerException, *, sent: bool) -> NeveError:
    """The error to raise for an exception that answered an INSERT, before or after data were sent."""
    said = first_line(error)
    if error.code == VIOLATED_CONSTRAINT:
        return EpochClosed("cannot insert blocks: their epoch is closed", detail=str(error))
    state = SERVER_STATE.get(error.code)
    if state is None:
        return InsertRefused(f"cannot insert blocks: {said}", server_code=error.code, detail=str(error))
    if sent:
        return InsertUnknown(f"cannot insert blocks: {state}", detail=str(error))
    return StorageUnavailable(f"cannot insert blocks: {state}", detail=str(error))


def query_error(error: ServerException) -> NeveError:
    """The error to raise for an exception that answered a query; its message holds no SQL."""
    code, detail = error.code, str(error)
    if code in CANCELLED:
        return QueryCancelled("cannot finish query: it was cancelled", server_code=code, detail=detail)
    if code in TIMEOUTS:
        return QueryTimeout("cannot finish query: out of time", server_code=code, detail=detail)
    if code in LIMITS:
        which = {241: "memory", 307: "bytes read", 158: "rows read"}.get(code, "its result")
        return QueryLimit(f"cannot finish query: over the limit on {which}", server_code=code, detail=detail)
    if code in UNAVAILABLE:
        return StorageUnavailable(f"cannot run query: {SERVER_STATE[code]}", detail=detail)
    what = f"cannot run query: clickhouse error {code}"
    return QueryFailed(what, "see the log", server_code=code, detail=detail)


def first_line(error: ServerException) -> str:
    """What the server said, without its stack trace and its own name."""
    text = str(error.message).partition("Stack trace:")[0].partition("\n")[0]
    return text.replace("DB::Exception: ", "").strip().rstrip(".")
