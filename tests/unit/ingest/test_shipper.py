"""The shipper against a real HTTP server that answers as it is told."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ingest.backoff import FIRST_SECONDS, LONGEST_SECONDS, Backoff
from ingest.counters import Counters
from ingest.deadletter import DeadLetters
from ingest.destination import Gateway, Verdict
from ingest.shipper import Shipper
from ingest.spool import Spool
from storage.errors import ConfigError
from storage.native.block import Header
from tests.scripted import LOST, serving


class Setting:
    """A spool with blocks, and a shipper over it."""

    def __init__(self, folder: Path, url: str, blocks: list[tuple[int, bytes, bytes]]) -> None:
        self.spool = Spool(folder / "spool")
        self.spool.put(blocks)
        self.retired: list[int] = []
        self.in_spool_when_retired: list[bool] = []
        self.dead_letters = DeadLetters(folder / "dead")
        self.counters = Counters()
        self.shipper = Shipper(self.spool, Gateway(url), self.dead_letters, self.retire, self.counters)

    def retire(self, headers: Any) -> None:
        self.retired += [header.sequence for header in headers]
        self.in_spool_when_retired += [self.on_disk(header) for header in headers]

    def on_disk(self, header: Header) -> bool:
        return any(header.block_id.hex() in path.name for path in self.spool.folder.iterdir())

    def run_until_empty(self) -> None:
        self.shipper.start()
        while len(self.spool):
            self.spool.wait_room(5.0)
        self.shipper.stop()
        assert self.shipper.failure is None


def test_blocks_go_in_order_and_leave_after_their_checkpoint(tmp_path: Path, sealed: Any) -> None:
    blocks = [sealed(number, b"line %d\n" % number) for number in range(1, 5)]
    with serving() as server:
        setting = Setting(tmp_path, server.url, blocks)
        setting.run_until_empty()
    assert server.received == [data for _, _, data in blocks]
    assert setting.retired == [1, 2, 3, 4]
    assert setting.in_spool_when_retired == [True] * 4


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_busy_gateway_is_tried_again(tmp_path: Path, sealed: Any, status: int) -> None:
    with serving((status, {"retry-after": "0"}), (status, {})) as server:
        setting = Setting(tmp_path, server.url, [sealed(1)])
        setting.run_until_empty()
    assert len(server.received) == 3
    assert setting.retired == [1]
    assert setting.counters.get("retries") == 2
    assert setting.counters.troubles() == {}


def test_what_may_have_been_sent_before_is_said_to_be(tmp_path: Path, sealed: Any) -> None:
    with serving((429, {}), (LOST, {}), (503, {})) as server:
        setting = Setting(tmp_path, server.url, [])
        setting.shipper.start()
        setting.spool.put([sealed(1), sealed(2)])
        while len(setting.spool):
            setting.spool.wait_room(5.0)
        setting.shipper.stop()
    assert server.again == [False, False, True, True, False]  # one that was busy has not taken it
    with serving() as server:
        setting = Setting(tmp_path, server.url, [sealed(3), sealed(4)])  # of a run before
        setting.run_until_empty()
    assert server.again == [True, False]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refused_block_is_a_dead_letter_with_its_reason(tmp_path: Path, sealed: Any, status: int) -> None:
    with serving((status, {})) as server:
        setting = Setting(tmp_path, server.url, [sealed(1), sealed(2)])
        setting.run_until_empty()
    assert len(setting.dead_letters) == 1
    [reason] = (tmp_path / "dead").glob("*.reason")
    assert "because" in reason.read_text()
    assert setting.retired == [1, 2]
    assert (setting.counters.get("blocks_refused"), setting.counters.get("lines_refused")) == (1, 1)
    assert "because" in setting.counters.news()[0]


def test_block_that_rotted_in_the_spool_is_not_sent(tmp_path: Path, sealed: Any) -> None:
    with serving() as server:
        setting = Setting(tmp_path, server.url, [sealed(1), sealed(2)])
        path = setting.spool.folder / setting.spool.pending()[0].name
        path.write_bytes(path.read_bytes()[:-1])
        setting.run_until_empty()
    assert len(server.received) == 1
    assert setting.counters.get("blocks_damaged") == 1
    assert len(setting.dead_letters) == 1


@pytest.mark.parametrize(
    ("status", "headers", "verdict", "after"),
    [
        (200, {}, Verdict.TAKEN, 0.0),
        (429, {"retry-after": "7"}, Verdict.LATER, 7.0),
        (503, {"retry-after": "tomorrow"}, Verdict.LATER, 1.0),
        (404, {}, Verdict.BLOCKED, 0.0),
        (401, {}, Verdict.BLOCKED, 0.0),
        (422, {}, Verdict.REFUSED, 0.0),
    ],
)
def test_answers(status: int, headers: dict[str, str], verdict: Verdict, after: float) -> None:
    with serving((status, headers)) as server:
        gateway = Gateway(server.url)
        answer = gateway.send(b"block")
        gateway.close()
    assert (answer.verdict, answer.retry_after) == (verdict, after)


def test_gateway_that_is_away_is_later() -> None:
    with serving() as server:
        url = server.url
    gateway = Gateway(url)
    answer = gateway.send(b"block")
    gateway.close()
    assert answer.verdict is Verdict.LATER
    assert url in answer.reason


def test_connection_that_was_closed_between_two_blocks_is_opened_again() -> None:
    with serving((200, {"connection": "close"}), (200, {}), (200, {"connection": "close"})) as server:
        gateway = Gateway(server.url)
        answers = [gateway.send(b"block %d" % number).verdict for number in range(4)]
        gateway.close()
    assert answers == [Verdict.TAKEN] * 4
    assert server.received == [b"block %d" % number for number in range(4)]


@contextmanager
def one_connection_each(*answers: bytes) -> Iterator[str]:
    """A server that reads a request's head, sends one of `answers`, and closes: it never takes the body."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answer in answers:
                connection, _ = listening.accept()
                with connection:
                    while b"\r\n\r\n" not in connection.recv(1024, socket.MSG_PEEK):
                        pass
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    with contextlib.suppress(ConnectionError):
                        while connection.recv(1 << 20):
                            pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def test_what_a_server_closes_without_an_answer_is_sent_again_at_once_on_a_kept_connection_only() -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"  # says nothing of closing, and closes
    with one_connection_each(good, good, b"") as url:
        gateway = Gateway(url)
        verdicts = [gateway.send(b"x" * 100).verdict for _ in range(2)]
        gateway.close()
        assert verdicts == [Verdict.TAKEN] * 2
        assert gateway.send(b"x").verdict is Verdict.LATER


def test_answer_that_comes_before_a_block_was_read_counts() -> None:
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    with one_connection_each(early) as url:
        gateway = Gateway(url)
        assert gateway.send(bytes(16 << 20)).verdict is Verdict.REFUSED
        gateway.close()


def test_password_of_an_address_is_sent_and_never_shown() -> None:
    with serving() as server:
        url = server.url
        gateway = Gateway(url.replace("http://", "http://ann:s3cret@"))
        assert gateway.send(b"block").verdict is Verdict.TAKEN
        gateway.close()
    answer = gateway.send(b"block")
    gateway.close()
    assert server.authorization == ["Basic YW5uOnMzY3JldA=="]
    assert url in answer.reason
    assert "s3cret" not in answer.reason


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port", "http://[::1", "host:80"])
def test_address_that_is_none_says_how_one_looks(url: str) -> None:
    with pytest.raises(ConfigError, match="address of a gateway"):
        Gateway(url)


def test_backoff_grows_stays_bounded_and_differs() -> None:
    backoff = Backoff()
    waits = [backoff.next() for _ in range(12)]
    assert waits[0] <= FIRST_SECONDS
    assert LONGEST_SECONDS / 2 <= waits[-1] <= LONGEST_SECONDS
    assert len(set(waits)) == len(waits)
    assert backoff.next(at_least=60) >= 60
    backoff.reset()
    assert backoff.next() <= FIRST_SECONDS
