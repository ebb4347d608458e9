"""The API as the command line asks it, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx

from storage.access.carried import carried
from storage.address import DEFAULT_URL
from storage.config import http_parts, without_password
from storage.errors import NeveError

CONNECT_SECONDS = 5.0
NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
SILENT_SECONDS = 45.0  # three heartbeats


class AnsweredError(NeveError):
    """The server said no; its words."""

    def __init__(self, status: int, body: bytes) -> None:
        try:
            error = json.loads(body)["error"]
            message, hint = str(error["message"]), str(error.get("hint") or "")
        except (ValueError, KeyError, TypeError):
            message, hint = f"cannot read answer: http status {status}", "is this the address of neve?"
        super().__init__(message, hint)
        self.status = status


class Unreachable(NeveError):
    status = 503


@dataclass(frozen=True)
class Told:
    """One event of a stream: `log`, `gap`, or "" where only the place moved on."""

    kind: str
    id: str
    data: str


def told(lines: Iterable[str]) -> Iterator[Told]:
    """Server-Sent Events out of lines."""
    kind, id_, moved = "", "", False
    data: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "id":
            id_, moved = value, True
        elif name == "data":
            data.append(value)
        elif not line:
            if data or moved:
                yield Told(kind if data else "", id_, "\n".join(data))
            kind, moved = "", False
            data.clear()


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Lines that end with a line feed. Not `iter_lines`: that splits at characters that JSON may hold, too."""
    waiting = b""
    for piece in pieces:
        *lines, waiting = (waiting + piece).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")


class Client:
    """One server. Errors are NeveErrors."""

    def __init__(self, url: str) -> None:
        if http_parts(url) is None:
            raise NeveError(f"cannot use url: {without_password(url)}", f"write it as {DEFAULT_URL}")
        self._url = url
        # The server bounds a query itself; a silent answer may be a long one.
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
        shown = carried()
        verify = shown.context() if urlsplit(url).scheme == "https" else True
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout,
            trust_env=not _is_local(url),
            headers=shown.headers(),
            verify=verify,
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON answer."""
        with self._reached():
            answer = self._http.get(path, params=_given(params))
            if answer.status_code != 200:
                raise AnsweredError(answer.status_code, answer.content)
            found: dict[str, Any] = answer.json()
            return found

    def search(self, params: Mapping[str, Any]) -> Iterator[Any]:
        """Events and at last {"stats"}, as they come; for a query with pipes {"columns"}, lists, and {"stats"}."""
        headers = {"Accept": NDJSON}
        with (
            self._reached(),
            self._http.stream("GET", "/api/v1/search", params=_given(params), headers=headers) as got,
        ):
            if got.status_code != 200:
                raise AnsweredError(got.status_code, got.read())
            for line in got.iter_lines():
                yield json.loads(line)

    def tail(self, params: Mapping[str, Any], last_id: str = "") -> Iterator[Told]:
        """What a tail is told, up to the end of the connection; AnsweredError, Unreachable. Blocks while nothing comes.

        `last_id`: go on after this event. A new id without an event is told too, as the kind "".
        """
        headers = {"Accept": EVENT_STREAM, **({"Last-Event-ID": last_id} if last_id else {})}
        timeout = httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS)
        with (
            self._reached(),
            self._http.stream(
                "GET", "/api/v1/tail", params=_given(params), headers=headers, timeout=timeout
            ) as got,
        ):
            if got.status_code != 200:
                raise AnsweredError(got.status_code, got.read())
            yield from told(_lines(got.iter_bytes()))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (httpx.TransportError, ValueError) as error:
            hint = "start it with 'neve serve', or name it with --url"
            raise Unreachable(
                f"cannot reach neve at {without_password(self._url)}: {_cause(error)}", hint
            ) from None


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    """What was said; no `tags` at all is something else than those of no name."""
    return {
        name: value for name, value in params.items() if value is not None and (value != "" or name == "tags")
    }


def _cause(error: Exception) -> str:
    if isinstance(error, ValueError):
        return "its answer is no JSON"
    return str(error).lower().partition("\n")[0] or type(error).__name__.lower()


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
