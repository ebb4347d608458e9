#include "container.h"

#include "columns.h"
#include "multiline.h"
#include "template.h"
#include "timestamp.h"

#define ROOM 64                           /* of a time, and what ends it */
#define LONGEST (NV_MAX_LINE - (64 << 10)) /* bytes that may lie between the pieces of one line: a reader has them at once */

typedef struct {
    int64_t time;
    nv_stream stream;
    int partial;
    size_t text; /* where it starts */
} wrapping;

/* What stands before a line's text; 0 where that is not a runtime's, and nothing is said. */
static int read_wrapping(const uint8_t *p, size_t n, int64_t received, wrapping *out)
{
    wrapping found = {0}, *w = &found;
    uint8_t time[ROOM + 1] = {0};
    const uint8_t *space = memchr(p, ' ', n < ROOM ? n : ROOM);
    if (!space || space == p)
        return 0;
    size_t at = (size_t)(space - p);
    memcpy(time, p, at);
    if ((size_t)nv_timestamp(time, received, &w->time) != at)
        return 0;
    at++;
    if (n - at < 8 || memcmp(p + at, "std", 3))
        return 0;
    if (!memcmp(p + at + 3, "out ", 4))
        w->stream = NV_STDOUT;
    else if (!memcmp(p + at + 3, "err ", 4))
        w->stream = NV_STDERR;
    else
        return 0;
    at += 7;
    if (p[at] != 'P' && p[at] != 'F')
        return 0;
    w->partial = p[at++] == 'P';
    while (at < n && p[at] != ' ') { /* tags, of which P or F is the first */
        if (p[at] != ':' && p[at - 1] != ':')
            return 0;
        at++;
        while (at < n && p[at] != ' ' && p[at] != ':')
            at++;
    }
    w->text = at < n ? at + 1 : n;
    *out = found;
    return 1;
}

/* A line is over: what was kept of its stream, and this. */
static void end_line(nv_unwrapped *u, nv_buffer *open, const uint8_t *p, size_t n, size_t end, const wrapping *w)
{
    nv_unwrapped_line line = {u->text.length, end, w->time, w->stream, 0};
    u->failed |= !nv_append(&u->text, open ? open->data : NULL, open ? open->length : 0);
    u->failed |= !nv_append(&u->text, p, n) || !nv_append(&u->text, "\n", 1);
    if (open)
        open->length = 0;
    line.safe = !u->open[0].length && !u->open[1].length;
    u->failed |= !nv_append(&u->lines, &line, sizeof line);
}

/* What the runtime cut and has not ended is over all the same. */
static void end_open(nv_unwrapped *u, const int64_t began[2], size_t end)
{
    for (int i = 0; i < 2; i++)
        if (u->open[i].length) {
            wrapping w = {began[i], i ? NV_STDERR : NV_STDOUT, 0, 0};
            end_line(u, &u->open[i], NULL, 0, end, &w);
        }
}

void nv_unwrap(nv_unwrapped *u, const uint8_t *data, size_t n, int64_t received, int final)
{
    int64_t began[2] = {NV_NO_TIME, NV_NO_TIME};
    size_t at = 0, safe = 0; /* all before `safe` is in the lines */
    while (at < n && !u->failed) {
        size_t look = n - at < NV_MAX_LINE + 1 ? n - at : NV_MAX_LINE + 1;
        const uint8_t *p = data + at, *newline = memchr(p, '\n', look);
        if (!newline && look <= NV_MAX_LINE && !final)
            break;
        size_t length = newline ? (size_t)(newline - p) : look <= NV_MAX_LINE ? look : NV_MAX_LINE;
        wrapping w = {NV_NO_TIME, NV_STREAM_NONE, 0, 0};
        nv_buffer *open = NULL;
        at += length + (newline != NULL);
        if (read_wrapping(p, length, received, &w)) {
            int64_t *first = &began[w.stream - NV_STDOUT];
            open = &u->open[w.stream - NV_STDOUT];
            if (!open->length)
                *first = w.time;
            w.time = *first;
        }
        if (w.partial && length > w.text) {
            u->failed |= !nv_append(open, p + w.text, length - w.text);
            if (at - safe >= LONGEST)
                end_open(u, began, at);
        } else if (!w.partial) {
            end_line(u, open, p + w.text, length - w.text, at, &w);
        }
        if (!u->open[0].length && !u->open[1].length)
            safe = at;
    }
    if (final)
        end_open(u, began, at);
    size_t count = nv_unwrapped_count(u);
    if (final && at && (!count || nv_unwrapped_at(u, count - 1)->end < at)) { /* the beginning of nothing */
        wrapping w = {NV_NO_TIME, NV_STREAM_NONE, 0, 0};
        end_line(u, NULL, NULL, 0, at, &w);
        count++;
    }
    while (count && !nv_unwrapped_at(u, count - 1)->safe)
        count--;
    if (count < nv_unwrapped_count(u))
        u->text.length = nv_unwrapped_at(u, count)->start;
    u->lines.length = count * sizeof(nv_unwrapped_line);
    if (!nv_reserve(&u->text, NV_PADDING))
        u->failed = 1;
    else
        memset(u->text.data + u->text.length, 0, NV_PADDING);
}

void nv_unwrapped_free(nv_unwrapped *u)
{
    nv_buffer_free(&u->text);
    nv_buffer_free(&u->lines);
    nv_buffer_free(&u->open[0]);
    nv_buffer_free(&u->open[1]);
}
