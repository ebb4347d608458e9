/* BLAKE2b after RFC 7693, keyed, of one text: what a mask shows of a value that only equality is known of. */
#ifndef NEVE_BLAKE2B_H
#define NEVE_BLAKE2B_H
#include <stddef.h>
#include <stdint.h>

#define NV_BLAKE2B_KEY 64

/* A digest of `out_n` bytes (1 to 64) under a key of `key_n` bytes (0 to 64). */
void nv_blake2b(uint8_t *out, size_t out_n, const uint8_t *key, size_t key_n, const uint8_t *p, size_t n);

#endif
