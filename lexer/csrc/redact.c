#define _GNU_SOURCE /* memmem */
#include "redact.h"

#include "classes.h"

const char *const NV_SECRET_NAMES[NV_SECRETS] = {
    "email", "ipv4", "ipv6", "mac", "card", "token", "aws-key", "private-key", "iban", "url-credentials", "key", "cut",
};

#define MASK_START "<redacted:"
#define HAS(policy, secret) ((policy)->classes >> (secret) & 1)
#define BACK 256      /* bytes before a byte that are looked at, for what it stands in the middle of */
#define NAME_BACK 512
#define HEAD_BYTES 1024 /* of a token, up to its first dot */

/* Why the scan stops at a byte. */
enum { AT_SIGN = 1, PERCENT = 2, DOT = 4, COLON = 8, EQUALS = 16, DASH = 32, DIGIT = 64, JAY = 128, BEE = 256, AWS = 512 };

typedef struct {
    const nv_policy *policy;
    const uint8_t *p;
    size_t n, floor; /* all before it is decided */
    int split;       /* the line goes on behind the text */
    nv_found *out;
} scan;

static inline int is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }
static inline int is_alpha(uint8_t c) { return (uint8_t)((c | 32) - 'a') < 26; }
static inline int is_upper(uint8_t c) { return (uint8_t)(c - 'A') < 26; }
static inline int is_alnum(uint8_t c) { return is_digit(c) || is_alpha(c); }
static inline int is_hex(uint8_t c) { return is_digit(c) || (uint8_t)((c | 32) - 'a') < 6; }
static inline int is_space(uint8_t c) { return c == ' ' || c == '\t'; }
static inline int is_base64(uint8_t c) { return is_alnum(c) || c == '+' || c == '/'; }
static inline int is_token(uint8_t c) { return is_alnum(c) || c == '-' || c == '_'; }
static inline uint8_t lower(uint8_t c) { return is_upper(c) ? c | 32 : c; }
static inline uint8_t at(const scan *s, size_t i) { return i < s->n ? s->p[i] : 0; }
static inline uint8_t before(const scan *s, size_t i) { return i > s->floor ? s->p[i - 1] : 0; }

static int found(scan *s, size_t start, size_t end, nv_secret secret)
{
    *s->out = (nv_found){.start = start, .end = end, .secret = secret, .until = ' '};
    return 1;
}

static int same_word(const scan *s, size_t i, const char *word) /* in lower case */
{
    for (; *word; word++, i++)
        if (lower(at(s, i)) != (uint8_t)*word)
            return 0;
    return 1;
}

/* ---- names of keys ---- */

static inline int in_name(uint8_t c) { return is_alnum(c) || c >= 0x80; }

int nv_policy_add_key(nv_policy *policy, const uint8_t *p, size_t n)
{
    uint8_t *to = policy->key[policy->keys < NV_MAX_SECRET_KEYS ? policy->keys : 0], length = 0;
    if (policy->keys == NV_MAX_SECRET_KEYS)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (in_name(p[i])) {
            if (length == NV_SECRET_KEY_ROOM)
                return 0;
            to[length++] = lower(p[i]);
        }
    if (!length)
        return 0;
    policy->key_length[policy->keys++] = length;
    policy->last[to[length - 1]] = 1;
    policy->classes |= 1u << NV_SECRET_KEY;
    policy->stops['='] |= EQUALS;
    policy->stops[':'] |= EQUALS;
    return 1;
}

/* Whether a name that ends at `n` ends with the key, which starts where a word does. */
static int ends_with(const uint8_t *p, size_t n, const uint8_t *key, size_t length)
{
    while (length) {
        while (n && !in_name(p[n - 1]))
            n--;
        if (!n || lower(p[n - 1]) != key[length - 1])
            return 0;
        n--;
        length--;
    }
    return !n || !in_name(p[n - 1]) || (is_upper(p[n]) && !is_upper(p[n - 1]));
}

static int part_is_secret(const nv_policy *policy, const uint8_t *p, size_t n)
{
    while (n && !in_name(p[n - 1]))
        n--;
    if (!n || !policy->last[lower(p[n - 1])])
        return 0;
    for (uint32_t i = 0; i < policy->keys; i++)
        if (ends_with(p, n, policy->key[i], policy->key_length[i]))
            return 1;
    return 0;
}

int nv_is_secret_key(const nv_policy *policy, const uint8_t *p, size_t n)
{
    if (!HAS(policy, NV_SECRET_KEY))
        return 0;
    if (part_is_secret(policy, p, n))
        return 1;
    for (size_t i = 0; i < n; i++)
        if (p[i] == '.' && part_is_secret(policy, p, i))
            return 1;
    return 0;
}

/* A name whose value may hold spaces: a header, up to the line's end. */
static int is_header(const uint8_t *p, size_t n)
{
    static const char *const headers[] = {"authorization", "cookie"};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        if (ends_with(p, n, (const uint8_t *)headers[i], strlen(headers[i])))
            return 1;
    return 0;
}

/* ---- values of keys ---- */

/* Where the quote that opened before i, with so many backslashes before it, is closed; n where it is not. */
static size_t closing(const scan *s, size_t i, uint8_t quote, size_t slashes)
{
    size_t run = 0;
    for (; i < s->n; i++) {
        if (s->p[i] == '\\') {
            run++;
            continue;
        }
        if (s->p[i] == quote && run % (2 * (slashes + 1)) == slashes)
            return i - slashes;
        run = 0;
    }
    return s->n;
}

/* Behind the bracket that closes the one at i. */
static size_t past_brackets(const scan *s, size_t i)
{
    int depth = 0;
    for (; i < s->n; i++) {
        uint8_t c = s->p[i];
        if (c == '"') {
            i = closing(s, i + 1, '"', 0);
            continue;
        }
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        if (!depth)
            return i + 1;
    }
    return s->n;
}

/* Whether a name and what sets its value apart stand here: another pair begins. */
static int pair_here(const scan *s, size_t i)
{
    size_t start = i;
    while (i < s->n && (in_name(s->p[i]) || s->p[i] == '_' || s->p[i] == '-' || s->p[i] == '.'))
        i++;
    return i > start && (at(s, i) == '=' || at(s, i) == ':');
}

static size_t bare_end(const scan *s, size_t i)
{
    size_t start = i;
    for (; i < s->n && s->p[i] > ' '; i++) {
        uint8_t c = s->p[i];
        if (c == '"' || c == '\'' || c == '`' || (c == '\\' && (at(s, i + 1) == '"' || at(s, i + 1) == 'n')))
            break;
        if ((c == ',' || c == ';' || c == '&' || c == '|') && pair_here(s, i + 1))
            break;
    }
    while (i > start + 1 && i < s->n && memchr(",;)]}>|", s->p[i - 1], 7))
        i--;
    return i;
}

static size_t word_end(const scan *s, size_t i)
{
    while (i < s->n && s->p[i] > ' ' && s->p[i] != '"' && s->p[i] != '\'' && s->p[i] != '\\')
        i++;
    return i;
}

static size_t header_end(const scan *s, size_t i)
{
    while (i < s->n && s->p[i] != '"' && s->p[i] != '\'' && s->p[i] != '\n' && s->p[i] != '\r')
        i++;
    while (i && is_space(s->p[i - 1]))
        i--;
    return i;
}

/* How credentials are said to be of some kind: what follows belongs to them. */
static size_t past_scheme(const scan *s, size_t i, size_t end)
{
    static const char *const schemes[] = {"bearer", "basic", "digest", "token", "negotiate", "apikey", "hmac"};
    for (size_t k = 0; k < sizeof schemes / sizeof *schemes; k++)
        if (end - i == strlen(schemes[k]) && same_word(s, i, schemes[k]) && is_space(at(s, end))) {
            while (end < s->n && is_space(s->p[end]))
                end++;
            return word_end(s, end);
        }
    return end;
}

/* The value of the key whose name ends before i, where `=` or `:` stands. */
static int key_value(scan *s, size_t i)
{
    size_t end = i, start, slashes = 0, value = i + 1;
    uint8_t quote = 0;
    const uint8_t *p = s->p;
    while (end > s->floor && i - end < 8 && is_space(p[end - 1]))
        end--;
    if (end > s->floor && (p[end - 1] == '"' || p[end - 1] == '\'')) {
        quote = p[--end];
        while (end > s->floor && p[end - 1] == '\\') {
            end--;
            slashes++;
        }
    }
    for (start = end; start > s->floor && end - start < NAME_BACK; start--) {
        uint8_t c = p[start - 1];
        if (quote ? c == quote || c < ' ' : !(in_name(c) || c == '_' || c == '-' || c == '.'))
            break;
    }
    if (!nv_is_secret_key(s->policy, p + start, end - start))
        return 0;
    if (p[i] == '=' && at(s, value) == '>')
        value++;
    while (value < s->n && (is_space(p[value]) || (quote && (p[value] == '\n' || p[value] == '\r'))))
        value++;
    size_t open = value, backs = 0;
    while (at(s, open) == '\\') {
        open++;
        backs++;
    }
    uint8_t c = at(s, open);
    uint8_t needs = 0, until = ' ';
    if (value >= s->n)
        return 0;
    if (c == '"' || c == '\'' || c == '`') {
        value = open + 1;
        end = closing(s, value, c, backs);
        until = c;
    } else if (c == '{' || c == '[') {
        end = past_brackets(s, value);
        until = 0;
        needs = quote == '"' ? (uint8_t)(slashes < 64 ? slashes + 1 : 1) : 0;
    } else if (quote == '"') { /* JSON's numbers, true, false and null */
        for (end = value; end < s->n && p[end] > ' ' && !memchr(",}]\"", p[end], 4);)
            end++;
        needs = (uint8_t)(slashes < 64 ? slashes + 1 : 1);
    } else if (p[i] == ':' && is_header(p + start, i - start)) {
        end = header_end(s, value);
        until = 0;
    } else {
        end = past_scheme(s, value, bare_end(s, value));
        while (end < s->n && p[end - 1] == ';' && is_space(p[end]) && is_header(p + start, i - start))
            end = word_end(s, end + 1); /* the next cookie */
    }
    if (end <= value || nv_mask_length(p + value, p + s->n) >= end - value) /* or a mask that lost its last byte */
        return 0;
    found(s, value, end, NV_SECRET_KEY);
    s->out->quoted = needs;
    s->out->until = until;
    return 1;
}

/* ---- addresses ---- */

static inline int in_local(uint8_t c)
{
    return is_alnum(c) || c >= 0x80 || c == '.' || c == '_' || c == '%' || c == '+' || c == '-';
}

/* `at_length` bytes at i are the `@`, written as it is or in a URL's way. */
static int email(scan *s, size_t i, size_t at_length)
{
    size_t start = i, end = i + at_length, dots = 0, top;
    while (start > s->floor && i - start < BACK && in_local(s->p[start - 1]))
        start--;
    for (top = end; end < s->n; end++) {
        uint8_t c = s->p[end];
        if (c == '.' && end > top) {
            dots++;
            top = end + 1;
        } else if (!(is_alnum(c) || c >= 0x80 || c == '-')) {
            break;
        }
    }
    size_t top_start = top;
    if (top == end && dots) { /* a sentence's end */
        end--;
        dots--;
        for (top_start = end; s->p[top_start - 1] != '.' && top_start > i + at_length;)
            top_start--;
    }
    if (!dots || !(is_alpha(s->p[top_start]) || s->p[top_start] >= 0x80)) /* a version, or an address in numbers */
        return 0;
    return start < i && end > i + at_length + 3 && found(s, start, end, NV_SECRET_EMAIL);
}

/* Where the dotted quad that starts at i ends; i where none does. */
static size_t quad_end(const scan *s, size_t i)
{
    size_t start = i;
    for (int part = 0; part < 4; part++) {
        unsigned value = 0, digits = 0;
        for (; digits < 4 && is_digit(at(s, i)); i++, digits++)
            value = value * 10 + (unsigned)(s->p[i] - '0');
        if (!digits || digits > 3 || value > 255 || (part < 3 && at(s, i++) != '.'))
            return start;
    }
    if (is_alnum(at(s, i)) || (at(s, i) == '.' && is_digit(at(s, i + 1))))
        return start;
    return i;
}

static int ipv4(scan *s, size_t i)
{
    size_t start = i;
    while (start > s->floor && i - start < 4 && is_digit(s->p[start - 1]))
        start--;
    uint8_t c = before(s, start);
    if (start == i || is_alnum(c) || (c == '.' && start > s->floor + 1 && is_digit(s->p[start - 2])))
        return 0;
    size_t end = quad_end(s, start);
    return end > start && found(s, start, end, NV_SECRET_IPV4);
}

/* Six pairs of hexadecimal digits, set apart by what stands at i. */
static int mac(scan *s, size_t i)
{
    uint8_t separator = s->p[i];
    if (i < s->floor + 2)
        return 0;
    size_t start = i - 2, k = start;
    uint8_t c = before(s, start);
    if (is_alnum(c) || c == separator)
        return 0;
    for (int pair = 0; pair < 6; pair++, k += 3)
        if (!is_hex(at(s, k)) || !is_hex(at(s, k + 1)) || (pair < 5 && at(s, k + 2) != separator))
            return 0;
    k--;
    return !is_alnum(at(s, k)) && !(at(s, k) == separator && is_hex(at(s, k + 1))) && found(s, start, k, NV_SECRET_MAC);
}

static int ipv6(scan *s, size_t i)
{
    size_t start = i, end, quad;
    while (start > s->floor && i - start < 5 && is_hex(s->p[start - 1]))
        start--;
    if (i - start > 4 || is_alnum(before(s, start)) || before(s, start) == ':')
        return 0;
    int groups = 0, gap = 0, digit = 0;
    for (end = start; end < s->n;) {
        size_t group = end;
        while (end < s->n && is_hex(s->p[end])) {
            digit |= is_digit(s->p[end]);
            end++;
        }
        if (end - group > 4)
            return 0;
        if (end > group && at(s, end) == '.' && groups && (quad = quad_end(s, group)) > group) {
            groups += 2;
            end = quad;
            digit = 1;
            break;
        }
        groups += end > group;
        if (at(s, end) != ':')
            break;
        if (at(s, end + 1) == ':') {
            gap++;
            end += 2;
        } else if (!is_hex(at(s, end + 1)) || (end == start)) {
            break; /* a colon of the sentence's */
        } else {
            end++;
        }
    }
    if (gap > 1 || !digit || (gap ? groups > 7 : groups != 8) || is_alnum(at(s, end)))
        return 0;
    return groups && found(s, start, end, NV_SECRET_IPV6);
}

/* `://user:password@`, without what is around it. */
static int url_credentials(scan *s, size_t i)
{
    if (at(s, i + 1) != '/' || at(s, i + 2) != '/')
        return 0;
    size_t start = i + 3, sign = 0, colon = 0;
    for (size_t k = start; k < s->n && s->p[k] > ' ' && !memchr("\"'<>`", s->p[k], 5); k++) {
        uint8_t c = s->p[k];
        if (c == '@') {
            sign = k;
        } else if (c == ':' && !colon && !sign) {
            colon = k;
        } else if (c == '/' || c == '?' || c == '#') { /* not after a port: a password that should have been encoded */
            size_t d = colon + 1;
            while (d < k && is_digit(s->p[d]))
                d++;
            if (!colon || sign || d == k || k - start > BACK)
                break;
        }
    }
    return sign > start && nv_mask_length(s->p + start, s->p + sign) != sign - start &&
           found(s, start, sign, NV_SECRET_URL);
}

/* ---- numbers with check digits ---- */

/* A card's number starts at i: 13 to 19 digits after Luhn, together or in groups. */
static int card(scan *s, size_t i)
{
    uint8_t c = before(s, i);
    if (is_alnum(c) || s->p[i] < '2' || s->p[i] > '6' || (c == '.' && i > s->floor + 1 && is_digit(s->p[i - 2])))
        return 0;
    unsigned digits = 0, even = 0, odd = 0, group = 0; /* sums where the digit is, or is not, doubled */
    uint8_t separator = 0;
    size_t end = 0;
    for (size_t k = i; k < s->n && digits < 19; k++) {
        if (is_digit(s->p[k])) {
            static const uint8_t twice[10] = {0, 2, 4, 6, 8, 1, 3, 5, 7, 9};
            unsigned d = (unsigned)(s->p[k] - '0'), sum = even;
            even = odd + d; /* the digit at the end is not doubled */
            odd = sum + twice[d];
            digits++;
            group++;
            int stops = !is_alnum(at(s, k + 1));
            if (stops && digits >= 13 && even % 10 == 0 && !(at(s, k + 1) == '.' && is_digit(at(s, k + 2))))
                end = k + 1;
        } else {
            if ((s->p[k] != ' ' && s->p[k] != '-') || (separator && s->p[k] != separator) || group < 4)
                break;
            separator = s->p[k];
            group = 0;
        }
    }
    return end && found(s, i, end, NV_SECRET_CARD); /* the longest that it may be */
}

/* An account's number, whose two letters stand before i: up to 34, set apart in fours or not, after ISO 7064. */
static int iban(scan *s, size_t i)
{
    if (i < s->floor + 2 || !is_upper(s->p[i - 1]) || !is_upper(s->p[i - 2]) || is_alnum(before(s, i - 2)) ||
        !is_digit(at(s, i + 1)))
        return 0;
    const uint8_t *head = s->p + i - 2;
    unsigned rest = 0, length = 4;
    for (size_t k = i + 2; k < s->n && length < 34; k++) {
        uint8_t c = s->p[k];
        if (c == ' ' && length % 4 == 0)
            c = at(s, ++k);
        if (!is_digit(c) && !is_upper(c))
            return 0;
        rest = is_digit(c) ? (rest * 10 + (unsigned)(c - '0')) % 97 : (rest * 100 + (unsigned)(c - 'A' + 10)) % 97;
        if (++length < 15 || is_alnum(at(s, k + 1)))
            continue;
        unsigned all = rest;
        for (int h = 0; h < 4; h++)
            all = h < 2 ? (all * 100 + (unsigned)(head[h] - 'A' + 10)) % 97 : (all * 10 + (unsigned)(head[h] - '0')) % 97;
        if (all == 1)
            return found(s, i - 2, k + 1, NV_SECRET_IBAN);
    }
    return 0;
}

/* ---- tokens and keys ---- */

/* A signed token: its first two letters, `ey`, stand before i. */
static int jwt(scan *s, size_t i)
{
    if (i < s->floor + 2 || s->p[i - 1] != 'y' || s->p[i - 2] != 'e' || is_alnum(before(s, i - 2)))
        return 0;
    size_t start = i - 2, end = i, dots = 0, part = start;
    for (; end < s->n && (dots || end - start < HEAD_BYTES) && (is_token(s->p[end]) || (s->p[end] == '.' && end > part && is_token(at(s, end + 1)))); end++)
        if (s->p[end] == '.') {
            dots++;
            part = end + 1;
        }
    if (s->split && end == s->n ? end - start < 8 : !dots || end - start < 16)
        return 0;
    return found(s, start, end, NV_SECRET_TOKEN);
}

/* What follows `Bearer` or `Basic`, which start at i. */
static int credentials(scan *s, size_t i)
{
    int basic = same_word(s, i, "basic");
    if (is_alnum(before(s, i)) || !(basic || same_word(s, i, "bearer")))
        return 0;
    size_t start = i + (basic ? 5 : 6), end;
    if (!is_space(at(s, start)))
        return 0;
    while (is_space(at(s, start)))
        start++;
    int marks = 0, upper = 0;
    for (end = start; end < s->n && (is_base64(s->p[end]) || memchr("-._~=", s->p[end], 5)); end++) {
        marks |= is_digit(s->p[end]) || memchr("_=+/~", s->p[end], 5) || (s->p[end] == '.' && is_alnum(at(s, end + 1)));
        upper |= end > start && is_upper(s->p[end]);
    }
    size_t n = end - start;
    if (n && s->p[end - 1] == '.') /* a sentence's end */
        end--;
    if (!(s->split && end == s->n) && (basic ? n < 6 || !(marks || upper) : n < 6 || !(marks || upper || n >= 16)))
        return 0;
    return end > start && found(s, start, end, NV_SECRET_TOKEN);
}

/* AKIA or ASIA and sixteen more; i is at the second letter. */
static int aws_key(scan *s, size_t i)
{
    if (before(s, i) != 'A' || at(s, i + 1) != 'I' || at(s, i + 2) != 'A' || is_alnum(before(s, i - 1)))
        return 0;
    for (size_t k = i + 3; k < i + 19; k++)
        if (!is_upper(at(s, k)) && !is_digit(at(s, k)))
            return 0;
    return !is_alnum(at(s, i + 19)) && found(s, i - 1, i + 19, NV_SECRET_AWS_KEY);
}

#define PEM_END "PRIVATE KEY-----"

/* Behind the line that ends a private key, from i on; 0 where there is none. */
static size_t pem_end(const scan *s, size_t i)
{
    while (i < s->n) {
        const uint8_t *end = memmem(s->p + i, s->n - i, "-----END ", 9), *mark;
        if (!end)
            return 0;
        i = (size_t)(end - s->p) + 9;
        mark = memmem(end, s->n - (i - 9) < 64 ? s->n - (i - 9) : 64, PEM_END, sizeof PEM_END - 1);
        if (mark)
            return (size_t)(mark - s->p) + sizeof PEM_END - 1;
    }
    return 0;
}

static int private_key(scan *s, size_t i)
{
    size_t left = s->n - i;
    if (left < 27 || memcmp(s->p + i, "-----BEGIN ", 11) ||
        !memmem(s->p + i, left < 64 ? left : 64, PEM_END, sizeof PEM_END - 1))
        return 0;
    size_t end = pem_end(s, i);
    found(s, i, end ? end : s->n, NV_SECRET_PRIVATE_KEY);
    s->out->until = end ? ' ' : '-';
    return 1;
}

/* ---- the scan ---- */

void nv_policy_init(nv_policy *policy, uint32_t classes)
{
    memset(policy, 0, sizeof *policy);
    policy->classes = classes & ~(1u << NV_SECRET_KEY) & ~(1u << NV_SECRET_CUT);
#define ON(secret, bytes, why) \
    if (HAS(policy, secret)) \
        for (const char *b = bytes; *b; b++) \
            policy->stops[(uint8_t)*b] |= why
    ON(NV_SECRET_EMAIL, "@", AT_SIGN);
    ON(NV_SECRET_EMAIL, "%", PERCENT);
    ON(NV_SECRET_IPV4, ".", DOT);
    ON(NV_SECRET_IPV6, ":", COLON);
    ON(NV_SECRET_MAC, ":", COLON);
    ON(NV_SECRET_MAC, "-", DASH);
    ON(NV_SECRET_URL, ":", COLON);
    ON(NV_SECRET_CARD, "23456", DIGIT);
    ON(NV_SECRET_IBAN, "0123456789", DIGIT);
    ON(NV_SECRET_TOKEN, "J", JAY);
    ON(NV_SECRET_TOKEN, "Bb", BEE);
    ON(NV_SECRET_AWS_KEY, "KS", AWS);
    ON(NV_SECRET_PRIVATE_KEY, "-", DASH);
#undef ON
}

static int look(scan *s, size_t i)
{
    const nv_policy *policy = s->policy;
    uint16_t why = policy->stops[s->p[i]];
    if (why & COLON) {
        if (HAS(policy, NV_SECRET_URL) && url_credentials(s, i))
            return 1;
        if (HAS(policy, NV_SECRET_MAC) && mac(s, i))
            return 1;
        if (HAS(policy, NV_SECRET_IPV6) && ipv6(s, i))
            return 1;
    }
    if (why & EQUALS && HAS(policy, NV_SECRET_KEY) && key_value(s, i))
        return 1;
    if (why & DASH && ((HAS(policy, NV_SECRET_PRIVATE_KEY) && private_key(s, i)) || (HAS(policy, NV_SECRET_MAC) && mac(s, i))))
        return 1;
    return (why & AT_SIGN && email(s, i, 1)) ||
           (why & PERCENT && at(s, i + 1) == '4' && at(s, i + 2) == '0' && email(s, i, 3)) ||
           (why & DOT && ipv4(s, i)) ||
           (why & DIGIT && ((HAS(policy, NV_SECRET_IBAN) && iban(s, i)) || (HAS(policy, NV_SECRET_CARD) && card(s, i)))) ||
           (why & JAY && jwt(s, i)) || (why & BEE && credentials(s, i)) || (why & AWS && aws_key(s, i));
}

static int push(nv_redactor *r, const nv_found *one)
{
    if (nv_append(&r->found, one, sizeof *one))
        return 1;
    r->failed = 1;
    return 0;
}

/* Whether one look at what stands beside the byte is enough to go on: most bytes that are stopped at are of that kind. */
static inline int passes(const scan *s, size_t i, uint16_t why)
{
    uint8_t left = i ? s->p[i - 1] : 0, right = at(s, i + 1);
    switch (why) {
    case DIGIT: /* an IBAN's, or one of four at least */
        return is_digit(left) || (is_alpha(left) ? !is_upper(left)
                                                 : !(is_digit(right) && is_digit(at(s, i + 2)) && is_digit(at(s, i + 3))));
    case BEE: return lower(right) != 'e' && lower(right) != 'a';
    case DASH: return right != '-' && !is_hex(left);
    case AWS: return left != 'A' || right != 'I';
    case JAY: return left != 'y';
    default: return 0;
    }
}

static void scan_text(nv_redactor *r, const uint8_t *p, size_t start, size_t n, int split)
{
    nv_found one;
    scan s = {.policy = r->policy, .p = p, .n = n, .floor = start, .split = split, .out = &one};
    const uint16_t *stops = r->policy->stops;
    for (size_t i = start; i < n;) {
        if (!stops[p[i]] || passes(&s, i, stops[p[i]]) || !look(&s, i)) {
            i++;
            continue;
        }
        if (!push(r, &one))
            return;
        i = s.floor = one.end > i ? one.end : i + 1;
    }
}

/* ---- lines of a private key that are records of their own, and lines that were cut ---- */

/* A line of base64 and nothing else; of a length that such lines have, unless a key is `open`. */
static int is_pem_line(const uint8_t *p, size_t n, int open)
{
    int plain = 1; /* a hash in hexadecimal is no such line */
    while (n && (p[n - 1] == '\r' || is_space(p[n - 1])))
        n--;
    while (n && is_space(*p)) {
        p++;
        n--;
    }
    if (open ? !n || n % 4 || n > 76 : n != 64 && n != 76)
        return 0;
    while (n && p[n - 1] == '=')
        n--;
    for (size_t i = 0; i < n; i++) {
        if (!is_base64(p[i]))
            return 0;
        plain &= is_hex(p[i]) && !is_upper(p[i]);
    }
    return open || !plain;
}

/* Takes whole lines of a key; returns where it has looked up to. */
static size_t scan_pem(nv_redactor *r, const uint8_t *p, size_t n, nv_carry *carry)
{
    scan s = {.policy = r->policy, .p = p, .n = n};
    if (carry->pem_lines) {
        size_t end = pem_end(&s, 0), begin = end;
        const uint8_t *first = memmem(p, n, "-----", 5);
        if (end && first && !memcmp(first, "-----END", n - (size_t)(first - p) < 8 ? n - (size_t)(first - p) : 8)) {
            carry->pem_lines = 0;
            begin = (size_t)(first - p);
            for (size_t i = 0; i < begin; i++)
                if (!is_base64(p[i]) && p[i] != '=' && p[i] > ' ')
                    return 0; /* something else stands before the line */
            nv_found one = {.end = end, .secret = NV_SECRET_PRIVATE_KEY};
            push(r, &one);
            return end;
        }
    }
    size_t start = 0, done = 0;
    while (start < n) {
        const uint8_t *newline = memchr(p + start, '\n', n - start);
        size_t end = newline ? (size_t)(newline - p) : n;
        if (!is_pem_line(p + start, end - start, carry->pem_lines > 0))
            break; /* what follows other text in a record is behind the line that begins it */
        nv_found one = {.start = start, .end = end, .secret = NV_SECRET_PRIVATE_KEY};
        if (!push(r, &one))
            return n;
        done = end;
        start = end + 1;
    }
    if (carry->pem_lines)
        carry->pem_lines--;
    return done;
}

/* Where what was open at a cut ends. */
static size_t carried_end(const nv_carry *carry, const uint8_t *p, size_t n)
{
    scan s = {.p = p, .n = n};
    size_t i = 0;
    switch (carry->until) {
    case 0: return n;
    case '-': i = pem_end(&s, 0); return i ? i : n;
    case ' ': return word_end(&s, 0);
    default: return closing(&s, 0, carry->until, 0);
    }
}

/* What the piece before left behind; returns where it has looked up to. */
static size_t begin_piece(nv_redactor *r, const uint8_t *p, size_t n, const nv_carry *carry)
{
    size_t near = n < NV_CUT_BYTES ? n : NV_CUT_BYTES, end = carry->open ? carried_end(carry, p, n) : near;
    nv_found one = {.end = end > near ? end : near, .secret = carry->open ? (nv_secret)(carry->open - 1) : NV_SECRET_CUT};
    one.until = carry->until;
    if (n)
        push(r, &one);
    return one.end;
}

/* Mask what is near the cut, and say what is open there. */
static void end_piece(nv_redactor *r, size_t n, nv_carry *carry)
{
    size_t count = r->found.length / sizeof(nv_found), near = n > NV_CUT_BYTES ? n - NV_CUT_BYTES : 0;
    nv_found *all = (nv_found *)r->found.data, *last = count ? &all[count - 1] : NULL;
    carry->cut = 1;
    carry->open = 0;
    if (last && last->end == n && last->secret != NV_SECRET_CUT) {
        carry->open = (uint8_t)(last->secret + 1);
        carry->until = last->until;
        if (last->start < near)
            return;
    }
    while (count && all[count - 1].start >= near)
        count--; /* a mask for all that is near says less */
    r->found.length = count * sizeof *all;
    if (count && all[count - 1].end > near)
        near = all[count - 1].end;
    nv_found one = {.start = near, .end = n, .secret = NV_SECRET_CUT};
    if (near < n)
        push(r, &one);
}

static void find(nv_redactor *r, const uint8_t *p, size_t n, nv_carry *carry, int split)
{
    size_t start = 0;
    int pem = r->policy->classes >> NV_SECRET_PRIVATE_KEY & 1;
    r->found.length = 0;
    if (carry && carry->cut)
        start = begin_piece(r, p, n, carry);
    else if (carry && pem && n && (is_base64(*p) || is_space(*p) || *p == '-'))
        start = scan_pem(r, p, n, carry);
    else if (carry && carry->pem_lines)
        carry->pem_lines--;
    scan_text(r, p, start, n, split);
    if (!carry)
        return;
    size_t count = r->found.length / sizeof(nv_found);
    const nv_found *last = count ? (nv_found *)r->found.data + count - 1 : NULL;
    if (pem && last && last->secret == NV_SECRET_PRIVATE_KEY && last->until == '-' && last->end == n)
        carry->pem_lines = NV_PEM_LINES;
    if (split)
        end_piece(r, n, carry);
    else
        carry->cut = carry->open = 0;
}

/* ---- masks ---- */

size_t nv_mask_length(const uint8_t *p, const uint8_t *end)
{
    size_t n = (size_t)(end - p), i = sizeof MASK_START - 1;
    if (n < i + 2 || memcmp(p, MASK_START, i))
        return 0;
    while (i < n && i < NV_MASK_ROOM && (is_digit(p[i]) || (p[i] >= 'a' && p[i] <= 'z') || p[i] == '-' || p[i] == ':'))
        i++;
    return i < n && p[i] == '>' ? i + 1 : 0;
}

/* Write a mask for n bytes at p; its length. */
static size_t put_mask(const nv_redactor *r, uint8_t *out, const uint8_t *p, size_t n, nv_secret secret)
{
    uint8_t *to = out, digest[6];
    const char *name = NV_SECRET_NAMES[secret];
    memcpy(to, MASK_START, sizeof MASK_START - 1);
    to += sizeof MASK_START - 1;
    memcpy(to, name, strlen(name));
    to += strlen(name);
    if (r->policy->hash_key_length) {
        nv_blake2b(digest, sizeof digest, r->policy->hash_key, r->policy->hash_key_length, p, n);
        *to++ = ':';
        for (size_t i = 0; i < sizeof digest; i++) {
            *to++ = (uint8_t)"0123456789abcdef"[digest[i] >> 4];
            *to++ = (uint8_t)"0123456789abcdef"[digest[i] & 15];
        }
    }
    *to++ = '>';
    return (size_t)(to - out);
}

typedef struct block {
    struct block *next;
    uint8_t data[];
} block;

static uint8_t *hold(nv_redactor *r, size_t n)
{
    block *one = malloc(sizeof *one + n + NV_PADDING);
    if (!one) {
        r->failed = 1;
        return NULL;
    }
    one->next = r->held;
    r->held = one;
    return one->data;
}

void nv_redactor_forget(nv_redactor *r)
{
    for (block *one = r->held, *next; one; one = next) {
        next = one->next;
        free(one);
    }
    r->held = NULL;
}

void nv_redactor_free(nv_redactor *r)
{
    nv_redactor_forget(r);
    nv_buffer_free(&r->found);
}

static const uint8_t *nothing(size_t *n, size_t *marks[], int count) /* memory ran out: the caller will fail */
{
    static const uint8_t empty[NV_PADDING] = {0};
    for (int i = 0; i < count; i++)
        *marks[i] = 0;
    *n = 0;
    return empty;
}

const uint8_t *nv_redact_whole(nv_redactor *r, const uint8_t *p, size_t *n, nv_secret secret)
{
    if (!*n || nv_mask_length(p, p + *n) == *n)
        return p;
    uint8_t *out = hold(r, NV_MASK_ROOM);
    if (!out)
        return nothing(n, NULL, 0);
    r->counts[secret]++;
    *n = put_mask(r, out, p, *n, secret);
    memset(out + *n, 0, NV_PADDING);
    return out;
}

const uint8_t *nv_redact(nv_redactor *r, const uint8_t *p, size_t *n, nv_carry *carry, int split, size_t *marks[],
                         int count)
{
    find(r, p, *n, carry, split);
    const nv_found *one = (const nv_found *)r->found.data, *end = one + r->found.length / sizeof *one;
    if (one == end)
        return p;
    size_t room = *n;
    for (const nv_found *f = one; f < end; f++)
        room += NV_MASK_ROOM + 2 + 2 * (size_t)f->quoted;
    uint8_t *out = hold(r, room), *to = out;
    if (!out || r->failed)
        return nothing(n, marks, count);
    size_t from = 0;
    int mark = 0;
    for (; one < end; one++) {
        for (; mark < count && *marks[mark] <= one->start; mark++)
            *marks[mark] = (size_t)(to - out) + *marks[mark] - from;
        memcpy(to, p + from, one->start - from);
        to += one->start - from;
        for (int i = 1; i < one->quoted; i++)
            *to++ = '\\';
        if (one->quoted)
            *to++ = '"';
        to += put_mask(r, to, p + one->start, one->end - one->start, one->secret);
        for (int i = 1; i < one->quoted; i++)
            *to++ = '\\';
        if (one->quoted)
            *to++ = '"';
        for (; mark < count && *marks[mark] < one->end; mark++)
            *marks[mark] = (size_t)(to - out);
        r->counts[one->secret]++;
        from = one->end;
    }
    for (; mark < count; mark++)
        *marks[mark] = (size_t)(to - out) + *marks[mark] - from;
    memcpy(to, p + from, *n - from);
    to += *n - from;
    memset(to, 0, NV_PADDING);
    *n = (size_t)(to - out);
    return out;
}

/* ---- escapes ---- */

static int hex_value(uint8_t c) { return is_digit(c) ? c - '0' : is_hex(c) ? (c | 32) - 'a' + 10 : -1; }

/* The character that an escape at p stands for, if it may stand for itself; and its length. */
static int plain_escape(const uint8_t *p, size_t left, size_t *length)
{
    if (left >= 2 && p[1] == '/') {
        *length = 2;
        return '/';
    }
    if (left < 6 || p[1] != 'u' || p[2] != '0' || p[3] != '0')
        return -1;
    int high = hex_value(p[4]), low = hex_value(p[5]), c = high * 16 + low;
    *length = 6;
    return high < 2 || low < 0 || c > 0x7e || c == '"' || c == '\\' ? -1 : c;
}

const uint8_t *nv_plain_escapes(nv_redactor *r, const uint8_t *p, size_t *n, size_t *marks[], int count)
{
    size_t length;
    const uint8_t *end = p + *n, *from = p;
    if (!memmem(p, *n, "\\u00", 4) && !memmem(p, *n, "\\/", 2))
        return p;
    uint8_t *out = hold(r, *n), *to = out;
    if (!out)
        return nothing(n, marks, count);
    int mark = 0;
    while (from < end) {
        for (; mark < count && *marks[mark] <= (size_t)(from - p); mark++)
            *marks[mark] = (size_t)(to - out);
        int c = *from == '\\' ? plain_escape(from, (size_t)(end - from), &length) : -1;
        if (c >= 0) {
            *to++ = (uint8_t)c;
            from += length;
            continue;
        }
        int two = *from == '\\' && from + 1 < end;
        *to++ = *from++;
        if (two)
            *to++ = *from++;
    }
    for (; mark < count; mark++)
        *marks[mark] = (size_t)(to - out);
    memset(to, 0, NV_PADDING);
    *n = (size_t)(to - out);
    return out;
}
