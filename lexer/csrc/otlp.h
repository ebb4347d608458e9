/* OpenTelemetry's logs: the bytes of an ExportLogsServiceRequest become rows without an object for each of them. */
#ifndef NEVE_OTLP_H
#define NEVE_OTLP_H
#include "records.h"

#define NV_OTLP_DEPTH 32               /* values within values; a record with deeper ones is rejected */
#define NV_OTLP_MAX_RECORD (8u << 20)  /* bytes; larger ones are rejected */
#define NV_OTLP_MAX_TAGS 1024          /* of a record, and of its resource and scope; more are kept as JSON in one tag */
#define NV_OTLP_ROW_BYTES 512          /* that a row is reckoned at beside its bytes: an empty record takes two */
#define NV_OTLP_MAX_ROWS_BYTES (UINT64_C(512) << 20) /* of all records, each with its resource and scope */

typedef enum { NV_OTLP_WHOLE, NV_OTLP_DAMAGED, NV_OTLP_TOO_DEEP, NV_OTLP_TOO_LARGE, NV_OTLP_NO_MEMORY } nv_otlp_state;

/* Texts that were made of values, where they do not move until all are let go. */
typedef struct nv_otlp_piece {
    struct nv_otlp_piece *next;
    size_t used, room;
    uint8_t data[];
} nv_otlp_piece;

typedef struct {
    const uint8_t *start;
    nv_string request, resource_logs, scope_logs; /* what is left of them */
    nv_string resource, scope;                    /* of the records at hand */
    uint64_t records, rejected;                   /* in all */
    uint64_t deep;                                /* of the rejected: those with too deep a value */
    size_t damaged_at;
    nv_buffer refused;                            /* uint64: which records are rejected, ascending */
    uint64_t number, next_refused;                /* of the next record, and in `refused` */
    int shared;                                   /* whether what follows is that of the scope at hand */
    nv_field *tags, *shared_tags;                 /* a record's; those of resource and scope */
    uint32_t shared_count;
    size_t shared_bytes;
    nv_string service, host;
    nv_otlp_piece *shared_texts, *texts;
    nv_buffer json, overflow;
} nv_otlp;

/*
 * Check n bytes, which NV_PADDING readable ones must follow, and begin with them. What is not NV_OTLP_WHOLE cannot be
 * taken: damaged (wrong wire types and groups too; fields that are not known are passed over), a resource or scope
 * nested too deep, or rows out of all proportion to the bytes. In any case it must be freed.
 */
nv_otlp_state nv_otlp_begin(nv_otlp *o, const uint8_t *data, size_t n);

/* Take records until there are no more, or the columns are full; how many. Rejected ones are passed over. */
uint64_t nv_otlp_take(nv_otlp *o, nv_columns *c, int64_t received);

/* Records that were not taken yet, rejected ones not counted. */
static inline uint64_t nv_otlp_left(const nv_otlp *o)
{
    return o->records - o->rejected - (o->number - o->next_refused);
}

void nv_otlp_free(nv_otlp *o);

#endif
