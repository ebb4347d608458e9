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

typedef struct {
    nv_dictionary dictionary;
    nv_buffer index; /* uint32 a row */
    uint32_t last;   /* the row before's */
} nv_low_cardinality;

typedef struct {
    nv_buffer offsets;   /* uint64 a row: pairs up to and with it */
    nv_buffer keys;      /* native strings: the shard's dictionary */
    nv_buffer index;     /* uint32 a pair, into the dictionary */
    nv_buffer values;    /* native strings */
    uint32_t dictionary; /* its size */
    uint64_t pairs;
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
    uint8_t name[];
} nv_key;

typedef struct {
    nv_key **slots;
    uint32_t mask, count;
    nv_key *last; /* what was asked for last; never NULL once there is a key */
} nv_keys;

typedef struct {
    nv_key *key;
    nv_string value;
} nv_field;

#define NV_MAX_FIELDS 4096
#define NV_MAX_ADDED 257   /* beyond them: the source's tags, and a time that was not believed */
#define NV_MAX_KEY 512     /* bytes of a dotted key; a line with a longer one is no structured line */
#define NV_MAX_KEYS 65536  /* kept from block to block; past that the block is full, and the table made anew */

enum {
    NV_COUNT_EMPTY, NV_COUNT_MALFORMED_JSON, NV_COUNT_SPLIT, NV_COUNT_IMPLAUSIBLE, NV_COUNT_NO_TIME,
    NV_COUNT_DUPLICATE_KEYS, NV_COUNT_MALFORMED_LOGFMT, NV_COUNTS
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
    nv_string level, service, host, message, trace, span;
    uint64_t fingerprint;
} nv_event;

nv_columns *nv_columns_new(uint32_t shards, uint32_t max_rows, size_t max_bytes);
void nv_columns_free(nv_columns *c);
void nv_columns_reset(nv_columns *c);

/* The entry of a key, made if there is none; NULL where memory ran out, or for one longer than NV_MAX_KEY. */
nv_key *nv_key_of(nv_columns *c, const uint8_t *p, size_t n);

/* Note a field of the line at hand; of a key that comes twice the last value holds. 0 where there are too many. */
int nv_add_field(nv_columns *c, nv_key *key, nv_string value);

/* Close the line at hand: one row. */
void nv_add_row(nv_columns *c, const nv_event *event);

/* Remember a template that was not reported before. */
void nv_note_template(nv_columns *c, uint64_t fingerprint, const uint8_t *text, size_t n);

/* Bytes that the buffers hold. */
size_t nv_columns_bytes(const nv_columns *c);

/* Bring every shard's offsets up to the last row. */
void nv_columns_close(nv_columns *c);

/* The body of a LowCardinality column after its version: dictionary, then indexes; empty for no rows. */
int nv_write_low_cardinality(nv_buffer *out, uint32_t dictionary, const nv_buffer *strings, const nv_buffer *index);

#endif
