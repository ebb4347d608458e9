"""Passes that age or restore what was asked for, and the ager as a process of `neve serve`."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse

from ingest.app import answer_error, answer_invalid
from neve_backup import Place, backup_there, clear, last_backup, release_there
from neve_steps import Say, patiently, streamed
from query.errors import RequestInvalid
from query.plan import time_range
from storage.access.access import Access
from storage.access.among import RESTS, word_for
from storage.access.answers import handle_errors
from storage.access.audit import Audit, refused, who
from storage.access.book import Book
from storage.access.config import AuthConfig
from storage.access.middleware import Guarded
from storage.access.openapi import Said, describe
from storage.ageing import Ager, Step, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig
from storage.config import ClickHouseConfig, ShardConfig
from storage.deletions import active
from storage.errors import AgerBusy, BackupRefused, NeveError, StorageUnavailable
from storage.facts import Facts
from storage.hot import Hot
from storage.leaving import is_due, leave
from storage.logs import fields_of
from storage.metrics import MEDIA_TYPE, metric, of_process
from storage.namespace_settings import Settings, StoredPolicies
from storage.pinned import Pinned
from storage.shards import Shard, Shards
from storage.spreading import Spread, open_shards, some_alive
from storage.upkeep import Upkeep

log = logging.getLogger("neve.ager")
TICK_SECONDS = 30.0  # between the passes of the server's own ager
UPKEEP_SECONDS = 3600.0
NOTHING = Settings()


# --- a pass over namespaces -----------------------------------------------------------------------------------


def agers_of(
    hot: Hot, clickhouse: ClickHouseConfig, cold: ColdTier, shards: Shards | None, say: Say
) -> list[Ager]:
    """One for each shard that is there; for each that is not, a line. Raises StorageUnavailable where none is."""
    if shards is None:
        return [Ager(hot, clickhouse, cold, say)]
    for one in shards.away():
        say(Step("away", "", f"shard {one.name} is away, and is left for later: {one.reason}"))
    return [Ager(one.hot, one.config, cold, say, shards=shards) for one in some_alive(shards)]


def age_all(
    hot: Hot,
    clickhouse: ClickHouseConfig,
    cold: ColdTier,
    asked: dict[str, Any],
    shards: Shards | None = None,
) -> Iterator[dict[str, Any]]:
    """Age as was asked: the steps as they are done, and an error for each namespace that has one.

    `shards`: of the cluster, where `hot` is the first of several.
    """
    wish = Wish(now=bool(asked.get("now")), before=asked.get("before"), grace=asked.get("grace"))
    try:
        known = hot.namespaces if shards is None else shards.namespaces
        namespaces = [asked["namespace"]] if asked.get("namespace") else known()
    except NeveError as error:
        yield error.to_json()
        return
    for namespace in namespaces:
        yield from streamed(partial(_age_there, hot, clickhouse, cold, shards, namespace, wish))


def _age_there(
    hot: Hot,
    clickhouse: ClickHouseConfig,
    cold: ColdTier,
    shards: Shards | None,
    namespace: str,
    wish: Wish,
    say: Say,
) -> None:
    for ager in agers_of(hot, clickhouse, cold, shards, say):
        _age_one(ager, namespace, wish)


def _age_one(ager: Ager, namespace: str, wish: Wish) -> None:
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
    hot: Hot,
    clickhouse: ClickHouseConfig,
    cold: ColdTier,
    asked: dict[str, Any],
    shards: Shards | None = None,
) -> Iterator[dict[str, Any]]:
    """Let a range of time come back to the hot tier: the steps as they are done, and the error that ended it.

    Of `shards`, the first that is there gets it.
    """
    namespace = str(asked.get("namespace") or "default")
    try:
        low, high = time_range(str(asked.get("from", "")), str(asked.get("to", "")), time.time_ns())
        if low is None or high is None:
            raise RequestInvalid("cannot restore: no range", "give `from` and `to`")
        (hot if shards is None else some_alive(shards)[0].hot).require(namespace)
    except NeveError as error:
        yield error.to_json()
        return

    def work(say: Say) -> None:
        back: list[int] = []

        def counted(step: Step) -> None:
            back.append(step.figures.get("rows", 0) if step.step == "thaw" else 0)
            say(step)

        ager = agers_of(hot, clickhouse, cold, shards, counted)[0]
        patiently(partial(ager.thaw, namespace, low, high))
        came = "they age again when their new epoch is old enough"
        ager.say("done", namespace, came if any(back) else "nothing in that range is cold")

    yield from streamed(work)


# --- the process ---------------------------------------------------------------------------------------------


class Keeper:
    """The server's own ager: a pass every TICK_SECONDS, chores every hour. It never waits for a grace to end."""

    def __init__(
        self, servers: Sequence[ShardConfig], config: ColdConfig, place: Place | None = None
    ) -> None:
        """`servers`: the shards. `place`: what backups are of, and what those have left there that were killed."""
        self.place = place
        self._left = place is not None
        self.cluster = open_shards(servers)
        self.shards = self.cluster if self.cluster.several else None
        self.first = self.cluster.home.hot
        self.clickhouse = self.cluster.home.config
        self.hot: Hot | Spread = Spread(self.cluster) if self.cluster.several else self.first
        self.policies = StoredPolicies(self.hot)
        self.settings: dict[str, Settings] = {}
        self.cold = ColdTier(replace(config, override=self.policies))
        self.agers = {
            one.number: Ager(one.hot, one.config, self.cold, self._heard, shards=self.shards)
            for one in self.cluster
        }
        self.counts = {"events_aged": 0, "epochs_aged": 0, "epochs_dropped": 0, "passes": 0, "failures": 0}
        self.troubles: dict[str, str] = {}
        self.facts = Facts(lambda: [one.hot for one in self.cluster.alive()], self.cold, self._facts_asked)
        self._stop = threading.Event()
        self._next_upkeep = time.monotonic() + UPKEEP_SECONDS / 60

    def start(self) -> None:
        self.cluster.start()
        threading.Thread(target=self._run, daemon=True).start()
        self.facts.text()  # so that the first who reads them finds some

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
        if self._left and self.place is not None:
            self._clear(self.place)
        there = self.cluster.alive()
        for one in self.cluster:
            if one.alive:
                self.troubles.pop(f"shard {one.name}", None)
            else:
                self._trouble(f"shard {one.name}", StorageUnavailable(f"it is away: {one.reason}"))
        for namespace in namespaces:
            for one in there:
                if self._stop.is_set():
                    return
                self._tend_shard(one, namespace, upkeep=upkeep, of_table=one is there[0])
        if upkeep:
            self._next_upkeep = time.monotonic() + UPKEEP_SECONDS
        self.counts["passes"] += 1

    def _clear(self, place: Place) -> None:
        """Once, on each shard: remove what backups that were killed have left."""
        try:
            there = self.cluster.alive()
            for id_ in clear([one.hot for one in there], self.cold, place):
                self._heard(Step("backup", id_, "it was killed; what it had put aside is removed"))
            self._left = len(there) < len(self.cluster)
            self.troubles.pop("backup", None)
        except AgerBusy:
            pass
        except NeveError as error:
            self._trouble("backup", error)

    def _tend_shard(self, shard: Shard, namespace: str, *, upkeep: bool, of_table: bool) -> None:
        what = f"{namespace} on {shard.name}" if self.shards is not None else namespace
        try:
            self._tend(self.agers[shard.number], namespace, upkeep=upkeep, of_table=of_table)
            self.troubles.pop(what, None)
        except AgerBusy:
            pass
        except NeveError as error:
            self._trouble(what, error)

    def _tend(self, ager: Ager, namespace: str, *, upkeep: bool, of_table: bool) -> None:
        settings = self.settings.get(namespace, NOTHING)
        if settings.deleted_at:
            if is_due(settings) and (self.shards is None or namespace in ager.hot.namespaces()):
                leave(ager, namespace)
            return
        policy = self.cold.config.policy(namespace)
        ager.tend_deletions(namespace)
        if policy.tier == "cold":
            ager.age(namespace, Wish(before=time.time() - policy.age_after_hours * 3600, wait=False))
        if upkeep:
            Upkeep(ager).run(namespace, of_table=of_table)

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
            log.warning("%s: %s", what, text, extra=fields_of(subject=what))
        self.troubles[what] = text

    def _facts_asked(self, error: NeveError | None) -> None:
        if error is None:
            self.troubles.pop("facts", None)
        else:
            self._trouble("facts", error)

    def _heard(self, step: Step) -> None:
        if step.step == "commit":
            self.counts["epochs_aged"] += 1
        elif step.step == "copy":
            self.counts["events_aged"] += int(step.figures["rows"])
        elif step.step == "drop" and "gone" in step.text:
            self.counts["epochs_dropped"] += 1
        said = fields_of(namespace=step.namespace, step=step.step, epoch=step.epoch or None)
        log.info("%s: %s: %s", step.namespace, step.step, step.text, extra=said)

    def status(self) -> dict[str, Any]:
        """What is cold of each namespace, and what holds for it, for `GET /cold/status`. Raises NeveError."""
        found = []
        for namespace in self.cold.catalog.namespaces():
            pinned = self.cold.pin(namespace)
            if pinned is not None:
                epochs = self._epochs(pinned)
                size = {"events": pinned.rows, "bytes": self.cold.bytes_of(namespace)}
                found.append({"namespace": namespace, **size, "snapshot": pinned.snapshot_id, **epochs})
        policies = {name: asdict(self.cold.config.policy(name)) for name in self.hot.namespaces()}
        counters = {"troubles": self.troubles, "counters": self.counts}
        return {"namespaces": found, "policies": policies, **counters}

    def deletions(self) -> list[dict[str, Any]]:
        """What was to be deleted, for `GET /cold/deletions`: done where all shards have done it. Raises NeveError."""
        found: dict[str, dict[str, Any]] = {}
        for some in self.cluster.each(lambda one: active(one.hot)).values():
            for one in some:
                said, known = one.to_json(), found.get(one.id)
                if known is not None:
                    counts = {name: known[name] + said[name] for name in ("hot", "cold")}
                    said = {**said, **counts, "done": known["done"] and said["done"]}
                found[one.id] = said
        return sorted(found.values(), key=lambda one: (one["asked_at"], one["id"]))

    def _epochs(self, pinned: Pinned) -> dict[str, Any]:
        """Which epochs are cold: of a server alone, or of each shard by its name."""
        by_name = {
            one.name: {"through": record.through, "epochs": sorted(record.epochs)}
            for one in self.cluster
            for record in (pinned.shard(one.number),)
        }
        return {"shards": by_name} if self.shards is not None else by_name[self.cluster.home.name]

    def metrics(self) -> str:
        """What Prometheus reads; nobody is asked."""
        lines = [
            metric(f"neve_ager_{name}_total", "counter", name.replace("_", " "), [("", float(count))])
            for name, count in self.counts.items()
        ]
        troubles = metric(
            "neve_ager_troubles", "gauge", "things that stand in the way", [("", float(len(self.troubles)))]
        )
        last = last_backup(self.place.data) if self.place is not None else 0.0
        backup = metric(
            "neve_backup_last_timestamp_seconds",
            "gauge",
            "when the last backup was finished, 0 where there was none",
            [("", last)],
        )
        return "".join(lines) + troubles + backup + of_process("neve_ager_") + self.facts.text()


def create_app(
    servers: Sequence[ShardConfig],
    config: ColdConfig,
    auth: AuthConfig | None = None,
    inside: str = "",
    gateway: str = "",
    place: Place | None = None,
) -> FastAPI:
    """The ager process as an ASGI app, over all shards.

    `auth`, `inside`: who may ask; `gateway`: its socket, for the audit log. `place`: what a backup is of.
    """
    auth = auth or AuthConfig()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.keeper = keeper = Keeper(servers, config, place)
        keeper.start()
        book = Book(keeper.hot)
        app.state.access = access = Access(auth, book, inside)
        if place is not None:
            headers = access.inside_headers() if auth.enabled else {}
            keeper.place = replace(place, headers=headers, word=word_for(RESTS, access.secret()))
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
    app.state.leave = lambda: None
    app.add_middleware(
        Guarded,
        access=lambda: app.state.access,
        process="ager",
        refused=lambda *what: refused(app.state.audit, *what),
    )
    app.add_exception_handler(NeveError, answer_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    handle_errors(app)
    steps = {200: {"application/x-ndjson": {"type": "string"}}}
    stepwise = ("delete", "restore", "age", "backup", "backup/release")
    said = {f"/cold/{name}": Said(steps, more=(422,)) for name in stepwise}
    describe(app, "ager", said, asks=auth.enabled)

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
        return {"deletions": keeper_of(request).deletions()}

    @app.post("/cold/delete")
    def delete(request: Request, asked: Annotated[dict[str, Any], Body()]) -> StreamingResponse:
        """Delete what a query finds; the steps as they are done, a JSON object a line."""
        from neve_delete import delete_there

        if not asked.get("dry_run"):
            note(request, "events deleted", asked, "warn")
        keeper = keeper_of(request)
        return steps_answer(delete_there(keeper.first, keeper.clickhouse, keeper.cold, asked, keeper.shards))

    @app.post("/cold/restore")
    def restore_range(request: Request, asked: Annotated[dict[str, Any], Body()]) -> StreamingResponse:
        """Let a range of time come back to the hot tier; the steps as they are done, a JSON object a line."""
        keeper = keeper_of(request)
        note(request, "range restored", asked)
        return steps_answer(thaw_there(keeper.first, keeper.clickhouse, keeper.cold, asked, keeper.shards))

    @app.post("/cold/backup")
    def backup(request: Request, asked: Annotated[dict[str, Any], Body()]) -> StreamingResponse:
        """Back the server up into `folder` of this machine; the steps as they are done, a JSON object a line."""
        keeper = keeper_of(request)
        if keeper.place is None:
            raise BackupRefused("cannot back up: this ager does not know of what")
        note(request, "backup made", asked)
        return steps_answer(backup_there(keeper.cluster, keeper.cold, keeper.place, asked))

    @app.post("/cold/backup/release")
    def release(request: Request, asked: Annotated[dict[str, Any], Body()]) -> StreamingResponse:
        """Give up what the backup of an `id` holds in the warehouse; the steps as they are done."""
        note(request, "backup released", asked)
        return steps_answer(release_there(keeper_of(request).cold, asked))

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
        return steps_answer(age_all(keeper.first, keeper.clickhouse, keeper.cold, asked, keeper.shards))

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
