"""A gateway as an agent sees it: one connection, a block at a time, and what each answer means.

By the standard library's client: it writes a block from where it lies, and takes a fifth of the memory that a
richer one takes before it has sent a byte.
"""

import base64
import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from storage.access.carried import Carried
from storage.errors import ConfigError

NOTHING = Carried()
AGAIN_HEADER = "neve-again"
"""Says of a block that it may have been sent before, and nobody knows what became of it."""
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 30.0
"""A gateway answers after a few fsyncs; half a minute without a byte taken or sent is a lost connection."""
PIECE_BYTES = 256 << 10
"""The wait for a byte to be taken begins anew with each piece, so that a slow line is no lost one."""
ANSWER_BYTES = 64 << 10
REFUSED = frozenset({400, 413, 415, 422})
"""Statuses that speak of the block: sent again it would be refused again."""
READY, BUSY = 200, 429
"""A gateway that is busy has not taken the block."""
BLOCKED = frozenset({401, 403, 404})
"""Statuses that speak of the destination: nothing gets through until somebody acts."""


class Verdict(Enum):
    """What became of a block that was sent."""

    TAKEN = "taken"
    REFUSED = "refused"
    BLOCKED = "blocked"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Answer:
    """A gateway's answer; `retry_after` in seconds, where it asked for a pause.

    `sent`: whether the gateway may have the block by this try, if it did not take it: nobody knows then.
    """

    verdict: Verdict
    reason: str = ""
    retry_after: float = 0.0
    sent: bool = True


class Gateway:
    """The other side, over HTTP. Used by one thread."""

    def __init__(self, url: str, shown: Carried = NOTHING, *, shared: bool = True) -> None:
        """`url` is http or https; `shown`: key and certificates. Raises ConfigError for anything else.

        `shared`: several gateways may be at this address, and are told of what may have been sent before.
        """
        self._shared = shared
        self._connection, parts = connect(url, shown)
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip(
            "/"
        )  # no password
        self._path = parts.path.rstrip("/") + "/api/v1/blocks"
        self._ready = parts.path.rstrip("/") + "/gateway/ready"
        self._headers = {
            "Content-Type": "application/octet-stream",
            **_credentials(parts),
            **shown.headers(),
        }

    def send(self, data: bytes | bytearray, *, again: bool = False) -> Answer:
        """Send one sealed block, `again` if it may have been sent before. Never raises for what the network does."""
        if self._is_open():
            # The other side may have closed it long ago, or after it took the block.
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self._post(data, again)
            self._connection.close()
            return replace(self._send_anew(data, again=True), sent=True)
        return self._send_anew(data, again)

    def _send_anew(self, data: bytes | bytearray, again: bool) -> Answer:
        sent = False
        try:
            self._open()
            sent = True
            return self._post(data, again)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return Answer(Verdict.LATER, f"cannot reach {self.url}: {_why(error)}", sent=sent)

    def answers(self) -> bool:
        """Is the gateway there, and ready? Never raises for what the network does."""
        try:
            self._open()
            self._connection.request("GET", self._ready, headers=self._headers)
            reply = self._connection.getresponse()
            reply.read(ANSWER_BYTES)
            return reply.status == READY
        except (OSError, http.client.HTTPException):
            return False
        finally:
            self._connection.close()

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    def _is_open(self) -> bool:
        return self._connection.sock is not None

    def _open(self) -> None:
        if not self._is_open():
            self._connection.timeout = CONNECT_SECONDS
            self._connection.connect()
            self._connection.sock.settimeout(SILENCE_SECONDS)

    def _post(self, data: bytes | bytearray, again: bool) -> Answer:
        connection = self._connection
        # A gateway that refuses a block may answer, and close, before it has read all of it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            headers = self._headers | {"Content-Length": str(len(data))}
            if again and self._shared:
                headers[AGAIN_HEADER] = "1"
            connection.request("POST", self._path, _pieces(data), headers)
        reply = connection.getresponse()
        text = reply.read(ANSWER_BYTES)
        if not reply.isclosed():
            connection.close()  # more than an answer says
        return _answer_of(reply.status, reply.getheader("Retry-After", ""), text)


def connect(url: str, shown: Carried) -> tuple[http.client.HTTPConnection, SplitResult]:
    """A connection, not open yet, to what a URL names. Raises ConfigError."""
    wrong = ConfigError("cannot send there: not the address of a gateway", "give http://HOST:PORT")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not host:
        raise wrong
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, context=shown.context()), parts
    return http.client.HTTPConnection(host, port), parts


def _credentials(parts: SplitResult) -> dict[str, str]:
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _pieces(data: bytes | bytearray) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(view), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]


def _answer_of(status: int, retry_after: str, text: bytes) -> Answer:
    if 200 <= status < 300:
        return Answer(Verdict.TAKEN)
    reason = _reason(status, text)
    if status in REFUSED:
        return Answer(Verdict.REFUSED, reason)
    if status in BLOCKED:
        return Answer(Verdict.BLOCKED, reason, sent=False)
    return Answer(Verdict.LATER, reason, _retry_after(retry_after), sent=status != BUSY)


def _reason(status: int, text: bytes) -> str:
    try:
        error: Any = json.loads(text)["error"]
        return ": ".join(["gateway refused block", str(error["message"])])
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"gateway refused block: status {status}"


def _retry_after(text: str) -> float:
    try:
        return min(60.0, max(0.0, float(text or 0)))
    except ValueError:
        return 1.0


def _why(error: OSError | http.client.HTTPException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return (str(error) or type(error).__name__).lower()
