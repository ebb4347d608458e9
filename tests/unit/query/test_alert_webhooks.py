"""What webhooks are told, and where nothing is sent."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from query.alerting.bodies import body_of
from query.alerting.config import AlertsConfig
from query.alerting.machine import Group, Notice, described
from query.alerting.rule import Alert, Webhook
from query.alerting.webhooks import Sender, is_listed, is_public
from query.errors import RequestInvalid
from query.times import SECOND

AT = 1_800_000_000 * SECOND
ALERT = Alert(
    "shop",
    "fails *now*",
    by="service",
    threshold=20,
    id="a1",
    note="see <runbook>",
    labels={"severity": "page"},
)
HOSTILE = "<!channel> <https://evil.example|look> *`_~ & \x1b[2J\u202e"


def notice(kind: str = "firing", *names: str) -> Notice:
    groups = tuple(described(name, Group("firing", AT, AT, 31)) for name in names or ("cart",))
    return Notice("f" * 32, kind, AT, "w", AT - 300 * SECOND, AT, groups)


def body(alert: Alert, one: Notice, format_: str) -> Any:
    return json.loads(body_of(alert, one, format_, "level:error", "https://neve.example"))


def test_our_own_json_says_everything() -> None:
    said = body(ALERT, notice("firing", "cart", HOSTILE), "neve")
    assert (said["kind"], said["id"], said["alert"]["labels"]) == ("firing", "f" * 32, {"severity": "page"})
    assert [one["group"] for one in said["groups"]] == ["cart", HOSTILE]
    assert said["window"] == {
        "from": "2027-01-15T07:55:00.000000000Z",
        "to": "2027-01-15T08:00:00.000000000Z",
    }
    assert said["link"].startswith("https://neve.example/?q=level%3Aerror&from=2027-01-15T07%3A55")


def test_nothing_in_a_log_line_mentions_anybody_in_slack() -> None:
    text = body(ALERT, notice("firing", HOSTILE), "slack")["text"]
    assert "<!" not in text
    assert re.findall(r"<([^>|]*)\|([^>]*)>", text) == [
        (text.rpartition("<")[2].partition("|")[0], "look at it")
    ]
    assert text.count("<") == 1, "our own link is the only one"
    assert not any(ord(one) < 32 and one != "\n" for one in text)
    assert "see &lt;runbook&gt;" in text
    many = body(ALERT, notice("firing", *(f"s{n}" for n in range(25))), "slack")["text"]
    assert "and 15 more" in many


def test_alertmanager_knows_firing_and_resolved_as_one() -> None:
    firing, resolved = (
        body(ALERT, notice(kind, "cart", "till"), "alertmanager") for kind in ("firing", "resolved")
    )
    assert [one["labels"] for one in firing] == [one["labels"] for one in resolved]
    assert firing[0]["labels"] == {
        "alertname": "fails *now*", "neve_alert": "a1", "neve_namespace": "shop", "group": "cart", "severity": "page",
    }  # fmt: skip
    for before, after in zip(firing, resolved, strict=True):
        assert before["startsAt"] == after["startsAt"] <= after["endsAt"] < before["endsAt"]
    test = body(ALERT, notice("test"), "alertmanager")[0]
    assert test["labels"]["neve_test"] == "true"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("127.8.9.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:0001::", False),
        ("2002:a9fe:a9fe::1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_which_hosts_are_listed() -> None:
    allowed = ("Hooks.internal", "10.0.0.1:9093", "[::1]:80")
    assert is_listed("hooks.internal", 443, allowed)
    assert is_listed("10.0.0.1", 9093, allowed)
    assert is_listed("::1", 80, allowed)
    assert not is_listed("10.0.0.1", 80, allowed)
    assert not is_listed("evil.hooks.internal", 443, allowed)


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a/", "http://", "//a/", "http://u:p@a/", "http://a/#x", "http://a:99999/", "http://a/ b", "http://a\r\n/",
     "file:///etc/passwd", "http://ä/", "http://a/…", "http://[::1", 7, None],
)  # fmt: skip
def test_what_is_no_address_of_a_webhook(url: object) -> None:
    with pytest.raises(RequestInvalid):
        Alert("shop", "x").changed({"webhooks": [{"url": url}]})


def test_what_a_webhook_keeps_when_it_is_changed() -> None:
    made = Alert("shop", "x").changed({"webhooks": [{"url": "https://a/secret?t=1", "secret": "s"}]})
    shown = made.to_json()["webhooks"][0]
    assert (shown["url"], shown["signed"]) == ("https://a/…", True)
    assert "secret?t" not in json.dumps(made.to_json())
    assert "secret?t" not in repr(made)
    same = made.changed({"webhooks": [{**shown, "format": "slack"}]}).webhooks[0]
    assert same == Webhook(shown["id"], "https://a/secret?t=1", "slack", "s")
    assert made.changed({"webhooks": [{**shown, "secret": None}]}).webhooks[0].secret == ""
    with pytest.raises(RequestInvalid):
        made.changed({"webhooks": [{**shown, "url": "https://b/…"}]})


# --- over the wire --------------------------------------------------------------------------------------------


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent, and answers as its path says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.hold = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(({key.lower(): value for key, value in self.headers.items()}, body))
        if self.path == "/silent":
            self.server.hold.wait(120)
            return
        self.send_response(int(self.path.strip("/") or 200))
        self.send_header("Location", f"{self.server.url}/200")
        self.end_headers()
        self.wfile.write(b"said \x1b[31m" + b"x" * 5000)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.hold.set()
        server.shutdown()
        thread.join()


ANYWHERE = AlertsConfig(allow_private=True, timeout_seconds=30)
IMPATIENT = AlertsConfig(allow_private=True, timeout_seconds=0.3)


def test_what_is_sent_can_be_checked(receiver: Receiver) -> None:
    sent = Sender(ANYWHERE).send(f"{receiver.url}/201", b'{"a":1}', "s3cret", "key1", 3)
    assert sent.ok
    assert sent.status == 201
    [(headers, data)] = receiver.got
    assert (headers["idempotency-key"], headers["x-neve-attempt"], data) == ("key1", "3", b'{"a":1}')
    at, _, mac = headers["x-neve-signature"].removeprefix("t=").partition(",v1=")
    assert mac == hmac.new(b"s3cret", f"{at}.".encode() + data, hashlib.sha256).hexdigest()


def test_what_is_not_taken_says_why(receiver: Receiver) -> None:
    sender = Sender(ANYWHERE)
    refused = sender.send(f"{receiver.url}/500", b"{}", "", "k")
    assert (refused.ok, refused.status) == (False, 500)
    assert "said  [31mxxx" in refused.error
    assert len(refused.error) < 300
    away = sender.send(f"{receiver.url}/302", b"{}", "", "k")
    assert (away.status, "not followed" in away.error) == (302, True)
    assert len(receiver.got) == 2, "a redirect is not followed"
    assert "x-neve-signature" not in receiver.got[-1][0]
    assert "in time" in Sender(IMPATIENT).send(f"{receiver.url}/silent", b"{}", "", "k").error
    assert sender.send("http://nobody.invalid/", b"{}", "", "k").error


def test_nothing_is_sent_to_neighbours(receiver: Receiver) -> None:
    sender = Sender(AlertsConfig())
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "127.1"):
        sent = sender.send(f"http://{host}:{receiver.server_port}/", b"{}", "", "k")
        assert not sent.ok
        assert "no public address" in sent.error or "[::" in host, sent
    assert not receiver.got
    listed = Sender(AlertsConfig(allow=(f"127.0.0.1:{receiver.server_port}",)))
    assert listed.send(f"{receiver.url}/", b"{}", "", "k").ok
