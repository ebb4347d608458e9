/* What container runtimes put before each line of a log (the CRI's format), taken off: TIME STREAM P|F[:TAG…] TEXT. */
#ifndef NEVE_CONTAINER_H
#define NEVE_CONTAINER_H
#include "buffer.h"

typedef enum { NV_STREAM_NONE, NV_STDOUT, NV_STDERR } nv_stream;

/* One line as its writer wrote it: where it starts in the text, and where in the data it ends. */
typedef struct {
    size_t start, end;
    int64_t time;     /* when the runtime read it; NV_NO_TIME where no runtime says */
    nv_stream stream; /* NV_STREAM_NONE: a line that has no such beginning, and is whole */
    int safe;         /* nothing of the data before `end` is missing in the lines until here */
} nv_unwrapped_line;

typedef struct {
    nv_buffer text;  /* lines, each with a newline, and NV_PADDING bytes behind them */
    nv_buffer lines; /* nv_unwrapped_line */
    nv_buffer open[2];
    int failed;
} nv_unwrapped;

/*
 * Unwrap the whole lines of the data. A line that the runtime cut (P) goes on in the next of its stream; one that is
 * not over where the data end is left, with what follows its beginning, unless `final`. What is nearly as long as
 * NV_MAX_LINE is given in pieces. `failed` where memory ran out.
 */
void nv_unwrap(nv_unwrapped *u, const uint8_t *data, size_t n, int64_t received, int final);

void nv_unwrapped_free(nv_unwrapped *u);

static inline size_t nv_unwrapped_count(const nv_unwrapped *u) { return u->lines.length / sizeof(nv_unwrapped_line); }
static inline const nv_unwrapped_line *nv_unwrapped_at(const nv_unwrapped *u, size_t i)
{
    return (const nv_unwrapped_line *)(const void *)u->lines.data + i;
}

#endif
