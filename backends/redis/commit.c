/*
 * Batches. Each is one call of commit.lua; the group that pfs_commit gathers goes out in one exchange
 * on one connection. Each call has a number; the script keeps its result under it. So when the
 * connection breaks before all answers are there, the session's epoch is raised on a new one (what is
 * still on its way is refused from then on) and the rest is sent again with the same numbers: what
 * had been done answers what it answered.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/redis/redis.h"

#define REDIS_HEAD 256

struct work {
	struct pfs_store *s;
	struct pfs_batch *batch;
	uint64_t number;
	bool answered;
	bool sent;	     /* in this exchange */
	bool general;	     /* not for one of the scripts that do the simple */
	bool doubtful;	     /* it was sent, and the connection broke: it may have been done */
	struct pfs_msg text; /* the engine's words */
};

/* ---- a mutation as arguments ---------------------------------------------------------------- */

static void add_segs(struct redis_args *a, const struct pfs_mutation *m)
{
	size_t i;

	redis_arg_u64(a, m->nsegs);
	for (i = 0; i < m->nsegs; i++) {
		redis_arg_u64(a, m->segs[i].off);
		redis_arg_bytes(a, m->segs[i].p, m->segs[i].len);
	}
}

static void add_set(struct redis_args *a, const struct pfs_set *set)
{
	redis_arg_u64(a, set->mask);
	redis_arg_i64(a, set->mtime);
	redis_arg_ms(a, set->expires);
}

static const char *kind_letter(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "f";
	case S_IFDIR:
		return "d";
	case S_IFLNK:
		return "l";
	default:
		return "o";
	}
}

#define PLAIN_MAX (8u << 20) /* as in lib.lua */

/* Its content is one piece from the start, or nothing. */
static bool is_whole(const struct pfs_mutation *m)
{
	if (m->nsegs == 0)
		return m->size == 0;
	return m->nsegs == 1 && m->segs[0].off == 0 && m->segs[0].len == m->size &&
	       m->size <= PLAIN_MAX;
}

/* What the whole content becomes, for verify.c; 0: not known. */
static uint64_t content_hash(const struct pfs_mutation *m)
{
	if (m->op != PFS_OP_CREATE && m->op != PFS_OP_REPLACE)
		return 0;
	if (m->size > REDIS_VERIFY_MAX || !is_whole(m))
		return 0;
	return m->nsegs ? redis_hash(m->segs[0].p, m->segs[0].len) : redis_hash("", 0);
}

static void add_create(struct redis_args *a, const struct pfs_mutation *m)
{
	redis_arg_u64(a, m->dir);
	redis_arg_bytes(a, m->name.p, m->name.len);
	redis_arg_u64(a, m->set.mode);
	redis_arg_u64(a, m->set.uid);
	redis_arg_u64(a, m->set.gid);
	redis_arg_u64(a, m->set.rdev);
	redis_arg_str(a, kind_letter(m->set.mode));
	redis_arg_i64(a, m->set.mtime);
	redis_arg_u64(a, m->size);
	redis_arg_ms(a, m->set.expires);
	add_segs(a, m);
	redis_arg_u64(a, content_hash(m));
}

static void add_rename(struct redis_args *a, const struct pfs_mutation *m)
{
	redis_arg_u64(a, m->dir);
	redis_arg_bytes(a, m->name.p, m->name.len);
	redis_arg_u64(a, m->dir2);
	redis_arg_bytes(a, m->name2.p, m->name2.len);
}

static void add_copy(struct redis_backend *b, struct redis_args *a, const struct pfs_mutation *m)
{
	redis_arg_u64(a, m->source);
	redis_arg_u64(a, redis_held(b, m->source));
	redis_arg_u64(a, m->offset);
	redis_arg_u64(a, m->length);
	redis_arg_u64(a, m->offset2);
	add_set(a, &m->set);
}

static void add_setattr(struct redis_args *a, const struct pfs_set *set)
{
	redis_arg_u64(a, set->mask);
	redis_arg_u64(a, set->mode);
	redis_arg_u64(a, set->uid);
	redis_arg_u64(a, set->gid);
	redis_arg_i64(a, set->mtime);
	redis_arg_ms(a, set->expires);
}

/* The letters of commit.lua. */
static const char *const letters[] = {
	[PFS_OP_CREATE] = "C",	    [PFS_OP_WRITE] = "W",    [PFS_OP_APPEND] = "P",
	[PFS_OP_REPLACE] = "R",	    [PFS_OP_TRUNCATE] = "T", [PFS_OP_PUNCH] = "H",
	[PFS_OP_COPY] = "Y",	    [PFS_OP_SETATTR] = "S",  [PFS_OP_REMOVE] = "D",
	[PFS_OP_RENAME] = "N",	    [PFS_OP_LINK] = "L",     [PFS_OP_SETXATTR] = "X",
	[PFS_OP_REMOVEXATTR] = "Z", [PFS_OP_STAGE] = "G",    [PFS_OP_PUBLISH] = "U",
	[PFS_OP_DISCARD] = "B",
};

static void add_details(struct redis_backend *b, struct redis_args *a, const struct pfs_mutation *m)
{
	switch (m->op) {
	case PFS_OP_CREATE:
		add_create(a, m);
		break;
	case PFS_OP_WRITE:
	case PFS_OP_APPEND:
		add_set(a, &m->set);
		add_segs(a, m);
		break;
	case PFS_OP_REPLACE:
		redis_arg_u64(a, m->size);
		add_set(a, &m->set);
		add_segs(a, m);
		redis_arg_u64(a, content_hash(m));
		break;
	case PFS_OP_TRUNCATE:
		redis_arg_u64(a, m->size);
		redis_arg_u64(a, m->content);
		add_set(a, &m->set);
		break;
	case PFS_OP_PUNCH:
		redis_arg_u64(a, m->offset);
		redis_arg_u64(a, m->length);
		redis_arg_u64(a, m->content);
		add_set(a, &m->set);
		break;
	case PFS_OP_COPY:
		add_copy(b, a, m);
		break;
	case PFS_OP_SETATTR:
		add_setattr(a, &m->set);
		break;
	case PFS_OP_REMOVE:
		redis_arg_u64(a, m->dir);
		redis_arg_bytes(a, m->name.p, m->name.len);
		break;
	case PFS_OP_RENAME:
		add_rename(a, m);
		break;
	case PFS_OP_SETXATTR:
		redis_arg_bytes(a, m->name.p, m->name.len);
		redis_arg_bytes(a, m->nsegs ? m->segs[0].p : "", m->nsegs ? m->segs[0].len : 0);
		break;
	case PFS_OP_REMOVEXATTR:
		redis_arg_bytes(a, m->name.p, m->name.len);
		break;
	case PFS_OP_STAGE:
		redis_arg_u64(a, m->content);
		add_segs(a, m);
		break;
	case PFS_OP_PUBLISH:
		redis_arg_u64(a, m->content);
		redis_arg_u64(a, m->size);
		add_set(a, &m->set);
		break;
	case PFS_OP_DISCARD:
		redis_arg_u64(a, m->content);
		break;
	case PFS_OP_LINK:
		break;
	}
}

static void add_batch(struct redis_backend *b, struct redis_args *a,
		      const struct redis_state *state, const struct work *w)
{
	size_t i;

	redis_arg_u64(a, state->session);
	redis_arg_u64(a, state->epoch);
	redis_arg_u64(a, w->number);
	redis_arg_i64(a, w->batch->now);
	redis_arg_u64(a, b->rename_limit);
	redis_arg_u64(a, w->batch->nops);
	for (i = 0; i < w->batch->nops; i++) {
		const struct pfs_mutation *m = &w->batch->ops[i];

		redis_arg_str(a, letters[m->op]);
		redis_arg_u64(a, m->flags);
		redis_arg_u64(a, m->id);
		if (m->flags & PFS_F_IF_VERSION)
			redis_arg_u64(a, m->expect_version);
		else
			redis_arg_str(a, "");
		redis_arg_u64(a, redis_held(b, m->id));
		add_details(b, a, m);
	}
}

/* ---- what is simple and frequent ------------------------------------------------------------ */

static enum redis_script script_for(const struct work *w)
{
	const struct pfs_mutation *m = &w->batch->ops[0];

	if (w->general || w->batch->nops != 1 || m->flags & PFS_F_IF_VERSION)
		return REDIS_COMMIT;
	switch (m->op) {
	case PFS_OP_CREATE:
		return S_ISREG(m->set.mode) && !m->set.expires && is_whole(m) ? REDIS_CREATE
									      : REDIS_COMMIT;
	case PFS_OP_REPLACE:
		return !(m->set.mask & PFS_SET_EXPIRES) && is_whole(m) ? REDIS_CHANGE
								       : REDIS_COMMIT;
	case PFS_OP_WRITE:
	case PFS_OP_APPEND:
		return !(m->set.mask & PFS_SET_EXPIRES) && m->nsegs == 1 && m->segs[0].len &&
				       m->segs[0].len <= PLAIN_MAX
			       ? REDIS_CHANGE
			       : REDIS_COMMIT;
	case PFS_OP_REMOVE:
	case PFS_OP_RENAME:
		return m->flags ? REDIS_COMMIT : REDIS_RENAME;
	default:
		return REDIS_COMMIT;
	}
}

/* The arguments of rename.lua; `head` must outlive the call. */
static void add_names(struct redis_args *a, char head[REDIS_HEAD], const struct redis_state *state,
		      const struct work *w)
{
	const struct pfs_mutation *m = &w->batch->ops[0];
	bool rename = m->op == PFS_OP_RENAME;

	snprintf(head, REDIS_HEAD,
		 "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRIu64 " %" PRIu64,
		 state->session, state->epoch, w->number, w->batch->now, m->dir,
		 rename ? m->dir2 : m->dir);
	redis_arg_str(a, head);
	redis_arg_bytes(a, m->name.p, m->name.len);
	if (rename)
		redis_arg_bytes(a, m->name2.p, m->name2.len);
}

/* The arguments of create.lua and change.lua; `head` must outlive the call. */
static void add_content(struct redis_args *a, char head[REDIS_HEAD],
			const struct redis_state *state, const struct work *w)
{
	const struct pfs_mutation *m = &w->batch->ops[0];
	int n = snprintf(head, REDIS_HEAD,
			 "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRIu64, state->session,
			 state->epoch, w->number, w->batch->now, m->id);

	if (m->op == PFS_OP_CREATE)
		n += snprintf(head + n, REDIS_HEAD - (size_t)n,
			      " %" PRIu64 " %u %u %u %" PRIu64 " %" PRId64, m->dir, m->set.mode,
			      m->set.uid, m->set.gid, m->set.rdev, m->set.mtime);
	else
		n += snprintf(head + n, REDIS_HEAD - (size_t)n, " %s %u %" PRId64 " %" PRIu64,
			      letters[m->op], m->set.mask & (PFS_SET_MTIME | PFS_SET_KILLPRIV),
			      m->set.mtime, m->op == PFS_OP_WRITE ? m->segs[0].off : 0);
	snprintf(head + n, REDIS_HEAD - (size_t)n, " %" PRIu64, content_hash(m));
	redis_arg_str(a, head);
	if (m->op == PFS_OP_CREATE)
		redis_arg_bytes(a, m->name.p, m->name.len);
	redis_arg_bytes(a, m->nsegs ? m->segs[0].p : "", m->nsegs ? m->segs[0].len : 0);
}

/* ---- results -------------------------------------------------------------------------------- */

static int take_attr(const redisReply *r, struct pfs_attr *out)
{
	*out = (struct pfs_attr){0};
	return r->type == REDIS_REPLY_STRING && r->len == 0 ? 0 : redis_parse_attr(r, out);
}

static int take_results(struct pfs_batch *batch, const redisReply *r)
{
	size_t i;
	int err = 0;

	if (r->elements != 1 + 3 * batch->nops) {
		pfs_error_text_set("redis answered a batch in another form than it has");
		return -EIO;
	}
	for (i = 0; i < batch->nops && !err; i++) {
		struct pfs_mutation *m = &batch->ops[i];

		err = take_attr(r->element[1 + 3 * i], &m->attr);
		if (!err)
			err = take_attr(r->element[2 + 3 * i], &m->other);
		if (m->op == PFS_OP_APPEND)
			m->offset = redis_number(r, 3 + 3 * i);
		else if (m->op == PFS_OP_COPY)
			m->length = redis_number(r, 3 + 3 * i);
		else if (m->op == PFS_OP_RENAME)
			m->id = m->attr.id;
	}
	return err;
}

/* What the reply means for the batch. A positive code is one of redis_code. */
static int take_reply(struct redis_backend *b, struct work *w, const redisReply *r)
{
	int err = redis_error(r);
	uint64_t code;

	if (err)
		return err;
	if (r->type != REDIS_REPLY_ARRAY || r->elements < 1) {
		pfs_error_text_set("redis answered a batch in another form than it has");
		return -EIO;
	}
	code = redis_number(r, 0);
	w->general |= code == REDIS_OTHERWISE;
	if (code >= REDIS_OTHER_DATA)
		return (int)code;
	if (code) {
		w->batch->failed = (size_t)redis_number(r, 1);
		if (code == EIO)
			pfs_error_text_set("the key of a file in the batch is no string");
		return -(int)code;
	}
	if (w->number > b->answered)
		__atomic_store_n(&b->answered, w->number, __ATOMIC_RELAXED);
	return take_results(w->batch, r);
}

/* ---- a group -------------------------------------------------------------------------------- */

static void answer(struct pfs_commit_item *item, int err)
{
	struct work *w = item->work;

	item->err = err;
	w->answered = true;
	if (err)
		pfs_msg_set(&w->text, "%s", pfs_error_text());
}

/* Put every batch without an answer into the connection's buffer. */
static int send_group(struct redis_backend *b, struct redis_conn *conn,
		      const struct redis_state *state, struct pfs_commit_item **items, size_t n)
{
	size_t i;
	int err = 0;

	for (i = 0; i < n && !err; i++) {
		struct work *w = items[i]->work;
		enum redis_script script = script_for(w);
		struct redis_args a = {0};
		char head[REDIS_HEAD];

		if (w->answered)
			continue;
		if (w->batch->epoch != state->data_epoch) {
			pfs_error_text_set("the data is another one now");
			answer(items[i], -ESTALE);
			continue;
		}
		if (script == REDIS_COMMIT)
			add_batch(b, &a, state, w);
		else if (script == REDIS_RENAME)
			add_names(&a, head, state, w);
		else
			add_content(&a, head, state, w);
		if (a.failed)
			answer(items[i], -ENOMEM);
		else
			err = redis_append(conn->ctx, script, state->gen, w->s->ns, &a);
		w->sent |= !a.failed;
		redis_args_release(&a);
	}
	return err;
}

/* Read the answers. Returns 0, REDIS_LOST, or what is to be done before the rest is sent again. */
static int read_group(struct redis_backend *b, struct redis_conn *conn,
		      struct pfs_commit_item **items, size_t n)
{
	int todo = 0, err;
	size_t i;

	for (i = 0; i < n; i++) {
		struct work *w = items[i]->work;
		redisReply *r = NULL;

		if (w->answered)
			continue;
		err = redis_reply(conn->ctx, &r);
		if (err)
			return err;
		if (redis_is_noscript(r))
			err = ENOEXEC;
		else
			err = take_reply(b, w, r);
		freeReplyObject(r);
		if (err > 0 || err == REDIS_LOST)
			todo = err;
		else
			answer(items[i], err);
	}
	return todo;
}

/*
 * Nobody will ever know, or not in time: it may have been done. What callers would do once more (an
 * append would be there twice) is lost; anything else may be tried again.
 */
static void answer_doubtful(struct pfs_commit_item *item)
{
	struct pfs_batch *batch = ((struct work *)item->work)->batch;
	size_t i;

	for (i = 0; i < batch->nops; i++)
		batch->final |= batch->ops[i].op == PFS_OP_APPEND;
	pfs_error_text_set("the outcome of a commit is unknown: redis went away");
	answer(item, batch->final ? -EIO : -EHOSTDOWN);
}

static bool is_doubtful(const struct pfs_commit_item *item)
{
	const struct work *w = item->work;

	return !w->answered && w->doubtful;
}

/* What a code other than success asks for. 0: send the rest again. */
static int recover(struct redis_backend *b, struct redis_conn *conn,
		   const struct redis_state *state, struct pfs_commit_item **items, size_t n,
		   int todo)
{
	size_t i;

	switch (todo) {
	case ENOEXEC:
		return redis_load_scripts(conn->ctx);
	case REDIS_OTHER_DATA:
		return redis_data_moved(b, conn->ctx, state);
	case REDIS_OTHERWISE:
	case REDIS_OLD_EPOCH: /* another thread found the server restarted, and raised it */
		return 0;
	case REDIS_NO_SESSION: /* the results that it kept have gone with it */
		for (i = 0; i < n; i++)
			if (is_doubtful(items[i]))
				answer_doubtful(items[i]);
		return redis_session_moved(b, conn->ctx, state);
	default:
		return todo;
	}
}

static bool all_answered(struct pfs_commit_item **items, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!((struct work *)items[i]->work)->answered)
			return false;
	return true;
}

static void answer_rest(struct pfs_commit_item **items, size_t n, int err)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (is_doubtful(items[i]))
			answer_doubtful(items[i]);
		else if (!((struct work *)items[i]->work)->answered)
			answer(items[i], err);
	}
}

/* The connection broke: what was sent on it may have been done, or be done yet. */
static void doubt(struct redis_backend *b, struct pfs_commit_item **items, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		struct work *w = items[i]->work;

		if (w->sent && !w->answered)
			w->doubtful = b->doubtful = true;
		w->sent = false;
	}
}

static int exchange(struct redis_backend *b, struct pfs_commit_item **items, size_t n,
		    int64_t deadline)
{
	struct redis_conn *conn;
	struct redis_state state;
	int err = redis_get(b, deadline, &conn);

	if (err)
		return err;
	if (b->doubtful) {
		err = redis_resume(b, conn->ctx, NULL, true);
		b->doubtful = err != 0;
	}
	if (!err) {
		redis_state_get(b, &state);
		err = send_group(b, conn, &state, items, n);
		if (!err)
			err = read_group(b, conn, items, n);
		if (err == REDIS_LOST)
			doubt(b, items, n);
		else if (err > 0)
			err = recover(b, conn, &state, items, n, err);
	}
	redis_put(b, conn, err);
	return err;
}

void redis_commit_group(void *arg, struct pfs_commit_item **items, size_t n)
{
	struct redis_backend *b = arg;
	int64_t deadline = pfs_monotonic_ns() + b->retry_timeout;
	size_t i;
	int err;

	for (i = 0; i < n; i++)
		((struct work *)items[i]->work)->number = ++b->number;
	do
		err = exchange(b, items, n, deadline);
	while ((err == 0 || err == REDIS_LOST) && !all_answered(items, n) &&
	       pfs_monotonic_ns() < deadline);
	answer_rest(items, n, err == 0 || err == REDIS_LOST ? -EHOSTDOWN : err);
}

static size_t batch_cost(const struct pfs_batch *batch)
{
	size_t cost = 256, i, j;

	for (i = 0; i < batch->nops; i++) {
		cost += 128;
		for (j = 0; j < batch->ops[i].nsegs; j++)
			cost += batch->ops[i].segs[j].len;
	}
	return cost;
}

int redis_commit(struct pfs_store *s, struct pfs_batch *batch)
{
	struct work work = {.s = s, .batch = batch};
	struct pfs_commit_item item = {.work = &work, .cost = batch_cost(batch)};
	int err;

	pfs_error_text_clear();
	err = pfs_commit_submit(&redis_of_store(s)->queue, &item);
	if (err && work.text.text[0]) {
		pfs_error_text_set("%s", work.text.text);
		batch->msg = work.text;
	}
	return err;
}
