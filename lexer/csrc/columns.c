#include "columns.h"

#include <sys/random.h>

#include "hash.h"
#include "timestamp.h"

#define MAX_KNOWN 262144   /* the same for fingerprints */
#define MAX_TEMPLATES 4096 /* a block: the rest is reported by a later one or derived from the message */

int nv_buffer_grow(nv_buffer *b, size_t n)
{
    size_t room = b->room ? b->room * 2 : 256;
    while (room - b->length < n)
        room *= 2;
    uint8_t *data = realloc(b->data, room);
    if (!data)
        return 0;
    b->data = data;
    b->room = room;
    return 1;
}

/*
 * The tables in memory have a hash of their own in each process. Texts that collide in the one that is stored are easy
 * to make, and who names the keys of a log could make every look-up walk through thousands of them.
 */
static nv_seeds secret = {NV_SEED_A, NV_SEED_B, NV_SEED_C};

__attribute__((constructor)) static void choose_secret(void)
{
    nv_seeds random;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) == sizeof random)
        secret = (nv_seeds){random.a, random.b | 1, random.c};
}

/* ---- dictionaries ---- */

typedef struct {
    uint64_t hash;
    size_t at, length; /* in `strings` */
} entry;

static int dictionary_rehash(nv_dictionary *d)
{
    uint32_t size = d->slots ? (d->mask + 1) * 2 : 64;
    uint32_t *slots = calloc(size, sizeof *slots);
    if (!slots)
        return 0;
    free(d->slots);
    d->slots = slots;
    d->mask = size - 1;
    const entry *entries = (const entry *)d->entries.data;
    for (uint32_t i = 0; i < d->count; i++) {
        uint32_t at = (uint32_t)entries[i].hash & d->mask;
        while (slots[at])
            at = (at + 1) & d->mask;
        slots[at] = i + 1;
    }
    return 1;
}

static int dictionary_find(nv_dictionary *d, nv_string s, uint32_t *index)
{
    uint64_t hash = nv_hash_with(secret, s.p, s.n);
    if ((!d->slots || d->count * 2 > d->mask) && !dictionary_rehash(d))
        return 0;
    uint32_t at = (uint32_t)hash & d->mask;
    const entry *entries = (const entry *)d->entries.data;
    for (; d->slots[at]; at = (at + 1) & d->mask) {
        const entry *e = &entries[d->slots[at] - 1];
        if (e->hash == hash && e->length == s.n && !memcmp(d->strings.data + e->at, s.p, s.n)) {
            *index = d->slots[at] - 1;
            return 1;
        }
    }
    if (!nv_append_string(&d->strings, s.p, s.n) || !nv_reserve(&d->strings, NV_SPARE))
        return 0;
    entry e = {hash, d->strings.length - s.n, s.n};
    if (!nv_append(&d->entries, &e, sizeof e))
        return 0;
    *index = d->count++;
    d->slots[at] = d->count;
    return 1;
}

static void dictionary_clear(nv_dictionary *d)
{
    d->strings.length = d->entries.length = d->count = 0;
    if (d->slots)
        memset(d->slots, 0, (d->mask + 1) * sizeof *d->slots);
}

static inline int is_entry(const nv_dictionary *d, const entry *e, nv_string s)
{
    return e->length == s.n && nv_same(d->strings.data + e->at, s.p, s.n);
}

/* The string must be followed by NV_SPARE readable bytes. */
static int low_cardinality_add(nv_low_cardinality *c, nv_string s)
{
    nv_dictionary *d = &c->dictionary;
    const entry *entries = (const entry *)d->entries.data;
    if (d->count && is_entry(d, &entries[c->last], s)) /* as in the row before, most often */
        return nv_append_u32(&c->index, c->last);
    uint32_t *seen = &c->seen[nv_glance(s.p, s.n) % NV_LOW_SEEN];
    if (*seen < d->count && is_entry(d, &entries[*seen], s))
        c->last = *seen;
    else if (dictionary_find(d, s, &c->last))
        *seen = c->last;
    else
        return 0;
    return nv_append_u32(&c->index, c->last);
}

/* The header word: index width in the low byte, "has its own keys" and "needs a new dictionary". */
int nv_write_low_cardinality(nv_buffer *out, uint32_t dictionary, const nv_buffer *strings, const uint32_t *index,
                             uint64_t rows, uint32_t stride)
{
    if (!rows)
        return 1;
    uint64_t width = dictionary <= 256 ? 0 : dictionary <= 65536 ? 1 : 2;
    if (!nv_append_u64(out, width | 1 << 9 | 1 << 10) || !nv_append_u64(out, dictionary) ||
        !nv_append(out, strings->data, strings->length) || !nv_append_u64(out, rows) || !nv_reserve(out, rows << width))
        return 0;
    uint8_t *to = out->data + out->length;
    if (width == 0)
        for (uint64_t i = 0; i < rows; i++)
            to[i] = (uint8_t)index[i * stride];
    else if (width == 1)
        for (uint64_t i = 0; i < rows; i++) {
            uint16_t v = (uint16_t)index[i * stride];
            memcpy(to + 2 * i, &v, 2);
        }
    else
        for (uint64_t i = 0; i < rows; i++)
            memcpy(to + 4 * i, &index[i * stride], 4);
    out->length += rows << width;
    return 1;
}

/* ---- keys ---- */

nv_role nv_role_of(const uint8_t *p, size_t n)
{
    static const struct {
        const char *name;
        nv_role role;
    } known[] = {
        {"timestamp", NV_KEY_TIME}, {"@timestamp", NV_KEY_TIME}, {"ts", NV_KEY_TIME}, {"time", NV_KEY_TIME},
        {"datetime", NV_KEY_TIME}, {"level", NV_KEY_LEVEL}, {"severity", NV_KEY_LEVEL}, {"lvl", NV_KEY_LEVEL},
        {"log.level", NV_KEY_LEVEL}, {"log_level", NV_KEY_LEVEL}, {"loglevel", NV_KEY_LEVEL},
        {"severity_text", NV_KEY_LEVEL},
        {"message", NV_KEY_MESSAGE}, {"msg", NV_KEY_MESSAGE}, {"body", NV_KEY_MESSAGE}, {"log", NV_KEY_MESSAGE},
        {"service", NV_KEY_SERVICE}, {"service.name", NV_KEY_SERVICE}, {"service_name", NV_KEY_SERVICE},
        {"app", NV_KEY_SERVICE}, {"host", NV_KEY_HOST}, {"hostname", NV_KEY_HOST}, {"host.name", NV_KEY_HOST},
        {"trace_id", NV_KEY_TRACE}, {"traceId", NV_KEY_TRACE}, {"trace.id", NV_KEY_TRACE}, {"traceid", NV_KEY_TRACE},
        {"span_id", NV_KEY_SPAN}, {"spanId", NV_KEY_SPAN}, {"span.id", NV_KEY_SPAN}, {"spanid", NV_KEY_SPAN},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == n && !memcmp(known[i].name, p, n))
            return known[i].role;
    return NV_TAG;
}

static int keys_rehash(nv_keys *k)
{
    uint32_t size = k->slots ? (k->mask + 1) * 2 : 1024;
    nv_key **slots = calloc(size, sizeof *slots);
    if (!slots)
        return 0;
    for (uint32_t i = 0; k->slots && i <= k->mask; i++)
        if (k->slots[i]) {
            uint32_t at = (uint32_t)k->slots[i]->hash & (size - 1);
            while (slots[at])
                at = (at + 1) & (size - 1);
            slots[at] = k->slots[i];
        }
    free(k->slots);
    k->slots = slots;
    k->mask = size - 1;
    return 1;
}

static void keys_clear(nv_keys *k)
{
    for (uint32_t i = 0; k->slots && i <= k->mask; i++)
        free(k->slots[i]);
    free(k->slots);
    *k = (nv_keys){0};
}

static int same_key(const nv_key *key, const uint8_t *p, size_t n)
{
    return key->length == n && !memcmp(key->name, p, n);
}

static nv_key *key_new(nv_columns *c, const uint8_t *p, size_t n, uint64_t hash)
{
    nv_key *key = calloc(1, sizeof *key + n + 1 + NV_SPARE);
    if (!key) {
        c->failed = 1;
        return NULL;
    }
    memcpy(key->name, p, n);
    key->name[n] = '"';
    key->plain = 1;
    for (size_t i = 0; i < n; i++)
        key->plain &= p[i] >= 0x20 && p[i] != '"' && p[i] != '\\';
    key->hash = hash;
    key->next = key;
    key->length = (uint32_t)n;
    key->shard = nv_crc32(p, n) % c->shards;
    key->role = nv_role_of(p, n);
    key->block = c->block - 1;
    return key;
}

nv_key *nv_key_of(nv_columns *c, const uint8_t *p, size_t n)
{
    nv_keys *k = &c->keys;
    if (n > NV_MAX_KEY)
        return NULL;
    if (k->last && same_key(k->last->next, p, n))
        return k->last = k->last->next;
    if ((!k->slots || k->count * 2 > k->mask) && !keys_rehash(k)) {
        c->failed = 1;
        return NULL;
    }
    uint64_t hash = nv_hash_with(secret, p, n);
    uint32_t at = (uint32_t)hash & k->mask;
    while (k->slots[at] && !(k->slots[at]->hash == hash && same_key(k->slots[at], p, n)))
        at = (at + 1) & k->mask;
    if (!k->slots[at]) {
        k->slots[at] = key_new(c, p, n, hash);
        if (!k->slots[at])
            return NULL;
        k->count++;
    }
    if (k->last)
        k->last->next = k->slots[at];
    return k->last = k->slots[at];
}

nv_key *nv_key_seen(nv_columns *c, const uint8_t *p, size_t n)
{
    nv_keys *k = &c->keys;
    nv_key **seen = &k->seen[nv_glance(p, n) % NV_SEEN], *key = *seen;
    if (!key || key->length != n || !nv_same(p, key->name, n))
        return *seen = nv_key_of(c, p, n);
    k->last->next = key;
    return k->last = key;
}

/* ---- rows ---- */

static inline int add_tag(nv_columns *c, const nv_field *f)
{
    nv_key *key = f->key;
    nv_shard *s = &c->shard[key->shard];
    if (key->block != c->block) {
        if (!nv_append_string(&s->keys, key->name, key->length))
            return 0;
        key->block = c->block;
        key->index = s->dictionary++;
    }
    nv_tag tag = {c->rows, key->index};
    return nv_append(&s->tags, &tag, sizeof tag) && nv_append_short(&s->values, f->value.p, f->value.n);
}

void nv_add_row(nv_columns *c, const nv_event *e)
{
    int ok = nv_append_u64(&c->time, (uint64_t)e->time) && low_cardinality_add(&c->level, e->level) &&
             low_cardinality_add(&c->service, e->service) && low_cardinality_add(&c->host, e->host) &&
             nv_append_string(&c->message, e->message.p, e->message.n) &&
             nv_append_u64(&c->fingerprint, e->fingerprint) && nv_append_string(&c->trace, e->trace.p, e->trace.n) &&
             nv_append_string(&c->span, e->span.p, e->span.n);
    for (uint32_t i = 0; ok && i < c->field_count; i++)
        if (c->fields[i].key)
            ok = add_tag(c, &c->fields[i]);
    c->field_count = 0;
    c->field_room = NV_MAX_FIELDS;
    if (!ok) {
        c->failed = 1;
        return;
    }
    if (!c->rows || e->time < c->min_time)
        c->min_time = e->time;
    if (!c->rows || e->time > c->max_time)
        c->max_time = e->time;
    c->rows++;
}

/* ---- templates ---- */

static int known_grow(nv_columns *c)
{
    uint32_t size = c->known ? (c->known_mask + 1) * 2 : 4096;
    uint64_t *slots = calloc(size, sizeof *slots);
    if (!slots)
        return 0;
    for (uint32_t i = 0; c->known && i <= c->known_mask; i++)
        if (c->known[i]) {
            uint32_t at = (uint32_t)c->known[i] & (size - 1);
            while (slots[at])
                at = (at + 1) & (size - 1);
            slots[at] = c->known[i];
        }
    free(c->known);
    c->known = slots;
    c->known_mask = size - 1;
    return 1;
}

void nv_note_template(nv_columns *c, uint64_t fingerprint, const uint8_t *text, size_t n)
{
    uint64_t word = fingerprint ? fingerprint : 1;
    if (!c->known || c->known_count * 2 > c->known_mask) {
        if (!known_grow(c)) {
            c->failed = 1;
            return;
        }
    }
    uint32_t at = (uint32_t)word & c->known_mask;
    for (; c->known[at]; at = (at + 1) & c->known_mask)
        if (c->known[at] == word)
            return;
    if (c->template_count >= MAX_TEMPLATES)
        return;
    if (!nv_append_u64(&c->templates, fingerprint) || !nv_append_string(&c->templates, text, n)) {
        c->failed = 1;
        return;
    }
    c->template_count++;
    c->known[at] = word;
    c->known_count++;
}

/* ---- the whole ---- */

nv_columns *nv_columns_new(uint32_t shards, uint32_t max_rows, size_t max_bytes)
{
    nv_columns *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->shards = shards;
    c->max_rows = max_rows;
    c->max_bytes = max_bytes;
    c->block = 1;
    c->shard = calloc(shards, sizeof *c->shard);
    c->field_room = NV_MAX_FIELDS;
    c->fields = malloc((NV_MAX_FIELDS + NV_MAX_ADDED) * sizeof *c->fields);
    if (!c->shard || !c->fields) {
        nv_columns_free(c);
        return NULL;
    }
    return c;
}

static void low_cardinality_free(nv_low_cardinality *l)
{
    nv_buffer_free(&l->index);
    nv_buffer_free(&l->dictionary.strings);
    nv_buffer_free(&l->dictionary.entries);
    free(l->dictionary.slots);
}

void nv_columns_free(nv_columns *c)
{
    if (!c)
        return;
    nv_buffer *plain[] = {&c->time, &c->fingerprint, &c->message, &c->trace, &c->span, &c->scratch, &c->path,
                          &c->padded, &c->templates};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        nv_buffer_free(plain[i]);
    low_cardinality_free(&c->level);
    low_cardinality_free(&c->service);
    low_cardinality_free(&c->host);
    for (uint32_t i = 0; c->shard && i < c->shards; i++) {
        nv_buffer_free(&c->shard[i].tags);
        nv_buffer_free(&c->shard[i].keys);
        nv_buffer_free(&c->shard[i].values);
    }
    keys_clear(&c->keys);
    free(c->shard);
    free(c->fields);
    free(c->known);
    free(c);
}

static void low_cardinality_clear(nv_low_cardinality *l)
{
    l->index.length = 0;
    l->last = 0;
    dictionary_clear(&l->dictionary);
}

void nv_columns_reset(nv_columns *c)
{
    c->rows = c->field_count = c->template_count = 0;
    c->raw_bytes = 0;
    c->block++;
    c->min_time = c->max_time = 0;
    c->failed = 0;
    memset(c->counts, 0, sizeof c->counts);
    c->time.length = c->fingerprint.length = c->message.length = c->trace.length = c->span.length = 0;
    c->templates.length = 0;
    low_cardinality_clear(&c->level);
    low_cardinality_clear(&c->service);
    low_cardinality_clear(&c->host);
    for (uint32_t i = 0; i < c->shards; i++) {
        nv_shard *s = &c->shard[i];
        s->tags.length = s->keys.length = s->values.length = 0;
        s->dictionary = 0;
    }
    if (c->keys.count > NV_MAX_KEYS)
        keys_clear(&c->keys);
    if (c->known_count > MAX_KNOWN) {
        memset(c->known, 0, ((size_t)c->known_mask + 1) * sizeof *c->known);
        c->known_count = 0;
    }
}

static size_t low_cardinality_bytes(const nv_low_cardinality *l)
{
    return l->index.length + l->dictionary.strings.length;
}

size_t nv_columns_bytes(const nv_columns *c)
{
    size_t n = c->time.length + c->fingerprint.length + c->message.length + c->trace.length + c->span.length +
               low_cardinality_bytes(&c->level) + low_cardinality_bytes(&c->service) + low_cardinality_bytes(&c->host);
    for (uint32_t i = 0; i < c->shards; i++) {
        const nv_shard *s = &c->shard[i];
        n += s->keys.length + s->tags.length + s->values.length;
    }
    return n;
}

/* ---- offsets ---- */

static inline uint32_t tag_count(const nv_shard *s)
{
    return (uint32_t)(s->tags.length / sizeof(nv_tag));
}

int nv_write_offsets(nv_buffer *out, const nv_shard *s, uint32_t rows)
{
    if (!nv_reserve(out, (size_t)rows * 8))
        return 0;
    const nv_tag *tags = (const nv_tag *)s->tags.data;
    uint64_t at = 0, count = tag_count(s);
    for (uint32_t row = 0; row < rows; row++) {
        while (at < count && tags[at].row == row)
            at++;
        memcpy(out->data + out->length + (size_t)row * 8, &at, 8);
    }
    out->length += (size_t)rows * 8;
    return 1;
}

/*
 * An LZ4 sequence: token, literals, then a match. All our matches are eight bytes back, the row before: of a row
 * whose count grew, only the bytes that differ are literals.
 */
static uint8_t *put_length(uint8_t *out, size_t n)
{
    for (; n >= 255; n -= 255)
        *out++ = 255;
    *out++ = (uint8_t)n;
    return out;
}

static uint8_t *put_sequence(uint8_t *out, const uint8_t *literals, uint32_t n, size_t match)
{
    size_t more = match - 4;
    *out++ = (uint8_t)(n << 4 | (more < 15 ? more : 15)); /* n is at most 12: two rows, the second in part */
    memcpy(out, literals, 16);
    out += n;
    *out++ = 8;
    *out++ = 0;
    return more < 15 ? out : put_length(out, more - 15);
}

int nv_pack_offsets(nv_buffer *out, const nv_shard *s, uint32_t rows)
{
    const nv_tag *tags = (const nv_tag *)s->tags.data;
    uint32_t count = tag_count(s), at = 0, last = rows - 1; /* the last row is literals, as the format wants it */
    if (!nv_reserve(out, (size_t)rows * 8 / 255 + (size_t)count * 24 + 64))
        return 0;
    uint8_t *to = out->data + out->length;
    uint8_t literals[24] = {0};
    while (at < count && tags[at].row == 0)
        at++;
    uint64_t value = at;
    memcpy(literals, &value, 8);
    uint32_t n = 8, held = 8, row = 0; /* the first `held` bytes of `row` are the last of the `n` that wait */
    while (row < last) {
        uint32_t next = at < count && tags[at].row < last ? tags[at].row : last;
        size_t match = (8 - held) + (size_t)(next - row - 1) * 8;
        if (match) {
            to = put_sequence(to, literals, n, match);
            n = 0;
        }
        row = next;
        if (row == last)
            break;
        while (at < count && tags[at].row == row)
            at++;
        uint64_t changed = value ^ at;
        value = at;
        held = (71 - (uint32_t)__builtin_clzll(changed)) >> 3;
        memcpy(literals + n, &value, 8);
        n += held;
    }
    value = count;
    *to++ = 8 << 4;
    memcpy(to, &value, 8);
    out->length = (size_t)(to + 8 - out->data);
    return 1;
}
