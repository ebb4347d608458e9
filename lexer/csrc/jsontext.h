/* JSON text of values, written as Python's json.dumps(ensure_ascii=False, separators=(",", ":")) has it. */
#ifndef NEVE_JSONTEXT_H
#define NEVE_JSONTEXT_H
#include "buffer.h"

/* Each returns 0 where memory ran out. */
int nv_put_json_string(nv_buffer *out, const uint8_t *p, size_t n);
int nv_put_base64(nv_buffer *out, const uint8_t *p, size_t n);
int nv_put_integer(nv_buffer *out, int64_t v);

/* A decimal of few digits that reads back as the same number, whole ones without a point; NaN, Infinity, -Infinity. */
int nv_put_double(nv_buffer *out, double v);

#endif
