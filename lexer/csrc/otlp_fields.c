#include "otlp_fields.h"

#include "jsontext.h"

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
nv_string nv_otlp_keep(taking *t, const uint8_t *p, size_t n)
{
    nv_otlp_piece *piece = *t->texts;
    if (!piece || piece->room - piece->used < n + NV_SPARE) {
        size_t room = n + NV_SPARE < PIECE ? PIECE : n + NV_SPARE;
        piece = calloc(1, sizeof *piece + room);
        if (!piece) {
            t->c->failed = 1;
            return NV_NOTHING;
        }
        piece->next = *t->texts;
        piece->room = room;
        *t->texts = piece;
    }
    uint8_t *to = piece->data + piece->used;
    memcpy(to, p, n);
    piece->used += n;
    return (nv_string){to, n};
}

/* ---- values ---- */

static double as_double(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

static int put_json(nv_buffer *out, any v);

int nv_otlp_put_member(nv_buffer *out, nv_string pair)
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
        ok = (first || nv_append(out, ",", 1)) && (members ? nv_otlp_put_member(out, f.bytes) : put_json(out, read_any(f.bytes)));
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

nv_string nv_otlp_text(taking *t, any v)
{
    nv_buffer *out = &t->o->json;
    if (v.kind == STRING)
        return v.bytes;
    out->length = 0;
    if (!put_text(out, v)) {
        t->c->failed = 1;
        return NV_NOTHING;
    }
    return out->length ? nv_otlp_keep(t, out->data, out->length) : NV_NOTHING;
}

int nv_otlp_may_be_fields(const taking *t, nv_string map, size_t prefix)
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

/* A field by its name, which is at most NV_MAX_KEY bytes and followed by NV_SPARE; the members of a map by dotted names. */
static void take_field(taking *t, nv_string name, any v)
{
    nv_columns *c = t->c;
    nv_buffer *path = &c->path;
    if (v.kind == MAP && nv_otlp_may_be_fields(t, v.bytes, name.n + 1)) {
        if (name.p != path->data) {
            path->length = 0;
            if (!nv_append(path, name.p, name.n))
                c->failed = 1;
        }
        if (!nv_append(path, ".", 1))
            c->failed = 1;
        if (!c->failed)
            nv_otlp_take_members(t, v.bytes, NV_NOTHING);
        return;
    }
    if (!nv_add_field(c, nv_key_seen(c, name.p, name.n), nv_otlp_text(t, v)))
        c->failed = 1;
}

void nv_otlp_take_members(taking *t, nv_string map, nv_string without)
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
        if (!nv_append(rest, rest->length ? "," : "{", 1) || !nv_otlp_put_member(rest, pair))
            t->c->failed = 1;
        return;
    }
    take_field(t, key, read_any(value));
}

void nv_otlp_take_attributes(taking *t, nv_string m, uint32_t number)
{
    nv_wire_field f;
    while (!t->c->failed && nv_wire_next(&m, &f) > 0)
        if (f.number == number)
            take_attribute(t, f.bytes);
}

void nv_otlp_take_named(taking *t, const char *name, nv_string v)
{
    nv_columns *c = t->c;
    nv_key *key = nv_key_of(c, (const uint8_t *)name, strlen(name));
    if (key && key->line == c->line && key->field < c->field_count && c->fields[key->field].key == key)
        return;
    if (!nv_add_field(c, key, v))
        c->failed = 1;
}

void nv_otlp_take_number(taking *t, const char *name, uint64_t v)
{
    if (v)
        nv_otlp_take_named(t, name, nv_otlp_text(t, (any){.kind = INTEGER, .value = v}));
}

void nv_otlp_begin_fields(taking *t)
{
    t->c->line++;
    t->c->field_count = 0;
    t->o->overflow.length = 0;
    texts_clear(t->texts);
}

uint32_t nv_otlp_end_fields(taking *t, const char *overflow, nv_field *to)
{
    nv_buffer *rest = &t->o->overflow;
    nv_columns *c = t->c;
    if (rest->length && !c->failed) {
        if (nv_append(rest, "}", 1))
            nv_otlp_take_named(t, overflow, nv_otlp_keep(t, rest->data, rest->length));
        else
            c->failed = 1;
    }
    uint32_t count = c->field_count;
    memcpy(to, c->fields, count * sizeof *to);
    c->field_count = 0;
    return count;
}
