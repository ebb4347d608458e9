/* JSON after RFC 8259: the generated automaton finds the tokens, `value` their order. */
#include "structured.h"

#include "hash.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

typedef struct {
    nv_columns *c;
    const uint8_t *cursor, *end;
    int store;   /* whether fields are kept: not inside arrays */
    int in_tags; /* inside the top-level `tags` */
} json;

typedef enum { END, BAD, OPEN, CLOSE, OPEN_ARRAY, CLOSE_ARRAY, COLON, COMMA, STRING, SCALAR } token;

/*!re2c
    re2c:define:YYCTYPE = "uint8_t";
    re2c:yyfill:enable = 0;
    re2c:flags:case-ranges = 1;

    space  = [ \t\r];
    digit  = [0-9];
    number = "-"? ("0" | [1-9] digit*) ("." digit+)? ([eE] [+-]? digit+)?;
    hex    = [0-9a-fA-F];
*/

static token next(json *j, nv_string *text)
{
    const uint8_t *YYCURSOR = j->cursor, *YYMARKER, *start;
    token found;
    for (;;) {
        start = YYCURSOR;
        /*!re2c
        space+                               { continue; }
        "\n"                                 { if (start >= j->end) { found = END; break; } continue; }
        "{"                                  { found = OPEN; break; }
        "}"                                  { found = CLOSE; break; }
        "["                                  { found = OPEN_ARRAY; break; }
        "]"                                  { found = CLOSE_ARRAY; break; }
        ":"                                  { found = COLON; break; }
        ","                                  { found = COMMA; break; }
        "\""                                 { found = STRING; break; }
        number | "true" | "false" | "null"   { found = SCALAR; break; }
        *                                    { found = BAD; break; }
        */
    }
    *text = (nv_string){start, (size_t)(YYCURSOR - start)};
    if (start >= j->end)
        return END;
    j->cursor = YYCURSOR;
    return found;
}

static uint8_t *put_utf8(uint8_t *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (uint8_t)code;
    } else if (code < 0x800) {
        *out++ = (uint8_t)(0xc0 | code >> 6);
        *out++ = (uint8_t)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (uint8_t)(0xe0 | code >> 12);
        *out++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (code & 0x3f));
    } else {
        *out++ = (uint8_t)(0xf0 | code >> 18);
        *out++ = (uint8_t)(0x80 | (code >> 12 & 0x3f));
        *out++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        *out++ = (uint8_t)(0x80 | (code & 0x3f));
    }
    return out;
}

static uint32_t four_hex(const uint8_t *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v = v << 4 | (uint32_t)(p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
    return v;
}

/* A backslash and what follows it: its character goes to *out. NULL if it is no escape. */
static const uint8_t *escape(const uint8_t *p, uint8_t **out)
{
    const uint8_t *YYCURSOR = p, *YYMARKER;
    uint32_t code;
    /*!re2c
    "\\" ["\\/]                              { *(*out)++ = p[1]; return YYCURSOR; }
    "\\b"                                    { *(*out)++ = '\b'; return YYCURSOR; }
    "\\f"                                    { *(*out)++ = '\f'; return YYCURSOR; }
    "\\n"                                    { *(*out)++ = '\n'; return YYCURSOR; }
    "\\r"                                    { *(*out)++ = '\r'; return YYCURSOR; }
    "\\t"                                    { *(*out)++ = '\t'; return YYCURSOR; }
    "\\u" [dD] [89abAB] hex{2} "\\u" [dD] [c-fC-F] hex{2}
        {
            code = 0x10000 + ((four_hex(p + 2) - 0xd800) << 10) + (four_hex(p + 8) - 0xdc00);
            *out = put_utf8(*out, code);
            return YYCURSOR;
        }
    "\\u" hex{4}
        {
            code = four_hex(p + 2);
            *out = put_utf8(*out, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);
            return YYCURSOR;
        }
    *                                        { return NULL; }
    */
}

/* The first byte at or after p that is a quote, a backslash or a control character; the line's end is one. */
static inline const uint8_t *plain_end(const uint8_t *p)
{
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
    for (;; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)p);
        __m128i found = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
                                     _mm_cmpeq_epi8(_mm_min_epu8(v, control), v));
        unsigned bits = (unsigned)_mm_movemask_epi8(found);
        if (bits)
            return p + __builtin_ctz(bits);
    }
#else
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    for (;; p += 8) {
        uint64_t v = nv_load64(p);
        uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\';
        uint64_t found = ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((v - ones * 0x20) & ~v);
        if (found & tops)
            return p + __builtin_ctzll(found & tops) / 8;
    }
#endif
}

/* The string whose opening quote was just taken: in place, or unescaped into the scratch buffer. */
static int unescape(json *j, const uint8_t *start, const uint8_t *p, nv_string *out);

static inline int string(json *j, nv_string *out)
{
    const uint8_t *start = j->cursor, *p = plain_end(start);
    if (*p != '"' || p >= j->end)
        return unescape(j, start, p, out);
    *out = (nv_string){start, (size_t)(p - start)};
    j->cursor = p + 1;
    return 1;
}

/* The same for a string of which the bytes from start to p are plain. */
static int unescape(json *j, const uint8_t *start, const uint8_t *p, nv_string *out)
{
    nv_buffer *scratch = &j->c->scratch; /* has room: unescaped text is never longer than the line */
    uint8_t *begin = scratch->data + scratch->length, *to = begin;
    memcpy(to, start, (size_t)(p - start));
    to += p - start;
    while (p < j->end && *p == '\\') {
        p = escape(p, &to);
        if (!p || p > j->end)
            return 0;
        const uint8_t *stop = plain_end(p);
        memcpy(to, p, (size_t)(stop - p));
        to += stop - p;
        p = stop;
    }
    if (p >= j->end || *p != '"')
        return 0;
    *out = (nv_string){begin, (size_t)(to - begin)};
    scratch->length += (size_t)(to - begin);
    j->cursor = p + 1;
    return 1;
}

static int value(json *j, token first, nv_string text, int depth);

/* The key that the path names. In the top-level `tags` it has no prefix, unless the bare name means a column. */
static nv_key *key_here(json *j)
{
    nv_buffer *path = &j->c->path;
    if (j->in_tags && path->length > 4) { /* `tags` itself, an empty object, has nothing to lose */
        nv_key *key = nv_key_of(j->c, path->data + 5, path->length - 5);
        if (!key || key->role == NV_TAG)
            return key;
    }
    return nv_key_of(j->c, path->data, path->length);
}

static int keep(json *j, nv_string v)
{
    return !j->store || nv_add_field(j->c, key_here(j), v);
}

/* Put a member's name behind the names of the objects that it is in. */
static int enter(json *j, nv_string name, int depth)
{
    nv_buffer *path = &j->c->path;
    if (depth > 1 && !nv_append(path, ".", 1))
        return 0;
    return nv_append(path, name.p, name.n);
}

static int is_tags(const json *j, int depth)
{
    const nv_buffer *path = &j->c->path;
    return j->store && depth == 1 && path->length == 4 && !memcmp(path->data, "tags", 4);
}

/* The key whose name starts at p, unescaped: most often the one that came after the last one before. */
static inline nv_key *key_at(nv_columns *c, const uint8_t *p, const uint8_t **end)
{
    nv_key *key = c->keys.last;
    if (key && (key = key->next)->plain && key->length < NV_SPARE && nv_same(p, key->name, key->length + 1)) {
        *end = p + key->length;
        return c->keys.last = key;
    }
    *end = plain_end(p);
    return **end == '"' ? nv_key_seen(c, p, (size_t)(*end - p)) : NULL;
}

/*
 * Members whose keys hold no escapes and whose values are plain strings, set apart by nothing or one space, as most
 * writers have them: no token is looked for, and no path is put together. Stops behind the last such member and
 * returns how many there were.
 */
static int usual_members(json *j)
{
    nv_columns *c = j->c;
    const uint8_t *p = j->cursor, *end;
    for (int found = 0;; found++) {
        p += *p == ' ';
        if (*p != '"')
            return found;
        nv_key *key = key_at(c, p + 1, &end);
        if (!key || (j->in_tags && key->role != NV_TAG) || end[1] != ':')
            return found;
        p = end + 2 + (end[2] == ' ');
        if (*p != '"')
            return found;
        end = plain_end(p + 1);
        if (*end != '"' || end >= j->end || !nv_add_field(c, key, (nv_string){p + 1, (size_t)(end - p - 1)}))
            return found;
        j->cursor = end + 1;
        if (end[1] != ',')
            return found + 1;
        p = end + 2;
    }
}

static int member(json *j, int depth)
{
    nv_string text, name;
    size_t prefix = j->c->path.length;
    if (next(j, &text) != STRING || !string(j, &name) || (j->store && !enter(j, name, depth)))
        return 0;
    if (next(j, &text) != COLON)
        return 0;
    token t = next(j, &text);
    int opens_tags = t == OPEN && is_tags(j, depth);
    j->in_tags |= opens_tags;
    if (!value(j, t, text, depth))
        return 0;
    j->in_tags &= !opens_tags;
    j->c->path.length = prefix;
    return 1;
}

static int members(json *j, int depth)
{
    nv_string text;
    const uint8_t *start = j->cursor - 1;
    int bare = j->store && (depth == 1 || (depth == 2 && j->in_tags)); /* a key's name is its path */
    token t = next(j, &text);
    if (t == CLOSE)
        return depth == 1 || keep(j, (nv_string){start, (size_t)(j->cursor - start)});
    if (t != STRING)
        return 0;
    for (j->cursor = text.p;;) {
        if (!(bare && usual_members(j)) && !member(j, depth))
            return 0;
        t = next(j, &text);
        if (t == CLOSE)
            return 1;
        if (t != COMMA)
            return 0;
    }
}

static int elements(json *j, int depth)
{
    nv_string text;
    token t = next(j, &text);
    if (t == CLOSE_ARRAY)
        return 1;
    for (;; t = next(j, &text)) {
        if (!value(j, t, text, depth))
            return 0;
        t = next(j, &text);
        if (t == CLOSE_ARRAY)
            return 1;
        if (t != COMMA)
            return 0;
    }
}

static int value(json *j, token first, nv_string text, int depth)
{
    nv_string s;
    int store = j->store, ok;
    const uint8_t *start = text.p;
    switch (first) {
    case STRING:
        return string(j, &s) && keep(j, s);
    case SCALAR:
        return keep(j, text);
    case OPEN:
        return depth < NV_JSON_DEPTH && members(j, depth + 1);
    case OPEN_ARRAY:
        if (depth >= NV_JSON_DEPTH)
            return 0;
        j->store = 0; /* an array is one value: its text */
        ok = elements(j, depth + 1);
        j->store = store;
        return ok && keep(j, (nv_string){start, (size_t)(j->cursor - start)});
    default:
        return 0;
    }
}

static int begin(json *j, nv_columns *c, const uint8_t *p, size_t n, int store)
{
    *j = (json){.c = c, .cursor = p, .end = p + n, .store = store};
    c->path.length = c->scratch.length = 0;
    if (!nv_reserve(&c->scratch, n + NV_PADDING) || !nv_reserve(&c->path, 16)) { /* an empty name is a name: no null pointer */
        c->failed = 1;
        return 0;
    }
    return 1;
}

int nv_json_object(nv_columns *c, const uint8_t *p, size_t n)
{
    json j;
    nv_string text;
    uint64_t doubles = c->counts[NV_COUNT_DUPLICATE_KEYS];
    if (begin(&j, c, p, n, 1) && next(&j, &text) == OPEN && members(&j, 1) && next(&j, &text) == END)
        return 1;
    c->field_count = 0;
    c->counts[NV_COUNT_DUPLICATE_KEYS] = doubles;
    return 0;
}

int nv_json_valid(nv_columns *c, const uint8_t *p, size_t n)
{
    json j;
    nv_string text;
    if (!begin(&j, c, p, n, 0))
        return 0;
    token first = next(&j, &text);
    return value(&j, first, text, 0) && next(&j, &text) == END;
}

size_t nv_json_members(nv_columns *c, const uint8_t *p, size_t n, nv_member members[NV_MAX_MEMBERS], uint32_t *count)
{
    json j;
    nv_string text, name;
    *count = 0;
    if (!begin(&j, c, p, n, 0) || next(&j, &text) != OPEN)
        return 0;
    token t = next(&j, &text);
    if (t == CLOSE)
        return (size_t)(j.cursor - p);
    for (;; t = next(&j, &text)) {
        const uint8_t *start = j.cursor;
        if (t != STRING || *count == NV_MAX_MEMBERS || !string(&j, &name))
            return 0;
        nv_member *m = &members[(*count)++];
        m->name = (nv_string){start, (size_t)(j.cursor - 1 - start)};
        if (next(&j, &text) != COLON)
            return 0;
        t = next(&j, &text);
        m->value.p = text.p;
        if (!value(&j, t, text, 1))
            return 0;
        m->value.n = (size_t)(j.cursor - text.p);
        t = next(&j, &text);
        if (t == CLOSE)
            return (size_t)(j.cursor - p);
        if (t != COMMA)
            return 0;
    }
}
