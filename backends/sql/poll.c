/* The thread of poll.h. `lock` makes asking and telling one step, so that nothing told is told late. */
#include "backends/sql/poll.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "backends/sql/wake.h"

#define INTERVAL (20 * (NSEC_PER_SEC / 1000))

struct pfs_rows_poll {
	struct pfs_view *view;
	struct pfs_rows_db *db;
	struct pfs_wake wake;
	pthread_t thread;
	pthread_mutex_t lock;
	uint64_t version;
	bool known, silent; /* silent: the engine says nothing; only own writes are told */
	atomic_bool wrote; /* this view has, since it was last told */
	atomic_uint_fast64_t changes;
};

int pfs_rows_poll_now(struct pfs_rows_poll *p)
{
	uint64_t version = 0;
	bool changed, wrote;
	int err;

	pthread_mutex_lock(&p->lock);
	wrote = atomic_exchange(&p->wrote, false);
	err = p->silent ? 0 : p->db->ops->data_version(p->db, &version);
	changed = !err && !p->silent && (!p->known || version != p->version);
	if (!err) {
		p->version = version;
		p->known = true;
	}
	if (!p->silent && pfs_backend_pushing(p->view->backend) != !err)
		pfs_backend_set_pushing(p->view->backend, !err);
	if (changed)
		atomic_fetch_add(&p->changes, 1);
	if (changed || wrote)
		pfs_view_changed(p->view, NULL);
	pthread_mutex_unlock(&p->lock);
	return pfs_rows_told(err);
}

uint64_t pfs_rows_poll_changes(struct pfs_rows_poll *p)
{
	return p->silent ? 0 : 1 + atomic_load(&p->changes);
}

static void *run(void *arg)
{
	struct pfs_rows_poll *p = arg;

	while (pfs_wake_wait(&p->wake, p->silent ? 3600 * NSEC_PER_SEC : INTERVAL))
		(void)pfs_rows_poll_now(p);
	return NULL;
}

int pfs_rows_poll_start(struct pfs_view *view, struct pfs_rows_db *db, struct pfs_rows_poll **out)
{
	struct pfs_rows_poll *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->view = view;
	p->db = db;
	pthread_mutex_init(&p->lock, NULL);
	pfs_wake_init(&p->wake);
	err = db->ops->data_version(db, &p->version);
	p->known = !err;
	p->silent = err == -EOPNOTSUPP;
	if (!err || p->silent)
		err = -pthread_create(&p->thread, NULL, run, p);
	if (err) {
		pfs_wake_release(&p->wake);
		pthread_mutex_destroy(&p->lock);
		free(p);
	} else {
		*out = p;
	}
	return err;
}

void pfs_rows_poll_stop(struct pfs_rows_poll *p)
{
	if (!p)
		return;
	pfs_wake_stop(&p->wake);
	pthread_join(p->thread, NULL);
	pfs_wake_release(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void pfs_rows_poll_wrote(struct pfs_rows_poll *p)
{
	if (!p)
		return;
	atomic_fetch_add(&p->changes, 1);
	atomic_store(&p->wrote, true);
	pfs_wake_up(&p->wake);
}
