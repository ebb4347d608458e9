"""Blocks that ClickHouse refuses: kept with the reason, tried again once the reason is gone, stored once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import neve
from ingest.app import GatewaySettings, create_app
from ingest.committer import Submission
from ingest.spool import Spool
from storage.ageing import Ager
from storage.cold import ColdTier
from storage.cold_config import ColdConfig
from storage.deletions import Deletion
from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.matching import Matching
from storage.native import frames
from storage.native.block import SealedBlock, pack
from storage.published import tier_state
from storage.standing import hidden_by
from tests.listening import Listening

Make = Callable[..., SealedBlock]


@pytest.fixture
def settings(tmp_path: Path, clickhouse: EmbeddedServer, namespace: str) -> GatewaySettings:
    folder = tmp_path / "data" / "gateway"
    return GatewaySettings(folder, clickhouse.config, namespaces=(namespace,), create_namespaces=False)


@pytest.fixture
def client(settings: GatewaySettings) -> Iterator[Listening]:
    with Listening(create_app(settings)) as one:
        yield one


@pytest.fixture
def early(make_block: Make, plain_columns: Any) -> bytes:
    """A block with a column that the table has not got yet, as a newer agent sends it."""
    columns = plain_columns([{"message": f"line {number}"} for number in range(5)])
    columns.encoded.insert(8, ("colour", "String", b"\x03red" * 5))
    block = make_block(columns)
    return pack(block.header, frames.split(block.frames))


def id_of(block: bytes) -> str:
    return SealedBlock.parse(block).header.block_id.hex()


def refused(client: Listening, block: bytes) -> None:
    """Send a block and wait until it is among the dead letters."""
    assert client.post("/api/v1/blocks", content=block).json()["status"] == "accepted"
    wait_empty(client)


def wait_empty(client: Listening) -> None:
    gateway = client.app.state.gateway
    spool: Spool = gateway.spool
    while len(spool) and gateway.inserter.failure is None:
        spool.wait_room(0.2)
    assert gateway.inserter.failure is None


def mend(hot: Hot, namespace: str) -> None:
    hot.execute(f"ALTER TABLE neve_{namespace}.events ADD COLUMN colour String")


def stored(hot: Hot, namespace: str) -> int:
    sql = f"SELECT count() AS n, uniqExact(block_id, row) AS u FROM neve_{namespace}.events"
    [(rows, different)] = hot.query(sql).rows
    assert rows == different
    return int(rows)


def test_refused_block_is_listed_and_not_taken_again(
    client: Listening, early: bytes, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(client, early)
    [letter] = client.get("/gateway/deadletter").json()["dead_letters"]
    assert (letter["id"], letter["rows"], letter["namespace"]) == (id_of(early), 5, namespace)
    assert "colour" in letter["reason"]
    assert client.post("/api/v1/blocks", content=early).json()["status"] == "duplicate"
    assert neve.main(["deadletter", "list", "--to", str(client.base_url)]) == 0
    said = capsys.readouterr().out
    assert id_of(early) in said
    assert "5 rows" in said
    assert "colour" in said


def test_replay_before_the_cause_is_gone_is_refused_again(
    client: Listening, early: bytes, capsys: pytest.CaptureFixture[str], hot: Hot, namespace: str
) -> None:
    refused(client, early)
    assert neve.main(["deadletter", "replay", id_of(early)[:8], "--to", str(client.base_url)]) == 1
    assert "refused: " in capsys.readouterr().out
    assert len(client.get("/gateway/deadletter").json()["dead_letters"]) == 1
    assert stored(hot, namespace) == 0


def test_replayed_block_is_stored_once(
    client: Listening, early: bytes, capsys: pytest.CaptureFixture[str], hot: Hot, namespace: str
) -> None:
    refused(client, early)
    mend(hot, namespace)
    assert neve.main(["deadletter", "replay", "--all", "--to", str(client.base_url)]) == 0
    assert f"{id_of(early)}  5 rows  stored" in capsys.readouterr().out
    assert client.get("/gateway/deadletter").json()["dead_letters"] == []
    assert client.post("/api/v1/blocks", content=early).json()["status"] == "duplicate"
    wait_empty(client)
    assert stored(hot, namespace) == 5
    assert neve.main(["deadletter", "replay", "--all", "--to", str(client.base_url)]) == 0
    assert capsys.readouterr().out == "no dead letters\n"


def test_a_deletion_reaches_what_is_sent_again(
    client: Listening, early: bytes, hot: Hot, namespace: str, clickhouse: EmbeddedServer
) -> None:
    """It is hidden as soon as it is stored, and then removed."""
    refused(client, early)
    ager = Ager(hot, clickhouse.config, ColdTier(ColdConfig(clickhouse.lake / namespace)))
    what = Matching("endsWith(message, {p0:String})", {"p0": "3"})
    ager.ask_deletion(Deletion(namespace, "3", what, until=hot.epochs.last(namespace)[0]))
    ager.delete_pending(namespace)
    mend(hot, namespace)
    [one] = client.post("/gateway/deadletter/replay", json={"all": True}).json()["replayed"]
    assert one["state"] == "stored"
    assert stored(hot, namespace) == 5
    hidden = hidden_by(tier_state(hot, ager.cold.config, namespace).standing)
    assert hidden is not None
    seen = f"SELECT message AS m FROM neve_{namespace}.events WHERE NOT ({hidden.among} AND {hidden.where}) ORDER BY m"
    left = ["line 0", "line 1", "line 2", "line 4"]
    assert hot.scalars(seen, hidden.values) == left
    ager.tend_deletions(namespace)
    assert hot.scalars(f"SELECT message AS m FROM neve_{namespace}.events ORDER BY m") == left


def test_replay_that_was_killed_before_its_end_is_harmless(
    client: Listening, early: bytes, hot: Hot, namespace: str, tmp_path: Path
) -> None:
    """The block is in ClickHouse, its file still among the dead letters; and the ledger has forgotten it."""
    refused(client, early)
    mend(hot, namespace)
    folder = client.app.state.gateway.dead_letters.folder
    shutil.copytree(folder, tmp_path / "kept")
    asked = {"all": True}
    [one] = client.post("/gateway/deadletter/replay", json=asked).json()["replayed"]
    assert one["state"] == "stored"
    for ledger_forgets in (False, True):
        shutil.copytree(tmp_path / "kept", folder, dirs_exist_ok=True)
        if ledger_forgets:
            client.app.state.gateway.ledger.prune(now=1e12)
        [one] = client.post("/gateway/deadletter/replay", json=asked).json()["replayed"]
        assert one["state"] == "stored"
        assert len(client.app.state.gateway.dead_letters) == 0
    assert stored(hot, namespace) == 5


def test_replayed_block_outlives_a_restart(
    settings: GatewaySettings, early: bytes, hot: Hot, namespace: str
) -> None:
    with Listening(create_app(settings)) as client:
        refused(client, early)
        client.app.state.gateway.inserter.stop()
        asked = {"all": True, "seconds": 0}
        [one] = client.post("/gateway/deadletter/replay", json=asked).json()["replayed"]
        assert one["state"] == "waiting"
    mend(hot, namespace)
    with Listening(create_app(settings)) as client:
        wait_empty(client)
        assert client.post("/api/v1/blocks", content=early).json()["status"] == "duplicate"
    assert stored(hot, namespace) == 5


def test_server_that_does_not_run(
    settings: GatewaySettings, early: bytes, hot: Hot, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(settings.data_dir.parent)
    with Listening(create_app(settings)) as client:
        refused(client, early)
        assert neve.main(["deadletter", "replay", "--all", "--data", data]) == 1
        assert "another process holds it" in capsys.readouterr().err
    assert neve.main(["deadletter", "list", "--data", data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == id_of(early)
    mend(hot, namespace)
    assert neve.main(["deadletter", "replay", "--all", "--data", data]) == 0
    assert "waiting" in capsys.readouterr().out
    with Listening(create_app(settings)) as client:
        wait_empty(client)
    assert stored(hot, namespace) == 5


def test_dead_letter_of_an_agent_is_sent_to_a_gateway(
    client: Listening,
    early: bytes,
    hot: Hot,
    namespace: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = tmp_path / "agent"
    spool = Spool(state / "spool")
    [entry] = spool.put([(1, bytes.fromhex(id_of(early)), early)])
    (state / "deadletter").mkdir()
    spool.move(entry, state / "deadletter")
    mend(hot, namespace)
    arguments = ["deadletter", "replay", "--all", "--state", str(state), "--to", str(client.base_url)]
    assert neve.main(arguments) == 0
    assert "sent" in capsys.readouterr().out
    wait_empty(client)
    assert stored(hot, namespace) == 5
    assert list((state / "deadletter").iterdir()) == []


def test_damaged_dead_letter_is_kept(client: Listening, early: bytes) -> None:
    refused(client, early)
    [path] = client.app.state.gateway.dead_letters.folder.glob("*.block")
    path.write_bytes(path.read_bytes()[:-1])
    [one] = client.post("/gateway/deadletter/replay", json={"all": True}).json()["replayed"]
    assert one["state"] == "kept"
    assert path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "cannot replay: no ids; give some, or --all"),
        (["--all", "abcdef"], "cannot replay: ids and --all; give one of them"),
        (["abcdef"], "cannot find dead letter: abcdef"),
        (["--all", "--state", "/nowhere"], "cannot find folder: /nowhere"),
        (["--all", "--state", "/tmp", "--data", "/tmp"], "cannot use --state and --data at once"),
    ],
)
def test_wrong_use_is_one_line(
    client: Listening, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert neve.main(["deadletter", "replay", *arguments, "--to", str(client.base_url)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_what_was_accepted_for_a_namespace_that_clickhouse_has_lost_holds_up_nobody(
    client: Listening, make_block: Make, hot: Hot, namespace: str
) -> None:
    gateway, lost = client.app.state.gateway, f"{namespace}_lost"
    for number, where in enumerate((lost, namespace)):  # both were there when their blocks were accepted
        block = make_block([{"message": f"line {number}"}])
        data = pack(replace(block.header, namespace=where), frames.split(block.frames))
        gateway.committer.submit(Submission(((block.header.block_id, data),))).result()
    assert gateway.spool.wait_for(lambda: not len(gateway.spool), 240), gateway.status()["troubles"]
    assert (stored(hot, lost), stored(hot, namespace)) == (1, 1)
