"""Who may what, over the whole server: tenants, scopes, roles, certificates, the audit log, and secrets."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import ssl
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from storage.embedded import saved_config
from storage.embedded_files import INSERTER, SEARCHER
from storage.native.block import seal
from storage.tls import client_context
from tests.certificates import Authority
from tests.e2e.conftest import Run
from tests.e2e.guarded import Guarded, patiently
from tests.integration.query.conftest import serving
from tests.provider import Browser, TestProvider

OTHERS = "bravo-secret"
BEARER = "plantedBearerToken0123456789abcdef"
PLANTED = ("planted-catalog-secret", "planted-oidc-secret", BEARER)
OIDC = """
[auth.oidc]
issuer = "{issuer}"
client_id = "neve"
client_secret = "planted-oidc-secret"
roles = {{ "sre" = "admin" }}
[redaction]
classes = ["token"]
"""


@dataclass
class House:
    server: Guarded
    admin: str
    a_search: str
    a_ingest: str
    b_search: str
    both: str
    viewer: str
    b_event: dict[str, Any]


@pytest.fixture(scope="module")
def provider() -> Iterator[TestProvider]:
    made = TestProvider("planted-oidc-secret")
    with serving(made.app) as url:
        made.issuer = url
        yield made


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, provider: TestProvider) -> Iterator[House]:
    with Guarded(tmp_path_factory.mktemp("guarded"), OIDC.format(issuer=provider.issuer)) as server:
        admin = server.key("--scope", "admin", "--name", "root")
        server.client.headers["Authorization"] = f"Bearer {admin}"

        def made(*options: str) -> str:
            done = server.neve("keys", "create", *options, key=admin)
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        role = server.neve("roles", "set", "viewer", "--filter", "level:info", key=admin)
        assert role.returncode == 0, role.stderr
        a_ingest = made("--scope", "ingest", "--namespace", "tenant_a")
        b_ingest = made("--scope", "ingest", "--namespace", "tenant_b")
        events = [{"level": "info", "msg": "alpha one"}, {"level": "error", "msg": "alpha two"}]
        # A key for one namespace need not say which.
        assert server.send(a_ingest, "", *events).status_code == 200
        theirs = {
            "level": "info",
            "msg": f"{OTHERS} one",
            "service": "bravo-secret-service",
            "bravo_secret_tag": "x",
        }
        assert server.send(b_ingest, "tenant_b", theirs, theirs | {"msg": f"{OTHERS} two"}).status_code == 200
        b_search = made("--scope", "search", "--namespace", "tenant_b")
        house = House(
            server,
            admin,
            made("--scope", "search", "--namespace", "tenant_a"),
            a_ingest,
            b_search,
            made("--scope", "search", "--namespace", "tenant_a", "--namespace", "tenant_b"),
            made("--scope", "search", "--namespace", "tenant_a", "--role", "viewer"),
            {},
        )
        with server.with_key(b_search) as client:
            house.b_event = patiently(lambda: events_of(client, 2))[0]
        with server.with_key(house.a_search) as client:
            patiently(lambda: events_of(client, 2))
        yield house


def events_of(client: httpx.Client, count: int) -> list[dict[str, Any]] | None:
    answer = client.get("/api/v1/search")
    found = answer.json().get("events", [])
    return found if len(found) == count else None


def reads(house: House) -> list[tuple[str, str, dict[str, str]]]:
    """Method, path and parameters of everything that reads events."""
    id_ = house.b_event["id"]
    return [
        ("GET", "/api/v1/search", {}),
        ("GET", "/api/v1/search", {"q": f'"{OTHERS}"'}),
        ("GET", "/api/v1/search", {"q": "service:bravo*"}),
        ("GET", "/api/v1/search", {"q": f"fingerprint:{house.b_event['fingerprint']}"}),
        ("GET", "/api/v1/search", {"q": "* | stats count() as n by service"}),
        ("POST", "/api/v1/search", {"q": OTHERS}),
        ("GET", "/api/v1/histogram", {"by": "service"}),
        ("GET", "/api/v1/patterns", {}),
        ("GET", "/api/v1/patterns", {"new_since": "2020-01-01"}),
        ("GET", "/api/v1/patterns/compare", {"compare_q": OTHERS}),
        ("GET", "/api/v1/fields/compare", {"q": "level:info"}),
        ("GET", "/api/v1/search", {"format": "csv"}),
        ("GET", "/api/v1/fields", {}),
        ("GET", "/api/v1/fields/service/values", {}),
        ("GET", "/api/v1/fields/bravo_secret_tag/values", {}),
        ("GET", "/api/v1/context", {"id": id_}),
        ("POST", "/api/v1/explain", {"q": "*"}),
        ("GET", "/api/v1/tail", {"q": "*"}),
    ]


NAMES = (
    "tenant_b", "TENANT_B", "tenant_b/", "../tenant_b", "tenant_a/../tenant_b", "tenant_b%00", "tenant_b\x00",
    " tenant_b", "tenant_b.events", "tenant_b; DROP TABLE neve_tenant_b.events", "tenant_a,tenant_b", "*", "audit",
    "system",
)  # fmt: skip


def test_the_other_tenant_is_not_there(house: House) -> None:
    """Refused, in the same words as a namespace that nobody ever made."""
    with house.server.with_key(house.a_search) as client:
        for method, path, asked in reads(house):
            answers = [
                ask(client, method, path, {**asked, "namespace": name}) for name in ("tenant_b", "tenant_n")
            ]
            assert [one.status_code for one in answers] == [403, 403], path
            said = [
                one.text.replace(name, "NAME")
                for one, name in zip(answers, ("tenant_b", "tenant_n"), strict=True)
            ]
            assert said[0] == said[1]
            assert OTHERS not in said[0]


def test_names_that_try_to_be_another(house: House) -> None:
    with house.server.with_key(house.a_search) as client:
        for name in NAMES:
            answer = client.get("/api/v1/search", params={"namespace": name})
            assert answer.status_code in (400, 403), name
            assert OTHERS not in answer.text


def test_without_a_name_it_is_ones_own(house: House) -> None:
    cursor = ""
    with house.server.with_key(house.b_search) as client:
        cursor = client.get("/api/v1/search", params={"limit": 1}).json()["next_cursor"]
    with house.server.with_key(house.a_search) as client:
        for method, path, asked in reads(house):
            if path.endswith("/tail") or "format" in asked:
                continue
            answer = ask(client, method, path, asked)
            said = json.dumps({**answer.json(), "query": "", "ast": "", "plan": "", "sql": "", "field": ""})
            assert "bravo" not in said.lower().replace(f"'{OTHERS}'", ""), path
        used = client.get("/api/v1/search", params={"limit": 1, "cursor": cursor})
        assert used.status_code == 400
        headers = {
            "X-Scope-OrgID": "tenant_b",
            "X-Neve-Namespace": "tenant_b",
            "X-Forwarded-For": "127.0.0.1",
        }
        assert OTHERS not in client.get("/api/v1/search", headers=headers).text


def ask(client: httpx.Client, method: str, path: str, asked: dict[str, str]) -> httpx.Response:
    if method == "POST":
        return client.post(path, json=asked)
    return client.get(path, params=asked)


LOKI = (
    "query_range", "query", "labels", "label/service_name/values", "series", "detected_labels", "index/stats",
    "index/volume", "index/volume_range", "patterns", "detected_fields", "detected_field/bravo_secret_tag/values",
)  # fmt: skip


def test_clients_of_loki_see_their_own_tenant(house: House) -> None:
    """`X-Scope-OrgID` names the namespace: another's is refused, without it is one's own."""
    with house.server.with_key(house.a_search) as client:
        for path in LOKI:
            query = "sum by (service_name) (count_over_time({}[1h]))" if path == "query" else "{}"
            asked = {"query": query, "step": "60"}
            said = []
            for name in ("tenant_b", "tenant_n"):
                answer = client.get(f"/loki/api/v1/{path}", params=asked, headers={"X-Scope-OrgID": name})
                assert answer.status_code == 403, path
                said.append(answer.text.replace(name, "NAME"))
            assert said[0] == said[1]
            own = client.get(f"/loki/api/v1/{path}", params=asked)
            assert own.status_code == 200, own.text
            assert "bravo" not in own.text.lower(), path
    with house.server.with_key("") as client:
        assert client.get("/loki/api/v1/labels").status_code == 401
    with house.server.with_key(house.a_ingest) as client:
        assert client.get("/loki/api/v1/labels").status_code == 403


def watch(house: House, key: str, **headers: str) -> ClientConnection:
    if key:
        headers["Authorization"] = f"Bearer {key}"
    address = f"wss://{house.server.address}/loki/api/v1/tail?query=%7B%7D"
    # Its reader and its writer share one TLS object, which before Python 3.13 may lose what is written beside a read.
    context = client_context(str(house.server.authority.ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # it reads nothing between the handshake and the request
    return connect(
        address, ssl=house.server.context, additional_headers=headers, proxy=None, open_timeout=None
    )


def test_a_tail_of_loki_asks_who_is_there(house: House) -> None:
    for key, headers, status in (
        ("", {}, 403), (house.a_search, {"X-Scope-OrgID": "tenant_b"}, 403), (house.a_ingest, {}, 403),
        (house.a_search, {"X-Scope-OrgID": "tenant_n"}, 403), ("", {"Cookie": f"neve_session={house.a_search}"}, 403),
    ):  # fmt: skip
        with pytest.raises(InvalidStatus) as caught:
            watch(house, key, **headers)
        assert caught.value.response.status_code == status
    word = f"lokied{secrets.token_hex(4)}"
    with watch(house, house.viewer) as socket:
        hidden = {"level": "error", "msg": f"{word} hidden"}
        assert (
            house.server.send(
                house.a_ingest, "", hidden, {"level": "info", "msg": f"{word} seen"}
            ).status_code
            == 200
        )
        told = ""
        while f"{word} seen" not in told:
            told += str(socket.recv(timeout=60))
    assert "hidden" not in told
    assert '"error"' not in told


RECEIVERS: tuple[tuple[str, str, bytes], ...] = (
    ("/api/v1/ingest", "text/plain", b"smuggled"),
    ("/v1/logs", "application/json", b'{"resourceLogs":[]}'),
    (
        "/loki/api/v1/push",
        "application/json",
        b'{"streams":[{"stream":{"a":"b"},"values":[["1","smuggled"]]}]}',
    ),
    ("/api/prom/push", "application/json", b'{"streams":[{"stream":{"a":"b"},"values":[["1","smuggled"]]}]}'),
    ("/_bulk", "application/x-ndjson", b'{"create":{"_index":"logs"}}\n{"message":"smuggled"}\n'),
    ("/logs/_doc", "application/json", b'{"message":"smuggled"}'),
    ("/services/collector", "application/json", b'{"event":"smuggled"}'),
    ("/services/collector/event", "application/json", b'{"event":"smuggled"}'),
    ("/services/collector/raw", "text/plain", b"smuggled"),
)


@pytest.mark.parametrize(("path", "kind", "body"), RECEIVERS, ids=[one[0] for one in RECEIVERS])
def test_every_receiver_asks_for_a_key(house: House, path: str, kind: str, body: bytes) -> None:
    def post(headers: dict[str, str]) -> int:
        with house.server.with_key("") as client:
            return client.post(path, content=body, headers={"content-type": kind, **headers}).status_code

    key = house.a_ingest
    id_ = key.split("_")[1]
    assert post({}) == 401
    assert post({"Authorization": f"Bearer {house.a_search}"}) == 403
    for name in ("X-Scope-OrgID", "X-Neve-Namespace"):
        assert post({"Authorization": f"Splunk {key}", name: "tenant_b"}) == 403
    for shown in (
        f"Bearer {key}", f"Splunk {key}", "Basic " + base64.b64encode(f"any:{key}".encode()).decode(),
        "ApiKey " + base64.b64encode(f"{id_}:{key}".encode()).decode(),
    ):  # fmt: skip
        assert post({"Authorization": shown}) in (200, 201, 204)
    with house.server.with_key(house.b_search) as client:
        assert client.get("/api/v1/search", params={"q": "smuggled"}).json()["events"] == []


def test_grpc_asks_for_a_key(house: House) -> None:
    """Its port shows the server's certificate, and takes what HTTP takes."""
    trusted = grpc.ssl_channel_credentials(house.server.authority.ca.read_bytes())

    def export(*metadata: tuple[str, str]) -> Any:
        with grpc.secure_channel(house.server.grpc, trusted) as channel:
            method = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
            try:
                method(b"", metadata=metadata, timeout=60)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    def key(text: str) -> tuple[str, str]:
        return ("authorization", f"Bearer {text}")

    code = grpc.StatusCode
    assert export() is code.UNAUTHENTICATED
    assert export(key(house.a_ingest[:-4] + "AAAA")) is code.UNAUTHENTICATED
    assert (
        export(("x-neve-inside", "x"), ("x-neve-via", "x"), ("x-neve-certificate", "agent-a"))
        is code.UNAUTHENTICATED
    )
    assert export(key(house.a_ingest), key(house.a_ingest)) is code.UNAUTHENTICATED
    assert export(key(house.a_search)) is code.PERMISSION_DENIED
    for name in ("x-scope-orgid", "x-neve-namespace"):
        assert export(key(house.a_ingest), (name, "tenant_b")) is code.PERMISSION_DENIED
        assert export(key(house.a_ingest), (name, "tenant_n")) is code.PERMISSION_DENIED
    assert export(key(house.a_ingest)) is code.OK
    with grpc.insecure_channel(house.server.grpc) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")(b"", timeout=240)


def test_a_key_for_several_says_which(house: House) -> None:
    with house.server.with_key(house.both) as client:
        unclear = client.get("/api/v1/search")
        assert unclear.status_code == 400
        assert unclear.json()["error"]["code"] == "namespace_unclear"
        assert client.get("/api/v1/search", params={"namespace": "tenant_b"}).status_code == 200


def test_writing_to_the_other_tenant(house: House, plain_columns: Callable[[Sequence[Any]], Any]) -> None:
    server = house.server
    event = {"msg": "smuggled"}
    assert server.send(house.a_ingest, "tenant_b", event).status_code == 403
    assert server.send(house.a_ingest, "audit", event).status_code == 403
    assert server.send(house.admin, "audit", event).status_code == 403
    block = seal(
        plain_columns([{"message": "smuggled", "timestamp": 1}]),
        agent_id="a", sequence=1, namespace="tenant_b", sources=(), rules_version=1,
    )  # fmt: skip
    with server.with_key(house.a_ingest) as client:
        for name in ("X-Scope-OrgID", "X-Neve-Namespace"):
            assert (
                client.post("/api/v1/ingest", content="smuggled", headers={name: "tenant_b"}).status_code
                == 403
            )
        refused = client.post("/api/v1/blocks", content=bytes(block))
        assert refused.status_code == 403
        assert "tenant_b" in refused.json()["error"]["message"]
    with server.with_key(house.b_search) as client:
        assert client.get("/api/v1/search", params={"q": "smuggled"}).json()["events"] == []


@pytest.mark.parametrize(
    ("who", "allowed"),
    [
        ("", set[str]()),
        ("a_search", {"/api/v1/search"}),
        ("a_ingest", {"/api/v1/ingest"}),
        ("viewer", {"/api/v1/search"}),
        ("admin", {"/api/v1/search", "/api/v1/ingest", "/gateway/status", "/cold/status", "/api/v1/keys", "/metrics",
                   "/api/v1/namespaces", "/api/v1/roles", "/cold/deletions", "/gateway/deadletter"}),
    ],
)  # fmt: skip
def test_each_scope_reaches_its_own_paths(house: House, who: str, allowed: set[str]) -> None:
    paths = (
        "/api/v1/search", "/api/v1/ingest", "/gateway/status", "/cold/status", "/api/v1/keys", "/metrics",
        "/api/v1/namespaces", "/api/v1/roles", "/cold/deletions", "/gateway/deadletter", "/gateway/arrivals",
        "/gateway/arrivals/stream", "/gateway/../api/v1/keys", "//api/v1/keys", "/api/v1/%6beys", "/nothing",
        "/api/v1/namespaces/../keys", "/gateway%2fstatus", "/api/v1/keys/",
    )  # fmt: skip
    refused = 403 if who else 401
    with house.server.with_key(getattr(house, who) if who else "") as client:
        for path in paths:
            answer = client.post(path, content="x") if path.endswith("ingest") else raw_get(client, path)
            if path in allowed:
                assert answer.status_code == 200, path
            elif who == "admin":
                assert answer.status_code in (200, 307, 403, 404), path
            else:
                assert answer.status_code == refused, path
                assert ("www-authenticate" in answer.headers) == (not who)
        for path in ("/healthz", "/readyz", "/docs", "/"):
            assert client.get(path).status_code == 200


def raw_get(client: httpx.Client, path: str) -> httpx.Response:
    """The path as it stands: clients tidy `..` up."""
    url = httpx.URL(client.base_url).copy_with(raw_path=path.encode())
    return client.send(client.build_request("GET", url))


def test_a_key_is_taken_however_a_client_sends_it(house: House) -> None:
    key = house.a_search
    id_, last = key.split("_", 2)[1:]
    pairs = [
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"bearer {key}"},
        {"Authorization": f"Splunk {key}"},
        {"Authorization": "Basic " + base64.b64encode(f"anyone:{key}".encode()).decode()},
        {"Authorization": "ApiKey " + base64.b64encode(f"{id_}:{key}".encode()).decode()},
        {"Authorization": "ApiKey " + base64.b64encode(f"{id_}:{last}".encode()).decode()},
        {"Authorization": f"ApiKey {key}"},
        {"X-API-Key": key},
    ]
    wrong = [
        {"Authorization": f"Bearer {key[:-1]}"},
        {"Authorization": f"Bearer {key[:-4]}AAAA"},
        {"Authorization": f"Bearer neve_{'a' * 12}_{'b' * 43}"},
        {"Authorization": key},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer ' OR 1=1 --"},
        {"X-API-Key": f"{key}\u00e9".encode().decode("latin-1")},
        {"Cookie": f"neve_session={key}x"},
        {"x-neve-inside": "x", "x-neve-via": "x", "x-neve-certificate": "agent-a"},
        {"x-neve-certificate": "agent-a", "x-forwarded-for": "127.0.0.1"},
    ]
    with house.server.with_key("") as client:
        assert [client.get("/api/v1/search", headers=one).status_code for one in pairs] == [200] * len(pairs)
        for one in wrong:
            answer = client.get("/api/v1/search", headers={k: v.encode("latin-1") for k, v in one.items()})
            assert answer.status_code == 401, one
            assert key not in answer.text
        twice = [("Authorization", f"Bearer {house.b_search}"), ("Authorization", f"Bearer {key}")]
        assert client.get("/api/v1/search", headers=twice).status_code == 401


def test_a_key_ends_when_it_is_revoked_and_when_it_expires(house: House) -> None:
    server = house.server
    made = server.client.post("/api/v1/keys", json={"scopes": ["ingest"], "namespaces": ["tenant_a"]}).json()
    short = server.client.post("/api/v1/keys", json={"scopes": ["search"], "expires": "1s"}).json()
    # Known to the gateway at once, though the API made it.
    assert server.send(made["key"], "", {"msg": "alpha three"}).status_code == 200
    revoked = server.neve("keys", "revoke", made["id"], key=house.admin)
    assert revoked.stdout == f"{made['id']} is revoked\n"
    patiently(lambda: server.send(made["key"], "", {"msg": "alpha four"}).status_code == 401 or None)
    with server.with_key(short["key"]) as client:
        patiently(
            lambda: client.get("/api/v1/fields", params={"namespace": "tenant_a"}).status_code == 401 or None
        )
    listed = server.neve("keys", "list", key=house.admin).stdout
    assert f"{made['id']}  ingest in tenant_a  revoked" in listed
    assert made["key"].split("_")[2] not in listed
    assert server.neve("keys", "revoke", "nothing", key=house.admin).returncode == 1


@pytest.mark.parametrize(
    "asked",
    [
        {}, {"scopes": []}, {"scopes": ["root"]}, {"scopes": "admin"}, {"scopes": ["admin"], "namespaces": ["a"]},
        {"scopes": ["search"], "namespaces": ["../x"]}, {"scopes": ["ingest"], "role": "viewer"},
        {"scopes": ["search"], "role": "nobody"}, {"scopes": ["search"], "expires": "soon"},
        {"scopes": ["search"], "name": "a\x1b[31m"}, {"scopes": ["search"], "hash": "0"}, {"scopes": [1]},
    ],
)  # fmt: skip
def test_keys_that_cannot_be(house: House, asked: dict[str, Any]) -> None:
    answer = house.server.client.post("/api/v1/keys", json=asked)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["message"].startswith("cannot")


def test_a_tail_shows_ones_own_events_that_ones_role_sees(house: House) -> None:
    server = house.server
    b_ingest = server.key("--scope", "ingest", "--namespace", "tenant_b")
    word = f"tailed{secrets.token_hex(4)}"
    with (
        server.with_key(house.viewer) as client,
        client.stream("GET", "/api/v1/tail", params={"q": f"{word} OR {word}x"}) as answer,
    ):
        assert answer.status_code == 200
        lines = answer.iter_lines()
        while not next(lines).startswith(": heartbeat"):
            pass
        assert server.send(b_ingest, "", {"level": "info", "msg": f"{word} of another"}).status_code == 200
        hidden = {"level": "error", "msg": f"{word} hidden"}
        seen = {"level": "info", "msg": f"{word} seen"}
        assert server.send(house.a_ingest, "", hidden, seen).status_code == 200
        told = next(line for line in lines if line.startswith("data: "))
        assert json.loads(told.removeprefix("data: "))["message"] == f"{word} seen"


def test_a_tail_ends_when_its_key_is_revoked_or_its_role_becomes_another(house: House) -> None:
    server = house.server
    asked = {"scopes": ["search"], "namespaces": ["tenant_a"]}
    made = server.client.post("/api/v1/keys", json=asked).json()
    server.client.put("/api/v1/roles/passing", json={"filter": "-level:error"})
    other = server.client.post("/api/v1/keys", json={**asked, "role": "passing"}).json()

    def send(word: str) -> None:
        sent = server.send(house.a_ingest, "", {"msg": f"passing {word}"})  # the same twice would be one
        assert sent.status_code == 200

    def until_it_ends(lines: Iterator[object], change: Callable[[], httpx.Response]) -> None:
        next(lines)
        assert change().status_code == 200
        ended = threading.Event()
        reader = threading.Thread(target=lambda: (deque(lines, 0), ended.set()))
        reader.start()
        patiently(lambda: True if ended.wait(0.5) else send(secrets.token_hex(4)))
        reader.join()

    with (
        server.with_key(other["key"]) as client,
        client.stream("GET", "/api/v1/tail", params={"q": "passing"}) as answer,
    ):
        changed = {"filter": "-level:error -level:info"}
        until_it_ends(answer.iter_lines(), lambda: server.client.put("/api/v1/roles/passing", json=changed))
    with server.with_key(made["key"]) as client, watch(house, made["key"]) as socket:
        with client.stream("GET", "/api/v1/tail", params={"q": "passing"}) as answer:
            revoke = f"/api/v1/keys/{made['id']}"
            until_it_ends(answer.iter_lines(), lambda: server.client.delete(revoke))
        until_it_ends(iter(socket), lambda: server.client.get("/healthz"))
        assert client.get("/api/v1/tail", params={"q": "passing"}).status_code == 401


def test_an_agent_is_known_by_its_certificate(house: House, tmp_path: Path) -> None:
    server = house.server
    certificate, key = server.authority.signed("agent-a")
    other, other_key = server.authority.signed("agent-unknown")
    strange, strange_key = Authority(tmp_path / "strange").signed("agent-a")

    def ship(certificate: Path, key: Path, namespace: str) -> int:
        options = [
            "--once",
            "--redact",
            "token",
            "--namespace",
            namespace,
            "--to",
            server.url,
            "--state",
            str(tmp_path / secrets.token_hex(4)),
        ]
        options += ["--ca", str(server.authority.ca), "--cert", str(certificate), "--key", str(key)]
        return server.neve("ship", "-", *options, stdin=b"by certificate\n").returncode

    assert ship(certificate, key, "tenant_a") == 0
    assert ship(certificate, key, "tenant_b") == 1
    assert ship(other, other_key, "tenant_a") == 1
    with server.with_key(house.a_search) as client:
        patiently(
            lambda: client.get("/api/v1/search", params={"q": '"by certificate"'}).json()["events"] or None
        )
    # A certificate lets nobody read, and one of another authority does not even get as far.
    context = client_context(str(server.authority.ca), str(certificate), str(key))
    with server.with_key("", context=context) as client:
        assert client.get("/api/v1/search").status_code == 403
    context = client_context(str(server.authority.ca), str(strange), str(strange_key))
    with server.with_key("", context=context) as client, pytest.raises(httpx.TransportError):
        client.get("/healthz")


def test_old_tls_is_refused(house: House) -> None:
    context = client_context(str(house.server.authority.ca))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with house.server.with_key("", context=context) as client, pytest.raises(httpx.TransportError):
        client.get("/healthz")


def test_a_namespace_is_made_changed_and_deleted(house: House) -> None:
    server = house.server
    assert (
        server.neve(
            "namespaces", "create", "passing", "keep_days=7", "query_seconds=40", key=house.admin
        ).returncode
        == 0
    )
    said = server.client.get("/api/v1/namespaces/passing").json()
    assert (said["retention"]["keep_days"], said["limits"]) == (7, {"query_seconds": 40})
    assert said["schema_version"] == said["schema_latest"]
    changed = server.client.patch(
        "/api/v1/namespaces/passing", json={"query_seconds": None, "services": {"a": 1}}
    ).json()
    assert (changed["limits"], changed["retention"]["services"]) == ({}, {"a": 1})
    for wrong in (
        {"query_seconds": 0},
        {"keep_days": -1},
        {"nothing": 1},
        {"tier": "lukewarm"},
        {"services": {"a": "x"}},
    ):
        assert server.client.patch("/api/v1/namespaces/passing", json=wrong).status_code == 400
    assert server.send(house.admin, "passing", {"msg": "last words"}).status_code == 200
    for name, status in (("default", 400), ("never_was", 404), ("../passing", 404), ("neve", 404)):
        assert raw_delete(server.client, f"/api/v1/namespaces/{name}").status_code == status, name
    assert server.neve("namespaces", "delete", "passing", "--yes", key=house.admin).returncode == 0
    # It takes nothing more, and is not made anew by who sends to it.
    patiently(lambda: server.send(house.admin, "passing", {"msg": "too late"}).status_code == 404 or None)
    assert server.client.get("/api/v1/search", params={"namespace": "passing"}).status_code == 404
    assert server.client.patch("/api/v1/namespaces/passing", json={"query_seconds": 4}).status_code == 404


def raw_delete(client: httpx.Client, path: str) -> httpx.Response:
    url = httpx.URL(client.base_url).copy_with(raw_path=path.encode())
    return client.send(client.build_request("DELETE", url))


def test_what_was_done_is_written_down(house: House) -> None:
    server = house.server
    query = f"q{secrets.token_hex(6)}"
    with server.with_key(house.a_search) as client:
        client.get("/api/v1/search", params={"q": query})
    id_ = house.a_search.split("_")[1]

    def found(asked: str) -> list[dict[str, Any]] | None:
        answer = server.client.get("/api/v1/search", params={"q": asked, "namespace": "audit"})
        return answer.json().get("events") or None

    [search] = patiently(lambda: found(f'query:"{query}"'))
    assert search["message"] == "search"
    tags = search["tags"]
    assert (tags["key"], tags["namespace"], tags["rows"], tags["status"]) == (id_, "tenant_a", "0", "200")
    for action in ("key created", "key revoked", "role changed", "namespace deleted", "refused"):
        event = patiently(lambda action=action: found(f'"{action}"'))[0]
        assert event["tags"]["address"] == "127.0.0.1"
    # Only administrators read it, whatever namespaces a key is for.
    everywhere = server.key("--scope", "search")
    with server.with_key(everywhere) as client:
        assert client.get("/api/v1/search", params={"namespace": "audit"}).status_code == 403
        assert client.get("/api/v1/search", params={"namespace": "tenant_b"}).status_code == 200


def test_a_login_is_written_down(house: House, provider: TestProvider) -> None:
    """From the provider to the audit log, and what the person then asked; as is who could not log in."""
    server, query = house.server, f"q{secrets.token_hex(6)}"
    provider.claims["groups"] = ["sre"]
    with Browser(base_url=server.url, verify=server.context, trust_env=False, timeout=240) as browser:
        assert browser.login(provider).status_code == 303
        assert browser.get("/auth/me").json()["name"] == "ann@example.com"
        assert browser.get("/api/v1/search", params={"q": query, "format": "ndjson"}).status_code == 200
        assert (
            browser.get("/loki/api/v1/query_range", params={"query": f'{{a="{query}"}}'}).status_code == 200
        )
        assert browser.post("/auth/logout", headers={"Origin": server.url}).status_code == 200
        provider.claims["groups"] = ["nobody"]
        assert browser.login(provider).status_code == 403

    def found(asked: str) -> list[dict[str, Any]] | None:
        answer = server.client.get("/api/v1/search", params={"q": asked, "namespace": "audit"})
        return answer.json().get("events") or None

    for action in ("login", "logout"):
        [event] = patiently(lambda action=action: found(f'actor:ann@example.com message:"{action}"'))
        assert event["tags"]["address"] == "127.0.0.1"
    assert patiently(lambda: found('"login refused"'))[0]["tags"]["reason"].startswith("cannot log in")
    searches = patiently(lambda: two(found(f"actor:ann@example.com query:*{query}*")))
    assert [one["tags"]["rows"] for one in searches] == ["0", "0"]


def two(found: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    return found if found and len(found) == 2 else None


def test_a_key_may_have_a_rate_of_its_own(house: House) -> None:
    server = house.server
    slow = server.neve(
        "keys", "create", "--scope", "ingest", "--namespace", "tenant_a", "--events-per-second", "1", key=house.admin
    ).stdout.strip()  # fmt: skip
    events = [{"level": "debug", "msg": f"rated {number}"} for number in range(400)]
    assert server.send(slow, "", *events).status_code == 200
    refused = server.send(slow, "", {"msg": "rated too much"})
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 1
    assert refused.json()["error"]["message"].startswith(
        f"cannot take request: key {slow.split('_')[1]} sends"
    )
    assert server.send(house.a_ingest, "", {"level": "debug", "msg": "rated other"}).status_code == 200
    assert "1 events/s" in server.neve("keys", "list", key=house.admin).stdout
    assert 'neve_gateway_limits_hit_total{reason="key_rate"} 1' in server.client.get("/metrics").text
    assert (
        server.client.post("/api/v1/keys", json={"scopes": ["search"], "bytes_per_second": 1}).status_code
        == 400
    )
    assert (
        server.client.post("/api/v1/keys", json={"scopes": ["ingest"], "bytes_per_second": -1}).status_code
        == 400
    )


def test_a_namespace_s_rate_holds_over_the_configuration(house: House) -> None:
    server = house.server
    set_ = server.client.post("/api/v1/namespaces", json={"name": "rated", "ingest_lines_per_second": 1})
    assert set_.status_code == 201, set_.text
    events = [{"msg": f"rated {number}"} for number in range(400)]
    patiently(lambda: server.send(house.admin, "rated", *events).status_code == 429 or None)
    assert 'limits_hit_total{reason="namespace_rate"} 0' not in server.client.get("/metrics").text


def test_a_renewed_certificate_is_taken_on_sighup(house: House) -> None:
    server = house.server

    def serial() -> str:
        host, port = server.address.split(":")
        with (
            socket.create_connection((host, int(port)), timeout=30) as plain,
            server.context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            return str((secure.getpeercert() or {})["serialNumber"])

    before = serial()
    server.authority.signed("neve", addresses=("127.0.0.1",), file="server")
    assert serial() == before
    server.process.send_signal(signal.SIGHUP)
    patiently(lambda: serial() != before or None)
    assert server.client.get("/readyz").status_code == 200
    said = server.folder / "serve.log"
    patiently(lambda: "certificates are read again" in said.read_text() or None)


def test_backup_is_an_administrators_and_has_no_secret(house: House, tmp_path: Path) -> None:
    """The gateway rests for the server's own processes alone, and what is said of the configuration hides secrets."""
    server = house.server
    refused = server.neve("backup", str(tmp_path / "no"), key=house.a_search)
    assert refused.returncode == 1
    assert "cannot do that: it needs a key of scope admin" in refused.stderr
    assert not (tmp_path / "no").exists()
    assert server.client.post("/gateway/hold", json={"seconds": 1}).status_code == 403
    done = server.neve("backup", str(tmp_path / "yes"), key=house.admin)
    assert done.returncode == 0, done.stderr
    assert "enabled = true" in (tmp_path / "yes" / "configuration.toml").read_text()
    for path in (*tmp_path.rglob("*.toml"), *(server.folder / "data" / "logs").iterdir()):
        assert not [one for one in PLANTED if one in path.read_text()], path


def planted_in(house: House) -> list[str]:
    """Keys, passwords and credentials that were used all along."""
    server = house.server
    found = [*PLANTED, *passwords(server).values(), (server.tls / "server.key").read_text().splitlines()[3]]
    for key in (house.admin, house.a_search, house.a_ingest, house.b_search, house.both, house.viewer):
        found.append(key.split("_", 2)[2])
    return found


def passwords(server: Guarded) -> dict[str, str]:
    folder = server.folder / "data" / "clickhouse"
    users = {"owner": saved_config(folder)} | {one: saved_config(folder, one) for one in (SEARCHER, INSERTER)}
    return {name: config.password for name, config in users.items()}


def test_no_secret_is_in_what_is_written_or_said(house: House) -> None:
    """The last tests of this file: what is said, by paths, commands and logs."""
    server = house.server
    sent = server.send(
        house.a_ingest, "", {"msg": f"Authorization: Bearer {BEARER}", "token_tag": f"Bearer {BEARER}"}
    )
    assert sent.status_code == 200
    said = [
        server.client.get(path).text
        for path in (
            "/metrics",
            "/gateway/status",
            "/gateway/storage",
            "/cold/status",
            "/openapi.json",
            "/auth/me",
        )
    ]
    said.append(server.client.get("/api/v1/keys").text)
    said.append(server.client.get("/auth/login").text)
    said.append(server.client.get("/api/v1/search", params={"namespace": "audit", "limit": 10_000}).text)
    said.append(server.neve("config", "print", "--config", str(server.folder / "neve.toml")).stdout)
    said.append(server.client.post("/api/v1/explain", json={"q": "*"}).text)
    for log in [
        *(server.folder / "data" / "logs").iterdir(),
        *(server.folder / "data" / "clickhouse" / "logs").iterdir(),
    ]:
        said.append(log.read_text(errors="replace"))
    said.append((server.folder / "serve.log").read_text())
    said.append((server.folder / "data" / "gateway" / "access.json").read_text())
    for text in said:
        assert not [one for one in planted_in(house) if one in text]


# They are kept there to be used, and who can read that folder owns the server.
KEPT_IN = ("clickhouse/password", "clickhouse/home/", "clickhouse/users/", "clickhouse/user_")


def test_no_secret_is_on_the_disk(house: House) -> None:
    """In no file but those that are there to keep it, and in no table, whose files are packed."""
    server, needles = house.server, planted_in(house)
    data = server.folder / "data"
    paths = [Path(folder) / name for folder, _, names in os.walk(data) for name in names]  # parts come and go
    for path in paths:
        name = path.relative_to(data).as_posix()
        if not path.is_file() or name.startswith(KEPT_IN):
            continue
        with suppress(FileNotFoundError):  # parts are merged meanwhile
            content = path.read_bytes()
            assert not [one for one in needles if one.encode() in content], name
    tables = server.hot.query(
        "SELECT database, name FROM system.tables WHERE database LIKE 'neve%' AND engine LIKE '%MergeTree'"
    ).rows
    assert len(tables) > 10
    for database, name in tables:
        sql = f"SELECT count() AS n FROM {database}.{name} WHERE multiSearchAny(toString(tuple(*)), "
        sql += "{needles:Array(String)})"
        assert server.hot.query(sql, {"needles": needles}).rows[0][0] == 0, f"{database}.{name}"


def test_no_secret_is_in_a_process_that_has_no_use_for_it(house: House) -> None:
    """Nobody's arguments, which everybody can read; nor the environment of who works as somebody else."""
    known = passwords(house.server)
    uses = {"gateway": {"owner", INSERTER}, "api": {"owner", SEARCHER}, "ager": {"owner"}}
    uses["alerts"] = {"owner", SEARCHER}
    for name, pid in house.server.pids().items():
        words, environment = (
            Path(f"/proc/{pid}/{file}").read_bytes().decode() for file in ("cmdline", "environ")
        )
        assert not [one for one in planted_in(house) if one in words], name
        assert {user for user, password in known.items() if password in environment} <= uses.get(
            name, set()
        ), name
        assert not [one for one in PLANTED if one in environment], name


WRONG_URLS = (
    "http://u:{}@127.0.0.1:1",
    "clickhouse://u:{}@127.0.0.1:1/x",
    "u:{}@127.0.0.1:1",
    "http://u:{}@[::1",
)


@pytest.mark.parametrize("url", WRONG_URLS)
def test_no_password_of_a_wrong_address_is_said(house: House, said: Run, tmp_path: Path, url: str) -> None:
    secret = "planted-url-password"
    address = url.format(secret)
    config = tmp_path / "neve.toml"
    config.write_text(f'[clickhouse]\nurl = "{address}"\n[auth.oidc]\nclient_secret = ["{secret}"]\n')
    for arguments in (
        ("search", "x", "--url", address), ("keys", "list", "--url", address), ("ship", "/nowhere", "--to", address),
        ("config", "check", "--config", str(config)),
    ):  # fmt: skip
        done = (
            house.server.neve(*arguments, "--once", "--state", str(tmp_path))
            if arguments[0] == "ship"
            else said(*arguments)
        )
        assert done.returncode in (1, 2), arguments[0]
        assert secret not in done.stdout + done.stderr, arguments[0]
        assert "Traceback" not in done.stderr, arguments[0]
