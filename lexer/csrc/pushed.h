/* Records in the bodies that other systems' clients push: documents of a bulk request, entries of a stream. */
#ifndef NEVE_PUSHED_H
#define NEVE_PUSHED_H
#include "records.h"
#include "wire.h"

/*
 * Take action lines and documents by turns, as `_bulk` has them, while the action line is `action` and until the block is
 * full; bytes taken. For each document a byte goes to `verdicts`: 1 where it was taken, 0 where it is no JSON object.
 */
size_t nv_take_documents(nv_columns *c, const uint8_t *data, size_t n, nv_string action, const nv_source *source,
                         nv_buffer *verdicts);

/* Read the field at *at, which is before n; *at is behind it then, and bytes.p is NULL where it is a number. 0 where the
 * message is damaged, or has groups. */
int nv_next_wire(const uint8_t *data, size_t *at, size_t n, nv_wire_field *out);

#define NV_ENTRY_TAGS 256

typedef enum { NV_PUSH_END, NV_PUSH_FULL, NV_PUSH_DAMAGED, NV_PUSH_LARGE } nv_push;

/*
 * Take the entries (field 2) of a logproto.StreamAdapter from *at until its end, at n, or the block's room; *at is where it
 * stopped. An entry's tags hold before the source's. NV_PUSH_LARGE: at *at is an entry of more than NV_ENTRY_TAGS tags,
 * or with a name longer than NV_MAX_KEY. The bytes must be followed by NV_PADDING readable ones.
 */
nv_push nv_take_entries(nv_columns *c, const uint8_t *data, size_t *at, size_t n, const nv_source *source);

#endif
