/* Requests of OpenTelemetry, made up: whole, changed in places, and nonsense. */
#ifndef NEVE_REQUEST_H
#define NEVE_REQUEST_H
#include "generate.h"

/* Make one and take it: what holds of columns holds, and nothing is lost or read beyond its end. */
void fuzz_otlp(generator *g);

#endif
