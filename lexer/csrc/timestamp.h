/* Timestamps as logs write them. */
#ifndef NEVE_TIMESTAMP_H
#define NEVE_TIMESTAMP_H
#include <stdint.h>

#define NV_SECOND INT64_C(1000000000)
#define NV_DAY (INT64_C(86400) * NV_SECOND)

/*
 * Read a timestamp that starts at p. The bytes must be followed by one that no timestamp holds (newline, NUL).
 * A form without a zone is UTC; one without a year takes the year that makes it most recent, seen from
 * `received` (ns since 1970), a day ahead allowed for clocks that differ.
 * Returns the bytes taken, 0 where no timestamp stands; *ns is ns since 1970.
 */
int nv_timestamp(const uint8_t *p, int64_t received, int64_t *ns);

/* A bare Unix time of n digits in s, ms, us or ns by its magnitude, with an optional fraction; 0 if it is none. */
int nv_unix_time(const uint8_t *p, const uint8_t *end, int64_t *ns);

#endif
