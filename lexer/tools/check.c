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

/*
 * Every index has a key, and what is written of them: the header, the keys, and as many bytes for each index as the
 * number of keys needs.
 */
static void check_written(uint32_t dictionary, const nv_buffer *keys, const uint32_t *index, uint64_t rows, uint32_t stride)
{
    nv_buffer out = {0};
    HOLDS(nv_write_low_cardinality(&out, dictionary, keys, index, rows, stride));
    size_t width = dictionary > 65536 ? 4 : dictionary > 256 ? 2 : 1, at = 24 + keys->length;
    HOLDS(out.length == (rows ? at + rows * width : 0));
    for (size_t i = 0; i < rows; i++) {
        uint32_t found = 0;
        memcpy(&found, out.data + at + width * i, width);
        HOLDS(found == index[i * stride] && found < dictionary);
    }
    nv_buffer_free(&out);
}

/* Unpack an LZ4 block into n bytes, checking what the format asks of it. */
static void unpack(const nv_buffer *packed, uint8_t *to, size_t n)
{
    const uint8_t *p = packed->data, *end = p + packed->length;
    size_t done = 0;
    for (;;) {
        HOLDS(p < end);
        size_t literals = *p >> 4, match = *p & 15;
        p++;
        HOLDS(literals < 15 && (size_t)(end - p) >= literals && n - done >= literals);
        memcpy(to + done, p, literals);
        p += literals;
        done += literals;
        if (p == end)
            break;
        HOLDS(end - p >= 2 && p[0] == 8 && p[1] == 0 && done >= 8);
        p += 2;
        for (uint8_t more = match == 15 ? 255 : 0; more == 255; match += more) {
            HOLDS(p < end);
            more = *p++;
        }
        match += 4;
        HOLDS(n - done >= match + 5 && n - done >= 12); /* the last bytes are literals, the last match is not too late */
        for (; match; match--, done++)
            to[done] = to[done - 8];
    }
    HOLDS(done == n);
}

/* The shard's offsets, written plainly and packed, are the same, and count its tags. */
static void check_offsets(const nv_shard *s, uint32_t rows)
{
    nv_buffer plain = {0}, packed = {0};
    HOLDS(nv_write_offsets(&plain, s, rows) && plain.length == (size_t)rows * 8);
    const uint64_t *offsets = (const uint64_t *)plain.data;
    for (uint32_t i = 1; i < rows; i++)
        HOLDS(offsets[i] >= offsets[i - 1]);
    HOLDS(!rows || offsets[rows - 1] == s->tags.length / sizeof(nv_tag));
    if (rows >= NV_MIN_PACKED) {
        HOLDS(nv_pack_offsets(&packed, s, rows));
        uint8_t *unpacked = malloc(plain.length);
        HOLDS(unpacked);
        unpack(&packed, unpacked, plain.length);
        HOLDS(!memcmp(unpacked, plain.data, plain.length));
        free(unpacked);
    }
    nv_buffer_free(&plain);
    nv_buffer_free(&packed);
}

static void check_low_cardinality(const nv_low_cardinality *l, uint32_t rows)
{
    HOLDS(strings(&l->dictionary.strings) == l->dictionary.count);
    HOLDS(l->index.length == (size_t)rows * 4);
    check_written(l->dictionary.count, &l->dictionary.strings, (const uint32_t *)l->index.data, rows, 1);
}

static void check_shard(const nv_shard *s, uint32_t rows)
{
    const nv_tag *tags = (const nv_tag *)s->tags.data;
    uint64_t count = s->tags.length / sizeof *tags;
    for (uint64_t i = 0; i < count; i++)
        HOLDS(tags[i].row < rows && (i == 0 || tags[i].row >= tags[i - 1].row));
    HOLDS(strings(&s->keys) == s->dictionary);
    HOLDS(strings(&s->values) == count);
    check_written(s->dictionary, &s->keys, count ? &tags->key : NULL, count, 2);
    check_offsets(s, rows);
}

void check_columns(nv_columns *c)
{
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
        const nv_buffer *s[] = {&c->shard[i].tags, &c->shard[i].keys, &c->shard[i].values};
        for (size_t k = 0; k < 3; k++)
            h = digest(h, s[k]);
    }
    return h;
}
