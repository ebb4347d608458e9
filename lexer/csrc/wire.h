/* Protocol Buffers on the wire: the fields of a message, one after the other, each within its bounds. */
#ifndef NEVE_WIRE_H
#define NEVE_WIRE_H
#include "columns.h"
#include "hash.h"

typedef enum { NV_WIRE_VARINT, NV_WIRE_FIXED64, NV_WIRE_BYTES, NV_WIRE_FIXED32 = 5 } nv_wire;

typedef struct {
    uint32_t number;
    nv_wire wire;
    uint64_t value;  /* of the kinds that are numbers */
    nv_string bytes; /* of the other one */
} nv_wire_field;

/* What follows a varint; NULL where it does not end, or is larger than 64 bits. */
static inline const uint8_t *nv_wire_varint(const uint8_t *p, const uint8_t *end, uint64_t *value)
{
    uint64_t v = 0;
    for (unsigned shift = 0; p < end && shift < 70; shift += 7) {
        uint8_t byte = *p++;
        if (shift == 63 && byte > 1)
            return NULL;
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *value = v;
            return p;
        }
    }
    return NULL;
}

/* Take the next field off a message: 1, 0 where there is none, -1 where it cannot be read, or is a group. */
static inline int nv_wire_next(nv_string *message, nv_wire_field *f)
{
    const uint8_t *p = message->p, *end = p + message->n;
    uint64_t tag;
    if (p == end)
        return 0;
    if (!(p = nv_wire_varint(p, end, &tag)) || tag > UINT32_MAX || tag < 8)
        return -1;
    f->number = (uint32_t)tag >> 3;
    f->wire = (nv_wire)(tag & 7);
    switch (f->wire) {
    case NV_WIRE_VARINT:
        if (!(p = nv_wire_varint(p, end, &f->value)))
            return -1;
        break;
    case NV_WIRE_FIXED64:
        if (end - p < 8)
            return -1;
        f->value = nv_load64(p);
        p += 8;
        break;
    case NV_WIRE_FIXED32:
        if (end - p < 4)
            return -1;
        f->value = nv_load32(p);
        p += 4;
        break;
    case NV_WIRE_BYTES:
        if (!(p = nv_wire_varint(p, end, &f->value)) || f->value > (size_t)(end - p))
            return -1;
        f->bytes = (nv_string){p, (size_t)f->value};
        p += f->value;
        break;
    default:
        return -1;
    }
    *message = (nv_string){p, (size_t)(end - p)};
    return 1;
}

#endif
