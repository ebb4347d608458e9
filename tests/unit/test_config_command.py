"""`neve config`: what is checked, what is printed, and that the page about it is right."""

import tomllib
from pathlib import Path

import pytest

import neve
from neve_config import reference
from neve_serve import read_config
from storage.access.config import INSECURE

ROOT = Path(__file__).parents[2]
CONFIG = """
data = "{folder}"
listen = "0.0.0.0:8780"
clickhouse = "clickhouse://me:planted1@db.example"
[auth]
enabled = true
[auth.oidc]
issuer = "https://login.example"
client_id = "neve"
client_secret = "planted2"
[auth.certificates."agent.one"]
namespaces = ["shop"]
[cold.catalog]
type = "sql"
uri = "postgresql://me:planted3@db/neve"
"s3.secret-access-key" = "planted4"
[cold.services]
"a.b" = 7
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "neve.toml"
    path.write_text(CONFIG.replace("{folder}", str(tmp_path)))
    return path


def test_the_page_lists_every_key() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    table = page[page.index("| key | kind") :]
    assert table.strip() == "\n".join(reference()), "make it anew: neve config reference"


def test_the_sample_is_right() -> None:
    assert read_config(ROOT / "deploy" / "neve.toml").auth.enabled


def test_what_is_printed_is_the_configuration_without_its_secrets(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert neve.main(["config", "print", "--config", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "planted" not in printed
    said = "\n".join(line.removeprefix("# ") for line in printed.splitlines())
    again = tomllib.loads(said)
    assert again["clickhouse"] == {"url": "…", "search": "", "ingest": "", "backup_disk": ""}
    assert again["auth"]["certificates"]["agent.one"]["namespaces"] == ["shop"]
    assert again["cold"]["services"] == {"a.b": 7}
    assert again["cold"]["catalog"] == {"type": "sql", "uri": "…", "s3.secret-access-key": "…"}
    assert again["http"]["idle_seconds"] == 75


def test_the_file_of_this_folder_is_found(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(file.parent)
    assert neve.main(["config", "check"]) == 0
    assert capsys.readouterr().out == "neve.toml: right\n"


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("lisen = 'x:1'", "'lisen'"),
        ("[auth]\nenable = true", "'auth.enable'"),
        ("listen = '0.0.0.0:8780'", "without authentication"),
        ("listen = '[::]:8780'", "without authentication"),
        ("listen = 'neve.example:8780'", "without authentication"),
        ("listen = '0.0.0.0:8780'\n[auth]\ninsecure = 'yes'", "'auth.insecure'"),
        ("[tls]\ncertificate = '/nowhere'", "with one file alone"),
        ("[tls]\ncertificate = '/nowhere'\nkey = '/nowhere'", "cannot use certificate /nowhere"),
        ("[cold]\nkeep_days = -1", "'cold.keep_days'"),
        ("clickhouse = 'http://x'", "cannot read clickhouse url"),
        ("listen = ", "cannot read configuration"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, said: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(said)
    for command in (["config", "check"], ["config", "print"], ["serve"]):
        assert neve.main([*command, "--config", str(file), "--data", str(tmp_path / "data")]) == 2
        out, err = capsys.readouterr()
        assert not out
        assert complaint in err
        assert err.count("\n") == 1


def test_others_may_be_let_in_by_plain_words(tmp_path: Path) -> None:
    file = tmp_path / "open.toml"
    file.write_text(f"listen = '0.0.0.0:8780'\n[auth]\ninsecure = '{INSECURE}'")
    assert neve.main(["config", "check", "--config", str(file)]) == 0
