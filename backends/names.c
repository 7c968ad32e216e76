/*
 * The law of names, see names.h. Both directions rest on one decision, what reads as an escape:
 * encoding writes %25 exactly where decoding would otherwise see one, and decoding accepts a name
 * only if encoding what it read gives the same name again. That makes the two each other's inverse
 * whatever the rules for single bytes are.
 */
#include "backends/names.h"

#include <errno.h>
#include <string.h>

#define EMPTY_NAME PFS_BYTES("%EMPTY")
#define VALUE_NAME PFS_BYTES("%VALUE")

#define HASH_DIGITS  32
#define SHORT_SUFFIX (2 + HASH_DIGITS)

int pfs_name_check(struct pfs_bytes name)
{
	return pfs_entry_name_check(name);
}

static struct pfs_bytes contents_of(const struct pfs_buf *b, size_t from)
{
	return (struct pfs_bytes){b->data + from, b->len - from};
}

/* Back to the length it had; a buffer that failed is left alone. */
static void cut_back(struct pfs_buf *b, size_t len)
{
	if (b->failed)
		return;
	b->len = len;
	b->data[len] = '\0';
}

static struct pfs_bytes rest_of(struct pfs_bytes s, size_t from)
{
	return (struct pfs_bytes){s.p + from, s.len - from};
}

/* ---- SHA-256 -------------------------------------------------------------------------------- */

static const uint32_t sha_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static uint32_t rotate(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static void sha_block(uint32_t h[8], const unsigned char *p)
{
	uint32_t w[64], s[8];
	unsigned i;

	for (i = 0; i < 16; i++, p += 4)
		w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	for (; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) +
		       (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
	}
	memcpy(s, h, sizeof(s));
	for (i = 0; i < 64; i++) {
		uint32_t t = s[7] + sha_k[i] + w[i] + ((s[4] & s[5]) ^ (~s[4] & s[6])) +
			     (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25));
		uint32_t u = ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2])) +
			     (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22));

		memmove(&s[1], &s[0], 7 * sizeof(s[0]));
		s[4] += t;
		s[0] = t + u;
	}
	for (i = 0; i < 8; i++)
		h[i] += s[i];
}

/* The first HASH_DIGITS digits of the SHA-256 of s. */
static void hash_digits(struct pfs_bytes s, char out[HASH_DIGITS])
{
	uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
			 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
	unsigned char tail[128] = {0};
	size_t whole = s.len / 64 * 64, left = s.len - whole, total = left < 56 ? 64 : 128, i;

	for (i = 0; i < whole; i += 64)
		sha_block(h, (const unsigned char *)s.p + i);
	if (left)
		memcpy(tail, s.p + whole, left);
	tail[left] = 0x80;
	for (i = 0; i < 8; i++)
		tail[total - 1 - i] = (unsigned char)((uint64_t)s.len * 8 >> 8 * i);
	for (i = 0; i < total; i += 64)
		sha_block(h, tail + i);
	for (i = 0; i < HASH_DIGITS; i++)
		out[i] = "0123456789abcdef"[h[i / 8] >> (28 - 4 * (i % 8)) & 15];
}

/* ---- escapes -------------------------------------------------------------------------------- */

/* What may stand escaped in a name, or in a text. */
struct rules {
	bool nul, slash, dot, high;
};

static const struct rules name_rules = {.nul = true, .slash = true, .dot = true};
static const struct rules text_name_rules = {.slash = true, .dot = true};
static const struct rules text_rules = {.high = true};

static bool may_be_escaped(const struct rules *r, unsigned char c)
{
	return c == '%' || (c == '\0' && r->nul) || (c == '/' && r->slash) ||
	       (c == '.' && r->dot) || (c >= 0x80 && r->high);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that an escape at the start of s stands for; -1: there is none. */
static int escape_at(const struct rules *r, struct pfs_bytes s)
{
	int high, low;

	if (s.len < 3 || s.p[0] != '%')
		return -1;
	high = hex_digit(s.p[1]);
	low = hex_digit(s.p[2]);
	if (high < 0 || low < 0 || !may_be_escaped(r, (unsigned char)(high * 16 + low)))
		return -1;
	return high * 16 + low;
}

static void add_escape(struct pfs_buf *out, unsigned char c)
{
	pfs_buf_printf(out, "%%%02X", c);
}

/* All of s is %~ and the digits of a hash. */
static bool is_short_suffix(struct pfs_bytes s)
{
	size_t i;

	if (s.len != SHORT_SUFFIX || s.p[0] != '%' || s.p[1] != '~')
		return false;
	for (i = 2; i < s.len; i++) {
		if (!(s.p[i] >= '0' && s.p[i] <= '9') && !(s.p[i] >= 'a' && s.p[i] <= 'f'))
			return false;
	}
	return true;
}

bool pfs_name_is_short(struct pfs_bytes name)
{
	return name.len > SHORT_SUFFIX && is_short_suffix(rest_of(name, name.len - SHORT_SUFFIX));
}

static bool is_reserved(struct pfs_bytes name)
{
	return pfs_bytes_eq(name, EMPTY_NAME) || pfs_bytes_eq(name, VALUE_NAME);
}

static void decode(const struct rules *r, struct pfs_bytes s, struct pfs_buf *out)
{
	size_t i = 0;

	while (i < s.len) {
		int c = escape_at(r, rest_of(s, i));
		char byte = (char)(c < 0 ? s.p[i] : c);

		pfs_buf_add(out, &byte, 1);
		i += c < 0 ? 1 : 3;
	}
}

/* ---- components ----------------------------------------------------------------------------- */

/* Must the byte at `at` of component c be written as an escape? */
static bool needs_escape(const struct rules *r, struct pfs_bytes c, size_t at)
{
	struct pfs_bytes rest = rest_of(c, at);

	switch (rest.p[0]) {
	case '\0':
	case '/':
		return true;
	case '.':
		return at == 0 && (c.len == 1 || (c.len == 2 && c.p[1] == '.'));
	case '%':
		return escape_at(r, rest) >= 0 || (at == 0 && is_reserved(c)) ||
		       is_short_suffix(rest);
	default:
		return false;
	}
}

/*
 * The length of what is written for the byte or character at `at` of an encoded name: what a cut
 * must not go through.
 */
static size_t unit_at(const struct rules *r, struct pfs_bytes name, size_t at)
{
	struct pfs_bytes rest = rest_of(name, at);
	size_t n;

	if (escape_at(r, rest) >= 0)
		return 3;
	n = pfs_utf8_sequence(rest.p, rest.len);
	return n ? n : 1;
}

/* The encoded name that starts at `start` of path is too long: cut it, and add the hash of c. */
static void shorten(const struct rules *r, struct pfs_bytes c, struct pfs_buf *path, size_t start)
{
	struct pfs_bytes name = contents_of(path, start);
	char digits[HASH_DIGITS];
	size_t cut = 0, unit;

	for (unit = 0; cut + unit <= PFS_NAME_MAX - SHORT_SUFFIX; unit = unit_at(r, name, cut))
		cut += unit;
	cut_back(path, start + cut);
	hash_digits(c, digits);
	pfs_buf_str(path, "%~");
	pfs_buf_add(path, digits, HASH_DIGITS);
}

void pfs_name_shorten(struct pfs_bytes key, struct pfs_buf *path, size_t start)
{
	if (!path->failed)
		shorten(&name_rules, key, path, start);
}

/* Appends the canonical name of component c. Returns whether it is a short form. */
static bool encode_component(const struct rules *r, struct pfs_bytes c, struct pfs_buf *path)
{
	size_t start = path->len, i;

	if (c.len == 0)
		pfs_buf_add(path, EMPTY_NAME.p, EMPTY_NAME.len);
	for (i = 0; i < c.len; i++) {
		if (needs_escape(r, c, i))
			add_escape(path, (unsigned char)c.p[i]);
		else
			pfs_buf_add(path, &c.p[i], 1);
	}
	if (path->failed || path->len - start <= PFS_NAME_MAX)
		return false;
	shorten(r, c, path, start);
	return true;
}

/* ---- keys ----------------------------------------------------------------------------------- */

static bool is_text(struct pfs_bytes s)
{
	size_t i, n;

	for (i = 0; i < s.len; i += n) {
		n = pfs_utf8_sequence(s.p + i, s.len - i);
		if (n == 0 || s.p[i] == '\0')
			return false;
	}
	return true;
}

/* The next piece of *s up to `sep`, which is skipped; false: it was the last. */
static bool next_piece(struct pfs_bytes *s, struct pfs_bytes sep, struct pfs_bytes *piece)
{
	const char *at = sep.len && s->len ? memmem(s->p, s->len, sep.p, sep.len) : NULL;

	if (!at) {
		*piece = *s;
		return false;
	}
	*piece = (struct pfs_bytes){s->p, (size_t)(at - s->p)};
	*s = rest_of(*s, piece->len + sep.len);
	return true;
}

static const struct rules *rules_of(const struct pfs_key_encoding *enc)
{
	return enc->text ? &text_name_rules : &name_rules;
}

int pfs_names_from_key(const struct pfs_key_encoding *enc, struct pfs_bytes key, bool own_value,
		       struct pfs_buf *path, bool *lookup)
{
	struct pfs_bytes c;
	bool more, is_short = false;

	if (enc->text && !is_text(key))
		return -EILSEQ;
	do {
		more = next_piece(&key, enc->separator, &c);
		is_short |= encode_component(rules_of(enc), c, path);
		if (more || own_value)
			pfs_buf_add(path, "/", 1);
	} while (more);
	if (own_value)
		pfs_buf_add(path, VALUE_NAME.p, VALUE_NAME.len);
	if (lookup)
		*lookup = is_short;
	return path->failed ? -ENOMEM : 0;
}

/* What one name says: bytes appended to key, or that it opens by look-up only. */
static bool decode_component(const struct rules *r, struct pfs_bytes name, struct pfs_buf *key)
{
	if (pfs_name_is_short(name))
		return false;
	if (!pfs_bytes_eq(name, EMPTY_NAME))
		decode(r, name, key);
	return true;
}

/* Is `path` what the law says for `key`? */
static int check_canonical(const struct pfs_key_encoding *enc, struct pfs_bytes path,
			   struct pfs_bytes key, bool own_value)
{
	struct pfs_buf canonical = {0};
	int err = pfs_names_from_key(enc, key, own_value, &canonical, NULL);

	if (!err && !pfs_bytes_eq(contents_of(&canonical, 0), path))
		err = -EILSEQ;
	pfs_buf_release(&canonical);
	return err;
}

int pfs_names_to_key(const struct pfs_key_encoding *enc, struct pfs_bytes path, struct pfs_buf *key,
		     bool *own_value)
{
	struct pfs_bytes rest = path, name;
	size_t start = key->len;
	bool more, first = true, lookup = false;
	int err = 0;

	*own_value = false;
	pfs_buf_str(key, "");
	do {
		more = next_piece(&rest, PFS_BYTES("/"), &name);
		if (!more && !first && enc->separator.len && pfs_bytes_eq(name, VALUE_NAME)) {
			*own_value = true;
			break;
		}
		if (!first)
			pfs_buf_add(key, enc->separator.p, enc->separator.len);
		first = false;
		lookup |= !decode_component(rules_of(enc), name, key);
	} while (more);
	if (key->failed)
		err = -ENOMEM;
	else if (!lookup)
		err = check_canonical(enc, path, contents_of(key, start), *own_value);
	if (err || lookup)
		cut_back(key, start);
	return err ? err : lookup;
}

struct pfs_bytes pfs_name_short_stem(struct pfs_bytes name)
{
	return (struct pfs_bytes){name.p, name.len - SHORT_SUFFIX};
}

void pfs_name_short_begins(const struct pfs_key_encoding *enc, struct pfs_bytes name,
			   struct pfs_buf *out)
{
	bool own;

	(void)pfs_names_to_key(enc, pfs_name_short_stem(name), out, &own);
}

/* ---- names as text -------------------------------------------------------------------------- */

int pfs_name_to_text(struct pfs_bytes name, struct pfs_buf *out)
{
	size_t i, n;

	pfs_buf_str(out, "");
	for (i = 0; i < name.len; i += n) {
		n = pfs_utf8_sequence(name.p + i, name.len - i);
		if (n == 0 || escape_at(&text_rules, rest_of(name, i)) >= 0) {
			add_escape(out, (unsigned char)name.p[i]);
			n = 1;
		} else {
			pfs_buf_add(out, name.p + i, n);
		}
	}
	return out->failed ? -ENOMEM : 0;
}

int pfs_name_from_text(struct pfs_bytes text, struct pfs_buf *out)
{
	struct pfs_buf canonical = {0};
	size_t start = out->len;
	int err;

	pfs_buf_str(out, "");
	decode(&text_rules, text, out);
	if (out->failed)
		return -ENOMEM;
	err = pfs_name_to_text(contents_of(out, start), &canonical);
	if (!err && !pfs_bytes_eq(contents_of(&canonical, 0), text))
		err = -EILSEQ;
	if (err)
		cut_back(out, start);
	pfs_buf_release(&canonical);
	return err;
}
