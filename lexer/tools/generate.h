/* Lines made up for the fuzzer: by grammars, by repetition and by mutation; all from one seed. */
#ifndef NEVE_GENERATE_H
#define NEVE_GENERATE_H
#include "columns.h"

typedef struct {
    uint64_t state;
    const nv_string *corpus; /* lines of files, if any were given */
    size_t corpus_lines;
} generator;

uint64_t random_bits(generator *g);

/* 0 to n - 1. */
size_t below(generator *g, size_t n);

/* Append one line, without a newline in it but where random bytes hold one. */
void make_line(generator *g, nv_buffer *out);

/* Thousands of lines with names and shapes that were not there before. */
void make_many(generator *g, nv_buffer *out);

/* A line longer than NV_MAX_LINE, and one more. */
void make_too_long(generator *g, nv_buffer *out);

#endif
