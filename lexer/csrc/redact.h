/* Secrets in a text: where they are, and the text with a mask in the place of each. */
#ifndef NEVE_REDACT_H
#define NEVE_REDACT_H
#include "blake2b.h"
#include "buffer.h"

typedef enum {
    NV_SECRET_EMAIL, NV_SECRET_IPV4, NV_SECRET_IPV6, NV_SECRET_MAC, NV_SECRET_CARD, NV_SECRET_TOKEN, NV_SECRET_AWS_KEY,
    NV_SECRET_PRIVATE_KEY, NV_SECRET_IBAN, NV_SECRET_URL,
    NV_SECRET_KEY, /* the value of a key by that name */
    NV_SECRET_CUT, /* what is next to where a line that is too long was cut: half a secret is known by nobody */
    NV_SECRETS
} nv_secret;

extern const char *const NV_SECRET_NAMES[NV_SECRETS];

#define NV_MASK_ROOM 48       /* bytes of a mask at the most */
#define NV_MAX_SECRET_KEYS 256
#define NV_SECRET_KEY_ROOM 64 /* bytes of a name, without what is neither letter nor digit */
#define NV_CUT_BYTES 512      /* on each side of a cut: more than any secret but those that are carried over it */
#define NV_PEM_LINES 512      /* of a private key, after its first */

/* What is redacted. It is only read once it is made, by as many columns as there are. */
typedef struct {
    uint32_t classes;     /* a bit each */
    uint32_t keys;
    uint16_t stops[256];  /* bytes at which the scan looks closer, by what for */
    uint8_t last[256];    /* bytes, in lower case, that a name ends with */
    uint8_t key_length[NV_MAX_SECRET_KEYS];
    uint8_t key[NV_MAX_SECRET_KEYS][NV_SECRET_KEY_ROOM];
    uint8_t hash_key[NV_BLAKE2B_KEY];
    uint32_t hash_key_length; /* 0: masks show nothing of what was there */
} nv_policy;

/* What the next record of a stream must know of the one before. All zero at a stream's start. */
typedef struct {
    uint8_t cut;       /* it is the same line, cut */
    uint8_t open;      /* and in the middle of a secret: an nv_secret + 1 */
    uint8_t until;     /* what ends that: a quote, a space, 0 the line */
    uint32_t pem_lines; /* lines that may still be of a private key */
} nv_carry;

typedef struct {
    size_t start, end;
    nv_secret secret;
    uint8_t quoted; /* the mask needs quotes of its own, after so many backslashes + 1 */
    uint8_t until;  /* of one that the text's end has cut */
} nv_found;

/* The buffers of whoever redacts, and what it did. */
typedef struct {
    const nv_policy *policy;
    nv_buffer found; /* nv_found, of the text at hand */
    void *held;      /* masked texts, until nv_redactor_forget */
    uint64_t counts[NV_SECRETS];
    int failed;      /* memory ran out */
} nv_redactor;

void nv_policy_init(nv_policy *policy, uint32_t classes);

/* Add a name of a key, in any case; what is neither letter nor digit does not count. 0 where there is no room. */
int nv_policy_add_key(nv_policy *policy, const uint8_t *p, size_t n);

/* Whether the value under this name is a secret: the name, or its end after a separator, in any of its dotted parts. */
int nv_is_secret_key(const nv_policy *policy, const uint8_t *p, size_t n);

/*
 * The text with its secrets masked: `p` itself where there are none, else a copy that lives until
 * nv_redactor_forget and is followed by NV_PADDING NULs. `*n` becomes its length, each of `marks`, which are
 * ascending places in the text, the same place in the copy. `carry` may be NULL; `split`: the text is a piece of a
 * line that goes on. Nothing past p + n is read.
 */
const uint8_t *nv_redact(nv_redactor *r, const uint8_t *p, size_t *n, nv_carry *carry, int split, size_t *marks[],
                         int count);

/* A value that is a secret whole. */
const uint8_t *nv_redact_whole(nv_redactor *r, const uint8_t *p, size_t *n, nv_secret secret);

/* JSON whose ASCII characters stand for themselves, where they were escaped: for the eye the same, and for nv_redact. */
const uint8_t *nv_plain_escapes(nv_redactor *r, const uint8_t *p, size_t *n, size_t *marks[], int count);

/* The length of the mask that starts at p; 0 if none does. */
size_t nv_mask_length(const uint8_t *p, const uint8_t *end);

void nv_redactor_forget(nv_redactor *r);
void nv_redactor_free(nv_redactor *r);

#endif
