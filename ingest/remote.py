"""A running server, as the commands for its owner ask it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from ingest.errors import UsageError
from storage.access.carried import carried
from storage.address import DEFAULT_URL, address
from storage.config import http_parts, without_password
from storage.errors import NeveError

CONNECT_SECONDS = 5.0


class ServerError(NeveError):
    """The server said no, or nothing; `status` is what it answered, 0 for nothing."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


class Remote:
    """One server, by its address. Raises ServerError for what it refuses and when it is away."""

    def __init__(self, url: str | None, seconds: float = 60.0) -> None:
        """`seconds`: how long an answer may take. Raises UsageError."""
        self.url = address(url).rstrip("/")
        parts = http_parts(self.url)
        if parts is None:
            raise UsageError(f"cannot use url: {without_password(self.url)}", f"write it as {DEFAULT_URL}")
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        shown = carried()
        verify = shown.context() if parts.scheme == "https" else True
        self._http = httpx.Client(
            base_url=self.url, timeout=timeout, trust_env=False, headers=shown.headers(), verify=verify
        )

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._ask("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask("POST", path, json=body)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._ask(method, path, json=body)

    def send(self, path: str, params: Mapping[str, Any], body: bytes) -> dict[str, Any]:
        return self._ask("POST", path, params=params, content=body)

    def lines(self, path: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """A streamed answer, object by object."""
        headers = {"accept": "application/x-ndjson"}
        try:
            with self._http.stream("GET", path, params=params, headers=headers) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer.status_code, answer.json())
                for line in answer.iter_lines():
                    yield json.loads(line)
        except (httpx.HTTPError, ValueError) as error:
            raise ServerError(0, f"cannot read answer of {self.url}: {error}") from None

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _ask(self, method: str, path: str, **what: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, **what)
            said: dict[str, Any] = answer.json()
        except httpx.HTTPError as error:
            why = (str(error) or type(error).__name__).lower()
            hint = "start it with 'neve serve', or name it with --to"
            raise ServerError(0, f"cannot reach neve at {without_password(self.url)}: {why}", hint) from None
        except ValueError:
            raise ServerError(
                0, f"cannot read answer of {self.url}", "is this the address of neve?"
            ) from None
        if answer.is_success:
            return said
        raise _refusal(answer.status_code, said)


def _refusal(status: int, said: Mapping[str, Any]) -> ServerError:
    error = said.get("error", {})
    message = str(error.get("message") or f"cannot do it: status {status}")
    return ServerError(status, message, str(error.get("hint") or ""))
