# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The binding of the C lexer and column builders; see the stub beside it for the contract."""

import re

from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memset

cdef extern from "hash.h" nogil:
    uint32_t nv_crc32(const uint8_t *p, size_t n)
    uint64_t nv_hash(const uint8_t *p, size_t n)

cdef extern from "classes.h" nogil:
    int nv_classify_has(int way)
    void nv_classify_choose(int way)
    enum:
        NV_LOOK
        NV_PADDING

cdef extern from "token.h" nogil:
    const char *NV_KIND_NAMES[]
    const char *NV_LEVEL_NAMES[]
    enum:
        NV_LEVELS
    int nv_level_word(const uint8_t *p, const uint8_t *end)

cdef extern from "timestamp.h" nogil:
    int nv_timestamp(const uint8_t *p, int64_t received, int64_t *ns)

cdef extern from "template.h" nogil:
    enum:
        NV_RULES_VERSION
        NV_WANT_ROW
        NV_WANT_ALL
        NV_WANT_MASKS
    int64_t NV_NO_TIME
    ctypedef struct nv_span:
        uint32_t start, end, kind
    ctypedef struct nv_pair:
        uint32_t key, key_end, value, value_end
    ctypedef struct nv_line:
        uint64_t fingerprint
        int64_t timestamp
        uint32_t level, spans, pairs, template_length
        nv_span *span
        nv_pair *pair
        uint8_t *template_text
    void nv_lex(const uint8_t *p, size_t n, int64_t received, int want, nv_line *out)

cdef extern from "redact.h" nogil:
    enum:
        NV_SECRETS
        NV_SECRET_KEY
        NV_SECRET_CUT
        NV_BLAKE2B_KEY
    const char *NV_SECRET_NAMES[]
    ctypedef struct nv_policy:
        uint8_t *hash_key
        uint32_t hash_key_length
    ctypedef struct nv_carry:
        uint8_t cut
    ctypedef struct nv_redactor:
        const nv_policy *policy
        uint64_t *counts
        int failed
    void nv_policy_init(nv_policy *policy, uint32_t classes)
    int nv_policy_add_key(nv_policy *policy, const uint8_t *p, size_t n)
    const uint8_t *nv_redact(nv_redactor *r, const uint8_t *p, size_t *n, nv_carry *carry, int split, size_t **marks,
                             int count)
    void nv_redactor_free(nv_redactor *r)

cdef extern from "buffer.h" nogil:
    ctypedef struct nv_buffer:
        uint8_t *data
        size_t length
    int nv_append(nv_buffer *b, const void *p, size_t n)
    int nv_append_u64(nv_buffer *b, uint64_t v)
    void nv_buffer_free(nv_buffer *b)

cdef extern from "columns.h" nogil:
    enum:
        NV_COUNTS
        NV_MAX_FIELDS
        NV_MAX_KEY
    ctypedef struct nv_string:
        const uint8_t *p
        size_t n
    ctypedef struct nv_dictionary:
        nv_buffer strings
        uint32_t count
    ctypedef struct nv_low_cardinality:
        nv_dictionary dictionary
        nv_buffer index
    ctypedef struct nv_shard:
        nv_buffer tags, keys, values
        uint32_t dictionary
    ctypedef struct nv_tag:
        uint32_t row, key
    ctypedef struct nv_key:
        uint8_t *name
        uint32_t length
    ctypedef struct nv_field:
        nv_key *key
        nv_string value
    ctypedef struct nv_columns:
        uint32_t shards, rows, template_count, field_count
        uint64_t line
        size_t raw_bytes
        int64_t min_time, max_time
        int failed
        uint64_t *counts
        nv_buffer time, fingerprint, message, trace, span, templates
        nv_low_cardinality level, service, host
        nv_shard *shard
        nv_field *fields
        nv_redactor redactor
    nv_columns *nv_columns_new(uint32_t shards, uint32_t max_rows, size_t max_bytes)
    void nv_columns_free(nv_columns *c)
    void nv_columns_reset(nv_columns *c)
    int nv_role_of(const uint8_t *p, size_t n)
    nv_key *nv_key_of(nv_columns *c, const uint8_t *p, size_t n)
    size_t nv_columns_bytes(const nv_columns *c)
    enum:
        NV_MIN_PACKED
    int nv_write_offsets(nv_buffer *out, const nv_shard *s, uint32_t rows)
    int nv_pack_offsets(nv_buffer *out, const nv_shard *s, uint32_t rows)
    int nv_write_low_cardinality(nv_buffer *out, uint32_t dictionary, const nv_buffer *strings, const uint32_t *index,
                                 uint64_t rows, uint32_t stride)

cdef extern from "strings.h" nogil:
    size_t NV_DAMAGED
    size_t nv_skip_strings(const uint8_t *p, size_t n, size_t at, size_t count, size_t *total)
    void nv_read_strings(const uint8_t *p, size_t n, size_t at, size_t count, int32_t *offsets, uint8_t *out)
    int nv_find_key(const uint64_t *ends, size_t rows, const uint32_t *keys, size_t count, uint32_t wanted,
                    int32_t *places, uint8_t *valid)

cdef extern from "structured.h" nogil:
    enum:
        NV_JSON_DEPTH
    int nv_json_object(nv_columns *c, const uint8_t *p, size_t n)
    int nv_json_valid(nv_columns *c, const uint8_t *p, size_t n)
    int nv_logfmt(nv_columns *c, const uint8_t *p, size_t n)

    ctypedef struct nv_member:
        nv_string name, value
    enum:
        NV_MAX_MEMBERS
    size_t nv_json_members(nv_columns *c, const uint8_t *p, size_t n, nv_member *members, uint32_t *count)

cdef extern from "multiline.h" nogil:
    enum:
        NV_MAX_LINE
        NV_MAX_RECORD_LINES
        NV_JOIN_JAVA
        NV_JOIN_PYTHON
        NV_JOIN_GO
        NV_JOIN_INDENTED
        NV_JOIN_STARTS
        NV_JOIN_NOT_JSON
        NV_WAIT
        NV_TAKE_LINES
        NV_TAKE_ALL
    ctypedef struct nv_join:
        int rules
        const uint32_t *start
        size_t starts, next

cdef extern from "container.h" nogil:
    ctypedef struct nv_unwrapped:
        nv_buffer text
        int failed
    void nv_unwrap(nv_unwrapped *u, const uint8_t *data, size_t n, int64_t received, int final)
    void nv_unwrapped_free(nv_unwrapped *u)

cdef extern from "records.h" nogil:
    enum:
        NV_AUTO
        NV_TEXT
        NV_JSON
        NV_LOGFMT
        NV_MESSAGE
    ctypedef struct nv_source:
        nv_string service, host
        const nv_field *tags
        uint32_t tag_count
        int64_t received
        int format
        int ending
        nv_join *join
        nv_carry *carry
        int64_t time
        int level
        nv_string trace, span
    void nv_take_one(nv_columns *c, const uint8_t *data, size_t n, const nv_source *source)
    size_t nv_take(nv_columns *c, const uint8_t *data, size_t n, const nv_source *source)
    size_t nv_take_unwrapped(nv_columns *c, const nv_unwrapped *u, const nv_source *source)
    int nv_full(const nv_columns *c)

cdef extern from "otlp.h" nogil:
    enum:
        NV_OTLP_DEPTH
        NV_OTLP_MAX_RECORD
        NV_OTLP_MAX_TAGS
        NV_OTLP_WHOLE
        NV_OTLP_DAMAGED
        NV_OTLP_TOO_DEEP
        NV_OTLP_TOO_LARGE
    ctypedef struct nv_otlp:
        uint64_t records, rejected, deep
        size_t damaged_at
    int nv_otlp_begin(nv_otlp *o, const uint8_t *data, size_t n)
    uint64_t nv_otlp_take(nv_otlp *o, nv_columns *c, int64_t received)
    uint64_t nv_otlp_left(const nv_otlp *o)
    void nv_otlp_free(nv_otlp *o)

cdef extern from "pushed.h" nogil:
    enum:
        NV_ENTRY_TAGS
        NV_PUSH_END
        NV_PUSH_FULL
        NV_PUSH_DAMAGED
        NV_PUSH_LARGE
    ctypedef struct nv_wire_field:
        uint32_t number
        uint64_t value
        nv_string bytes
    size_t nv_take_documents(nv_columns *c, const uint8_t *data, size_t n, nv_string action, const nv_source *source,
                             nv_buffer *verdicts)
    int nv_next_wire(const uint8_t *data, size_t *at, size_t n, nv_wire_field *out)
    int nv_take_entries(nv_columns *c, const uint8_t *data, size_t *at, size_t n, const nv_source *source)

RULES_VERSION = NV_RULES_VERSION
MAX_LINE_BYTES = NV_MAX_LINE
MAX_RECORD_LINES = NV_MAX_RECORD_LINES
LOOK_BYTES = NV_LOOK
PADDING_BYTES = NV_PADDING
JSON_DEPTH = NV_JSON_DEPTH
MAX_TAGS = NV_MAX_FIELDS
MAX_KEY_BYTES = NV_MAX_KEY

_FORMATS = {"auto": NV_AUTO, "text": NV_TEXT, "json": NV_JSON, "logfmt": NV_LOGFMT}
_ONE_FORMATS = {**_FORMATS, "message": NV_MESSAGE}
_LEVELS = {NV_LEVEL_NAMES[i].decode(): i for i in range(NV_LEVELS)}
_COUNTS = ("empty_lines", "malformed_json", "split_lines", "implausible_times", "lines_without_time", "duplicate_keys",
           "malformed_logfmt", "multiline_records", "joined_lines")
_MAX_TAGS = 256


def key_shard(bytes key not None, int shards):
    return nv_crc32(<const uint8_t *><char *>key, len(key)) % shards


def hash64(bytes text not None):
    return nv_hash(<const uint8_t *><char *>text, len(text))


_WAYS = ("auto", "scalar", "baseline", "avx2", "avx512")


def simd_ways():
    return [name for way, name in enumerate(_WAYS) if way and nv_classify_has(way)]


def choose_simd(str way):
    nv_classify_choose(_WAYS.index(way))


def level_of(bytes text not None):
    cdef bytes padded = text + b"\0"
    cdef const uint8_t *p = <const uint8_t *><char *>padded
    return NV_LEVEL_NAMES[nv_level_word(p, p + len(text))].decode()


_ROLES = ("", "time", "level", "message", "service", "host", "trace_id", "span_id")


def role_of(str name not None):
    cdef bytes key = _utf8(name)
    return _ROLES[nv_role_of(<const uint8_t *><char *>key, len(key))]


cdef bytes _utf8(object text):
    if isinstance(text, bytes):
        return text
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate, as in JSON: U+FFFD, as the lexer has it
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


cdef class Lexer:
    """One line at a time, for tools and tests; blocks of lines go through Columns."""

    cdef nv_line line
    cdef bytes padded

    def lex(self, bytes line not None, int64_t received_ns=0):
        cdef size_t n = len(line)
        cdef bytes padded = line + b"\0" * NV_PADDING
        nv_lex(<const uint8_t *><char *>padded, n, received_ns, NV_WANT_ALL | NV_WANT_MASKS, &self.line)
        self.padded = padded

    @property
    def fingerprint(self):
        return self.line.fingerprint

    @property
    def template(self):
        return (<char *>self.line.template_text)[:self.line.template_length]

    @property
    def timestamp(self):
        return None if self.line.timestamp == NV_NO_TIME else self.line.timestamp

    @property
    def level(self):
        return NV_LEVEL_NAMES[self.line.level].decode()

    @property
    def spans(self):
        return [
            (self.line.span[i].start, self.line.span[i].end, NV_KIND_NAMES[self.line.span[i].kind].decode())
            for i in range(self.line.spans)
        ]

    @property
    def pairs(self):
        cdef nv_pair p
        found = []
        for i in range(self.line.pairs):
            p = self.line.pair[i]
            found.append((self.padded[p.key:p.key_end], self.padded[p.value:p.value_end]))
        return found


def timestamp(bytes text not None, int64_t received_ns):
    cdef bytes padded = text + b"\0"
    cdef int64_t ns = 0
    cdef int taken = nv_timestamp(<const uint8_t *><char *>padded, received_ns, &ns)
    return (ns, taken) if taken else None


def lex_all(const uint8_t[::1] data not None, int64_t received_ns=0):
    cdef size_t n = data.shape[0] - NV_PADDING, lines = 0
    cdef uint64_t total = 0
    cdef const uint8_t *p = &data[0]
    cdef const uint8_t *end = p + n
    cdef const uint8_t *newline
    cdef Lexer lexer = Lexer()
    cdef nv_line *line = &lexer.line
    with nogil:
        while p < end:
            newline = <const uint8_t *>memchr(p, 10, end - p)
            if newline is NULL:
                break
            nv_lex(p, newline - p, received_ns, NV_WANT_ROW, line)
            total += line.fingerprint
            lines += 1
            p = newline + 1
    return lines, total


def split_all(const uint8_t[::1] data not None):
    cdef size_t n = data.shape[0] - NV_PADDING, lines = 0
    cdef uint64_t total = 0
    cdef const uint8_t *p = &data[0]
    cdef const uint8_t *end = p + n
    cdef const uint8_t *newline
    with nogil:
        while p < end:
            newline = <const uint8_t *>memchr(p, 10, end - p)
            if newline is NULL:
                break
            total += nv_hash(p, newline - p)
            lines += 1
            p = newline + 1
    return lines, total


_LARGEST = 1 << 31  # bytes of strings that 32-bit offsets reach


cdef size_t _skip(const uint8_t[::1] data, size_t start, size_t count, size_t *total) except? 0:
    cdef size_t n = data.shape[0], end
    if start > n or count > n - start:  # a string takes a byte at least: nothing is allocated for what can't be there
        raise ValueError("strings end beyond the data")
    if count == 0:
        total[0] = 0
        return start
    cdef const uint8_t *p = &data[0]
    with nogil:
        end = nv_skip_strings(p, n, start, count, total)
    if end == NV_DAMAGED:
        raise ValueError("strings end beyond the data")
    return end


def skip_strings(const uint8_t[::1] data not None, size_t start, size_t count):
    cdef size_t total
    return _skip(data, start, count, &total)


def read_strings(const uint8_t[::1] data not None, size_t start, size_t count):
    cdef size_t total, n = data.shape[0]
    cdef size_t end = _skip(data, start, count, &total)
    if total >= _LARGEST:
        raise ValueError("strings are too long together")
    cdef bytes offsets = PyBytes_FromStringAndSize(NULL, (count + 1) * 4)
    cdef bytes strings = PyBytes_FromStringAndSize(NULL, total)
    cdef int32_t *to_offsets = <int32_t *>PyBytes_AS_STRING(offsets)
    cdef uint8_t *to_strings = <uint8_t *>PyBytes_AS_STRING(strings)
    cdef const uint8_t *p
    if count == 0:
        to_offsets[0] = 0
    else:
        p = &data[0]
        with nogil:
            nv_read_strings(p, n, start, count, to_offsets, to_strings)
    return offsets, strings, end


def find_key(const uint64_t[::1] ends not None, const uint32_t[::1] keys not None, uint32_t wanted):
    cdef size_t rows = ends.shape[0], count = keys.shape[0]
    if count >= _LARGEST:
        raise ValueError("a map has too many entries")
    cdef bytes places = PyBytes_FromStringAndSize(NULL, rows * 4)
    cdef bytes valid = bytes((rows + 7) // 8)
    cdef int32_t *to_places = <int32_t *>PyBytes_AS_STRING(places)
    cdef uint8_t *to_valid = <uint8_t *>PyBytes_AS_STRING(valid)
    cdef const uint64_t *from_ends = &ends[0] if rows else NULL
    cdef const uint32_t *from_keys = &keys[0] if count else NULL
    cdef int sound
    with nogil:
        sound = nv_find_key(from_ends, rows, from_keys, count, wanted, to_places, to_valid)
    if not sound:
        raise ValueError("the entries of a map do not end where they should")
    return places, valid


_DETECTORS = {
    "java": NV_JOIN_JAVA, "python": NV_JOIN_PYTHON, "go": NV_JOIN_GO,
    "auto": NV_JOIN_JAVA | NV_JOIN_PYTHON | NV_JOIN_GO | NV_JOIN_INDENTED,
}


cdef class Multiline:
    cdef readonly str text
    cdef int rules
    cdef object match

    def __init__(self, str text not None):
        self.text = text
        kind, _, pattern = text.partition(":")
        if kind == "start" and pattern:
            self.rules = NV_JOIN_STARTS
            try:
                self.match = re.compile(pattern.encode()).match
            except re.error as error:
                raise ValueError(f"cannot read regex: {pattern}: {error}") from None
            return
        for name in text.split(","):
            if name not in _DETECTORS:
                raise ValueError(f"cannot join lines by: {text}")
            self.rules |= _DETECTORS[name]

    def __repr__(self):
        return f"Multiline({self.text!r})"

    def __eq__(self, other):
        return isinstance(other, Multiline) and other.text == self.text

    def __hash__(self):
        return hash(self.text)

    cdef nv_buffer starts(self, const uint8_t *p, size_t n) except *:
        """Where lines start that the pattern matches, as uint32; the caller frees it."""
        cdef nv_buffer found
        cdef size_t at = 0, end
        cdef uint32_t start
        cdef const uint8_t *newline
        memset(&found, 0, sizeof(found))
        while at < n:
            newline = <const uint8_t *>memchr(p + at, 10, n - at)
            end = newline - p if newline is not NULL else n
            start = <uint32_t>at
            # A view of the line alone: what a pattern sees must not depend on what else has been read.
            if self.match(PyMemoryView_FromMemory(<char *>p + at, _looked_at(p, at, end), PyBUF_READ)) is not None:
                if not nv_append(&found, &start, sizeof(start)):
                    raise MemoryError
            at = end + 1
        return found


cdef Py_ssize_t _looked_at(const uint8_t *p, size_t at, size_t end):
    """Bytes of a line that a pattern sees: without the carriage return, and no more than the lexer looks at."""
    if end > at and p[end - 1] == 13:
        end -= 1
    return min(end - at, <size_t>NV_LOOK)


REDACTION_CLASSES = tuple(NV_SECRET_NAMES[i].decode() for i in range(NV_SECRET_KEY))


cdef class Redaction:
    cdef nv_policy policy
    cdef readonly tuple classes
    cdef readonly tuple keys
    cdef readonly bint hashed

    def __cinit__(self, classes=(), keys=(), bytes hash_key not None=b""):
        cdef uint32_t bits = 0
        cdef bytes name
        for one in classes:
            if one not in REDACTION_CLASSES:
                raise ValueError(f"cannot redact class {one!r}; choose from {', '.join(REDACTION_CLASSES)}")
            bits |= 1 << REDACTION_CLASSES.index(one)
        nv_policy_init(&self.policy, bits)
        self.classes = tuple(one for one in REDACTION_CLASSES if one in classes)
        self.keys = tuple(sorted(set(keys)))
        for key in self.keys:
            name = key.encode()
            if not nv_policy_add_key(&self.policy, <const uint8_t *><char *>name, len(name)):
                raise ValueError(f"cannot redact key {key!r}; give at most 256 names of 1 to 64 letters and digits")
        if len(hash_key) > NV_BLAKE2B_KEY:
            raise ValueError(f"cannot use a hash key of {len(hash_key)} bytes; give at most {NV_BLAKE2B_KEY}")
        for i in range(len(hash_key)):
            self.policy.hash_key[i] = hash_key[i]
        self.policy.hash_key_length = <uint32_t>len(hash_key)
        self.hashed = len(hash_key) > 0

    @property
    def names(self):
        keys = {"key:" + "".join([one for one in key.lower() if one.isalnum()]) for key in self.keys}
        return (*self.classes, *sorted(keys))

    def mask(self, bytes text not None, Carry carry=None):
        cdef nv_redactor r
        cdef size_t n = len(text)
        cdef const uint8_t *out
        memset(&r, 0, sizeof(r))
        r.policy = &self.policy
        try:
            out = nv_redact(&r, <const uint8_t *><char *>text, &n, NULL if carry is None else &carry.carry, 0, NULL, 0)
            if r.failed:
                raise MemoryError
            counts = {NV_SECRET_NAMES[i].decode(): r.counts[i] for i in range(NV_SECRETS) if r.counts[i]}
            return (<const char *>out)[:n], counts
        finally:
            nv_redactor_free(&r)


cdef class Carry:
    cdef nv_carry carry

    def __cinit__(self):
        memset(&self.carry, 0, sizeof(self.carry))


OTLP_DEPTH = NV_OTLP_DEPTH
OTLP_MAX_RECORD_BYTES = NV_OTLP_MAX_RECORD
OTLP_MAX_TAGS = NV_OTLP_MAX_TAGS


cdef class OtlpLogs:
    cdef nv_otlp o
    cdef bytes data

    def __init__(self, const uint8_t[::1] data not None):
        cdef size_t n = data.shape[0]
        cdef bytes copy = PyBytes_FromStringAndSize(NULL, n + NV_PADDING)
        cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(copy)
        cdef const uint8_t *p = &data[0] if n else NULL
        cdef int state
        nv_otlp_free(&self.o)
        self.data = copy
        with nogil:
            if n:
                memcpy(to, p, n)
            memset(to + n, 0, NV_PADDING)
            state = nv_otlp_begin(&self.o, to, n)
        if state == NV_OTLP_WHOLE:
            return
        if state == NV_OTLP_DAMAGED:
            raise ValueError(f"it is no ExportLogsServiceRequest from about byte {self.o.damaged_at} of {n} on")
        if state == NV_OTLP_TOO_DEEP:
            raise ValueError(f"an attribute of a resource or scope is nested deeper than {NV_OTLP_DEPTH}")
        if state == NV_OTLP_TOO_LARGE:
            raise ValueError("its records are too many, or their resource too large for so many")
        raise MemoryError

    def __dealloc__(self):
        nv_otlp_free(&self.o)

    @property
    def records(self):
        return self.o.records - self.o.rejected

    @property
    def left(self):
        return nv_otlp_left(&self.o)

    @property
    def rejected(self):
        return {"too deep": self.o.deep, "too large": self.o.rejected - self.o.deep} if self.o.rejected else {}


def next_field(const uint8_t[::1] data not None, size_t at, size_t end):
    cdef nv_wire_field field
    if not at < end <= <size_t>data.shape[0]:
        raise ValueError("a message ends beyond the data")
    if not nv_next_wire(&data[0], &at, end, &field):
        raise ValueError("a message is damaged")
    if field.bytes.p is NULL:
        return at, field.number, field.value, None
    return at, field.number, at - field.bytes.n, at


cdef class _Sender:
    """What a sender says of its records, as C has it; alive as long as this object."""

    cdef nv_source source
    cdef nv_field *fields
    cdef list held

    def __dealloc__(self):
        free(self.fields)

    cdef nv_string keep(self, object text) except *:
        cdef bytes value = _utf8(text)
        cdef nv_string kept
        kept.n = len(value)
        value += bytes(NV_PADDING)
        self.held.append(value)
        kept.p = <const uint8_t *><char *>value
        return kept

    @staticmethod
    cdef _Sender of(nv_columns *c, object service, object host, object tags, int64_t received_ns, str level, str format):
        cdef _Sender self = _Sender()
        cdef bytes key
        cdef size_t i = 0, count = len(tags)
        if level not in _LEVELS:
            raise ValueError(f"cannot take level {level!r}; choose one of {', '.join(_LEVELS)}")
        if count > NV_MAX_FIELDS:
            raise ValueError(f"cannot add {count} tags to a record; at most {NV_MAX_FIELDS} are possible")
        memset(&self.source, 0, sizeof(self.source))
        self.held = []
        self.fields = <nv_field *>malloc(max(count, <size_t>1) * sizeof(nv_field))
        if self.fields is NULL:
            raise MemoryError
        for name, content in tags:
            key = _utf8(name)
            if len(key) > NV_MAX_KEY:
                raise ValueError(f"cannot add a tag with a name of {len(key)} bytes; at most {NV_MAX_KEY} are possible")
            self.fields[i].key = nv_key_of(c, <const uint8_t *><char *>key, len(key))
            if self.fields[i].key is NULL:
                raise MemoryError
            self.fields[i].value = self.keep(content)
            i += 1
        self.source.service, self.source.host = self.keep(service), self.keep(host)
        self.source.tags, self.source.tag_count = self.fields, <uint32_t>count
        self.source.received, self.source.time = received_ns, NV_NO_TIME
        self.source.level, self.source.format = _LEVELS[level], _ONE_FORMATS[format]
        return self


cdef class Columns:
    cdef nv_columns *c
    cdef readonly int shards, max_rows
    cdef readonly size_t max_bytes
    cdef readonly Redaction redaction

    def __cinit__(self, int shards=31, int max_rows=131072, size_t max_bytes=48 << 20, Redaction redaction=None):
        if not 1 <= shards <= 1024 or max_rows < 1:
            raise ValueError(f"cannot make columns of {shards} shards and {max_rows} rows; take 1 to 1024 and 1 or more")
        self.c = nv_columns_new(shards, max_rows, max_bytes)
        if self.c is NULL:
            raise MemoryError
        self.shards, self.max_rows, self.max_bytes = shards, max_rows, max_bytes
        self.redaction = redaction
        if redaction is not None:
            self.c.redactor.policy = &redaction.policy

    def __dealloc__(self):
        nv_columns_free(self.c)

    def add(self, const uint8_t[::1] data not None, *, service="", host="", tags=None, int64_t received_ns,
            str format="auto", bint final=False, bint flush=False, Multiline multiline=None, Carry carry=None,
            bint container=False):
        if format not in _FORMATS:
            raise ValueError(f"cannot read format {format!r}; choose one of {', '.join(_FORMATS)}")
        cdef nv_field fields[256]
        cdef nv_source source
        cdef size_t n = data.shape[0], taken
        cdef bytes spare = bytes(NV_PADDING), key, value
        cdef bytes service_bytes = service.encode() + spare, host_bytes = host.encode() + spare
        padded = []
        items = [] if not tags else [(k.encode(), v.encode()) for k, v in tags.items()]
        if len(items) > _MAX_TAGS:
            raise ValueError(f"cannot add {len(items)} tags to every line; at most {_MAX_TAGS} are possible")
        for i in range(len(items)):
            key, value = items[i][0], items[i][1] + spare
            padded.append(value)
            if len(key) > NV_MAX_KEY:
                raise ValueError(f"cannot add a tag with a name of {len(key)} bytes; at most {NV_MAX_KEY} bytes are possible")
            fields[i].key = nv_key_of(self.c, <const uint8_t *><char *>key, len(key))
            if fields[i].key is NULL:
                raise MemoryError
            fields[i].value.p = <const uint8_t *><char *>value
            fields[i].value.n = len(value) - NV_PADDING
        source.service.p, source.service.n = <const uint8_t *><char *>service_bytes, len(service_bytes) - NV_PADDING
        source.host.p, source.host.n = <const uint8_t *><char *>host_bytes, len(host_bytes) - NV_PADDING
        source.tags = fields
        source.tag_count = len(items)
        source.received = received_ns
        source.format = _FORMATS[format]
        source.ending = NV_TAKE_ALL if final else NV_TAKE_LINES if flush else NV_WAIT
        source.join = NULL
        cdef nv_carry alone
        memset(&alone, 0, sizeof(alone))
        source.carry = &alone if carry is None else &carry.carry
        source.time, source.level = NV_NO_TIME, 0
        memset(&source.trace, 0, sizeof(source.trace))
        memset(&source.span, 0, sizeof(source.span))
        if n == 0:
            return 0
        cdef nv_join join
        cdef nv_buffer starts
        cdef nv_unwrapped unwrapped
        cdef const uint8_t *text = &data[0]
        cdef size_t length = n
        memset(&starts, 0, sizeof(starts))
        memset(&unwrapped, 0, sizeof(unwrapped))
        if multiline is not None and format not in ("auto", "text"):
            raise ValueError(f"cannot join lines of format {format!r}; each is a record")
        try:
            if container:
                nv_unwrap(&unwrapped, text, n, received_ns, final)
                if unwrapped.failed:
                    raise MemoryError
                text, length = unwrapped.text.data, unwrapped.text.length
            if multiline is not None:
                if multiline.rules & NV_JOIN_STARTS:
                    starts = multiline.starts(text, length)
                join.rules = multiline.rules | (NV_JOIN_NOT_JSON if format == "auto" else 0)
                join.start, join.starts, join.next = <uint32_t *>starts.data, starts.length // 4, 0
                source.join = &join
            with nogil:
                if container:
                    taken = nv_take_unwrapped(self.c, &unwrapped, &source)
                else:
                    taken = nv_take(self.c, text, n, &source)
        finally:
            nv_buffer_free(&starts)
            nv_unwrapped_free(&unwrapped)
        if self.c.failed:
            raise MemoryError
        return taken

    def add_one(self, data not None, *, str format="message", service=b"", host=b"", tags=(), int64_t received_ns,
                timestamp_ns=None, str level="", trace_id=b"", span_id=b"", Carry carry=None):
        if format not in _ONE_FORMATS:
            raise ValueError(f"cannot read format {format!r}; choose one of {', '.join(_ONE_FORMATS)}")
        cdef bytes text = _utf8(data) + bytes(NV_PADDING)
        items = tags.items() if isinstance(tags, dict) else tags
        cdef _Sender sender = _Sender.of(self.c, service, host, items, received_ns, level, format)
        cdef nv_carry alone
        memset(&alone, 0, sizeof(alone))
        if trace_id:
            sender.source.trace = sender.keep(trace_id)
        if span_id:
            sender.source.span = sender.keep(span_id)
        if timestamp_ns is not None:
            sender.source.time = timestamp_ns
        sender.source.carry = &alone if carry is None else &carry.carry
        nv_take_one(self.c, <const uint8_t *><char *>text, len(text) - NV_PADDING, &sender.source)
        if self.c.failed:
            raise MemoryError

    def add_otlp(self, OtlpLogs logs not None, *, int64_t received_ns):
        cdef uint64_t taken
        with nogil:
            taken = nv_otlp_take(&logs.o, self.c, received_ns)
        if self.c.failed:
            raise MemoryError
        return taken

    def add_documents(self, const uint8_t[::1] data not None, size_t at, bytes action not None, *, service=b"", host=b"",
                      tags=(), int64_t received_ns):
        cdef size_t n = data.shape[0], taken
        cdef nv_buffer verdicts
        cdef nv_string line
        if at >= n:
            return at, b""
        cdef _Sender sender = _Sender.of(self.c, service, host, tags, received_ns, "", "json")
        memset(&verdicts, 0, sizeof(verdicts))
        line.p, line.n = <const uint8_t *><char *>action, len(action)
        try:
            with nogil:
                taken = nv_take_documents(self.c, &data[at], n - at, line, &sender.source, &verdicts)
            if self.c.failed:
                raise MemoryError
            return at + taken, (<char *>verdicts.data)[:verdicts.length] if verdicts.length else b""
        finally:
            nv_buffer_free(&verdicts)

    def add_entries(self, const uint8_t[::1] data not None, size_t at, size_t end, *, service=b"", host=b"", tags=(),
                    str level="", int64_t received_ns):
        cdef int state
        if not at < end or end + NV_PADDING > <size_t>data.shape[0]:
            raise ValueError("entries need bytes after them that may be read")
        cdef _Sender sender = _Sender.of(self.c, service, host, tags, received_ns, level, "auto")
        with nogil:
            state = nv_take_entries(self.c, &data[0], &at, end, &sender.source)
        if self.c.failed:
            raise MemoryError
        if state == NV_PUSH_DAMAGED:
            raise ValueError("a message is damaged")
        return at, state == NV_PUSH_LARGE

    def members(self, const uint8_t[::1] data not None, size_t at):
        cdef size_t n = data.shape[0], taken
        cdef nv_member found[64]
        cdef uint32_t count
        cdef const uint8_t *start
        if at + NV_PADDING > n:
            raise ValueError("json needs bytes after it that may be read")
        start = &data[0]
        with nogil:
            taken = nv_json_members(self.c, start + at, n - at - NV_PADDING, found, &count)
        if self.c.failed:
            raise MemoryError
        if not taken:
            return None
        return at + taken, [
            ((<const char *>found[i].name.p)[:found[i].name.n], found[i].value.p - start, found[i].value.p - start + found[i].value.n)
            for i in range(count)
        ]

    @property
    def rows(self):
        return self.c.rows

    @property
    def full(self):
        return bool(nv_full(self.c))

    @property
    def nbytes(self):
        return nv_columns_bytes(self.c)

    @property
    def raw_bytes(self):
        return self.c.raw_bytes

    @property
    def min_timestamp(self):
        return self.c.min_time

    @property
    def max_timestamp(self):
        return self.c.max_time

    @property
    def counts(self):
        found = {name: self.c.counts[i] for i, name in enumerate(_COUNTS)}
        if self.redaction is not None:
            for i in range(NV_SECRETS):
                if self.c.redactor.counts[i]:
                    found["redacted_" + NV_SECRET_NAMES[i].decode().replace("-", "_")] = self.c.redactor.counts[i]
        return found

    @property
    def redacts(self):
        return () if self.redaction is None else self.redaction.names

    @property
    def column_types(self):
        tag = "Map(LowCardinality(String), String)"
        return [
            ("timestamp", "DateTime64(9, 'UTC')"), ("level", "LowCardinality(String)"),
            ("service", "LowCardinality(String)"), ("host", "LowCardinality(String)"), ("message", "String"),
            ("fingerprint", "UInt64"), ("trace_id", "String"), ("span_id", "String"),
            *((f"tags_{i:02d}", tag) for i in range(self.shards)),
        ]

    def templates(self):
        cdef const uint8_t *p = self.c.templates.data
        cdef const uint8_t *end = p + self.c.templates.length
        cdef uint64_t fingerprint, n
        cdef int shift
        found = []
        while p < end:
            fingerprint = (<const uint64_t *>p)[0]
            p += 8
            n, shift = 0, 0
            while p[0] & 128:
                n |= <uint64_t>(p[0] & 127) << shift
                shift += 7
                p += 1
            n |= <uint64_t>p[0] << shift
            p += 1
            found.append((fingerprint, (<const char *>p)[:n]))
            p += n
        return found

    def reset(self):
        nv_columns_reset(self.c)

    def chunks(self, min_packed=None):
        if not self.c.rows:
            return []
        cdef bint packed = min_packed is not None and self.c.rows >= max(<int>min_packed, <int>NV_MIN_PACKED)
        names = self.column_types
        pieces = []
        for name, body in zip(names[:8], [
            [self._view(&self.c.time)],
            self._low_cardinality(&self.c.level),
            self._low_cardinality(&self.c.service),
            self._low_cardinality(&self.c.host),
            [self._view(&self.c.message)],
            [self._view(&self.c.fingerprint)],
            [self._view(&self.c.trace)],
            [self._view(&self.c.span)],
        ]):
            pieces.append(_header(*name))
            pieces.extend(body)
        for i in range(self.shards):
            pieces.append(_header(*names[8 + i]) + _LC_VERSION)
            pieces.extend(self._shard(&self.c.shard[i], packed))
        return pieces

    cdef list _low_cardinality(self, nv_low_cardinality *l):
        cdef const uint32_t *index = <const uint32_t *>l.index.data
        return [_LC_VERSION + _dictionary_body(l.dictionary.count, &l.dictionary.strings, index, self.c.rows, 1)]

    cdef list _shard(self, nv_shard *s, bint packed):
        cdef const uint32_t *keys = &(<const nv_tag *>s.tags.data).key if s.tags.length else NULL
        cdef uint64_t count = s.tags.length // sizeof(nv_tag)
        offsets = _offsets(s, self.c.rows, packed)
        return [(offsets, self.c.rows * 8) if packed else offsets,
                _dictionary_body(s.dictionary, &s.keys, keys, count, 2), self._view(&s.values)]

    cdef object _view(self, nv_buffer *b):
        if not b.length:
            return b""
        return PyMemoryView_FromMemory(<char *>b.data, b.length, PyBUF_READ)

    # For tools and tests: what a structured line is taken apart into.

    def json_valid(self, bytes text not None):
        cdef bytes padded = text + bytes(NV_PADDING)
        return bool(nv_json_valid(self.c, <const uint8_t *><char *>padded, len(text)))

    def fields(self, bytes line not None, str format="json"):
        cdef bytes padded = line + bytes(NV_PADDING)
        cdef const uint8_t *p = <const uint8_t *><char *>padded
        cdef nv_field f
        self.c.line += 1
        self.c.field_count = 0
        if not (nv_logfmt(self.c, p, len(line)) if format == "logfmt" else nv_json_object(self.c, p, len(line))):
            return None
        found = []
        for i in range(self.c.field_count):
            f = self.c.fields[i]
            found.append(((<char *>f.key.name)[:f.key.length], (<const char *>f.value.p)[:f.value.n]))
        self.c.field_count = 0
        return found


_LC_VERSION = (1).to_bytes(8, "little")  # keys of a shared dictionary, more of them in the block


cdef bytes _varint(size_t n):
    out = bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def _header(str name, str type_name):
    a, b = name.encode(), type_name.encode()
    return _varint(len(a)) + a + _varint(len(b)) + b + b"\0"


cdef bytes _offsets(nv_shard *s, uint32_t rows, bint packed):
    cdef nv_buffer out
    memset(&out, 0, sizeof(out))
    try:
        if not (nv_pack_offsets(&out, s, rows) if packed else nv_write_offsets(&out, s, rows)):
            raise MemoryError
        return (<char *>out.data)[:out.length]
    finally:
        nv_buffer_free(&out)


cdef bytes _dictionary_body(uint32_t count, nv_buffer *strings, const uint32_t *index, uint64_t rows, uint32_t stride):
    cdef nv_buffer out
    memset(&out, 0, sizeof(out))
    try:
        if not nv_write_low_cardinality(&out, count, strings, index, rows, stride):
            raise MemoryError
        return (<char *>out.data)[:out.length] if out.length else b""
    finally:
        nv_buffer_free(&out)
