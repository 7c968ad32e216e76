/*
 * The request loop. A thread receives a request and, where its share has room, works on it itself:
 * there is no hand-over on the way of a single client. Where the share is full the request goes to the
 * share's queue, from which the threads that are at work in the share serve themselves; so a queue is
 * only filled while somebody is there to empty it.
 *
 * A thread that is about to work sees to it that another one receives. There are never more than all
 * shares together may use, and SPARE_THREADS: these are enough to receive and to answer what belongs to
 * no share, which must not block. What was not needed for a second ends.
 *
 * loop->lock guards everything in struct pfs_loop and the links of workers and queues; nothing is
 * received, worked on or answered under it (but for a request whose caller is killed, which takes a few
 * bytes).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backends/base.h"
#include "mount/loop.h"

/* Wakes a thread that receives; does nothing else. */
#define KICK_SIGNAL SIGUSR1
#define KICK_AGAIN  (2 * 1000 * 1000LL)

#define SPARE_THREADS 2
/* What is longer waits in the buffer it came in; what is not, in a copy. */
#define COPY_MAX (64u << 10)

/* A request that waits for its share. */
struct waiting {
	struct waiting *next;
	struct fuse_buf buf; /* owned */
};

struct share {
	unsigned running; /* threads at work in it */
	struct waiting *first, *last;
};

struct worker {
	struct worker *prev, *next;
	struct pfs_loop *loop;
	pthread_t thread;
	bool receiving; /* may be kicked */
	struct fuse_buf buf;
};

struct pfs_loop {
	struct pfs_loop_config config;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* stopping, or a thread has ended or received nothing */
	struct worker *workers;
	struct worker *ended; /* to be joined */
	unsigned nthreads, nreceiving;
	bool stopping;
	int err;
	/* To end threads that are not needed. */
	unsigned low;	   /* the fewest that were receiving since... */
	int64_t low_since; /* monotonic ns */
	unsigned surplus;  /* that many may end */
	struct share shares[];
};

int pfs_loop_new(const struct pfs_loop_config *config, struct pfs_loop **out)
{
	struct pfs_loop *loop;
	pthread_condattr_t attr;
	sigset_t kick;

	loop = calloc(1, sizeof(*loop) + config->nshares * sizeof(loop->shares[0]));
	if (!loop)
		return -ENOMEM;
	loop->config = *config;
	/* Threads made from now on take no kicks; workers do. */
	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &kick, NULL);
	pthread_mutex_init(&loop->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&loop->changed, &attr);
	pthread_condattr_destroy(&attr);
	*out = loop;
	return 0;
}

void pfs_loop_free(struct pfs_loop *loop)
{
	if (!loop)
		return;
	pthread_cond_destroy(&loop->changed);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

/* ---- queues; all with the lock -------------------------------------------------------------- */

/* Takes the request over, or a copy of it. false: no memory. */
static bool queue_add(struct share *share, struct fuse_buf *buf)
{
	struct waiting *w = calloc(1, sizeof(*w));

	if (!w)
		return false;
	w->buf = *buf;
	if (buf->size > COPY_MAX) {
		buf->mem = NULL;
	} else {
		w->buf.mem = malloc(buf->size);
		if (!w->buf.mem) {
			free(w);
			return false;
		}
		memcpy(w->buf.mem, buf->mem, buf->size);
	}
	if (share->last)
		share->last->next = w;
	else
		share->first = w;
	share->last = w;
	return true;
}

static void queue_unlink(struct share *share, struct waiting *before, struct waiting *w)
{
	if (before)
		before->next = w->next;
	else
		share->first = w->next;
	if (share->last == w)
		share->last = before;
}

static void waiting_free(struct waiting *w)
{
	free(w->buf.mem);
	free(w);
}

/*
 * Is the caller being killed? Other signals wait for the answer, as they do on any disk: few programs
 * expect EINTR of stat(2) or of a write to a file. `pid` may be a thread's.
 */
static bool is_dying(uint32_t pid)
{
	const uint64_t kill_bit = 1ull << (SIGKILL - 1);
	char path[32], line[256];
	bool dying = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/status", pid);
	f = pid ? fopen(path, "re") : NULL;
	while (f && !dying && fgets(line, sizeof(line), f))
		if (strncmp(line, "SigPnd:", 7) == 0 || strncmp(line, "ShdPnd:", 7) == 0)
			dying = strtoull(line + 7, NULL, 16) & kill_bit;
	if (f)
		fclose(f);
	return dying;
}

/* What must happen although its caller goes away: it ends something. */
static bool must_run(const struct waiting *w)
{
	const struct fuse_in_header *h = w->buf.mem;

	return h->opcode == FUSE_RELEASE || h->opcode == FUSE_RELEASEDIR || h->opcode == FUSE_FLUSH;
}

/* Takes the request out of its queue if it waits in one, and nobody needs it any more. */
static struct waiting *queue_find(struct pfs_loop *loop, uint64_t unique)
{
	const struct fuse_in_header *h;
	struct waiting *w, *before;
	struct share *share;
	size_t i;

	for (i = 0; i < loop->config.nshares; i++) {
		share = &loop->shares[i];
		for (before = NULL, w = share->first; w; before = w, w = w->next) {
			h = w->buf.mem;
			if (h->unique != unique)
				continue;
			if (must_run(w) || !is_dying(h->pid))
				return NULL;
			queue_unlink(share, before, w);
			return w;
		}
	}
	return NULL;
}

/*
 * INTERRUPT of a request that waits, by a caller that is killed: it is answered, and has not happened.
 * false: not so (it is being worked on, or was answered, or goes on): libfuse knows what to do.
 */
static bool interrupt_waiting(struct pfs_loop *loop, const struct fuse_buf *buf)
{
	const struct fuse_in_header *h = buf->mem;
	const struct fuse_interrupt_in *in = (const void *)(h + 1);
	struct fuse_out_header out = {.len = sizeof(out), .error = -EINTR};
	struct waiting *w;
	ssize_t n;

	if (buf->size < sizeof(*h) + sizeof(*in))
		return false;
	pthread_mutex_lock(&loop->lock);
	w = queue_find(loop, in->unique);
	if (w) {
		out.unique = in->unique;
		n = write(fuse_session_fd(loop->config.se), &out, sizeof(out));
		(void)n; /* the kernel has given the request up */
	}
	pthread_mutex_unlock(&loop->lock);
	if (w)
		waiting_free(w);
	return w != NULL;
}

/* ---- workers -------------------------------------------------------------------------------- */

static void *worker_main(void *arg);

/* With the lock. A failure is no disaster: somebody receives when the present work is done. */
static int worker_start(struct pfs_loop *loop)
{
	struct worker *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->loop = loop;
	w->receiving = true;
	err = pthread_create(&w->thread, NULL, worker_main, w);
	if (err) {
		free(w);
		return -err;
	}
	w->next = loop->workers;
	if (w->next)
		w->next->prev = w;
	loop->workers = w;
	loop->nthreads++;
	loop->nreceiving++;
	return 0;
}

static bool may_grow(const struct pfs_loop *loop)
{
	return loop->nthreads < loop->config.nshares * loop->config.share_threads + SPARE_THREADS;
}

/* With the lock: the thread ends now, and is joined by the loop's. */
static void worker_end(struct worker *w)
{
	struct pfs_loop *loop = w->loop;

	if (w->next)
		w->next->prev = w->prev;
	if (w->prev)
		w->prev->next = w->next;
	else
		loop->workers = w->next;
	w->next = loop->ended;
	loop->ended = w;
	loop->nthreads--;
	pthread_cond_signal(&loop->changed);
}

/* With the lock: how many threads nothing came for within the last second. */
static void note_surplus(struct pfs_loop *loop)
{
	int64_t now = pfs_monotonic_ns();

	if (now - loop->low_since < NSEC_PER_SEC)
		return;
	loop->surplus = loop->low > 1 ? loop->low - 1 : 0;
	loop->low = loop->nreceiving;
	loop->low_since = now;
}

/* Receive one request. 0: it is over; or -errno. */
static int worker_receive(struct worker *w)
{
	struct fuse_session *se = w->loop->config.se;
	int n = 0;

	do {
		n = fuse_session_exited(se) ? 0 : fuse_session_receive_buf(se, &w->buf);
	} while (n == -EINTR || n == -EAGAIN);
	return n;
}

/* Nothing more can be received. */
static void worker_over(struct worker *w, int err)
{
	struct pfs_loop *loop = w->loop;

	pthread_mutex_lock(&loop->lock);
	fuse_session_exit(loop->config.se);
	loop->stopping = true;
	if (!loop->err)
		loop->err = err;
	w->receiving = false;
	loop->nreceiving--;
	worker_end(w);
	pthread_mutex_unlock(&loop->lock);
}

/* With the lock: true if the request is for the caller to work on, else it waits for its share. */
static bool share_enter(struct pfs_loop *loop, struct share *share, struct fuse_buf *buf)
{
	/* Out of memory: better one too many than one lost. */
	if (share->running >= loop->config.share_threads && queue_add(share, buf))
		return false;
	share->running++;
	return true;
}

/*
 * What was received: returns whether the caller works on it, as a part of *share (NULL: of none). The
 * caller receives no more then, and another one does.
 */
static bool worker_route(struct worker *w, struct share **share)
{
	struct pfs_loop *loop = w->loop;
	const struct fuse_in_header *h = w->buf.mem;
	size_t i = loop->config.nshares;
	bool work = true, brief;

	*share = NULL;
	brief = h->opcode == FUSE_FORGET || h->opcode == FUSE_BATCH_FORGET ||
		h->opcode == FUSE_INTERRUPT;
	if (!brief)
		i = loop->config.route(loop->config.arg, h, w->buf.size);
	else if (h->opcode == FUSE_INTERRUPT)
		work = !interrupt_waiting(loop, &w->buf);

	pthread_mutex_lock(&loop->lock);
	w->receiving = false;
	if (--loop->nreceiving < loop->low)
		loop->low = loop->nreceiving;
	if (i < loop->config.nshares) {
		work = share_enter(loop, &loop->shares[i], &w->buf);
		*share = work ? &loop->shares[i] : NULL;
	}
	if (work && !brief && !loop->nreceiving && !loop->stopping && may_grow(loop))
		(void)worker_start(loop);
	pthread_mutex_unlock(&loop->lock);
	return work;
}

/* With the lock, which is let go of meanwhile: work on those that wait for the share, then leave it. */
static void share_leave(struct pfs_loop *loop, struct share *share)
{
	struct waiting *w;

	while (share->first && share->running <= loop->config.share_threads) {
		w = share->first;
		queue_unlink(share, NULL, w);
		pthread_mutex_unlock(&loop->lock);
		fuse_session_process_buf(loop->config.se, &w->buf);
		waiting_free(w);
		pthread_mutex_lock(&loop->lock);
	}
	share->running--;
}

/* The work is done. false: the thread ends. */
static bool worker_done(struct worker *w, struct share *share)
{
	struct pfs_loop *loop = w->loop;
	bool again;

	pthread_mutex_lock(&loop->lock);
	if (share)
		share_leave(loop, share);
	note_surplus(loop);
	again = !loop->stopping && !(loop->surplus && loop->nreceiving);
	if (again) {
		w->receiving = true;
		loop->nreceiving++;
	} else {
		loop->surplus -= loop->surplus != 0;
		worker_end(w);
	}
	pthread_mutex_unlock(&loop->lock);
	return again;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct share *share;
	sigset_t kick;
	int n;

	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	do {
		n = worker_receive(w);
		if (n <= 0) {
			worker_over(w, n);
			break;
		}
		if (worker_route(w, &share))
			fuse_session_process_buf(w->loop->config.se, &w->buf);
	} while (worker_done(w, share));
	return NULL;
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void on_kick(int sig)
{
	(void)sig;
}

/* With the lock, which is let go of meanwhile. */
static void join_ended(struct pfs_loop *loop)
{
	struct worker *w;

	while ((w = loop->ended)) {
		loop->ended = w->next;
		pthread_mutex_unlock(&loop->lock);
		pthread_join(w->thread, NULL);
		free(w->buf.mem);
		free(w);
		pthread_mutex_lock(&loop->lock);
	}
}

/*
 * With the lock: get every thread out of its receiving. A kick that comes just before the wait for a
 * request is lost, so they are repeated.
 */
static void end_workers(struct pfs_loop *loop)
{
	struct timespec ts;
	struct worker *w;
	int64_t again;

	while (loop->nthreads) {
		for (w = loop->workers; w; w = w->next) {
			if (w->receiving)
				pthread_kill(w->thread, KICK_SIGNAL);
		}
		again = pfs_monotonic_ns() + KICK_AGAIN;
		ts = (struct timespec){.tv_sec = again / NSEC_PER_SEC,
				       .tv_nsec = again % NSEC_PER_SEC};
		pthread_cond_timedwait(&loop->changed, &loop->lock, &ts);
		join_ended(loop);
	}
}

int pfs_loop_run(struct pfs_loop *loop)
{
	struct sigaction sa = {.sa_handler = on_kick};
	int err = 0;

	sigaction(KICK_SIGNAL, &sa, NULL);
	pthread_mutex_lock(&loop->lock);
	loop->low_since = pfs_monotonic_ns();
	if (!loop->stopping)
		err = worker_start(loop);
	while (!err && !loop->stopping) {
		pthread_cond_wait(&loop->changed, &loop->lock);
		join_ended(loop);
	}
	end_workers(loop);
	join_ended(loop);
	if (!err)
		err = loop->err;
	pthread_mutex_unlock(&loop->lock);
	return err;
}

void pfs_loop_stop(struct pfs_loop *loop)
{
	fuse_session_exit(loop->config.se);
	pthread_mutex_lock(&loop->lock);
	loop->stopping = true;
	pthread_cond_signal(&loop->changed);
	pthread_mutex_unlock(&loop->lock);
}
