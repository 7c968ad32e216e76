/*
 * A random model test: the same random operations in two directories, the mount and a plain one;
 * every result must be the same, and now and then the whole trees. usage:
 *	model SEED STEPS DIR PLAIN_DIR [trace]
 *	model --two-mounts DIR2 SEED STEPS DIR PLAIN_DIR [trace]
 * A difference is told with the seed and the step; the same seed does the same again, and `trace`
 * prints every step. With --two-mounts DIR2 is DIR as another mount of the same store has it: steps go
 * through the one or the other, which is marked by who has a lock on a file beside them.
 * Both directories are left with what they hold, so that a caller can compare
 * them once more after a remount.
 */
#include <dirent.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/xattr.h>

#include "tests/mount/helper.h"

#define SLOTS	8
#define MAX_IO	70000
#define MAX_OFF 400000

/* Both sides: 0 is the one under test, 1 the plain one. */
static int root[2];
static char root_path[2][2000];
static int slot[SLOTS][2];
static bool with_xattrs;
static struct rng rng;
static uint64_t seed;
static long step_number;
static bool trace;
static char step[600];
static char bytes[2][MAX_IO], data[MAX_IO];

/* The mounts: the one in use is root[0]. */
static int mounts = 1, used;
static int mount_root[2];
static char mount_path[2][2000];
static int slot_mount[SLOTS];
static int lock_fd[2];

__attribute__((format(printf, 1, 2), noreturn)) static void differ(const char *fmt, ...)
{
	va_list ap;

	printf("seed %llu, step %ld: %s: ", (unsigned long long)seed, step_number, step);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	exit(1);
}

__attribute__((format(printf, 1, 2))) static void now_doing(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(step, sizeof(step), fmt, ap);
	va_end(ap);
	if (trace)
		printf("%ld: %s\n", step_number, step);
}

/* Compare two results, -errno or a number; returns the common one. */
static long same(long under_test, long plain)
{
	if (under_test != plain)
		differ("%ld (%s), plain %ld (%s)", under_test,
		       under_test < 0 ? strerror(-under_test) : "fine", plain,
		       plain < 0 ? strerror(-plain) : "fine");
	return plain;
}

/* 0 or -errno of a call that returns -1 on failure. */
static long result(long r)
{
	return r < 0 ? -errno : r;
}

/* ---- two mounts ----------------------------------------------------------------------------- */

/*
 * Everything that went through the mount in use is committed, and the other one has heard of it: that
 * is what a lock promises that goes from the one to the other.
 */
static void settle(int other)
{
	for (int s = 0; s < SLOTS; s++)
		if (slot[s][0] >= 0 && slot_mount[s] == used && fsync(slot[s][0]) != 0 &&
		    errno != EINVAL)
			differ("fsync of %d: %s", s, strerror(errno));
	if (flock(lock_fd[used], LOCK_UN) != 0 || flock(lock_fd[other], LOCK_EX) != 0)
		die("flock");
}

/* The file beside the trees; the second mount has heard of it when it can be opened. */
static void make_lock(void)
{
	double until = now_ms() + 5000;

	lock_fd[0] = openat(mount_root[0], "../lock", O_RDWR | O_CREAT, 0644);
	if (lock_fd[0] < 0 || fsync(lock_fd[0]) != 0 || flock(lock_fd[0], LOCK_EX) != 0)
		die("../lock");
	while ((lock_fd[1] = openat(mount_root[1], "../lock", O_RDWR)) < 0 && now_ms() < until)
		sleep_ms(1);
	if (lock_fd[1] < 0)
		die("../lock by the second mount");
}

static void use(int m)
{
	if (m == used)
		return;
	if (trace)
		printf("%ld: through mount %d\n", step_number, m);
	settle(m);
	used = m;
	root[0] = mount_root[m];
	strcpy(root_path[0], mount_path[m]);
}

/* ---- choosing ------------------------------------------------------------------------------- */

static const char *const dirs[] = {"a", "b", "with space"};
static const char *const names[] = {"x", "y", "z", "\xff\xfe", "100%", "new\nline", "x%2Fy", "a"};

static void choose_path(char *out)
{
	int depth = rng_below(&rng, 3);

	out[0] = 0;
	for (int i = 0; i < depth; i++) {
		strcat(out, dirs[rng_below(&rng, 3)]);
		strcat(out, "/");
	}
	if (rng_below(&rng, 5) == 0)
		strcat(out, dirs[rng_below(&rng, 3)]);
	else
		strcat(out, names[rng_below(&rng, 8)]);
}

static off_t choose_offset(void)
{
	static const off_t round[] = {0, 1, 4095, 4096, 4097, 65536, 131072, 262144};

	return rng_below(&rng, 3) ? (off_t)rng_below(&rng, MAX_OFF) : round[rng_below(&rng, 8)];
}

static size_t choose_length(void)
{
	return 1 + rng_below(&rng, rng_below(&rng, 3) ? 3000 : MAX_IO - 1);
}

static int choose_slot(void)
{
	int s = rng_below(&rng, SLOTS);

	if (slot[s][0] >= 0)
		use(slot_mount[s]);
	return s;
}

/* ---- comparing trees ------------------------------------------------------------------------ */

/* A modification time before 1980 was set by us and must be the same on both sides. */
static void compare_stat(const char *path, const struct stat *a, const struct stat *b)
{
	if (a->st_mode != b->st_mode)
		differ("%s: mode %o, plain %o", path, a->st_mode, b->st_mode);
	if (!S_ISDIR(a->st_mode) && (a->st_size != b->st_size || a->st_nlink != b->st_nlink))
		differ("%s: size %lld, links %lu, plain %lld, %lu", path, (long long)a->st_size,
		       (unsigned long)a->st_nlink, (long long)b->st_size,
		       (unsigned long)b->st_nlink);
	if ((a->st_mtime < 300000000 || b->st_mtime < 300000000) &&
	    (a->st_mtime != b->st_mtime || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec))
		differ("%s: time %lld.%09ld, plain %lld.%09ld", path, (long long)a->st_mtime,
		       a->st_mtim.tv_nsec, (long long)b->st_mtime, b->st_mtim.tv_nsec);
}

static void compare_content(const char *path, int a, int b)
{
	off_t off = 0;
	long n;

	do {
		n = same(result(pread(a, bytes[0], MAX_IO, off)),
			 result(pread(b, bytes[1], MAX_IO, off)));
		if (n > 0 && memcmp(bytes[0], bytes[1], n) != 0)
			differ("%s: other bytes at %lld", path, (long long)off);
		off += n;
	} while (n > 0);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a directory, sorted, without the dots; owned. */
static char **list(int dir, const char *path, size_t *n)
{
	int fd = openat(dir, path[0] ? path : ".", O_RDONLY | O_DIRECTORY);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	char **out = NULL;
	struct dirent *e;

	*n = 0;
	if (!d)
		differ("%s: cannot be listed: %s", path, strerror(errno));
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		out = realloc(out, (*n + 1) * sizeof(*out));
		out[(*n)++] = strdup(e->d_name);
	}
	closedir(d);
	if (*n)
		qsort(out, *n, sizeof(*out), by_name);
	return out;
}

static void compare_xattrs(const char *path)
{
	char full[2][8192];
	long n[2];

	if (!with_xattrs)
		return;
	for (int side = 0; side < 2; side++) {
		snprintf(full[side], sizeof(full[side]), "%s/%s", root_path[side], path);
		n[side] = result(llistxattr(full[side], NULL, 0));
	}
	same(n[0], n[1]);
	for (int i = 0; i < 3; i++) {
		char name[32];

		snprintf(name, sizeof(name), "user.%d", i);
		for (int side = 0; side < 2; side++)
			n[side] = result(lgetxattr(full[side], name, bytes[side], MAX_IO));
		if (same(n[0], n[1]) > 0 && memcmp(bytes[0], bytes[1], n[0]) != 0)
			differ("%s: %s has another value", path, name);
	}
}

static void compare_node(const char *path);

static void compare_dir(const char *path)
{
	size_t n[2];
	char **got[2], below[4096];

	for (int side = 0; side < 2; side++)
		got[side] = list(root[side], path, &n[side]);
	for (size_t i = 0; i < n[0] || i < n[1]; i++) {
		if (i >= n[0] || i >= n[1] || strcmp(got[0][i], got[1][i]) != 0)
			differ("%s lists %s, plain %s", path, i < n[0] ? got[0][i] : "(no more)",
			       i < n[1] ? got[1][i] : "(no more)");
		snprintf(below, sizeof(below), "%s%s%s", path, path[0] ? "/" : "", got[0][i]);
		compare_node(below);
	}
	for (int side = 0; side < 2; side++) {
		for (size_t i = 0; i < n[side]; i++)
			free(got[side][i]);
		free(got[side]);
	}
}

static void compare_node(const char *path)
{
	struct stat st[2];
	int fd[2];

	for (int side = 0; side < 2; side++)
		if (fstatat(root[side], path, &st[side], AT_SYMLINK_NOFOLLOW) != 0)
			differ("%s: listed, but: %s", path, strerror(errno));
	compare_stat(path, &st[0], &st[1]);
	compare_xattrs(path);
	if (S_ISLNK(st[0].st_mode)) {
		long n = same(result(readlinkat(root[0], path, bytes[0], MAX_IO)),
			      result(readlinkat(root[1], path, bytes[1], MAX_IO)));

		if (n < 0 || memcmp(bytes[0], bytes[1], n) != 0)
			differ("%s: another target", path);
	} else if (S_ISREG(st[0].st_mode)) {
		for (int side = 0; side < 2; side++)
			fd[side] = openat(root[side], path, O_RDONLY);
		compare_content(path, fd[0], fd[1]);
		close(fd[0]);
		close(fd[1]);
	} else if (S_ISDIR(st[0].st_mode)) {
		compare_dir(path);
	}
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* After a change of size whose effect on the time is left to file systems. */
static void set_time(int a, int b)
{
	struct timespec t[2] = {{5, 5}, {1000 + step_number, 7}};

	same(result(futimens(a, t)), result(futimens(b, t)));
}

static void step_open(void)
{
	static const int extra[] = {0, 0, O_CREAT, O_CREAT, O_CREAT | O_EXCL, O_CREAT | O_TRUNC,
				    O_APPEND | O_CREAT, O_NOFOLLOW, O_DIRECTORY};
	int s = choose_slot(), flags = extra[rng_below(&rng, 9)], fd[2];
	char path[600];
	long r;

	choose_path(path);
	flags |= flags & O_DIRECTORY ? O_RDONLY : rng_below(&rng, 4) ? O_RDWR : O_WRONLY;
	now_doing("open %s flags %o as %d", path, flags, s);
	for (int side = 0; side < 2; side++) {
		if (slot[s][side] >= 0)
			close(slot[s][side]);
		slot[s][side] = -1;
	}
	if (mounts == 2)
		use(rng_below(&rng, 2));
	for (int side = 0; side < 2; side++) {
		fd[side] = openat(root[side], path, flags, 0600 | rng.state % 0100);
		fd[side] = fd[side] < 0 ? -errno : fd[side];
	}
	r = same(fd[0] < 0 ? fd[0] : 0, fd[1] < 0 ? fd[1] : 0);
	if (r < 0)
		return;
	slot[s][0] = fd[0];
	slot[s][1] = fd[1];
	slot_mount[s] = used;
	if (flags & O_TRUNC)
		set_time(fd[0], fd[1]);
}

static void step_close(void)
{
	int s = choose_slot();

	now_doing("close %d", s);
	if (slot[s][0] >= 0)
		same(result(close(slot[s][0])), result(close(slot[s][1])));
	slot[s][0] = slot[s][1] = -1;
}

static void step_write(void)
{
	int s = choose_slot();
	size_t len = choose_length();
	off_t off = choose_offset();

	now_doing("write %zu bytes to %d at %lld", len, s, (long long)off);
	rng_fill(&rng, data, len);
	same(result(pwrite(slot[s][0], data, len, off)), result(pwrite(slot[s][1], data, len, off)));
}

static void step_read(void)
{
	int s = choose_slot();
	size_t len = choose_length();
	off_t off = choose_offset();
	long n;

	now_doing("read %zu bytes from %d at %lld", len, s, (long long)off);
	n = same(result(pread(slot[s][0], bytes[0], len, off)),
		 result(pread(slot[s][1], bytes[1], len, off)));
	if (n > 0 && memcmp(bytes[0], bytes[1], n) != 0)
		differ("other bytes");
}

static void step_truncate(void)
{
	int s = choose_slot();
	off_t off = choose_offset();
	long r;

	now_doing("ftruncate %d to %lld", s, (long long)off);
	r = same(result(ftruncate(slot[s][0], off)), result(ftruncate(slot[s][1], off)));
	if (r == 0)
		set_time(slot[s][0], slot[s][1]);
}

static void step_punch(void)
{
	int s = choose_slot(), mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	off_t off = choose_offset(), len = choose_length();
	long r;

	now_doing("punch %lld+%lld in %d", (long long)off, (long long)len, s);
	r = same(result(fallocate(slot[s][0], mode, off, len)),
		 result(fallocate(slot[s][1], mode, off, len)));
	if (r == 0)
		set_time(slot[s][0], slot[s][1]);
}

static void step_copy(void)
{
	int from = choose_slot(), to = choose_slot();
	off_t off = choose_offset(), to_off = choose_offset();
	size_t len = choose_length();
	long r[2];

	now_doing("copy_file_range %zu bytes from %d at %lld to %d at %lld", len, from,
		  (long long)off, to, (long long)to_off);
	if (from == to || (slot[from][0] >= 0 && slot[to][0] >= 0 &&
			   slot_mount[from] != slot_mount[to]))
		return;
	for (int side = 0; side < 2; side++) {
		off_t a = off, b = to_off;

		r[side] = result(copy_file_range(slot[from][side], &a, slot[to][side], &b, len, 0));
	}
	/* The same file twice, overlapping, is refused by all; a file system may refuse more. */
	if (same(r[0], r[1]) > 0)
		set_time(slot[to][0], slot[to][1]);
}

static void step_fstat(void)
{
	int s = choose_slot();
	struct stat st[2];

	now_doing("fstat %d", s);
	if (same(result(fstat(slot[s][0], &st[0])), result(fstat(slot[s][1], &st[1]))) == 0)
		compare_stat("it", &st[0], &st[1]);
}

static void step_fsync(void)
{
	int s = choose_slot();

	now_doing("fsync %d", s);
	same(result(fsync(slot[s][0])), result(fsync(slot[s][1])));
}

static void step_stat(void)
{
	struct stat st[2];
	char path[600];

	choose_path(path);
	now_doing("stat %s", path);
	if (same(result(fstatat(root[0], path, &st[0], AT_SYMLINK_NOFOLLOW)),
		 result(fstatat(root[1], path, &st[1], AT_SYMLINK_NOFOLLOW))) == 0)
		compare_stat(path, &st[0], &st[1]);
}

static void step_remove(void)
{
	int flags = rng_below(&rng, 3) ? 0 : AT_REMOVEDIR;
	char path[600];

	choose_path(path);
	now_doing("%s %s", flags ? "rmdir" : "unlink", path);
	same(result(unlinkat(root[0], path, flags)), result(unlinkat(root[1], path, flags)));
}

static void step_mkdir(void)
{
	char path[600];

	choose_path(path);
	now_doing("mkdir %s", path);
	same(result(mkdirat(root[0], path, 0750)), result(mkdirat(root[1], path, 0750)));
}

/*
 * A directory that was moved through the other mount and is open here: the kernel cannot put it to its
 * new place while it renames (ESTALE, as on any file system of this kind), only when it looks it up.
 */
static void look_first(const char *path)
{
	struct stat st;

	if (mounts == 2)
		(void)fstatat(root[0], path, &st, AT_SYMLINK_NOFOLLOW);
}

static void step_rename(void)
{
	static const unsigned flag[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	unsigned flags = flag[rng_below(&rng, 5)];
	char from[600], to[600];

	choose_path(from);
	choose_path(to);
	now_doing("rename %s to %s flags %u", from, to, flags);
	look_first(from);
	look_first(to);
	same(result(renameat2(root[0], from, root[0], to, flags)),
	     result(renameat2(root[1], from, root[1], to, flags)));
}

static void step_link(void)
{
	char from[600], to[600];

	choose_path(from);
	choose_path(to);
	if (getenv("PERSISTFS_NO_LINKS"))
		return;
	now_doing("link %s to %s", from, to);
	same(result(linkat(root[0], from, root[0], to, 0)), result(linkat(root[1], from, root[1], to, 0)));
}

static void step_symlink(void)
{
	char target[600], path[600];

	choose_path(target);
	choose_path(path);
	now_doing("symlink %s to %s", path, target);
	same(result(symlinkat(target, root[0], path)), result(symlinkat(target, root[1], path)));
}

static void step_chmod(void)
{
	mode_t mode = 0600 | rng_below(&rng, 01000);
	char path[600];

	choose_path(path);
	now_doing("chmod %o %s", mode | 0700, path);
	same(result(fchmodat(root[0], path, mode | 0700, 0)),
	     result(fchmodat(root[1], path, mode | 0700, 0)));
}

static void step_utimens(void)
{
	struct timespec t[2] = {{1, 1}, {rng_below(&rng, 1000000), rng_below(&rng, 1000000000)}};
	char path[600];

	choose_path(path);
	now_doing("utimens %s", path);
	same(result(utimensat(root[0], path, t, AT_SYMLINK_NOFOLLOW)),
	     result(utimensat(root[1], path, t, AT_SYMLINK_NOFOLLOW)));
}

static void step_xattr(void)
{
	int flags = rng_below(&rng, 3), removal = rng_below(&rng, 4) == 0;
	size_t len = rng_below(&rng, 300);
	char path[600], full[8192], name[32];
	long r[2];

	choose_path(path);
	snprintf(name, sizeof(name), "user.%d", (int)rng_below(&rng, 3));
	now_doing("%s %s of %s flags %d", removal ? "removexattr" : "setxattr", name, path, flags);
	if (!with_xattrs)
		return;
	rng_fill(&rng, data, len);
	for (int side = 0; side < 2; side++) {
		snprintf(full, sizeof(full), "%s/%s", root_path[side], path);
		r[side] = removal ? result(lremovexattr(full, name)) :
				    result(lsetxattr(full, name, data, len, flags));
	}
	same(r[0], r[1]);
}

static const struct {
	int weight;
	void (*fn)(void);
} steps[] = {
	{12, step_open},   {6, step_close},  {14, step_write}, {8, step_read},	{5, step_truncate},
	{3, step_punch},   {3, step_copy},   {4, step_fstat},  {1, step_fsync}, {6, step_stat},
	{7, step_remove},  {6, step_mkdir},  {8, step_rename}, {4, step_link},	{3, step_symlink},
	{3, step_chmod},   {3, step_utimens}, {4, step_xattr},
};

static void one_step(void)
{
	int total = 0, at;
	size_t i = 0;

	for (size_t j = 0; j < sizeof(steps) / sizeof(steps[0]); j++)
		total += steps[j].weight;
	at = rng_below(&rng, total);
	while (at >= steps[i].weight)
		at -= steps[i++].weight;
	if (mounts == 2 && rng_below(&rng, 4) == 0)
		use(!used);
	steps[i].fn();
}

static void compare_all(void)
{
	for (int i = 0; i < mounts; i++) {
		compare_dir("");
		if (mounts == 2)
			use(!used);
	}
}

int main(int argc, char **argv)
{
	long n;

	if (argc > 2 && strcmp(argv[1], "--two-mounts") == 0) {
		mounts = 2;
		snprintf(mount_path[1], sizeof(mount_path[1]), "%s", argv[2]);
		mount_root[1] = open(argv[2], O_RDONLY | O_DIRECTORY);
		if (mount_root[1] < 0)
			die("open %s", argv[2]);
		argv += 2;
		argc -= 2;
	}
	if (argc < 5) {
		fprintf(stderr, "usage: model [--two-mounts DIR2] SEED STEPS DIR PLAIN_DIR [trace]\n");
		return 64;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	umask(022);
	seed = strtoull(argv[1], NULL, 10);
	rng.state = seed;
	n = atol(argv[2]);
	trace = argc > 5;
	for (int side = 0; side < 2; side++) {
		snprintf(root_path[side], sizeof(root_path[side]), "%s", argv[3 + side]);
		root[side] = open(argv[3 + side], O_RDONLY | O_DIRECTORY);
		if (root[side] < 0)
			die("open %s", argv[3 + side]);
	}
	mount_root[0] = root[0];
	strcpy(mount_path[0], root_path[0]);
	if (mounts == 2)
		make_lock();
	for (int i = 0; i < SLOTS; i++)
		slot[i][0] = slot[i][1] = -1;
	with_xattrs = setxattr(argv[4], "user.probe", "", 0, 0) == 0;
	if (with_xattrs && removexattr(argv[4], "user.probe") != 0)
		die("removexattr");
	for (step_number = 1; step_number <= n; step_number++) {
		one_step();
		if (step_number % 1000 == 0 || step_number == n)
			compare_all();
	}
	for (int i = 0; i < SLOTS; i++) {
		if (slot[i][0] >= 0) {
			use(slot_mount[i]);
			same(result(close(slot[i][0])), result(close(slot[i][1])));
			slot[i][0] = -1;
		}
	}
	compare_all();
	printf("seed %llu: %ld steps, the same\n", (unsigned long long)seed, n);
	return 0;
}
