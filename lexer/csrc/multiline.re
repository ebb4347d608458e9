/*
 * Stack traces, and what else belongs together. A line is told by its beginning (the automaton); whether it goes on
 * with the record before it depends on that and on what the record is (the states below).
 */
#include "multiline.h"

#include <string.h>

/* What a line is by its beginning. */
typedef enum {
    OTHER, INDENTED,
    JAVA_FRAME,  /* at …, ... N more */
    JAVA_CAUSE,  /* Caused by: … */
    JAVA_CLASS,  /* java.lang.IllegalStateException: … */
    JAVA_THREAD, /* Exception in thread … */
    PY_HEAD,     /* Traceback (most recent call last): */
    PY_GROUP,    /* the same of an exception group */
    PY_MEMBER,   /* an exception's class within a group */
    PY_FILE,     /* File "…", line 1 */
    PY_CHAIN,    /* During handling of … */
    GO_PANIC,    /* panic: …, fatal error: …, SIGQUIT: … */
    GO_RUNTIME,  /* runtime: … */
    GO_STACK,    /* goroutine 1 [running]: */
    GO_CALL,     /* main.main(…) */
    GO_NOTE,     /* [signal …, registers, frames left out */
} kind;

/* What a record is so far. */
typedef enum {
    ALONE,     /* JSON: nothing joins it */
    PLAIN,     /* a message; a trace may follow it */
    JAVA,      /* an exception or its frames */
    PY_FRAMES, /* a traceback whose exception is still to come */
    PY_DONE,   /* after it, or in a group */
    PY_AGAIN,  /* between two chained ones */
    GO_RUNS,   /* what the runtime says before it dies */
    GO,        /* a panic, or stacks */
} state;

typedef struct {
    const uint8_t *p;
    size_t n;    /* without newline and carriage return */
    size_t next; /* where the line after it starts, from the record's start */
    int whole;
} line;

/* The line must end in a newline. */
static kind kind_of_bytes(const uint8_t *p)
{
    const uint8_t *YYCURSOR = p, *YYMARKER;
    /*!re2c
    re2c:define:YYCTYPE = "uint8_t";
    re2c:yyfill:enable = 0;
    re2c:sentinel = 10;
    re2c:flags:case-ranges = 1;

    blank  = [ \t];
    eol    = [\r\n];
    word   = [A-Za-z0-9_$];
    python = [A-Za-z_\x80-\xff] [A-Za-z0-9_.<>\x80-\xff]*;
    header = "Traceback (most recent call last):";

    blank+ "at " [^ \t\r\n]                                                     { return JAVA_FRAME; }
    blank* "... " [0-9]+ " " ("more" | "common frames omitted")                 { return JAVA_FRAME; }
    blank* ("Caused by: " | "Suppressed: " | "Wrapped by: ")                    { return JAVA_CAUSE; }
    "Exception in thread \""                                                    { return JAVA_THREAD; }
    ([A-Za-z_$] word* ".")+ word* ("Exception" | "Error" | "Throwable" | "Failure") ("$" word+)? (":" | eol)
                                                                                { return JAVA_CLASS; }
    header                                                                      { return PY_HEAD; }
    blank* "+ Exception Group " header                                          { return PY_GROUP; }
    blank+ "| " python (":" | eol)                                              { return PY_MEMBER; }
    blank+ "File \"" [^"\r\n]+ "\", line " [0-9]+                               { return PY_FILE; }
    "During handling of the above exception, another exception occurred:"       { return PY_CHAIN; }
    "The above exception was the direct cause of the following exception:"      { return PY_CHAIN; }
    "panic: " | "fatal error: " | "SIG" [A-Z]+ ": "                             { return GO_PANIC; }
    "runtime: "                                                                 { return GO_RUNTIME; }
    "goroutine " [0-9]+ " " | "runtime stack:"                                  { return GO_STACK; }
    "[signal SIG" | "PC=0x" | [a-z] [a-z0-9]{1,5} " "+ "0x"                     { return GO_NOTE; }
    "..." ("additional" | [0-9]+) " frames elided..."                           { return GO_NOTE; }
    "created by " | [A-Za-z_] [^ \t\r\n(]* "("                                  { return GO_CALL; }
    blank                                                                       { return INDENTED; }
    *                                                                           { return OTHER; }
    */
}

/* Whether a line that ends in a newline starts as the last one of a traceback does: a class, a colon or nothing. */
static int names_exception(const uint8_t *p)
{
    const uint8_t *YYCURSOR = p, *YYMARKER;
    /*!re2c
    python (":" | eol)                                                          { return 1; }
    *                                                                           { return 0; }
    */
}

#define BEGINNING 512 /* bytes that are looked at of a last line without a newline */

static const uint8_t *with_newline(const line *l, uint8_t copy[BEGINNING + 1])
{
    size_t n = l->n < BEGINNING ? l->n : BEGINNING;
    memcpy(copy, l->p, n);
    copy[n] = '\n';
    return copy;
}

static kind kind_of(const line *l)
{
    uint8_t copy[BEGINNING + 1];
    kind found = kind_of_bytes(l->whole ? l->p : with_newline(l, copy));
    return found == GO_CALL && l->p[l->n - 1] != ')' && memcmp(l->p, "created by ", l->n < 11 ? l->n : 11) ? OTHER : found;
}

static int ends_traceback(const line *l)
{
    uint8_t copy[BEGINNING + 1];
    return names_exception(l->whole ? l->p : with_newline(l, copy));
}

static int ends_with(const line *l, const char *text, size_t n)
{
    return l->n >= n && !memcmp(l->p + l->n - n, text, n);
}

static int stands_alone(int rules, const line *l)
{
    return rules & NV_JOIN_NOT_JSON && *l->p == '{' && l->p[l->n - 1] == '}';
}

/* What a record is whose first line this is. */
static state opened(int rules, const line *l)
{
    static const char header[] = "Traceback (most recent call last):";
    if (stands_alone(rules, l))
        return ALONE;
    kind k = kind_of(l);
    if (rules & NV_JOIN_JAVA && k >= JAVA_FRAME && k <= JAVA_THREAD)
        return JAVA;
    if (rules & NV_JOIN_PYTHON) {
        if (k == PY_GROUP)
            return PY_DONE;
        if (k == PY_FILE || ends_with(l, header, sizeof header - 1)) /* also after a time and a level */
            return PY_FRAMES;
    }
    if (rules & NV_JOIN_GO && (k == GO_PANIC || k == GO_STACK))
        return GO;
    return rules & NV_JOIN_GO && k == GO_RUNTIME ? GO_RUNS : PLAIN;
}

static int java_goes_on(state *s, kind k, int after_blank)
{
    if (k == JAVA_FRAME || k == JAVA_CAUSE || (k == JAVA_CLASS && *s == PLAIN)) {
        *s = JAVA;
        return !after_blank;
    }
    return 0;
}

static int python_goes_on(state *s, kind k, const line *l, int after_blank)
{
    int may_open = *s == PY_AGAIN || (*s == PLAIN && !after_blank);
    if (may_open && (k == PY_HEAD || k == PY_FILE)) {
        *s = PY_FRAMES;
        return 1;
    }
    if (k == PY_GROUP && (may_open || *s == PY_DONE)) {
        *s = PY_DONE;
        return 1;
    }
    if (*s == PY_FRAMES && !after_blank && k < PY_HEAD && *l->p != ' ' && *l->p != '\t' && ends_traceback(l)) {
        *s = PY_DONE;
        return 1;
    }
    if (*s == PY_DONE && k == PY_CHAIN) {
        *s = PY_AGAIN;
        return 1;
    }
    return 0;
}

static int go_goes_on(state *s, kind k, int after_blank)
{
    int may = *s == GO || *s == GO_RUNS || (*s == PLAIN && !after_blank && k == GO_STACK);
    if (k == GO_STACK || k == GO_NOTE || k == GO_RUNTIME || (k == GO_CALL && !after_blank) ||
        (k == GO_PANIC && *s == GO_RUNS)) {
        if (may)
            *s = k == GO_RUNTIME ? *s : GO;
        return may;
    }
    return 0;
}

/* Whether the line goes on with a record that is `*s` so far; `*s` is what it is then. */
static int goes_on(int rules, state *s, kind k, const line *l, int after_blank)
{
    if (rules & NV_JOIN_JAVA && java_goes_on(s, k, after_blank))
        return 1;
    if (rules & NV_JOIN_PYTHON && python_goes_on(s, k, l, after_blank))
        return 1;
    if (rules & NV_JOIN_GO && go_goes_on(s, k, after_blank))
        return 1;
    if (*l->p != ' ' && *l->p != '\t')
        return 0;
    return rules & NV_JOIN_INDENTED || (*s != PLAIN && !after_blank);
}

/* Whether a blank line may stand within the record. */
static int may_pause(int rules, state s)
{
    return rules & (NV_JOIN_INDENTED | NV_JOIN_STARTS) || s >= PY_DONE;
}

static int is_start(nv_join *join, size_t at)
{
    while (join->next < join->starts && join->start[join->next] < at)
        join->next++;
    return join->next < join->starts && join->start[join->next] == at;
}

/* The line at `from`, if it ends within what a record may hold; 0 where it does not, or not yet. */
static int find_line(const uint8_t *p, size_t n, size_t from, nv_ending ending, line *l)
{
    size_t room = n < NV_MAX_LINE + 1 ? n : NV_MAX_LINE + 1;
    const uint8_t *newline = from < room ? memchr(p + from, '\n', room - from) : NULL;
    if (!newline && (ending != NV_TAKE_ALL || n > NV_MAX_LINE || from >= n))
        return 0;
    l->p = p + from;
    l->whole = newline != NULL;
    l->n = newline ? (size_t)(newline - l->p) : n - from;
    l->next = from + l->n + (size_t)l->whole;
    if (l->n > 1 && l->p[l->n - 1] == '\r')
        l->n--;
    return 1;
}

/* Which line names the exception: Java's first, for what comes after are causes; Python's last, for it was raised. */
static void note_name(nv_record *out, state before, state s, kind k, const uint8_t *p, const line *l)
{
    int raised = before == PY_FRAMES && s == PY_DONE;
    if (raised || ((k == JAVA_CLASS || k == PY_MEMBER) && !out->named_end)) {
        out->named = (size_t)(l->p - p);
        out->named_end = out->named + l->n;
    }
}

static void take(nv_record *out, const line *l)
{
    out->step = l->next;
    out->length = l->next - (size_t)l->whole;
    out->whole = l->whole;
}

/* Add the lines that go on with the first; 0 where nobody can tell yet whether the next one does. */
static int take_rest(nv_join *join, const uint8_t *data, size_t at, size_t n, nv_ending ending, const line *first,
                     nv_record *out)
{
    const uint8_t *p = data + at;
    int traces = NV_JOIN_JAVA | NV_JOIN_PYTHON | NV_JOIN_GO; /* where a pattern cuts, they name exceptions still */
    int states = join->rules & NV_JOIN_STARTS ? join->rules | traces : join->rules;
    state s = opened(states, first);
    size_t next = out->step;
    uint32_t blank = 0;
    while (s != ALONE && out->lines + blank < NV_MAX_RECORD_LINES) {
        line l;
        if (!find_line(p, n, next, ending, &l))
            return n > NV_MAX_LINE || ending != NV_WAIT;
        next = l.next;
        if (nv_is_blank(l.p, l.n)) {
            if (!may_pause(join->rules, s))
                return 1;
            blank++;
            continue;
        }
        if (stands_alone(join->rules, &l))
            return 1;
        state before = s;
        kind k = kind_of(&l);
        int joined = goes_on(states, &s, k, &l, blank > 0);
        if (join->rules & NV_JOIN_STARTS ? is_start(join, at + (size_t)(l.p - p)) : !joined)
            return 1;
        note_name(out, before, s, k, p, &l);
        out->lines += 1 + blank;
        blank = 0;
        take(out, &l);
    }
    return 1;
}

int nv_next_record(nv_join *join, const uint8_t *data, size_t at, size_t n, nv_ending ending, nv_record *out)
{
    const uint8_t *p = data + at;
    line l;
    *out = (nv_record){.lines = 1};
    n -= at;
    if (!find_line(p, n, 0, ending, &l)) {
        out->split = n > NV_MAX_LINE;
        out->first = out->length = out->step = NV_MAX_LINE;
        return out->split;
    }
    take(out, &l);
    out->first = l.n;
    if (nv_is_blank(l.p, l.n))
        return 1;
    return take_rest(join, data, at, n, ending, &l, out);
}
