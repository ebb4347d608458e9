#include "jsontext.h"

#include <float.h>
#include <stdio.h>

#define NUMBER_ROOM 32
#define WHOLE 1e17   /* smaller whole numbers are written without an exponent */
#define EXACT 1e15   /* so many digits are always the shortest that read back the same */
#define SMALLEST 1e-4 /* smaller ones are written with an exponent */

int nv_put_json_string(nv_buffer *out, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    static const char letters[32] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    if (!nv_reserve(out, n + 2))
        return 0;
    out->data[out->length++] = '"';
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = p[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\') {
            if (!nv_reserve(out, n - i + 1))
                return 0;
            out->data[out->length++] = byte;
            continue;
        }
        if (!nv_reserve(out, n - i + 7))
            return 0;
        uint8_t *to = out->data + out->length;
        to[0] = '\\';
        to[1] = byte >= 0x20 ? byte : letters[byte] ? (uint8_t)letters[byte] : 'u';
        out->length += 2;
        if (to[1] == 'u') {
            memcpy(to + 2, "00", 2);
            to[4] = (uint8_t)digits[byte >> 4];
            to[5] = (uint8_t)digits[byte & 15];
            out->length += 4;
        }
    }
    return nv_append(out, "\"", 1);
}

int nv_put_base64(nv_buffer *out, const uint8_t *p, size_t n)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (!nv_reserve(out, n / 3 * 4 + 4))
        return 0;
    uint8_t *to = out->data + out->length;
    for (; n; p += 3) {
        size_t here = n < 3 ? n : 3;
        uint32_t bits = (uint32_t)p[0] << 16 | (here > 1 ? (uint32_t)p[1] << 8 : 0) | (here > 2 ? p[2] : 0);
        for (size_t i = 0; i < 4; i++)
            *to++ = i <= here ? (uint8_t)letters[bits >> (18 - 6 * i) & 63] : '=';
        n -= here;
    }
    out->length = (size_t)(to - out->data);
    return 1;
}

int nv_put_integer(nv_buffer *out, int64_t v)
{
    uint8_t text[NUMBER_ROOM], *start = text + sizeof text;
    uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do
        *--start = (uint8_t)('0' + left % 10);
    while (left /= 10);
    if (v < 0)
        *--start = '-';
    return nv_append(out, start, (size_t)(text + sizeof text - start));
}

/* As an integer and a few digits behind the point; 0 where it is no such number. */
static int put_decimal(nv_buffer *out, double v)
{
    static const double powers[] = {10, 100, 1000, 10000, 100000, 1000000};
    double size = v < 0 ? -v : v;
    if (size < SMALLEST)
        return 0;
    for (int places = 0; places < 6 && size * powers[places] < EXACT; places++) {
        uint64_t digits = (uint64_t)(size * powers[places] + 0.5);
        if ((double)digits / powers[places] != size)
            continue;
        uint8_t text[NUMBER_ROOM], *start = text + sizeof text;
        for (int i = 0; i <= places; i++, digits /= 10)
            *--start = (uint8_t)('0' + digits % 10);
        *--start = '.';
        do
            *--start = (uint8_t)('0' + digits % 10);
        while (digits /= 10);
        if (v < 0)
            *--start = '-';
        return nv_append(out, start, (size_t)(text + sizeof text - start));
    }
    return 0;
}

int nv_put_double(nv_buffer *out, double v)
{
    char text[NUMBER_ROOM];
    double size = v < 0 ? -v : v;
    if (v != v)
        return nv_append(out, "NaN", 3);
    if (size > DBL_MAX)
        return v > 0 ? nv_append(out, "Infinity", 8) : nv_append(out, "-Infinity", 9);
    if (size < WHOLE && (double)(int64_t)v == v)
        return nv_put_integer(out, (int64_t)v);
    if (put_decimal(out, v))
        return 1;
    int n = 0;
    for (int digits = size < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        n = snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    return nv_append(out, text, (size_t)n);
}
