"""What an alert finds in a range of time: its groups, counted from the counts by minute where these are exact.

Each kind is a function of a plan. What has to be known from before (groups that may be without an event) comes from the
alert's state, and the first time from `lookback`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from query import rollup
from query.alerting.machine import MOST_GROUPS, Found, Seen, State
from query.alerting.rule import COUNT, NEW_PATTERN, OPS, Alert, signature
from query.errors import RequestInvalid
from query.events import clean
from query.guards import guard_of
from query.leading import check_pipes, event_stage
from query.overview import aggregate
from query.patterns import patterns
from query.plan import Plan, make_plan
from query.running import Running, check_regexes, naming
from query.times import SECOND
from storage.access.identity import SEARCH, Identity, grant
from storage.access.roles import Role
from storage.errors import Forbidden, NeveError, StorageUnavailable
from storage.schema import NANOS

MISSED_NANOS = 86_400 * SECOND  # new patterns of a stop are looked for so far back
TEXT = 500  # characters of a template or a sample that are kept
LONGEST = 1000  # of a group's name
Groups = dict[str, Found]


class Unknowable(NeveError):
    """An alert cannot look: the reason, in words for its owner."""

    code = "alert_unknown"


@dataclass(frozen=True)
class Window:
    """When a look was due, and which times it is about: low <= time < high."""

    at: int
    low: int
    high: int


@dataclass(frozen=True)
class Rights:
    """Whose events an alert finds: roles by name, and saved searches' queries by id, as they are now."""

    roles: Mapping[str, Role]
    queries: Mapping[str, str]

    def identity(self, alert: Alert) -> Identity:
        """Who asks. Raises Unknowable where a role is no more, or may not look there any more."""
        if not alert.roles:
            return Identity(alert.name, "alert", (grant({SEARCH}, {alert.namespace}),))
        grants = []
        for name in alert.roles:
            role = self.roles.get(name)
            if role is None:
                raise Unknowable(f"the role {name} of who made it is no more", "save the alert anew")
            # A key says its namespaces itself, people's come with their roles.
            if alert.owner_kind == "user" and not role.grant().covers(SEARCH, alert.namespace):
                raise Unknowable(f"the role {name} may not search {alert.namespace} any more", "save it anew")
            grants.append(grant({SEARCH}, {alert.namespace}, role.filter))
        return Identity(alert.name, "alert", tuple(grants))

    def query(self, alert: Alert) -> str:
        """What it asks. Raises Unknowable where the saved search is no more."""
        if alert.saved is None:
            return alert.query
        if alert.saved not in self.queries:
            raise Unknowable("its saved search is no more", "give the alert another")
        return self.queries[alert.saved]


def due_at(alert: Alert, now: int) -> int:
    """When it was to look last. Alerts are spread over the time between two looks, each always at the same moments."""
    every = alert.nanos("every")
    shift = int(alert.id or "0", 36) * SECOND % every
    return (now - shift) // every * every + shift


def window_of(alert: Alert, state: State, at: int) -> Window:
    """What a look that is due then is about."""
    high = at - alert.nanos("delay")
    low = high - alert.nanos("window")
    if alert.kind == NEW_PATTERN and state.high and state.asked == signature(alert):
        low = min(low, max(state.high, high - MISSED_NANOS))
    return Window(at, low, high)


def plan_of(alert: Alert, rights: Rights, low: int, high: int) -> Plan:
    """The plan of a range. Raises Unknowable, QueryInvalid, RequestInvalid."""
    identity = rights.identity(alert)
    guard = guard_of(identity, alert.namespace, high)
    plan = make_plan(rights.query(alert), now=high, namespace=alert.namespace, guard=guard)
    check_pipes(plan)
    return _within(plan, low, high)


def _within(plan: Plan, low: int, high: int) -> Plan:
    return replace(
        plan,
        low=low if plan.low is None else max(low, plan.low),
        high=high if plan.high is None else min(high, plan.high),
    )


def look(
    alert: Alert,
    state: State,
    window: Window,
    rights: Rights,
    running: Running,
    refresh: Callable[[str], None],
) -> Seen:
    """One look. What stands in its way is in `unknown`; StorageUnavailable alone is raised. `refresh`: learns the
    patterns of a namespace."""
    at, low, high = window.at, window.low, window.high
    state = state if state.asked == signature(alert) else State()  # else it is about something else
    try:
        plan = plan_of(alert, rights, low, high)
        with naming(plan):
            check_regexes(plan, running)
            if alert.kind == NEW_PATTERN:
                refresh(plan.namespace)
            seen = running.answer(plan, lambda settled: _seen(alert, state, window, settled, running))
    except StorageUnavailable:
        raise
    except Forbidden as error:
        return Seen(at, low, high, unknown=error.message)
    except NeveError as error:
        return Seen(at, low, high, unknown=str(error).partition("\n")[0])
    if running.lacking and not _is_certain(alert, seen):
        return Seen(at, low, high, unknown=_lacking(running))
    return seen


def _lacking(running: Running) -> str:
    """What an answer is not complete for, in words."""
    limits = running.limits_hit
    away = ", ".join(one.partition(":")[2] for one in running.lacking if one not in limits)
    said = [f"the query reached a limit: {', '.join(limits)}"] if limits else []
    return "; ".join([*said, *([f"shard {away} is away"] if away else [])])


def _is_certain(alert: Alert, seen: Seen) -> bool:
    """Does what was found hold, although it was not all? More events only make it hold more."""
    more = alert.kind == COUNT and alert.op in (">", ">=")
    return more and bool(seen.groups) and all(one.holds for one in seen.groups.values())


def _seen(alert: Alert, state: State, window: Window, plan: Plan, running: Running) -> Seen:
    seen = Seen(window.at, window.low, window.high)
    if alert.kind == NEW_PATTERN:
        return replace(seen, groups=_new_patterns(plan, running, window.low))
    if alert.kind == COUNT:
        return _count(alert, state, seen, plan, running)
    return _silence(alert, state, seen, plan, running)


# --- the kinds -----------------------------------------------------------------------------------------------


def _new_patterns(plan: Plan, running: Running, since: int) -> Groups:
    answer, _ = patterns(plan, running, MOST_GROUPS, None, since)
    return {
        one["fingerprint"]: Found(
            one["count"], True, 0, str(one["template"])[:TEXT], str(one["sample"])[:TEXT]
        )
        for one in answer["patterns"]
    }


def _count(alert: Alert, state: State, seen: Seen, plan: Plan, running: Running) -> Seen:
    counts, total = _counts(plan, running, alert.by)
    holds = OPS[alert.op]
    if alert.by is None:
        groups = {"": Found(total, holds(total, alert.threshold))}
    elif alert.zero_holds:
        known = _known(alert, state, seen, plan, running) | dict.fromkeys(counts, seen.high)
        known = _recent(known, seen.high - alert.nanos("lookback"))
        groups = {
            name: Found(counts.get(name, 0), holds(counts.get(name, 0), alert.threshold), last)
            for name, last in known.items()
        }
    else:
        groups = {name: Found(n, holds(n, alert.threshold)) for name, n in counts.items()}
    late = _late(state, plan, running) if alert.by is None else 0
    return replace(seen, groups=groups, total=total, late_events=late, in_all=len(groups), gone="gone")


def _silence(alert: Alert, state: State, seen: Seen, plan: Plan, running: Running) -> Seen:
    last = _known(alert, state, seen, plan, running) | _last_events(plan, running, alert.by)
    if alert.by is None:
        last.setdefault("", 0)
    else:
        last = _recent(last, seen.high - alert.nanos("lookback"))
    window, longest = alert.nanos("window"), alert.nanos("lookback")
    groups = {}
    for name, at in last.items():
        silent = min(seen.high - at, longest)
        groups[name] = Found(silent // SECOND, silent >= window, at or 1)
    return replace(seen, groups=groups, in_all=len(groups), gone="gone")


def _known(alert: Alert, state: State, seen: Seen, plan: Plan, running: Running) -> dict[str, int]:
    """Groups with the time of their last event, as the state has them; the first time, of `lookback`."""
    if state.high and any(one.last for one in state.groups.values()):
        known = {name: one.last for name, one in state.groups.items() if one.last > 1}
        if state.high < seen.low:  # it did not look for a while
            known |= _last_events(_within(replace(plan, low=None), state.high, seen.low), running, alert.by)
        return known
    before = _within(replace(plan, low=None), seen.high - alert.nanos("lookback"), seen.low)
    return _last_events(before, running, alert.by)


def _recent(last: Mapping[str, int], since: int) -> dict[str, int]:
    """Those with an event since then; of more than MOST_GROUPS the latest."""
    names = sorted((name for name, at in last.items() if at >= since), key=lambda name: (-last[name], name))
    return {name: last[name] for name in names[:MOST_GROUPS]}


def _late(state: State, plan: Plan, running: Running) -> int:
    """How many events have come since, for the range that was looked at last: asked only where that is cheap."""
    if not state.high or state.unknown_since:
        return 0
    before = _within(replace(plan, low=None, high=None), state.low, state.high)
    if rollup.split(before, running) is None:
        return 0
    return max(0, _counts(before, running, None)[1] - state.total)


# --- statements ----------------------------------------------------------------------------------------------


def _counts(plan: Plan, running: Running, by: str | None) -> tuple[dict[str, int], int]:
    """Events by value of a field, of the largest groups, and in all."""
    params = plan.params()
    known = rollup.split(plan, running) if by is None or by in rollup.COUNTED else None
    if known is not None:
        rollup.note_tiers(plan, running)
        source, count, group = rollup.source(plan, params, known), "sum(n)", by or "''"
    else:
        stage = event_stage(plan, params)
        source, count = f"{stage.source}{stage.where()}", "count()"
        group = stage.scope.text(by, params) if by else "''"
    sql = (
        f"SELECT value, events, sum(events) OVER () AS total FROM (SELECT {group} AS value, {count} AS events "
        f"FROM {source} GROUP BY value) ORDER BY events DESC, value ASC LIMIT {params.add(MOST_GROUPS, 'UInt64')}"
    )
    rows = aggregate(running, sql, params)
    found = {_named(value): int(events) for value, events, _ in rows}
    return found, int(rows[0][2]) if rows else 0


def _last_events(plan: Plan, running: Running, by: str | None) -> dict[str, int]:
    """The time of the last event by value of a field, of the latest groups."""
    if plan.low is not None and plan.high is not None and plan.low >= plan.high:
        return {}
    params = plan.params()
    known = rollup.split(plan, running) if by is None or by in rollup.COUNTED else None
    if known is not None and not known.fingerprints:  # the rollup knows minutes alone
        rollup.note_tiers(plan, running)
        source, last, group = rollup.source(plan, params, known), "max(until)", by or "''"
    else:
        stage = event_stage(plan, params)
        source, last = f"{stage.source}{stage.where()}", f"max({NANOS})"
        group = stage.scope.text(by, params) if by else "''"
    sql = (
        f"SELECT {group} AS value, {last} AS latest, count() AS rows FROM {source} GROUP BY value HAVING rows > 0 "
        f"ORDER BY latest DESC, value ASC LIMIT {params.add(MOST_GROUPS, 'UInt64')}"
    )
    return {_named(value): int(latest) for value, latest, _ in aggregate(running, sql, params)}


def _named(value: object) -> str:
    """The name of a group; events without the field are a group too."""
    found = clean(value)
    return str(found)[:LONGEST]


def check(alert: Alert, rights: Rights, now: int) -> None:
    """Can it look? Raises QueryInvalid, RequestInvalid; nothing is asked."""
    try:
        plan_of(alert, rights, now - SECOND, now)
    except Unknowable as error:
        raise RequestInvalid(f"cannot make alert: {error.message}", error.hint) from None
