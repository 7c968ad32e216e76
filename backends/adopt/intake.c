/*
 * What is written to be taken in as a whole: the order of its bytes, and what a failure leaves. A view gets
 * the bytes one after the other and, once, that they were all.
 */
#include "backends/adopt/adopt.h"

struct adopt_intake {
	struct pfs_intake base;
	struct adopt *a;
	struct adopt_node *node; /* pinned */
	pthread_mutex_t lock;	 /* of the rest; held over the view's calls */
	struct pfs_intake *view;
	uint64_t end; /* bytes so far */
	bool finished;
	int err; /* it has failed; the text is the node's */
};

static struct adopt_intake *intake_of(struct pfs_intake *in)
{
	return pfs_container_of(in, struct adopt_intake, base);
}

static void note(struct adopt *a, struct adopt_node *node, int err)
{
	pthread_mutex_lock(&a->lock);
	adopt_note_error(node, err);
	pthread_mutex_unlock(&a->lock);
}

/* It has failed before: the same words again. */
static int say_again(struct adopt_intake *in)
{
	pthread_mutex_lock(&in->a->lock);
	if (in->node->error)
		pfs_error_text_set("%s", in->node->error);
	pthread_mutex_unlock(&in->a->lock);
	return in->err;
}

static int in_order(struct adopt_intake *in, int64_t off)
{
	if (in->finished)
		pfs_error_text_set(
			"a close or fsync before has ended this import, and it was taken in: "
			"write it all by one command");
	else if (off >= 0 && (uint64_t)off != in->end)
		pfs_error_text_set(
			"an import is written from its first byte to its last: %llu bytes are "
			"there, these are for byte %lld",
			(unsigned long long)in->end, (long long)off);
	else
		return 0;
	return -EINVAL;
}

static int in_write(struct pfs_intake *base, int64_t off, struct pfs_bytes data)
{
	struct adopt_intake *in = intake_of(base);
	int err = 0;

	pthread_mutex_lock(&in->lock);
	pfs_error_text_clear();
	if (in->err) {
		err = say_again(in);
	} else {
		err = in_order(in, off);
		if (!err)
			err = in->view->ops->write(in->view, (int64_t)in->end, data);
		if (err)
			note(in->a, in->node, err);
		/* What was taken in stays so, whatever is written behind it. */
		if (!in->finished)
			in->err = err;
	}
	if (!err)
		in->end += data.len;
	pthread_mutex_unlock(&in->lock);
	return err;
}

static int in_finish(struct pfs_intake *base)
{
	struct adopt_intake *in = intake_of(base);
	bool final;
	int err = 0;

	pthread_mutex_lock(&in->lock);
	pfs_error_text_clear();
	if (in->err) {
		err = say_again(in);
	} else if (!in->finished && in->end) {
		err = in->err = adopt_change_error(in->view->ops->finish(in->view), &final);
		in->finished = !err;
		note(in->a, in->node, err);
	}
	pthread_mutex_unlock(&in->lock);
	return err;
}

static void in_free(struct pfs_intake *base)
{
	struct adopt_intake *in = intake_of(base);

	if (in->view)
		in->view->ops->free(in->view);
	pthread_mutex_lock(&in->a->lock);
	adopt_unpin(in->a, in->node);
	pthread_mutex_unlock(&in->a->lock);
	pthread_mutex_destroy(&in->lock);
	free(in);
}

static const struct pfs_intake_ops intake_ops = {in_write, in_finish, in_free};

int adopt_intake(struct pfs_store *s, uint64_t id, struct pfs_intake **out)
{
	struct adopt *a = adopt_of(s->backend);
	struct adopt_intake *in = calloc(1, sizeof(*in));
	struct pfs_buf path = {0};
	int err = -ENOENT;

	if (!in)
		return -ENOMEM;
	pfs_error_text_clear();
	in->base.ops = &intake_ops;
	in->a = a;
	pthread_mutex_lock(&a->lock);
	in->node = adopt_find(a, id);
	if (in->node) {
		adopt_pin(in->node);
		err = adopt_path(in->node, (struct pfs_bytes){NULL, 0}, &path);
	}
	pthread_mutex_unlock(&a->lock);
	if (!in->node) {
		free(in);
		return err;
	}
	pthread_mutex_init(&in->lock, NULL);
	if (!err)
		err = a->view->ops->intake
			      ? a->view->ops->intake(
					a->view, (struct pfs_bytes){path.data, path.len}, &in->view)
			      : -EOPNOTSUPP;
	pfs_buf_release(&path);
	if (err) {
		note(a, in->node, err);
		in_free(&in->base);
	} else {
		*out = &in->base;
	}
	return err;
}
