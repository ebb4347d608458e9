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

/* ---- redaction ---- */

static inline int redacts(const nv_columns *c) { return __builtin_expect(c->redactor.policy != NULL, 0); }
static inline int wants_masks(const nv_columns *c) { return redacts(c) ? NV_WANT_MASKS : 0; }

static void redact_string(nv_columns *c, nv_string *s, nv_carry *carry, int split)
{
    if (s->p)
        s->p = nv_redact(&c->redactor, s->p, &s->n, carry, split, NULL, 0);
    c->failed |= c->redactor.failed;
}

/* All fields by their names; those from the one numbered `first` on by what is in them, too. */
static void redact_fields(nv_columns *c, uint32_t first)
{
    for (uint32_t i = 0; i < c->field_count; i++) {
        nv_field *f = &c->fields[i];
        if (f->key && f->key->secret)
            f->value.p = nv_redact_whole(&c->redactor, f->value.p, &f->value.n, NV_SECRET_KEY);
        else if (f->key && i >= first)
            redact_string(c, &f->value, NULL, 0);
    }
    c->failed |= c->redactor.failed;
}

/* What the source says beside the text, just before it is a row. */
static void redact_rest(nv_columns *c, nv_event *e, uint32_t first)
{
    redact_fields(c, first);
    redact_string(c, &e->service, NULL, 0);
    redact_string(c, &e->host, NULL, 0);
    redact_string(c, &e->trace, NULL, 0);
    redact_string(c, &e->span, NULL, 0);
}

/* A line's end at or behind `at`, where the lexer may stop. */
static size_t line_end(const uint8_t *p, size_t at, size_t n)
{
    while (at < n && p[at] != '\n' && p[at] != '\r')
        at++;
    return at;
}

/* The text of a record without its secrets; its lines are where `r` says then. */
static const uint8_t *redact_record(nv_columns *c, const uint8_t *p, nv_record *r, nv_carry *carry)
{
    size_t *marks[] = {&r->first, &r->named, &r->named_end};
    const uint8_t *text = nv_redact(&c->redactor, p, &r->length, carry, r->split, marks, r->named_end ? 3 : 1);
    c->failed |= c->redactor.failed;
    if (text == p)
        return p;
    r->first = line_end(text, r->first, r->length);
    if (r->named_end) {
        r->named_end = line_end(text, r->named_end, r->length);
        if (r->named >= r->named_end || r->named < r->first)
            r->named = r->named_end = 0;
    }
    return text;
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
    nv_lex(c->padded.data, n, received, want | wants_masks(c), &c->lexed);
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
    nv_lex(p + r->named, r->named_end - r->named, received, wants_masks(c), l);
    c->scratch.length = 0;
    int kept = nv_append(&c->scratch, "\n", 1) && nv_append(&c->scratch, l->template_text, l->template_length);
    nv_lex(p, r->first, received, NV_WANT_ROW | wants_masks(c), l);
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
    nv_record plain;
    if (redacts(c)) {
        plain = *r;
        p = redact_record(c, p, &plain, source->carry);
        r = &plain;
    }
    nv_event e = {.service = source->service, .host = source->host, .message = {p, r->length}};
    e.trace = source->trace.p ? source->trace : NOTHING;
    e.span = source->span.p ? source->span : NOTHING;
    if (r->named_end)
        lex_two(c, p, r, source->received);
    else
        nv_lex(p, r->first, source->received, NV_WANT_ROW | wants_masks(c), &c->lexed);
    note(c);
    e.level = level_text(source->level ? source->level : c->lexed.level);
    e.fingerprint = c->lexed.fingerprint;
    take_pairs(c, p, &e);
    uint32_t pairs = c->field_count; /* of a text that holds no secret any more */
    e.time = settle_time(c, source, source->time != NV_NO_TIME ? source->time : c->lexed.timestamp, claim);
    add_source_tags(c, source);
    if (redacts(c))
        redact_rest(c, &e, pairs);
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
    uint32_t fields = c->field_count;
    if (redacts(c))
        redact_fields(c, 0);
    take_roles(c, source, &e, &time);
    if (!e.message.p)
        e.message = (nv_string){p, n};
    if (redacts(c))
        redact_string(c, &e.message, source->carry, 0);
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
    if (redacts(c))
        redact_rest(c, &e, fields);
    nv_add_row(c, &e);
}

static void add_message(nv_columns *c, const uint8_t *p, const nv_record *r, const nv_source *source)
{
    char claim[CLAIM_ROOM];
    nv_event e = {.service = source->service, .host = source->host, .message = {p, r->length}};
    if (redacts(c))
        redact_string(c, &e.message, source->carry, r->split);
    e.trace = source->trace.p ? source->trace : NOTHING;
    e.span = source->span.p ? source->span : NOTHING;
    lex_anywhere(c, e.message, source->received, source->level ? 0 : NV_WANT_LEVEL);
    note(c);
    e.level = level_text(source->level ? source->level : c->lexed.level);
    e.fingerprint = c->lexed.fingerprint;
    e.time = settle_time(c, source, source->time, claim);
    add_source_tags(c, source);
    if (redacts(c))
        redact_rest(c, &e, 0);
    nv_add_row(c, &e);
}

static void add_record(nv_columns *c, const uint8_t *p, const nv_record *r, const nv_source *source)
{
    nv_record plain;
    size_t n = r->length;
    c->line++;
    c->field_count = 0;
    if (redacts(c))
        nv_redactor_forget(&c->redactor);
    if (source->format == NV_MESSAGE) {
        add_message(c, p, r, source);
        return;
    }
    const uint8_t *first = p;
    while (first < p + n && (*first == ' ' || *first == '\t'))
        first++;
    int braced = first < p + n && *first == '{';
    if (redacts(c) && (braced || source->format == NV_JSON)) {
        plain = *r;
        size_t *marks[] = {&plain.first, &plain.named, &plain.named_end};
        p = nv_plain_escapes(&c->redactor, p, &n, marks, r->named_end ? 3 : 1);
        c->failed |= c->redactor.failed;
        plain.length = n;
        r = &plain;
    }
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

/* Make a row of the record at p, of data that end at `end`. */
static inline void take_record(nv_columns *c, nv_buffer *copy, const uint8_t *p, const uint8_t *end, nv_record *r,
                        const nv_source *source)
{
    count(c, r);
    if (nv_is_blank(p, r->length)) {
        c->counts[NV_COUNT_EMPTY]++;
        return;
    }
    if (!r->whole || (size_t)(end - p) - r->length < NV_PADDING + 1)
        p = padded_copy(c, copy, p, r->length);
    if (!p)
        return;
    if (p[r->length - 1] == '\r')
        r->length--;
    if (r->lines == 1)
        r->first = r->length;
    add_record(c, p, r, source);
}

static inline int next_record(const nv_source *source, const uint8_t *data, size_t at, size_t n, nv_ending ending, nv_record *r)
{
    return source->join ? nv_next_record(source->join, data, at, n, ending, r)
                        : next_line(data + at, n - at, ending, r);
}

size_t nv_take(nv_columns *c, const uint8_t *data, size_t n, const nv_source *source)
{
    const uint8_t *p = data, *end = data + n;
    nv_buffer copy = {0};
    nv_record r = {.lines = 1};
    while (p < end && !nv_full(c) && !c->failed) {
        if (!next_record(source, data, (size_t)(p - data), n, source->ending, &r))
            break;
        take_record(c, &copy, p, end, &r, source);
        p += c->failed ? 0 : r.step;
    }
    nv_buffer_free(&copy);
    return (size_t)(p - data);
}

/* Rows of unwrapped lines; how many lines. The last tag of the source is the stream, whose value is put at `stream`. */
static size_t take_unwrapped(nv_columns *c, const nv_unwrapped *u, nv_source *source, nv_string *stream)
{
    static const char streams[2][6 + NV_SPARE] = {"stdout", "stderr"};
    const uint8_t *text = u->text.data;
    size_t n = u->text.length, lines = nv_unwrapped_count(u), at = 0, line = 0, raw = 0;
    int64_t received = source->received;
    uint32_t tags = source->tag_count - 1;
    nv_buffer copy = {0};
    nv_record r = {.lines = 1};
    while (line < lines && !c->failed) {
        int safe = !line || nv_unwrapped_at(u, line - 1)->safe;
        if (safe && nv_full(c))
            break;
        /* What lies before this line may have begun behind it: then this one has to be taken, too. */
        if (!next_record(source, text, at, n, safe ? source->ending : NV_TAKE_ALL, &r))
            break;
        const nv_unwrapped_line *first = nv_unwrapped_at(u, line);
        int wrapped = first->stream != NV_STREAM_NONE;
        *stream = (nv_string){(const uint8_t *)streams[first->stream == NV_STDERR], 6};
        source->tag_count = tags + (uint32_t)wrapped;
        source->received = wrapped ? first->time : received;
        uint64_t without_time = c->counts[NV_COUNT_NO_TIME];
        take_record(c, &copy, text + at, text + n, &r, source);
        if (wrapped)
            c->counts[NV_COUNT_NO_TIME] = without_time;
        at += r.step;
        while (line < lines && nv_unwrapped_at(u, line)->start < at)
            line++;
        size_t end = nv_unwrapped_at(u, line - 1)->end;
        c->raw_bytes += end - raw - r.step; /* what was taken off */
        raw = end;
    }
    nv_buffer_free(&copy);
    return line;
}

size_t nv_take_unwrapped(nv_columns *c, const nv_unwrapped *u, const nv_source *source)
{
    nv_source its = *source;
    nv_field *tags = calloc(source->tag_count + 1, sizeof *tags);
    nv_key *key = nv_key_of(c, (const uint8_t *)"log.iostream", 12);
    size_t lines = 0;
    if (tags && key) {
        if (source->tag_count)
            memcpy(tags, source->tags, source->tag_count * sizeof *tags);
        tags[its.tag_count++].key = key;
        its.tags = tags;
        lines = take_unwrapped(c, u, &its, &tags[source->tag_count].value);
    } else {
        c->failed = 1;
    }
    free(tags);
    return lines ? nv_unwrapped_at(u, lines - 1)->end : 0;
}

void nv_take_one(nv_columns *c, const uint8_t *data, size_t n, const nv_source *source)
{
    nv_buffer copy = {0};
    nv_carry alone = {0};
    nv_source carried = *source;
    carried.carry = source->carry ? source->carry : &alone;
    source = &carried;
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
    if (redacts(c))
        nv_redactor_forget(&c->redactor);
    const uint8_t *text = data;
    size_t length = n;
    if (redacts(c) && n <= NV_MAX_LINE)
        text = nv_plain_escapes(&c->redactor, data, &length, NULL, 0);
    if (n <= NV_MAX_LINE && nv_json_object(c, text, length)) {
        c->raw_bytes += n;
        add_structured(c, text, length, source);
        return 1;
    }
    if (c->failed || !nv_json_valid(c, data, n))
        return 0;
    nv_take_one(c, data, n, source);
    return 1;
}
