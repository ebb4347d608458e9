"""Alerts as people handle them: made, changed, muted, tried out, and shown with their states."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from query.alerting.config import AlertsConfig
from query.alerting.evaluator import Place, delivery, read_rights, send, shown_state
from query.alerting.looking import check, look, window_of
from query.alerting.machine import (
    FIRING,
    OK,
    STATES,
    TEST,
    UNKNOWN,
    WORST,
    Group,
    Notice,
    State,
    described,
    evolve,
)
from query.alerting.rule import Alert, mute
from query.alerting.webhooks import Sender
from query.errors import Busy, NotFound, RequestInvalid
from query.guards import may_see
from query.running import Running
from query.times import BadTime, is_duration, parse_instant, to_rfc3339
from storage import leases
from storage.access.identity import Identity
from storage.access.roles import Role
from storage.alerts import LEASE, AlertStore
from storage.documents import Documents
from storage.errors import Conflict, StorageUnavailable
from storage.saved import new_id

MOST_ALERTS = 500  # of one namespace
MOST_SHOWN = 100  # groups
TRYING = 2  # tests at once
AWAY = "clickhouse does not answer"
Said = dict[str, Any]


@dataclass(frozen=True)
class Maker:
    """Who makes or changes an alert: their name, of which kind they are, and whose events exist for them."""

    name: str
    kind: str
    roles: tuple[str, ...]


class AlertBook:
    """Alerts of one ClickHouse, for the API. Thread-safe; blocks; raises NeveError."""

    def __init__(self, place: Place, config: AlertsConfig) -> None:
        self._place = place
        self._config = config
        self._sender = Sender(config)
        self._store = AlertStore(place.owner)
        self._trying = threading.BoundedSemaphore(TRYING)
        self._lock = threading.Lock()
        self._last: tuple[dict[str, Alert], dict[str, State], Mapping[str, Role]] = ({}, {}, {})

    # --- what there is -----------------------------------------------------------------------------------

    def all(self, namespace: str, identity: Identity) -> list[tuple[Alert, State]]:
        """Those of a namespace that may be shown to who asks, by name."""
        alerts, states, roles = self._read()
        return _shown(namespace, identity, alerts, states, roles)

    def one(self, id_: str, identity: Identity) -> tuple[Alert, State]:
        """NotFound, also where it may not be shown."""
        said = self._store.alert(id_)
        alert = Alert.read(said) if said is not None else None
        if alert is None or alert.deleted or not sees(identity, alert, self._roles()):
            raise NotFound(f"cannot find alert: {id_[:60]}", "GET /api/v1/alerts lists them")
        state = self._store.state(id_)
        return alert, State.read(state) if state is not None else State()

    def overview(self, namespace: str, identity: Identity) -> Said:
        """The states alone. While ClickHouse is away, that nobody knows them, of the alerts that were there last."""
        now = time.time_ns()
        try:
            self._last = self._read()
            running = leases.is_held(self._place.owner, LEASE)
            evaluator = {"state": "running" if running else "away", "reason": ""}
            found = _shown(namespace, identity, *self._last)
        except StorageUnavailable:
            evaluator = {"state": "away", "reason": AWAY}
            found = [
                (one, replace(state, unknown_since=state.unknown_since or now, reason=AWAY))
                for one, state in _shown(namespace, identity, *self._last)
            ]
        counts = Counter(shown_state(one, state) for one, state in found)
        return {
            "evaluator": evaluator,
            "counts": {name: counts[name] for name in STATES},
            "alerts": [
                {"id": one.id, "name": one.name, "state": state_json(one, state, now)} for one, state in found
            ],
        }

    def deliveries(self, id_: str, limit: int) -> list[Said]:
        return self._store.deliveries(id_, limit)

    def _read(self) -> tuple[dict[str, Alert], dict[str, State], Mapping[str, Role]]:
        alerts = {id_: Alert.read(one) for id_, one in self._store.alerts().items()}
        states = {id_: State.read(one) for id_, one in self._store.states().items()}
        return alerts, states, self._roles()

    def _roles(self) -> Mapping[str, Role]:
        return read_rights(self._place.owner).roles

    # --- changes -----------------------------------------------------------------------------------------

    def make(self, namespace: str, asked: Mapping[str, Any], maker: Maker) -> Alert:
        """A new one. RequestInvalid, QueryInvalid, Conflict."""
        now = time.time_ns()
        new = Alert(namespace, owner=maker.name, owner_kind=maker.kind, roles=maker.roles, id=new_id())
        alert = replace(new.changed(asked), version=1, created_at=now, updated_at=now)
        with self._lock:
            self._check(alert, now)
            there = [Alert.read(one) for one in self._store.alerts().values()]
            if sum(one.namespace == namespace and not one.deleted for one in there) >= MOST_ALERTS:
                raise Conflict(f"cannot make alert: {namespace} has {MOST_ALERTS}", "delete some first")
            self._store.put(alert.id, alert.kept())
        return alert

    def change(self, alert: Alert, asked: Mapping[str, Any], maker: Maker) -> Alert:
        """Another in the place of one. RequestInvalid, QueryInvalid, Conflict."""
        now = time.time_ns()
        made = alert.changed(asked)
        if not set(alert.roles) <= set(self._roles()):  # nobody has the rights any more that it had
            made = replace(made, owner=maker.name, owner_kind=maker.kind, roles=maker.roles)
        with self._lock:
            self._check(made, now)
            said = self._store.alert(alert.id)
            if said is None or said["version"] != alert.version or said["deleted"]:
                raise Conflict(f"cannot change alert {alert.name!r}: it is another since", "look at it again")
            made = replace(made, version=alert.version + 1, updated_at=now)
            self._store.put(made.id, made.kept())
        return made

    def mute(self, alert: Alert, until: str | None, reason: str) -> Alert:
        """Nothing is told until then. `until`: a duration from now, a time, or None to end it."""
        now = time.time_ns()
        with self._lock:
            made = mute(self._present(alert), _until(until, now), reason, now)
            self._store.put(made.id, made.kept())
        return made

    def delete(self, alert: Alert) -> None:
        """What it had told is told to be over, and then it is gone."""
        with self._lock:
            self._store.put(alert.id, replace(self._present(alert), deleted=True).kept())

    def _present(self, alert: Alert) -> Alert:
        """As it is this moment. NotFound."""
        said = self._store.alert(alert.id)
        if said is None or said["deleted"]:
            raise NotFound(f"cannot find alert: {alert.id}", "GET /api/v1/alerts lists them")
        return Alert.read(said)

    def _check(self, alert: Alert, now: int) -> None:
        rights = read_rights(self._place.owner)
        if alert.saved is not None:
            saved = Documents(self._place.owner, "saved").get(alert.saved)
            if saved is None or saved.get("deleted") or saved["namespace"] != alert.namespace:
                raise RequestInvalid(
                    f"cannot find saved search: {alert.saved[:60]}", "give the id of one of the namespace"
                )
        check(alert, rights, now)

    # --- trying one out ----------------------------------------------------------------------------------

    def test(self, alert: Alert) -> Said:
        """Look now, and tell all its webhooks what was found, marked as a test. Nothing of it is kept but the log."""
        if not self._trying.acquire(blocking=False):
            raise Busy(f"cannot test alert: {TRYING} others are tested")
        try:
            return self._test(alert)
        finally:
            self._trying.release()

    def _test(self, alert: Alert) -> Said:
        now = time.time_ns()
        window = window_of(alert, State(), now)
        running = Running(self._place.hot, self._config.limits(), self._place.states)
        rights = read_rights(self._place.owner)
        seen = look(alert, State(), window, rights, running, self._place.refresh)
        state = evolve(replace(alert, for_="0s", webhooks=(), muted_until=0), State(), seen)
        groups = tuple(described(name, one) for name, one in state.groups.items() if one.state == FIRING)
        reason = seen.unknown
        told: list[Said] = []
        for webhook in alert.webhooks:
            notice = Notice(
                secrets.token_hex(16), TEST, now, webhook.id, window.low, window.high, groups[:MOST_SHOWN],
                max(0, len(groups) - MOST_SHOWN), reason,
            )  # fmt: skip
            sent = send(self._sender, alert, notice, rights, self._place.base)
            told.append(delivery(alert, notice, sent, time.time_ns(), 0))
        self._store.log([(alert.id, now, one) for one in told])
        return {"state": state_json(alert, state, now), "deliveries": told}


# --- who may see it, and how it is shown ------------------------------------------------------------------------


def sees(identity: Identity, alert: Alert, roles: Mapping[str, Role]) -> bool:
    """Do at least those events exist for them that exist for the alert?"""
    if not may_see(identity, alert.namespace):
        return False
    own = identity.filters(alert.namespace)
    if not own:
        return True
    if not alert.roles or not set(alert.roles) <= set(roles):
        return False
    return {roles[name].filter for name in alert.roles} <= set(own)


def _shown(
    namespace: str,
    identity: Identity,
    alerts: Mapping[str, Alert],
    states: Mapping[str, State],
    roles: Mapping[str, Role],
) -> list[tuple[Alert, State]]:
    there: Iterable[Alert] = (
        one for one in alerts.values() if one.namespace == namespace and not one.deleted
    )
    found = sorted((one for one in there if sees(identity, one, roles)), key=lambda a: (a.name.lower(), a.id))
    return [(one, states.get(one.id, State())) for one in found]


def alert_json(alert: Alert, state: State, now: int, *, may_change: bool) -> Said:
    """An alert with its state, as the API shows it."""
    return {**alert.to_json(), "may_change": may_change, "state": state_json(alert, state, now)}


def state_json(alert: Alert, state: State, now: int) -> Said:
    """The state alone."""
    worst = sorted(state.groups.items(), key=lambda one: (WORST[one[1].state], -one[1].value, one[0]))
    shown = shown_state(alert, state)
    return {
        "state": shown,
        "since": _time(state.unknown_since if shown == UNKNOWN else state.since),
        "reason": state.reason,
        "evaluated_at": _time(state.evaluated_at),
        "window": {"from": _time(state.low), "to": _time(state.high)} if state.high else None,
        "late": state.late,
        "late_events": state.late_events,
        "groups": [_group(name, one) for name, one in worst[:MOST_SHOWN]],
        "groups_in_all": max(state.in_all, len(state.groups)),
        "waiting": len(state.outbox),
        "dropped": state.dropped,
        "muted": alert.is_muted(now),
    }


def _group(name: str, group: Group) -> Said:
    return {
        "group": name,
        "state": group.state,
        "since": _time(group.since),
        "began": _time(group.began) if group.state != OK else None,
        "value": group.value,
        "template": group.template or None,
        "sample": group.sample or None,
        "told": group.told or None,
        "told_at": _time(group.told_at),
    }


def _time(at: int) -> str | None:
    return to_rfc3339(at) if at else None


def _until(text: str | None, now: int) -> int:
    if text is None:
        return 0
    try:
        return parse_instant(f"now+{text}" if is_duration(text) else text, now)
    except BadTime as error:
        raise RequestInvalid(f"cannot use 'until': {error}", "give 2h, a time, or null") from None
