/* Timestamps as logs write them: the generated automaton finds the form, `read_fields` its numbers. */
#include "timestamp.h"

#include <string.h>

typedef struct {
    int year, month, day, hour, minute, second, nanos, offset; /* offset in seconds east of UTC */
    int afternoon;                                            /* 0 none, 1 AM, 2 PM */
    int zone;                                                 /* 1 looked for, 2 an offset was read */
} fields;

static int is_leap(int year)
{
    return year % 4 == 0 && (year % 100 || year % 400 == 0);
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar, from 1600 on. */
static int64_t days_from_civil(int year, int month, int day)
{
    static const int16_t before[13] = {0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    unsigned past = (unsigned)year - 1600;
    unsigned leaps = (past + 3) / 4 - (past + 99) / 100 + (past + 399) / 400;
    return (int64_t)past * 365 + leaps + before[month] + (month > 2 && is_leap(year)) + day - 1 - 135140;
}

static int days_in(int year, int month)
{
    static const int8_t days[13] = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && !is_leap(year) ? 28 : days[month];
}

/* The month that three letters name. Their last two tell months apart. */
static int month_of(const uint8_t *p)
{
    int month = 0;
#define ENDS(a, b) ((a) << 8 | (b))
    switch (ENDS(p[1] | 32, p[2] | 32)) {
    case ENDS('a', 'n'): month = 1; break;
    case ENDS('e', 'b'): month = 2; break;
    case ENDS('a', 'r'): month = 3; break;
    case ENDS('p', 'r'): month = 4; break;
    case ENDS('a', 'y'): month = 5; break;
    case ENDS('u', 'n'): month = 6; break;
    case ENDS('u', 'l'): month = 7; break;
    case ENDS('u', 'g'): month = 8; break;
    case ENDS('e', 'p'): month = 9; break;
    case ENDS('c', 't'): month = 10; break;
    case ENDS('o', 'v'): month = 11; break;
    case ENDS('e', 'c'): month = 12; break;
    }
#undef ENDS
    return (p[0] | 32) == "?jfmamjjasond"[month] ? month : 0;
}

static int is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static int is_letter(uint8_t c)
{
    c |= 32;
    return c >= 'a' && c <= 'z';
}

static const uint8_t *number(const uint8_t *p, int width, int *out)
{
    int value = 0;
    for (int i = 0; i < width && is_digit(*p); i++)
        value = value * 10 + (*p++ - '0');
    *out = value;
    return p;
}

/* A fraction of a second of any length; digits past the ninth are below a nanosecond and left. */
static const uint8_t *fraction(const uint8_t *p, int *out)
{
    int value = 0, digits = 0;
    for (; is_digit(*p); p++)
        if (digits < 9) {
            value = value * 10 + (*p - '0');
            digits++;
        }
    for (; digits < 9; digits++)
        value *= 10;
    *out = value;
    return p;
}

static const uint8_t *zone(const uint8_t *p, const uint8_t *end, fields *out)
{
    out->zone = 1;
    while (p < end && *p != '+' && *p != '-')
        p++;
    if (p == end)
        return end; /* none, or Z, UTC, GMT */
    out->zone = 2;
    int sign = *p++ == '-' ? -1 : 1, hours, minutes = 0;
    p = number(p, 2, &hours);
    if (p < end && *p == ':')
        p++;
    p = number(p, 2, &minutes);
    out->offset = sign * (hours * 3600 + minutes * 60);
    return p;
}

/*
 * Read the fields that `order` names from the matched text: Y four-digit year, y two-digit year, M month, B month
 * name, D day, h m s, f fraction (if one is there), z zone (if one is there), a AM or PM (if there).
 * What stands between fields is passed over.
 */
static void read_fields(const uint8_t *p, const uint8_t *end, const char *order, fields *out)
{
    for (; *order; order++) {
        char kind = *order;
        if (kind == 'f') {
            if (end - p > 1 && (*p == '.' || *p == ',' || *p == ':') && is_digit(p[1]))
                p = fraction(p + 1, &out->nanos);
            continue;
        }
        if (kind == 'z') {
            p = zone(p, end, out);
            continue;
        }
        if (kind == 'a') {
            while (p < end && *p == ' ')
                p++;
            if (end - p >= 2 && (p[1] | 32) == 'm') {
                out->afternoon = (*p | 32) == 'p' ? 2 : 1;
                p += 2;
            }
            continue;
        }
        if (kind == 'B') {
            while (p < end && !month_of(p))
                p++;
            if (p < end) {
                out->month = month_of(p);
                p += 3;
            }
            continue;
        }
        while (p < end && !is_digit(*p))
            p++;
        switch (kind) {
        case 'Y': p = number(p, 4, &out->year); break;
        case 'y': p = number(p, 2, &out->year); out->year += out->year < 70 ? 2000 : 1900; break;
        case 'M': p = number(p, 2, &out->month); break;
        case 'D': p = number(p, 2, &out->day); break;
        case 'h': p = number(p, 2, &out->hour); break;
        case 'm': p = number(p, 2, &out->minute); break;
        case 's': p = number(p, 2, &out->second); break;
        }
    }
}

static int valid(const fields *f)
{
    return f->month >= 1 && f->month <= 12 && f->day >= 1 && f->day <= days_in(f->year ? f->year : 2000, f->month) &&
           f->hour <= 23 && f->minute <= 59 && f->second <= 60 && f->year <= 2261 && (!f->year || f->year >= 1678);
}

static int64_t nanoseconds(const fields *f, int year)
{
    int64_t seconds = days_from_civil(year, f->month, f->day) * 86400 + f->hour * 3600 + f->minute * 60 + f->second;
    return (seconds - f->offset) * NV_SECOND + f->nanos;
}

/* The last year that puts the date at or before a day after receipt; 29 February needs a leap year. */
static int64_t most_recent(const fields *f, int64_t received)
{
    int year = 1970 + (int)(received / (NV_DAY * 365.2425)) + 1;
    for (int back = 0; back < 10; back++, year--)
        if (f->day <= days_in(year, f->month)) {
            int64_t ns = nanoseconds(f, year);
            if (ns <= received + NV_DAY)
                return ns;
        }
    return nanoseconds(f, year);
}

static inline int two(const uint8_t *p)
{
    return (p[0] - '0') * 10 + (p[1] - '0');
}

/* A zone of hours alone, as PostgreSQL writes it: 12:00:00+02. Only behind the time, and where nothing goes on. */
static const uint8_t *short_zone(const uint8_t *p, fields *f)
{
    if ((*p != '+' && *p != '-') || !is_digit(p[1]) || !is_digit(p[2]) || two(p + 1) > 14)
        return p;
    if (p[3] > ' ' && !strchr("])}|,;\"'", p[3]))
        return p;
    f->offset = (*p == '-' ? -1 : 1) * two(p + 1) * 3600;
    return p + 3;
}

/* The end of a time without the Z (UTC, GMT) that a word behind it begins with: 12:00:00 Zoom. */
static const uint8_t *without_word(const uint8_t *end)
{
    if (!is_letter(*end) && !is_digit(*end))
        return end;
    if (end[-1] == 'Z')
        end -= 1;
    else if (end[-1] == 'C' || end[-1] == 'T')
        end -= 3;
    else
        return end;
    return end[-1] == ' ' ? end - 1 : end;
}

/* 2005-06-03T15:42:50 with every field at its full width, as most logs write it: no need to look for the fields. */
static int is_full_width(const uint8_t *p)
{
    return !is_digit(p[4]) && !is_digit(p[7]) && !is_digit(p[10]) && is_digit(p[11]) && is_digit(p[12]) &&
           !is_digit(p[13]) && !is_digit(p[16]);
}

static int full_width(const uint8_t *p, const uint8_t *end, int64_t *ns)
{
    fields f = {.year = two(p) * 100 + two(p + 2), .month = two(p + 5), .day = two(p + 8), .hour = two(p + 11),
                .minute = two(p + 14), .second = two(p + 17)};
    end = without_word(end);
    if (is_digit(*end))
        return 0;
    const uint8_t *rest = p + 19;
    if (rest < end)
        read_fields(rest, end, "fz", &f);
    if (f.zone < 2)
        end = short_zone(end, &f);
    if (!valid(&f))
        return 0;
    *ns = nanoseconds(&f, f.year);
    return (int)(end - p);
}

static int settle(const fields *f, int64_t received, int64_t *ns)
{
    if (!valid(f))
        return 0;
    *ns = f->year ? nanoseconds(f, f->year) : most_recent(f, received);
    return 1;
}

static int finish(const uint8_t *start, const uint8_t *end, const char *order, int64_t received, int64_t *ns)
{
    fields f = {0};
    end = without_word(end);
    if (is_digit(*end))
        return 0; /* the number goes on: no time of day */
    read_fields(start, end, order, &f);
    if (f.zone == 1)
        end = short_zone(end, &f);
    if (f.afternoon) {
        if (f.hour < 1 || f.hour > 12)
            return 0;
        f.hour = f.hour % 12 + (f.afternoon == 2 ? 12 : 0);
    }
    return settle(&f, received, ns) ? (int)(end - start) : 0;
}

/* hh:mm:ss at p, where it has its full width and the match ends with it or with a fraction; 0 where it has not. */
static int full_time(const uint8_t *p, const uint8_t *end, fields *f)
{
    if (end - p < 8 || p[2] != ':' || p[5] != ':' || is_digit(*end))
        return 0;
    f->hour = two(p);
    f->minute = two(p + 3);
    f->second = two(p + 6);
    return p + 8 == end || fraction(p + 9, &f->nanos) == end;
}

/* Jun  9 06:06:20: as syslog writes it. */
static int syslog_date(const uint8_t *start, const uint8_t *end, int64_t received, int64_t *ns)
{
    fields f = {.month = month_of(start)};
    if (start[6] != ' ' || !f.month || !full_time(start + 7, end, &f))
        return finish(start, end, "BDhmsf", received, ns);
    f.day = start[4] == ' ' ? start[5] - '0' : two(start + 4);
    return settle(&f, received, ns) ? (int)(end - start) : 0;
}

/* 03-17 16:13:38.811: as Android writes it. */
static int month_and_day(const uint8_t *start, const uint8_t *end, int64_t received, int64_t *ns)
{
    fields f = {.month = two(start), .day = two(start + 3)};
    if (!full_time(start + 6, end, &f))
        return finish(start, end, "MDhmsf", received, ns);
    return settle(&f, received, ns) ? (int)(end - start) : 0;
}

/* 17/06/09: year first, as log4j writes it, unless only month first makes a date. */
static int two_digit_date(const uint8_t *start, const uint8_t *end, int64_t received, int64_t *ns)
{
    fields f = {.month = two(start + 3), .day = two(start + 6)};
    f.year = two(start) + (start[0] < '7' ? 2000 : 1900);
    if (full_time(start + 9, end, &f) && settle(&f, received, ns))
        return (int)(end - start);
    int taken = finish(start, end, "yMDhmsfz", received, ns);
    return taken ? taken : finish(start, end, "MDyhmsfz", received, ns);
}

/* 06/09/2017: month first, unless only day first makes a date. */
static int slashed_date(const uint8_t *start, const uint8_t *end, int64_t received, int64_t *ns)
{
    int taken = finish(start, end, "MDYhmsfaz", received, ns);
    return taken ? taken : finish(start, end, "DMYhmsfaz", received, ns);
}

int nv_timestamp(const uint8_t *p, int64_t received, int64_t *ns)
{
    const uint8_t *YYCURSOR = p, *YYMARKER;
    /*!re2c
    re2c:define:YYCTYPE = "uint8_t";
    re2c:yyfill:enable = 0;
    re2c:flags:case-ranges = 1;

    d      = [0-9];
    year   = ("19" | "20") d d;
    mm     = "0"? [1-9] | "1" [0-2];
    m2     = "0" [1-9] | "1" [0-2];
    dd     = "0"? [1-9] | [12] d | "3" [01];
    d2     = "0" [1-9] | [12] d | "3" [01];
    h1     = [01]? d | "2" [0-3];
    h2     = [01] d | "2" [0-3];
    m      = [0-5] d;
    s      = [0-5] d | "60";
    frac   = [.,:] d+;
    time   = h1 ":" m ":" s frac?;
    offset = [+-] ("0" d | "1" [0-4]) ":"? [0-5] d;
    zone   = " "? ("Z" | ("UTC" | "GMT") offset? | offset);
    month  = 'jan' | 'feb' | 'mar' | 'apr' | 'may' | 'jun' | 'jul' | 'aug' | 'sep' | 'oct' | 'nov' | 'dec';
    wday   = 'mon' | 'tue' | 'wed' | 'thu' | 'fri' | 'sat' | 'sun';
    sep    = [T _:-] | "  " | ", ";

    *                                                                  { return 0; }
    year [-/.] mm [-/.] dd sep h1 [:.] m [:.] s frac? zone?
        {
            if (is_full_width(p))
                return full_width(p, YYCURSOR, ns);
            return finish(p, YYCURSOR, "YMDhmsfz", received, ns);
        }
    year [-/.] mm [-/.] dd sep h1 [:.] m zone?                          { return finish(p, YYCURSOR, "YMDhmz", received, ns); }
    year m2 d2 [ T_-] h1 ":" d{1,2} ":" d{1,2} frac? zone?                { return finish(p, YYCURSOR, "YMDhmsfz", received, ns); }
    year m2 d2 [T _-]? h2 m s ([.,] d+)? zone?                   { return finish(p, YYCURSOR, "YMDhmsfz", received, ns); }
    d d "/" d d "/" d d " " time zone?                                  { return two_digit_date(p, YYCURSOR, received, ns); }
    d d? "/" d d? "/" year ","? [ :T] " "? time (" "? [AaPp] 'm')? zone? { return slashed_date(p, YYCURSOR, received, ns); }
    dd [ /-] month [ /-] year [ :T] time zone?                          { return finish(p, YYCURSOR, "DBYhmsfz", received, ns); }
    dd "." m2 "." year [ ] time zone?                                   { return finish(p, YYCURSOR, "DMYhmsfz", received, ns); }
    wday "," " " dd " " month " " year " " time zone?                   { return finish(p, YYCURSOR, "DBYhmsfz", received, ns); }
    (wday " ")? month " "{1,2} dd " " time                              { return syslog_date(p, YYCURSOR, received, ns); }
    (wday " ")? month " "{1,2} dd " " time " " ([A-Z]{3,4} " ")? year / [^0-9A-Za-z:.] { return finish(p, YYCURSOR, "BDhmsfY", received, ns); }
    (wday " ")? month " "{1,2} dd " " time " " offset " " year / [^0-9A-Za-z:.] { return finish(p, YYCURSOR, "BDhmsfzY", received, ns); }
    (wday " ")? month " "{1,2} dd ","? " " year ","? " " time (" "? [AaPp] 'm')? zone? { return finish(p, YYCURSOR, "BDYhmsfaz", received, ns); }
    m2 [-.] d2 " " time                                                 { return month_and_day(p, YYCURSOR, received, ns); }
    [IWEF] m2 d2 " " time                                               { return finish(p, YYCURSOR, "MDhmsf", received, ns); }
    d d m2 d2 " "{1,2} h1 ":" m ":" s                                   { return finish(p, YYCURSOR, "yMDhms", received, ns); }
    d d m2 d2 " " h2 m s / " "                                          { return finish(p, YYCURSOR, "yMDhms", received, ns); }
    */
}

int nv_unix_time(const uint8_t *p, const uint8_t *end, int64_t *ns)
{
    const uint8_t *q = p;
    uint64_t value = 0;
    while (q < end && is_digit(*q) && q - p < 19)
        value = value * 10 + (uint64_t)(*q++ - '0');
    int digits = (int)(q - p);
    int64_t unit = digits == 10 ? NV_SECOND : digits == 13 ? 1000000 : digits == 16 ? 1000 : digits == 19 ? 1 : 0;
    if (!unit || value >= (uint64_t)INT64_MAX / (uint64_t)unit)
        return 0;
    int nanos = 0;
    if (digits == 10 && end - q > 1 && *q == '.' && is_digit(q[1])) {
        const uint8_t *stop = fraction(q + 1, &nanos);
        q = stop < end ? stop : end;
    }
    if (q < end && (is_letter(*q) || is_digit(*q) || *q == '_'))
        return 0;
    *ns = (int64_t)value * unit + nanos;
    return (int)(q - p);
}
