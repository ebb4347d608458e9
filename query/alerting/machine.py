"""From what was found to what is told: states of groups, pure, as a function of the evaluation's time.

A group is ok, pending (it is the case, but not yet long enough) or firing. Beside that is kept what was told of it
last, and each time the two are brought together: so nothing is told twice, and what changed while an alert was muted
is told as it is afterwards. What is to be told becomes notices in the same value as the states: both are stored at
once, or neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from query.alerting.rule import TELL, Alert, signature
from storage.documents import made_of

OK, PENDING, FIRING, UNKNOWN, PAUSED = "ok", "pending", "firing", "unknown", "paused"
RESOLVED, KNOWN, TEST = "resolved", "known", "test"
STATES = (OK, PENDING, FIRING, UNKNOWN, PAUSED)
WORST = {FIRING: 0, PENDING: 1, OK: 2}
MOST_GROUPS = 500
MOST_OK = 20  # groups that are ok, which are kept to be shown
MOST_TOLD = 100  # groups in one notice
MOST_WAITING = 100  # notices of one alert
Said = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A group as it was found. `last`: the time of its last event where that has to be known later, else 0."""

    value: float
    holds: bool
    last: int = 0
    template: str = ""
    sample: str = ""


@dataclass(frozen=True)
class Seen:
    """What one look gave, at `low` <= time < `high`. Times are nanoseconds since 1970.

    `at`: when it was due. `unknown`: why nothing can be said; the groups are of no use then.
    """

    at: int
    low: int
    high: int
    groups: Mapping[str, Found] = field(default_factory=dict)
    unknown: str = ""
    late: bool = False
    late_events: int = 0
    total: int = 0  # events
    in_all: int = 0  # groups, also those that are more than MOST_GROUPS
    gone: str = ""  # why a group that is in it no more is over


@dataclass(frozen=True)
class Group:
    """A group. `since`: when its state began; `began`: when the case began; `told`: firing, or nothing."""

    state: str = OK
    since: int = 0
    began: int = 0
    value: float = 0
    last: int = 0
    template: str = ""
    sample: str = ""
    told: str = ""
    told_at: int = 0


@dataclass(frozen=True)
class Notice:
    """Something to tell a webhook. `id` is the same whoever makes it of the same evaluation."""

    id: str
    kind: str
    at: int
    webhook: str
    low: int
    high: int
    groups: tuple[Said, ...] = ()
    more: int = 0  # groups beside those
    reason: str = ""
    attempt: int = 0
    next_at: int = 0


@dataclass(frozen=True)
class State:
    """All that is known of an alert between two looks. `low`, `high`: what was looked at last, and known."""

    groups: Mapping[str, Group] = field(default_factory=dict)
    evaluated_at: int = 0
    low: int = 0
    high: int = 0
    since: int = 0
    unknown_since: int = 0  # 0: it is known
    reason: str = ""
    unknown_told: bool = False
    late: bool = False
    late_events: int = 0
    total: int = 0
    in_all: int = 0
    asked: str = ""
    outbox: tuple[Notice, ...] = ()
    dropped: int = 0

    @property
    def worst(self) -> str:
        """The state of the whole."""
        if self.unknown_since:
            return UNKNOWN
        return min((one.state for one in self.groups.values()), key=WORST.__getitem__, default=OK)

    @property
    def is_settled(self) -> bool:
        """Is nothing firing to anybody, and nothing on the way?"""
        return not self.outbox and not any(one.told for one in self.groups.values()) and not self.unknown_told

    def kept(self) -> Said:
        """As it is stored."""
        return asdict(self)

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> State:
        """What `kept` gave."""
        groups = {name: made_of(Group, one) for name, one in said["groups"].items()}
        outbox = tuple(made_of(Notice, {**one, "groups": tuple(one["groups"])}) for one in said["outbox"])
        return made_of(cls, {**said, "groups": groups, "outbox": outbox})


def evolve(alert: Alert, state: State, seen: Seen) -> State:
    """The state after a look, with what is to be told of it."""
    asked = signature(alert)
    if state.asked != asked:  # it asks something else: of what was, only what was told is still of use
        told = {name: one for name, one in state.groups.items() if one.told}
        state = replace(state, groups=told, asked=asked)
    before = state.worst
    state = replace(state, evaluated_at=seen.at, late=seen.late)
    after = _unknown(alert, state, seen) if seen.unknown else _known(alert, state, seen)
    return replace(after, since=after.since if after.worst == before and after.since else seen.at)


def retire(alert: Alert, state: State, at: int, reason: str) -> State:
    """The state of an alert that looks no more: what was told is over, also while it is muted."""
    seen = Seen(at, state.low, state.high, gone=reason)
    free = replace(alert, muted_until=0)
    return replace(
        evolve(free, replace(state, unknown_since=0), seen), groups={}, reason="", unknown_told=False
    )


def _unknown(alert: Alert, state: State, seen: Seen) -> State:
    since = state.unknown_since or seen.at
    state = replace(state, unknown_since=since, reason=seen.unknown)
    lasts = seen.at - since >= alert.nanos("for_")
    if alert.on_unknown == TELL and lasts and not state.unknown_told and not alert.is_muted(seen.at):
        notices = _notices(alert, UNKNOWN, seen, [], seen.unknown)
        return _with(replace(state, unknown_told=True), notices)
    return state


def _known(alert: Alert, state: State, seen: Seen) -> State:
    names = dict.fromkeys((*seen.groups, *state.groups))
    gone = Found(0, False)
    groups = {
        name: _moved(state.groups.get(name), seen.groups.get(name, gone), seen.at, alert.nanos("for_"))
        for name in names
    }
    notices: list[Notice] = []
    if not alert.is_muted(seen.at):
        if state.unknown_told:
            notices += _notices(alert, KNOWN, seen, [])
            state = replace(state, unknown_told=False)
        groups, more = _tell(alert, groups, seen)
        notices += more
    kept = _bounded({name: one for name, one in groups.items() if name in seen.groups or one.told})
    state = replace(
        state,
        low=seen.low,
        high=seen.high,
        groups=kept,
        unknown_since=0,
        reason="",
        late_events=seen.late_events,
        total=seen.total,
        in_all=max(seen.in_all, len(seen.groups)),
    )
    return _with(state, notices)


def _moved(group: Group | None, found: Found, at: int, for_: int) -> Group:
    """One group, a look later."""
    group = group or Group(since=at)
    shown = replace(
        group,
        value=found.value,
        last=found.last or group.last,
        template=found.template or group.template,
        sample=found.sample or group.sample,
    )
    if not found.holds:
        return shown if group.state == OK else replace(shown, state=OK, since=at)
    began = group.began if group.state != OK else at
    state = FIRING if group.state == FIRING or at - began >= for_ else PENDING
    since = group.since if group.state == state else at
    return replace(shown, state=state, since=since, began=began)


def _tell(alert: Alert, groups: Mapping[str, Group], seen: Seen) -> tuple[dict[str, Group], list[Notice]]:
    """Bring together what is and what was told; the groups after it."""
    told = dict(groups)
    firing, resolved = [], []
    repeat = alert.nanos("repeat")
    for name, group in groups.items():
        if group.state == FIRING and (not group.told or (repeat and seen.at - group.told_at >= repeat)):
            firing.append(name)
            told[name] = replace(group, told=FIRING, told_at=seen.at)
        elif group.state == OK and group.told:
            resolved.append(name)
            told[name] = replace(group, told="", told_at=seen.at)
    notices = (
        _notices(alert, FIRING, seen, [described(name, told[name]) for name in firing]) if firing else []
    )
    if resolved and alert.tell_resolved:
        reasons = {name: seen.gone for name in resolved if name not in seen.groups}
        rest = [described(name, told[name], reasons.get(name, "")) for name in resolved]
        notices += _notices(alert, RESOLVED, seen, rest)
    return told, notices


def _notices(alert: Alert, kind: str, seen: Seen, groups: list[Said], reason: str = "") -> list[Notice]:
    """One for each webhook."""
    groups.sort(key=lambda one: (-one["value"], one["group"]))
    shown = tuple(groups[:MOST_TOLD])
    names = [one["group"] for one in groups]
    return [
        Notice(
            notice_id(alert, kind, seen.at, webhook.id, names),
            kind,
            seen.at,
            webhook.id,
            seen.low,
            seen.high,
            shown,
            len(groups) - len(shown),
            reason,
        )
        for webhook in alert.webhooks
    ]


def described(name: str, group: Group, reason: str = "") -> Said:
    """A group as notices have it."""
    return {
        "group": name,
        "state": group.state,
        "value": group.value,
        "since": group.since,
        "began": group.began,
        "template": group.template,
        "sample": group.sample,
        "reason": reason,
    }


def notice_id(alert: Alert, kind: str, at: int, webhook: str, groups: Iterable[str]) -> str:
    """By which a receiver knows a notice that it gets again."""
    said = "\0".join((alert.id, kind, str(at), webhook, *groups))
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _with(state: State, notices: list[Notice]) -> State:
    """With more to tell; where that is too much, the oldest is dropped, and counted."""
    outbox = (*state.outbox, *notices)
    over = max(0, len(outbox) - MOST_WAITING)
    return replace(state, outbox=outbox[over:], dropped=state.dropped + over)


def _bounded(groups: dict[str, Group]) -> dict[str, Group]:
    """The worst first, and of those that are ok and need not be remembered a few."""
    order = sorted(groups, key=lambda name: (WORST[groups[name].state], -groups[name].value, name))
    needed = [name for name in order if groups[name].state != OK or groups[name].told or groups[name].last]
    others = [name for name in order if name not in set(needed)][:MOST_OK]
    return {name: groups[name] for name in (*needed[:MOST_GROUPS], *others)}
