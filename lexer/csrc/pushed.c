#include "pushed.h"

#include "timestamp.h"

/* ---- documents ---- */

/* A document that ends near the data's end is read from a copy that may be read past. */
static int take_document(nv_columns *c, const uint8_t *p, size_t n, size_t left, const nv_source *source, nv_buffer *copy)
{
    if (left - n < NV_PADDING + 1) {
        copy->length = 0;
        if (!nv_reserve(copy, n + NV_PADDING)) {
            c->failed = 1;
            return 0;
        }
        memcpy(copy->data, p, n);
        memset(copy->data + n, 0, NV_PADDING);
        p = copy->data;
    }
    if (n && p[n - 1] == '\r')
        n--;
    return nv_take_object(c, p, n, source);
}

size_t nv_take_documents(nv_columns *c, const uint8_t *data, size_t n, nv_string action, const nv_source *source,
                         nv_buffer *verdicts)
{
    const uint8_t *p = data, *end = data + n;
    nv_buffer copy = {0};
    while (!nv_full(c) && !c->failed && (size_t)(end - p) > action.n && p[action.n] == '\n' &&
           !memcmp(p, action.p, action.n)) {
        const uint8_t *document = p + action.n + 1;
        size_t left = (size_t)(end - document);
        if (!left)
            break;
        const uint8_t *newline = memchr(document, '\n', left);
        size_t length = newline ? (size_t)(newline - document) : left;
        uint8_t taken = (uint8_t)take_document(c, document, length, left, source, &copy);
        if (!nv_append(verdicts, &taken, 1))
            c->failed = 1;
        p = document + length + (newline != NULL);
    }
    nv_buffer_free(&copy);
    return (size_t)(p - data);
}

/* ---- protobuf ---- */

int nv_next_wire(const uint8_t *data, size_t *at, size_t n, nv_wire_field *out)
{
    nv_string rest = {data + *at, n - *at};
    *out = (nv_wire_field){0};
    if (nv_wire_next(&rest, out) != 1)
        return 0;
    *at = (size_t)(rest.p - data);
    return 1;
}

/* ---- entries ---- */

#define LAST_SECOND (INT64_MAX / NV_SECOND - 1)

typedef struct {
    nv_source source;
    nv_string line;
    nv_field *tags; /* room for NV_ENTRY_TAGS and the source's */
    uint32_t tag_count;
} entry;

static int read_time(nv_string message, int64_t *time)
{
    int64_t seconds = 0, nanos = 0;
    nv_wire_field field;
    for (size_t at = 0; at < message.n;) {
        if (!nv_next_wire(message.p, &at, message.n, &field))
            return 0;
        if (field.number == 1)
            seconds = (int64_t)field.value;
        else if (field.number == 2)
            nanos = (int32_t)field.value;
    }
    if (seconds > LAST_SECOND || seconds < -LAST_SECOND)
        *time = seconds > 0 ? INT64_MAX : -INT64_MAX; /* not plausible, whatever it is */
    else
        *time = seconds * NV_SECOND + nanos;
    return 1;
}

static int is_level(const nv_key *key)
{
    static const char detected[] = "detected_level";
    return key->role == NV_KEY_LEVEL ||
           (key->length == sizeof detected - 1 && !memcmp(key->name, detected, sizeof detected - 1));
}

/* Give a tag that means a column to it, where nothing is there yet. */
static int takes_column(nv_source *source, const nv_key *key, nv_string value)
{
    nv_string *column = key->role == NV_KEY_SERVICE ? &source->service
                        : key->role == NV_KEY_HOST  ? &source->host
                        : key->role == NV_KEY_TRACE ? &source->trace
                        : key->role == NV_KEY_SPAN  ? &source->span
                                                    : NULL;
    if (column && !column->n && value.n) {
        *column = value;
        return 1;
    }
    if (!is_level(key) || source->level || nv_level_of(value) == NV_LEVEL_NONE)
        return 0;
    source->level = nv_level_of(value);
    return 1;
}

static nv_push read_tag(nv_columns *c, entry *e, nv_string message)
{
    nv_string name = {message.p, 0}, value = name;
    nv_wire_field field;
    for (size_t at = 0; at < message.n;) {
        if (!nv_next_wire(message.p, &at, message.n, &field))
            return NV_PUSH_DAMAGED;
        if (field.number > 2)
            continue;
        if (!field.bytes.p)
            return NV_PUSH_DAMAGED;
        *(field.number == 1 ? &name : &value) = field.bytes;
    }
    nv_key *key = nv_key_of(c, name.p, name.n);
    if (!key || e->tag_count == NV_ENTRY_TAGS)
        return NV_PUSH_LARGE;
    if (!takes_column(&e->source, key, value))
        e->tags[e->tag_count++] = (nv_field){key, value};
    return NV_PUSH_END;
}

/* NV_PUSH_END where it was read. */
static nv_push read_entry(nv_columns *c, entry *e, nv_string message)
{
    nv_wire_field field;
    nv_push state = NV_PUSH_END;
    for (size_t at = 0; at < message.n && state == NV_PUSH_END;) {
        if (!nv_next_wire(message.p, &at, message.n, &field) || (field.number <= 3 && !field.bytes.p))
            return NV_PUSH_DAMAGED;
        if (field.number == 1 && !read_time(field.bytes, &e->source.time))
            return NV_PUSH_DAMAGED;
        if (field.number == 2)
            e->line = field.bytes;
        if (field.number == 3)
            state = read_tag(c, e, field.bytes);
    }
    return state;
}

static void add_entry(nv_columns *c, entry *e, const nv_source *source, nv_buffer *copy)
{
    if (e->tag_count) {
        memcpy(e->tags + e->tag_count, source->tags, source->tag_count * sizeof *e->tags);
        e->source.tags = e->tags;
        e->source.tag_count += e->tag_count;
    }
    copy->length = 0;
    if (!nv_reserve(copy, e->line.n + NV_PADDING)) {
        c->failed = 1;
        return;
    }
    if (e->line.n)
        memcpy(copy->data, e->line.p, e->line.n);
    memset(copy->data + e->line.n, 0, NV_PADDING);
    nv_take_one(c, copy->data, e->line.n, &e->source);
}

nv_push nv_take_entries(nv_columns *c, const uint8_t *data, size_t *at, size_t n, const nv_source *source)
{
    nv_buffer copy = {0};
    nv_push state = NV_PUSH_END;
    entry e = {.tags = malloc((NV_ENTRY_TAGS + (size_t)source->tag_count) * sizeof *e.tags)};
    if (!e.tags)
        c->failed = 1;
    while (*at < n && !c->failed && state == NV_PUSH_END) {
        nv_wire_field field;
        size_t next = *at;
        if (nv_full(c)) {
            state = NV_PUSH_FULL;
            break;
        }
        if (!nv_next_wire(data, &next, n, &field) || (field.number == 2 && !field.bytes.p)) {
            state = NV_PUSH_DAMAGED;
            break;
        }
        if (field.number == 2) {
            e.source = *source;
            e.line = (nv_string){field.bytes.p, 0};
            e.tag_count = 0;
            state = read_entry(c, &e, field.bytes);
            if (state != NV_PUSH_END)
                break;
            add_entry(c, &e, source, &copy);
        }
        *at = next;
    }
    free(e.tags);
    nv_buffer_free(&copy);
    return state;
}
