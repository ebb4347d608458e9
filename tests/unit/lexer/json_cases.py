"""JSON texts after RFC 8259, class by class: what is valid, what is not; in brackets the RFC's section."""

from collections.abc import Iterator, Mapping

DEPTH = 128  # how deep Neve reads; RFC 8259, section 9, allows a limit

SPACE = [b" ", b"\t", b"\n", b"\r", b" \t\n\r", b"\r\n"]
NO_SPACE = [
    b"\x0b",
    b"\x0c",
    b"\x00",
    b"\x1c",
    b"\x7f",
    b"\xa0",
    "\u00a0".encode(),
    "\u2028".encode(),
    "\ufeff".encode(),
]
ESCAPES = [b'\\"', b"\\\\", b"\\/", b"\\b", b"\\f", b"\\n", b"\\r", b"\\t"]
VALUES = [
    b"0",
    b"-1.5e+3",
    b'"x"',
    b'""',
    b"true",
    b"false",
    b"null",
    b"[]",
    b"{}",
    b'[1,"a",null]',
    b'{"a":{"b":[]}}',
]
WHOLE = b'{"a":[1,-2.5e+3,"x\\u00e9\\n",true,false,null],"b":{"c":{}},"d":""}'


def everywhere(text: bytes, what: bytes) -> Iterator[bytes]:
    """`what` put at each `_` in turn, and at all of them."""
    pieces = text.split(b"_")
    for i in range(1, len(pieces)):
        yield b"".join(pieces[:i]) + what + b"".join(pieces[i:])
    yield what.join(pieces)


def nested(depth: int, open: bytes, close: bytes, inner: bytes = b"") -> bytes:
    return open * depth + inner + close * depth


VALID: Mapping[str, list[bytes]] = {
    "lone values (2)": VALUES,
    "white space between tokens (2)": [
        text
        for space in SPACE
        for text in everywhere(b'_{_"a"_:_[_1_,_true_,_"b"_]_,_"c"_:_{_}_,_"d"_:_[_]_}_', space)
    ],
    "numbers (6)": [
        b"0", b"-0", b"1", b"-1", b"10", b"1234567890", b"0.0", b"0.5", b"-0.5", b"1.25", b"10.010",
        b"0e0", b"0E0", b"0e+0", b"0e-0",
        b"1e1", b"1E1", b"1e+1", b"1E-1", b"1e01", b"1e00", b"-1.5e+10", b"-0.0e-0", b"1e400", b"-1e400",
        b"1e-400", b"1E+99999999",
        b"0." + b"0" * 400 + b"1", b"1" * 400, b"-" + b"9" * 400, b"1." + b"3" * 400, b"1e" + b"9" * 400,
        b"18446744073709551616",
        b"9223372036854775808", b"-9223372036854775809", b"1.7976931348623159e308", b"5e-325",
        b"[-0,0,1]", b'{"a":1e5}',
    ],
    "strings (7)": [
        b'""', b'" "', b'"a"', b'"/"', b'"\'"', b'"\x7f"', b'"{}[]:,"', b'"//"', b'"/**/"', b'"null"',
        b'"' + b"x" * 10_000 + b'"',
        '"é"'.encode(), '"€"'.encode(), '"🏔"'.encode(), '"\u2028\u2029"'.encode(), '"\ufeff"'.encode(),
        '"\uffff\ufffe"'.encode(),
        '"\U0010ffff"'.encode(), '"\x80\x9f"'.encode(), *(b'"' + b"a" * n + b'"' for n in range(1, 40)),
    ],
    "escapes (7)": [
        *(b'"' + e + b'"' for e in ESCAPES), *(b'"x' + e + b'y"' for e in ESCAPES),
        b'"' + b"".join(ESCAPES) + b'"',
        b'"\\\\u0041"', b'"\\\\\\""', b'"\\\\\\\\"', b'"\\u0041"', b'"\\u00e9"', b'"\\uABCD"',
        b'"\\uabcd"', b'"\\uaBcD"', b'"\\u0000"',
        b'"\\u001f"', b'"\\u0022"', b'"\\u005c"', b'"\\u007f"', b'"\\uffff"', b'"\\ufffe"', b'"\\u2028"',
        b'"\\u00411"',
        *(b'"' + b"a" * n + b"\\n" + b"b" * n + b'"' for n in range(20)),
    ],
    "surrogates (7, 8.2)": [
        b'"\\ud834\\udd1e"', b'"\\uD834\\uDD1E"', b'"\\ud800\\udc00"', b'"\\udbff\\udfff"', b'"\\ud800"',
        b'"\\udc00"', b'"\\udfff\\ud800"',
        b'"\\ud800\\ud800"', b'"\\ud800x"', b'"\\ud800\\n"', b'"\\ud800\\u0041"', b'"\\ud800\\\\udc00"',
        b'["\\ud800","\\udc00"]',
    ],
    "objects (4)": [
        b"{}", b'{"":0}', b'{"a":1}', b'{"a":1,"b":2}', b'{"a":1,"a":2}', b'{"a":1,"a":1}',
        b'{"a":{},"a":[]}', b'{"\\u0061":1,"a":2}',
        b'{"\\u0000":1}', b'{"a":{"a":{"a":{}}}}', b'{"a\\nb":1}', '{"é":"é"}'.encode(),
        b'{"' + b"k" * 10_000 + b'":1}',
        b"{" + b",".join(b'"k%d":%d' % (i, i) for i in range(500)) + b"}",
        *(b'{"a":' + v + b"}" for v in VALUES),
    ],
    "arrays (5)": [
        b"[]", b"[[]]", b"[[],[]]", b"[{}]", b"[1]", b"[1,2]", b"[1,[2,[3]]]", b'[1,"a",true,null,{},[]]',
        b'["a","a"]',
        b"[" + b",".join(b"%d" % i for i in range(1000)) + b"]",
        *(b"[" + v + b"," + v + b"]" for v in VALUES),
    ],
    "nesting up to the limit (9)": [
        nested(DEPTH, b"[", b"]"), nested(DEPTH - 1, b"[", b"]", b"1"), nested(DEPTH, b"[", b"]", b"1"),
        nested(DEPTH, b'{"a":', b"}", b"1"), nested(DEPTH - 1, b'{"a":', b"}", b"{}"), nested(DEPTH // 2,
        b'[{"a":', b"}]", b"1"),
        b"[" + b",".join([nested(DEPTH - 1, b"[", b"]")] * 5) + b"]",
    ],
}  # fmt: skip

INVALID: Mapping[str, list[bytes]] = {
    "nothing": [b"", *SPACE],
    "what is no white space": [
        text for space in NO_SPACE for text in everywhere(b'_{_"a"_:_[_1_,_2_]_}_', space)
    ],
    "byte order marks (8.1)": ["\ufeff{}".encode(), "\ufeff".encode(), b"\xff\xfe{\0}\0",
    b"\xfe\xff\0{\0}", b"\xef\xbb{}", b"\xef"],
    "cut short": [WHOLE[:n] for n in range(len(WHOLE))],
    "something behind": [v + b for v in (b"{}", b"[]", b'"a"', b"null", b"[1]") for b in (b"x", b"]",
    b"}", b",", b"{}", b"[]", b" 1", b"#", b"\0", b":")],
    "something before": [b + v for v in (b"{}", b"[]", b'"a"', b"null") for b in (b"x", b"]", b"}", b",",
    b":", b"#", b"\0", b"\xff")],
    "numbers": [
        b"01", b"-01", b"00", b"-00", b"007", b"1.", b"-1.", b".5", b"-.5", b"+1", b"+0", b"+", b"-",
        b"--1", b"-+1", b"1e", b"1E", b"1e+", b"1e-",
        b"1.e1", b"1.5e", b"1e1.5", b"1e1e1", b"1.2.3", b"0x1", b"0X1F", b"0b1", b"0o7", b"1_000",
        b"1,000", b"1 000", b"- 1", b"1 .5",
        b"0.", b"0e", b"0e+", b".", b"e1", b"-e1", b"1f", b"1L", b"1n", b"0x", b"1e+-1", b"1/2", b"NaN",
        b"nan", b"-NaN", b"Infinity",
        b"-Infinity", b"+Infinity", b"inf", b"-inf", b"\xef\xbc\x91", b"1\xc2\xb2", b"[01]", b'{"a":01}',
        b"[1.]", b"[+1]", b"[.5]",
    ],
    "literals": [
        b"t", b"tr", b"tru", b"true1", b"truee", b"True", b"TRUE", b"fals", b"False", b"nul", b"nulll",
        b"Null", b"NULL", b"None", b"nil",
        b"undefined", b"yes", b"truefalse", b"true false", b"t rue", b"a", b"[a]", b"[true,tru]",
        b'{"a":nul}', b"\xe2\x9c\x93",
    ],
    "strings": [
        b'"', b'"a', b'a"', b'"a"b"', b"'a'", b"'a\"", b"`a`", b'"""', b'"a" "b"', b'""a', b"a", b'"\\',
        b'"\\"', b'"a\\"', b'"\\\\\\"', b"\xe2\x80\x9ca\xe2\x80\x9d",
        *(b'"' + b"a" * n for n in range(1, 40)),
    ],
    "control characters": [
        *(b'"' + bytes([c]) + b'"' for c in range(32)),
        *(b'"' + b"a" * 17 + bytes([c]) + b'"' for c in range(32)),
        *(b'{"' + bytes([c]) + b'":1}' for c in range(32)),
        *(b'"\\' + bytes([c]) + b'"' for c in range(32)),
    ],
    "escapes": [
        *(b'"\\' + bytes([c]) + b'"' for c in range(33, 256) if bytes([c]) not in b'"\\/bfnrtu'),
        b'"\\ "', b'"\\u"', b'"\\u1"', b'"\\u12"', b'"\\u123"',
        b'"\\u123g"', b'"\\ug123"', b'"\\u 123"', b'"\\u-123"', b'"\\u+123"', b'"\\u{41}"', b'"\\U0041"',
        b'"\\x41"', b'"\\0"', b'"\\101"', b'"\\u00 1"',
        b'"\\ud834\\u"', b'"\\ud834\\udd1"', b'"\\ud834\\uddxx"', b'"\\ud834\\"', b'"\\\\\\"',
        b'"\\u\xff123"', b'"\\u\xc3\xa9"', b'{"\\x":1}',
    ],
    "objects": [
        b"{", b"}", b"{,}", b"{:}", b'{"a"}', b'{"a":}', b'{"a",}', b'{"a":1', b'{"a":1,', b'{"a":1,}',
        b'{,"a":1}', b'{"a":1,,"b":2}', b'{"a" 1}', b'{"a"::1}',
        b'{"a":1 "b":2}', b'{"a":1;"b":2}', b'{"a"=1}', b"{a:1}", b"{'a':1}", b"{1:2}", b"{null:1}",
        b"{true:1}", b"{[]:1}", b"{{}:1}", b"{{}}", b"{[]}", b'{"a":1]',
        b'{"a":1}}', b'{"a":{}', b'{"a":{"b":1}', b'{"a":1,2}', b'{"a":1:2}', b'{"a","b"}', b'{:1}',
        b'{"a":"b":"c"}', b'{"a" "b"}', b'{"a":b}', b'{"a"\\:1}', b"{1}",
    ],
    "arrays": [
        b"[", b"]", b"[,]", b"[1", b"[1,", b"[1,]", b"[,1]", b"[1,,2]", b"[1 2]", b"[1;2]", b"[1:2]",
        b"[1}", b"[1]]", b"[[1]", b"[[]", b"[]]", b"[1,2", b'["a"', b'["a":1]',
        b"[(1)]", b"(1)", b"<1>", b"[...]", b"[1,2}", b"][", b"}{", b"[{]", b"[{]}", b'{"a":[}',
        b'{"a":[1}', b'{"a":]}', b"[1 true]", b'[""a]', b'["a",\n', b"[\n", b"[*]",
    ],
    "comments": [
        b"//c\n1", b"1//c", b"/*c*/1", b"1/*c*/", b"[1,/*c*/2]", b"[1,//c\n2]", b'{"a":1//c\n}',
        b'{/*c*/"a":1}', b"#c\n1", b"[1]#c", b"[#c\n1]", b"<!--c-->1", b"--c\n1", b";c\n1",
    ],
    "other bytes": [bytes([c]) for c in range(256) if not 48 <= c <= 57] + [b"[" + bytes([c]) + b"]" for c in range(256)
        if bytes([c]) not in b" \t\r\n0123456789"],
    "nesting past the limit": [
        nested(DEPTH + 1, b"[", b"]"), nested(DEPTH + 1, b'{"a":', b"}", b"1"), nested(DEPTH, b'{"a":',
        b"}", b"{}"), nested(DEPTH, b"[", b"]", b"[]"),
        nested(DEPTH // 2 + 1, b'[{"a":', b"}]", b"1"), b"[" * 100_000, b'{"a":' * 100_000,
        b'[{"a":' * 50_000, nested(100_000, b"[", b"]"), b"[" + b",".join([b"[]", nested(DEPTH, b"[",
        b"]")]) + b"]",
    ],
}  # fmt: skip

# Section 8.1 wants UTF-8, and a log is what it is: in a string any bytes past 0x7f pass and are kept. That is the one
# deviation; outside of strings such a byte is no JSON.
NO_UTF8 = [
    b"\x80", b"\xbf", b"\xff", b"\xfe", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"\xc3(", b"\xe2\x82",
    b"\xe2(\xa1", b"\xf0\x9f\x8f", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80",
    b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xb4\xed\xb4\x9e", b"\xfe\xff", b"\xe9t\xe9", b"\xa0",
    b"\x81\x8d",
]  # fmt: skip
