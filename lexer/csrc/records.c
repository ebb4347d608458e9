#include "records.h"

#include <stdio.h>

#include "hash.h"
#include "structured.h"
#include "timestamp.h"

#define EARLIEST (INT64_C(631152000) * NV_SECOND) /* 1990: what claims to be older has a broken clock */
#define CLAIM_ROOM (24 + NV_SPARE)

static nv_string level_text(nv_level level)
{
    return (nv_string){(const uint8_t *)NV_LEVEL_NAMES[level], strlen(NV_LEVEL_NAMES[level])};
}

static const nv_string NOTHING = {(const uint8_t[NV_SPARE]){0}, 0};

/* ---- times ---- */

static void add_named(nv_columns *c, const char *name, nv_string v)
{
    nv_add_field(c, nv_key_of(c, (const uint8_t *)name, strlen(name)), v);
}

/* An event's own time if it is plausible, else the time of receipt; a claim that was not believed stays as a tag. */
static int64_t settle_time(nv_columns *c, const nv_source *source, int64_t claimed, char claim[CLAIM_ROOM])
{
    if (claimed == NV_NO_TIME) {
        c->counts[NV_COUNT_NO_TIME]++;
        return source->received;
    }
    if (claimed >= EARLIEST && claimed <= source->received + NV_DAY)
        return claimed;
    c->counts[NV_COUNT_IMPLAUSIBLE]++;
    c->field_room = NV_MAX_FIELDS + NV_MAX_ADDED;
    int n = snprintf(claim, CLAIM_ROOM, "%lld", (long long)claimed);
    add_named(c, "claimed_timestamp", (nv_string){(uint8_t *)claim, (size_t)n});
    return source->received;
}

/* The time that a field's text gives; the text may be a string in the middle of a line. */
static int64_t time_of(const nv_source *source, nv_string s)
{
    uint8_t text[64] = {0};
    int64_t ns;
    if (!s.n || s.n >= sizeof text)
        return NV_NO_TIME;
    memcpy(text, s.p, s.n);
    if ((size_t)nv_unix_time(text, text + s.n, &ns) == s.n)
        return ns;
    return (size_t)nv_timestamp(text, source->received, &ns) == s.n ? ns : NV_NO_TIME;
}

/* ---- levels ---- */

nv_level nv_level_of(nv_string s)
{
    static const nv_level numbers[7] = {NV_LEVEL_NONE, NV_LEVEL_TRACE, NV_LEVEL_DEBUG, NV_LEVEL_INFO, NV_LEVEL_WARN,
                                        NV_LEVEL_ERROR, NV_LEVEL_FATAL};
    uint8_t text[16] = {0};
    if (!s.n || s.n >= sizeof text)
        return NV_LEVEL_NONE;
    if (s.n == 2 && s.p[1] == '0' && s.p[0] >= '1' && s.p[0] <= '6')
        return numbers[s.p[0] - '0'];
    memcpy(text, s.p, s.n);
    return nv_level_word(text, text + s.n);
}

/* ---- rows ---- */

static void add_source_tags(nv_columns *c, const nv_source *source)
{
    c->field_room = NV_MAX_FIELDS + NV_MAX_ADDED;
    for (uint32_t i = 0; i < source->tag_count; i++) {
        nv_key *key = source->tags[i].key;
        int there = key->line == c->line && key->field < c->field_count && c->fields[key->field].key == key;
        if (!there)
            nv_add_field(c, key, source->tags[i].value);
    }
}

/* Lex a text that may lie anywhere: the automata need a byte after it that ends every token. */
static void lex_anywhere(nv_columns *c, nv_string s, int64_t received, int want)
{
    size_t n = s.n < NV_LOOK ? s.n : NV_LOOK;
    c->padded.length = 0;
    if (!nv_reserve(&c->padded, n + NV_PADDING)) {
        c->failed = 1;
        return;
    }
    memcpy(c->padded.data, s.p, n);
    memset(c->padded.data + n, 0, NV_PADDING);
    nv_lex(c->padded.data, n, received, want, &c->lexed);
}

static void note(nv_columns *c)
{
    nv_note_template(c, c->lexed.fingerprint, c->lexed.template_text, c->lexed.template_length);
}

/* The pairs of a text line are tags, but for those that name a column of their own. */
static void take_pairs(nv_columns *c, const uint8_t *p, nv_event *e)
{
    const nv_line *l = &c->lexed;
    for (uint32_t i = 0; i < l->pairs; i++) {
        nv_pair pair = l->pair[i];
        nv_key *key = nv_key_of(c, p + pair.key, pair.key_end - pair.key);
        nv_string v = {p + pair.value, pair.value_end - pair.value};
        if (!key)
            return;
        if (key->role == NV_KEY_TRACE && !e->trace.n)
            e->trace = v;
        else if (key->role == NV_KEY_SPAN && !e->span.n)
            e->span = v;
        else if (key->role == NV_KEY_LEVEL && !e->level.n && nv_level_of(v) != NV_LEVEL_NONE)
            e->level = level_text(nv_level_of(v));
        else
            nv_add_field(c, key, v);
    }
}

/* Lex the first line of a record, and before it the one that names an exception: a template of two lines. */
static void lex_two(nv_columns *c, const uint8_t *p, const nv_record *r, int64_t received)
{
    nv_line *l = &c->lexed;
    nv_lex(p + r->named, r->named_end - r->named, received, 0, l);
    c->scratch.length = 0;
    int kept = nv_append(&c->scratch, "\n", 1) && nv_append(&c->scratch, l->template_text, l->template_length);
    nv_lex(p, r->first, received, NV_WANT_ROW, l);
    size_t n = c->scratch.length, room = NV_TEMPLATE_ROOM - l->template_length;
    if (!kept) {
        c->failed = 1;
        return;
    }
    if (n > room)
        n = room;
    memcpy(l->template_text + l->template_length, c->scratch.data, n);
    l->template_length += (uint32_t)n;
    l->fingerprint = nv_hash(l->template_text, l->template_length);
}

static void add_text(nv_columns *c, const uint8_t *p, const nv_record *r, const nv_source *source)
{
    char claim[CLAIM_ROOM];
    nv_event e = {.service = source->service, .host = source->host, .message = {p, r->length}};
    e.trace = source->trace.p ? source->trace : NOTHING;
    e.span = source->span.p ? source->span : NOTHING;
    if (r->named_end)
        lex_two(c, p, r, source->received);
    else
        nv_lex(p, r->first, source->received, NV_WANT_ROW, &c->lexed);
    note(c);
    e.level = level_text(source->level ? source->level : c->lexed.level);
    e.fingerprint = c->lexed.fingerprint;
    take_pairs(c, p, &e);
    e.time = settle_time(c, source, source->time != NV_NO_TIME ? source->time : c->lexed.timestamp, claim);
    add_source_tags(c, source);
    nv_add_row(c, &e);
}

/* Give the fields that mean a column to it. Each column takes the first that fits; what does not fit stays a tag. */
static void take_roles(nv_columns *c, const nv_source *source, nv_event *e, int64_t *time)
{
    for (uint32_t i = 0; i < c->field_count; i++) {
        nv_field *f = &c->fields[i];
        nv_string *column = NULL;
        switch (f->key->role) {
        case NV_KEY_TIME:
            if (*time == NV_NO_TIME && (*time = time_of(source, f->value)) != NV_NO_TIME)
                f->key = NULL;
            continue;
        case NV_KEY_LEVEL:
            if (!e->level.n && nv_level_of(f->value) != NV_LEVEL_NONE) {
                e->level = level_text(nv_level_of(f->value));
                f->key = NULL;
            }
            continue;
        case NV_KEY_MESSAGE: column = &e->message; break;
        case NV_KEY_SERVICE: column = &e->service; break;
        case NV_KEY_HOST: column = &e->host; break;
        case NV_KEY_TRACE: column = &e->trace; break;
        case NV_KEY_SPAN: column = &e->span; break;
        default: continue;
        }
        if (!column->p && f->value.n) {
            *column = f->value;
            f->key = NULL;
        }
    }
}

static void add_structured(nv_columns *c, const uint8_t *p, size_t n, const nv_source *source)
{
    char claim[CLAIM_ROOM];
    nv_event e = {.level = level_text(source->level), .trace = source->trace, .span = source->span};
    int64_t time = source->time;
    take_roles(c, source, &e, &time);
    if (!e.message.p)
        e.message = (nv_string){p, n};
    if (!e.service.p)
        e.service = source->service;
    if (!e.host.p)
        e.host = source->host;
    lex_anywhere(c, e.message, source->received, e.level.n ? 0 : NV_WANT_LEVEL);
    note(c);
    if (!e.level.n)
        e.level = level_text(c->lexed.level);
    e.fingerprint = c->lexed.fingerprint;
    e.time = settle_time(c, source, time, claim);
    add_source_tags(c, source);
    nv_add_row(c, &e);
}

static void add_message(nv_columns *c, const uint8_t *p, size_t n, const nv_source *source)
{
    char claim[CLAIM_ROOM];
    nv_event e = {.service = source->service, .host = source->host, .message = {p, n}};
    e.trace = source->trace.p ? source->trace : NOTHING;
    e.span = source->span.p ? source->span : NOTHING;
    lex_anywhere(c, e.message, source->received, source->level ? 0 : NV_WANT_LEVEL);
    note(c);
    e.level = level_text(source->level ? source->level : c->lexed.level);
    e.fingerprint = c->lexed.fingerprint;
    e.time = settle_time(c, source, source->time, claim);
    add_source_tags(c, source);
    nv_add_row(c, &e);
}

static void add_record(nv_columns *c, const uint8_t *p, const nv_record *r, const nv_source *source)
{
    size_t n = r->length;
    c->line++;
    c->field_count = 0;
    if (source->format == NV_MESSAGE) {
        add_message(c, p, n, source);
        return;
    }
    const uint8_t *first = p;
    while (first < p + n && (*first == ' ' || *first == '\t'))
        first++;
    int braced = first < p + n && *first == '{';
    if (source->format == NV_JSON || (source->format == NV_AUTO && braced)) {
        if (nv_json_object(c, p, n)) {
            add_structured(c, p, n, source);
            return;
        }
        c->counts[NV_COUNT_MALFORMED_JSON]++;
    } else if (source->format == NV_LOGFMT) {
        if (nv_logfmt(c, p, n)) {
            add_structured(c, p, n, source);
            return;
        }
        c->counts[NV_COUNT_MALFORMED_LOGFMT]++;
    }
    add_text(c, p, r, source);
}

int nv_full(const nv_columns *c)
{
    return c->rows >= c->max_rows || c->raw_bytes >= c->max_bytes || c->keys.count > NV_MAX_KEYS ||
           ((c->rows & 1023) == 1023 && nv_columns_bytes(c) >= c->max_bytes * 2);
}

/* A line that ends near the data's end, or has no end, is read from a copy that may be read past. */
static const uint8_t *padded_copy(nv_columns *c, nv_buffer *copy, const uint8_t *p, size_t n)
{
    copy->length = 0;
    if (!nv_reserve(copy, n + NV_PADDING)) {
        c->failed = 1;
        return NULL;
    }
    memcpy(copy->data, p, n);
    memset(copy->data + n, 0, NV_PADDING);
    return copy->data;
}

/* The line at p, as a record; 0 where its end is not there yet. */
static inline int next_line(const uint8_t *p, size_t left, nv_ending ending, nv_record *out)
{
    size_t look = left < NV_MAX_LINE + 1 ? left : NV_MAX_LINE + 1;
    const uint8_t *newline = memchr(p, '\n', look);
    out->whole = newline != NULL;
    out->split = !newline && left > NV_MAX_LINE;
    if (!newline && !out->split && ending != NV_TAKE_ALL)
        return 0;
    out->length = newline ? (size_t)(newline - p) : out->split ? NV_MAX_LINE : left;
    out->step = out->length + (size_t)out->whole;
    return 1;
}

static void count(nv_columns *c, const nv_record *r)
{
    c->raw_bytes += r->step;
    c->counts[NV_COUNT_SPLIT] += (uint64_t)r->split;
    if (r->lines > 1) {
        c->counts[NV_COUNT_MULTILINE]++;
        c->counts[NV_COUNT_JOINED] += r->lines - 1;
    }
}

size_t nv_take(nv_columns *c, const uint8_t *data, size_t n, const nv_source *source)
{
    const uint8_t *p = data, *end = data + n;
    nv_buffer copy = {0};
    nv_record r = {.lines = 1};
    while (p < end && !nv_full(c) && !c->failed) {
        if (source->join ? !nv_next_record(source->join, data, (size_t)(p - data), n, source->ending, &r)
                         : !next_line(p, (size_t)(end - p), source->ending, &r))
            break;
        count(c, &r);
        if (nv_is_blank(p, r.length)) {
            c->counts[NV_COUNT_EMPTY]++;
            p += r.step;
            continue;
        }
        const uint8_t *record = p;
        if (!r.whole || (size_t)(end - p) - r.length < NV_PADDING + 1)
            record = padded_copy(c, &copy, p, r.length);
        if (!record)
            break;
        if (record[r.length - 1] == '\r')
            r.length--;
        if (r.lines == 1)
            r.first = r.length;
        add_record(c, record, &r, source);
        p += r.step;
    }
    nv_buffer_free(&copy);
    return (size_t)(p - data);
}

void nv_take_one(nv_columns *c, const uint8_t *data, size_t n, const nv_source *source)
{
    nv_buffer copy = {0};
    for (size_t at = 0, step; !c->failed && (at < n || !at); at += step) {
        step = n - at < NV_MAX_LINE ? n - at : NV_MAX_LINE;
        const uint8_t *newline = memchr(data + at, '\n', step);
        nv_record r = {.lines = 1, .length = step, .step = step, .split = n - at > NV_MAX_LINE};
        r.first = newline ? (size_t)(newline - data) - at : step;
        count(c, &r);
        const uint8_t *piece = r.split ? padded_copy(c, &copy, data + at, step) : data + at;
        if (!piece)
            break;
        add_record(c, piece, &r, source);
        if (!step)
            break;
    }
    nv_buffer_free(&copy);
}

int nv_take_object(nv_columns *c, const uint8_t *data, size_t n, const nv_source *source)
{
    const uint8_t *first = data, *end = data + n;
    while (first < end && (*first == ' ' || *first == '\t' || *first == '\r' || *first == '\n'))
        first++;
    if (first == end || *first != '{')
        return 0;
    c->line++;
    c->field_count = 0;
    if (n <= NV_MAX_LINE && nv_json_object(c, data, n)) {
        c->raw_bytes += n;
        add_structured(c, data, n, source);
        return 1;
    }
    if (c->failed || !nv_json_valid(c, data, n))
        return 0;
    nv_take_one(c, data, n, source);
    return 1;
}
