"""What a webhook is told, by its format: our own JSON, Slack's incoming webhooks, Alertmanager's API v2.

Names of groups, patterns and samples come out of log lines, so anything may stand in them: in Slack's text they can
neither mention anybody nor be links.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from query.alerting.machine import FIRING, KNOWN, RESOLVED, TEST, UNKNOWN, Notice
from query.alerting.rule import ALERTMANAGER, COUNT, NEVE, NEW_PATTERN, SLACK, Alert
from query.times import SECOND, to_rfc3339

MOST_LINES = 10  # of groups in a text for people
MOST_SHOWN = 300  # characters of a group in it
DAY = 86_400 * SECOND
Said = dict[str, Any]


def body_of(alert: Alert, notice: Notice, format_: str, query: str, base: str) -> bytes:
    """The body of a request. `base`: the server's address as people know it, for a link to what is the case."""
    made: Any = BODIES[format_](alert, notice, link(alert, notice, query, base))
    return json.dumps(made, ensure_ascii=False).encode("utf-8", "replace")


def link(alert: Alert, notice: Notice, query: str, base: str) -> str:
    """To the page, with the query and the range that was looked at."""
    asked = {
        "q": query,
        "from": to_rfc3339(notice.low),
        "to": to_rfc3339(notice.high),
        "namespace": alert.namespace,
    }
    return f"{base}/?{urlencode({key: value for key, value in asked.items() if value})}"


def headline(alert: Alert, notice: Notice) -> str:
    """One line for people."""
    count = len(notice.groups) + notice.more
    groups = "" if not alert.by and alert.kind != NEW_PATTERN else f" ({count})"
    what = {
        FIRING: f"{alert.name} is firing{groups}",
        RESOLVED: f"{alert.name} is resolved{groups}",
        UNKNOWN: f"{alert.name} cannot look: {notice.reason}",
        KNOWN: f"{alert.name} looks again",
        TEST: f"{alert.name}: this is a test",
    }
    return what[notice.kind]


def line(alert: Alert, group: Mapping[str, Any]) -> str:
    """One line for people about a group."""
    value = group["value"]
    number = f"{value:g}" if abs(value) < 1e6 else f"{value:,.0f}"
    if alert.kind == NEW_PATTERN:
        said = f"{number} events: {group['template']}"
    elif alert.kind == COUNT:
        said = f"{group['group'] or alert.by or 'all'}: {number} events, {alert.op} {alert.threshold:g}"
    else:
        said = f"{group['group'] or alert.by or 'all'}: nothing for {number} s"
    why = f" ({group['reason']})" if group.get("reason") else ""
    return "".join(one if one.isprintable() else " " for one in f"{said}{why}")[:MOST_SHOWN]


def _neve(alert: Alert, notice: Notice, link_: str) -> Said:
    asked = {
        key: getattr(alert, key)
        for key in ("id", "name", "namespace", "kind", "op", "threshold", "by", "note")
    }
    return {
        "version": 1,
        "id": notice.id,
        "kind": notice.kind,
        "title": headline(alert, notice),
        "at": to_rfc3339(notice.at),
        "window": {"from": to_rfc3339(notice.low), "to": to_rfc3339(notice.high)},
        "alert": {**asked, "labels": dict(alert.labels)},
        "reason": notice.reason,
        "groups": [_timed(one) for one in notice.groups],
        "more_groups": notice.more,
        "link": link_,
    }


def _timed(group: Mapping[str, Any]) -> Said:
    times = {key: to_rfc3339(group[key]) if group[key] else None for key in ("since", "began")}
    return {**group, **times}


# --- Slack -----------------------------------------------------------------------------------------------------


def _slack(alert: Alert, notice: Notice, link_: str) -> Said:
    lines = [f"• {_escaped(line(alert, one))}" for one in notice.groups[:MOST_LINES]]
    more = len(notice.groups) + notice.more - len(lines)
    lines += [f"• and {more} more"] if more > 0 else []
    note = [_escaped(alert.note)] if alert.note and notice.kind == FIRING else []
    sign = {FIRING: ":red_circle:", RESOLVED: ":large_green_circle:"}.get(notice.kind, ":white_circle:")
    head = f"{sign} *{_escaped(headline(alert, notice))}*"
    see = f"<{link_.replace('>', '%3E').replace('|', '%7C')}|look at it>"
    return {"text": "\n".join([head, *lines, *note, see])}


def _escaped(text: str) -> str:
    """As Slack asks for it; behind a space of no width no sign begins formatting."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain.translate({ord(sign): f"\u200b{sign}" for sign in "*_~`"})


# --- Alertmanager ----------------------------------------------------------------------------------------------


def _alertmanager(alert: Alert, notice: Notice, link_: str) -> list[Said]:
    """An alert for each group; for what has none, one of the alert itself.

    A firing one ends well after it would be told again, so that it neither ends by itself nor stays for ever.
    """
    repeat = alert.nanos("repeat")
    later = notice.at + (2 * repeat + DAY if repeat else 365 * DAY)
    is_over = notice.kind in (RESOLVED, KNOWN)
    groups = notice.groups or ({"group": "", "value": 0, "began": notice.at, "template": "", "sample": ""},)
    return [
        {
            "labels": _labels(alert, notice, one),
            "annotations": _annotations(alert, notice, one),
            "startsAt": to_rfc3339(one["began"] or min(notice.low, notice.at)),
            "endsAt": to_rfc3339(
                notice.at + 5 * 60 * SECOND if notice.kind == TEST else notice.at if is_over else later
            ),
            "generatorURL": link_,
        }
        for one in groups
    ]


def _labels(alert: Alert, notice: Notice, group: Mapping[str, Any]) -> dict[str, str]:
    """The same for firing and resolved, since by these the two are known to be of one alert."""
    said = {
        **alert.labels,
        "alertname": alert.name,
        "neve_alert": alert.id,
        "neve_namespace": alert.namespace,
    }
    if notice.kind in (UNKNOWN, KNOWN):
        said["neve_state"] = UNKNOWN
    elif alert.kind == NEW_PATTERN:
        said["pattern"] = group["group"]
    elif alert.by:
        said["group"] = group["group"]
    if notice.kind == TEST:
        said["neve_test"] = "true"
    return {key: value for key, value in said.items() if value}


def _annotations(alert: Alert, notice: Notice, group: Mapping[str, Any]) -> dict[str, str]:
    said = {
        "summary": headline(alert, notice),
        "description": line(alert, group) if notice.groups else notice.reason,
        "note": alert.note,
        "sample": group["sample"],
    }
    return {key: value for key, value in said.items() if value}


BODIES: dict[str, Callable[[Alert, Notice, str], Any]] = {
    NEVE: _neve,
    SLACK: _slack,
    ALERTMANAGER: _alertmanager,
}
