"""How a receiver of somebody else's protocol says no: what went wrong, for it to be put as its clients expect."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ingest.errors import RequestRefused, SpoolFull
from ingest.gateway import GatewayState
from storage.errors import NeveError

RETRY_AFTER_SECONDS = 1
REFUSED = (NeveError, OSError)
"""What `refusal` is for."""


@dataclass(frozen=True)
class Refusal:
    """`status` is HTTP's; `text` one line."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(error: Exception, gateway: GatewayState, receiver: str) -> Refusal:
    """Why nothing of a request was kept; it is counted. Raises what is none of REFUSED."""
    count_refused(gateway, receiver)
    if isinstance(error, NeveError):
        return Refusal(error.status, str(error), retry_headers(error))
    if isinstance(error, OSError):
        reason = (error.strerror or str(error)).lower()
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return Refusal(503, f"cannot write spool: {reason}; try again in a moment", headers)
    raise error


def count_refused(gateway: GatewayState, receiver: str) -> None:
    """Of a request that nothing was kept of."""
    gateway.counters.add(f"requests_refused_{receiver}")


def retry_headers(error: NeveError) -> dict[str, str]:
    """When to come back, for who is told to."""
    if error.status not in (429, 503):
        return {}
    after = error.retry_after if isinstance(error, SpoolFull) else RETRY_AFTER_SECONDS
    return {"Retry-After": str(after)}


def unreadable(what: str, hint: str) -> RequestRefused:
    """A body that is not what its protocol says."""
    return RequestRefused("bad_body", f"cannot read {what}", hint)
