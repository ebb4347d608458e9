"""Two gateways behind one address: a block that was sent again is stored once, whichever of them it reaches."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import neve_hold
from bench.server import free_port
from ingest.app import GatewaySettings, create_app
from ingest.destination import AGAIN_HEADER
from ingest.peers import Peers
from ingest.spool import Spool
from neve_hold import Gateway, Held, others_of, wait_stored
from storage.access.among import RESTS, word_for
from storage.access.carried import Carried
from storage.access.config import AuthConfig
from storage.embedded import EmbeddedServer
from storage.errors import BackupFailed, BackupRefused
from storage.hot import Hot
from storage.native import frames
from storage.native.block import SealedBlock, pack
from storage.sections import Secret
from tests.listening import Listening

Make = Callable[..., SealedBlock]
AGAIN = {AGAIN_HEADER: "1"}


class Pair:
    """Two gateways over one ClickHouse, each of which can be away."""

    def __init__(self, folder: Path, clickhouse: EmbeddedServer, namespace: str, ports: list[int]) -> None:
        urls = tuple(f"http://127.0.0.1:{port}" for port in ports)
        self.ports = ports
        self.settings = [
            GatewaySettings(
                folder / f"gateway-{number}", clickhouse.config, namespaces=(namespace,), gateways=urls
            )
            for number in (1, 2)
        ]
        self.running: dict[int, Listening] = {}

    def start(self, number: int) -> Listening:
        one = Listening(create_app(self.settings[number - 1]), self.ports[number - 1])
        self.running[number] = one.__enter__()
        return one

    def stop(self, number: int) -> None:
        self.running.pop(number).__exit__(None, None, None)


@pytest.fixture
def pair(tmp_path: Path, clickhouse: EmbeddedServer, namespace: str) -> Iterator[Pair]:
    made = Pair(tmp_path, clickhouse, namespace, [free_port() for _ in range(2)])
    made.start(1)
    made.start(2)
    yield made
    for number in list(made.running):
        made.stop(number)


def wait_inserted(client: Listening) -> None:
    spool: Spool = client.app.state.gateway.spool
    while len(spool):
        spool.wait_room(0.2)


def whole(block: SealedBlock) -> bytes:
    return pack(block.header, frames.split(block.frames))


def count(hot: Hot, namespace: str) -> int:
    return int(hot.scalars(f"SELECT count() AS n FROM neve_{namespace}.events")[0])


def test_a_block_that_another_gateway_has_is_a_repetition(
    pair: Pair, hot: Hot, namespace: str, make_block: Make
) -> None:
    data = whole(make_block([{"message": "once"}]))
    first, second = pair.running[1], pair.running[2]
    assert first.post("/api/v1/blocks", content=data).json()["status"] == "accepted"
    assert second.post("/api/v1/blocks", content=data, headers=AGAIN).json()["status"] == "duplicate"
    wait_inserted(first)
    assert second.post("/api/v1/blocks", content=data, headers=AGAIN).json()["status"] == "duplicate"
    fresh = whole(make_block([{"message": "another"}]))
    assert second.post("/api/v1/blocks", content=fresh, headers=AGAIN).json()["status"] == "accepted"
    wait_inserted(second)
    assert count(hot, namespace) == 2


def test_while_a_gateway_cannot_be_asked_nobody_can_tell(
    pair: Pair, hot: Hot, namespace: str, make_block: Make
) -> None:
    data = whole(make_block([{"message": "once"}]))
    pair.stop(1)
    second = pair.running[2]
    answer = second.post("/api/v1/blocks", content=data, headers=AGAIN)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "cannot be asked" in answer.json()["error"]["message"]
    unsent = whole(make_block([{"message": "never sent before"}]))
    assert second.post("/api/v1/blocks", content=unsent).json()["status"] == "accepted"
    pair.start(1)
    assert second.post("/api/v1/blocks", content=data, headers=AGAIN).json()["status"] == "accepted"
    wait_inserted(second)
    assert count(hot, namespace) == 2


def test_what_was_given_up_and_arrives_late_is_not_taken(
    pair: Pair, hot: Hot, namespace: str, make_block: Make
) -> None:
    data = whole(make_block([{"message": "once"}]))
    first, second = pair.running[1], pair.running[2]
    assert second.post("/api/v1/blocks", content=data, headers=AGAIN).json()["status"] == "accepted"
    # The first try of its sender, which was on its way to the first gateway all the time.
    late = first.post("/api/v1/blocks", content=data)
    assert (late.status_code, late.json()["error"]["code"]) == (503, "block_unsettled")
    assert first.post("/api/v1/blocks", content=data, headers=AGAIN).json()["status"] == "duplicate"
    wait_inserted(second)
    assert count(hot, namespace) == 1


def test_of_two_that_ask_one_another_at_once_neither_takes_it() -> None:
    known: set[bytes] = set()
    peers = [Peers((), name, b"word", known.__contains__, Carried()) for name in ("one", "two")]
    block = bytes(16)
    for one in peers:
        one.begin(block, again=True)
    assert peers[0].give_up(block, by="two") == {"known": False, "busy": True}
    assert peers[1].give_up(block, by="one") == {"known": False, "busy": True}
    for one in peers:
        one.end(block)
    assert peers[0].give_up(block, by="two") == {"known": False, "busy": False}
    assert peers[0].give_up(block, by="one") == {"known": False, "busy": False}  # that is itself
    known.add(block)
    assert peers[0].give_up(block, by="two") == {"known": True, "busy": False}


def test_gateways_know_one_another_by_a_word_that_only_they_can_make() -> None:
    one, two, other = (Peers((), "x", secret, bool, Carried()) for secret in (b"same", b"same", b"other"))
    assert one.is_word(two._word)
    assert not one.is_word(other._word)
    assert not one.is_word("same")


def test_a_backup_beside_another_gateway_lets_this_one_rest(
    pair: Pair, hot: Hot, namespace: str, make_block: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair.running[1], pair.running[2]
    names = [one.get("/gateway/status").json()["inserter"] for one in (first, second)]
    urls = pair.settings[0].gateways
    others = others_of(names[0], urls, "word")
    assert list(others) == names[1:], "its own address is known for what it is"
    other = others[names[1]]
    with other:
        began = time.monotonic()
        with Held(other):
            data = whole(make_block([{"message": "during"}]))
            assert second.post("/api/v1/blocks", content=data).json()["status"] == "accepted"
            assert other.waiting()[1].keys() == {1}
            wait_stored([other], began, without={1})
            assert count(hot, namespace) == 0, "it rests"
            monkeypatch.setattr(neve_hold, "WAIT_SECONDS", 0.0)
            with pytest.raises(
                BackupFailed, match=f"what gateway {urls[1]} took .* still waits in its spool"
            ):
                wait_stored([other], time.monotonic(), without=())
            monkeypatch.undo()
        wait_stored([other], time.monotonic(), without=())
        assert count(hot, namespace) == 1
    assert second.get("/gateway/peers/waiting").status_code == 403, "without a word"
    pair.stop(2)
    with pytest.raises(
        BackupRefused, match=f"cannot ask gateway {urls[1]}: ConnectError; what waits in its spool"
    ):
        others_of(names[0], urls, "word")


def test_with_authentication_only_servers_of_the_cluster_let_a_gateway_rest(pair: Pair) -> None:
    pair.stop(2)
    inside = Secret("planted")
    pair.settings[1] = replace(pair.settings[1], auth=AuthConfig(enabled=True, inside=inside))
    pair.start(2)
    url = pair.settings[0].gateways[1]
    with Gateway.at(url, word_for(RESTS, b"planted")) as other:
        assert other.waiting()[1] == {}
        with Held(other):
            pass
    for word in (word_for(RESTS, b"another"), "planted"):
        with (
            Gateway.at(url, word) as other,
            pytest.raises(BackupFailed, match="cannot use this path: it is for other servers"),
        ):
            other.waiting()
