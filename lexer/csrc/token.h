/* What a chunk of a line is: a variable of some kind, or words that belong to the template. */
#ifndef NEVE_TOKEN_H
#define NEVE_TOKEN_H
#include <stdint.h>

typedef enum {
    NV_WORD, /* the only kind that is no variable */
    NV_IDENT, NV_NUMBER, NV_HEX, NV_UUID, NV_IPV4, NV_IPV6, NV_MAC, NV_HOST, NV_EMAIL, NV_URL, NV_PATH,
    NV_VALUE, NV_TIME, NV_QUANTITY, NV_KINDS
} nv_kind;

extern const char *const NV_KIND_NAMES[NV_KINDS];

/*
 * The kind of the longest token that starts at p, where a chunk starts; *end is where it stops, at or past
 * chunk_end (a token may go on over colons, spaces before a unit, or a path's odd characters).
 * The bytes must be followed by a newline or NUL.
 */
nv_kind nv_token(const uint8_t *p, const uint8_t *chunk_end, const uint8_t **end);

/* What follows a number as its unit (" ms", " KiB", "%"): the bytes taken, 0 if none. */
int nv_unit(const uint8_t *p);

typedef enum {
    NV_LEVEL_NONE, NV_LEVEL_TRACE, NV_LEVEL_DEBUG, NV_LEVEL_INFO, NV_LEVEL_NOTICE, NV_LEVEL_WARN, NV_LEVEL_ERROR,
    NV_LEVEL_CRITICAL, NV_LEVEL_FATAL, NV_LEVELS
} nv_level;

#define NV_LEVEL_ROOM 48 /* a name, and what may be read past it */
extern const char NV_LEVEL_NAMES[NV_LEVELS][NV_LEVEL_ROOM];

/* The level that a whole word names, in any case ("WARNING", "err", "I"): NV_LEVEL_NONE if none does. */
nv_level nv_level_word(const uint8_t *p, const uint8_t *end);

#endif
