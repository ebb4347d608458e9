#include "pushes.h"

#include "check.h"
#include "pushed.h"
#include "structured.h"
#include "timestamp.h"

#define RECEIVED (INT64_C(1780000000) * NV_SECOND)
#define SURE_MEMBERS 300 /* a shorter text can't have too many members */
#define ACTION "{\"create\":{}}"

static const uint8_t VALUE[5 + NV_SPARE] = "value";

static void put(nv_buffer *out, const void *p, size_t n)
{
    HOLDS(nv_append(out, p, n));
}

/* Bytes in memory of exactly their size, so that a read past them is seen. */
static uint8_t *exact(const nv_buffer *data, size_t padding)
{
    uint8_t *copy = calloc(1, data->length + padding ? data->length + padding : 1);
    HOLDS(copy);
    if (data->length)
        memcpy(copy, data->data, data->length);
    return copy;
}

static nv_columns *columns(generator *g)
{
    nv_columns *c = nv_columns_new(31, below(g, 4) ? 1 << 17 : 1 + (uint32_t)below(g, 9), 48 << 20);
    HOLDS(c);
    return c;
}

/* The line at *p, of n bytes; 0 where there is none any more. */
static int next_line(const nv_buffer *lines, size_t *at, nv_string *line)
{
    if (*at >= lines->length)
        return 0;
    const uint8_t *p = lines->data + *at, *newline = memchr(p, '\n', lines->length - *at);
    *line = (nv_string){p, newline ? (size_t)(newline - p) : lines->length - *at};
    *at += line->n + 1;
    return 1;
}

/* ---- documents ---- */

static int is_object(nv_string line)
{
    size_t at = 0;
    while (at < line.n && (line.p[at] == ' ' || line.p[at] == '\t' || line.p[at] == '\r'))
        at++;
    return at < line.n && line.p[at] == '{' && plain_json_valid(line.p, line.n);
}

static void documents(generator *g, const nv_buffer *lines)
{
    nv_buffer body = {0}, verdicts = {0};
    nv_string line, action = {(const uint8_t *)ACTION, strlen(ACTION)};
    for (size_t at = 0; next_line(lines, &at, &line);) {
        put(&body, ACTION "\n", action.n + 1);
        put(&body, line.p, line.n);
        if (at <= lines->length || !line.n || below(g, 2))
            put(&body, "\n", 1);
    }
    nv_columns *c = columns(g);
    nv_field tag = {nv_key_of(c, (const uint8_t *)"_index", 6), {VALUE, 5}};
    nv_source source = {.service = {VALUE, 0}, .host = {VALUE, 0}, .tags = &tag, .tag_count = 1, .received = RECEIVED,
                        .format = NV_JSON, .time = NV_NO_TIME};
    uint8_t *copy = exact(&body, 0);
    uint64_t rows = 0;
    for (size_t taken = 0; taken < body.length;) {
        size_t step = nv_take_documents(c, copy + taken, body.length - taken, action, &source, &verdicts);
        HOLDS(step && !c->failed && (taken + step == body.length || nv_full(c)));
        check_columns(c);
        rows += c->rows;
        nv_columns_reset(c);
        tag.key = nv_key_of(c, (const uint8_t *)"_index", 6);
        taken += step;
    }
    size_t count = 0;
    for (size_t at = 0; next_line(lines, &at, &line); count++) {
        HOLDS(count < verdicts.length && verdicts.data[count] == is_object(line));
        HOLDS(rows >= verdicts.data[count]);
        rows -= verdicts.data[count];
    }
    HOLDS(count == verdicts.length && rows == 0);
    free(copy);
    nv_buffer_free(&body);
    nv_buffer_free(&verdicts);
    nv_columns_free(c);
}

/* ---- members ---- */

static void members(generator *g, const nv_buffer *lines)
{
    nv_columns *c = columns(g);
    nv_member found[NV_MAX_MEMBERS];
    nv_string line;
    for (size_t at = 0; next_line(lines, &at, &line);) {
        nv_buffer body = {0};
        uint32_t count;
        put(&body, line.p, line.n);
        if (below(g, 2))
            put(&body, ACTION, strlen(ACTION)); /* what comes after does not matter */
        uint8_t *copy = exact(&body, NV_PADDING);
        size_t taken = nv_json_members(c, copy, body.length, found, &count);
        HOLDS(taken <= body.length && !c->failed && (!taken || plain_json_valid(copy, taken)));
        HOLDS(taken || !is_object(line) || line.n > SURE_MEMBERS);
        for (uint32_t i = 0; taken && i < count; i++) {
            HOLDS(found[i].name.p > copy && found[i].name.p + found[i].name.n < found[i].value.p);
            HOLDS(found[i].value.n && found[i].value.p + found[i].value.n < copy + taken);
            HOLDS(plain_json_valid(found[i].value.p, found[i].value.n));
        }
        free(copy);
        nv_buffer_free(&body);
    }
    nv_columns_free(c);
}

/* ---- entries ---- */

static void put_varint(nv_buffer *out, uint64_t v)
{
    for (; v > 127; v >>= 7)
        put(out, &(uint8_t){(uint8_t)(v | 128)}, 1);
    put(out, &(uint8_t){(uint8_t)v}, 1);
}

static void put_bytes(nv_buffer *out, unsigned number, const void *p, size_t n)
{
    put_varint(out, number << 3 | 2);
    put_varint(out, n);
    put(out, p, n);
}

static void put_tag(generator *g, nv_buffer *out)
{
    static const char *const names[] = {"", "pod", "level", "detected_level", "trace_id", "span_id", "service_name", "host"};
    static const char *const values[] = {"", "info", "WARN", "value", "\xff\"\\"};
    char long_name[NV_MAX_KEY + 1];
    nv_buffer tag = {0};
    memset(long_name, 'n', sizeof long_name);
    const char *name = names[below(g, 8)], *value = values[below(g, 5)];
    if (below(g, 500))
        put_bytes(&tag, 1, name, strlen(name));
    else
        put_bytes(&tag, 1, long_name, NV_MAX_KEY + below(g, 2));
    put_bytes(&tag, 2, value, strlen(value));
    put_bytes(out, 3, tag.data, tag.length);
    nv_buffer_free(&tag);
}

static void put_entry(generator *g, nv_buffer *out, nv_string line)
{
    nv_buffer entry = {0}, time = {0};
    if (below(g, 8)) {
        put_varint(&time, 1 << 3);
        put_varint(&time, below(g, 9) ? 1779999999 : random_bits(g));
        put_varint(&time, 2 << 3);
        put_varint(&time, below(g, 9) ? 7 : random_bits(g));
        put_bytes(&entry, 1, time.data, time.length);
    }
    put_bytes(&entry, 2, line.p, line.n);
    for (size_t n = below(g, 200) ? below(g, 4) : 300; n; n--)
        put_tag(g, &entry);
    put_bytes(out, 2, entry.data, entry.length);
    nv_buffer_free(&entry);
    nv_buffer_free(&time);
}

static void entries(generator *g, const nv_buffer *lines)
{
    nv_buffer body = {0};
    nv_string line;
    uint64_t count = 0, rows = 0;
    put_bytes(&body, 1, "{a=\"b\"}", 7);
    for (size_t at = 0; next_line(lines, &at, &line); count++)
        put_entry(g, &body, line);
    size_t damage = below(g, 2) ? 0 : 1 + below(g, 8);
    for (size_t i = 0; i < damage; i++)
        body.data[below(g, body.length)] = (uint8_t)random_bits(g);
    if (damage && !below(g, 4))
        body.length = below(g, body.length + 1);
    nv_columns *c = columns(g);
    uint8_t *copy = exact(&body, NV_PADDING);
    nv_push state = NV_PUSH_FULL;
    for (size_t at = 0; at < body.length && state != NV_PUSH_DAMAGED;) {
        nv_field tag = {nv_key_of(c, (const uint8_t *)"pod", 3), {VALUE, 5}};
        nv_source source = {.service = {VALUE, below(g, 2) * 5}, .host = {VALUE, 0}, .tags = &tag, .tag_count = 1,
                            .received = RECEIVED, .format = NV_AUTO, .time = NV_NO_TIME};
        size_t before = at;
        nv_wire_field skipped;
        state = nv_take_entries(c, copy, &at, body.length, &source);
        HOLDS(!c->failed && at >= before && at <= body.length);
        HOLDS(state != NV_PUSH_FULL || nv_full(c));
        HOLDS(state != NV_PUSH_END || at == body.length);
        HOLDS(damage || state != NV_PUSH_DAMAGED);
        check_columns(c);
        rows += c->rows;
        if (state == NV_PUSH_LARGE) {
            HOLDS(nv_next_wire(copy, &at, body.length, &skipped) && skipped.number == 2);
            rows++;
        }
        nv_columns_reset(c);
    }
    HOLDS(damage || rows == count);
    free(copy);
    nv_buffer_free(&body);
    nv_columns_free(c);
}

void fuzz_pushes(generator *g, const nv_buffer *lines)
{
    documents(g, lines);
    members(g, lines);
    entries(g, lines);
}
