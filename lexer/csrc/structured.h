/* Structured lines: JSON objects and logfmt, taken apart into the fields of a columns object. */
#ifndef NEVE_STRUCTURED_H
#define NEVE_STRUCTURED_H
#include "columns.h"

#define NV_JSON_DEPTH 128

/*
 * Take a JSON object apart: nested objects become dotted keys, arrays stay JSON text, numbers, booleans and null
 * stay as written, strings are unescaped (a lone surrogate becomes U+FFFD). The fields of a top-level object
 * `tags` lose that prefix. Of a key that comes twice the last value holds. A line that is deeper than NV_JSON_DEPTH,
 * has more than NV_MAX_FIELDS fields or a dotted key longer than NV_MAX_KEY is not taken apart.
 * 1 if the whole line is one JSON object, else 0 and no field is kept.
 * The line must be followed by a newline, carriage return or NUL, and in all by NV_PADDING readable bytes, as for
 * the other two.
 */
int nv_json_object(nv_columns *c, const uint8_t *p, size_t n);

/* 1 if n bytes are one JSON text as RFC 8259 has it (any bytes past 0x7f pass in strings), nested to NV_JSON_DEPTH. */
int nv_json_valid(nv_columns *c, const uint8_t *p, size_t n);

/* A member of an object: where its name stands, without quotes and as written, and its value. */
typedef struct {
    nv_string name, value;
} nv_member;

#define NV_MAX_MEMBERS 64

/*
 * Find the members of the JSON object that n bytes start with, white space before it skipped; what comes after it does not
 * matter. Bytes taken; 0 where there is no whole object, or one of more than NV_MAX_MEMBERS. Followed by bytes as above.
 */
size_t nv_json_members(nv_columns *c, const uint8_t *p, size_t n, nv_member members[NV_MAX_MEMBERS], uint32_t *count);

/* Take `key=value key="quoted value" flag` apart; a key without a value is "true". 0 if the line is no logfmt, has
 * more than NV_MAX_FIELDS fields or a key longer than NV_MAX_KEY. */
int nv_logfmt(nv_columns *c, const uint8_t *p, size_t n);

#endif
