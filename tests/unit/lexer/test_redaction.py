"""Secrets never reach a block: what is masked, what is left alone, and that no place of a line hides one."""

import hashlib
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexer import Carry, Columns, Lexer, Redaction
from lexer.errors import RedactionInvalid
from lexer.redaction import DEFAULT_KEYS, RedactionConfig

NOW = 1_780_000_000 * 10**9
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
PEM = [
    "-----BEGIN RSA PRIVATE KEY-----",
    "MIIEpAIBAAKCAQEA7bq5l2Yh0kzq9SPq3mQp8c4O0wYb6sQm1x5n3VfJ8dKcTg9L",
    "Zk3vR1xPq7sT2uYwB5nM8cD0fG4hJ6kL9zX3aS1dF7gH5jK2lQ8wE4rT6yU0iO9p",
    "pL3kJ9hG8fD2sA==",
    "-----END RSA PRIVATE KEY-----",
]


def policy() -> Redaction:
    made = RedactionConfig(("all",), ("pin",)).policy()
    assert made is not None
    return made


EVERYTHING = policy()


def masked(text: str) -> str:
    return EVERYTHING.mask(text.encode())[0].decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail alice@example.com now", "mail <redacted:email> now"),
        ("mail to bob.x+y@mail.example.co.uk.", "mail to <redacted:email>."),
        ("/find?mail=alice%40example.com&a=1", "/find?mail=<redacted:email>&a=1"),
        ("from 10.0.0.1:5432", "from <redacted:ipv4>:5432"),
        ("peer fe80::1ff:fe23:4567:890a up", "peer <redacted:ipv6> up"),
        ("peer ::ffff:10.0.0.1 up", "peer <redacted:ipv6> up"),
        ("link 00:1A:2b:3c:4d:5e up", "link <redacted:mac> up"),
        ("link 00-1A-2b-3c-4d-5e up", "link <redacted:mac> up"),
        ("card 4111 1111 1111 1111 ok", "card <redacted:card> ok"),
        ("card=5500005555555559,", "card=<redacted:card>,"),
        ("amex 3782-822463-10005", "amex <redacted:card>"),
        (f"sent {JWT} off", "sent <redacted:token> off"),
        ("with bearer abcdef0123456789", "with bearer <redacted:token>"),
        ("key AKIAIOSFODNN7EXAMPLE.", "key <redacted:aws-key>."),
        ("to DE89 3704 0044 0532 0130 00 today", "to <redacted:iban> today"),
        ("to GB82WEST12345698765432", "to <redacted:iban>"),
        ("postgres://app:s3cr3t@db:5432/x", "postgres://<redacted:url-credentials>@db:5432/x"),
        ("amqp://a:p/ss@w@host/", "amqp://<redacted:url-credentials>@host/"),
        ("password=hunter2 next", "password=<redacted:key> next"),
        ("DB_PASSWORD=hunter2", "DB_PASSWORD=<redacted:key>"),
        ("userPassword: hunter2", "userPassword: <redacted:key>"),
        ("pin=1234&a=1", "pin=<redacted:key>&a=1"),
        ('password="two words" a=1', 'password="<redacted:key>" a=1'),
        ("Authorization: Digest a=b, c=d", "Authorization: <redacted:key>"),
        ('curl -H "Cookie: a=b; c=d" x', 'curl -H "Cookie: <redacted:key>" x'),
        ("authorization=Basic YTpi a=1", "authorization=<redacted:key> a=1"),
        ('{"password": 12, "a": 1}', '{"password": "<redacted:key>", "a": 1}'),
        ('{"token":{"a":"b"},"c":1}', '{"token":"<redacted:key>","c":1}'),
        (r'{"m":"{\"token\":\"x y\",\"a\":1}"}', r'{"m":"{\"token\":\"<redacted:key>\",\"a\":1}"}'),
        ("{'api_key': 'x'}", "{'api_key': '<redacted:key>'}"),
        ("\n".join(["key:", *PEM, "done"]), "key:\n<redacted:private-key>\ndone"),
    ],
)
def test_secrets_are_masked(text: str, expected: str) -> None:
    assert masked(text) == expected
    assert masked(expected) == expected  # what is masked stays as it is


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-29T12:00:01.123Z took 12:34:56",
        "std::string a::b version v1.2.3.4 lodash@4.17.21 user@localhost",
        "order 4111111111111112 at 1780000000000 and 1780000000000000000",
        "id 123e4567-e89b-12d3-a456-426614174000",
        "max_tokens=4096 passwords=3",
        "see http://host:80/a@b and file:///x@y",
        "bearer of bad news, basic authentication failed",
        "GB00WEST12345698765432",
        "",
    ],
)
def test_what_is_no_secret_is_left(text: str) -> None:
    assert masked(text) == text


def test_equal_values_stay_joinable_with_a_key() -> None:
    made = Redaction(("email",), (), b"k" * 32)
    digest = hashlib.blake2b(b"a@example.com", key=b"k" * 32, digest_size=6).hexdigest()
    assert made.mask(b"a@example.com, a@example.com")[0].decode() == f"<redacted:email:{digest}>, " * 1 + (
        f"<redacted:email:{digest}>"
    )
    assert made.mask(b"b@example.com")[0] != made.mask(b"a@example.com")[0]


@given(st.binary(min_size=4, max_size=400), st.binary(min_size=1, max_size=64))
def test_the_hash_is_blake2b(value: bytes, key: bytes) -> None:
    value = re.sub(rb"[^a-z0-9]", b"x", value)
    made = Redaction((), ("password",), key)
    digest = hashlib.blake2b(value, key=key, digest_size=6).hexdigest()
    assert made.mask(b"password=" + value)[0].decode() == f"password=<redacted:key:{digest}>"


SECRETS: dict[str, list[str]] = {
    "email": ["alice.w@example.org", "b_o.b+c@mail.example.co.uk"],
    "ipv4": ["203.0.113.77"],
    "ipv6": ["2001:db8::8a2e:370:7334", "2001:db8:0:0:8:800:200c:417a"],
    "mac": ["de:ad:be:ef:12:34"],
    "card": ["4111 1111 1111 1111", "4012888888881881", "3782-822463-10005"],
    "token": [JWT],
    "aws_key": ["AKIAIOSFODNN7EXAMPLE"],
    "iban": ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32"],
    "url_credentials": ["https://root:hunter2isnotgood@db.internal/x"],
}
NEEDLES = {"url_credentials": "hunter2isnotgood"}
SOUGHT = [(name, text, NEEDLES.get(name, text)) for name, texts in SECRETS.items() for text in texts]
PLAIN = st.text(
    st.characters(codec="utf-8", exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=30
)
EDGES = st.sampled_from([" ", ", ", ' "', "(", " = ", "; ", "\t", "|", " <", "' "])
WORDS = st.text("abcdefgh :=\\\"'{}[],.-_/@", max_size=20)


def stored(columns: Columns) -> bytes:
    texts = b"".join(bytes(piece) for piece in columns.chunks())
    return texts + b"\n".join(text for _, text in columns.templates())


def feed(data: bytes, how: str = "auto", cuts: tuple[int, ...] = (), rows: int = 1 << 17) -> bytes:
    """All that is stored of `data`, which comes in pieces, and goes into blocks of so many rows."""
    carry, seen, at = Carry(), b"", 0
    columns = Columns(max_rows=rows, redaction=EVERYTHING)
    for end in (*sorted(min(one, len(data)) for one in cuts), len(data)):
        while at < end:
            taken = columns.add(
                data[at:end], received_ns=NOW, format=how, final=end == len(data), carry=carry
            )
            at += taken
            if columns.full:
                seen += stored(columns)
                columns.reset()
            elif not taken:
                break
    return seen + stored(columns)


@given(st.sampled_from(SOUGHT), WORDS, PLAIN, EDGES, EDGES, st.sampled_from(["auto", "text", "logfmt"]))
def test_no_place_of_a_text_hides_one(
    one: tuple[str, str, str], before: str, after: str, left: str, right: str, how: str
) -> None:
    _, text, needle = one
    found = feed(f"{before} {left}{text}{right} {after}\n".encode(), how)
    assert needle.encode() not in found


@given(st.sampled_from(SOUGHT), st.integers(3900, 4300), st.booleans())
def test_nor_does_the_end_of_what_the_lexer_looks_at(
    one: tuple[str, str, str], length: int, spaced: bool
) -> None:
    filler = ("word " if spaced else "ab=c,") * 2000
    found = feed(f"{filler[:length]} {one[1]} tail\n".encode())
    assert one[2].encode() not in found


def nested(text: str) -> list[Callable[[str], object]]:
    return [
        lambda rest: {"message": f"{rest} {text}", "a": 1},
        lambda rest: {"a": {"b": {"c": text}}, "rest": rest},
        lambda rest: {"list": [rest, {"x": text}], "message": "m"},
        lambda rest: {"list": [rest, {"x": text}]},
        lambda rest: {f"k {text}": rest},
        lambda rest: {"tags": {"t": f"{rest} {text} x"}, "service": text},
        lambda rest: {"inner": json.dumps({"v": text, "r": rest})},
    ]


@given(st.sampled_from(SOUGHT), st.integers(0, 6), PLAIN, st.booleans(), st.booleans())
def test_nor_does_json(
    one: tuple[str, str, str], shape: int, rest: str, ascii_only: bool, escaped: bool
) -> None:
    text = json.dumps(nested(one[1])[shape](rest), ensure_ascii=ascii_only)
    if escaped:
        text = text.replace("@", "\\u0040").replace("/", "\\/") if shape < 6 else text
    found = feed(text.encode() + b"\n")
    assert one[2].encode() not in found
    assert one[2].replace("@", "\\u0040").encode() not in found


VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=0, max_size=12)


@given(
    st.sampled_from(DEFAULT_KEYS),
    st.sampled_from(["", "db.", "x_", "my-"]),
    VALUES,
    VALUES,
    st.integers(0, 4),
)
def test_nor_do_values_of_secret_keys(key: str, prefix: str, before: str, after: str, shape: int) -> None:
    secret = f"{before}QQZEBRAQQ{after}"
    name = prefix + key
    line: object = [
        {name: secret, "message": "m"},
        {name: secret},
        {"a": {name: {"b": secret}}},
        {"a": [{name: secret}]},
        {name: [secret, 1]},
    ][shape]
    found = feed(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    assert b"QQZEBRAQQ" not in found


@given(
    st.sampled_from(DEFAULT_KEYS),
    st.booleans(),
    st.text("abc1 ,;&=:'{}[]-_/@.", max_size=9),
    st.sampled_from(["=", ": ", " = "]),
)
def test_nor_do_pairs(key: str, upper: bool, around: str, sign: str) -> None:
    name = key.upper() if upper else key
    for how in ("auto", "logfmt", "text"):
        found = feed(f'a=1 {name}{sign}"{around}QQZEBRAQQ{around}" msg=x\n'.encode(), how)
        assert b"QQZEBRAQQ" not in found
        assert b"QQZEBRAQQ" not in feed(f"a=1 {name}{sign}QQZEBRAQQ msg=x\n".encode(), how)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 400), max_size=4), st.sampled_from([1, 3, 1 << 17]))
def test_a_private_key_of_many_lines_is_gone_wherever_they_are_cut(cuts: list[int], rows: int) -> None:
    data = "\n".join(["start", *PEM, "end", "done"]).encode() + b"\n"
    found = feed(data, "auto", tuple(cuts), rows)
    for line in PEM[1:4]:
        assert line.encode() not in found
    assert b"end" in found
    assert b"start" in found


def test_a_stack_trace_is_searched_too() -> None:
    columns = Columns(redaction=EVERYTHING)
    from lexer import Multiline

    text = b'Traceback (most recent call last):\n  File "a.py", line 3, in f\nValueError: alice@example.com\nnext\n'
    columns.add(text, received_ns=NOW, final=True, multiline=Multiline("auto"))
    assert columns.rows == 2
    assert b"alice@example.com" not in stored(columns)
    assert b"ValueError: <redacted:email>" in stored(columns)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(SOUGHT), st.integers(-60, 60), st.booleans())
def test_a_line_cut_at_a_mebibyte_shows_no_half(one: tuple[str, str, str], shift: int, quoted: bool) -> None:
    size = 1 << 20
    secret = one[1] if not quoted else "Z" * 3000
    head = "x " if not quoted else ' password="'
    place = size + shift - len(secret) // 2 - len(head)
    data = ("ab " * (size // 3 + 1))[:place] + head + secret + ('" tail ' if quoted else " tail ") * 2 + "\n"
    found = feed(data.encode())
    for at in range(0, len(one[2]) - 7):
        assert one[2][at : at + 8].encode() not in found
    assert b"ZZZZ" not in found


def test_what_a_sender_says_beside_the_text() -> None:
    columns = Columns(redaction=EVERYTHING)
    columns.add_one(
        b"m", service=b"a@example.com", host=b"10.1.2.3", received_ns=NOW, trace_id=b"b@example.com",
        span_id=b"c@example.com", tags=[("password", b"x1y2z3"), ("k", b"d@example.com"), ("e@example.com", b"v")],
    )  # fmt: skip
    columns.add(b"line\n", service="f@example.com", host="h", tags={"t": "g@example.com"}, received_ns=NOW)
    found = stored(columns)
    assert b"@" not in found
    assert b"10.1.2.3" not in found
    assert b"x1y2z3" not in found
    assert columns.counts["redacted_email"] == 7
    assert columns.counts["redacted_key"] == 1


@pytest.mark.parametrize(
    ("plain", "secret"),
    [
        ("user 12 logged in from here", "user alice@example.com logged in from here"),
        ("took 12 ms from 10.0.0.1:80", "took 12 ms from 10.9.0.1:80"),
        ('password="x" a=1 now', 'password="y z" a=1 now'),
        ("login password=abc done", "login password=de1 done"),
    ],
)
def test_a_mask_is_a_variable_of_the_template(plain: str, secret: str) -> None:
    columns, other = Columns(redaction=EVERYTHING), Columns()
    columns.add(secret.encode() + b"\n", received_ns=NOW)
    other.add(plain.encode() + b"\n", received_ns=NOW)
    assert [text for _, text in columns.templates()] == [text for _, text in other.templates()]
    again = Lexer()
    again.lex(EVERYTHING.mask(secret.encode())[0])
    assert [again.fingerprint] == [number for number, _ in columns.templates()]


def test_without_a_policy_nothing_changes() -> None:
    columns = Columns()
    columns.add(b"alice@example.com password=x\n", received_ns=NOW)
    assert b"alice@example.com" in stored(columns)
    assert not [name for name in columns.counts if name.startswith("redacted")]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (RedactionConfig(("phone",)), "cannot redact class 'phone'"),
        (RedactionConfig((), ("--",)), "cannot redact key '--'"),
        (RedactionConfig((), (), "f"), "cannot hash what is not redacted"),
        (RedactionConfig(("email",), (), "/nonexistent"), "cannot read hash key /nonexistent"),
    ],
)
def test_wrong_policies_are_said(config: RedactionConfig, said: str) -> None:
    with pytest.raises(RedactionInvalid, match=said):
        config.policy()


def test_policies_compare_by_name() -> None:
    small = RedactionConfig(("email",), ("Api-Key",)).policy()
    assert small is not None
    assert small.names == ("email", "key:apikey")
    assert set(small.names) < set(EVERYTHING.names)
    assert Columns(redaction=small).redacts == small.names
    assert Columns().redacts == ()


@pytest.mark.parametrize("escaped", [False, True])
def test_bulk_documents_hide_none(escaped: bool) -> None:
    text = json.dumps({"a": ["alice@example.com", "x"], "password": "QQZEBRAQQ"})
    text = text.replace("@", "\\u0040") if escaped else text
    columns = Columns(redaction=EVERYTHING)
    body = f'{{"create":{{}}}}\n{text}\n'.encode() * 2
    columns.add_documents(body, 0, b'{"create":{}}', received_ns=NOW)
    assert columns.rows == 2
    found = stored(columns)
    assert b"alice" not in found
    assert b"QQZEBRAQQ" not in found
