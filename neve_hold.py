"""What a backup asks of gateways: to rest between two INSERTs for as long as tables are cloned, and what waits.

The one beside it is asked over its socket; the others, where `cluster.gateways` names them, at their addresses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx

from ingest.holding import HOLD_SECONDS
from ingest.peer_hold import HOLD, RELEASE, WAITING
from storage.access.among import PEER_HEADER
from storage.access.carried import carried
from storage.errors import BackupFailed, BackupRefused

ANSWER_SECONDS = 10.0
WAIT_SECONDS = 60.0
"""For what another gateway had acknowledged when a backup began to leave its spool: mostly it takes less than one."""
POLL_SECONDS = 0.2


class Gateway:
    """One that is asked. For a with statement, or `close`."""

    def __init__(self, where: str, http: httpx.Client, paths: tuple[str, str]) -> None:
        """`where`: how people know it; `paths`: of a hold, and of its end."""
        self.where = where
        self.hold, self.release = paths
        self._http = http

    @classmethod
    def beside(cls, socket: str, headers: Mapping[str, str]) -> Gateway:
        """That of this machine; `headers`: how it knows us."""
        transport = httpx.HTTPTransport(uds=socket)
        http = httpx.Client(
            base_url="http://neve", transport=transport, timeout=_PATIENT, headers=dict(headers)
        )
        return cls("of this machine", http, ("/gateway/hold", "/gateway/release"))

    @classmethod
    def at(cls, url: str, word: str) -> Gateway:
        """One of another machine, most likely; `word`: what servers of this cluster show one another."""
        verify = carried().context() if url.startswith("https:") else True
        headers = {PEER_HEADER: word}
        http = httpx.Client(base_url=url, trust_env=False, timeout=_PATIENT, headers=headers, verify=verify)
        return cls(url, http, (HOLD, RELEASE))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def name(self) -> str:
        """Of the gateway beside, as what it inserts. Raises BackupFailed."""
        return str(self.ask("GET", "/gateway/status")["inserter"])

    def waiting(self) -> tuple[str, dict[int, float]]:
        """Of another: its name, and for how many seconds the oldest block has waited for which shard.

        Raises BackupFailed.
        """
        said = self.ask("GET", WAITING)
        return str(said["gateway"]), {int(number): float(age) for number, age in said["seconds"].items()}

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Raises BackupFailed where it does not answer, or says no."""
        try:
            answer = self._http.request(method, path, json=dict(body) if body is not None else None)
            said: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise BackupFailed(f"cannot ask gateway {self.where}: {type(error).__name__}") from None
        if not answer.is_success:
            why = said.get("error", {}).get("message", answer.status_code)
            raise BackupFailed(f"cannot hold gateway {self.where}: {why}")
        return said


_PATIENT = httpx.Timeout(HOLD_SECONDS + ANSWER_SECONDS, connect=ANSWER_SECONDS / 2)


def others_of(name: str, urls: Sequence[str], word: str) -> dict[str, Gateway]:
    """The other gateways of the cluster, by their names. Raises BackupRefused where one does not answer."""
    found: dict[str, Gateway] = {}
    for url in urls:
        one = Gateway.at(url, word)
        try:
            theirs, _ = one.waiting()
        except BackupFailed as error:
            one.close()
            for other in found.values():
                other.close()
            raise BackupRefused(
                f"{error.message}; what waits in its spool would be missing",
                "start it; or take it out of cluster.gateways, and copy its data folder",
            ) from None
        if theirs == name or theirs in found:
            one.close()
        else:
            found[theirs] = one
    return found


def wait_stored(others: Sequence[Gateway], since: float, without: Collection[int]) -> None:
    """Until all that they had acknowledged at `since` (monotonic) is in ClickHouse, but for shards left out.

    Raises BackupFailed.
    """
    for one in others:
        while True:
            asked = time.monotonic()
            waits = {number: age for number, age in one.waiting()[1].items() if number not in without}
            oldest = max(waits.values(), default=0.0)
            if oldest < asked - since:
                break
            if asked - since > WAIT_SECONDS:
                raise BackupFailed(
                    f"cannot back up: what gateway {one.where} took {oldest:.0f} s ago still waits in its spool",
                    "neve status there says what stands in the way",
                )
            time.sleep(POLL_SECONDS)


class Held:
    """A gateway rests between two INSERTs while this context is open. Raises BackupFailed."""

    def __init__(self, gateway: Gateway, without: Collection[int] = ()) -> None:
        """`without`: numbers of shards that are not copied, and may be away."""
        self._gateway = gateway
        self._wish = {"seconds": HOLD_SECONDS, "without": sorted(without)}
        self._number = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Held:
        self._number = self._gateway.ask("POST", self._gateway.hold, self._wish)["hold"]
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._thread.join()
        kept = self._gateway.ask("POST", self._gateway.release, {"hold": self._number})["held"]
        if kind is None and not kept:
            where = self._gateway.where
            raise BackupFailed(
                f"cannot back up: gateway {where} went on while tables were cloned", "try again"
            )

    def _renew(self) -> None:
        """Whether that has worked all the time is what the end of the hold says."""
        while not self._over.wait(HOLD_SECONDS / 4):
            with suppress(BackupFailed):
                self._gateway.ask("POST", self._gateway.hold, self._wish)
