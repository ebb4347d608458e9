"""Errors of the storage floor, and the root that every package's errors share.

    NeveError                   something that a user can read and act upon
    ├── ConfigError             a configuration value is missing, unknown or wrong
    ├── NamespaceUnknown        no such namespace
    ├── Unauthenticated         nobody knows who asks
    ├── Forbidden               who asks may not do that
    ├── NamespaceUnclear        a key for several namespaces, and none was named
    ├── KeyInvalid              a key, a role or a setting that cannot be
    ├── KeyUnknown              no such key or role
    ├── Conflict                what is there, or is meant, stands in the way
    ├── BlockDamaged            bytes that are not a whole, unchanged sealed block
    ├── StorageUnavailable      ClickHouse cannot be reached, or cannot work now; nothing was sent
    ├── InsertRefused           the server looked at the data and said no
    ├── InserterLive            an inserter that is to be evicted still runs
    ├── EpochClosed             the epoch takes no row any more; not one was stored
    ├── InsertUnknown           the data were sent and the outcome is not known
    ├── ColdUnavailable         the cold tier's catalog or files cannot be reached, or cannot work now
    ├── ColdBroken              what the cold tier holds is not what it should be; nothing was dropped
    ├── AgerBusy                another ager works on this namespace
    ├── BackupRefused           there cannot be a backup there, or no restore from or to there
    ├── BackupDamaged           a backup that is not what was written
    ├── BackupFailed            it could not be finished; nothing that runs was changed
    └── QueryFailed             the server said no to a query
        ├── QueryTimeout        … because it ran out of time
        ├── QueryLimit          … because it hit a limit on rows, bytes or memory
        └── QueryCancelled      … because somebody cancelled it

A message is one line, lower case, without SQL of ours; what the server said word for word is in `detail`,
which is for logs.
"""

from __future__ import annotations

from typing import Any


class NeveError(Exception):
    """An error with a stable code, one readable line, what to do about it, and its HTTP status."""

    code = "error"
    status = 400
    default_hint = ""

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        position: tuple[int, int] | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.position = position  # line, column, both from 1
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def to_json(self) -> dict[str, Any]:
        """The body of an HTTP error answer."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "hint": self.hint}
        if self.position is not None:
            error["position"] = {"line": self.position[0], "column": self.position[1]}
        return {"error": error}


class ConfigError(NeveError):
    code = "bad_config"


class NamespaceUnknown(NeveError):
    code = "namespace_unknown"
    status = 404


class Unauthenticated(NeveError):
    code = "unauthenticated"
    status = 401
    default_hint = "send a key: Authorization: Bearer neve_…"


class Forbidden(NeveError):
    """Says nothing about whether what was asked for exists."""

    code = "forbidden"
    status = 403
    default_hint = "use a key that may"


class NamespaceUnclear(NeveError):
    code = "namespace_unclear"


class KeyInvalid(NeveError):
    code = "setting_invalid"


class KeyUnknown(NeveError):
    code = "key_unknown"
    status = 404


class Conflict(NeveError):
    code = "conflict"
    status = 409


class BlockDamaged(NeveError):
    code = "block_damaged"
    status = 422
    default_hint = "send it again from the source"


class StorageUnavailable(NeveError):
    """ClickHouse cannot be reached or cannot work now. For an insert: not one row of it was sent."""

    code = "storage_unavailable"
    status = 503
    default_hint = "try again in a moment"


class InsertRefused(NeveError):
    """The server refused the data themselves (a wrong type, an unknown column).

    Sending them again will not help. A refusal does not prove that no row was stored: ask `rows_present`
    before the blocks are set aside.
    """

    code = "insert_refused"
    status = 422
    default_hint = "set the blocks aside and look at the reason"

    def __init__(self, message: str, *, server_code: int, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.server_code = server_code


class EpochClosed(NeveError):
    """The epoch was closed before the INSERT began. Not one row of it was stored, and none will be."""

    code = "epoch_closed"
    status = 503
    default_hint = "insert with the present epoch"


class InserterLive(NeveError):
    """An inserter cannot be evicted while its lease runs."""

    code = "inserter_live"
    status = 422
    default_hint = "stop it first, and wait until its lease has run out"


class InsertUnknown(NeveError):
    """Rows may be stored or not: the connection broke once sending began, or the server stopped midway."""

    code = "insert_unknown"
    status = 503
    default_hint = "ask which rows are present before sending again"


class ColdUnavailable(NeveError):
    """The catalog or the files of the cold tier do not answer. Hot data stay where they are meanwhile."""

    code = "cold_unavailable"
    status = 503
    default_hint = "check the catalog and the warehouse, then try again"


class ColdBroken(NeveError):
    """The cold tier does not hold what it should. What is hot stays hot."""

    code = "cold_broken"
    status = 503


class BackupRefused(NeveError):
    """Nothing was begun."""

    code = "backup_refused"
    status = 422


class BackupDamaged(NeveError):
    code = "backup_damaged"
    default_hint = "use another backup; look at the disk that this one is on"


class BackupFailed(NeveError):
    code = "backup_failed"
    status = 503
    default_hint = "look at the ager's log, and try again into an empty folder"


class AgerBusy(NeveError):
    """Another ager has the lease of this namespace."""

    code = "ager_busy"
    status = 503
    default_hint = "wait until it has finished"


class QueryFailed(NeveError):
    code = "query_failed"

    def __init__(
        self, message: str, hint: str | None = None, *, server_code: int = 0, detail: str = ""
    ) -> None:
        super().__init__(message, hint, detail=detail)
        self.server_code = server_code


class QueryTimeout(QueryFailed):
    code = "query_timeout"
    status = 503
    default_hint = "narrow the time range or the filter"


class QueryLimit(QueryFailed):
    code = "query_limit"
    default_hint = "narrow the time range or the filter"


class QueryCancelled(QueryFailed):
    code = "query_cancelled"
    status = 503
