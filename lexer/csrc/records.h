/* Bytes to rows: lines are cut, told apart (JSON, logfmt, text) and added to the columns. */
#ifndef NEVE_RECORDS_H
#define NEVE_RECORDS_H
#include "columns.h"

#define NV_MAX_LINE (1 << 20) /* bytes; a longer line is stored in pieces of this size, and counted */

typedef enum { NV_AUTO, NV_TEXT, NV_JSON, NV_LOGFMT } nv_format;

typedef struct {
    nv_string service, host;     /* for lines that name none */
    const nv_field *tags;        /* for every line, unless it has the key itself; values as a field's */
    uint32_t tag_count;
    int64_t received;            /* ns since 1970 */
    nv_format format;
    int final;                   /* take an unterminated last line */
} nv_source;

/* Take whole lines until the data or the block's room ends; bytes taken. */
size_t nv_take(nv_columns *c, const uint8_t *data, size_t n, const nv_source *source);

/* Whether the block should be sealed. */
int nv_full(const nv_columns *c);

#endif
