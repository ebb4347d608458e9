#include "otlp_fields.h"

/* ---- checking ---- */

typedef enum { NO_MESSAGE, RESOURCE, SCOPE, RECORD, VALUE, VALUES, PAIRS, PAIR, MESSAGES } message;

typedef struct {
    uint8_t known, wire, inner;
} rule;

#define NUMBER {1, NV_WIRE_VARINT, NO_MESSAGE}
#define SHORT {1, NV_WIRE_FIXED32, NO_MESSAGE}
#define LONG {1, NV_WIRE_FIXED64, NO_MESSAGE}
#define TEXT {1, NV_WIRE_BYTES, NO_MESSAGE}
#define MESSAGE(what) {1, NV_WIRE_BYTES, what}

static const rule rules[MESSAGES][FIELDS] = {
    [RESOURCE] = {[RESOURCE_ATTRIBUTES] = MESSAGE(PAIR), [RESOURCE_DROPPED] = NUMBER},
    [SCOPE] = {[SCOPE_NAME] = TEXT, [SCOPE_VERSION] = TEXT, [SCOPE_ATTRIBUTES] = MESSAGE(PAIR), [SCOPE_DROPPED] = NUMBER},
    [RECORD] = {[TIME] = LONG, [SEVERITY] = NUMBER, [SEVERITY_TEXT] = TEXT, [BODY] = MESSAGE(VALUE),
                [ATTRIBUTES] = MESSAGE(PAIR), [DROPPED] = NUMBER, [FLAGS] = SHORT, [TRACE] = TEXT, [SPAN] = TEXT,
                [OBSERVED] = LONG, [EVENT_NAME] = TEXT},
    [VALUE] = {[STRING] = TEXT, [BOOL] = NUMBER, [INTEGER] = NUMBER, [DOUBLE] = LONG, [ARRAY] = MESSAGE(VALUES),
               [MAP] = MESSAGE(PAIRS), [BYTES] = TEXT},
    [VALUES] = {[ELEMENTS] = MESSAGE(VALUE)},
    [PAIRS] = {[ELEMENTS] = MESSAGE(PAIR)},
    [PAIR] = {[KEY] = TEXT, [ITS_VALUE] = MESSAGE(VALUE)},
};

static nv_otlp_state damaged(nv_otlp *o, nv_string at)
{
    o->damaged_at = (size_t)(at.p - o->start);
    return NV_OTLP_DAMAGED;
}

/* A message and all that is in it; `depth` is how many values it is in. */
static nv_otlp_state check(nv_otlp *o, message what, nv_string m, unsigned depth)
{
    nv_wire_field f;
    int more;
    while ((more = nv_wire_next(&m, &f)) > 0) {
        const rule *r = &rules[what][f.number < FIELDS ? f.number : 0];
        if (!r->known)
            continue;
        if (r->wire != f.wire)
            return damaged(o, m);
        if (!r->inner)
            continue;
        unsigned deeper = depth + (r->inner == VALUE);
        if (deeper > NV_OTLP_DEPTH)
            return NV_OTLP_TOO_DEEP;
        nv_otlp_state state = check(o, r->inner, f.bytes, deeper);
        if (state)
            return state;
    }
    return more ? damaged(o, m) : NV_OTLP_WHOLE;
}

/* Find the message `number`, of several the last one; how it is, `what` it is. */
static nv_otlp_state find(nv_otlp *o, nv_string m, uint32_t number, message what, nv_string *found)
{
    nv_wire_field f;
    int more;
    *found = NV_NOTHING;
    while ((more = nv_wire_next(&m, &f)) > 0) {
        if (f.number != number)
            continue;
        if (f.wire != NV_WIRE_BYTES)
            return damaged(o, m);
        nv_otlp_state state = check(o, what, f.bytes, 0);
        if (state)
            return state;
        *found = f.bytes;
    }
    return more ? damaged(o, m) : NV_OTLP_WHOLE;
}

/* `rows` counts the bytes that the records come to, each with `around` bytes of resource and scope. */
static nv_otlp_state check_records(nv_otlp *o, nv_string scope_logs, size_t around, uint64_t *rows)
{
    nv_wire_field f;
    nv_string scope;
    nv_otlp_state state = find(o, scope_logs, ITS_SCOPE, SCOPE, &scope);
    if (state)
        return state;
    while (nv_wire_next(&scope_logs, &f) > 0) { /* whole, as was just found */
        if (f.number != LOG_RECORDS)
            continue;
        if (f.wire != NV_WIRE_BYTES)
            return damaged(o, scope_logs);
        state = check(o, RECORD, f.bytes, 0);
        o->deep += state == NV_OTLP_TOO_DEEP;
        if (state == NV_OTLP_TOO_DEEP || (!state && f.bytes.n > NV_OTLP_MAX_RECORD)) {
            state = nv_append_u64(&o->refused, o->records) ? NV_OTLP_WHOLE : NV_OTLP_NO_MEMORY;
            o->rejected++;
        }
        if (state)
            return state;
        o->records++;
        *rows += NV_OTLP_ROW_BYTES + f.bytes.n + scope.n + around;
        if (*rows > NV_OTLP_MAX_ROWS_BYTES)
            return NV_OTLP_TOO_LARGE;
    }
    return NV_OTLP_WHOLE;
}

static nv_otlp_state check_resource_logs(nv_otlp *o, nv_string resource_logs, uint64_t *rows)
{
    nv_wire_field f;
    nv_string resource;
    nv_otlp_state state = find(o, resource_logs, ITS_RESOURCE, RESOURCE, &resource);
    while (!state && nv_wire_next(&resource_logs, &f) > 0)
        if (f.number == SCOPE_LOGS)
            state = f.wire == NV_WIRE_BYTES ? check_records(o, f.bytes, resource.n, rows) : damaged(o, resource_logs);
    return state;
}

nv_otlp_state nv_otlp_begin(nv_otlp *o, const uint8_t *data, size_t n)
{
    nv_wire_field f;
    int more = 0;
    uint64_t rows = 0;
    nv_string request = {data, n};
    nv_otlp_state state = NV_OTLP_WHOLE;
    *o = (nv_otlp){.start = data, .request = request, .service = NV_NOTHING, .host = NV_NOTHING};
    while (!state && (more = nv_wire_next(&request, &f)) > 0)
        if (f.number == RESOURCE_LOGS)
            state = f.wire == NV_WIRE_BYTES ? check_resource_logs(o, f.bytes, &rows) : damaged(o, request);
    if (!state && more)
        state = damaged(o, request);
    return state;
}

/* ---- one record after the other ---- */

/* The next record; 0 where there is none. */
static int next_record(nv_otlp *o, nv_string *found)
{
    nv_wire_field f;
    for (;;) {
        while (nv_wire_next(&o->scope_logs, &f) > 0)
            if (f.number == LOG_RECORDS) {
                *found = f.bytes;
                return 1;
            }
        o->shared = 0;
        int more;
        while ((more = nv_wire_next(&o->resource_logs, &f)) > 0 && f.number != SCOPE_LOGS)
            ;
        if (more > 0) {
            o->scope_logs = f.bytes;
            find(o, f.bytes, ITS_SCOPE, SCOPE, &o->scope);
            continue;
        }
        while ((more = nv_wire_next(&o->request, &f)) > 0 && f.number != RESOURCE_LOGS)
            ;
        if (more <= 0)
            return 0;
        o->resource_logs = f.bytes;
        find(o, f.bytes, ITS_RESOURCE, RESOURCE, &o->resource);
    }
}

uint64_t nv_otlp_take(nv_otlp *o, nv_columns *c, int64_t received)
{
    const uint64_t *refused = (const uint64_t *)o->refused.data, *end = refused + o->refused.length / sizeof *refused;
    uint64_t taken = 0;
    nv_string m;
    if (!o->tags && !(o->tags = malloc(sizeof *o->tags * 3 * TAGS_ROOM))) {
        c->failed = 1;
        return 0;
    }
    o->shared_tags = o->tags + 2 * TAGS_ROOM;
    o->shared = 0; /* the columns may have forgotten their keys since */
    while (!c->failed && nv_otlp_left(o) && !nv_full(c) && next_record(o, &m)) {
        uint64_t number = o->number++;
        if (refused + o->next_refused < end && refused[o->next_refused] == number) {
            o->next_refused++;
            continue;
        }
        if (!o->shared)
            nv_otlp_take_shared(o, c);
        if (!c->failed)
            nv_otlp_take_record(o, c, m, received);
        taken++;
    }
    return taken;
}

static void texts_free(nv_otlp_piece *texts)
{
    for (nv_otlp_piece *next; texts; texts = next) {
        next = texts->next;
        free(texts);
    }
}

void nv_otlp_free(nv_otlp *o)
{
    texts_free(o->texts);
    texts_free(o->shared_texts);
    free(o->tags);
    nv_buffer_free(&o->refused);
    nv_buffer_free(&o->json);
    nv_buffer_free(&o->overflow);
    *o = (nv_otlp){0};
}
