/*
 * What a crash of the daemon may take, and what not. usage:
 *	crash load DIR LOG MODE SEED PID MS	works in DIR from several threads and kills PID with
 *						SIGKILL after MS ms (PID 0: just stops)
 *	crash verify DIR LOG MODE		checks DIR against LOG, which lies on another disk
 * MODE is `through` (a successful close, rename or unlink is a promise) or `queued` (only a
 * successful fsync afterwards is one).
 *
 * LOG has a line per step: `B file generation` before a file is rewritten (negative: removed),
 * `P file generation` once it is promised, `b log count` and `p log count` the same for records in
 * an append-only log, `N file generation` for the last number used. A file must hold a generation, whole, that is the last promised one or was
 * begun after it. Verifying writes a new LOG that begins with what was found.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/xattr.h>

#include "tests/mount/helper.h"

#define THREADS 6
#define FILES	8 /* per thread */
#define ALL	(THREADS * FILES)
#define RECORD	512
#define BEGUN	65536 /* steps begun after the last promise that are remembered, per file */

static const char *dir;
static int log_fd;
static bool queued;
static atomic_bool stop, killed;
static uint64_t seed;

/* What the log says of a file, or of a thread's append-only log. */
struct state {
	long promised, last; /* `last` was begun last */
	long *begun;	     /* after the promise */
	size_t nbegun;
};

static struct state files[ALL], logs[THREADS];

static void say(char what, int file, long generation)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "%c %d %ld\n", what, file, generation);

	if (write(log_fd, line, n) != n)
		die("the log");
}

static void path_of(char *out, size_t size, int file, const char *suffix)
{
	snprintf(out, size, "%s/t%d/f%d%s", dir, file / FILES, file % FILES, suffix);
}

static void log_path_of(char *out, size_t size, int thread)
{
	snprintf(out, size, "%s/t%d/log", dir, thread);
}

/* The bytes of a generation: owned. A few are large. */
static char *content(int file, long generation, size_t *len)
{
	struct rng r = {(uint64_t)file << 40 ^ (uint64_t)generation};
	uint64_t kind = rng_below(&r, 40);
	char *p;

	*len = 64 + rng_below(&r, kind == 0 ? 3 << 20 : kind < 10 ? 200000 : 8000);
	p = malloc(*len);
	if (!p)
		die("memory");
	rng_fill(&r, p, *len);
	snprintf(p, 64, "crash %d %ld %zu", file, generation, *len);
	return p;
}

static void record(int thread, long number, char *out)
{
	struct rng r = {(uint64_t)thread << 50 ^ (uint64_t)number};

	rng_fill(&r, out, RECORD);
	snprintf(out, 64, "record %d %ld", thread, number);
}

/* ---- load ----------------------------------------------------------------------------------- */

struct worker {
	int id;
	struct rng rng;
	int log; /* the open append-only log */
};

static int sync_path(const char *path)
{
	int fd = open(path, O_RDONLY), err;

	if (fd < 0)
		return -errno;
	err = fsync(fd) == 0 ? 0 : -errno;
	close(fd);
	return err;
}

static int write_content(const char *path, int file, long generation, bool sync)
{
	size_t len, done = 0, part;
	char *data = NULL;
	int fd, err = 0;

	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		return -errno;
	data = content(file, generation, &len);
	while (!err && done < len) {
		part = len - done < 50000 ? len - done : 50000;
		err = write_all(fd, data + done, part);
		done += part;
	}
	if (!err && sync && fsync(fd) != 0)
		err = -errno;
	if (close(fd) != 0 && !err)
		err = -errno;
	free(data);
	return err;
}

static int rewrite(struct worker *w, int file, long generation, bool sync)
{
	char path[4096], temp[4096], parent[4096];
	int err;

	path_of(path, sizeof(path), file, "");
	if (rng_below(&w->rng, 3))
		return write_content(path, file, generation, sync);
	path_of(temp, sizeof(temp), file, ".tmp");
	err = write_content(temp, file, generation, sync);
	if (!err && rename(temp, path) != 0)
		err = -errno;
	if (!err && sync) {
		snprintf(parent, sizeof(parent), "%s/t%d", dir, w->id);
		err = sync_path(parent);
	}
	return err;
}

static int erase(struct worker *w, int file, bool sync)
{
	char path[4096], parent[4096];

	path_of(path, sizeof(path), file, "");
	if (unlink(path) != 0 && errno != ENOENT)
		return -errno;
	snprintf(parent, sizeof(parent), "%s/t%d", dir, w->id);
	return sync ? sync_path(parent) : 0;
}

static int step_file(struct worker *w)
{
	int file = w->id * FILES + rng_below(&w->rng, FILES);
	struct state *s = &files[file];
	bool sync = rng_below(&w->rng, 4) == 0;
	bool removal = rng_below(&w->rng, 8) == 0;
	long generation;
	int err;

	/* A removal is known as the generation before it, negated. */
	generation = ++s->last;
	say('B', file, removal ? -generation : generation);
	err = removal ? erase(w, file, sync) : rewrite(w, file, generation, sync);
	if (!err && (sync || !queued))
		say('P', file, removal ? -generation : generation);
	return err;
}

static int step_append(struct worker *w)
{
	int count = 1 + rng_below(&w->rng, 5);
	struct state *s = &logs[w->id];
	char data[RECORD];
	int err = 0;

	for (int i = 0; !err && i < count; i++) {
		record(w->id, s->last, data);
		say('b', w->id, ++s->last);
		err = write_all(w->log, data, RECORD);
	}
	if (!err && rng_below(&w->rng, 2)) {
		err = fsync(w->log) == 0 ? 0 : -errno;
		if (!err)
			say('p', w->id, s->last);
	}
	return err;
}

/* Changes that promise nothing, so that a crash meets every kind of them. */
static int step_noise(struct worker *w)
{
	char a[4096], b[4096];
	int n = rng_below(&w->rng, 4);

	snprintf(a, sizeof(a), "%s/t%d/noise-%d", dir, w->id, n);
	snprintf(b, sizeof(b), "%s/t%d/noise-%d", dir, w->id, (n + 1) % 4);
	switch (rng_below(&w->rng, 7)) {
	case 0: return mkdir(a, 0755) == 0 ? 0 : -errno;
	case 1: return rmdir(a) == 0 ? 0 : -errno;
	case 2: return symlink("somewhere", a) == 0 ? 0 : -errno;
	case 3: return unlink(a) == 0 ? 0 : -errno;
	case 4: return rename(a, b) == 0 ? 0 : -errno;
	case 5: return setxattr(a, "user.noise", "noise", 5, 0) == 0 ? 0 : -errno;
	default: path_of(b, sizeof(b), w->id * FILES, ""); return link(b, a) == 0 ? 0 : -errno;
	}
}

/* The kernel says EIO where the daemon's death met the page cache. */
static bool daemon_is_gone(int err)
{
	return err == -ENOTCONN || err == -ECONNABORTED || (err == -EIO && atomic_load(&killed));
}

static void *work(void *arg)
{
	struct worker *w = arg;
	char path[4096];
	int err = 0;

	log_path_of(path, sizeof(path), w->id);
	w->log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	err = w->log < 0 ? -errno : 0;
	while (!err && !atomic_load(&stop)) {
		switch (rng_below(&w->rng, 5)) {
		case 0: err = step_append(w); break;
		case 1:
			err = step_noise(w);
			err = daemon_is_gone(err) ? err : 0;
			break;
		default: err = step_file(w);
		}
	}
	if (err && !daemon_is_gone(err)) {
		errno = -err;
		die("thread %d: failed, and not for the daemon's death", w->id);
	}
	if (w->log >= 0)
		close(w->log);
	return NULL;
}

static void read_log(const char *path);

static void load(const char *log, pid_t pid, int ms)
{
	pthread_t threads[THREADS];
	struct worker workers[THREADS];
	char path[4096];

	log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (log_fd < 0)
		die("open %s", log);
	read_log(log);
	for (int i = 0; i < THREADS; i++) {
		snprintf(path, sizeof(path), "%s/t%d", dir, i);
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			die("mkdir %s", path);
	}
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){i, {seed * 100 + i}, -1};
		errno = pthread_create(&threads[i], NULL, work, &workers[i]);
		if (errno)
			die("thread");
	}
	sleep_ms(ms);
	atomic_store(&killed, pid != 0);
	if (pid && kill(pid, SIGKILL) != 0)
		die("kill %d", pid);
	atomic_store(&stop, !pid);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* ---- verify --------------------------------------------------------------------------------- */

static void read_line(struct state *s, char what, long number)
{
	if (what == 'N' || what == 'p' || labs(number) > s->last)
		s->last = labs(number);
	if (what == 'P' || what == 'p') {
		s->promised = number;
		s->nbegun = 0;
	}
	if (what != 'B')
		return;
	if (!s->begun)
		s->begun = calloc(BEGUN, sizeof(*s->begun));
	if (!s->begun || s->nbegun == BEGUN)
		die("too much was begun");
	s->begun[s->nbegun++] = number;
}

static void read_log(const char *path)
{
	FILE *f = fopen(path, "r");
	long number;
	char what;
	int file;

	if (!f)
		die("open %s", path);
	while (fscanf(f, " %c %d %ld", &what, &file, &number) == 3) {
		bool records = what == 'b' || what == 'p';

		if (!strchr("NBPbp", what) || file < 0 || file >= (records ? THREADS : ALL))
			die("the log makes no sense");
		read_line(records ? &logs[file] : &files[file], what, number);
	}
	fclose(f);
}

static bool is_generation(int file, const char *data, size_t len, long generation)
{
	size_t want_len;
	char *want;
	bool so;

	if (generation <= 0)
		return false;
	want = content(file, generation, &want_len);
	so = len == want_len && memcmp(data, want, len) == 0;
	free(want);
	return so;
}

static void complain(int file, const char *data, size_t len)
{
	struct state *s = &files[file];

	errno = 0;
	fprintf(stderr, "file t%d/f%d: promised generation %ld, %zu begun after it (last %ld); ",
		file / FILES, file % FILES, s->promised, s->nbegun,
		s->nbegun ? s->begun[s->nbegun - 1] : 0);
	if (!data)
		die("it is not there");
	if (len < 64)
		die("it has %zu bytes", len);
	die("it has %zu bytes and says '%.63s'", len, data);
}

/* The generation that the file holds; negative: removed, 0: never made. Dies if it may not. */
static long find_generation(int file)
{
	struct state *s = &files[file];
	bool absent_ok = s->promised <= 0;
	char path[4096], *data;
	long found = 0;
	size_t len;

	for (size_t i = 0; i < s->nbegun; i++)
		absent_ok |= s->begun[i] < 0;
	path_of(path, sizeof(path), file, "");
	data = read_file(path, &len);
	if (!data) {
		if (errno != ENOENT)
			die("read %s", path);
		if (!absent_ok)
			complain(file, NULL, 0);
		return -s->last;
	}
	/* Made anew, and not written yet: only where the file could have been absent. */
	if (len == 0 && absent_ok && s->nbegun) {
		if (unlink(path) != 0)
			die("unlink %s", path);
		free(data);
		return -s->last;
	}
	if (is_generation(file, data, len, s->promised))
		found = s->promised;
	for (size_t i = s->nbegun; i-- > 0 && !found;)
		if (is_generation(file, data, len, s->begun[i]))
			found = s->begun[i];
	if (!found)
		complain(file, data, len);
	free(data);
	return found;
}

static long find_records(int thread)
{
	struct state *s = &logs[thread];
	char path[4096], want[RECORD], *data;
	size_t len;
	long n;

	log_path_of(path, sizeof(path), thread);
	data = read_file(path, &len);
	if (!data && s->promised == 0)
		return 0;
	if (!data)
		die("%s: promised %ld records", path, s->promised);
	errno = 0;
	if (len % RECORD)
		die("%s: a torn record, %zu bytes", path, len);
	for (n = 0; n < (long)(len / RECORD); n++) {
		record(thread, n, want);
		if (memcmp(data + n * RECORD, want, RECORD) != 0)
			die("%s: record %ld is another", path, n);
	}
	if (n < s->promised || n > s->last)
		die("%s: %ld records, promised %ld, begun %ld", path, n, s->promised, s->last);
	free(data);
	return n;
}

static void verify(const char *log)
{
	long found[ALL], records[THREADS];
	char temp[4096];

	read_log(log);
	for (int i = 0; i < ALL; i++)
		found[i] = find_generation(i);
	for (int i = 0; i < THREADS; i++)
		records[i] = find_records(i);
	log_fd = open(log, O_WRONLY | O_TRUNC | O_APPEND);
	if (log_fd < 0)
		die("open %s", log);
	for (int i = 0; i < ALL; i++) {
		if (!files[i].last)
			continue;
		/* The numbering goes on behind everything that was ever begun. */
		say('N', i, files[i].last);
		say('P', i, found[i]);
		path_of(temp, sizeof(temp), i, ".tmp");
		unlink(temp);
	}
	for (int i = 0; i < THREADS; i++)
		say('p', i, records[i]);
}

int main(int argc, char **argv)
{
	if (argc < 5 || (strcmp(argv[4], "through") && strcmp(argv[4], "queued"))) {
		fprintf(stderr, "usage: crash load DIR LOG MODE SEED PID MS | verify DIR LOG MODE\n");
		return 64;
	}
	dir = argv[2];
	queued = strcmp(argv[4], "queued") == 0;
	if (argc == 8 && strcmp(argv[1], "load") == 0) {
		seed = strtoull(argv[5], NULL, 10);
		load(argv[3], atoi(argv[6]), atoi(argv[7]));
	} else if (argc == 5 && strcmp(argv[1], "verify") == 0) {
		verify(argv[3]);
	} else {
		return 64;
	}
	return 0;
}
