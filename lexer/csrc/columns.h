/* The columns of a block, built in ClickHouse's native layout while lines are read. */
#ifndef NEVE_COLUMNS_H
#define NEVE_COLUMNS_H
#include "buffer.h"
#include "template.h"

typedef struct {
    const uint8_t *p;
    size_t n;
} nv_string;

/* A dictionary of strings: for LowCardinality columns, and for the keys of a shard. */
typedef struct {
    nv_buffer strings; /* native strings, in order */
    uint32_t count;
    uint32_t *slots; /* index + 1, 0 where free */
    uint32_t mask;
    nv_buffer entries; /* nv_entry */
} nv_dictionary;

#define NV_LOW_SEEN 256 /* values that a glance finds */

typedef struct {
    nv_dictionary dictionary;
    nv_buffer index; /* uint32 a row */
    uint32_t last;   /* the row before's */
    uint32_t seen[NV_LOW_SEEN];
} nv_low_cardinality;

/* One tag of one row: where its key stands in the shard's dictionary. The rows of a shard's tags only grow. */
typedef struct {
    uint32_t row, key;
} nv_tag;

typedef struct {
    nv_buffer tags;      /* nv_tag */
    nv_buffer keys;      /* native strings: the shard's dictionary */
    nv_buffer values;    /* native strings */
    uint32_t dictionary; /* its size */
} nv_shard;

/* What a key of a structured line means. */
typedef enum {
    NV_TAG, NV_KEY_TIME, NV_KEY_LEVEL, NV_KEY_MESSAGE, NV_KEY_SERVICE, NV_KEY_HOST, NV_KEY_TRACE, NV_KEY_SPAN, NV_ROLES
} nv_role;

typedef struct nv_key {
    uint64_t hash;
    struct nv_key *next;   /* the key that came after it last time: lines of one writer name them in one order */
    uint32_t length, shard, role;
    uint32_t block, index; /* its place in the shard's dictionary, valid for this block */
    uint32_t field;        /* which of the fields it was in the line that last had it: a key twice in a line */
    uint64_t line;
    uint32_t plain;        /* whether the name, and a quote after it, stand so in JSON */
    uint8_t name[];        /* then a quote, and NV_SPARE bytes more */
} nv_key;

#define NV_SEEN 1024 /* keys that a glance finds */

typedef struct {
    nv_key **slots;
    uint32_t mask, count;
    nv_key *last; /* what was asked for last; never NULL once there is a key */
    nv_key *seen[NV_SEEN];
} nv_keys;

typedef struct {
    nv_key *key;
    nv_string value; /* followed by NV_SPARE readable bytes */
} nv_field;

#define NV_MAX_FIELDS 4096
#define NV_MAX_ADDED 257   /* beyond them: the source's tags, and a time that was not believed */
#define NV_MAX_KEY 512     /* bytes of a dotted key; a line with a longer one is no structured line */
#define NV_MAX_KEYS 65536  /* kept from block to block; past that the block is full, and the table made anew */

enum {
    NV_COUNT_EMPTY, NV_COUNT_MALFORMED_JSON, NV_COUNT_SPLIT, NV_COUNT_IMPLAUSIBLE, NV_COUNT_NO_TIME,
    NV_COUNT_DUPLICATE_KEYS, NV_COUNT_MALFORMED_LOGFMT, NV_COUNT_MULTILINE, NV_COUNT_JOINED, NV_COUNTS
};

typedef struct {
    uint32_t shards, rows, max_rows, block;
    uint64_t line;
    size_t max_bytes, raw_bytes;
    int64_t min_time, max_time;
    int failed; /* memory ran out */
    uint64_t counts[NV_COUNTS];
    nv_buffer time, fingerprint, message, trace, span;
    nv_low_cardinality level, service, host;
    nv_shard *shard;
    nv_keys keys;
    nv_field *fields; /* of the line at hand */
    uint32_t field_count, field_room;
    nv_buffer scratch, path, padded;
    uint64_t *known; /* fingerprints whose templates were reported */
    uint32_t known_mask, known_count;
    nv_buffer templates; /* uint64 fingerprint, native string */
    uint32_t template_count;
    nv_line lexed;
} nv_columns;

/* One event, before it is a row. Its tags are the columns' fields. */
typedef struct {
    int64_t time;
    nv_string level, service, host; /* followed by NV_SPARE readable bytes, as fields are */
    nv_string message, trace, span;
    uint64_t fingerprint;
} nv_event;

nv_columns *nv_columns_new(uint32_t shards, uint32_t max_rows, size_t max_bytes);
void nv_columns_free(nv_columns *c);
void nv_columns_reset(nv_columns *c);

/* What a name means. */
nv_role nv_role_of(const uint8_t *p, size_t n);

/* The entry of a key, made if there is none; NULL where memory ran out, or for one longer than NV_MAX_KEY. */
nv_key *nv_key_of(nv_columns *c, const uint8_t *p, size_t n);

/* The same for a name that NV_SPARE readable bytes follow. */
nv_key *nv_key_seen(nv_columns *c, const uint8_t *p, size_t n);

/* Note a field of the line at hand; of a key that comes twice the last value holds. 0 where there are too many. */
static inline int nv_add_field(nv_columns *c, nv_key *key, nv_string value)
{
    if (!key)
        return 0;
    if (__builtin_expect(key->line == c->line && key->field < c->field_count && c->fields[key->field].key == key, 0)) {
        c->fields[key->field].value = value;
        c->counts[NV_COUNT_DUPLICATE_KEYS]++;
        return 1;
    }
    if (c->field_count == c->field_room)
        return 0;
    key->line = c->line;
    key->field = c->field_count;
    c->fields[c->field_count++] = (nv_field){key, value};
    return 1;
}

/* Close the line at hand: one row. */
void nv_add_row(nv_columns *c, const nv_event *event);

/* Remember a template that was not reported before. */
void nv_note_template(nv_columns *c, uint64_t fingerprint, const uint8_t *text, size_t n);

/* Bytes that the buffers hold. */
size_t nv_columns_bytes(const nv_columns *c);

/* A shard's offsets, uint64 a row: its tags up to and with that row. */
int nv_write_offsets(nv_buffer *out, const nv_shard *s, uint32_t rows);

/* The same as one LZ4 block, written without the offsets ever being there; for NV_MIN_PACKED rows or more. */
#define NV_MIN_PACKED 16
int nv_pack_offsets(nv_buffer *out, const nv_shard *s, uint32_t rows);

/*
 * The body of a LowCardinality column after its version: dictionary, then indexes; empty for no rows.
 * The indexes are uint32, `stride` words apart from `index` on.
 */
int nv_write_low_cardinality(nv_buffer *out, uint32_t dictionary, const nv_buffer *strings, const uint32_t *index,
                             uint64_t rows, uint32_t stride);

#endif
