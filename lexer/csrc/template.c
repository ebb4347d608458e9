#include "template.h"

#include <string.h>

#include "hash.h"
#include "redact.h"
#include "timestamp.h"

#define TIME_WITHIN 160   /* a timestamp starts this near to a line's start, or is somebody else's */
#define EPOCH_WITHIN 96   /* a bare Unix time is believed only here */
#define TIME_TRIES 8
#define LEVEL_WITHIN 160

typedef struct {
    const uint8_t *line, *end; /* what is looked at */
    int64_t received;
    uint32_t cursor;           /* all before it is in the template */
    uint32_t after;            /* where the last variable ended */
    uint32_t header;           /* where the timestamp ended */
    int seek_time;             /* chunks that are still tried as a timestamp */
    int want;
    int masks;                 /* the line has masks */
    nv_line *out;
    uint8_t *text;
} walk;

static const uint8_t IS_WORD[256] = {
    ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1, ['9'] = 1,
    ['A'] = 2, ['B'] = 2, ['C'] = 2, ['D'] = 2, ['E'] = 2, ['F'] = 2, ['G'] = 2, ['H'] = 2, ['I'] = 2, ['J'] = 2,
    ['K'] = 2, ['L'] = 2, ['M'] = 2, ['N'] = 2, ['O'] = 2, ['P'] = 2, ['Q'] = 2, ['R'] = 2, ['S'] = 2, ['T'] = 2,
    ['U'] = 2, ['V'] = 2, ['W'] = 2, ['X'] = 2, ['Y'] = 2, ['Z'] = 2, ['_'] = 2, ['a'] = 2, ['b'] = 2, ['c'] = 2,
    ['d'] = 2, ['e'] = 2, ['f'] = 2, ['g'] = 2, ['h'] = 2, ['i'] = 2, ['j'] = 2, ['k'] = 2, ['l'] = 2, ['m'] = 2,
    ['n'] = 2, ['o'] = 2, ['p'] = 2, ['q'] = 2, ['r'] = 2, ['s'] = 2, ['t'] = 2, ['u'] = 2, ['v'] = 2, ['w'] = 2,
    ['x'] = 2, ['y'] = 2, ['z'] = 2,
};

/* nv_unit's first letters. */
static const uint8_t STARTS_UNIT[256] = {
    ['n'] = 1, ['u'] = 1, ['m'] = 1, ['s'] = 1, ['h'] = 1, ['S'] = 1, ['M'] = 1, ['H'] = 1, ['d'] = 1, ['D'] = 1,
    ['B'] = 1, ['b'] = 1, ['K'] = 1, ['G'] = 1, ['T'] = 1, ['P'] = 1, ['k'] = 1, ['g'] = 1, ['t'] = 1, ['p'] = 1,
    ['r'] = 1,
};

static const uint8_t IN_KEY[256] = {['.'] = 1, ['-'] = 1};
static const uint8_t ENDS_VALUE[256] = {
    [','] = 1, [';'] = 1, [')'] = 1, [']'] = 1, ['}'] = 1, ['>'] = 1, ['"'] = 1, ['\''] = 1, ['&'] = 1, ['|'] = 1,
};

static inline int is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }
static inline int is_letter(uint8_t c) { return (uint8_t)((c | 32) - 'a') < 26; }

/* ---- writing the template ---- */

static inline void put(walk *w, const uint8_t *p, size_t n)
{
    uint8_t *to = w->text;
    w->text += n;
    do { /* room for an over-long copy is kept at both ends */
        memcpy(to, p, 16);
        memcpy(to + 16, p + 16, 16);
        to += 32;
        p += 32;
    } while (to < w->text);
}

/* Between two variables that follow one another only these may stand: a list of values is one variable. */
static inline int joins(const uint8_t *p, size_t n)
{
    static const uint8_t between[256] = {[' '] = 1, [','] = 1, [';'] = 1, ['|'] = 1};
    return n <= 2 && (between[p[0]] | (n < 1)) & (between[p[1]] | (n < 2));
}

static inline void variable(walk *w, uint32_t start, uint32_t end, nv_kind kind)
{
    uint32_t gap = start - w->cursor;
    if (w->cursor != w->after || !joins(w->line + w->cursor, gap)) {
        put(w, w->line + w->cursor, gap);
        memcpy(w->text, "<*>", 4);
        w->text += 3;
    }
    if (w->want & NV_WANT_SPANS)
        w->out->span[w->out->spans++] = (nv_span){start, end, kind};
    w->cursor = w->after = end;
}

/* ---- chunks ---- */

static inline uint32_t chunk_start(const nv_bitmaps *maps, uint32_t at, uint32_t floor)
{
    uint32_t b = at >> 6;
    uint64_t gaps = ~maps->chunk[b] & ((UINT64_C(1) << (at & 63)) - 1);
    while (!gaps) {
        if (b == 0)
            return floor;
        gaps = ~maps->chunk[--b];
    }
    uint32_t start = b * 64 + 64 - (uint32_t)__builtin_clzll(gaps);
    return start > floor ? start : floor;
}

static inline uint32_t chunk_end(const nv_bitmaps *maps, uint32_t at)
{
    uint32_t b = at >> 6;
    uint64_t gaps = ~maps->chunk[b] & (~UINT64_C(0) << (at & 63));
    while (!gaps)
        gaps = ~maps->chunk[++b]; /* the word past the last is zero */
    return b * 64 + (uint32_t)__builtin_ctzll(gaps);
}

/*
 * A colon between digits, as in times and ports, is inside its chunk. The walk stops at digits, marks and dots
 * between letters.
 */
static void join_maps(nv_bitmaps *maps, uint32_t blocks)
{
    uint64_t before = 0;
    for (uint32_t b = 0; b < blocks; b++) {
        uint64_t digit = maps->digit[b], left = digit << 1 | before;
        uint64_t right = digit >> 1 | maps->digit[b + 1] << 63;
        maps->chunk[b] |= maps->colon[b] & left & right;
        before = digit >> 63;
        uint64_t letters = maps->chunk[b] & ~maps->dot[b];
        maps->trigger[b] = digit | maps->mark[b] | (maps->dot[b] & letters << 1 & letters >> 1);
    }
}

/* ---- timestamps and levels ---- */

static int try_time(walk *w, uint32_t at)
{
    int64_t ns;
    int taken = nv_timestamp(w->line + at, w->received, &ns);
    if (!taken && at < EPOCH_WITHIN && is_digit(w->line[at + 5]) && is_digit(w->line[at + 9]) && (at == 0 || w->line[at - 1] == ' ' || w->line[at - 1] == '\t' || w->line[at - 1] == '[')) {
        taken = nv_unix_time(w->line + at, w->end, &ns);
        if (taken && (ns < INT64_C(631152000) * NV_SECOND || ns > w->received + NV_DAY))
            taken = 0;
    }
    if (!taken || w->line + at + taken > w->end)
        return 0;
    w->out->timestamp = ns;
    return taken;
}

/* A line that starts with the name of a weekday or month has no digit there: the walk would miss its start. */
static void time_at_start(walk *w)
{
    uint32_t at = 0, n = (uint32_t)(w->end - w->line);
    if (n && w->line[0] == '<') { /* a syslog priority */
        uint32_t i = 1;
        while (i < 5 && i < n && is_digit(w->line[i]))
            i++;
        if (i > 1 && i < n && w->line[i] == '>')
            at = i + 1;
    }
    while (at < n && at < 8 && (w->line[at] == '[' || w->line[at] == '(' || w->line[at] == ' '))
        at++;
    if (at >= n || !is_letter(w->line[at]))
        return;
    int taken = try_time(w, at);
    if (taken) {
        w->seek_time = 0;
        w->header = at + (uint32_t)taken;
        variable(w, at, w->header, NV_TIME);
    }
}

/* Words that name a level only where their dress says so: INFO anywhere, Info: or [info] where it is set apart. */
static nv_level level_here(const walk *w, const uint8_t *word, const uint8_t *end)
{
    nv_level level = nv_level_word(word, end);
    if (level == NV_LEVEL_NONE)
        return level;
    uint8_t before = word > w->line ? word[-1] : ' ', after = end < w->end ? *end : ' ';
    int fenced = (before == '[' && after == ']') || (before == '<' && after == '>') || (before == '|' && after == '|') ||
                 (before == '(' && after == ')');
    if (end - word == 1) /* the one-letter levels of Android: between the process numbers and the tag */
        return fenced || (before == ' ' && after == ' ' && word - w->line >= 2 && is_digit(word[-2]) && *word < 'a') ||
                       (after == '/' && before == ' ' && *word < 'a')
                   ? level
                   : NV_LEVEL_NONE;
    int upper = 1;
    for (const uint8_t *q = word; q < end; q++)
        upper &= *q < 'a';
    if (upper || fenced)
        return level;
    int padded = after == ' ' && end + 1 < w->end && end[1] == ' ';
    return after == ':' || after == ']' || after == '>' || after == '|' || (*word < 'a' && (padded || after == '\t'))
               ? level
               : NV_LEVEL_NONE;
}

/* The first chunk near the line's start that names a level. */
static nv_level find_level(const walk *w)
{
#define L(n) (1 << (n))
    static const uint16_t lengths[256] = { /* of the level words that start with a letter */
        ['a'] = L(5), ['c'] = L(1) | L(4) | L(8), ['d'] = L(1) | L(3) | L(5), ['e'] = L(1) | L(3) | L(5) | L(9),
        ['f'] = L(1) | L(4) | L(5) | L(6) | L(7), ['i'] = L(1) | L(3) | L(4) | L(11) | L(13), ['n'] = L(6),
        ['p'] = L(5), ['s'] = L(6), ['t'] = L(3) | L(5), ['v'] = L(1) | L(7), ['w'] = L(1) | L(3) | L(4) | L(7),
    };
#undef L
    const nv_bitmaps *maps = &w->out->maps;
    uint32_t at = w->header, n = (uint32_t)(w->end - w->line), limit = at + LEVEL_WITHIN;
    if (limit > n)
        limit = n;
    for (uint32_t b = at >> 6; b * 64 < limit; b++) {
        uint64_t before = b ? maps->chunk[b - 1] >> 63 : 0;
        uint64_t starts = maps->chunk[b] & ~(maps->chunk[b] << 1 | before);
        if (b == at >> 6)
            starts &= ~UINT64_C(0) << (at & 63);
        for (; starts; starts &= starts - 1) {
            uint32_t start = b * 64 + (uint32_t)__builtin_ctzll(starts);
            if (start >= limit)
                break;
            uint16_t fits = lengths[w->line[start] | 32];
            if (!fits)
                continue;
            uint32_t end = chunk_end(maps, start), n_word = end - start;
            if (n_word > 13 || !(fits >> n_word & 1))
                continue;
            nv_level level = level_here(w, w->line + start, w->line + end);
            if (level != NV_LEVEL_NONE)
                return level;
        }
    }
    return NV_LEVEL_NONE;
}

/* ---- key=value ---- */

/* Where a value's brackets, the first of which stands at p, are closed again; NULL where they are not, before a space. */
static const uint8_t *past_brackets(const walk *w, const uint8_t *p)
{
    int depth = 0;
    for (; p < w->end && *p > ' '; p++) {
        depth += *p == '(' || *p == '[' || *p == '{';
        depth -= *p == ')' || *p == ']' || *p == '}';
        if (!depth)
            return p + 1;
    }
    return NULL;
}

/* Whether the `>` at p ends a mask. */
static __attribute__((noinline)) int ends_mask(const walk *w, const uint8_t *p)
{
    const uint8_t *first = p - w->line > NV_MASK_ROOM ? p - NV_MASK_ROOM : w->line;
    for (const uint8_t *q = p; q >= first; q--)
        if (*q == '<')
            return nv_mask_length(q, w->end) == (size_t)(p + 1 - q);
    return 0;
}

static uint32_t value_end(const walk *w, uint32_t at)
{
    const uint8_t *p = w->line + at;
    for (int whole = 1; p < w->end && *p > ' ' && !ENDS_VALUE[*p];) {
        const uint8_t *closed = whole && (*p == '(' || *p == '[' || *p == '{') ? past_brackets(w, p) : p + 1;
        whole &= closed != NULL; /* where one is left open, no other is looked for */
        p = closed ? closed : p + 1;
    }
    if (w->masks && p < w->end && *p == '>' && ends_mask(w, p))
        return value_end(w, (uint32_t)(p + 1 - w->line));
    while (p > w->line + at && (p[-1] == '.' || p[-1] == ':'))
        p--;
    return (uint32_t)(p - w->line);
}

static const uint8_t *closing_quote(const walk *w, uint32_t at)
{
    uint8_t quote = w->line[at];
    for (const uint8_t *p = w->line + at + 1; p < w->end; p++) {
        if (*p == '\\')
            p++;
        else if (*p == quote)
            return p;
    }
    return NULL;
}

static void keep_pair(walk *w, uint32_t equals, uint32_t value, uint32_t end)
{
    uint32_t key = equals;
    uint32_t first = equals > 128 ? equals - 128 : 0;
    while (key > first && (IS_WORD[w->line[key - 1]] | IN_KEY[w->line[key - 1]]))
        key--;
    while (key < equals && IS_WORD[w->line[key]] != 2)
        key++;
    nv_line *out = w->out;
    if (key < equals && out->pairs < NV_MAX_PAIRS)
        out->pair[out->pairs++] = (nv_pair){key, equals, value, end};
}

/* What stands right of `=` is a variable, digits or not. Returns where the walk goes on. */
static uint32_t take_value(walk *w, uint32_t equals)
{
    uint32_t at = equals + 1, n = (uint32_t)(w->end - w->line);
    if (equals == 0 || at >= n || (!IS_WORD[w->line[equals - 1]] && w->line[equals - 1] != ']' && w->line[equals - 1] != ')'))
        return at;
    uint32_t end;
    if (w->line[at] == '"' || w->line[at] == '\'') {
        const uint8_t *quote = closing_quote(w, at);
        if (quote) {
            at++;
            end = (uint32_t)(quote - w->line);
            if (w->want & NV_WANT_PAIRS)
                keep_pair(w, equals, at, end);
            if (end > at)
                variable(w, at, end, NV_VALUE);
            return end + 1;
        }
        return at;
    }
    end = value_end(w, at);
    if (end == at)
        return at;
    if (w->want & NV_WANT_PAIRS)
        keep_pair(w, equals, at, end);
    variable(w, at, end, NV_VALUE);
    return end;
}

/* ---- the walk ---- */

/* The bits of a map from start to end, the first as bit 0; at most the first 64 of them. */
static inline uint64_t bits_between(const uint64_t *map, uint32_t start, uint32_t end)
{
    uint32_t b = start >> 6, shift = start & 63, n = end - start;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (__builtin_expect(n <= 56, 1)) /* a word that starts at any byte of the map has them all */
        return nv_load64((const uint8_t *)map + (start >> 3)) >> (start & 7) & ((UINT64_C(1) << n) - 1);
#endif
    uint64_t bits = map[b] >> shift;
    if (shift && n > 64 - shift)
        bits |= map[b + 1] << (64 - shift);
    return n >= 64 ? bits : bits & ((UINT64_C(1) << n) - 1);
}

/* A word with a number at its end, as eth0 or ssh2: a name, not a value. */
static int is_numbered_word(const uint8_t *p, uint32_t n, uint64_t digits)
{
    uint32_t letters = digits == UINT64_C(1) << (n - 1) ? n - 1 : n - 2;
    if (n < 3 || n > 32 || letters < 2 || digits != ((UINT64_C(1) << n) - (UINT64_C(1) << letters)))
        return 0;
    for (uint32_t i = 0; i < letters; i++)
        if (!is_letter(p[i]))
            return 0;
    return 1;
}

/* Whether a dotted name may end in a top-level domain that nv_token knows: by the length of its last label. */
static int may_be_host(const nv_bitmaps *maps, uint32_t start, uint32_t end)
{
    uint64_t dots = bits_between(maps->dot, start, end);
    uint32_t label = end - start - (63 - (uint32_t)__builtin_clzll(dots | 1)) - 1;
    return end - start > 64 || (label < 12 && (1 << label & (1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 11)));
}

/* Whether a chunk that starts with a digit may start a timestamp; the automaton has the last word. */
static inline int may_be_time(const uint8_t *p, uint32_t n)
{
    return n >= 6 || p[2] == '-' || p[2] == '.' || p[2] == ' ' || p[2] == '/' || p[1] == ' ' || p[1] == '/' || p[1] == '-';
}

/* Whether a token may go on over the colon that ends a chunk. */
static inline int goes_on(const uint8_t *colon)
{
    uint8_t c = colon[1];
    return *colon == ':' && (c == ':' || is_digit(c) || (uint8_t)((c | 32) - 'a') < 6);
}

/* The kind of a chunk, and where its token ends. Most chunks are known by their bits; the automaton sees the rest. */
static nv_kind kind_of(const walk *w, uint32_t start, uint32_t *end)
{
    const nv_bitmaps *maps = &w->out->maps;
    const uint8_t *p = w->line + start, *stop = w->line + *end;
    nv_kind kind;
    uint64_t digits = bits_between(maps->digit, start, *end), marks = bits_between(maps->mark, start, *end);
    if (!goes_on(stop)) {
        if (digits & 1 || (digits && !marks && *end - start <= 64)) /* the first alone, or all by their bits */
            return digits & 1 ? NV_NUMBER : is_numbered_word(p, *end - start, digits) ? NV_WORD : NV_IDENT;
        if (!digits && !marks && *end - start <= 64 && !may_be_host(maps, start, *end))
            return NV_WORD;
    }
    kind = nv_token(p, stop, &stop);
    *end = (uint32_t)((stop < w->end ? stop : w->end) - w->line);
    return kind;
}

/* Where a URL's or a Windows path's first part stands before its chunk. */
static uint32_t extend_back(const walk *w, uint32_t start, nv_kind kind)
{
    const uint8_t *p = w->line + start;
    if (start < w->cursor + 2 || p[-1] != ':' || !is_letter(p[-2]))
        return start;
    if (kind == NV_URL) {
        uint32_t scheme = start - 1;
        while (scheme > w->cursor && is_letter(w->line[scheme - 1]))
            scheme--;
        return scheme;
    }
    if (*p == '\\' && (start == w->cursor + 2 || !IS_WORD[p[-3]]))
        return start - 2; /* a drive */
    return start;
}

/* Make the walk stop at masks. */
static __attribute__((noinline)) void find_masks(walk *w)
{
    for (const uint8_t *p = w->line; (p = memchr(p, '<', (size_t)(w->end - p))); p++)
        if (nv_mask_length(p, w->end)) {
            uint32_t at = (uint32_t)(p - w->line);
            w->out->maps.trigger[at >> 6] |= UINT64_C(1) << (at & 63);
            w->masks = 1;
        }
}

/* A mask is a variable, and so is what it was part of. */
static __attribute__((noinline)) uint32_t take_mask(walk *w, uint32_t at)
{
    nv_bitmaps *maps = &w->out->maps;
    uint32_t end = at + (uint32_t)nv_mask_length(w->line + at, w->end), start = at;
    if (at > w->cursor && maps->chunk[(at - 1) >> 6] >> ((at - 1) & 63) & 1)
        start = chunk_start(maps, at - 1, w->cursor);
    if (w->line[end] == ':' && is_digit(w->line[end + 1])) /* an address's port */
        for (end++; w->line + end < w->end && is_digit(w->line[end]);)
            end++;
    if (w->line + end < w->end && maps->chunk[end >> 6] >> (end & 63) & 1)
        end = chunk_end(maps, end);
    if (w->line[start] == '/' && w->line[start + 1] == '/')
        start = extend_back(w, start, NV_URL);
    while ((w->line[end - 1] == '.' || w->line[end - 1] == '-') && end > at + 1)
        end--;
    variable(w, start, end, NV_VALUE);
    return end;
}

static uint32_t take_chunk(walk *w, uint32_t trigger)
{
    if (__builtin_expect(w->line[trigger] == '<', 0)) /* only where find_masks has put a trigger */
        return take_mask(w, trigger);
    nv_bitmaps *maps = &w->out->maps;
    uint32_t start = chunk_start(maps, trigger, w->cursor), end = chunk_end(maps, trigger);
    const uint8_t *p = w->line + start;
    if (w->seek_time && is_digit(*p) && start < TIME_WITHIN && may_be_time(p, end - start)) {
        w->seek_time--;
        int taken = try_time(w, start);
        if (taken) {
            w->seek_time = 0;
            w->header = start + (uint32_t)taken;
            end = end > w->header ? end : w->header;
            variable(w, start, end, NV_TIME);
            return end;
        }
    }
    nv_kind kind = kind_of(w, start, &end);
    if (kind == NV_WORD)
        return end;
    start = extend_back(w, start, kind);
    while ((w->line[end - 1] == '.' || w->line[end - 1] == '-') && end > start + 1)
        end--;
    if (w->line[end] == ' ' && is_digit(w->line[end - 1]) && STARTS_UNIT[w->line[end + 1]]) {
        end += (uint32_t)nv_unit(w->line + end);
        if (w->line + end > w->end)
            end = (uint32_t)(w->end - w->line);
    }
    variable(w, start, end, kind);
    return end;
}

void nv_lex(const uint8_t *p, size_t n, int64_t received, int want, nv_line *out)
{
    size_t looked = n < NV_LOOK ? n : NV_LOOK;
    if (n > NV_LOOK) { /* no token may go on past the look: what lies there would change it, and cost its length */
        memcpy(out->head, p, NV_LOOK);
        memset(out->head + NV_LOOK, 0, NV_PADDING);
        p = out->head;
    }
    walk w = {.line = p, .end = p + looked, .received = received, .want = want, .out = out, .text = out->template_text};
    w.after = UINT32_MAX;
    out->spans = out->pairs = 0;
    out->timestamp = NV_NO_TIME;
    nv_bitmaps *maps = &out->maps;
    uint32_t blocks = (uint32_t)((looked + 63) / 64);
    nv_classify(p, looked, maps);
    join_maps(maps, blocks);
    if (want & NV_WANT_TIME) {
        w.seek_time = TIME_TRIES;
        time_at_start(&w);
    }
    if (want & NV_WANT_MASKS)
        find_masks(&w);
    uint32_t next = w.cursor;
    for (uint32_t b = next >> 6; b < blocks;) {
        uint64_t triggers = maps->trigger[b] & (~UINT64_C(0) << (next & 63));
        if (!triggers) {
            next = ++b * 64;
            continue;
        }
        uint32_t at = b * 64 + (uint32_t)__builtin_ctzll(triggers);
        next = p[at] == '=' ? take_value(&w, at) : take_chunk(&w, at);
        if (next <= at)
            next = at + 1;
        b = next >> 6;
    }
    put(&w, p + w.cursor, looked - w.cursor);
    out->template_length = (uint32_t)(w.text - out->template_text);
    out->fingerprint = nv_hash(out->template_text, out->template_length);
    out->level = want & NV_WANT_LEVEL ? find_level(&w) : NV_LEVEL_NONE;
}
