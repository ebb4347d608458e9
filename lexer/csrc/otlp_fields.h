/* Within the decoder of OpenTelemetry's logs: what its messages hold, and how they become fields of a row. */
#ifndef NEVE_OTLP_FIELDS_H
#define NEVE_OTLP_FIELDS_H
#include "otlp.h"
#include "wire.h"

/* ---- numbers of fields ---- */

enum { RESOURCE_LOGS = 1 };                                           /* of the request */
enum { ITS_RESOURCE = 1, SCOPE_LOGS = 2 };                            /* of ResourceLogs */
enum { ITS_SCOPE = 1, LOG_RECORDS = 2 };                              /* of ScopeLogs */
enum { RESOURCE_ATTRIBUTES = 1, RESOURCE_DROPPED = 2 };               /* of Resource */
enum { SCOPE_NAME = 1, SCOPE_VERSION, SCOPE_ATTRIBUTES, SCOPE_DROPPED };
enum {
    TIME = 1, SEVERITY, SEVERITY_TEXT, BODY = 5, ATTRIBUTES, DROPPED, FLAGS, TRACE, SPAN, OBSERVED, EVENT_NAME, FIELDS
};
enum { STRING = 1, BOOL, INTEGER, DOUBLE, ARRAY, MAP, BYTES, KINDS }; /* of AnyValue: which one it is */
enum { ELEMENTS = 1 };                                                /* of ArrayValue and KeyValueList */
enum { KEY = 1, ITS_VALUE = 2 };                                      /* of KeyValue */

/* ---- values ---- */

static const nv_string NV_NOTHING = {(const uint8_t[NV_SPARE]){0}, 0};

typedef struct {
    int kind; /* 0: none */
    uint64_t value;
    nv_string bytes;
} any;

static inline any read_any(nv_string m)
{
    nv_wire_field f = {0};
    any found = {0};
    while (nv_wire_next(&m, &f) > 0)
        if (f.number < KINDS)
            found = (any){(int)f.number, f.value, f.bytes};
    return found;
}

static inline void read_pair(nv_string m, nv_string *key, nv_string *value)
{
    nv_wire_field f;
    *key = *value = NV_NOTHING;
    while (nv_wire_next(&m, &f) > 0) {
        if (f.number == KEY)
            *key = f.bytes;
        else if (f.number == ITS_VALUE)
            *value = f.bytes;
    }
}

/* JSON of a KeyValue, as a member of an object; 0 where memory ran out. */
int nv_otlp_put_member(nv_buffer *out, nv_string pair);

/* ---- fields ---- */

/* What fields are taken into: those of a record, or of its resource and scope. */
typedef struct {
    nv_otlp *o;
    nv_columns *c;
    nv_otlp_piece **texts;
    uint32_t coming; /* fields that have a place already, though they are not there yet */
} taking;

/* Begin with no fields; the texts of those before are gone. */
void nv_otlp_begin_fields(taking *t);

/* The attributes that a message has under this number. Those that are too many, or whose names are too long, are put together. */
void nv_otlp_take_attributes(taking *t, nv_string m, uint32_t number);

/* Whether the members of a map may be fields of their own, under names that `prefix` more bytes come before. */
int nv_otlp_may_be_fields(const taking *t, nv_string map, size_t prefix);

/* The members of a map for which there is room, but for the one at `without`. Their names go behind the columns' path. */
void nv_otlp_take_members(taking *t, nv_string map, nv_string without);

/* A field that is not an attribute: where one has its name, that one holds. */
void nv_otlp_take_named(taking *t, const char *name, nv_string v);

/* The same for a number, if it is not 0. */
void nv_otlp_take_number(taking *t, const char *name, uint64_t v);

/* Copy the fields to `to`, with what was put together as the last one; how many. */
uint32_t nv_otlp_end_fields(taking *t, const char *overflow, nv_field *to);

/* A value's text: in place, or where it stays until the fields begin anew. */
nv_string nv_otlp_text(taking *t, any v);
nv_string nv_otlp_keep(taking *t, const uint8_t *p, size_t n);

/* ---- rows ---- */

#define TAGS_ROOM (NV_OTLP_MAX_TAGS + 16) /* with the fields that are no attributes */

/* What all records of the scope at hand have: its attributes, and those of its resource. */
void nv_otlp_take_shared(nv_otlp *o, nv_columns *c);

/* One LogRecord becomes a row, or several where it is too long. */
void nv_otlp_take_record(nv_otlp *o, nv_columns *c, nv_string m, int64_t received);

#endif
