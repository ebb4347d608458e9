"""The log of a process of ours: JSON lines that Neve reads as events, or text for people, in files of a size.

    {"time":"2026-01-31T10:00:00.123456Z","level":"warn","service":"neve-ager","msg":"…","namespace":"shop"}

The file is the process's standard error too, which the supervisor opened: when it has grown, both go to a new one. So
what a library or the interpreter prints is in it as well. Secrets of the configuration are in no line.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from storage.errors import ConfigError
from storage.sections import Secret

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
FORMATS = ("json", "text")
NAMES = {number: name for name, number in LEVELS.items()} | {logging.CRITICAL: "fatal"}
FIELDS = "neve_fields"
SHORTEST_SECRET = 4
SMALLEST = 4096  # bytes of a file
HIDDEN = "…"
# They say at length what we say in a line.
QUIET = ("uvicorn", "asyncio", "httpx", "httpcore", "watchfiles", "websockets", "opentelemetry")


@dataclass(frozen=True)
class LogConfig:
    """What the server's processes write of themselves: the keys `log_…` of the configuration."""

    level: str = "info"
    format: str = "json"
    bytes: int = 20 << 20
    files: int = 3

    def __post_init__(self) -> None:
        for name, value, known in (("level", self.level, LEVELS), ("format", self.format, FORMATS)):
            if value not in known:
                raise ConfigError(f"cannot use log_{name}: {value!r}", f"use one of {', '.join(known)}")
        if self.bytes < SMALLEST or self.files < 0:
            what = f"cannot use log_bytes = {self.bytes}, log_files = {self.files}"
            raise ConfigError(what, f"give at least {SMALLEST} bytes, and no less than 0 files")


def set_up(role: str, config: LogConfig, path: Path | None = None, secrets: Iterable[str] = ()) -> None:
    """Let all that this process says go to its log. `path`: the file that its standard error is; else that alone."""
    service = f"neve-{role}"
    form: logging.Formatter = (
        JsonLines(service, secrets) if config.format == "json" else Text(service, secrets)
    )
    handler = (
        Rotating(path, config.bytes, config.files) if path is not None else logging.StreamHandler(sys.stderr)
    )
    handler.setFormatter(form)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(LEVELS[config.level])
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, LEVELS[config.level]))
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def fields_of(**values: Any) -> dict[str, Any]:
    """`log.info("…", extra=fields_of(namespace="shop"))`: fields beside the message, none that are empty."""
    return {FIELDS: {name: value for name, value in values.items() if value not in (None, "")}}


def message_of(line: str) -> str:
    """What a line of a log says, for people."""
    try:
        said = json.loads(line)
        return str(said["msg"])
    except (ValueError, KeyError, TypeError):
        return line.removeprefix("neve: ")


def secrets_of(config: Any) -> Iterator[str]:
    """Every secret in a configuration, and the passwords that stand in its addresses."""
    if isinstance(config, Secret):
        yield str(config)
        with suppress(ValueError):
            if password := urlsplit(config).password:
                yield from (password, unquote(password))
    elif is_dataclass(config):
        for one in fields(config):
            yield from secrets_of(getattr(config, one.name))
    elif isinstance(config, Mapping):
        for value in config.values():
            yield from secrets_of(value)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, service: str, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._service = service
        self._secrets = _longest_first(secrets)

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self._said(record), ensure_ascii=False, separators=(",", ":"))

    def _said(self, record: logging.LogRecord) -> dict[str, Any]:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z"),
            "level": NAMES.get(record.levelno, "info"),
            "service": self._service,
            "msg": record.getMessage().strip(),
            "logger": record.name,
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            said["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        return {name: self._scrubbed(value) for name, value in said.items()}

    def _scrubbed(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        for secret in self._secrets:
            value = value.replace(secret, HIDDEN)
        return value


class Text(JsonLines):
    """A line for people; an exception is on more."""

    def format(self, record: logging.LogRecord) -> str:
        said = self._said(record)
        head = " ".join(str(said.pop(name)) for name in ("time", "level", "service", "msg"))
        exception = said.pop("exception", "")
        more = "".join(f" {name}={value}" for name, value in said.items() if name != "logger")
        return head.replace("\n", " ") + more.replace("\n", " ") + (f"\n{exception}" if exception else "")


class Rotating(logging.Handler):
    """Writes to standard output's and error's file, and lets both go on in a new one when it has grown."""

    def __init__(self, path: Path, size: int, files: int) -> None:
        super().__init__()
        self._path = path
        self._size = size
        self._files = files
        self._open()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
            if os.fstat(sys.stderr.fileno()).st_size + len(line) > self._size:
                self._rotate()
            os.write(sys.stderr.fileno(), line)
        except OSError:
            self.handleError(record)  # a full disk: the process goes on

    def _rotate(self) -> None:
        names = [
            self._path,
            *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._files + 1)),
        ]
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            with suppress(FileNotFoundError):
                newer.replace(older)
        if not self._files:
            self._path.unlink(missing_ok=True)
        self._open()

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(handle, stream.fileno())
        os.close(handle)


def _uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logging.getLogger("neve").critical("fault of our own: %s", kind.__name__, exc_info=(kind, error, trace))


def _longest_first(secrets: Iterable[str]) -> list[str]:
    return sorted({one for one in secrets if len(one) >= SHORTEST_SECRET}, key=len, reverse=True)
