/*
 * Feeds made-up lines to the lexer and checks what must hold; built with the sanitizers it finds what is undefined too.
 *
 *     fuzz LINES [SEED] [FILE...]
 *
 * Lines are made in rounds of 64, each from a seed of its own: a failure names the seed, and `fuzz 64 THAT_SEED` with
 * the same files runs the round alone. Files are lines to start from.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "check.h"
#include "generate.h"
#include "pushes.h"
#include "records.h"
#include "request.h"
#include "structured.h"
#include "timestamp.h"

#define ROUND 64
#define MANY_ROWS (1 << 17)
#define RECEIVED (INT64_C(1780000000) * NV_SECOND)
#define SURE_FIELDS 500 /* a shorter line can't have too many fields, or keys that are too long */

static uint64_t round_seed;
static nv_string at_hand; /* the line, while one is looked at alone */

static void say_seed(int signal)
{
    (void)signal;
    fprintf(stderr, "\nfailed; run it again: fuzz %d %llu\n%zu bytes: ", ROUND, (unsigned long long)round_seed, at_hand.n);
    for (size_t i = 0; i < at_hand.n && i < 5000; i++)
        fprintf(stderr, at_hand.p[i] >= ' ' && at_hand.p[i] < 127 ? "%c" : "\\x%02x", at_hand.p[i]);
    fprintf(stderr, "\n");
    _exit(1);
}

/* What the sanitizers find ends in SIGABRT, so that the seed is said. */
const char *__asan_default_options(void) { return "abort_on_error=1:handle_abort=0"; }
const char *__ubsan_default_options(void) { return "abort_on_error=1:handle_abort=0:print_stacktrace=1"; }

_Noreturn void broken(const char *what)
{
    fprintf(stderr, "does not hold: %s", what);
    say_seed(0);
    _exit(1);
}

/* Bytes in a block of memory of exactly their size, so that a read past them is seen. */
static uint8_t *exact(const uint8_t *p, size_t n, size_t padding)
{
    uint8_t *copy = malloc(n + padding ? n + padding : 1);
    if (!copy)
        abort();
    if (n)
        memcpy(copy, p, n);
    return copy;
}

/* The bytes of a line, then one of those that may end it, then what happens to lie behind it. */
static uint8_t *in_place(generator *g, const uint8_t *p, size_t n, size_t before)
{
    uint8_t *copy = exact(p, 0, before + n + NV_PADDING);
    for (size_t i = 0; i < NV_PADDING; i++)
        copy[before + n + i] = (uint8_t)random_bits(g);
    memcpy(copy + before, p, n);
    copy[before + n] = (uint8_t)"\n\r\0"[below(g, 3)];
    if (copy[before + n] == '\r')
        copy[before + n + 1] = '\n';
    return copy;
}

/* ---- one line ---- */

static void lex_line(generator *g, const uint8_t *p, size_t n)
{
    static nv_line first, other;
    static const nv_simd ways[] = {NV_SIMD_SCALAR, NV_SIMD_BASELINE, NV_SIMD_AVX2, NV_SIMD_AVX512};
    uint8_t *line = in_place(g, p, n, 0);
    nv_classify_choose(NV_SIMD_AUTO);
    nv_lex(line, n, RECEIVED, NV_WANT_ALL, &first);
    check_line(&first, p, n);
    free(line);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        size_t before = below(g, 70);
        line = in_place(g, p, n, before);
        nv_classify_choose(ways[i]);
        nv_lex(line + before, n, RECEIVED, NV_WANT_ALL, &other);
        check_same(&first, &other);
        free(line);
    }
    nv_classify_choose(NV_SIMD_AUTO);
    if (n <= NV_LOOK)
        return;
    line = in_place(g, p, NV_LOOK, 0); /* what lies past the look does not matter */
    nv_lex(line, NV_LOOK, RECEIVED, NV_WANT_ALL, &other);
    check_same(&first, &other);
    free(line);
}

/* A line that is followed by a newline or NUL, then by anything, in all by as many bytes as it must be. */
static uint8_t *ended(generator *g, const uint8_t *p, size_t n)
{
    uint8_t *line = exact(p, n, NV_PADDING);
    for (size_t i = 1; i < NV_PADDING; i++)
        line[n + i] = (uint8_t)random_bits(g);
    line[n] = below(g, 2) ? '\n' : 0;
    line[n + NV_PADDING - 1] = 0; /* a newline may be followed by space, and that by a last byte that is none */
    return line;
}

static void check_fields(const nv_columns *c)
{
    HOLDS(c->field_count <= NV_MAX_FIELDS);
    volatile uint8_t sum = 0; /* reads every byte: a value that dangles is seen */
    for (uint32_t i = 0; i < c->field_count; i++) {
        HOLDS(c->fields[i].key);
        for (size_t k = 0; k < c->fields[i].value.n; k++)
            sum = (uint8_t)(sum + c->fields[i].value.p[k]);
        for (uint32_t k = 0; k < i && k < 64; k++)
            HOLDS(c->fields[k].key != c->fields[i].key);
    }
}

static void take_apart(generator *g, nv_columns *c, const uint8_t *p, size_t n)
{
    uint8_t *line = ended(g, p, n);
    int valid = plain_json_valid(p, n);
    HOLDS(nv_json_valid(c, line, n) == valid);
    c->line++;
    c->field_count = 0;
    int object = nv_json_object(c, line, n);
    HOLDS(!object || valid);
    HOLDS(object || !valid || p[strspn((const char *)line, " \t\r\n")] != '{' || n > SURE_FIELDS);
    HOLDS(object || !c->field_count);
    check_fields(c);
    c->line++;
    c->field_count = 0;
    int pairs = nv_logfmt(c, line, n);
    HOLDS(pairs ? c->field_count : !c->field_count);
    check_fields(c);
    c->field_count = 0;
    free(line);
}

static void read_times(generator *g, const uint8_t *p, size_t n)
{
    size_t at = below(g, n + 1);
    int64_t ns, again;
    uint8_t *text = exact(p + at, n - at, 1);
    text[n - at] = below(g, 2) ? '\n' : 0;
    int taken = nv_timestamp(text, RECEIVED, &ns);
    HOLDS(taken >= 0 && (size_t)taken <= n - at);
    if (taken) {
        uint8_t *alone = exact(text, (size_t)taken, 1);
        alone[taken] = 0;
        HOLDS(nv_timestamp(alone, RECEIVED, &again) != taken || again == ns);
        free(alone);
    }
    taken = nv_unix_time(text, text + (n - at), &ns);
    HOLDS(taken >= 0 && (size_t)taken <= n - at);
    free(text);
}

/* Everything, and two names. */
static const nv_policy *everything(void)
{
    static nv_policy policy;
    if (!policy.classes) {
        nv_policy_init(&policy, ~0u);
        HOLDS(nv_policy_add_key(&policy, (const uint8_t *)"Pass-word", 9));
        HOLDS(nv_policy_add_key(&policy, (const uint8_t *)"a", 1));
    }
    return &policy;
}

/* Nothing outside is read, or written; places in the text stay in order; a piece is never longer than it may be. */
static void redact_line(generator *g, const uint8_t *p, size_t n)
{
    nv_redactor r = {.policy = everything()};
    nv_carry carry = {0};
    for (int i = 0; i < 3; i++) {
        size_t length = n, a = below(g, n + 1), b = a + below(g, n - a + 1), *marks[] = {&a, &b};
        uint8_t *text = exact(p, n, 0);
        int split = (int)below(g, 2);
        const uint8_t *out = below(g, 2) ? nv_redact(&r, text, &length, i ? &carry : NULL, i && split, marks, 2)
                                         : nv_plain_escapes(&r, text, &length, marks, 2);
        HOLDS(!r.failed && a <= b && b <= length && length <= n * (NV_MASK_ROOM + 3));
        volatile uint8_t sum = 0;
        for (size_t k = 0; k < length; k++)
            sum = (uint8_t)(sum + out[k]);
        free(text);
    }
    nv_redactor_free(&r);
}

/* ---- many lines ---- */

/* Rows and blank lines that the bytes taken hold. */
static void count_lines(const uint8_t *p, size_t n, uint64_t *rows, uint64_t *blank)
{
    const uint8_t *end = p + n;
    *rows = *blank = 0;
    while (p < end) {
        const uint8_t *newline = memchr(p, '\n', (size_t)(end - p));
        size_t length = (size_t)((newline ? newline : end) - p);
        for (; length > NV_MAX_LINE; length -= NV_MAX_LINE, p += NV_MAX_LINE)
            ++*rows; /* a piece of it */
        if (length == 0 || (length == 1 && *p == '\r'))
            ++*blank;
        else
            ++*rows;
        p += length + 1;
    }
}

/* Feed all of it in pieces that end anywhere; a digest of the columns. */
static uint64_t feed(generator *g, nv_columns *c, const nv_buffer *data, const nv_source *source, size_t pieces)
{
    size_t at = 0;
    nv_source one = *source;
    while (pieces--) {
        size_t n = pieces ? below(g, data->length - at + 1) : data->length - at;
        uint8_t *piece = exact(data->data + at, n, 0);
        one.ending = pieces ? NV_WAIT : source->ending;
        size_t taken = nv_take(c, piece, n, &one);
        HOLDS(!c->failed && taken <= n);
        HOLDS(nv_full(c) || taken == n || (one.ending != NV_TAKE_ALL && !memchr(piece + taken, '\n', n - taken)));
        free(piece);
        at += taken;
    }
    uint64_t rows, blank;
    count_lines(data->data, at, &rows, &blank);
    HOLDS(c->rows == rows && c->counts[NV_COUNT_EMPTY] == blank);
    HOLDS(c->raw_bytes == at);
    HOLDS(c->counts[NV_COUNT_MALFORMED_JSON] <= rows && c->counts[NV_COUNT_IMPLAUSIBLE] + c->counts[NV_COUNT_NO_TIME] <= rows);
    check_columns(c);
    return columns_digest(c);
}

static void take_all(generator *g, const nv_buffer *data)
{
    nv_columns *c = nv_columns_new(1 + (uint32_t)below(g, 31), below(g, 8) ? MANY_ROWS : 1 + (uint32_t)below(g, ROUND), 48 << 20);
    if (!c)
        abort();
    if (below(g, 2))
        c->redactor.policy = everything();
    static const char *const names[] = {"env", "a", "level", "k8s.pod"};
    static const uint8_t service[3 + NV_SPARE] = "api", host[2 + NV_SPARE] = "h1", value[5 + NV_SPARE] = "value";
    nv_field tags[4];
    nv_source source = {.service = {service, below(g, 4)}, .host = {host, 2}, .tags = tags,
                        .tag_count = (uint32_t)below(g, 5), .received = RECEIVED, .format = (nv_format)below(g, 5),
                        .time = below(g, 2) ? NV_NO_TIME : RECEIVED, .level = (nv_level)below(g, NV_LEVELS),
                        .ending = below(g, 2) ? NV_TAKE_ALL : NV_WAIT};
    uint64_t digests[2];
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < 4; k++)
            tags[k] = (nv_field){nv_key_of(c, (const uint8_t *)names[k], strlen(names[k])), {value, k}};
        nv_carry carry = {0};
        source.carry = &carry;
        digests[i] = feed(g, c, data, &source, i ? 1 + below(g, 5) : 1);
        nv_columns_reset(c);
    }
    uint8_t *one = exact(data->data, data->length, NV_PADDING);
    memset(one + data->length, 0, NV_PADDING);
    if (below(g, 2))
        source.trace = source.span = (nv_string){value, 5};
    nv_carry carry = {0};
    source.carry = &carry;
    nv_take_one(c, one, data->length, &source);
    HOLDS(!c->failed && c->rows == 1 + (data->length ? (data->length - 1) / NV_MAX_LINE : 0));
    check_columns(c);
    free(one);
    if (c->max_rows == MANY_ROWS) /* else it may have been full, and then the pieces matter */
        HOLDS(digests[0] == digests[1]);
    nv_columns_free(c);
}

/* ---- what container runtimes wrapped ---- */

static void wrap(generator *g, nv_buffer *out, const uint8_t *p, size_t n)
{
    static const char *const times[] = {"2026-11-29T10:00:00.000000001Z", "2026-11-29T10:00:00+01:00", "1764410400", "no"};
    static const char *const streams[] = {" stdout ", " stderr ", " stdin ", " "};
    static const char *const marks[] = {"F", "P", "P:x", "F:y:z", "X", ""};
    const char *parts[] = {times[below(g, 8) ? below(g, 2) : below(g, 4)], streams[below(g, 8) ? below(g, 2) : below(g, 4)],
                           marks[below(g, 8) ? below(g, 4) : below(g, 6)], below(g, 16) ? " " : ""};
    for (size_t i = 0; i < 4; i++)
        if (!nv_append(out, parts[i], strlen(parts[i])))
            abort();
    if (!nv_append(out, p, n) || !nv_append(out, "\n", 1))
        abort();
}

/* The same columns, whatever the pieces that the bytes come in. */
static void fuzz_container(generator *g, const nv_buffer *data)
{
    nv_columns *c = nv_columns_new(31, MANY_ROWS, 48 << 20);
    nv_buffer wrapped = {0};
    for (size_t at = 0, length; at < data->length; at += length + 1) {
        const uint8_t *newline = memchr(data->data + at, '\n', data->length - at);
        length = (newline ? (size_t)(newline - data->data) : data->length) - at;
        wrap(g, &wrapped, data->data + at, length);
    }
    static const uint8_t service[3 + NV_SPARE] = "api";
    nv_source source = {.service = {service, 3}, .host = {service, 0}, .received = RECEIVED,
                        .format = (nv_format)below(g, 5), .time = NV_NO_TIME};
    uint64_t digests[2];
    for (int i = 0; c && i < 2; i++) {
        nv_carry carry = {0};
        source.carry = &carry;
        size_t at = 0, pieces = i ? 1 + below(g, 5) : 1;
        while (pieces--) {
            size_t n = pieces ? below(g, wrapped.length - at + 1) : wrapped.length - at;
            uint8_t *piece = exact(wrapped.data + at, n, 0);
            nv_unwrapped u = {0};
            source.ending = pieces ? NV_WAIT : NV_TAKE_ALL;
            nv_unwrap(&u, piece, n, RECEIVED, !pieces);
            size_t taken = nv_take_unwrapped(c, &u, &source);
            HOLDS(!u.failed && !c->failed && taken <= n && (pieces || taken == n));
            nv_unwrapped_free(&u);
            free(piece);
            at += taken;
        }
        HOLDS(c->raw_bytes == at);
        check_columns(c);
        digests[i] = columns_digest(c);
        nv_columns_reset(c);
    }
    HOLDS(c && digests[0] == digests[1]);
    nv_columns_free(c);
    nv_buffer_free(&wrapped);
}

/* ---- rounds ---- */

/* So many keys, services and shapes that every table grows; or a line longer than a line may be. */
static void run_large_round(generator *g)
{
    nv_buffer data = {0};
    if (below(g, 4))
        make_many(g, &data);
    else
        make_too_long(g, &data);
    take_all(g, &data);
    nv_buffer_free(&data);
}

static void run_round(generator *g)
{
    if (!below(g, 256))
        run_large_round(g);
    nv_buffer data = {0};
    nv_columns *c = nv_columns_new(31, MANY_ROWS, 48 << 20);
    if (!c)
        abort();
    for (int i = 0; i < ROUND; i++) {
        size_t start = data.length;
        make_line(g, &data);
        if (!nv_reserve(&data, 1))
            abort();
        const uint8_t *p = data.data + start;
        size_t n = data.length - start;
        at_hand = (nv_string){p, n};
        lex_line(g, p, n);
        take_apart(g, c, p, n);
        read_times(g, p, n);
        redact_line(g, p, n);
        at_hand.n = 0;
        if (i + 1 < ROUND || below(g, 2))
            data.data[data.length++] = '\n';
    }
    nv_columns_free(c);
    take_all(g, &data);
    fuzz_container(g, &data);
    fuzz_pushes(g, &data);
    nv_buffer_free(&data);
    fuzz_otlp(g);
}

/* The lines of the files, for good. */
static size_t read_corpus(char **paths, int count, nv_string **lines)
{
    size_t found = 0, room = 0;
    for (int i = 0; i < count; i++) {
        FILE *file = fopen(paths[i], "rb");
        char *line = NULL;
        size_t size = 0;
        ssize_t n;
        if (!file) {
            fprintf(stderr, "cannot read %s; give files of lines\n", paths[i]);
            exit(2);
        }
        while ((n = getline(&line, &size, file)) > 0) {
            if (found == room)
                *lines = realloc(*lines, (room = room ? room * 2 : 1024) * sizeof **lines);
            n -= line[n - 1] == '\n';
            (*lines)[found++] = (nv_string){exact((uint8_t *)line, (size_t)n, 0), (size_t)n};
        }
        free(line);
        fclose(file);
    }
    return found;
}

int main(int count, char **arguments)
{
    if (count < 2) {
        fprintf(stderr, "usage: fuzz LINES [SEED] [FILE...]\n");
        return 2;
    }
    uint64_t lines = strtoull(arguments[1], NULL, 10), seed = count > 2 ? strtoull(arguments[2], NULL, 10) : 1;
    nv_string *corpus = NULL;
    size_t corpus_lines = count > 3 ? read_corpus(arguments + 3, count - 3, &corpus) : 0;
    signal(SIGABRT, say_seed);
    for (uint64_t done = 0; done < lines; done += ROUND, seed++) {
        round_seed = seed;
        generator g = {seed * UINT64_C(0xd1342543de82ef95), corpus, corpus_lines};
        run_round(&g);
    }
    printf("%llu lines, no finding\n", (unsigned long long)((lines + ROUND - 1) / ROUND * ROUND));
    for (size_t i = 0; i < corpus_lines; i++)
        free((void *)corpus[i].p);
    free(corpus);
    return 0;
}
