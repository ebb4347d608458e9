"""`neve age`, `neve restore`, and the ager as a process of `neve serve`."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

from ingest.app import answer_error
from ingest.metrics import MEDIA_TYPE, metric, of_process
from ingest.remote import DEFAULT_URL
from neve_steps import Say, add_places, asked_there, local, patiently, streamed, tell
from query.errors import RequestInvalid
from query.plan import time_range
from query.times import BadTime, parse_instant
from storage.access.access import Access
from storage.access.audit import Audit, refused, who
from storage.access.book import Book
from storage.access.config import AuthConfig
from storage.access.middleware import Guarded
from storage.ageing import Ager, Step, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig
from storage.config import ClickHouseConfig
from storage.deletions import active
from storage.errors import AgerBusy, ConfigError, NeveError
from storage.hot import Hot
from storage.leaving import is_due, leave
from storage.namespace_settings import Settings, StoredPolicies, stored_over
from storage.restoring import restore, stored_namespaces
from storage.upkeep import Upkeep

DONE, FAILED, MISUSED = 0, 1, 2
TICK_SECONDS = 30.0  # between the passes of the server's own ager
UPKEEP_SECONDS = 3600.0
SECOND = 10**9
NOTHING = Settings()


def add_commands(commands: Any) -> None:
    """Add `age` and `restore`."""
    parser = commands.add_parser("age", help="move closed epochs to the cold tier, once")
    parser.add_argument("--namespace", metavar="NS", help="default: all")
    parser.add_argument(
        "--before", metavar="T", help="only epochs that had ended by then; default: all closed ones"
    )
    parser.add_argument("--now", action="store_true", help="close the present epoch first")
    parser.add_argument(
        "--grace", type=float, metavar="SECONDS", help="before the hot copy goes; default: configured"
    )
    parser.set_defaults(run=run_age)
    restoring = commands.add_parser("restore", help="make what was lost again from what is there")
    actions = restoring.add_subparsers(title="actions", metavar="ACTION", required=True)
    catalog = actions.add_parser(
        "catalog", help="point the catalog to the latest metadata files of the warehouse"
    )
    catalog.add_argument("--namespace", metavar="NS", help="default: all")
    catalog.add_argument("--replace", action="store_true", help="also where the catalog has the table")
    catalog.set_defaults(run=run_restore)
    thawing = actions.add_parser(
        "range", help="let a range of time come back from the cold tier to the hot one"
    )
    thawing.add_argument("--namespace", metavar="NS", default="default", help="default: default")
    thawing.add_argument("--from", dest="from_", metavar="T", required=True, help="from this time on")
    thawing.add_argument("--to", metavar="T", required=True, help="before this time")
    thawing.add_argument("--url", metavar="URL", help=f"address of neve; default: $NEVE_URL or {DEFAULT_URL}")
    thawing.set_defaults(run=run_thaw)
    for one in (parser, catalog, thawing):
        add_places(one)
    parser.add_argument("--to", metavar="URL", help=f"address of neve; default: $NEVE_URL or {DEFAULT_URL}")


# --- the commands -------------------------------------------------------------------------------------------


def run_age(args: argparse.Namespace) -> int:
    """One pass, said step by step; 1 where something stood in the way."""
    if args.grace is not None and args.grace < 0:
        raise ConfigError(f"cannot use --grace: {args.grace}", "give seconds, 0 for none")
    if args.data is not None and args.to is not None:
        raise ConfigError("cannot use both --data and --to", "give one of them")
    asked = {
        "namespace": args.namespace,
        "before": _moment(args.before),
        "now": args.now,
        "grace": args.grace,
    }
    failed = False
    if args.data is None and args.config is None:
        for said in asked_there(args.to, "/cold/age", asked):
            failed |= tell(said)
        return FAILED if failed else DONE
    clickhouse, config = local(args.data, args.config)
    with Hot(clickhouse) as hot:
        hot.migrate()
        for said in age_all(hot, clickhouse, ColdTier(stored_over(config, hot)), asked):
            failed |= tell(said)
    return FAILED if failed else DONE


def run_restore(args: argparse.Namespace) -> int:
    """Point the catalog anew; every namespace is said."""
    clickhouse, config = local(args.data, args.config)
    cold = ColdTier(config)
    with Hot(clickhouse) as hot:
        hot.migrate()
        for namespace in [args.namespace] if args.namespace else stored_namespaces(cold.catalog):
            done = restore(hot, cold, namespace, replace=args.replace)
            print(f"{namespace}: snapshot {done.snapshot_id} of {done.metadata}")
    return DONE


def run_thaw(args: argparse.Namespace) -> int:
    """Let a range of time come back, said step by step; 1 where something stood in the way."""
    if args.data is not None and args.url is not None:
        raise ConfigError("cannot use both --data and --url", "give one of them")
    asked = {"namespace": args.namespace, "from": args.from_, "to": args.to}
    failed = False
    if args.data is None and args.config is None:
        for said in asked_there(args.url, "/cold/restore", asked):
            failed |= tell(said)
        return FAILED if failed else DONE
    clickhouse, config = local(args.data, args.config)
    with Hot(clickhouse) as hot:
        hot.migrate()
        for said in thaw_there(hot, clickhouse, ColdTier(stored_over(config, hot)), asked):
            failed |= tell(said)
    return FAILED if failed else DONE


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_instant(text, time.time_ns()) / SECOND
    except BadTime as error:
        raise ConfigError(f"cannot use --before: {error}") from None


# --- a pass over namespaces -----------------------------------------------------------------------------------


def age_all(
    hot: Hot, clickhouse: ClickHouseConfig, cold: ColdTier, asked: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Age as was asked: the steps as they are done, and an error for each namespace that has one."""
    wish = Wish(now=bool(asked.get("now")), before=asked.get("before"), grace=asked.get("grace"))
    try:
        namespaces = [asked["namespace"]] if asked.get("namespace") else hot.namespaces()
    except NeveError as error:
        yield error.to_json()
        return
    for namespace in namespaces:
        yield from streamed(partial(_age_one, hot, clickhouse, cold, namespace, wish))


def _age_one(
    hot: Hot, clickhouse: ClickHouseConfig, cold: ColdTier, namespace: str, wish: Wish, say: Say
) -> None:
    ager = Ager(hot, clickhouse, cold, say)
    if ager.cold.config.policy(namespace).tier == "hot":
        ager.say("done", namespace, "has no cold tier")
        return
    if wish.now:
        ager.catch_up(namespace)
        ager.close_present(namespace)
    once = Wish(before=wish.before, grace=wish.grace)
    events = patiently(partial(ager.age, namespace, once))
    ager.say("done", namespace, f"{events:,} events became cold", rows=events)


def thaw_there(
    hot: Hot, clickhouse: ClickHouseConfig, cold: ColdTier, asked: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Let a range of time come back to the hot tier: the steps as they are done, and the error that ended it."""
    namespace = str(asked.get("namespace") or "default")
    try:
        low, high = time_range(str(asked.get("from", "")), str(asked.get("to", "")), time.time_ns())
        if low is None or high is None:
            raise RequestInvalid("cannot restore: no range", "give `from` and `to`")
        hot.require(namespace)
    except NeveError as error:
        yield error.to_json()
        return

    def work(say: Say) -> None:
        ager = Ager(hot, clickhouse, cold, say)
        patiently(partial(ager.thaw, namespace, low, high))
        ager.say("done", namespace, "they age again when their new epoch is old enough")

    yield from streamed(work)


# --- the process ---------------------------------------------------------------------------------------------


class Keeper:
    """The server's own ager: a pass every TICK_SECONDS, chores every hour. It never waits for a grace to end."""

    def __init__(self, clickhouse: ClickHouseConfig, config: ColdConfig) -> None:
        self.hot = Hot(clickhouse)
        self.clickhouse = clickhouse
        self.policies = StoredPolicies(self.hot)
        self.settings: dict[str, Settings] = {}
        self.cold = ColdTier(replace(config, override=self.policies))
        self.ager = Ager(self.hot, clickhouse, self.cold, self._heard)
        self.counts = {"events_aged": 0, "epochs_aged": 0, "epochs_dropped": 0, "passes": 0, "failures": 0}
        self.troubles: dict[str, str] = {}
        self._stop = threading.Event()
        self._next_upkeep = time.monotonic() + UPKEEP_SECONDS / 60

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """What is under way ends with the process: every step can be cut."""
        self._stop.set()

    def tick(self) -> None:
        """One pass over every namespace."""
        upkeep = time.monotonic() >= self._next_upkeep
        try:
            self.settings = self.policies.all()
            namespaces = self.hot.namespaces()
        except NeveError as error:
            self._trouble("clickhouse", error)
            return
        self.troubles.pop("clickhouse", None)
        for namespace in namespaces:
            if self._stop.is_set():
                return
            try:
                self._tend(namespace, upkeep=upkeep)
                self.troubles.pop(namespace, None)
            except AgerBusy:
                pass
            except NeveError as error:
                self._trouble(namespace, error)
        if upkeep:
            self._next_upkeep = time.monotonic() + UPKEEP_SECONDS
        self.counts["passes"] += 1

    def _tend(self, namespace: str, *, upkeep: bool) -> None:
        settings = self.settings.get(namespace, NOTHING)
        if settings.deleted_at:
            if is_due(settings):
                leave(self.ager, namespace)
            return
        policy = self.cold.config.policy(namespace)
        self.ager.tend_deletions(namespace)
        if policy.tier == "cold":
            self.ager.age(namespace, Wish(before=time.time() - policy.age_after_hours * 3600, wait=False))
        if upkeep:
            Upkeep(self.ager).run(namespace)

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            try:
                self.tick()
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the ageing for good
                self._trouble("ager", error)

    def _trouble(self, what: str, error: Exception) -> None:
        self.counts["failures"] += 1
        text = str(error) if isinstance(error, NeveError) else type(error).__name__
        if self.troubles.get(what) != text:
            print(f"neve: {what}: {text}", file=sys.stderr, flush=True)
        self.troubles[what] = text

    def _heard(self, step: Step) -> None:
        if step.step == "commit":
            self.counts["epochs_aged"] += 1
        elif step.step == "copy":
            self.counts["events_aged"] += int(step.figures["rows"])
        elif step.step == "drop" and "gone" in step.text:
            self.counts["epochs_dropped"] += 1
        print(f"neve: {step.namespace}: {step.step}: {step.text}", file=sys.stderr, flush=True)

    def status(self) -> dict[str, Any]:
        """What is cold of each namespace, for `GET /cold/status`. Raises NeveError."""
        found = []
        for namespace in self.cold.catalog.namespaces():
            pinned = self.cold.pin(namespace)
            if pinned is not None:
                shard = pinned.shard()
                epochs = {"through": shard.through, "epochs": sorted(shard.epochs)}
                found.append(
                    {"namespace": namespace, "events": pinned.rows, "snapshot": pinned.snapshot_id, **epochs}
                )
        return {"namespaces": found, "troubles": self.troubles, "counters": self.counts}

    def metrics(self) -> str:
        """What Prometheus reads; nobody is asked."""
        lines = [
            metric(f"neve_ager_{name}_total", "counter", name.replace("_", " "), [("", float(count))])
            for name, count in self.counts.items()
        ]
        troubles = metric(
            "neve_ager_troubles", "gauge", "things that stand in the way", [("", float(len(self.troubles)))]
        )
        return "".join(lines) + troubles + of_process("neve_ager_")


def create_app(
    clickhouse: ClickHouseConfig,
    config: ColdConfig,
    auth: AuthConfig | None = None,
    inside: str = "",
    gateway: str = "",
) -> FastAPI:
    """The ager process as an ASGI app. `auth`, `inside`: who may ask; `gateway`: its socket, for the audit log."""
    auth = auth or AuthConfig()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.keeper = keeper = Keeper(clickhouse, config)
        keeper.start()
        book = Book(keeper.hot)
        app.state.access = access = Access(auth, book, inside)
        app.state.audit = Audit(gateway, access.inside_headers()) if auth.enabled and gateway else None
        if auth.enabled:
            book.start()
        if app.state.audit is not None:
            app.state.audit.start()
        yield
        if app.state.audit is not None:
            app.state.audit.stop()
        book.stop()
        keeper.stop()

    app = FastAPI(title="Neve ager", lifespan=lifespan)
    app.add_middleware(
        Guarded,
        access=lambda: app.state.access,
        process="ager",
        refused=lambda *what: refused(app.state.audit, *what),
    )
    app.add_exception_handler(NeveError, answer_error)

    def keeper_of(request: Request) -> Keeper:
        found: Keeper = request.app.state.keeper
        return found

    @app.get("/cold/ready")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.get("/cold/status")
    def status(request: Request) -> dict[str, Any]:
        return keeper_of(request).status()

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics(request: Request) -> PlainTextResponse:
        return PlainTextResponse(keeper_of(request).metrics(), media_type=MEDIA_TYPE)

    @app.get("/cold/deletions")
    def deletions(request: Request) -> dict[str, Any]:
        """What was to be deleted, and how much was, as long as that holds."""
        return {"deletions": [one.to_json() for one in active(keeper_of(request).hot)]}

    @app.post("/cold/delete")
    def delete(request: Request, asked: Annotated[dict[str, Any], Body()]) -> StreamingResponse:
        """Delete what a query finds; the steps as they are done, a JSON object a line."""
        from neve_delete import delete_there

        if not asked.get("dry_run"):
            note(request, "events deleted", asked, "warn")
        keeper = keeper_of(request)
        return steps_answer(delete_there(keeper.hot, keeper.clickhouse, keeper.cold, asked))

    @app.post("/cold/restore")
    def restore_range(request: Request, asked: Annotated[dict[str, Any], Body()]) -> StreamingResponse:
        """Let a range of time come back to the hot tier; the steps as they are done, a JSON object a line."""
        keeper = keeper_of(request)
        note(request, "range restored", asked)
        return steps_answer(thaw_there(keeper.hot, keeper.clickhouse, keeper.cold, asked))

    @app.post("/cold/age")
    def age(
        request: Request,
        namespace: Annotated[str | None, Body()] = None,
        before: Annotated[float | None, Body()] = None,
        now: Annotated[bool, Body()] = False,
        grace: Annotated[float | None, Body(ge=0)] = None,
    ) -> StreamingResponse:
        """One pass; its steps as they are done, a JSON object a line, and errors in between."""
        keeper = keeper_of(request)
        asked = {"namespace": namespace, "before": before, "now": now, "grace": grace}
        note(request, "events aged", asked)
        return steps_answer(age_all(keeper.hot, keeper.clickhouse, keeper.cold, asked))

    return app


def note(request: Request, action: str, asked: dict[str, Any], level: str = "info") -> None:
    """Write down what somebody asked for."""
    audit: Audit | None = request.app.state.audit
    if audit is not None:
        namespace = asked.get("namespace") or "default"
        audit.say(action, level, **who(request.scope), namespace=namespace, settings=json.dumps(asked))


def steps_answer(steps: Iterator[dict[str, Any]]) -> StreamingResponse:
    """Steps as an HTTP answer."""
    lines = (json.dumps(one).encode() + b"\n" for one in steps)
    return StreamingResponse(lines, media_type="application/x-ndjson")
