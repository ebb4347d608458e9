/* Bytes to rows: lines are cut, told apart (JSON, logfmt, text) and added to the columns. */
#ifndef NEVE_RECORDS_H
#define NEVE_RECORDS_H
#include "columns.h"
#include "container.h"
#include "multiline.h"

/* NV_MESSAGE: nothing is looked for in it but its level, where none is said. */
typedef enum { NV_AUTO, NV_TEXT, NV_JSON, NV_LOGFMT, NV_MESSAGE } nv_format;

typedef struct {
    nv_string service, host;     /* for lines that name none */
    const nv_field *tags;        /* for every line, unless it has the key itself; values as a field's */
    uint32_t tag_count;
    int64_t received;            /* ns since 1970 */
    nv_format format;
    nv_ending ending;            /* whether to take an unterminated last line, or record */
    nv_join *join;               /* NULL: every line is a record */
    nv_carry *carry;             /* what the stream's records before leave behind, where columns redact; or NULL */
    /* What a sender says of one record beside its text. It holds before what the text says. */
    int64_t time;                /* NV_NO_TIME where it is not said */
    nv_level level;
    nv_string trace, span;       /* p is NULL where they are not said */
} nv_source;

/*
 * Take whole records until the data or the block's room ends; bytes taken. A record of several lines is one row:
 * its message is all of them, with their newlines. Time, level and pairs are those of its first line; its
 * fingerprint is of that and, in a stack trace, of the line that names the exception: frames come and go with
 * every release, and are not looked at.
 */
size_t nv_take(nv_columns *c, const uint8_t *data, size_t n, const nv_source *source);

/*
 * The same for lines that a container runtime wrapped (container.h), which are read as if it had not touched them. Each
 * row has the stream as the tag log.iostream, and the time when the runtime read it for the time of receipt. Bytes taken
 * of the data that were unwrapped. A `join` is over the unwrapped text.
 */
size_t nv_take_unwrapped(nv_columns *c, const nv_unwrapped *u, const nv_source *source);

/*
 * Take n bytes as one record, whatever newlines are in it; one of more than NV_MAX_LINE bytes is stored in pieces, an empty
 * one too. They must be followed by NV_PADDING readable bytes, the first a NUL.
 */
void nv_take_one(nv_columns *c, const uint8_t *data, size_t n, const nv_source *source);

/*
 * Take n bytes as one JSON object; 0 where they are none, and nothing is taken. One that is too long, or has too many
 * fields, is kept as text. They must be followed by NV_PADDING readable bytes, the first a newline or NUL.
 */
int nv_take_object(nv_columns *c, const uint8_t *data, size_t n, const nv_source *source);

/* The level that a text names, or that it is the number of, as pino and bunyan have them; else NV_LEVEL_NONE. */
nv_level nv_level_of(nv_string s);

/* Whether the block should be sealed. */
int nv_full(const nv_columns *c);

#endif
