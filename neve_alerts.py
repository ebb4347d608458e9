"""Alerts as a process of `neve serve`, and the commands `neve alerts`."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ingest.remote import Remote
from storage import leases
from storage.address import add_address
from storage.errors import AgerBusy, NeveError
from storage.hot import Hot
from storage.metrics import MEDIA_TYPE, labels, metric, of_process
from storage.spreading import Spread

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from neve_serve import ServeConfig
    from query.alerting.evaluator import Evaluator

log = logging.getLogger("neve.alerts")
TICK_SECONDS = 1.0
ASIDE_SECONDS = 5.0  # between looks whether whoever evaluates has gone
ASK_SECONDS = 2.0
DONE = 0
Said = dict[str, Any]


# --- the process ---------------------------------------------------------------------------------------------


class Watch:
    """Lets alerts look, and tell, in two threads, while this process holds the lease."""

    def __init__(self, evaluator: Evaluator, owner: Hot | Spread, holder: str) -> None:
        self.evaluator = evaluator
        self.leading = False
        self._owner = owner
        self._holder = holder
        self._stop = threading.Event()
        self._said = ""

    def start(self) -> None:
        threading.Thread(target=self._run, name="alerts", daemon=True).start()

    def stop(self) -> None:
        """What is under way ends with the process: all of it can be cut."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._patiently(self._lead)
            self._stop.wait(TICK_SECONDS)

    def _lead(self) -> None:
        """Hold the lease and look. Raises NeveError where it cannot be had, or not be kept."""
        try:
            with leases.held(self._owner, "alerts", self._holder) as lease:
                self.leading = True
                ended = threading.Event()
                teller = threading.Thread(target=self._tell, args=(ended,), name="webhooks", daemon=True)
                teller.start()
                try:
                    while not (self._stop.is_set() or lease.lost):
                        with suppress(AgerBusy):  # it was lost meanwhile
                            self._patiently(lambda: self.evaluator.tick(time.time_ns(), lease.check))
                        self._stop.wait(TICK_SECONDS)
                finally:
                    ended.set()
                    teller.join()
        except AgerBusy:  # another process has it
            self.leading = False
            self._stop.wait(ASIDE_SECONDS)
        except NeveError:
            if self.leading:  # ClickHouse is away, so nobody else can have the lease
                self._patiently(lambda: self.evaluator.tick(time.time_ns()))
                self._patiently(lambda: self.evaluator.deliver(time.time_ns()))
            raise

    def _tell(self, ended: threading.Event) -> None:
        while not (ended.is_set() or self._stop.is_set()):
            self._patiently(lambda: self.evaluator.deliver(time.time_ns()))
            ended.wait(TICK_SECONDS)

    def _patiently(self, work: Callable[[], None]) -> None:
        """Do something that will be tried again anyhow; what is wrong is said once."""
        try:
            work()
            self._said = ""
        except AgerBusy:
            raise
        except NeveError as error:
            self._complain(str(error))
        except Exception as error:
            log.exception("fault of alerts")
            self._complain(type(error).__name__)

    def _complain(self, text: str) -> None:
        if text != self._said:
            log.warning("alerts cannot look: %s", text)
        self._said = text

    def metrics(self) -> str:
        """What Prometheus reads; nobody is asked."""
        one = self.evaluator
        states = [(labels(state=name), float(count)) for name, count in sorted(one.worst().items())]
        gauges = {
            "leading": ("1 while this process lets alerts look", int(self.leading)),
            "blind": ("1 while ClickHouse is away", int(bool(one.trouble))),
            "waiting": ("notifications that are not delivered yet", one.waiting()),
        }
        parts = [metric("neve_alerts", "gauge", "alerts by state", states)] if states else []
        parts += [
            metric(f"neve_alerts_{name}", "gauge", help_, [("", number)])
            for name, (help_, number) in gauges.items()
        ]
        parts += [
            metric(f"neve_alerts_{name}_total", "counter", help_, [("", float(one.counts[name]))])
            for name, help_ in COUNTED.items()
        ]
        dropped = metric(
            "neve_alerts_dropped", "gauge", "notifications that had no room", [("", one.dropped())]
        )
        return "".join(parts) + dropped + of_process("neve_alerts_")


COUNTED = {
    "looks": "times that an alert looked",
    "looks_in_vain": "looks of which nothing could be known",
    "waits": "looks put off for events on the way",
    "delivered": "notifications that a webhook took",
    "tries_failed": "tries that a webhook did not take",
    "given_up": "notifications that no webhook took for too long",
}


def create_app(
    hot: Hot | Spread, owner: Hot | Spread, config: ServeConfig, inside: str = "", gateway: str = ""
) -> Starlette:
    """The process as an ASGI app. `hot`: as who may read events alone; who made both closes them.

    `gateway`: its socket.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import Response
    from starlette.routing import Route

    from neve_serve import PINS_FILE
    from query.alerting.evaluator import Evaluator, Place
    from query.learning import Learner
    from query.serving import states_of
    from storage.access.access import Access
    from storage.access.book import Book
    from storage.access.middleware import Guarded

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        book = Book(owner)
        app.state.access = access = Access(config.auth, book, inside)
        learner = Learner(owner, config.data / PINS_FILE)
        states = states_of(hot, config.cold_config())
        fresh = _lag_of(gateway, access.inside_headers())
        place = Place(hot, states, owner, learner.refresh, fresh, config.base())
        evaluator = Evaluator(place, config.alerts)
        app.state.watch = watch = Watch(evaluator, owner, holder_of(config))
        if config.auth.enabled:
            book.start()
        if config.alerts.enabled:
            watch.start()
        yield
        watch.stop()
        book.stop()
        evaluator.close()

    def metrics(request: Request) -> Response:
        watch: Watch = request.app.state.watch
        return Response(watch.metrics(), media_type=MEDIA_TYPE)

    guarded = Middleware(Guarded, access=lambda: app.state.access, process="alerts")
    app: Starlette = Starlette(routes=[Route("/metrics", metrics)], middleware=[guarded], lifespan=lifespan)
    app.state.leave = lambda: None
    return app


def holder_of(config: ServeConfig) -> str:
    """Who this server is, of which there is one at a time: after it was killed it need not wait for its own lease."""
    said = f"{socket.gethostname()}\0{config.data.absolute()}"
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _lag_of(gateway: str, headers: dict[str, str]) -> Callable[[], float | None]:
    """Asks the gateway how long what it took last waits for ClickHouse."""
    import httpx

    client = httpx.Client(
        transport=httpx.HTTPTransport(uds=gateway),
        base_url="http://neve",
        headers=headers,
        timeout=ASK_SECONDS,
    )

    def lag() -> float | None:
        try:
            answer = client.get("/gateway/status")
            return float(answer.json()["lag_seconds"]) if answer.is_success else None
        except (httpx.HTTPError, ValueError, KeyError):
            return None

    return lag


# --- the commands --------------------------------------------------------------------------------------------


def add_commands(commands: Any) -> None:
    """Add `alerts`."""
    help_ = "alerts: what they are about, and their states"
    parser = commands.add_parser("alerts", help=help_, description=help_)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    one = _action(
        actions, "list", _list, "show all alerts of a namespace; exit code 1 if one fires or is unknown"
    )
    one.add_argument("--namespace", metavar="NS", default="", help="default: the only one, or default")
    _action(actions, "test", _test, "let one look now, and tell its webhooks, marked as a test").add_argument(
        "id"
    )


def _action(
    actions: Any, name: str, work: Callable[[argparse.Namespace, Remote], int], help_: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=help_, description=help_)
    add_address(parser)
    parser.add_argument("--json", action="store_true", help="the whole answer, as JSON")

    def run(args: argparse.Namespace) -> int:
        with Remote(args.url) as server:
            return work(args, server)

    parser.set_defaults(run=run)
    return parser


def _list(args: argparse.Namespace, server: Remote) -> int:
    params = {"namespace": args.namespace} if args.namespace else {}
    found = server.get("/api/v1/alerts", params)["alerts"]
    if args.json:
        print(json.dumps(found))
    elif not found:
        print(
            "neve: no alerts; the page makes them, or POST /api/v1/alerts (docs/alerts.md)", file=sys.stderr
        )
    for one in [] if args.json else found:
        state = one["state"]
        muted = "  muted" if state["muted"] else ""
        why = f"  {state['reason']}" if state["reason"] else ""
        since = f" since {state['since'][:16]}Z" if state["since"] else ""
        asked = "its saved search" if one["saved"] else one["query"] or "every event"
        print(f"{one['id']}  {state['state']}{since}{muted}  {one['name']}  ({one['kind']} of {asked}){why}")
        for group in state["groups"]:
            if group["state"] != "ok":
                name = group["template"] or group["group"] or "all"
                print(f"    {group['state']}  {name[:100]}  {group['value']:g}")
    return int(any(one["state"]["state"] in ("firing", "unknown") for one in found))


def _test(args: argparse.Namespace, server: Remote) -> int:
    said = server.post(f"/api/v1/alerts/{quote(args.id, safe='')}/test", {})
    if args.json:
        print(json.dumps(said))
        return DONE
    state = said["state"]
    why = f": {state['reason']}" if state["reason"] else ""
    print(
        f"it would be {state['state']}{why}, looking from {(state['window'] or {}).get('from') or 'nowhere'}"
    )
    for group in state["groups"]:
        print(
            f"    {group['state']}  {(group['template'] or group['group'] or 'all')[:100]}  {group['value']:g}"
        )
    for one in said["deliveries"]:
        print(f"told {one['url']}: {'taken' if one['delivered'] else one['error']} ({one['ms']} ms)")
    return int(not all(one["delivered"] for one in said["deliveries"]))
