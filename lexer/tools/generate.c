#include "generate.h"

#include <stdio.h>

#include "records.h"
#include "structured.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

uint64_t random_bits(generator *g) /* splitmix64 */
{
    uint64_t z = g->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

size_t below(generator *g, size_t n)
{
    return n ? (size_t)(random_bits(g) % n) : 0;
}

static int chance(generator *g, size_t one_in)
{
    return below(g, one_in) == 0;
}

static void put(nv_buffer *out, const void *p, size_t n)
{
    if (!nv_append(out, p, n))
        abort();
}

static void put_text(nv_buffer *out, const char *s)
{
    put(out, s, strlen(s));
}

/* A number that is small most often, and now and then as large as `most`. */
static size_t some(generator *g, size_t few, size_t most)
{
    return chance(g, 40) ? below(g, most + 1) : below(g, few + 1);
}

static void put_digits(generator *g, nv_buffer *out, size_t n)
{
    while (n--)
        put(out, "0123456789" + below(g, 10), 1);
}

/* ---- text ---- */

static const char *const FRAGMENTS[] = {
    "2026-11-22T11:00:00.123456789Z", "2026-11-22 11:00:00,123", "2026-11-22 11:00", "20171224-0:3:5:9|", "Nov 22 11:07:01",
    "<34>Nov  2 11:07:01", "[Sun Dec 04 04:47:44 2005]", "10/Oct/2000:13:55:36 -0700", "06/09/2017 08:10:40 PM",
    "17/06/09 20:10:40", "081109 203615 148", "03-17 16:13:38.811", "I1122 11:00:00.5", "Mon, 02 Jan 2006 15:04:05 GMT",
    "02.01.2006 15:04:05", "1117838570", "1700000000123", "9223372036.999999999", "9223372036854775807", "9999999999.5",
    "2262-04-11 23:47:16.854775807", "1900-01-01T00:00:00+99:99", "2099-12-31 23:59:60-99:99", "Feb 29 00:00:00",
    "ERROR", "Info:", "[warn]", "D", "level=error", "10.0.0.1:80", "/10.0.0.1", "fe80::1ff:fe23:4567:890a", "::1", "a:b:c:d:",
    "00:0b:db:a4:5e:11", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "a.b@example.com", "password=", "a=\"", "\"a\": ", "Authorization: ", "://u:p@", "4111 1111 1111 1111",
    "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "eyJhbGciOiJIUzI1NiJ9.eyJ", "Bearer ", "AKIAIOSFODNN7EXAMPLE",
    "DE89 3704 0044 0532 0130 00", "<redacted:email>", "\\u0040", "\\/", "MIIEpAIBAAKCAQEA7bq5l2Yh0kzq9SPq3mQp8c4O0wYb6sQm1x5n3VfJ8dKcTg9L",
    "http://x.example.com:80/a/b?c=1",
    "//host/x", "/var/log/syslog", "~/x/y", "C:\\Windows\\x.dll", "\\\\share\\dir\\", "a/b/c", "and/or", "x.internal:9092",
    "a.b.c.d.e", "0xdeadbeef", "#ff", "deadbeef00", "5 ms", "12 KiB", "7 %", "eth0", "ssh2", "-1", "+1.5,2", "1e9", "00",
    "key=value", "k=\"a b\"", "k='", "k=\"", "a=b=c", "=", "==", "]=1", ")=", "trace_id=abc", "span_id=\"1\"", "name", "word",
    "\"", "'", "\\", "\\\"", "(", ")", "[", "]", "{", "}", "<", ">", "|", ",", ";", ":", "::", ".", "..", "-", "--", "_", "@",
    "a@", "!", "^", "`", "~", "?", "&", "%", "\xc3\xa9", "\xff", "\x80", "\xe2\x82", "\xf0\x9f\x8f\x94", "\x01", "\x7f",
};
static const char *const GAPS[] = {" ", " ", " ", " ", "", "", ", ", ": ", "  ", "\t", "=", ".", "/", ";", "|"};

static void make_text(generator *g, nv_buffer *out)
{
    for (size_t n = some(g, 12, 900); n; n--) {
        if (chance(g, 6))
            put_digits(g, out, some(g, 6, 40));
        else
            put_text(out, FRAGMENTS[below(g, COUNT(FRAGMENTS))]);
        put_text(out, GAPS[below(g, COUNT(GAPS))]);
    }
}

/* The same few pieces again and again, to a length near a bound or far from all. */
static void make_repeated(generator *g, nv_buffer *out)
{
    static const size_t ends[] = {16, 63, 64, 65, 128, 1000, 4032, 4095, 4096, 4097, 4160, 9000};
    nv_buffer unit = {0};
    for (size_t n = 1 + below(g, 3); n; n--)
        put_text(&unit, FRAGMENTS[below(g, COUNT(FRAGMENTS))]);
    size_t end = out->length + ends[below(g, chance(g, 8) ? COUNT(ends) : 6)];
    while (out->length < end)
        put(out, unit.data, unit.length);
    if (chance(g, 2))
        out->length = end;
    nv_buffer_free(&unit);
}

static void make_bytes(generator *g, nv_buffer *out)
{
    size_t n = some(g, 120, 5000);
    if (!nv_reserve(out, n))
        abort();
    while (n--)
        out->data[out->length++] = (uint8_t)random_bits(g);
}

/* ---- JSON ---- */

static const char *const KEYS[] = {
    "a", "b", "", "tags", "tags", "level", "severity", "ts", "time", "@timestamp", "msg", "message", "body", "service", "app",
    "host", "hostname", "trace_id", "span_id", "service.name", "n", "k8s.pod", "\xc3\xa9", "x y", "env", "claimed_timestamp",
};
static const char *const SCALARS[] = {
    "0", "-0", "1.5", "-1.5e+10", "1E5", "true", "false", "null", "1700000000", "1700000000123", "30", "12345678901234567890123",
    "\"info\"", "\"2026-11-22T11:00:00Z\"", "\"\"", "01", "1.", ".5", "+1", "-", "NaN", "tru", "1e", "{}", "[]", "{ }", "'a'",
};
static const char *const ESCAPES[] = {
    "\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u0041", "\\u0000", "\\ud834\\udd1e", "\\ud800", "\\udc00", "\\u20ac",
    "\\uD83D", "\\u12", "\\x", "\\", "\x01", "\t", "\xff", "\xc3\xa9",
};

static void space(generator *g, nv_buffer *out)
{
    while (chance(g, 4))
        put(out, " \t\r \t\r \n" + below(g, chance(g, 50) ? 8 : 7), 1);
}

static void make_string(generator *g, nv_buffer *out)
{
    put_text(out, "\"");
    for (size_t n = some(g, 4, 300); n; n--) {
        size_t what = below(g, 8);
        if (what == 0)
            put_text(out, ESCAPES[below(g, chance(g, 30) ? COUNT(ESCAPES) : 14)]);
        else if (what == 1)
            put_text(out, FRAGMENTS[below(g, 58)]); /* those without quotes */
        else
            put_text(out, "some text " + below(g, 9));
    }
    put_text(out, "\"");
}

static void make_value(generator *g, nv_buffer *out, size_t depth);

static void make_object(generator *g, nv_buffer *out, size_t depth)
{
    put_text(out, "{");
    size_t n = depth ? below(g, 4) : some(g, 8, 60);
    for (size_t i = 0; i < n; i++) {
        space(g, out);
        if (chance(g, 5)) {
            make_string(g, out);
        } else {
            put_text(out, "\"");
            put_text(out, KEYS[below(g, COUNT(KEYS))]);
            put_text(out, "\"");
        }
        space(g, out);
        put_text(out, ":");
        space(g, out);
        make_value(g, out, depth + 1);
        space(g, out);
        if (i + 1 < n || chance(g, 200))
            put_text(out, ",");
    }
    space(g, out);
    put_text(out, "}");
}

static void make_value(generator *g, nv_buffer *out, size_t depth)
{
    size_t what = depth > 6 ? 3 + below(g, 5) : below(g, 10);
    if (what == 0) {
        make_object(g, out, depth);
    } else if (what == 1) {
        put_text(out, "[");
        for (size_t n = below(g, 4); n; n--) {
            make_value(g, out, depth + 1);
            put_text(out, n > 1 ? "," : "");
        }
        put_text(out, "]");
    } else if (what < 6) {
        make_string(g, out);
    } else {
        put_text(out, SCALARS[below(g, chance(g, 60) ? COUNT(SCALARS) : 15)]);
    }
}

/* Brackets about as deep as the limit. */
static void make_deep(generator *g, nv_buffer *out)
{
    size_t depth = NV_JSON_DEPTH - 4 + below(g, 8), objects = below(g, 2);
    for (size_t i = 0; i < depth; i++)
        put_text(out, objects || !i ? "{\"a\":" : "[");
    put_text(out, "1");
    for (size_t i = depth; i-- > 0;)
        put_text(out, objects || !i ? "}" : "]");
}

static void make_json(generator *g, nv_buffer *out)
{
    if (chance(g, 100))
        make_deep(g, out);
    else if (chance(g, 10))
        make_value(g, out, 0);
    else
        make_object(g, out, 0);
}

/* ---- logfmt ---- */

static void make_logfmt(generator *g, nv_buffer *out)
{
    for (size_t n = some(g, 8, 200); n; n--) {
        put_text(out, KEYS[below(g, COUNT(KEYS))]);
        size_t what = below(g, 8);
        if (what)
            put_text(out, "=");
        if (what == 2)
            make_string(g, out);
        else if (what > 2)
            put_text(out, FRAGMENTS[below(g, COUNT(FRAGMENTS))]);
        put_text(out, chance(g, 30) ? "" : " ");
    }
}

/* ---- mutation ---- */

static void mutate(generator *g, nv_buffer *out, size_t start)
{
    size_t n = out->length - start, at = start + below(g, n), length = below(g, 1 + (n < 40 ? n : 40));
    if (!n)
        return;
    if (length > out->length - at)
        length = out->length - at;
    switch (below(g, 6)) {
    case 0: out->data[at] = (uint8_t)random_bits(g); break;
    case 1: out->data[at] ^= (uint8_t)(1 << below(g, 8)); break;
    case 2: out->length = at; break;
    case 3: /* take a piece out */
        memmove(out->data + at, out->data + at + length, out->length - at - length);
        out->length -= length;
        break;
    case 4: /* write a piece twice */
        if (!nv_reserve(out, length))
            abort();
        memmove(out->data + at + length, out->data + at, out->length - at);
        out->length += length;
        break;
    default: out->data[at] = (uint8_t)"\"\\{}[]:,=' /.@-0\r\0\xff"[below(g, 19)]; break;
    }
}

void make_line(generator *g, nv_buffer *out)
{
    static void (*const ways[])(generator *, nv_buffer *) = {make_text, make_text, make_json, make_json, make_json,
                                                             make_logfmt, make_repeated, make_bytes};
    size_t start = out->length;
    if (g->corpus_lines && chance(g, 3)) {
        nv_string line = g->corpus[below(g, g->corpus_lines)];
        put(out, line.p, line.n);
    } else {
        ways[below(g, COUNT(ways))](g, out);
    }
    if (chance(g, 3))
        for (size_t n = 1 + below(g, 4); n; n--)
            mutate(g, out, start);
    if (chance(g, 30))
        put_text(out, "\r");
}

/* A number in letters: digits would make it a variable. */
static const char *in_letters(size_t n, char text[16])
{
    size_t i = 0;
    do
        text[i++] = (char)('g' + n % 10);
    while (n /= 10);
    text[i] = 0;
    return text;
}

void make_many(generator *g, nv_buffer *out)
{
    char line[160], name[16];
    size_t n = 500 + below(g, 4500);
    for (size_t i = 0; i < n; i++) {
        in_letters(i, name);
        put(out, line, (size_t)snprintf(line, sizeof line, below(g, 2) ? "%s is up: %s=%zu\n"
                                        : "{\"msg\":\"%s was seen\",\"service\":\"%s\",\"n%zu\":{\"x\":1}}\n", name, name, i));
    }
}

void make_too_long(generator *g, nv_buffer *out)
{
    size_t end = NV_MAX_LINE - 2 + below(g, 4) + below(g, 2) * NV_MAX_LINE;
    while (out->length < end)
        make_repeated(g, out);
    out->length = end;
    put_text(out, "\r\nthe next\n" + below(g, 2));
}
