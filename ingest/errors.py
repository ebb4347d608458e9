"""What can go wrong on the way in.

NeveError (storage)
└── IngestError          anything here
    ├── SpoolFull        no room for a block: wait, or answer 429
    ├── CommitFailed     a fault of ours: the gateway takes nothing more, and starts anew
    ├── StateInUse       another agent holds the state folder
    ├── StateDamaged     a checkpoint or identity file cannot be read
    ├── RequestRefused   a request to the gateway asks for what cannot be
    └── UsageError       the command line asks for what cannot be
"""

from storage.errors import NeveError


class IngestError(NeveError):
    """Base of this package's errors."""


class SpoolFull(IngestError):
    """No room for a block, for `reason` ("quota", "disk_full", "busy"); nothing was kept.

    `retry_after` is in seconds.
    """

    code = "spool_full"
    status = 429
    default_hint = "wait until blocks have left, or give the spool more room"

    def __init__(self, reason: str, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


class CommitFailed(IngestError):
    """The gateway met a fault of its own; nothing was kept. It ends, and is started anew."""

    code = "commit_failed"
    status = 503
    default_hint = "try again in a moment"


class StateInUse(IngestError):
    """Another process holds the state folder."""

    code = "state_in_use"
    default_hint = "stop the other agent, or give this one a folder of its own with --state"


class StateDamaged(IngestError):
    """A file of the state folder cannot be read; going on would ship lines twice."""

    code = "state_damaged"


class RequestRefused(IngestError):
    """A request asks for what cannot be; `status` says how."""

    def __init__(self, code: str, message: str, hint: str, status: int = 400) -> None:
        super().__init__(message, hint)
        self.code = code
        self.status = status


class UsageError(IngestError):
    """The command line asks for what cannot be."""

    code = "usage"
