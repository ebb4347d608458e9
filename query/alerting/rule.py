"""What an alert is, and what may be said of one: read from JSON, checked, shown and stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from query.errors import RequestInvalid
from query.times import SECOND, BadTime, parse_duration, to_rfc3339
from storage.documents import made_of
from storage.errors import Conflict
from storage.saved import new_id

COUNT, NEW_PATTERN, SILENCE = "count", "new_pattern", "silence"
KINDS = (COUNT, NEW_PATTERN, SILENCE)
OPS: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
NEVE, SLACK, ALERTMANAGER = "neve", "slack", "alertmanager"
FORMATS = (NEVE, SLACK, ALERTMANAGER)
KEEP, TELL = "keep", "alert"
MOST_WEBHOOKS = 5
MOST_LABELS = 20
HIDDEN = "…"
Said = dict[str, Any]


@dataclass(frozen=True)
class Webhook:
    """Where notifications go. The path of a url is as good as a password to many receivers, so it is never shown."""

    id: str
    url: str = field(repr=False)
    format: str = NEVE
    secret: str = field(default="", repr=False)

    @property
    def shown_url(self) -> str:
        """Its scheme, host and port alone."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}/{HIDDEN}"

    def to_json(self) -> Said:
        return {
            "id": self.id,
            "url": self.shown_url,
            "format": self.format,
            "signed": bool(self.secret),
        }


@dataclass(frozen=True)
class Alert:
    """One alert. Durations are as they were typed; times are nanoseconds since 1970, 0 for none."""

    namespace: str
    name: str = ""
    enabled: bool = True
    saved: str | None = None
    query: str = ""
    kind: str = COUNT
    op: str = ">"
    threshold: float = 0
    by: str | None = None
    window: str = "5m"
    every: str = "1m"
    delay: str = "30s"
    for_: str = "0s"
    lookback: str = "1d"
    repeat: str = "4h"
    on_unknown: str = KEEP
    tell_resolved: bool = True
    note: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    webhooks: tuple[Webhook, ...] = ()
    muted_until: int = 0
    mute_reason: str = ""
    owner: str = ""
    owner_kind: str = ""
    roles: tuple[str, ...] = ()  # of who made it: empty where all events exist for them
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    id: str = ""
    deleted: bool = False

    def nanos(self, name: str) -> int:
        """One of its durations."""
        return _nanos(getattr(self, name))

    @property
    def zero_holds(self) -> bool:
        """Is a group without an event in the window a case? Then the groups have to be known from before."""
        return self.kind == COUNT and OPS[self.op](0, self.threshold)

    def asks(self) -> list[Any]:
        """What its groups depend on: where this is another, what was known of them holds no more."""
        return [self.namespace, self.saved, self.query, self.kind, self.by, self.roles]

    def is_muted(self, now: int) -> bool:
        return now < self.muted_until

    def webhook(self, id_: str) -> Webhook | None:
        return next((one for one in self.webhooks if one.id == id_), None)

    def changed(self, asked: Mapping[str, Any]) -> Alert:
        """With what was asked for. RequestInvalid for what none can have, Conflict for a version that is old."""
        wanted: Said = {}
        for key, value in asked.items():
            if key == "version":
                if value != self.version:
                    raise Conflict(
                        f"cannot change alert {self.name!r}: it is another since", "look at it again"
                    )
            elif key == "webhooks":
                wanted[key] = _webhooks(value, self.webhooks)
            elif key in READERS:
                wanted["for_" if key == "for" else key] = READERS[key](key, value)
            else:
                names = ", ".join((*READERS, "webhooks", "version"))
                raise RequestInvalid(f"cannot use {key[:40]!r} here", f"known: {names}")
        if wanted.get("saved"):
            wanted.setdefault("query", "")
        elif wanted.get("query") and "saved" not in wanted:
            wanted["saved"] = None
        if wanted.get("kind") == NEW_PATTERN:
            wanted.setdefault("tell_resolved", False)
        made = replace(self, **wanted)
        made.check()
        return made

    def check(self) -> None:
        """Raises RequestInvalid for what makes no sense together."""
        if not self.name:
            raise RequestInvalid("cannot make alert: it has no name", "give 'name'")
        if self.saved and self.query:
            raise RequestInvalid("cannot use both 'saved' and 'query'", "give one of them")
        if self.kind == NEW_PATTERN and (self.by or self.nanos("for_")):
            raise RequestInvalid(
                "cannot use 'by' or 'for' with new_pattern: each pattern is told as it comes",
                "leave them out",
            )
        if self.kind == SILENCE and self.nanos("lookback") <= self.nanos("window"):
            raise RequestInvalid("cannot use 'lookback': it is no longer than 'window'", "give a longer one")

    def to_json(self) -> Said:
        """As the API shows it."""
        return {
            "id": self.id,
            "namespace": self.namespace,
            **{"for" if key == "for_" else key: getattr(self, key) for key in SHOWN},
            "labels": dict(self.labels),
            "webhooks": [one.to_json() for one in self.webhooks],
            "muted_until": to_rfc3339(self.muted_until) if self.muted_until else None,
            "mute_reason": self.mute_reason,
            "owner": self.owner,
            "roles": list(self.roles),
            "version": self.version,
            "created_at": to_rfc3339(self.created_at),
            "updated_at": to_rfc3339(self.updated_at),
        }

    def kept(self) -> Said:
        """As it is stored."""
        return {**asdict(self), "webhooks": [asdict(one) for one in self.webhooks]}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Alert:
        """What `kept` gave."""
        webhooks = tuple(made_of(Webhook, one) for one in said["webhooks"])
        return made_of(cls, {**said, "webhooks": webhooks, "roles": tuple(said["roles"])})


SHOWN = ("name", "enabled", "saved", "query", "kind", "op", "threshold", "by", "window", "every", "delay", "for_",
         "lookback", "repeat", "on_unknown", "tell_resolved", "note")  # fmt: skip


# --- what may be said -----------------------------------------------------------------------------------------


def _nanos(text: str) -> int:
    return 0 if text == "0s" else parse_duration(text)


def _text(most: int, *, lines: bool = False) -> Callable[[str, Any], str]:
    def read(key: str, value: Any) -> str:
        if not isinstance(value, str) or len(value) > most:
            raise RequestInvalid(f"cannot use {key!r}", f"give a text of up to {most} characters")
        shown = value.replace("\n", "").replace("\t", "") if lines else value
        if not all(one.isprintable() for one in shown):
            raise RequestInvalid(f"cannot use {key!r}", "give printable characters")
        return value.strip()

    return read


def _query(key: str, value: Any) -> str:
    if (
        not isinstance(value, str)
        or len(value) > 16_384
        or value.encode("utf-8", "replace").decode() != value
    ):
        raise RequestInvalid(f"cannot use {key!r}", "give a query")
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise RequestInvalid(f"cannot use {key!r}", "give true or false")
    return value


def _one_of(*words: str) -> Callable[[str, Any], str]:
    def read(key: str, value: Any) -> str:
        if value not in words:
            raise RequestInvalid(f"cannot use {key!r}: {str(value)[:40]}", f"give one of {', '.join(words)}")
        return str(value)

    return read


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1 << 53:
        raise RequestInvalid(f"cannot use {key!r}", "give a number")
    return value


def _duration(least: str, most: str) -> Callable[[str, Any], str]:
    def read(key: str, value: Any) -> str:
        if value in ("0", "0s", 0) and least == "0s":
            return "0s"
        try:
            given = parse_duration(value) if isinstance(value, str) else 0
        except BadTime:
            given = 0
        if not _nanos(least) <= given <= parse_duration(most) or not given:
            raise RequestInvalid(
                f"cannot use {key!r}: {str(value)[:40]}", f"give a duration from {least} to {most}"
            )
        return str(value)

    return read


def _optional(read: Callable[[str, Any], str]) -> Callable[[str, Any], str | None]:
    return lambda key, value: None if value in (None, "") else read(key, value)


def _labels(key: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) > MOST_LABELS:
        raise RequestInvalid(f"cannot use {key!r}", f"give up to {MOST_LABELS} texts by name")
    for name in value:
        if not (name.isascii() and name.isidentifier() and len(name) <= 60):
            raise RequestInvalid("cannot use a name of 'labels'", "use letters, digits and _")
    return {name: _text(200)(f"labels.{name}", one) for name, one in value.items()}


READERS: dict[str, Callable[[str, Any], Any]] = {
    "name": _text(200),
    "enabled": _flag,
    "saved": _optional(_text(40)),
    "query": _query,
    "kind": _one_of(*KINDS),
    "op": _one_of(*OPS),
    "threshold": _number,
    "by": _optional(_text(500)),
    "window": _duration("10s", "7d"),
    "every": _duration("10s", "1d"),
    "delay": _duration("0s", "1d"),
    "for": _duration("0s", "7d"),
    "lookback": _duration("1m", "30d"),
    "repeat": _duration("0s", "30d"),
    "on_unknown": _one_of(KEEP, TELL),
    "tell_resolved": _flag,
    "note": _text(2000, lines=True),
    "labels": _labels,
}


def _webhooks(value: Any, there: tuple[Webhook, ...]) -> tuple[Webhook, ...]:
    if not isinstance(value, list) or len(value) > MOST_WEBHOOKS:
        raise RequestInvalid("cannot use 'webhooks'", f"give a list of up to {MOST_WEBHOOKS}")
    found = tuple(_webhook(one, there) for one in value)
    if len({one.id for one in found}) < len(found):
        raise RequestInvalid("cannot use 'webhooks': one is there twice", "leave out 'id' of new ones")
    return found


def _webhook(said: Any, there: tuple[Webhook, ...]) -> Webhook:
    if not isinstance(said, Mapping) or not set(said) <= {"id", "url", "format", "secret", "signed"}:
        raise RequestInvalid("cannot use a webhook", "give 'url', and maybe 'format' and 'secret'")
    old = next((one for one in there if one.id == said.get("id")), None)
    if said.get("id") and old is None:
        raise RequestInvalid("cannot use 'id' of a webhook: there is none of that id", "leave it out")
    url = said.get("url")
    if old is not None and url in (None, old.shown_url):
        url = old.url
    secret = said.get("secret", old.secret if old is not None else "") or ""
    if not isinstance(secret, str) or len(secret) > 200 or not secret.isprintable():
        raise RequestInvalid("cannot use 'secret' of a webhook", "give up to 200 printable characters")
    format_ = _one_of(*FORMATS)("format", said.get("format", old.format if old is not None else NEVE))
    return Webhook(old.id if old is not None else new_id(), _url(url), format_, secret)


def _url(value: Any) -> str:
    """An address that can be told something; where it may be is looked at when it is (`webhooks.py`)."""
    wrong = RequestInvalid(
        "cannot use 'url' of a webhook", "give http:// or https:// and a host; no user, no fragment"
    )
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or len(value) > 2000:
        raise wrong
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise wrong from None
    if not usable or "@" in parts.netloc or parts.fragment or " " in value or HIDDEN in value:
        raise wrong
    return value


def mute(alert: Alert, until: int, reason: str, now: int) -> Alert:
    """Muted until a time, or not any more for 0."""
    if until and not now < until <= now + 366 * 86_400 * SECOND:
        raise RequestInvalid(
            "cannot use 'until'", "give a time from now on, at most a year away; null ends it"
        )
    said = _text(500)("reason", reason)
    return replace(alert, muted_until=until, mute_reason=said if until else "")


def signature(alert: Alert) -> str:
    """`asks` as a text."""
    return json.dumps(alert.asks())
