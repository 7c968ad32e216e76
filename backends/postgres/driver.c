/*
 * Statements in a pipeline. Writes are queued in the connection's buffer and sent together with
 * whatever next waits for an answer: a read, or the end of the transaction. Numbers travel as eight
 * bytes, names and values as they are.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/postgres/postgres.h"

#define TEXT_OID     25
#define UNSENT_LIMIT (256u << 10) /* bytes that are queued without trying to send them */

/* ---- parameters ----------------------------------------------------------------------------- */

static int bind_bytes(struct pg_params *p, char type, const char *data, size_t len)
{
	int n = p->n;

	if (!data)
		data = "";
	if (type == 't') {
		struct pfs_buf *text = &p->text[p->ntext];

		if (p->ntext == PFS_ARRAY_SIZE(p->text))
			return -EINVAL;
		if (pg_text_escape((struct pfs_bytes){data, len}, text)) {
			p->ntext++;
			if (text->failed)
				return -ENOMEM;
			data = text->data;
			len = text->len;
		}
	}
	p->values[n] = data;
	p->lengths[n] = (int)len;
	return 0;
}

int pg_params_bind(struct pg_params *p, const char *types, va_list ap)
{
	int err = 0;

	p->n = 0;
	p->ntext = 0;
	memset(p->text, 0, sizeof(p->text));
	for (; *types && !err; types++) {
		if (p->n == PG_PARAMS)
			return -EINVAL;
		p->formats[p->n] = 1;
		if (*types == 'i') {
			p->ints[p->n] = (int64_t)htobe64((uint64_t)va_arg(ap, int64_t));
			p->values[p->n] = (const char *)&p->ints[p->n];
			p->lengths[p->n] = 8;
		} else {
			const char *data = va_arg(ap, const void *);
			size_t len = va_arg(ap, size_t);

			err = bind_bytes(p, *types, data, len);
		}
		p->n++;
	}
	return err;
}

void pg_params_release(struct pg_params *p)
{
	unsigned i;

	for (i = 0; i < p->ntext; i++)
		pfs_buf_release(&p->text[i]);
}

/* ---- sending -------------------------------------------------------------------------------- */

static int sent_add(struct pg_conn *c, struct pg_sent sent)
{
	if (c->nsent == c->sent_cap) {
		size_t cap = c->sent_cap ? c->sent_cap * 2 : 64;
		void *p = realloc(c->sent, cap * sizeof(*c->sent));

		if (!p)
			return -ENOMEM;
		c->sent = p;
		c->sent_cap = cap;
	}
	c->sent[c->nsent++] = sent;
	return 0;
}

/* Send what is queued, as long as the other side takes it. */
static int send_out(struct pg_conn *c)
{
	int ret;

	c->unsent = 0;
	while ((ret = PQflush(c->pq)) == 1) {
		int err = pg_wait(c, true, pfs_monotonic_ns() + c->patience);

		if (err)
			return err;
	}
	return ret < 0 ? pg_lost(c, PQerrorMessage(c->pq)) : 0;
}

/* Statements are prepared when they are first used, in the same pipeline. */
static int prepare_first(struct pg_conn *c, unsigned stmt)
{
	int err;

	err = sent_add(c, (struct pg_sent){.kind = PG_SENT_PREPARE, .stmt = stmt});
	if (err)
		return err;
	c->prepared[stmt] = true;
	err = pg_send_prepare(c, stmt);
	if (err)
		c->nsent--;
	return err;
}

int pg_send(struct pg_conn *c, unsigned stmt, const struct pg_params *p, enum pg_sent_kind kind,
	    void *out)
{
	char name[16];
	int i, err;

	if (c->lost)
		return -EHOSTDOWN;
	err = pg_gather_send(c);
	if (!err && !c->prepared[stmt])
		err = prepare_first(c, stmt);
	if (!err)
		err = sent_add(c, (struct pg_sent){.kind = kind, .stmt = stmt, .out = out});
	if (err)
		return err;
	snprintf(name, sizeof(name), "s%u", stmt);
	if (!PQsendQueryPrepared(c->pq, name, p->n, p->values, p->lengths, p->formats, 1)) {
		c->nsent--;
		return pg_lost(c, PQerrorMessage(c->pq));
	}
	for (i = 0; i < p->n; i++)
		c->unsent += (size_t)p->lengths[i];
	return c->unsent > UNSENT_LIMIT ? send_out(c) : 0;
}

/* ---- answers -------------------------------------------------------------------------------- */

static int64_t cell_integer(const PGresult *res, int row, int column)
{
	const char *p = PQgetvalue(res, row, column);
	uint64_t v8;
	uint32_t v4;

	if (PQgetisnull(res, row, column))
		return 0;
	switch (PQgetlength(res, row, column)) {
	case 8:
		memcpy(&v8, p, 8);
		return (int64_t)be64toh(v8);
	case 4:
		memcpy(&v4, p, 4);
		return (int32_t)be32toh(v4);
	case 1:
		return *p;
	default:
		return 0;
	}
}

/* Take what was answered to `sent`; consumes res. */
static int take_answer(struct pg_conn *c, const struct pg_sent *sent, PGresult *res)
{
	ExecStatusType status = PQresultStatus(res);
	int err = 0;

	if (status == PGRES_FATAL_ERROR)
		err = pg_error(c, res);
	if (status == PGRES_PIPELINE_ABORTED)
		err = -ECANCELED; /* what failed was told before */
	if (err && sent->kind == PG_SENT_PREPARE)
		c->prepared[sent->stmt] = false;
	if (!err && sent->kind == PG_SENT_WRITE && sent->stmt == PG_STMT_COMMIT &&
	    strcmp(PQcmdStatus(res), "COMMIT") != 0)
		err = -EIO;
	if (!err && sent->kind == PG_SENT_LATER && PQntuples(res) > 0)
		*(int64_t *)sent->out = cell_integer(res, 0, 0);
	if (!err && sent->kind == PG_SENT_READ) {
		if (sent->out)
			*(PGresult **)sent->out = res;
		else
			c->ahead[sent->ahead].res = res;
		res = NULL;
	}
	PQclear(res);
	return err;
}

/* The answer to one statement: its result, and the end of its results. */
static int wait_answer(struct pg_conn *c, const struct pg_sent *sent)
{
	PGresult *res = NULL, *end = NULL;
	int err, ret;

	err = pg_result(c, &res);
	if (err)
		return err;
	if (!res)
		return pg_lost(c, "an answer is missing");
	if (sent->kind == PG_SENT_SYNC) {
		bool good = PQresultStatus(res) == PGRES_PIPELINE_SYNC;

		PQclear(res);
		return good ? 0 : pg_lost(c, "answers are out of order");
	}
	ret = take_answer(c, sent, res);
	if (c->lost)
		return ret;
	err = pg_result(c, &end);
	if (!err && end) {
		PQclear(end);
		err = pg_lost(c, "answers are out of order");
	}
	return err ? err : ret;
}

int pg_drain(struct pg_conn *c)
{
	int err = 0, ret;
	size_t i;

	if (c->lost)
		return -EHOSTDOWN;
	err = pg_gather_send(c);
	if (err || c->nsent == 0)
		return err;
	err = sent_add(c, (struct pg_sent){.kind = PG_SENT_SYNC});
	if (!err && !PQpipelineSync(c->pq))
		err = pg_lost(c, PQerrorMessage(c->pq));
	if (!err)
		err = send_out(c);
	for (i = 0; i < c->nsent && !c->lost; i++) {
		ret = wait_answer(c, &c->sent[i]);
		if (ret && (!err || c->lost))
			err = ret;
	}
	c->nsent = 0;
	return err;
}

int pg_queue(struct pg_conn *c, enum pg_stmt stmt)
{
	const struct pg_params none = {.n = 0};

	/* What a savepoint, or the transaction, has not sent yet goes with it. */
	if (stmt == PG_STMT_ROLLBACK || stmt == PG_STMT_UNDO)
		pg_gather_drop(c);
	return pg_send(c, stmt, &none, PG_SENT_WRITE, NULL);
}

/* ---- the driver ----------------------------------------------------------------------------- */

static struct pg_query *query_of(struct pfs_sql_query *q)
{
	return (struct pg_query *)(void *)q;
}

static struct pg_query *query_new(struct pg_conn *c)
{
	size_t i;

	for (i = 0; i < PG_QUERIES; i++) {
		struct pg_query *q = &c->queries[i];

		if (!q->used) {
			*q = (struct pg_query){.c = c, .row = -1, .used = true, .text = q->text};
			return q;
		}
	}
	return NULL;
}

static void drv_end(struct pfs_sql_conn *sql, struct pfs_sql_query *query)
{
	struct pg_query *q = query_of(query);

	(void)sql;
	if (!q || !q->used)
		return;
	if (!q->borrowed)
		PQclear(q->res);
	q->res = NULL;
	q->used = false;
}

static int drv_begin(struct pfs_sql_conn *sql, unsigned stmt, struct pfs_sql_query **out,
		     const char *types, va_list ap)
{
	struct pg_conn *c = pg_conn_of(sql);
	struct pg_query *q = query_new(c);
	struct pg_ahead *ahead = NULL;
	struct pg_params p;
	int err;

	if (!q)
		return -ENOMEM;
	err = pg_params_bind(&p, types, ap);
	if (!err && c->nahead > 0)
		ahead = pg_ahead_find(c, stmt, &p);
	if (ahead) {
		q->res = ahead->res;
		q->borrowed = true;
	} else if (!err) {
		pg_ahead_void(c, stmt, &p); /* statements that return what they changed */
		err = pg_send(c, stmt, &p, PG_SENT_READ, &q->res);
		if (!err)
			err = pg_drain(c);
	}
	pg_params_release(&p);
	if (!err && !ahead) {
		const char *n = PQcmdTuples(q->res);

		c->changes = n[0] ? strtoll(n, NULL, 10) : 0;
	}
	*out = (struct pfs_sql_query *)(void *)q;
	if (err) {
		drv_end(sql, *out);
		*out = NULL;
	}
	return err;
}

static int drv_step(struct pfs_sql_conn *sql, struct pfs_sql_query *query)
{
	struct pg_query *q = query_of(query);

	(void)sql;
	return ++q->row < PQntuples(q->res);
}

static int64_t drv_integer(struct pfs_sql_query *query, int column)
{
	return cell_integer(query_of(query)->res, query_of(query)->row, column);
}

static struct pfs_bytes drv_bytes(struct pfs_sql_query *query, int column)
{
	struct pg_query *q = query_of(query);
	struct pfs_bytes cell = {PQgetvalue(q->res, q->row, column),
				 (size_t)PQgetlength(q->res, q->row, column)};

	if (PQftype(q->res, column) == TEXT_OID && pg_text_unescape(cell, &q->text))
		return (struct pfs_bytes){q->text.data, q->text.len};
	return cell;
}

static int64_t drv_changes(struct pfs_sql_conn *sql)
{
	return pg_conn_of(sql)->changes;
}

static int queue(struct pg_conn *c, unsigned stmt, enum pg_sent_kind kind, void *out,
		 const char *types, va_list ap)
{
	struct pg_params p;
	bool kept = false;
	int err;

	err = pg_params_bind(&p, types, ap);
	if (!err && kind == PG_SENT_WRITE) {
		pg_ahead_void(c, stmt, &p);
		err = pg_gather_keep(c, stmt, &p, &kept);
	}
	if (!err && !kept)
		err = pg_send(c, stmt, &p, kind, out);
	pg_params_release(&p);
	if (stmt == KV_CHANGE_ADD)
		c->told = true;
	return err;
}

static int drv_write(struct pfs_sql_conn *sql, unsigned stmt, const char *types, va_list ap)
{
	return queue(pg_conn_of(sql), stmt, PG_SENT_WRITE, NULL, types, ap);
}

static int drv_later(struct pfs_sql_conn *sql, unsigned stmt, int64_t *out, const char *types,
		     va_list ap)
{
	return queue(pg_conn_of(sql), stmt, PG_SENT_LATER, out, types, ap);
}

const struct pfs_sql_driver pg_driver = {
	.begin = drv_begin,
	.step = drv_step,
	.integer = drv_integer,
	.bytes = drv_bytes,
	.end = drv_end,
	.changes = drv_changes,
	.write = drv_write,
	.later = drv_later,
};

void pg_conn_reset(struct pg_conn *c)
{
	size_t i;

	/* Answers that are still to come would be taken for those of the next statements. */
	c->lost = c->lost || c->nsent > 0 || c->in_txn;
	pg_ahead_clear(c);
	for (i = 0; i < PG_QUERIES; i++)
		drv_end(&c->sql, (struct pfs_sql_query *)(void *)&c->queries[i]);
	pg_gather_drop(c);
	c->nsent = 0;
	c->in_txn = false;
	c->told = false;
}
