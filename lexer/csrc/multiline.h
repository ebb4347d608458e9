/* Lines that belong together: where a record that starts here ends. */
#ifndef NEVE_MULTILINE_H
#define NEVE_MULTILINE_H
#include <stddef.h>
#include <stdint.h>

#define NV_MAX_LINE (1 << 20) /* bytes; a longer line is stored in pieces of this size, and counted */

/*
 * A record holds no more bytes than a line may, and so many lines: a Java stack overflow prints 1,024 frames for
 * each of its causes. What would be longer is stored as several records.
 */
#define NV_MAX_RECORD_LINES 4096

enum {
    NV_JOIN_JAVA = 1,
    NV_JOIN_PYTHON = 2,
    NV_JOIN_GO = 4,
    NV_JOIN_INDENTED = 8,  /* whatever starts with white space */
    NV_JOIN_STARTS = 16,   /* whatever does not stand in `start` */
    NV_JOIN_NOT_JSON = 32, /* {…} in one line stands alone */
};

typedef struct {
    int rules;            /* 0: every line is a record */
    const uint32_t *start; /* with NV_JOIN_STARTS: where lines start that start records, ascending, in the data */
    size_t starts;
    size_t next;          /* of them; moves on with the data */
} nv_join;

/* What to do with a record that may go on where the data end. */
typedef enum {
    NV_WAIT,       /* leave it */
    NV_TAKE_LINES, /* take it without a last line that has no newline */
    NV_TAKE_ALL
} nv_ending;

typedef struct {
    size_t length; /* without the last newline */
    size_t step;   /* with it */
    size_t first;  /* length of the first line, without a carriage return */
    size_t named, named_end; /* the line that names the exception, where that is not the first; else empty */
    uint32_t lines;
    int whole;     /* a newline ends it */
    int split;     /* a piece of a line that is too long */
} nv_record;

/*
 * The record that starts at data[at]; 0 where its end cannot be told yet. It depends on the bytes from there on
 * alone, not on how many of them are there, unless `ending` says to take what there is. Blank lines within a record
 * are part of it, those after it are not; a blank line that nothing precedes comes as a record of its own.
 */
int nv_next_record(nv_join *join, const uint8_t *data, size_t at, size_t n, nv_ending ending, nv_record *out);

/* A line that is empty but for a carriage return. */
static inline int nv_is_blank(const uint8_t *p, size_t n)
{
    return n == 0 || (n == 1 && *p == '\r');
}

#endif
