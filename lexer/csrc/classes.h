/* Which bytes of a line are what, as bit maps: bit i of word i / 64 speaks of byte i. */
#ifndef NEVE_CLASSES_H
#define NEVE_CLASSES_H
#include <stddef.h>
#include <stdint.h>

#define NV_BLOCKS 64                     /* a fingerprint looks at the first 4,096 bytes of a line */
#define NV_LOOK (NV_BLOCKS * 64)
#define NV_PADDING 64                    /* bytes after a line that may be read */

typedef struct {
    uint64_t chunk[NV_BLOCKS + 1];   /* letters, digits, bytes past 0x7f, and what joins them: - . _ / ~ @ $ # % + & * \ */
    uint64_t digit[NV_BLOCKS + 1];   /* 0-9 */
    uint64_t mark[NV_BLOCKS + 1];    /* / \ @ = : what makes a chunk worth a look though it holds no digit */
    uint64_t dot[NV_BLOCKS + 1];
    uint64_t colon[NV_BLOCKS + 1];
    uint64_t trigger[NV_BLOCKS];     /* where the walk stops; made of the others */
} nv_bitmaps;

/* Fill the maps for n <= NV_LOOK bytes; reads up to NV_PADDING bytes past them. Bits past n are zero. */
void nv_classify(const uint8_t *p, size_t n, nv_bitmaps *out);

/*
 * The ways to do it, with equal results (tested): nv_classify takes the best that the processor has. BASELINE is
 * what every processor of the kind has (SSE2 on x86-64, else SCALAR).
 */
typedef enum { NV_SIMD_AUTO, NV_SIMD_SCALAR, NV_SIMD_BASELINE, NV_SIMD_AVX2, NV_SIMD_AVX512, NV_SIMD_WAYS } nv_simd;

int nv_classify_has(nv_simd way);

/* For tests and benchmarks. */
void nv_classify_choose(nv_simd way);

#endif
