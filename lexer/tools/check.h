/* What must hold whatever the input: said here in the plainest way, sharing nothing with what it checks. */
#ifndef NEVE_CHECK_H
#define NEVE_CHECK_H
#include "columns.h"
#include "template.h"

/* Said when a check fails; sees to it that the run can be repeated, and ends it. */
_Noreturn void broken(const char *what);

#define HOLDS(condition) do { if (!(condition)) broken(#condition); } while (0)

/* 1 if n bytes are one JSON text after RFC 8259: a recursive descent over the grammar. */
int plain_json_valid(const uint8_t *p, size_t n);

/* Spans and pairs lie within the line and in order, and the template is the line without its spans. */
void check_line(const nv_line *line, const uint8_t *p, size_t n);

/* Both lexings say the same. */
void check_same(const nv_line *a, const nv_line *b);

/* Every column has a value for each row, and every index a key. */
void check_columns(nv_columns *c);

/* A number that differs where any column does. */
uint64_t columns_digest(nv_columns *c);

#endif
