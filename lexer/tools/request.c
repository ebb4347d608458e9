#include "request.h"

#include "check.h"
#include "otlp.h"

#define RECEIVED (INT64_C(1780000000) * 1000000000)

static void put(nv_buffer *out, const void *p, size_t n)
{
    HOLDS(nv_append(out, p, n));
}

static void put_varint(nv_buffer *out, uint64_t v)
{
    for (; v > 127; v >>= 7)
        put(out, &(uint8_t){(uint8_t)(v | 128)}, 1);
    put(out, &(uint8_t){(uint8_t)v}, 1);
}

static void put_bytes(nv_buffer *out, unsigned number, const nv_buffer *content)
{
    put_varint(out, number << 3 | 2);
    put_varint(out, content->length);
    put(out, content->data, content->length);
}

static void put_number(nv_buffer *out, unsigned number, uint64_t v)
{
    put_varint(out, number << 3);
    put_varint(out, v);
}

static void put_fixed(nv_buffer *out, unsigned number, unsigned size, uint64_t v)
{
    put_varint(out, number << 3 | (size == 8 ? 1 : 5));
    put(out, &v, size);
}

static uint64_t some_number(generator *g)
{
    return random_bits(g) >> below(g, 64);
}

static void put_text(generator *g, nv_buffer *out, unsigned number)
{
    static const char *const names[] = {"", "a", "b.c", "message", "msg", "service.name", "host.name", "flags", "scope.name",
                                        "overflow_tags", "severity_text", "k8s.pod.name", "WARN", "\"\\\n\x01\xff"};
    nv_buffer text = {0};
    const char *name = names[below(g, sizeof names / sizeof *names)];
    if (!below(g, 40))
        make_line(g, &text);
    else
        put(&text, name, strlen(name));
    put_bytes(out, number, &text);
    nv_buffer_free(&text);
}

static void put_value(generator *g, nv_buffer *out, unsigned number, unsigned depth);

static void put_pair(generator *g, nv_buffer *out, unsigned number, unsigned depth)
{
    nv_buffer pair = {0};
    put_text(g, &pair, 1);
    if (below(g, 8))
        put_value(g, &pair, 2, depth);
    put_bytes(out, number, &pair);
    nv_buffer_free(&pair);
}

static void put_value(generator *g, nv_buffer *out, unsigned number, unsigned depth)
{
    nv_buffer value = {0}, inner = {0};
    size_t kind = below(g, depth > NV_OTLP_DEPTH + 1 ? 6 : 9);
    switch (kind) {
    case 0: break;
    case 1: put_number(&value, 2, below(g, 3)); break;
    case 2: put_number(&value, 3, some_number(g)); break;
    case 3: put_fixed(&value, 4, 8, random_bits(g)); break;
    case 4: put_text(g, &value, 7); break;
    case 5: put_text(g, &value, 1); break;
    default:
        for (size_t n = below(g, below(g, 300) ? 4 : 1200); n; n--) {
            if (kind == 6)
                put_value(g, &inner, 1, depth + 1 + (unsigned)below(g, 2) * (NV_OTLP_DEPTH / 4));
            else
                put_pair(g, &inner, 1, depth + 1);
        }
        put_bytes(&value, kind == 6 ? 5 : 6, &inner);
    }
    put_bytes(out, number, &value);
    nv_buffer_free(&value);
    nv_buffer_free(&inner);
}

static void put_record(generator *g, nv_buffer *out)
{
    nv_buffer record = {0}, chain = {0}, next = {0};
    if (below(g, 4))
        put_fixed(&record, 1, 8, below(g, 4) ? RECEIVED - below(g, 1000) : random_bits(g));
    put_number(&record, 2, below(g, 4) ? below(g, 26) : some_number(g));
    put_text(g, &record, 3);
    if (below(g, 6))
        put_value(g, &record, 5, 1);
    for (size_t n = below(g, below(g, 200) ? 6 : 1300); n; n--)
        put_pair(g, &record, 6, 1);
    if (!below(g, 30)) { /* arrays in arrays, about as deep as they may be */
        for (size_t n = NV_OTLP_DEPTH - 2 + below(g, 5); n; n--) {
            nv_buffer array = {0};
            put_bytes(&array, 1, &chain);
            next.length = 0;
            put_bytes(&next, 5, &array);
            chain.length = 0;
            put(&chain, next.data, next.length);
            nv_buffer_free(&array);
        }
        put_bytes(&record, 5, &chain);
    }
    if (!below(g, 3))
        put_number(&record, 7, some_number(g));
    if (!below(g, 2))
        put_fixed(&record, 8, 4, below(g, 2));
    put_text(g, &record, 9);
    put_text(g, &record, 10);
    put_fixed(&record, 11, 8, random_bits(g));
    put_text(g, &record, 12);
    put_bytes(out, 2, &record);
    nv_buffer_free(&record);
    nv_buffer_free(&chain);
    nv_buffer_free(&next);
}

static void put_scope_logs(generator *g, nv_buffer *out)
{
    nv_buffer logs = {0}, scope = {0};
    for (size_t n = below(g, 4); n; n--)
        put_record(g, &logs);
    if (below(g, 2)) {
        put_text(g, &scope, 1);
        put_text(g, &scope, 2);
        for (size_t n = below(g, 3); n; n--)
            put_pair(g, &scope, 3, 1);
        put_number(&scope, 4, below(g, 2));
        put_bytes(&logs, 1, &scope); /* behind the records, as it may be */
    }
    put_bytes(out, 2, &logs);
    nv_buffer_free(&logs);
    nv_buffer_free(&scope);
}

static void make_request(generator *g, nv_buffer *out)
{
    for (size_t n = below(g, 3) + 1; n; n--) {
        nv_buffer logs = {0}, resource = {0};
        for (size_t k = below(g, below(g, 100) ? 5 : 1100); k; k--)
            put_pair(g, &resource, 1, 1);
        put_number(&resource, 2, below(g, 3));
        put_bytes(&logs, 1, &resource);
        for (size_t k = below(g, 3); k; k--)
            put_scope_logs(g, &logs);
        put_text(g, &logs, 3);
        put_bytes(out, 1, &logs);
        nv_buffer_free(&logs);
        nv_buffer_free(&resource);
    }
}

static void change(generator *g, nv_buffer *data)
{
    for (size_t n = 1 + below(g, 3); n && data->length; n--) {
        size_t at = below(g, data->length);
        switch (below(g, 4)) {
        case 0: data->data[at] = (uint8_t)random_bits(g); break;
        case 1: data->data[at] ^= (uint8_t)(1 << below(g, 8)); break;
        case 2: data->length = at; break;
        default: /* some bytes are gone, and what is behind them comes nearer */
            memmove(data->data + at, data->data + at + (data->length - at) / 2, data->length - at - (data->length - at) / 2);
            data->length -= (data->length - at) / 2;
        }
    }
}

/* Take all of it into columns that are full after some rows; how many records. */
static uint64_t take(const nv_buffer *data, uint32_t max_rows, nv_otlp_state *state)
{
    uint8_t *exact = malloc(data->length + NV_PADDING);
    nv_columns *c = nv_columns_new(31, max_rows, 48 << 20);
    nv_otlp o;
    uint64_t taken = 0;
    if (!exact || !c)
        abort();
    if (data->length)
        memcpy(exact, data->data, data->length);
    memset(exact + data->length, 0, NV_PADDING);
    *state = nv_otlp_begin(&o, exact, data->length);
    while (*state == NV_OTLP_WHOLE && nv_otlp_left(&o)) {
        uint64_t some = nv_otlp_take(&o, c, RECEIVED);
        HOLDS(!c->failed && some && c->rows >= some);
        check_columns(c);
        nv_columns_reset(c);
        taken += some;
    }
    HOLDS(*state != NV_OTLP_WHOLE || taken == o.records - o.rejected);
    HOLDS(*state != NV_OTLP_DAMAGED || o.damaged_at <= data->length);
    nv_otlp_free(&o);
    nv_columns_free(c);
    free(exact);
    return taken;
}

void fuzz_otlp(generator *g)
{
    nv_buffer data = {0};
    nv_otlp_state state, again;
    make_request(g, &data);
    uint64_t records = take(&data, 1 + (uint32_t)below(g, 3), &state);
    HOLDS(state != NV_OTLP_DAMAGED && take(&data, 1000, &again) == records && again == state);
    change(g, &data);
    take(&data, 1 + (uint32_t)below(g, 3), &state);
    data.length = 0;
    make_line(g, &data);
    take(&data, 10, &state);
    nv_buffer_free(&data);
}
