/*
 * Runs the lexer over files, for whoever counts its instructions.
 *
 *     measure WAY MODE FILE...
 *
 * WAY is scalar, baseline or avx2. MODE is auto, text, json or logfmt (lines into columns), lex (lines lexed, nothing
 * kept) or valid (each file one JSON text). Prints the number of lines, and of rows or texts that are valid.
 */
#include <stdio.h>

#include "records.h"
#include "structured.h"

#define RECEIVED (INT64_C(1780000000) * 1000000000)

typedef struct {
    uint64_t lines, found;
} totals;

static int find(const char *name, const char *const names[], int count)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(name, names[i]))
            return i;
    fprintf(stderr, "cannot run %s; choose one of:", name);
    for (int i = 0; i < count; i++)
        fprintf(stderr, " %s", names[i]);
    fprintf(stderr, "\n");
    exit(2);
}

/* A file's bytes, followed by NULs. */
static nv_buffer read_file(const char *path)
{
    nv_buffer data = {0};
    FILE *file = fopen(path, "rb");
    size_t n;
    if (!file) {
        fprintf(stderr, "cannot read %s; give files\n", path);
        exit(2);
    }
    do {
        if (!nv_reserve(&data, 1 << 16))
            abort();
        n = fread(data.data + data.length, 1, 1 << 16, file);
        data.length += n;
    } while (n);
    fclose(file);
    if (!nv_reserve(&data, NV_PADDING))
        abort();
    memset(data.data + data.length, 0, NV_PADDING);
    return data;
}

static void take(nv_columns *c, const nv_buffer *data, nv_format format, totals *t)
{
    static const uint8_t service[1 + NV_SPARE] = "s", host[1 + NV_SPARE] = "h";
    nv_source source = {.service = {service, 1}, .host = {host, 1}, .received = RECEIVED, .time = NV_NO_TIME,
                        .format = format, .ending = NV_TAKE_ALL};
    for (size_t at = 0; at < data->length;) {
        at += nv_take(c, data->data + at, data->length - at, &source);
        if (c->failed)
            abort();
        t->lines += c->rows + c->counts[NV_COUNT_EMPTY];
        t->found += c->rows;
        nv_columns_reset(c);
    }
}

static void lex(const nv_buffer *data, totals *t)
{
    static nv_line line;
    const uint8_t *p = data->data, *end = p + data->length, *newline;
    for (; p < end && (newline = memchr(p, '\n', (size_t)(end - p))); p = newline + 1) {
        nv_lex(p, (size_t)(newline - p), RECEIVED, NV_WANT_ROW, &line);
        t->lines++;
        t->found += line.template_length;
    }
}

/* Whoever counts can tell the files apart by this call. */
__attribute__((noinline)) void one_file(const nv_buffer *data, int mode, totals *t);

void one_file(const nv_buffer *data, int mode, totals *t)
{
    if (mode == 4) {
        lex(data, t);
        return;
    }
    nv_columns *c = nv_columns_new(31, 1 << 17, 48 << 20);
    if (!c)
        abort();
    if (mode <= NV_LOGFMT)
        take(c, data, (nv_format)mode, t);
    else
        *t = (totals){t->lines + 1, t->found + (uint64_t)nv_json_valid(c, data->data, data->length)};
    nv_columns_free(c);
}

int main(int count, char **arguments)
{
    static const char *const ways[] = {"auto", "scalar", "baseline", "avx2", "avx512"};
    static const char *const modes[] = {"auto", "text", "json", "logfmt", "lex", "valid"};
    if (count < 4) {
        fprintf(stderr, "usage: measure WAY MODE FILE...\n");
        return 2;
    }
    nv_classify_choose((nv_simd)find(arguments[1], ways, 5));
    int mode = find(arguments[2], modes, 6);
    totals t = {0};
    for (int i = 3; i < count; i++) {
        nv_buffer data = read_file(arguments[i]);
        one_file(&data, mode, &t);
        nv_buffer_free(&data);
    }
    printf("%llu %llu\n", (unsigned long long)t.lines, (unsigned long long)t.found);
    return 0;
}
