"""Bytes in, fingerprints and columns out: the only room that looks at the text of a log line."""

from lexer._lexer import (
    JSON_DEPTH,
    LOOK_BYTES,
    MAX_KEY_BYTES,
    MAX_LINE_BYTES,
    MAX_RECORD_LINES,
    MAX_TAGS,
    OTLP_DEPTH,
    OTLP_MAX_RECORD_BYTES,
    OTLP_MAX_TAGS,
    PADDING_BYTES,
    RULES_VERSION,
    Columns,
    Lexer,
    Multiline,
    OtlpLogs,
    choose_simd,
    find_key,
    key_shard,
    level_of,
    next_field,
    read_strings,
    role_of,
    simd_ways,
    skip_strings,
    timestamp,
)

__all__ = [
    "JSON_DEPTH",
    "LOOK_BYTES",
    "MAX_KEY_BYTES",
    "MAX_LINE_BYTES",
    "MAX_RECORD_LINES",
    "MAX_TAGS",
    "OTLP_DEPTH",
    "OTLP_MAX_RECORD_BYTES",
    "OTLP_MAX_TAGS",
    "PADDING_BYTES",
    "RULES_VERSION",
    "Columns",
    "Lexer",
    "Multiline",
    "OtlpLogs",
    "choose_simd",
    "find_key",
    "fingerprint",
    "key_shard",
    "level_of",
    "next_field",
    "read_strings",
    "role_of",
    "simd_ways",
    "skip_strings",
    "template",
    "timestamp",
]


def fingerprint(line: bytes) -> int:
    """The 64-bit fingerprint of a line: the hash of its template."""
    lexer = Lexer()
    lexer.lex(line)
    return lexer.fingerprint


def template(line: bytes) -> bytes:
    """The line with its variables replaced by `<*>`."""
    lexer = Lexer()
    lexer.lex(line)
    return lexer.template
