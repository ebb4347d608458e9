#include "otlp.h"

#include "jsontext.h"
#include "wire.h"

/* ---- what the messages are ---- */

typedef enum { NO_MESSAGE, RESOURCE, SCOPE, RECORD, VALUE, VALUES, PAIRS, PAIR, MESSAGES } message;

enum { RESOURCE_LOGS = 1 };                                           /* of the request */
enum { ITS_RESOURCE = 1, SCOPE_LOGS = 2 };                            /* of ResourceLogs */
enum { ITS_SCOPE = 1, LOG_RECORDS = 2 };                              /* of ScopeLogs */
enum { RESOURCE_ATTRIBUTES = 1, RESOURCE_DROPPED = 2 };               /* of Resource */
enum { SCOPE_NAME = 1, SCOPE_VERSION, SCOPE_ATTRIBUTES, SCOPE_DROPPED };
enum {
    TIME = 1, SEVERITY, SEVERITY_TEXT, BODY = 5, ATTRIBUTES, DROPPED, FLAGS, TRACE, SPAN, OBSERVED, EVENT_NAME, FIELDS
};
enum { STRING = 1, BOOL, INTEGER, DOUBLE, ARRAY, MAP, BYTES, KINDS }; /* of AnyValue: which one it is */
enum { ELEMENTS = 1 };                                                /* of ArrayValue and KeyValueList */
enum { KEY = 1, ITS_VALUE = 2 };                                      /* of KeyValue */

typedef struct {
    uint8_t known, wire, inner;
} rule;

#define NUMBER {1, NV_WIRE_VARINT, NO_MESSAGE}
#define SHORT {1, NV_WIRE_FIXED32, NO_MESSAGE}
#define LONG {1, NV_WIRE_FIXED64, NO_MESSAGE}
#define TEXT {1, NV_WIRE_BYTES, NO_MESSAGE}
#define MESSAGE(what) {1, NV_WIRE_BYTES, what}

static const rule rules[MESSAGES][FIELDS] = {
    [RESOURCE] = {[RESOURCE_ATTRIBUTES] = MESSAGE(PAIR), [RESOURCE_DROPPED] = NUMBER},
    [SCOPE] = {[SCOPE_NAME] = TEXT, [SCOPE_VERSION] = TEXT, [SCOPE_ATTRIBUTES] = MESSAGE(PAIR), [SCOPE_DROPPED] = NUMBER},
    [RECORD] = {[TIME] = LONG, [SEVERITY] = NUMBER, [SEVERITY_TEXT] = TEXT, [BODY] = MESSAGE(VALUE),
                [ATTRIBUTES] = MESSAGE(PAIR), [DROPPED] = NUMBER, [FLAGS] = SHORT, [TRACE] = TEXT, [SPAN] = TEXT,
                [OBSERVED] = LONG, [EVENT_NAME] = TEXT},
    [VALUE] = {[STRING] = TEXT, [BOOL] = NUMBER, [INTEGER] = NUMBER, [DOUBLE] = LONG, [ARRAY] = MESSAGE(VALUES),
               [MAP] = MESSAGE(PAIRS), [BYTES] = TEXT},
    [VALUES] = {[ELEMENTS] = MESSAGE(VALUE)},
    [PAIRS] = {[ELEMENTS] = MESSAGE(PAIR)},
    [PAIR] = {[KEY] = TEXT, [ITS_VALUE] = MESSAGE(VALUE)},
};

static const nv_string NOTHING = {(const uint8_t[NV_SPARE]){0}, 0};

static inline int is(nv_string s, const char *text)
{
    return s.n == strlen(text) && !memcmp(s.p, text, s.n);
}

/* ---- checking ---- */

static nv_otlp_state damaged(nv_otlp *o, nv_string at)
{
    o->damaged_at = (size_t)(at.p - o->start);
    return NV_OTLP_DAMAGED;
}

/* A message and all that is in it; `depth` is how many values it is in. */
static nv_otlp_state check(nv_otlp *o, message what, nv_string m, unsigned depth)
{
    nv_wire_field f;
    int more;
    while ((more = nv_wire_next(&m, &f)) > 0) {
        const rule *r = &rules[what][f.number < FIELDS ? f.number : 0];
        if (!r->known)
            continue;
        if (r->wire != f.wire)
            return damaged(o, m);
        if (!r->inner)
            continue;
        unsigned deeper = depth + (r->inner == VALUE);
        if (deeper > NV_OTLP_DEPTH)
            return NV_OTLP_TOO_DEEP;
        nv_otlp_state state = check(o, r->inner, f.bytes, deeper);
        if (state)
            return state;
    }
    return more ? damaged(o, m) : NV_OTLP_WHOLE;
}

/* Find the message `number`, of several the last one; how it is, `what` it is. */
static nv_otlp_state find(nv_otlp *o, nv_string m, uint32_t number, message what, nv_string *found)
{
    nv_wire_field f;
    int more;
    *found = NOTHING;
    while ((more = nv_wire_next(&m, &f)) > 0) {
        if (f.number != number)
            continue;
        if (f.wire != NV_WIRE_BYTES)
            return damaged(o, m);
        nv_otlp_state state = check(o, what, f.bytes, 0);
        if (state)
            return state;
        *found = f.bytes;
    }
    return more ? damaged(o, m) : NV_OTLP_WHOLE;
}

/* `rows` counts the bytes that the records come to, each with `around` bytes of resource and scope. */
static nv_otlp_state check_records(nv_otlp *o, nv_string scope_logs, size_t around, uint64_t *rows)
{
    nv_wire_field f;
    nv_string scope;
    nv_otlp_state state = find(o, scope_logs, ITS_SCOPE, SCOPE, &scope);
    if (state)
        return state;
    while (nv_wire_next(&scope_logs, &f) > 0) { /* whole, as was just found */
        if (f.number != LOG_RECORDS)
            continue;
        if (f.wire != NV_WIRE_BYTES)
            return damaged(o, scope_logs);
        state = check(o, RECORD, f.bytes, 0);
        o->deep += state == NV_OTLP_TOO_DEEP;
        if (state == NV_OTLP_TOO_DEEP || (!state && f.bytes.n > NV_OTLP_MAX_RECORD)) {
            state = nv_append_u64(&o->refused, o->records) ? NV_OTLP_WHOLE : NV_OTLP_NO_MEMORY;
            o->rejected++;
        }
        if (state)
            return state;
        o->records++;
        *rows += 64 + f.bytes.n + scope.n + around;
        if (*rows > NV_OTLP_MAX_ROWS_BYTES)
            return NV_OTLP_TOO_LARGE;
    }
    return NV_OTLP_WHOLE;
}

static nv_otlp_state check_resource_logs(nv_otlp *o, nv_string resource_logs, uint64_t *rows)
{
    nv_wire_field f;
    nv_string resource;
    nv_otlp_state state = find(o, resource_logs, ITS_RESOURCE, RESOURCE, &resource);
    while (!state && nv_wire_next(&resource_logs, &f) > 0)
        if (f.number == SCOPE_LOGS)
            state = f.wire == NV_WIRE_BYTES ? check_records(o, f.bytes, resource.n, rows) : damaged(o, resource_logs);
    return state;
}

nv_otlp_state nv_otlp_begin(nv_otlp *o, const uint8_t *data, size_t n)
{
    nv_wire_field f;
    int more = 0;
    uint64_t rows = 0;
    nv_string request = {data, n};
    nv_otlp_state state = NV_OTLP_WHOLE;
    *o = (nv_otlp){.start = data, .request = request, .service = NOTHING, .host = NOTHING};
    while (!state && (more = nv_wire_next(&request, &f)) > 0)
        if (f.number == RESOURCE_LOGS)
            state = f.wire == NV_WIRE_BYTES ? check_resource_logs(o, f.bytes, &rows) : damaged(o, request);
    if (!state && more)
        state = damaged(o, request);
    return state;
}

/* ---- texts that stay ---- */

#define PIECE (16 << 10)

static void texts_clear(nv_otlp_piece **texts)
{
    for (nv_otlp_piece *p = *texts, *next; p; p = next) {
        next = p->next;
        if (next || p->room > PIECE) { /* the first one is used again */
            free(p);
            continue;
        }
        p->used = 0;
        *texts = p;
        return;
    }
    *texts = NULL;
}

/* A copy that NV_SPARE readable bytes follow. */
static nv_string keep_text(nv_columns *c, nv_otlp_piece **texts, const uint8_t *p, size_t n)
{
    nv_otlp_piece *piece = *texts;
    if (!piece || piece->room - piece->used < n + NV_SPARE) {
        size_t room = n + NV_SPARE < PIECE ? PIECE : n + NV_SPARE;
        piece = calloc(1, sizeof *piece + room);
        if (!piece) {
            c->failed = 1;
            return NOTHING;
        }
        piece->next = *texts;
        piece->room = room;
        *texts = piece;
    }
    uint8_t *to = piece->data + piece->used;
    memcpy(to, p, n);
    piece->used += n;
    return (nv_string){to, n};
}

/* ---- values ---- */

typedef struct {
    int kind; /* 0: none */
    uint64_t value;
    nv_string bytes;
} any;

static any read_any(nv_string m)
{
    nv_wire_field f = {0};
    any found = {0};
    while (nv_wire_next(&m, &f) > 0)
        if (f.number < KINDS)
            found = (any){(int)f.number, f.value, f.bytes};
    return found;
}

static void read_pair(nv_string m, nv_string *key, nv_string *value)
{
    nv_wire_field f;
    *key = *value = NOTHING;
    while (nv_wire_next(&m, &f) > 0) {
        if (f.number == KEY)
            *key = f.bytes;
        else if (f.number == ITS_VALUE)
            *value = f.bytes;
    }
}

static double as_double(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

static int put_json(nv_buffer *out, any v);

static int put_member(nv_buffer *out, nv_string pair)
{
    nv_string key, value;
    read_pair(pair, &key, &value);
    return nv_put_json_string(out, key.p, key.n) && nv_append(out, ":", 1) && put_json(out, read_any(value));
}

static int put_elements(nv_buffer *out, nv_string m, int members)
{
    nv_wire_field f;
    int ok = nv_append(out, members ? "{" : "[", 1);
    for (int first = 1; ok && nv_wire_next(&m, &f) > 0;) {
        if (f.number != ELEMENTS)
            continue;
        ok = (first || nv_append(out, ",", 1)) && (members ? put_member(out, f.bytes) : put_json(out, read_any(f.bytes)));
        first = 0;
    }
    return ok && nv_append(out, members ? "}" : "]", 1);
}

/* Bare text: what is a number, a boolean, an array or a map is the same in JSON. */
static int put_text(nv_buffer *out, any v)
{
    switch (v.kind) {
    case STRING: return nv_append(out, v.bytes.p, v.bytes.n);
    case BOOL: return v.value ? nv_append(out, "true", 4) : nv_append(out, "false", 5);
    case INTEGER: return nv_put_integer(out, (int64_t)v.value);
    case DOUBLE: return nv_put_double(out, as_double(v.value));
    case ARRAY: return put_elements(out, v.bytes, 0);
    case MAP: return put_elements(out, v.bytes, 1);
    case BYTES: return nv_put_base64(out, v.bytes.p, v.bytes.n);
    default: return 1;
    }
}

static int put_json(nv_buffer *out, any v)
{
    if (v.kind == STRING)
        return nv_put_json_string(out, v.bytes.p, v.bytes.n);
    if (!v.kind)
        return nv_append(out, "null", 4);
    int quoted = v.kind == BYTES || (v.kind == DOUBLE && as_double(v.value) - as_double(v.value) != 0); /* NaN, infinite */
    return (!quoted || nv_append(out, "\"", 1)) && put_text(out, v) && (!quoted || nv_append(out, "\"", 1));
}

/* ---- fields ---- */

/* What fields are taken into: those of a record, or of its resource and scope. */
typedef struct {
    nv_otlp *o;
    nv_columns *c;
    nv_otlp_piece **texts;
    uint32_t coming; /* fields that have a place already, though they are not there yet */
} taking;

static nv_string text_of(taking *t, any v)
{
    nv_buffer *out = &t->o->json;
    if (v.kind == STRING)
        return v.bytes;
    out->length = 0;
    if (!put_text(out, v)) {
        t->c->failed = 1;
        return NOTHING;
    }
    return out->length ? keep_text(t->c, t->texts, out->data, out->length) : NOTHING;
}

/* Whether the members of a map may be fields of their own, under names that `prefix` more bytes come before. */
static int may_be_fields(const taking *t, nv_string map, size_t prefix)
{
    nv_wire_field f;
    nv_string key, value;
    size_t count = 0;
    while (nv_wire_next(&map, &f) > 0) {
        if (f.number != ELEMENTS)
            continue;
        read_pair(f.bytes, &key, &value);
        if (prefix + key.n > NV_MAX_KEY)
            return 0;
        count++;
    }
    return count && t->c->field_count + t->coming + count <= NV_OTLP_MAX_TAGS;
}

static size_t count_elements(nv_string m, uint32_t number)
{
    nv_wire_field f;
    size_t count = 0;
    while (nv_wire_next(&m, &f) > 0)
        count += f.number == number;
    return count;
}

static void take_members(taking *t, nv_string map, nv_string without);

/* A field by its name, which is at most NV_MAX_KEY bytes and followed by NV_SPARE; the members of a map by dotted names. */
static void take_field(taking *t, nv_string name, any v)
{
    nv_columns *c = t->c;
    nv_buffer *path = &c->path;
    if (v.kind == MAP && may_be_fields(t, v.bytes, name.n + 1)) {
        if (name.p != path->data) {
            path->length = 0;
            if (!nv_append(path, name.p, name.n))
                c->failed = 1;
        }
        if (!nv_append(path, ".", 1))
            c->failed = 1;
        if (!c->failed)
            take_members(t, v.bytes, NOTHING);
        return;
    }
    if (!nv_add_field(c, nv_key_seen(c, name.p, name.n), text_of(t, v)))
        c->failed = 1;
}

/* The members of a map for which there is room, `without` one of them. Their names go behind the path. */
static void take_members(taking *t, nv_string map, nv_string without)
{
    nv_wire_field f;
    nv_string key, value;
    nv_buffer *path = &t->c->path;
    size_t prefix = path->length;
    t->coming += (uint32_t)count_elements(map, ELEMENTS);
    while (!t->c->failed && nv_wire_next(&map, &f) > 0) {
        if (f.number != ELEMENTS)
            continue;
        t->coming--;
        if (f.bytes.p == without.p)
            continue;
        read_pair(f.bytes, &key, &value);
        if (!nv_append(path, key.p, key.n) || !nv_reserve(path, NV_SPARE)) {
            t->c->failed = 1;
            return;
        }
        take_field(t, (nv_string){path->data, path->length}, read_any(value));
        path->length = prefix;
    }
}

/* One attribute. Those that are too many, or whose names are too long, are put together. */
static void take_attribute(taking *t, nv_string pair)
{
    nv_string key, value;
    nv_buffer *rest = &t->o->overflow;
    read_pair(pair, &key, &value);
    if (key.n > NV_MAX_KEY || t->c->field_count + t->coming >= NV_OTLP_MAX_TAGS) {
        if (!nv_append(rest, rest->length ? "," : "{", 1) || !put_member(rest, pair))
            t->c->failed = 1;
        return;
    }
    take_field(t, key, read_any(value));
}

static void take_attributes(taking *t, nv_string m, uint32_t number)
{
    nv_wire_field f;
    while (!t->c->failed && nv_wire_next(&m, &f) > 0)
        if (f.number == number)
            take_attribute(t, f.bytes);
}

/* A field that is not an attribute: where one has its name, that one holds. */
static void take_named(taking *t, const char *name, nv_string v)
{
    nv_columns *c = t->c;
    nv_key *key = nv_key_of(c, (const uint8_t *)name, strlen(name));
    if (key && key->line == c->line && key->field < c->field_count && c->fields[key->field].key == key)
        return;
    if (!nv_add_field(c, key, v))
        c->failed = 1;
}

static void take_number(taking *t, const char *name, uint64_t v)
{
    if (v)
        take_named(t, name, text_of(t, (any){.kind = INTEGER, .value = v}));
}

static void begin_fields(taking *t)
{
    t->c->line++;
    t->c->field_count = 0;
    t->o->overflow.length = 0;
    texts_clear(t->texts);
}

/* Copy the fields to `to`; how many. */
static uint32_t end_fields(taking *t, const char *overflow, nv_field *to)
{
    nv_buffer *rest = &t->o->overflow;
    nv_columns *c = t->c;
    if (rest->length && !c->failed) {
        if (nv_append(rest, "}", 1))
            take_named(t, overflow, keep_text(c, t->texts, rest->data, rest->length));
        else
            c->failed = 1;
    }
    uint32_t count = c->field_count;
    memcpy(to, c->fields, count * sizeof *to);
    c->field_count = 0;
    return count;
}

/* Take the field of a name out of some; its text, or nothing. An empty one stays. */
static nv_string take_out(nv_field *fields, uint32_t *count, const char *name)
{
    for (uint32_t i = 0; i < *count; i++) {
        nv_string v = fields[i].value;
        if (!v.n || !is((nv_string){fields[i].key->name, fields[i].key->length}, name))
            continue;
        memmove(fields + i, fields + i + 1, (--*count - i) * sizeof *fields);
        return v;
    }
    return NOTHING;
}

/* ---- rows ---- */

#define TAGS_ROOM (NV_OTLP_MAX_TAGS + 16) /* with the fields that are no attributes */

/* What all records of a scope have: its attributes, and those of its resource. */
static void take_shared(nv_otlp *o, nv_columns *c)
{
    taking t = {.o = o, .c = c, .texts = &o->shared_texts};
    nv_field *tags = o->shared_tags;
    nv_string resource = o->resource, scope = o->scope, name = NOTHING, version = NOTHING;
    nv_wire_field f;
    uint64_t resource_dropped = 0, scope_dropped = 0;
    begin_fields(&t);
    take_attributes(&t, resource, RESOURCE_ATTRIBUTES);
    take_attributes(&t, scope, SCOPE_ATTRIBUTES);
    while (nv_wire_next(&resource, &f) > 0)
        if (f.number == RESOURCE_DROPPED)
            resource_dropped = (uint32_t)f.value;
    while (nv_wire_next(&scope, &f) > 0)
        switch (f.number) {
        case SCOPE_NAME: name = f.bytes; break;
        case SCOPE_VERSION: version = f.bytes; break;
        case SCOPE_DROPPED: scope_dropped = (uint32_t)f.value; break;
        }
    if (name.n)
        take_named(&t, "scope.name", name);
    if (version.n)
        take_named(&t, "scope.version", version);
    take_number(&t, "scope.dropped_attributes_count", scope_dropped);
    take_number(&t, "resource.dropped_attributes_count", resource_dropped);
    o->shared_count = end_fields(&t, "resource.overflow_tags", tags);
    o->service = take_out(tags, &o->shared_count, "service.name");
    o->host = take_out(tags, &o->shared_count, "host.name");
    o->shared_bytes = o->resource.n + o->scope.n;
    o->shared = 1;
}

typedef struct {
    uint64_t time, observed, severity, dropped, flags;
    nv_string severity_text, body, trace, span, event_name;
} record;

static record read_record(nv_string m)
{
    nv_wire_field f;
    record r = {.severity_text = NOTHING, .body = NOTHING, .trace = NOTHING, .span = NOTHING, .event_name = NOTHING};
    while (nv_wire_next(&m, &f) > 0)
        switch (f.number) {
        case TIME: r.time = f.value; break;
        case SEVERITY: r.severity = (uint64_t)(int64_t)(int32_t)f.value; break;
        case SEVERITY_TEXT: r.severity_text = f.bytes; break;
        case BODY: r.body = f.bytes; break;
        case DROPPED: r.dropped = (uint32_t)f.value; break;
        case FLAGS: r.flags = f.value; break;
        case TRACE: r.trace = f.bytes; break;
        case SPAN: r.span = f.bytes; break;
        case OBSERVED: r.observed = f.value; break;
        case EVENT_NAME: r.event_name = f.bytes; break;
        }
    return r;
}

/* The member of a map that is its message: a text named so that is not empty. */
static nv_string message_in(nv_string map, nv_string *pair)
{
    nv_wire_field f;
    nv_string key, value, found = NOTHING;
    int by_its_name = 0;
    *pair = NOTHING;
    while (nv_wire_next(&map, &f) > 0) {
        if (f.number != ELEMENTS)
            continue;
        read_pair(f.bytes, &key, &value);
        int message = is(key, "message");
        if ((!message && !is(key, "msg")) || by_its_name > message)
            continue;
        any v = read_any(value);
        if (v.kind == STRING && v.bytes.n) {
            by_its_name = message;
            found = v.bytes;
            *pair = f.bytes;
        }
    }
    return found;
}

/* The message; what a map holds beside it becomes fields. */
static nv_string take_body(taking *t, nv_string body)
{
    any v = read_any(body);
    nv_string pair = NOTHING, message = NOTHING;
    if (v.kind == MAP && may_be_fields(t, v.bytes, 0)) {
        message = message_in(v.bytes, &pair);
        t->c->path.length = 0;
        take_members(t, v.bytes, pair);
    }
    return message.n ? message : text_of(t, v);
}

static nv_string hex_of(taking *t, nv_string id)
{
    static const char digits[] = "0123456789abcdef";
    nv_buffer *out = &t->o->json;
    uint8_t any_bit = 0;
    out->length = 0;
    if (!nv_reserve(out, 2 * id.n)) {
        t->c->failed = 1;
        return NOTHING;
    }
    for (size_t i = 0; i < id.n; i++) {
        any_bit |= id.p[i];
        out->data[2 * i] = (uint8_t)digits[id.p[i] >> 4];
        out->data[2 * i + 1] = (uint8_t)digits[id.p[i] & 15];
    }
    return any_bit ? keep_text(t->c, t->texts, out->data, 2 * id.n) : NOTHING; /* zeros: there is none */
}

/* The level that a severity stands for: by its number, else by its text. What the level does not say is a field. */
static nv_level take_severity(taking *t, const record *r)
{
    static const nv_level ranges[] = {NV_LEVEL_TRACE, NV_LEVEL_DEBUG, NV_LEVEL_INFO, NV_LEVEL_WARN, NV_LEVEL_ERROR,
                                      NV_LEVEL_FATAL};
    int known = r->severity >= 1 && r->severity <= 24;
    nv_level named = NV_LEVEL_NONE;
    uint8_t text[16] = {0};
    if (r->severity_text.n && r->severity_text.n < sizeof text) {
        memcpy(text, r->severity_text.p, r->severity_text.n);
        named = nv_level_word(text, text + r->severity_text.n);
    }
    nv_level level = known ? ranges[(r->severity - 1) / 4] : named;
    if (r->severity_text.n && (named == NV_LEVEL_NONE || named != level))
        take_named(t, "severity_text", r->severity_text);
    if (!known || (r->severity - 1) % 4)
        take_number(t, "severity_number", r->severity);
    return level;
}

static int64_t time_of(const record *r)
{
    uint64_t ns = r->time ? r->time : r->observed;
    return !ns ? NV_NO_TIME : ns > INT64_MAX ? INT64_MAX : (int64_t)ns;
}

static void take_record(nv_otlp *o, nv_columns *c, nv_string m, int64_t received)
{
    taking t = {.o = o, .c = c, .texts = &o->texts};
    record r = read_record(m);
    nv_source source = {.received = received, .format = NV_MESSAGE, .time = time_of(&r)};
    begin_fields(&t);
    nv_string message = take_body(&t, r.body);
    take_attributes(&t, m, ATTRIBUTES);
    source.level = take_severity(&t, &r);
    if (r.event_name.n)
        take_named(&t, "event_name", r.event_name);
    take_number(&t, "flags", r.flags);
    take_number(&t, "dropped_attributes_count", r.dropped);
    source.trace = hex_of(&t, r.trace);
    source.span = hex_of(&t, r.span);
    uint32_t count = end_fields(&t, "overflow_tags", o->tags);
    source.service = o->service.n ? o->service : take_out(o->tags, &count, "service.name");
    source.host = o->host.n ? o->host : take_out(o->tags, &count, "host.name");
    memcpy(o->tags + count, o->shared_tags, o->shared_count * sizeof *o->tags);
    source.tags = o->tags;
    source.tag_count = count + o->shared_count;
    c->raw_bytes += o->shared_bytes + (m.n > message.n ? m.n - message.n : 0);
    if (!c->failed)
        nv_take_one(c, message.p, message.n, &source);
}

/* ---- one record after the other ---- */

/* The next record; 0 where there is none. */
static int next_record(nv_otlp *o, nv_string *found)
{
    nv_wire_field f;
    for (;;) {
        while (nv_wire_next(&o->scope_logs, &f) > 0)
            if (f.number == LOG_RECORDS) {
                *found = f.bytes;
                return 1;
            }
        o->shared = 0;
        int more;
        while ((more = nv_wire_next(&o->resource_logs, &f)) > 0 && f.number != SCOPE_LOGS)
            ;
        if (more > 0) {
            o->scope_logs = f.bytes;
            find(o, f.bytes, ITS_SCOPE, SCOPE, &o->scope);
            continue;
        }
        while ((more = nv_wire_next(&o->request, &f)) > 0 && f.number != RESOURCE_LOGS)
            ;
        if (more <= 0)
            return 0;
        o->resource_logs = f.bytes;
        find(o, f.bytes, ITS_RESOURCE, RESOURCE, &o->resource);
    }
}

uint64_t nv_otlp_take(nv_otlp *o, nv_columns *c, int64_t received)
{
    const uint64_t *refused = (const uint64_t *)o->refused.data, *end = refused + o->refused.length / sizeof *refused;
    uint64_t taken = 0;
    nv_string m;
    if (!o->tags && !(o->tags = malloc(sizeof *o->tags * 3 * TAGS_ROOM))) {
        c->failed = 1;
        return 0;
    }
    o->shared_tags = o->tags + 2 * TAGS_ROOM;
    o->shared = 0; /* the columns may have forgotten their keys since */
    while (!c->failed && nv_otlp_left(o) && !nv_full(c) && next_record(o, &m)) {
        uint64_t number = o->number++;
        if (refused + o->next_refused < end && refused[o->next_refused] == number) {
            o->next_refused++;
            continue;
        }
        if (!o->shared)
            take_shared(o, c);
        if (!c->failed)
            take_record(o, c, m, received);
        taken++;
    }
    return taken;
}

static void texts_free(nv_otlp_piece *texts)
{
    for (nv_otlp_piece *next; texts; texts = next) {
        next = texts->next;
        free(texts);
    }
}

void nv_otlp_free(nv_otlp *o)
{
    texts_free(o->texts);
    texts_free(o->shared_texts);
    free(o->tags);
    nv_buffer_free(&o->refused);
    nv_buffer_free(&o->json);
    nv_buffer_free(&o->overflow);
    *o = (nv_otlp){0};
}
