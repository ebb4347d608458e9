/* Token classes. The map of a line's bytes finds the chunks; the automata here say what a chunk is. */
#include "token.h"

const char *const NV_KIND_NAMES[NV_KINDS] = {
    "word", "ident", "number", "hex", "uuid", "ipv4", "ipv6", "mac", "host", "email", "url", "path",
    "value", "time", "quantity",
};

const char NV_LEVEL_NAMES[NV_LEVELS][NV_LEVEL_ROOM] = {
    "", "trace", "debug", "info", "notice", "warn", "error", "critical", "fatal",
};

/*!re2c
    re2c:define:YYCTYPE = "uint8_t";
    re2c:yyfill:enable = 0;
    re2c:flags:case-ranges = 1;

    d     = [0-9];
    x     = [0-9a-fA-F];
    a     = [A-Za-z];
    an    = [A-Za-z0-9];
    high  = [\x80-\xff];
    body  = [A-Za-z0-9_.%+~@$#&*/\x80-\xff\\-];    /* a chunk's bytes */
    name  = [A-Za-z0-9_.+~@$#%&*\x80-\xff-];         /* the same without slashes */
    part  = [^\x00-\x20"'<>|,;:?(){}\x5b\x5d/\\];    /* a piece of a path */
    octet = d{1,3};
    ipv4  = octet "." octet "." octet "." octet;
    port  = ":" d{1,5};
    uuid  = x{8} "-" x{4} "-" x{4} "-" x{4} "-" x{12};
    label = [A-Za-z0-9_] [A-Za-z0-9_-]*;
    tld   = "com" | "net" | "org" | "edu" | "gov" | "mil" | "io" | "dev" | "cloud" | "local" | "localdomain" | "internal"
          | "lan" | "home" | "arpa";
    host  = (label ".")+ tld;
    number = [+-]? d+ ([.,] d+)*;
    tail  = [^\x00-\x20"'<>|(){}\x5b\x5d]*;           /* the rest of a path's or URL's query */
*/

/* A token counts if it ends where its chunk does or beyond; a shorter one is a piece of something else. */
#define FOUND(kind) do { if (YYCURSOR < chunk_end) break; *end = YYCURSOR; return (kind); } while (0)

nv_kind nv_token(const uint8_t *p, const uint8_t *chunk_end, const uint8_t **end)
{
    const uint8_t *YYCURSOR = p, *YYMARKER;
    *end = chunk_end;
    do {
        /*!re2c
        *                                                  { break; }
        number                                             { FOUND(NV_NUMBER); break; }
        '0x' x+ | "#" x+                                   { FOUND(NV_HEX); break; }
        x{8,}                                              { FOUND(NV_HEX); break; }
        uuid                                               { FOUND(NV_UUID); break; }
        "/"? ipv4 port?                                    { FOUND(NV_IPV4); break; }
        x{2} (":" x{2}){5,7}                               { FOUND(NV_MAC); break; }
        x{1,4} (":" x{1,4}){7} | (x{1,4} ":"){1,7} (":" x{1,4}){1,7} | (x{1,4} ":"){2,7} ":"
                                                           { FOUND(NV_IPV6); break; }
        host port?                                         { FOUND(NV_HOST); break; }
        [A-Za-z0-9._%+-]+ "@" (label ".")* label           { FOUND(NV_EMAIL); break; }
        "//" [A-Za-z0-9_.@-]+ port? ("/" tail)?            { FOUND(NV_URL); break; }
        [~.]{0,2} ("/" part+)+ "/"? ("?" tail)? | "/" part* ("/" part+)+ "/"?
                                                           { FOUND(NV_PATH); break; }
        a ":" "\\" (part* "\\")* part*                     { FOUND(NV_PATH); break; }
        "\\" part+ "\\" (part* "\\")* part*               { FOUND(NV_PATH); break; }
        "\\\\"? name+ "\\" (part* "\\")+ part*             { FOUND(NV_PATH); break; }
        name+ "/" (part+ "/")+ part*                       { FOUND(NV_PATH); break; }
        a{2,} d{1,2}                                       { FOUND(NV_WORD); break; }
        */
    } while (0);
    for (const uint8_t *q = p; q < chunk_end; q++)
        if (*q >= '0' && *q <= '9')
            return NV_IDENT;
    return NV_WORD;
}

int nv_unit(const uint8_t *p)
{
    const uint8_t *YYCURSOR = p, *YYMARKER;
    /*!re2c
    edge  = [^A-Za-z0-9_\x80-\xff/-];
    unit  = "ns" | "us" | "ms" | "s" | "sec" | "secs" | "min" | "mins" | "h" | "hr" | "hrs" | 'seconds' | 'second'
          | 'milliseconds' | 'microseconds' | 'minutes' | 'hours' | 'days' | 'B' | 'bytes' | [KMGTPkmgtp] [iI]? [Bb]
          | [KMGT] 'bit'? "/s"? | "%" | "Hz" | "MHz" | "GHz" | "rpm";
    *                      { return 0; }
    " " unit / edge        { return (int)(YYCURSOR - p); }
    */
}

nv_level nv_level_word(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *YYCURSOR = p, *YYMARKER;
#define WHOLE(level) return YYCURSOR == end ? (level) : NV_LEVEL_NONE
    /*!re2c
    *                                                                   { return NV_LEVEL_NONE; }
    'trace' | 'trc' | 'finest' | 'finer' | 'verbose' | 'v'              { WHOLE(NV_LEVEL_TRACE); }
    'debug' | 'dbg' | 'fine' | 'd'                                      { WHOLE(NV_LEVEL_DEBUG); }
    'info' | 'inf' | 'information' | 'informational' | 'i'              { WHOLE(NV_LEVEL_INFO); }
    'notice'                                                            { WHOLE(NV_LEVEL_NOTICE); }
    'warn' | 'warning' | 'wrn' | 'w'                                    { WHOLE(NV_LEVEL_WARN); }
    'error' | 'err' | 'severe' | 'failure' | 'e'                        { WHOLE(NV_LEVEL_ERROR); }
    'critical' | 'crit' | 'alert' | 'c'                                 { WHOLE(NV_LEVEL_CRITICAL); }
    'fatal' | 'emerg' | 'emergency' | 'panic' | 'f'                     { WHOLE(NV_LEVEL_FATAL); }
    */
#undef WHOLE
}
