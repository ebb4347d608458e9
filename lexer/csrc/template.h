/* One line of text: its template, its variables, its time, its level and its key=value pairs, in one walk. */
#ifndef NEVE_TEMPLATE_H
#define NEVE_TEMPLATE_H
#include <stddef.h>
#include <stdint.h>

#include "classes.h"
#include "token.h"

#define NV_RULES_VERSION 2
#define NV_MAX_SPANS (NV_LOOK / 2)
#define NV_MAX_PAIRS 256
#define NV_TEMPLATE_ROOM (NV_LOOK * 2 + 64)
#define NV_NO_TIME INT64_MIN

typedef struct {
    uint32_t start, end; /* bytes from the start of the line */
    nv_kind kind;
} nv_span;

typedef struct {
    uint32_t key, key_end, value, value_end; /* a value's quotes are outside */
} nv_pair;

typedef struct {
    uint64_t fingerprint;
    int64_t timestamp; /* ns since 1970, NV_NO_TIME if the line has none */
    nv_level level;
    uint32_t spans, pairs, template_length;
    nv_span span[NV_MAX_SPANS];
    nv_pair pair[NV_MAX_PAIRS];
    uint8_t template_text[NV_TEMPLATE_ROOM];
    nv_bitmaps maps;
    uint8_t head[NV_LOOK + NV_PADDING]; /* of a longer line */
} nv_line;

enum { NV_WANT_TIME = 1, NV_WANT_LEVEL = 2, NV_WANT_PAIRS = 4, NV_WANT_ROW = 7, NV_WANT_SPANS = 8, NV_WANT_ALL = 15,
       NV_WANT_MASKS = 16 /* a mask of redaction is a variable, with what touches it */ };

/*
 * Lex n bytes of a line (without its newline). They must be followed by NV_PADDING readable bytes, the first of
 * which is no part of a token (newline, carriage return, NUL). Only the first NV_LOOK bytes are looked at.
 * `received` is the time of receipt in ns (for dates without a year).
 */
void nv_lex(const uint8_t *p, size_t n, int64_t received, int want, nv_line *out);

#endif
