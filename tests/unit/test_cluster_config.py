"""`[cluster.shards]`: several ClickHouse servers in the configuration."""

from pathlib import Path

import pytest

import neve
from neve_serve import read_config
from storage.errors import ConfigError

TWO = """
[cluster.shards]
a = "clickhouse://me:planted@one.example:9000"
b = "clickhouse://me:planted@two.example:9000"
"""


def written(folder: Path, said: str) -> Path:
    file = folder / "neve.toml"
    file.write_text(said)
    return file


def test_shards_are_numbered_in_their_order(tmp_path: Path) -> None:
    first, second = read_config(written(tmp_path, TWO)).shards()
    assert (first.name, first.number, first.owner.host) == ("a", 1, "one.example")
    assert (second.name, second.number, second.owner.host) == ("b", 2, "two.example")
    assert second.owner.password == "planted"


def test_a_shard_may_be_a_table_with_users_and_a_secret_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONE", "clickhouse://me:planted@one.example")
    said = '[cluster.shards.a]\nurl = "env:ONE"\nsearch = "clickhouse://reader:r@one.example"\nweight = 3\n'
    [shard] = read_config(written(tmp_path, said)).shards()
    assert shard.search is not None
    assert (shard.owner.user, shard.search.user, shard.ingest, shard.weight) == ("me", "reader", None, 3)


def test_a_server_alone_is_a_cluster_of_one_without_a_name(tmp_path: Path) -> None:
    [shard] = read_config(written(tmp_path, 'clickhouse = "clickhouse://me@one.example"')).shards()
    assert (shard.name, shard.number) == ("", 1)
    assert read_config(written(tmp_path, "")).shards() == ()  # the embedded one


def test_what_is_printed_has_the_shards_and_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert neve.main(["config", "print", "--config", str(written(tmp_path, TWO))]) == 0
    printed = capsys.readouterr().out
    assert "[cluster.shards.a]" in printed
    assert "[cluster.shards.b]" in printed
    assert "planted" not in printed


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ('clickhouse = "clickhouse://x"' + TWO, "'clickhouse' and 'cluster.shards' at once"),
        (TWO.replace("two.example", "one.example"), "shards a and b: both are at one.example:9000"),
        (TWO.replace("me:planted@two", "me:other@two"), "shards a and b: their users differ"),
        (TWO.replace("\nb =", "\nB ="), "name of shard: 'B'"),
        (TWO.replace("\nb =", "\na ="), "Cannot overwrite a value"),
        ("[cluster.shards.a]\nweight = 2", "'cluster.shards.a': it has no url"),
        ('[cluster.shards.a]\nurl = "clickhouse://x"\nweight = -1', "'cluster.shards.a.weight'"),
        ('[cluster.shards.a]\nurl = "clickhouse://x"\nweight = 0', "all are 0"),
        ('[cluster.shards.a]\nurl = "clickhouse://x"\nsearch = "clickhouse://y"', "name several servers"),
        ("[cluster]\nshards = 3", "'cluster.shards'"),
        ("[cluster]\nshard = 3", "'cluster.shard'"),
        ("cluster = 3", "'cluster'"),
        ("[cluster]\ngateways = ['one:8780']", "'cluster.gateways': 'one:8780'"),
        (
            f"[cluster]\ngateways = {['http://one:1'] * 65}",
            "65 addresses in cluster.gateways; use at most 64",
        ),
        (
            "[cluster]\ngateways = ['http://one:8780']\n[auth]\nenabled = true",
            "cluster.gateways: they would not know one another",
        ),
    ],
)
def test_what_cannot_work_is_said(tmp_path: Path, said: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_config(written(tmp_path, said)).check()
    assert complaint in str(refused.value)
    assert "planted" not in str(refused.value)
