#include "otlp_fields.h"

static inline int is(nv_string s, const char *text)
{
    return s.n == strlen(text) && !memcmp(s.p, text, s.n);
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
    return NV_NOTHING;
}

void nv_otlp_take_shared(nv_otlp *o, nv_columns *c)
{
    taking t = {.o = o, .c = c, .texts = &o->shared_texts};
    nv_field *tags = o->shared_tags;
    nv_string resource = o->resource, scope = o->scope, name = NV_NOTHING, version = NV_NOTHING;
    nv_wire_field f;
    uint64_t resource_dropped = 0, scope_dropped = 0;
    nv_otlp_begin_fields(&t);
    nv_otlp_take_attributes(&t, resource, RESOURCE_ATTRIBUTES);
    nv_otlp_take_attributes(&t, scope, SCOPE_ATTRIBUTES);
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
        nv_otlp_take_named(&t, "scope.name", name);
    if (version.n)
        nv_otlp_take_named(&t, "scope.version", version);
    nv_otlp_take_number(&t, "scope.dropped_attributes_count", scope_dropped);
    nv_otlp_take_number(&t, "resource.dropped_attributes_count", resource_dropped);
    o->shared_count = nv_otlp_end_fields(&t, "resource.overflow_tags", tags);
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
    record r = {.severity_text = NV_NOTHING, .body = NV_NOTHING, .trace = NV_NOTHING, .span = NV_NOTHING, .event_name = NV_NOTHING};
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
    nv_string key, value, found = NV_NOTHING;
    int by_its_name = 0;
    *pair = NV_NOTHING;
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
    nv_string pair = NV_NOTHING, message = NV_NOTHING;
    if (v.kind == MAP && nv_otlp_may_be_fields(t, v.bytes, 0)) {
        message = message_in(v.bytes, &pair);
        t->c->path.length = 0;
        nv_otlp_take_members(t, v.bytes, pair);
    }
    return message.n ? message : nv_otlp_text(t, v);
}

static nv_string hex_of(taking *t, nv_string id)
{
    static const char digits[] = "0123456789abcdef";
    nv_buffer *out = &t->o->json;
    uint8_t any_bit = 0;
    out->length = 0;
    if (!nv_reserve(out, 2 * id.n)) {
        t->c->failed = 1;
        return NV_NOTHING;
    }
    for (size_t i = 0; i < id.n; i++) {
        any_bit |= id.p[i];
        out->data[2 * i] = (uint8_t)digits[id.p[i] >> 4];
        out->data[2 * i + 1] = (uint8_t)digits[id.p[i] & 15];
    }
    return any_bit ? nv_otlp_keep(t, out->data, 2 * id.n) : NV_NOTHING; /* zeros: there is none */
}

static nv_level level_named(nv_string s)
{
    uint8_t text[16] = {0};
    if (!s.n || s.n >= sizeof text)
        return NV_LEVEL_NONE;
    memcpy(text, s.p, s.n);
    return nv_level_word(text, text + s.n);
}

/* The level that a field says which is called so. */
static nv_level level_of_fields(const nv_columns *c)
{
    nv_level level = NV_LEVEL_NONE;
    for (uint32_t i = 0; i < c->field_count && level == NV_LEVEL_NONE; i++)
        if (c->fields[i].key->role == NV_KEY_LEVEL)
            level = level_named(c->fields[i].value);
    return level;
}

/* The level that a severity stands for: by its number, else by its text. What the level does not say is a field. */
static nv_level take_severity(taking *t, const record *r)
{
    static const nv_level ranges[] = {NV_LEVEL_TRACE, NV_LEVEL_DEBUG, NV_LEVEL_INFO, NV_LEVEL_WARN, NV_LEVEL_ERROR,
                                      NV_LEVEL_FATAL};
    int known = r->severity >= 1 && r->severity <= 24;
    nv_level named = level_named(r->severity_text);
    nv_level level = known ? ranges[(r->severity - 1) / 4] : named;
    if (r->severity_text.n && (named == NV_LEVEL_NONE || named != level))
        nv_otlp_take_named(t, "severity_text", r->severity_text);
    if (!known || (r->severity - 1) % 4)
        nv_otlp_take_number(t, "severity_number", r->severity);
    return level ? level : level_of_fields(t->c);
}

static int64_t time_of(const record *r)
{
    uint64_t ns = r->time ? r->time : r->observed;
    return !ns ? NV_NO_TIME : ns > INT64_MAX ? INT64_MAX : (int64_t)ns;
}

void nv_otlp_take_record(nv_otlp *o, nv_columns *c, nv_string m, int64_t received)
{
    taking t = {.o = o, .c = c, .texts = &o->texts};
    record r = read_record(m);
    nv_source source = {.received = received, .format = NV_MESSAGE, .time = time_of(&r)};
    nv_otlp_begin_fields(&t);
    nv_string message = take_body(&t, r.body);
    nv_otlp_take_attributes(&t, m, ATTRIBUTES);
    source.level = take_severity(&t, &r);
    if (r.event_name.n)
        nv_otlp_take_named(&t, "event_name", r.event_name);
    nv_otlp_take_number(&t, "flags", r.flags);
    nv_otlp_take_number(&t, "dropped_attributes_count", r.dropped);
    source.trace = hex_of(&t, r.trace);
    source.span = hex_of(&t, r.span);
    uint32_t count = nv_otlp_end_fields(&t, "overflow_tags", o->tags);
    source.service = o->service.n ? o->service : take_out(o->tags, &count, "service.name");
    source.host = o->host.n ? o->host : take_out(o->tags, &count, "host.name");
    memcpy(o->tags + count, o->shared_tags, o->shared_count * sizeof *o->tags);
    source.tags = o->tags;
    source.tag_count = count + o->shared_count;
    c->raw_bytes += o->shared_bytes + (m.n > message.n ? m.n - message.n : 0);
    if (!c->failed)
        nv_take_one(c, message.p, message.n, &source);
}
