"""Saved searches and short links over the API: what comes back, for whom, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from query.app import create_app
from query.guards import check_filter
from storage.access.access import Access
from storage.access.administration import Administration
from storage.access.book import Book
from storage.access.config import AuthConfig
from storage.documents import Documents
from storage.hot import Hot
from tests.integration.query.conftest import serving

SEARCH = {
    "name": "Errors",
    "query": 'service:shop "out of" | stats count() as n by host',
    "from": "now-1h",
    "to": "now",
    "view": "explore",
    "columns": ["service", "user id"],
    "state": {"by": "service", "wrap": "1"},
}
Client = Callable[..., httpx.Client]


@pytest.fixture
def clients(hot: Hot, namespace: str) -> Iterator[Client]:
    """Clients by the name of their key, of one namespace or any."""
    book = Book(hot)
    access = Access(AuthConfig(enabled=True), book)
    admin = Administration(hot, check_filter=check_filter, changed=book.refresh)
    opened: list[httpx.Client] = []
    with serving(create_app(hot, default_namespace=namespace, access=access)) as url:

        def client(name: str, where: str = namespace, scope: str = "search") -> httpx.Client:
            asked = {"scopes": [scope], "namespaces": [where] if where else [], "name": name}
            headers = {"Authorization": f"Bearer {admin.create_key(asked)['key']}"} if name else {}
            opened.append(httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=240))
            return opened[-1]

        yield client
        for one in opened:
            one.close()


def test_a_search_is_saved_changed_and_deleted(api: httpx.Client, namespace: str) -> None:
    made = api.post("/api/v1/saved", json=SEARCH)
    assert made.status_code == 201
    first = made.json()
    assert {key: first[key] for key in SEARCH} == SEARCH
    assert (first["namespace"], first["version"], first["mine"], first["alerts"]) == (namespace, 1, True, 0)

    path = f"/api/v1/saved/{first['id']}"
    changed = api.put(path, json={"name": "Äpfel", "version": 1}).json()
    assert (changed["name"], changed["query"], changed["version"]) == ("Äpfel", SEARCH["query"], 2)
    assert changed["created_at"] == first["created_at"] < changed["updated_at"]
    late = api.put(path, json={"name": "mine", "version": 1})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "conflict")

    api.post("/api/v1/saved", json={"name": "another"})
    assert [one["name"] for one in api.get("/api/v1/saved").json()["saved"]] == ["another", "Äpfel"]
    assert api.delete(path).json() == {"id": first["id"], "deleted": True}
    assert api.get(path).status_code == api.put(path, json={"name": "x"}).status_code == 404
    assert [one["name"] for one in api.get("/api/v1/saved").json()["saved"]] == ["another"]


@pytest.mark.parametrize(
    ("wrong", "status", "says"),
    [
        ({}, 400, "name"),
        ({"name": " "}, 400, "name"),
        ({"name": "a\x1b[2J"}, 400, "name"),
        ({"name": "a" * 201}, 400, "name"),
        ({"name": "a", "query": "level:("}, 400, "column"),
        ({"name": "a", "query": "x | stats median(y)"}, 400, "column"),
        ({"name": "a", "query": "/(?=x)/"}, 400, "regex"),
        ({"name": "a", "query": 7}, 400, "query"),
        ({"name": "a", "query": "a" * 20_000}, 400, "query"),
        ({"name": "a", "from": "yesteryear"}, 400, "from"),
        ({"name": "a", "columns": "service"}, 400, "columns"),
        ({"name": "a", "state": {"a b": "x"}}, 400, "state"),
        ({"name": "a", "state": {"a": 1}}, 400, "state"),
        ({"name": "a", "state": {"a": "x" * 20_000}}, 400, "state"),
        ({"name": "a", "owner": "root"}, 400, "owner"),
        ({"name": "a", "namespace": "nobody_made_it"}, 404, "namespace"),
        ({"name": "a", "namespace": "; DROP"}, 400, "namespace"),
        ({"name": "a", "namespace": 3}, 400, "namespace"),
    ],
)
def test_what_cannot_be_saved_is_refused(
    empty_api: httpx.Client, wrong: dict[str, object], status: int, says: str
) -> None:
    answer = empty_api.post("/api/v1/saved", json=wrong)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]["message"]
    assert empty_api.get("/api/v1/saved").json() == {"saved": []}


def test_who_may_see_and_who_may_change(clients: Client, namespace: str) -> None:
    ann, ben, stranger, admin = (
        clients("ann"),
        clients("ben"),
        clients("eve", "another"),
        clients("root", "", "admin"),
    )
    id_ = ann.post("/api/v1/saved", json=SEARCH).json()["id"]
    path = f"/api/v1/saved/{id_}"
    seen = ben.get(path).json()
    assert (seen["owner"], seen["mine"], ann.get(path).json()["mine"]) == ("ann", False, True)
    assert [one["id"] for one in ben.get("/api/v1/saved").json()["saved"]] == [id_]
    for refused in (ben.put(path, json={"name": "x"}), ben.delete(path)):
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    unknown = stranger.get("/api/v1/saved/0000000000").json()["error"]
    for request in (stranger.get(path), stranger.put(path, json={}), stranger.delete(path)):
        assert request.status_code == 404
        assert request.json()["error"]["message"].replace(id_, "0000000000") == unknown["message"]
    assert stranger.get("/api/v1/saved", params={"namespace": namespace}).status_code == 403
    assert clients("").get(path).status_code == 401
    assert admin.put(path, json={"name": "of all"}).json()["owner"] == "ann"
    assert admin.delete(path).status_code == 200


def test_the_same_state_has_the_same_link(api: httpx.Client) -> None:
    state = {"view": "patterns", "q": 'level:error "a&b" <script>', "from": "now-1h"}
    first, again = (
        api.post("/api/v1/links", json={"state": one}) for one in (state, dict(reversed(state.items())))
    )
    assert first.status_code == again.status_code == 201
    assert first.json()["id"] == again.json()["id"]
    assert len(first.json()["id"]) == 10
    other = api.post("/api/v1/links", json={"state": {**state, "from": "now-2h"}}).json()
    assert other["id"] != first.json()["id"]

    said = api.get(f"/api/v1/links/{first.json()['id']}").json()
    assert said["state"] == state
    sent = api.get(first.json()["path"])
    assert (sent.status_code, sent.headers["location"]) == (302, said["address"])
    there = httpx.URL(sent.headers["location"])
    assert (there.path, dict(there.params)) == ("/", state)
    assert sent.is_redirect
    assert there.is_relative_url, "it leads to the page alone"


def test_links_end_unless_they_are_pinned(api: httpx.Client, hot: Hot) -> None:
    state = {"q": f"only here {time.time_ns()}"}
    made = api.post("/api/v1/links", json={"state": state}).json()
    pinned = api.post("/api/v1/links", json={"state": state, "pinned": True}).json()
    kept = api.post("/api/v1/links", json={"state": state}).json()
    assert (made["pinned"], pinned["pinned"], kept["pinned"]) == (False, True, True)
    assert kept["expires_at"] is None
    free = api.post("/api/v1/links", json={"state": state, "pinned": False}).json()
    assert free["expires_at"] >= made["expires_at"] > "2026"

    # As if its time had come: nothing else knows when that is.
    Documents(hot, "links").put(
        made["id"], {"state": state, "pinned": False, "expires_at": int(time.time()) - 1}
    )
    over = api.get(f"/api/v1/links/{made['id']}")
    assert (over.status_code, over.json()["error"]["code"]) == (404, "not_found")
    assert api.get(made["path"]).headers["location"] == f"/?link={made['id']}"
    assert api.post("/api/v1/links", json={"state": state}).json()["id"] == made["id"]
    assert api.get(f"/api/v1/links/{made['id']}").status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"state": []},
        {"state": {"q": 1}},
        {"state": {"": "x"}},
        {"state": {"q": "x" * 20_000}},
        {"state": {f"k{n}": "" for n in range(60)}},
        {"state": {}, "pinned": 1},
        {"state": {}, "url": "https://evil.example"},
    ],
)
def test_what_is_no_state_has_no_link(empty_api: httpx.Client, wrong: dict[str, object]) -> None:
    answer = empty_api.post("/api/v1/links", json=wrong)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["hint"]


def test_a_link_says_nothing_to_strangers(clients: Client, namespace: str) -> None:
    ann, stranger, nobody = clients("ann"), clients("eve", "another"), clients("")
    state = {"q": "customer:smith", "namespace": namespace}
    made = ann.post("/api/v1/links", json={"state": state}).json()
    assert made["namespace"] == namespace
    assert "smith" in ann.get(made["path"]).headers["location"]
    for other in (stranger, nobody):
        sent = other.get(made["path"])
        assert (sent.status_code, sent.headers["location"]) == (302, f"/?link={made['id']}")
    assert stranger.get(f"/api/v1/links/{made['id']}").status_code == 404
    assert nobody.get(f"/api/v1/links/{made['id']}").status_code == 401
    assert stranger.post("/api/v1/links", json={"state": state}).status_code == 403
