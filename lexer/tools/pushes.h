/* Bodies that clients of other systems push, made up of lines and damaged at times. */
#ifndef NEVE_PUSHES_H
#define NEVE_PUSHES_H
#include "generate.h"

/* Take the lines as documents of a bulk request, as JSON objects one by one, and as entries of a stream. */
void fuzz_pushes(generator *g, const nv_buffer *lines);

#endif
