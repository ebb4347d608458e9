/* logfmt: key=value pairs, spaces between them, values in quotes where they hold spaces. */
#include "structured.h"

static const uint8_t TRUE[4 + NV_SPARE] = "true";

/* Take the backslashes out of a quoted value; \n, \t and \r are what they name. */
static nv_string unquote(nv_columns *c, const uint8_t *p, size_t n)
{
    if (!memchr(p, '\\', n))
        return (nv_string){p, n};
    uint8_t *begin = c->scratch.data + c->scratch.length, *to = begin;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '\\' || i + 1 == n) {
            *to++ = p[i];
            continue;
        }
        uint8_t e = p[++i];
        *to++ = e == 'n' ? '\n' : e == 't' ? '\t' : e == 'r' ? '\r' : e;
    }
    c->scratch.length += (size_t)(to - begin);
    return (nv_string){begin, (size_t)(to - begin)};
}

int nv_logfmt(nv_columns *c, const uint8_t *p, size_t n)
{
    const uint8_t *YYCURSOR = p, *YYMARKER, *end = p + n, *start, *k, *v;
    int pairs = 0;
    uint64_t doubles = c->counts[NV_COUNT_DUPLICATE_KEYS];
    c->scratch.length = 0;
    if (!nv_reserve(&c->scratch, n + NV_PADDING)) {
        c->failed = 1;
        return 0;
    }
    for (;;) {
        start = YYCURSOR;
        if (start >= end)
            break;
        /*!stags:re2c format = 'const uint8_t *@@;\n'; */
        /*!re2c
        re2c:define:YYCTYPE = "uint8_t";
        re2c:yyfill:enable = 0;
        re2c:flags:case-ranges = 1;
        re2c:flags:tags = 1;

        key    = [A-Za-z_@\x80-\xff] [A-Za-z0-9_.@/\x80-\xff-]*;
        quoted = "\"" ([^"\\\x00\n] | "\\" [^\x00\n])* "\"";
        bare   = [^\x00-\x20"=] [^\x00-\x20"]*;

        [ \t\r]+                           { continue; }
        key @k "=" @v quoted               { goto quoted_value; }
        key @k "=" @v bare                 { goto bare_value; }
        key @k "="                         { v = YYCURSOR; goto bare_value; }
        key @k                             { goto flag; }
        *                                  { c->field_count = 0; return 0; }
        */
    quoted_value:
        if (YYCURSOR > end || !nv_add_field(c, nv_key_of(c, start, (size_t)(k - start)),
                                            unquote(c, v + 1, (size_t)(YYCURSOR - v - 2))))
            goto refused;
        pairs++;
        continue;
    bare_value:
        if (YYCURSOR > end ||
            !nv_add_field(c, nv_key_of(c, start, (size_t)(k - start)), (nv_string){v, (size_t)(YYCURSOR - v)}))
            goto refused;
        pairs++;
        continue;
    flag:
        if (YYCURSOR > end || !nv_add_field(c, nv_key_of(c, start, (size_t)(k - start)), (nv_string){TRUE, 4}))
            goto refused;
    }
    if (pairs)
        return 1;
refused:
    c->field_count = 0;
    c->counts[NV_COUNT_DUPLICATE_KEYS] = doubles;
    return 0;
}
