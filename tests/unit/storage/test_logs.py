"""The processes' own logs: read by Neve as events, rotated, and without a secret."""

import json
import logging
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lexer
from storage.errors import ConfigError
from storage.logs import JsonLines, LogConfig, Text, fields_of, message_of, secrets_of
from storage.sections import Secret

WRITER = """
import logging, os, sys, threading, warnings
from pathlib import Path
from storage.logs import LogConfig, fields_of, set_up
set_up("ager", LogConfig(bytes=4096, files=2), Path(sys.argv[1]), ["hush-hush"])
log = logging.getLogger("neve.ager")
for number in range(100):
    log.info("line %d of hush-hush", number, extra=fields_of(namespace="shop", nothing=None))
log.debug("not said")
warnings.warn("look out")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
os.write(2, b"what a library prints\\n")
raise ValueError("the end")
"""


def record(message: str, **values: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "levelno": logging.WARNING, "name": "neve.test"})
    made.__dict__.update(fields_of(**values))
    return made


def test_a_process_writes_json_lines_into_files_that_are_rotated(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "ager.log"
    done = subprocess.run([sys.executable, "-c", WRITER, str(path)], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    assert sorted(one.name for one in path.parent.iterdir()) == ["ager.log", "ager.log.1", "ager.log.2"]
    assert all(one.stat().st_size <= 4096 for one in path.parent.glob("ager.log.*"))
    lines = [
        line for n in (".2", ".1", "") for line in path.with_name(f"ager.log{n}").read_text().splitlines()
    ]
    assert "hush-hush" not in "".join(lines)
    printed = lines.index("what a library prints")
    said = [json.loads(line) for line in lines[:printed] + lines[printed + 1 :]]
    numbers = [one["msg"] for one in said if one["logger"] == "neve.ager"]
    assert numbers == [f"line {n} of …" for n in range(100 - len(numbers), 100)]
    assert {one["service"] for one in said} == {"neve-ager"}
    assert said[0]["namespace"] == "shop"
    assert "nothing" not in said[0]
    assert [one["level"] for one in said[-3:]] == ["warn", "fatal", "fatal"]
    assert "ZeroDivisionError" in said[-2]["exception"]
    assert said[-1]["exception"].endswith("ValueError: the end")


def test_neve_reads_its_own_lines_as_events() -> None:
    made = JsonLines("neve-ager").format(record("cannot do it: café", namespace="shop", epoch=7))
    fields = {name.decode(): value.decode() for name, value in lexer.Columns().fields(made.encode())}
    assert [lexer.role_of(name) for name in ("time", "level", "service", "msg")] == [
        "time",
        "level",
        "service",
        "message",
    ]
    assert fields["msg"] == "cannot do it: café"
    assert (fields["level"], fields["service"], fields["namespace"]) == ("warn", "neve-ager", "shop")
    assert lexer.timestamp(fields["time"].encode(), 0) is not None


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.none(), max_size=3))
def test_whatever_is_said_is_one_line_of_json(message: str, values: dict[str, object]) -> None:
    made = logging.makeLogRecord({"msg": "%s", "args": (message,), "name": "neve"})
    made.__dict__.update(fields_of(**{f"x{name}": value for name, value in values.items()}))
    line = JsonLines("neve-api").format(made)
    assert "\n" not in line
    assert json.loads(line)["msg"] == message.strip()
    assert message_of(line) == message.strip()
    assert "\n" not in Text("neve-api").format(made)


def test_text_is_for_people() -> None:
    line = Text("neve-ager", ["hush-hush"]).format(record("it is hush-hush", namespace="shop"))
    assert line.endswith(" warn neve-ager it is … namespace=shop")
    assert message_of("neve: cannot listen") == "cannot listen"


@dataclass
class Config:
    url: Secret = Secret("clickhouse://me:p%40ssword@host:9000")  # noqa: RUF009 - it is a text
    plain: str = "plain words"
    inner: dict[str, object] = field(default_factory=lambda: {"a": {"b": Secret("token-of-a")}})


def test_every_secret_of_a_configuration_is_known() -> None:
    assert set(secrets_of(Config())) == {
        "clickhouse://me:p%40ssword@host:9000",
        "p%40ssword",
        "p@ssword",
        "token-of-a",
    }


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"level": "loud"}, "cannot use log_level: 'loud'; use one of debug, info, warn, error"),
        ({"format": "xml"}, "cannot use log_format: 'xml'; use one of json, text"),
        ({"bytes": 1}, "cannot use log_bytes = 1"),
        ({"files": -1}, "log_files = -1"),
    ],
)
def test_what_cannot_be_is_refused(said: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint.replace("(", "\\(")):
        LogConfig(**said)  # type: ignore[arg-type]
