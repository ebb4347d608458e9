"""Looks and tells, again and again, as functions of the present time.

`tick(now)` lets every alert look that is due, and stores all new states with one INSERT. `deliver(now)` sends what they
have to tell. Both may be cut anywhere: what is not stored is looked at again, and makes notices of the same ids; what
was sent and not noted is sent again, under the same id. What is told is always stored first, with one exception: that
ClickHouse is away can be stored nowhere.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from typing import Any

from query.alerting.bodies import body_of
from query.alerting.config import AlertsConfig
from query.alerting.looking import Rights, Unknowable, due_at, look, window_of
from query.alerting.machine import Notice, Seen, State, evolve, retire
from query.alerting.rule import Alert
from query.alerting.webhooks import Sender, Sent
from query.running import Running
from query.times import SECOND, to_rfc3339
from storage.access.roles import Role
from storage.alerts import AlertStore
from storage.documents import Documents
from storage.errors import NeveError, StorageUnavailable
from storage.hot import Hot
from storage.published import TierStates
from storage.shard_states import ShardStates
from storage.spreading import Spread

FIRST_PAUSE, LONGEST_PAUSE = 5 * SECOND, 600 * SECOND
"""Between tries to tell a webhook: a restart of its server costs seconds, and a day's outage 150 tries."""
PATIENCE = 5  # times `every` that a look waits for events that are on the way
SENDING = 4  # webhooks at once
MOST_UNLOGGED = 1000  # tries, while ClickHouse is away
GONE = "the webhook is no more"
log = logging.getLogger("neve.alerts")
Said = dict[str, Any]
Fresh = Callable[[], float | None]
"""For how many seconds the oldest block waits that a gateway has and ClickHouse has not; None where nobody can tell."""


@dataclass(frozen=True)
class Place:
    """Where alerts look, and what they need for it."""

    hot: Hot | Spread  # as who may read events
    states: TierStates | ShardStates | None  # None: there is no cold tier
    owner: Hot | Spread  # as who keeps alerts
    refresh: Callable[[str], None] = lambda _namespace: None  # learns the patterns of a namespace
    fresh: Fresh = lambda: 0.0
    base: str = ""  # the server's address as people know it


class Evaluator:
    """All alerts of one ClickHouse. `tick` and `deliver` may run side by side, each in one thread."""

    def __init__(self, place: Place, config: AlertsConfig, sender: Sender | None = None) -> None:
        self.place = place
        self.config = config
        self.store = AlertStore(place.owner)
        self.sender = sender or Sender(config)
        self.counts: Counter[str] = Counter()
        self.alerts: dict[str, Alert] = {}
        self.states: dict[str, State] = {}
        self.trouble = ""  # why nothing can be known now
        self._rights = Rights({}, {})
        self._stamp = -1  # of the alerts that are known
        self._version = -1  # of the states that are known; -1: none are
        self._unsaved: set[str] = set()
        self._unlogged: list[tuple[str, int, Said]] = []
        self._lock = threading.Lock()
        self._looking = ThreadPoolExecutor(config.concurrent, "alerts")
        self._sending = ThreadPoolExecutor(SENDING, "webhooks")

    def close(self) -> None:
        self._looking.shutdown(cancel_futures=True)
        self._sending.shutdown(cancel_futures=True)

    # --- looking -----------------------------------------------------------------------------------------

    def tick(self, now: int, check: Callable[[], None] = lambda: None) -> None:
        """Let those look that are due at `now`, nanoseconds since 1970. `check` raises where it is no longer ours to
        store what came of it. Raises NeveError where nothing could be stored; what was to be done stays to be done."""
        try:
            self._read()
            rest = [self.alerts[id_] for id_ in self.alerts if not self._is_active(id_)]
            due = [one for one in self.alerts.values() if self._is_due(one, now)]
            if due:
                self._rights = read_rights(self.place.owner)
            lag = self.place.fresh() if due else 0.0
            seen = list(self._looking.map(lambda one: self._look(one, now, lag), due))
            check()
            self._store([(one, found) for one, found in zip(due, seen, strict=True) if found], rest, now)
            self.trouble = ""
        except StorageUnavailable as error:
            self.trouble = error.message
            self._blind(now, error.message)
            raise

    def _read(self) -> None:
        """What holds now; while there is nothing to do, with one question. Raises NeveError."""
        stamp = self.store.stamp()
        if stamp != self._stamp:
            self.alerts = {id_: Alert.read(one) for id_, one in self.store.alerts().items()}
            self._stamp = stamp
        if not self.alerts and not self.states:
            return
        with self._lock:
            newest = self.store.states_stamp()
            if self._version < newest:  # the first time, or another process held the lease meanwhile
                self.states = {id_: State.read(one) for id_, one in self.store.states().items()}
                self._unsaved.clear()
                self._version = newest

    def _is_active(self, id_: str) -> bool:
        alert = self.alerts[id_]
        return alert.enabled and not alert.deleted

    def _is_due(self, alert: Alert, now: int) -> bool:
        looked, due = self.states.get(alert.id, State()).evaluated_at, due_at(alert, now)
        was_ahead = looked > now + alert.nanos("every")  # the clock: until then it would look no more
        return self._is_active(alert.id) and (looked < due or was_ahead)

    def _look(self, alert: Alert, now: int, lag: float | None) -> Seen | None:
        """What one finds; None where it waits for events that are on the way. Raises StorageUnavailable."""
        state = self.states.get(alert.id, State())
        window = window_of(alert, state, due_at(alert, now))
        late = lag is not None and now - int(lag * SECOND) < window.high
        looked = state.evaluated_at if 0 < state.evaluated_at <= now else alert.updated_at
        if late and now < looked + (1 + PATIENCE) * alert.nanos("every"):
            self.counts["waits"] += 1
            return None
        running = Running(self.place.hot, self.config.limits(), self.place.states)
        try:
            seen = look(alert, state, window, self._rights, running, self.place.refresh)
        except StorageUnavailable:
            raise
        except Exception:  # a fault of ours must not end the others' looking
            log.exception("fault while alert %s looks", alert.id)
            seen = Seen(
                window.at, window.low, window.high, unknown="a fault of the server's own: see its log"
            )
        self.counts["looks"] += 1
        self.counts["looks_in_vain"] += bool(seen.unknown)
        return replace(seen, late=late)

    def _store(self, found: list[tuple[Alert, Seen]], rest: list[Alert], now: int) -> None:
        with self._lock:
            made = {one.id: evolve(one, self.states.get(one.id, State()), seen) for one, seen in found}
            for one in rest:
                state = self.states.get(one.id, State())
                if state.groups or state.unknown_told or state.unknown_since:
                    made[one.id] = retire(one, state, now, "deleted" if one.deleted else "paused")
            self._save(made)
            gone = [one.id for one in rest if one.deleted and self.states.get(one.id, State()).is_settled]
            orphans = [id_ for id_ in self.states if id_ not in self.alerts]
            if gone or orphans:
                self._version = self.store.forget([*gone, *orphans], self._version)
                for id_ in (*gone, *orphans):
                    self.states.pop(id_, None)
                    self.alerts.pop(id_, None)

    def _save(self, made: Mapping[str, State]) -> None:
        """Store tries and states, and then know these."""
        if self._unlogged:
            self.store.log(self._unlogged)
            self._unlogged.clear()
        told = {id_: made[id_] if id_ in made else self.states[id_] for id_ in {*made, *self._unsaved}}
        if told:
            kept = {id_: state.kept() for id_, state in told.items()}
            self._version = self.store.put_states(kept, self._version)
            self.states |= told
            self._unsaved.clear()

    def _blind(self, now: int, reason: str) -> None:
        """ClickHouse is away: those who want to be told of that are, out of memory."""
        with self._lock:
            for alert in self.alerts.values():
                state = self.states.get(alert.id, State())
                if self._version >= 0 and self._is_due(alert, now):
                    window = window_of(alert, state, due_at(alert, now))
                    seen = Seen(window.at, window.low, window.high, unknown=reason)
                    self.states[alert.id] = evolve(alert, state, seen)
                    self._unsaved.add(alert.id)

    # --- telling -----------------------------------------------------------------------------------------

    def deliver(self, now: int) -> None:
        """Send what is due. Raises NeveError where it was sent and that could not be noted."""
        trouble: NeveError | None = None
        while due := self._due_notices(now):  # each is gone by then, or due later
            sending = {
                self._sending.submit(send, self.sender, *one, self._rights, self.place.base): one
                for one in due
            }
            for done in as_completed(sending):
                try:
                    self._note(*sending[done], done.result(), now)
                except NeveError as error:  # it is in memory, and noted later
                    trouble = error
        if trouble is not None:
            raise trouble

    def _due_notices(self, now: int) -> list[tuple[Alert, Notice]]:
        with self._lock:
            return [
                (self.alerts[id_], notice)
                for id_, state in self.states.items()
                if id_ in self.alerts
                for notice in _first_ones(state.outbox)
                if notice.next_at <= now
            ]

    def _note(self, alert: Alert, notice: Notice, sent: Sent, now: int) -> None:
        """Note what came of a try: in the log, and in the outbox."""
        over = now - notice.at >= self.config.give_up_hours * 3600 * SECOND
        ends = sent.ok or over or sent.error == GONE
        pause = min(FIRST_PAUSE << notice.attempt, LONGEST_PAUSE) if notice.attempt < 10 else LONGEST_PAUSE
        next_at = 0 if ends else now + pause + random.randrange(pause // 4)
        self.counts["delivered" if sent.ok else "given_up" if ends else "tries_failed"] += 1
        with self._lock:
            state = self.states.get(alert.id)
            if state is None:
                return
            later = replace(notice, attempt=notice.attempt + 1, next_at=next_at)
            outbox = tuple(
                later if one.id == notice.id else one
                for one in state.outbox
                if one.id != notice.id or not ends
            )
            self.states[alert.id] = replace(state, outbox=outbox)
            self._unsaved.add(alert.id)
            if sent.error != GONE and len(self._unlogged) < MOST_UNLOGGED:
                self._unlogged.append((alert.id, now, delivery(alert, notice, sent, now, next_at)))
            self._save({})

    # --- what is known -----------------------------------------------------------------------------------

    def worst(self) -> Counter[str]:
        """How many alerts are in which state."""
        with self._lock:
            return Counter(
                shown_state(one, self.states.get(id_, State())) for id_, one in self.alerts.items()
            )

    def waiting(self) -> int:
        """Notices that are not delivered."""
        with self._lock:
            return sum(len(state.outbox) for state in self.states.values())

    def dropped(self) -> int:
        with self._lock:
            return sum(state.dropped for state in self.states.values())


def read_rights(owner: Hot | Spread) -> Rights:
    """Roles and saved searches as they are now. Raises NeveError."""
    roles, saved = Documents(owner, "roles").all(), Documents(owner, "saved").all()
    return Rights(
        {name: Role.read(name, one) for name, one in roles.items() if not one.get("deleted")},
        {id_: one["query"] for id_, one in saved.items() if not one.get("deleted")},
    )


def shown_state(alert: Alert, state: State) -> str:
    """The state that an alert is shown in."""
    return state.worst if alert.enabled else "paused"


def _first_ones(outbox: Iterable[Notice]) -> Iterable[Notice]:
    """The oldest notice of each webhook: it hears them in order."""
    first: dict[str, Notice] = {}
    for notice in outbox:
        first.setdefault(notice.webhook, notice)
    return first.values()


def send(sender: Sender, alert: Alert, notice: Notice, rights: Rights, base: str) -> Sent:
    """Tell one webhook, once."""
    webhook = alert.webhook(notice.webhook)
    if webhook is None:
        return Sent(0, GONE, 0)
    try:
        query = rights.query(alert)
    except Unknowable:
        query = ""
    body = body_of(alert, notice, webhook.format, query, base)
    return sender.send(webhook.url, body, webhook.secret, notice.id, notice.attempt + 1)


def delivery(alert: Alert, notice: Notice, sent: Sent, now: int, next_at: int) -> Said:
    """A try as the log has it."""
    webhook = alert.webhook(notice.webhook)
    return {
        "id": notice.id,
        "at": to_rfc3339(now),
        "webhook": notice.webhook,
        "url": webhook.shown_url if webhook is not None else "",
        "kind": notice.kind,
        "groups": len(notice.groups) + notice.more,
        "attempt": notice.attempt + 1,
        **asdict(sent),
        "delivered": sent.ok,
        "next_at": to_rfc3339(next_at) if next_at else None,
    }
