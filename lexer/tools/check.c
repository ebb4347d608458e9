#include "check.h"

#include "structured.h"

/* ---- JSON ---- */

typedef struct {
    const uint8_t *p, *end;
    int depth;
} reader;

static int peek(const reader *r)
{
    return r->p < r->end ? *r->p : -1;
}

static int take(reader *r, int c)
{
    return peek(r) == c ? (r->p++, 1) : 0;
}

static void skip_space(reader *r)
{
    while (peek(r) == ' ' || peek(r) == '\t' || peek(r) == '\r' || peek(r) == '\n')
        r->p++;
}

static int digits(reader *r)
{
    const uint8_t *start = r->p;
    while (peek(r) >= '0' && peek(r) <= '9')
        r->p++;
    return r->p > start;
}

static int is_hex(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static int read_number(reader *r)
{
    take(r, '-');
    if (!take(r, '0') && !digits(r))
        return 0;
    if (take(r, '.') && !digits(r))
        return 0;
    if (take(r, 'e') || take(r, 'E')) {
        if (!take(r, '+'))
            take(r, '-');
        return digits(r);
    }
    return 1;
}

static int read_string(reader *r)
{
    if (!take(r, '"'))
        return 0;
    for (;;) {
        int c = peek(r);
        if (c < 0x20)
            return 0;
        r->p++;
        if (c == '"')
            return 1;
        if (c != '\\')
            continue;
        c = peek(r);
        r->p++;
        if (c == 'u') {
            for (int i = 0; i < 4; i++, r->p++)
                if (!is_hex(peek(r)))
                    return 0;
        } else if (c <= 0 || !strchr("\"\\/bfnrt", c)) {
            return 0;
        }
    }
}

static int read_value(reader *r);

static int read_list(reader *r, int close, int named)
{
    if (++r->depth > NV_JSON_DEPTH)
        return 0;
    r->p++;
    skip_space(r);
    if (!take(r, close)) {
        do {
            skip_space(r);
            if (named) {
                if (!read_string(r))
                    return 0;
                skip_space(r);
                if (!take(r, ':'))
                    return 0;
            }
            if (!read_value(r))
                return 0;
        } while (take(r, ','));
        if (!take(r, close))
            return 0;
    }
    r->depth--;
    return 1;
}

static int read_word(reader *r, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n))
        return 0;
    r->p += n;
    return 1;
}

static int read_value(reader *r)
{
    skip_space(r);
    int c = peek(r), ok = c == '{'   ? read_list(r, '}', 1)
                          : c == '[' ? read_list(r, ']', 0)
                          : c == '"' ? read_string(r)
                          : c == 't' ? read_word(r, "true")
                          : c == 'f' ? read_word(r, "false")
                          : c == 'n' ? read_word(r, "null")
                                     : read_number(r);
    skip_space(r);
    return ok;
}

int plain_json_valid(const uint8_t *p, size_t n)
{
    reader r = {p, p + n, 0};
    return read_value(&r) && r.p == r.end;
}

/* ---- a line ---- */

/* A list of values is one variable: these may stand between two of its spans. */
static int is_joined(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!p[i] || !strchr(" ,;|", p[i]))
            return 0;
    return n <= 2;
}

static void check_template(const nv_line *line, const uint8_t *p, size_t looked)
{
    const uint8_t *t = line->template_text, *end = t + line->template_length;
    size_t at = 0;
    for (uint32_t i = 0; i < line->spans; i++) {
        size_t gap = line->span[i].start - at;
        if (!i || !is_joined(p + at, gap)) {
            HOLDS((size_t)(end - t) >= gap + 3 && !memcmp(t, p + at, gap) && !memcmp(t + gap, "<*>", 3));
            t += gap + 3;
        }
        at = line->span[i].end;
    }
    HOLDS((size_t)(end - t) == looked - at && !memcmp(t, p + at, looked - at));
}

void check_line(const nv_line *line, const uint8_t *p, size_t n)
{
    size_t looked = n < NV_LOOK ? n : NV_LOOK;
    HOLDS(line->spans <= NV_MAX_SPANS);
    HOLDS(line->pairs <= NV_MAX_PAIRS);
    HOLDS(line->template_length <= NV_TEMPLATE_ROOM);
    HOLDS(line->level < NV_LEVELS);
    for (uint32_t i = 0, at = 0; i < line->spans; at = line->span[i++].end) {
        HOLDS(line->span[i].start >= at && line->span[i].start < line->span[i].end);
        HOLDS(line->span[i].end <= looked);
        HOLDS(line->span[i].kind > NV_WORD && line->span[i].kind < NV_KINDS);
    }
    for (uint32_t i = 0; i < line->pairs; i++) {
        nv_pair pair = line->pair[i];
        HOLDS(pair.key < pair.key_end && pair.key_end < pair.value);
        HOLDS(pair.value <= pair.value_end && pair.value_end <= looked);
        HOLDS(p[pair.key_end] == '=');
    }
    check_template(line, p, looked);
}

void check_same(const nv_line *a, const nv_line *b)
{
    HOLDS(a->fingerprint == b->fingerprint);
    HOLDS(a->timestamp == b->timestamp);
    HOLDS(a->level == b->level);
    HOLDS(a->template_length == b->template_length && !memcmp(a->template_text, b->template_text, a->template_length));
    HOLDS(a->spans == b->spans && !memcmp(a->span, b->span, a->spans * sizeof *a->span));
    HOLDS(a->pairs == b->pairs && !memcmp(a->pair, b->pair, a->pairs * sizeof *a->pair));
}

/* ---- columns ---- */

/* How many native strings a buffer holds. */
static uint64_t strings(const nv_buffer *b)
{
    uint64_t count = 0;
    for (size_t at = 0; at < b->length; count++) {
        uint64_t n = 0;
        for (int shift = 0;; shift += 7) {
            HOLDS(at < b->length && shift < 63);
            n |= (uint64_t)(b->data[at] & 127) << shift;
            if (b->data[at++] < 128)
                break;
        }
        HOLDS(n <= b->length - at);
        at += n;
    }
    return count;
}

static void check_index(const nv_buffer *index, uint64_t values, uint32_t keys)
{
    HOLDS(index->length == values * 4);
    const uint32_t *at = (const uint32_t *)index->data;
    for (uint64_t i = 0; i < values; i++)
        HOLDS(at[i] < keys);
}

/* What is written of them: the header, the keys, and as many bytes for each index as the number of keys needs. */
static void check_written(uint32_t dictionary, const nv_buffer *keys, const nv_buffer *index)
{
    nv_buffer out = {0};
    HOLDS(nv_write_low_cardinality(&out, dictionary, keys, index));
    size_t rows = index->length / 4, width = dictionary > 65536 ? 4 : dictionary > 256 ? 2 : 1, at = 24 + keys->length;
    HOLDS(out.length == (rows ? at + rows * width : 0));
    for (size_t i = 0; i < rows; i++) {
        uint32_t expected, found = 0;
        memcpy(&expected, index->data + 4 * i, 4);
        memcpy(&found, out.data + at + width * i, width);
        HOLDS(found == expected);
    }
    nv_buffer_free(&out);
}

static void check_low_cardinality(const nv_low_cardinality *l, uint32_t rows)
{
    HOLDS(strings(&l->dictionary.strings) == l->dictionary.count);
    check_index(&l->index, rows, l->dictionary.count);
    check_written(l->dictionary.count, &l->dictionary.strings, &l->index);
}

static void check_shard(const nv_shard *s, uint32_t rows)
{
    const uint64_t *offsets = (const uint64_t *)s->offsets.data;
    HOLDS(s->offsets.length == (size_t)rows * 8);
    for (uint32_t i = 1; i < rows; i++)
        HOLDS(offsets[i] >= offsets[i - 1]);
    HOLDS(!rows || offsets[rows - 1] == s->pairs);
    HOLDS(strings(&s->keys) == s->dictionary);
    HOLDS(strings(&s->values) == s->pairs);
    check_index(&s->index, s->pairs, s->dictionary);
    check_written(s->dictionary, &s->keys, &s->index);
}

void check_columns(nv_columns *c)
{
    nv_columns_close(c);
    HOLDS(!c->failed);
    HOLDS(c->time.length == (size_t)c->rows * 8 && c->fingerprint.length == (size_t)c->rows * 8);
    const nv_buffer *texts[] = {&c->message, &c->trace, &c->span};
    for (size_t i = 0; i < 3; i++)
        HOLDS(strings(texts[i]) == c->rows);
    check_low_cardinality(&c->level, c->rows);
    check_low_cardinality(&c->service, c->rows);
    check_low_cardinality(&c->host, c->rows);
    for (uint32_t i = 0; i < c->shards; i++)
        check_shard(&c->shard[i], c->rows);
    for (uint32_t i = 0; i < c->rows; i++) {
        int64_t time = ((const int64_t *)c->time.data)[i];
        HOLDS(time >= c->min_time && time <= c->max_time);
    }
}

static uint64_t digest(uint64_t h, const nv_buffer *b)
{
    for (size_t i = 0; i < b->length; i++)
        h = (h ^ b->data[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    return (h ^ b->length) * UINT64_C(0x100000001b3);
}

uint64_t columns_digest(nv_columns *c)
{
    const nv_buffer *plain[] = {&c->time, &c->fingerprint, &c->message, &c->trace, &c->span, &c->level.index,
                                &c->level.dictionary.strings, &c->service.index, &c->service.dictionary.strings,
                                &c->host.index, &c->host.dictionary.strings};
    uint64_t h = c->rows;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        h = digest(h, plain[i]);
    for (uint32_t i = 0; i < c->shards; i++) {
        const nv_buffer *s[] = {&c->shard[i].offsets, &c->shard[i].keys, &c->shard[i].index, &c->shard[i].values};
        for (size_t k = 0; k < 4; k++)
            h = digest(h, s[k]);
    }
    return h;
}
