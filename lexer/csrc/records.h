/* Bytes to rows: lines are cut, told apart (JSON, logfmt, text) and added to the columns. */
#ifndef NEVE_RECORDS_H
#define NEVE_RECORDS_H
#include "columns.h"
#include "multiline.h"

typedef enum { NV_AUTO, NV_TEXT, NV_JSON, NV_LOGFMT } nv_format;

typedef struct {
    nv_string service, host;     /* for lines that name none */
    const nv_field *tags;        /* for every line, unless it has the key itself; values as a field's */
    uint32_t tag_count;
    int64_t received;            /* ns since 1970 */
    nv_format format;
    nv_ending ending;            /* whether to take an unterminated last line, or record */
    nv_join *join;               /* NULL: every line is a record */
} nv_source;

/*
 * Take whole records until the data or the block's room ends; bytes taken. A record of several lines is one row:
 * its message is all of them, with their newlines. Time, level and pairs are those of its first line; its
 * fingerprint is of that and, in a stack trace, of the line that names the exception: frames come and go with
 * every release, and are not looked at.
 */
size_t nv_take(nv_columns *c, const uint8_t *data, size_t n, const nv_source *source);

/* Whether the block should be sealed. */
int nv_full(const nv_columns *c);

#endif
