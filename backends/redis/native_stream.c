/*
 * Streams as text: one JSON object in each line. An entry is {"id":"1-0","fields":{"name":"value"}}; where a
 * name comes twice, or something is no UTF-8, it is {"id":"1-0","base64":[["bmFtZQ==","dmFsdWU="]]}. A line
 * that is appended may be either, without "id" to have the server give one, or just the fields.
 */
#include "backends/redis/native.h"

#define PIECE "1000"

/* ---- writing text --------------------------------------------------------------------------- */

static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void add_base64(struct pfs_buf *out, const char *p, size_t n)
{
	const unsigned char *s = (const unsigned char *)p;
	char four[4];
	size_t i, k, left;

	pfs_buf_str(out, "\"");
	for (i = 0; i < n; i += 3) {
		uint32_t v = 0;

		left = n - i < 3 ? n - i : 3;
		for (k = 0; k < 3; k++)
			v = v << 8 | (k < left ? s[i + k] : 0);
		for (k = 0; k < 4; k++)
			four[k] = k <= left ? digits64[v >> (18 - 6 * k) & 63] : '=';
		pfs_buf_add(out, four, 4);
	}
	pfs_buf_str(out, "\"");
}

static bool is_text(const redisReply *r)
{
	size_t i, n;

	for (i = 0; i < r->len; i += n) {
		n = pfs_utf8_sequence(r->str + i, r->len - i);
		if (!n)
			return false;
	}
	return true;
}

/* Can it be an object of text? */
static bool is_object(const redisReply *fields)
{
	size_t i, k;

	for (i = 0; i < fields->elements; i++) {
		if (!is_text(fields->element[i]))
			return false;
		for (k = 0; i % 2 == 0 && k < i; k += 2)
			if (fields->element[i]->len == fields->element[k]->len &&
			    !memcmp(fields->element[i]->str, fields->element[k]->str,
				    fields->element[i]->len))
				return false;
	}
	return true;
}

static void add_entry(struct pfs_buf *out, const redisReply *id, const redisReply *fields)
{
	bool object = is_object(fields);
	size_t i;

	pfs_buf_str(out, "{\"id\":");
	pfs_buf_json(out, id->str, id->len);
	pfs_buf_str(out, object ? ",\"fields\":{" : ",\"base64\":[");
	for (i = 0; i + 1 < fields->elements; i += 2) {
		const redisReply *name = fields->element[i], *value = fields->element[i + 1];

		pfs_buf_str(out, i ? "," : "");
		pfs_buf_str(out, object ? "" : "[");
		(object ? pfs_buf_json : add_base64)(out, name->str, name->len);
		pfs_buf_str(out, object ? ":" : ",");
		(object ? pfs_buf_json : add_base64)(out, value->str, value->len);
		pfs_buf_str(out, object ? "" : "]");
	}
	pfs_buf_str(out, object ? "}}\n" : "]}\n");
}

/* The id behind this one. */
static void next_id(const char *id, char *out, size_t size)
{
	char *end;
	unsigned long long ms = strtoull(id, &end, 10),
			   seq = *end == '-' ? strtoull(end + 1, NULL, 10) : 0;

	if (seq == UINT64_MAX)
		snprintf(out, size, "%llu-0", ms + 1);
	else
		snprintf(out, size, "%llu-%llu", ms, seq + 1);
}

int native_stream_text(redisContext *c, struct pfs_bytes key, struct pfs_buf *out)
{
	char from[48] = "-";
	bool end = false;
	size_t i;
	int err = 0;

	while (!err && !end) {
		redisReply *r = NULL;

		err = native_send(c, PFS_BYTES("XRANGE"), key, pfs_bytes_str(from), PFS_BYTES("+"),
				  PFS_BYTES("COUNT"), PFS_BYTES(PIECE));
		if (!err)
			err = native_send(c, PFS_BYTES("EXISTS"), key);
		if (!err)
			err = native_reply_there(c, &r);
		for (i = 0; !err && i < r->elements; i++) {
			const redisReply *e = r->element[i];

			if (e->type != REDIS_REPLY_ARRAY || e->elements != 2)
				continue;
			add_entry(out, e->element[0], e->element[1]);
			next_id(e->element[0]->str, from, sizeof(from));
		}
		end = !err && r->elements < 1000;
		freeReplyObject(r);
		if (!err && out->len > PFS_VIEW_VALUE_MAX) {
			pfs_error_text_set("the stream has more text than %u MiB",
					   PFS_VIEW_VALUE_MAX >> 20);
			err = -EFBIG;
		}
	}
	pfs_buf_str(out, "");
	return err ? err : out->failed ? -ENOMEM : 0;
}

int native_stream_room(struct native *v, redisContext *c, const struct native_place *p)
{
	struct pfs_bytes sort = native_bytes(&p->stream_sort);
	redisReply *r = NULL;
	bool taken;
	int err;

	if (!p->stream.len) {
		pfs_error_text_set("the name of a stream ends with .jsonl");
		return -EINVAL;
	}
	err = native_send(c, PFS_BYTES("EXISTS"), native_bytes(&p->stream));
	if (!err)
		err = native_reply(c, &r);
	if (err)
		return err;
	pthread_mutex_lock(&v->tree.lock);
	taken = r->integer || native_tree_is_dir(&v->tree, sort) ||
		native_index_find(&v->tree.pending, sort);
	pthread_mutex_unlock(&v->tree.lock);
	freeReplyObject(r);
	if (!taken)
		return 0;
	pfs_error_text_set("there is a key, or a directory, of the name that the stream would have");
	return -EEXIST;
}

/* ---- reading text --------------------------------------------------------------------------- */

/* Strings are gathered in `bytes`; each with where it begins and ends. */
struct line {
	const char *p, *end;
	bool bad;
	struct pfs_buf bytes;
	struct piece {
		size_t at, len;
	} *pieces;
	size_t n, cap;
	size_t id, ids; /* which piece is the id, and whether there is one */
	bool failed;
};

static void skip_blanks(struct line *l)
{
	while (l->p < l->end && (*l->p == ' ' || *l->p == '\t' || *l->p == '\r'))
		l->p++;
}

static bool take(struct line *l, char c)
{
	skip_blanks(l);
	if (l->p == l->end || *l->p != c)
		return false;
	l->p++;
	return true;
}

static void want(struct line *l, char c)
{
	l->bad |= !take(l, c);
}

static unsigned hex4(struct line *l)
{
	unsigned v = 0;
	int i;

	for (i = 0; i < 4; i++) {
		char c = l->p < l->end ? *l->p++ : '\0';

		v <<= 4;
		if (c >= '0' && c <= '9')
			v |= (unsigned)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			v |= (unsigned)((c | 32) - 'a' + 10);
		else
			l->bad = true;
	}
	return v;
}

static void add_utf8(struct pfs_buf *out, unsigned v)
{
	char s[4];
	size_t n = v < 0x80 ? 1 : v < 0x800 ? 2 : v < 0x10000 ? 3 : 4, i;

	for (i = n; i-- > 1; v >>= 6)
		s[i] = (char)(0x80 | (v & 0x3f));
	s[0] = (char)(n == 1 ? v : (0xf00u >> n & 0xf0) | v);
	pfs_buf_add(out, s, n);
}

static void read_escape(struct line *l)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	char c = l->p < l->end ? *l->p++ : '\0';
	const char *at = c ? strchr(from, c) : NULL;
	unsigned v, low;

	if (at) {
		pfs_buf_add(&l->bytes, &to[at - from], 1);
		return;
	}
	if (c != 'u') {
		l->bad = true;
		return;
	}
	v = hex4(l);
	if (v >= 0xd800 && v < 0xdc00) {
		l->bad |= l->end - l->p < 6 || l->p[0] != '\\' || l->p[1] != 'u';
		if (l->bad)
			return;
		l->p += 2;
		low = hex4(l);
		l->bad |= low < 0xdc00 || low > 0xdfff;
		v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
	} else {
		l->bad |= v >= 0xdc00 && v < 0xe000;
	}
	if (!l->bad)
		add_utf8(&l->bytes, v);
}

static void add_piece(struct line *l, size_t at)
{
	struct piece *more;

	if (l->n == l->cap) {
		more = realloc(l->pieces, (l->cap ? 2 * l->cap : 16) * sizeof(*more));
		if (!more) {
			l->failed = l->bad = true;
			return;
		}
		l->pieces = more;
		l->cap = l->cap ? 2 * l->cap : 16;
	}
	l->pieces[l->n++] = (struct piece){at, l->bytes.len - at};
}

static void read_string(struct line *l)
{
	size_t at = l->bytes.len;

	want(l, '"');
	while (!l->bad && l->p < l->end && *l->p != '"') {
		if (*l->p == '\\') {
			l->p++;
			read_escape(l);
		} else {
			l->bad |= (unsigned char)*l->p < 0x20;
			pfs_buf_add(&l->bytes, l->p++, 1);
		}
	}
	l->bad |= l->p == l->end;
	l->p++;
	if (!l->bad)
		add_piece(l, at);
}

/* A string; or a number, true or false as it stands. */
static void read_scalar(struct line *l)
{
	size_t at = l->bytes.len;
	const char *p;

	skip_blanks(l);
	if (l->p < l->end && *l->p == '"') {
		read_string(l);
		return;
	}
	for (p = l->p; p < l->end && !strchr(" \t\r,}]", *p); p++)
		if (*p == '{' || *p == '[' || *p == '"' || *p == ':')
			break;
	l->bad |= p == l->p || (p < l->end && strchr("{[\":", *p)) ||
		  (p - l->p == 4 && !memcmp(l->p, "null", 4));
	pfs_buf_add(&l->bytes, l->p, (size_t)(p - l->p));
	l->p = p;
	if (!l->bad)
		add_piece(l, at);
}

static void read_fields(struct line *l)
{
	want(l, '{');
	if (take(l, '}'))
		return;
	do {
		read_string(l);
		want(l, ':');
		read_scalar(l);
	} while (!l->bad && take(l, ','));
	want(l, '}');
}

/* The last piece is base64: what it stands for instead. */
static void decode_last(struct line *l)
{
	struct piece *piece = &l->pieces[l->n - 1];
	char *s = l->bytes.data + piece->at;
	size_t i, out = 0, n = piece->len;
	uint32_t v = 0;

	l->bad |= n % 4 != 0;
	while (n && s[n - 1] == '=' && piece->len - n < 2)
		n--;
	for (i = 0; i < n && !l->bad; i++) {
		const char *d = s[i] ? strchr(digits64, s[i]) : NULL;

		l->bad |= !d;
		v = v << 6 | (uint32_t)(d ? d - digits64 : 0);
		if (i % 4)
			s[out++] = (char)(v >> (6 - 2 * (i % 4)));
	}
	piece->len = out;
}

static void read_pairs(struct line *l)
{
	want(l, '[');
	do {
		want(l, '[');
		read_string(l);
		if (!l->bad)
			decode_last(l);
		want(l, ',');
		read_string(l);
		if (!l->bad)
			decode_last(l);
		want(l, ']');
	} while (!l->bad && take(l, ','));
	want(l, ']');
}

static bool last_is(const struct line *l, const char *name)
{
	const struct piece *p = &l->pieces[l->n - 1];

	return !l->bad && pfs_bytes_eq((struct pfs_bytes){l->bytes.data + p->at, p->len},
				       pfs_bytes_str(name));
}

/* An entry as it is shown. false: it is none, `l` is to be read anew. */
static bool read_entry(struct line *l)
{
	bool fields = false;

	want(l, '{');
	do {
		read_string(l);
		if (l->bad)
			return false;
		want(l, ':');
		if (last_is(l, "id") && !l->ids) {
			read_scalar(l);
			l->id = l->n - 1;
			l->ids = 1;
			continue;
		}
		if (fields || (!last_is(l, "fields") && !last_is(l, "base64")))
			return false;
		fields = true;
		if (last_is(l, "fields")) {
			l->n--;
			skip_blanks(l);
			if (l->p < l->end && *l->p != '{')
				return false;
			read_fields(l);
		} else {
			l->n--;
			read_pairs(l);
		}
	} while (!l->bad && take(l, ','));
	want(l, '}');
	return fields;
}

static void line_read(struct line *l, struct pfs_bytes text)
{
	l->p = text.p;
	l->end = text.p + text.len;
	l->bad = false;
	l->n = l->ids = 0;
	l->bytes.len = 0;
	if (!read_entry(l)) {
		l->p = text.p;
		l->bad = false;
		l->n = l->ids = 0;
		l->bytes.len = 0;
		read_fields(l);
	}
	skip_blanks(l);
	l->bad |= l->p != l->end || l->n < 2 || l->failed || l->bytes.failed;
}

/* Queue XADD. The two pieces of the id ("id" and its value) come first or last: they are left out. */
static int send_entry(redisContext *c, struct pfs_bytes key, const struct line *l)
{
	struct pfs_bytes *argv = malloc((l->n + 3) * sizeof(*argv));
	size_t i, n = 0;
	int err;

	if (!argv)
		return -ENOMEM;
	argv[n++] = PFS_BYTES("XADD");
	argv[n++] = key;
	argv[n++] = PFS_BYTES("*");
	for (i = 0; i < l->n; i++) {
		struct pfs_bytes s = {l->bytes.data ? l->bytes.data + l->pieces[i].at : "",
				      l->pieces[i].len};

		if (l->ids && i == l->id)
			argv[2] = s;
		else if (!l->ids || i + 1 != l->id)
			argv[n++] = s;
	}
	err = n < 5 || n % 2 == 0 ? -EINVAL : native_sendv(c, argv, n);
	free(argv);
	return err;
}

/* The line that `text` begins with, which loses it; false: there is none, or only its newline. */
static bool next_line(struct pfs_bytes *text, struct pfs_bytes *one)
{
	const char *newline = memchr(text->p, '\n', text->len);
	size_t n;

	*one = (struct pfs_bytes){text->p, newline ? (size_t)(newline - text->p) : text->len};
	n = one->len + (newline != NULL);
	*text = (struct pfs_bytes){text->p + n, text->len - n};
	return one->len > 0;
}

static int bad_line(void)
{
	pfs_error_text_set("a line of a stream is a JSON object of its fields, or "
			   "{\"id\":\"...\",\"fields\":{...}}");
	return -EINVAL;
}

struct id {
	uint64_t ms, seq;
};

static bool read_number(const char **p, uint64_t *out)
{
	char *end;

	if (**p < '0' || **p > '9')
		return false;
	errno = 0;
	*out = strtoull(*p, &end, 10);
	*p = end;
	return !errno;
}

/* MS-SEQ, or MS for MS-0. */
static bool read_id(struct pfs_bytes s, struct id *out)
{
	char text[48];
	const char *p = text;

	*out = (struct id){0};
	if (s.len >= sizeof(text) || memchr(s.p, '\0', s.len))
		return false;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	if (!read_number(&p, &out->ms))
		return false;
	if (*p == '-') {
		p++;
		if (!read_number(&p, &out->seq))
			return false;
	}
	return *p == '\0';
}

/* The id that new ones must be greater than, whether its entry is there still or not. */
static int last_id(redisContext *c, struct pfs_bytes key, struct id *out)
{
	redisReply *r = NULL;
	size_t i;
	int err = native_send(c, PFS_BYTES("XINFO"), PFS_BYTES("STREAM"), key);

	*out = (struct id){0};
	if (!err)
		err = native_reply(c, &r);
	for (i = 0; !err && i + 1 < r->elements; i += 2) {
		const redisReply *name = r->element[i], *value = r->element[i + 1];

		if (name->str && value->str && !strcmp(name->str, "last-generated-id") &&
		    !read_id((struct pfs_bytes){value->str, value->len}, out))
			err = -EIO;
	}
	freeReplyObject(r);
	return err;
}

/* The line's own id must follow *last. *known: that was asked for; *open: the server gives one before. */
static int check_id(redisContext *c, struct pfs_bytes key, const struct line *l, struct id *last,
		    bool *known, bool *open)
{
	const struct piece *piece = &l->pieces[l->id];
	struct pfs_bytes text = {l->bytes.data + piece->at, piece->len};
	struct id id;
	int err = 0;

	if (!l->ids || pfs_bytes_eq(text, PFS_BYTES("*"))) {
		*open = true;
		return 0;
	}
	if (!*known)
		err = last_id(c, key, last);
	*known = true;
	if (err)
		return err;
	if (!*open && read_id(text, &id) &&
	    (id.ms > last->ms || (id.ms == last->ms && id.seq > last->seq))) {
		*last = id;
		return 0;
	}
	pfs_error_text_set("the ids of a stream's entries grow, and are MS-SEQ: %.*s does not follow %s",
			   (int)(text.len < 48 ? text.len : 48), text.p,
			   *open ? "one that the server gives" : "the one before");
	return -EINVAL;
}

int native_stream_check(redisContext *c, struct pfs_bytes key, bool there, struct pfs_bytes text)
{
	bool known = !there, open = false;
	struct id last = {0};
	struct line l = {0};
	struct pfs_bytes one;
	int err = 0;

	while (text.len && !err) {
		if (!next_line(&text, &one))
			continue;
		line_read(&l, one);
		err = l.failed ? -ENOMEM
		      : l.bad  ? bad_line()
			       : check_id(c, key, &l, &last, &known, &open);
	}
	free(l.pieces);
	pfs_buf_release(&l.bytes);
	return err;
}

int native_stream_add(redisContext *c, struct pfs_bytes key, struct pfs_bytes text, size_t *n)
{
	struct line l = {0};
	struct pfs_bytes one;
	int err = 0;

	*n = 0;
	while (text.len && !err) {
		if (!next_line(&text, &one))
			continue;
		line_read(&l, one);
		err = l.failed ? -ENOMEM : l.bad ? -EINVAL : send_entry(c, key, &l);
		*n += !err;
		if (err == -EINVAL)
			err = bad_line();
	}
	free(l.pieces);
	pfs_buf_release(&l.bytes);
	return err;
}
