/*
 * POSIX cases about names: directories, rename, links, symlinks, fifos.
 */
#include "tests/mount/posix.h"

/* ---- names and directories ------------------------------------------------------------------ */

static void missing_things_are_told_as_such(void)
{
	put("file", "x");
	CHECK(mkdir("dir", 0755) == 0);
	FAILS(open("none", O_RDONLY), ENOENT);
	FAILS(open("none/file", O_RDONLY | O_CREAT, 0644), ENOENT);
	FAILS(open("file/below", O_RDONLY), ENOTDIR);
	FAILS(open("dir", O_WRONLY), EISDIR);
	FAILS(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR);
	FAILS(mkdir("dir", 0755), EEXIST);
	FAILS(mkdir("file", 0755), EEXIST);
	FAILS(mkdir("none/dir", 0755), ENOENT);
	FAILS(unlink("none"), ENOENT);
	FAILS(unlink("dir"), EISDIR);
	FAILS(rmdir("file"), ENOTDIR);
	FAILS(rmdir("none"), ENOENT);
	FAILS(rename("none", "other"), ENOENT);
	FAILS(readlink("file", (char[8]){0}, 8), EINVAL);
	FAILS(truncate("dir", 0), EISDIR);
}

static void rmdir_of_a_full_directory_is_enotempty(void)
{
	CHECK(mkdir("dir", 0755) == 0);
	put("dir/file", "x");
	FAILS(rmdir("dir"), ENOTEMPTY);
	CHECK(unlink("dir/file") == 0);
	CHECK(rmdir("dir") == 0);
	CHECK(!exists("dir"));
}

static void names_up_to_255_bytes_work_and_longer_ones_are_enametoolong(void)
{
	char name[300];
	struct stat st;

	memset(name, 'n', sizeof(name));
	name[255] = 0;
	put(name, "long");
	CHECK(holds(name, "long"));
	CHECK(listed(".", name) == 1);
	name[255] = 'n';
	name[256] = 0;
	FAILS(open(name, O_WRONLY | O_CREAT, 0644), ENAMETOOLONG);
	FAILS(mkdir(name, 0755), ENAMETOOLONG);
	FAILS(stat(name, &st), ENAMETOOLONG);
	put("short", "x");
	FAILS(rename("short", name), ENAMETOOLONG);
}

static const char *const odd_names[] = {
	"two\nlines", "single'quote", "double\"quote", "back\\slash", " leading", "trailing ",
	"tab\there", "\x01\x02\x7f", "\xff\xfe invalid", "\xc3\x28", "\xed\xa0\x80", "100%",
	"foo%20bar", "%2F", "%2E%2E", "%", "%%", "-rf", "*", "?", "a;b", "$HOME", "...",
	"sp ace", "\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x90\x98", "e\xcc\x81", "\xc3\xa9", "A", "a", "~", "#x#",
	"--", "NULL", "' OR 1=1 --", "\xef\xbb\xbf" "bom", ".hidden", ":", "a:b", "con", "nul.txt",
};

static void odd_names_are_kept_byte_for_byte(void)
{
	char moved[300];
	size_t n = sizeof(odd_names) / sizeof(odd_names[0]);

	for (size_t i = 0; i < n; i++)
		put(odd_names[i], odd_names[i]);
	CHECK(entries(".") == (int)n);
	for (size_t i = 0; i < n; i++) {
		check(listed(".", odd_names[i]) == 1, odd_names[i], __LINE__);
		check(holds(odd_names[i], odd_names[i]), odd_names[i], __LINE__);
	}
	for (size_t i = 0; i < n; i++) {
		snprintf(moved, sizeof(moved), "%s+", odd_names[i]);
		CHECK(rename(odd_names[i], moved) == 0);
		check(!exists(odd_names[i]) && holds(moved, odd_names[i]), odd_names[i], __LINE__);
		CHECK(unlink(moved) == 0);
	}
	CHECK(entries(".") == 0);
}

static void every_byte_but_slash_and_nul_may_be_in_a_name(void)
{
	char name[4] = "a?b";

	for (int c = 1; c < 256; c++) {
		if (c == '/')
			continue;
		name[1] = (char)c;
		put(name, name);
	}
	CHECK(entries(".") == 254);
	for (int c = 1; c < 256; c++) {
		if (c == '/')
			continue;
		name[1] = (char)c;
		check(holds(name, name), name, __LINE__);
	}
}

static void a_name_of_255_invalid_bytes_works(void)
{
	char name[256];

	memset(name, 0xff, 255);
	name[255] = 0;
	put(name, "x");
	CHECK(listed(".", name) == 1);
	CHECK(holds(name, "x"));
	CHECK(unlink(name) == 0);
	CHECK(mkdir(name, 0755) == 0);
	CHECK(rmdir(name) == 0);
}

static void directories_nest_beyond_path_max(void)
{
	char name[201];
	int fd = open(".", O_RDONLY | O_DIRECTORY), next, depth = 0;

	memset(name, 'd', 200);
	name[200] = 0;
	for (; depth < 25 && fd >= 0; depth++) {
		CHECK(mkdirat(fd, name, 0755) == 0);
		next = openat(fd, name, O_RDONLY | O_DIRECTORY);
		CHECK(next >= 0);
		close(fd);
		fd = next;
	}
	next = openat(fd, "bottom", O_WRONLY | O_CREAT, 0644);
	CHECK(next >= 0 && write(next, "deep", 4) == 4 && close(next) == 0);
	next = openat(fd, "bottom", O_RDONLY);
	CHECK(next >= 0 && read(next, name, 10) == 4 && memcmp(name, "deep", 4) == 0);
	close(next);
	CHECK(unlinkat(fd, "bottom", 0) == 0);
	memset(name, 'd', 200);
	while (depth-- > 0) {
		next = openat(fd, "..", O_RDONLY | O_DIRECTORY);
		CHECK(next >= 0);
		CHECK(unlinkat(next, name, AT_REMOVEDIR) == 0);
		close(fd);
		fd = next;
	}
	close(fd);
	CHECK(entries(".") == 0);
}

static void a_listing_has_every_name_once_with_inode_and_type(void)
{
	static char seen[1000];
	struct dirent *e;
	struct stat st;
	int dots = 0;
	char name[32];
	DIR *d;

	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		if (i % 10 == 0)
			CHECK(mkdir(name, 0755) == 0);
		else if (i % 10 == 1)
			CHECK(symlink("nowhere", name) == 0);
		else
			put(name, "");
	}
	memset(seen, 0, sizeof(seen));
	d = opendir(".");
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.') {
			dots++;
			continue;
		}
		CHECK(lstat(e->d_name, &st) == 0);
		CHECK(st.st_ino == e->d_ino);
		CHECK(e->d_type == DT_UNKNOWN || e->d_type == IFTODT(st.st_mode));
		seen[atoi(e->d_name + 1)]++;
	}
	closedir(d);
	CHECK(dots == 2);
	for (int i = 0; i < 1000; i++)
		CHECK(seen[i] == 1);
}

static void seekdir_and_rewinddir_resume_where_told(void)
{
	char names[50][16], name[16];
	struct dirent *e;
	long where[50];
	int n = 0;
	DIR *d;

	for (int i = 0; i < 48; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		put(name, "");
	}
	d = opendir(".");
	CHECK(d != NULL);
	for (where[0] = telldir(d); n < 50 && (e = readdir(d)); n++) {
		snprintf(names[n], sizeof(names[n]), "%.15s", e->d_name);
		if (n < 49)
			where[n + 1] = telldir(d);
	}
	CHECK(n == 50);
	for (int i = 49; i >= 0; i -= 7) {
		seekdir(d, where[i]);
		e = readdir(d);
		CHECK(e && strcmp(e->d_name, names[i]) == 0);
	}
	put("later", "");
	rewinddir(d);
	for (n = 0; (e = readdir(d)); n++)
		;
	CHECK(n == 51);
	closedir(d);
}

static void removing_while_listing_skips_nobody_else(void)
{
	struct dirent *e;
	char name[16];
	int n = 0;
	DIR *d;

	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "r%d", i);
		put(name, "");
	}
	d = opendir(".");
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		CHECK(unlink(e->d_name) == 0);
		n++;
	}
	closedir(d);
	CHECK(n == 3000);
	CHECK(entries(".") == 0);
}

static void a_removed_open_directory_lists_nothing_and_takes_nothing(void)
{
	struct dirent *e;
	int fd, n = 0;
	DIR *d;

	CHECK(mkdir("dir", 0755) == 0);
	fd = open("dir", O_RDONLY | O_DIRECTORY);
	CHECK(fd >= 0);
	CHECK(rmdir("dir") == 0);
	FAILS(openat(fd, "file", O_WRONLY | O_CREAT, 0644), ENOENT);
	FAILS(mkdirat(fd, "dir", 0755), ENOENT);
	d = fdopendir(fd);
	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	CHECK(n == 0);
	closedir(d);
	CHECK(mkdir("dir", 0755) == 0);
	CHECK(entries("dir") == 0);
}

/* ---- rename and links ----------------------------------------------------------------------- */

static void rename_over_an_existing_file_replaces_it(void)
{
	ino_t ino;

	put("old", "old");
	put("new", "new");
	ino = stat_of("new").st_ino;
	CHECK(rename("new", "old") == 0);
	CHECK(holds("old", "new"));
	CHECK(stat_of("old").st_ino == ino);
	CHECK(!exists("new"));
	CHECK(listed(".", "old") == 1 && listed(".", "new") == 0);
}

static void a_replaced_file_that_is_open_stays_readable(void)
{
	char buf[8];
	int fd;

	put("old", "old");
	put("new", "new!");
	fd = open("old", O_RDWR);
	CHECK(rename("new", "old") == 0);
	CHECK(pread(fd, buf, 8, 0) == 3 && memcmp(buf, "old", 3) == 0);
	CHECK(pwrite(fd, "more", 4, 3) == 4);
	CHECK(pread(fd, buf, 8, 0) == 7 && memcmp(buf, "oldmore", 7) == 0);
	CHECK(close(fd) == 0);
	CHECK(holds("old", "new!"));
}

static void rename_noreplace_never_replaces(void)
{
	put("a", "a");
	put("b", "b");
	FAILS(rename_flags("a", "b", RENAME_NOREPLACE), EEXIST);
	CHECK(holds("a", "a") && holds("b", "b"));
	CHECK(rename_flags("a", "c", RENAME_NOREPLACE) == 0);
	CHECK(holds("c", "a") && !exists("a"));
}

static void rename_exchange_swaps_any_two(void)
{
	put("a", "a");
	put("b", "b");
	CHECK(mkdir("dir", 0755) == 0);
	put("dir/inside", "i");
	CHECK(rename_flags("a", "b", RENAME_EXCHANGE) == 0);
	CHECK(holds("a", "b") && holds("b", "a"));
	CHECK(rename_flags("a", "dir", RENAME_EXCHANGE) == 0);
	CHECK(holds("a/inside", "i") && holds("dir", "b"));
	FAILS(rename_flags("a", "none", RENAME_EXCHANGE), ENOENT);
	CHECK(entries(".") == 3);
}

static void rename_of_directories_follows_the_rules(void)
{
	CHECK(mkdir("dir", 0755) == 0 && mkdir("dir/sub", 0755) == 0);
	put("dir/sub/file", "x");
	CHECK(mkdir("empty", 0755) == 0 && mkdir("full", 0755) == 0);
	put("full/file", "x");
	put("file", "x");
	FAILS(rename("dir", "full"), ENOTEMPTY);
	FAILS(rename("dir", "file"), ENOTDIR);
	FAILS(rename("file", "dir"), EISDIR);
	FAILS(rename("dir", "dir/sub/dir"), EINVAL);
	FAILS(rename("dir", "dir/dir"), EINVAL);
	FAILS(rename("dir/sub", "dir"), ENOTEMPTY);
	CHECK(rename("dir", "dir") == 0);
	CHECK(rename("dir", "empty") == 0);
	CHECK(holds("empty/sub/file", "x") && !exists("dir"));
	CHECK(rename("empty/sub", "moved") == 0);
	CHECK(holds("moved/file", "x") && entries("empty") == 0);
}

static void a_renamed_open_file_is_written_under_its_new_name(void)
{
	int fd;

	CHECK(mkdir("dir", 0755) == 0);
	fd = open("a", O_RDWR | O_CREAT, 0644);
	CHECK(write(fd, "one", 3) == 3);
	CHECK(rename("a", "dir/b") == 0);
	CHECK(write(fd, "two", 3) == 3);
	put("a", "another");
	CHECK(close(fd) == 0);
	CHECK(holds("dir/b", "onetwo"));
	CHECK(holds("a", "another"));
}

static void hard_links_share_one_file(void)
{
	struct stat a, b;

	put("a", "one");
	if (!has_links()) {
		FAILS(link("a", "b"), EPERM);
		CHECK(!exists("b") && stat_of("a").st_nlink == 1);
		return;
	}
	CHECK(link("a", "b") == 0);
	a = stat_of("a");
	b = stat_of("b");
	CHECK(a.st_ino == b.st_ino && a.st_nlink == 2 && b.st_nlink == 2);
	put("b", "two");
	CHECK(holds("a", "two"));
	CHECK(chmod("a", 0600) == 0 && (stat_of("b").st_mode & 07777) == 0600);
	FAILS(link("a", "b"), EEXIST);
	FAILS(link("none", "c"), ENOENT);
	CHECK(rename("a", "b") == 0);
	CHECK(exists("a") && exists("b"));
	CHECK(unlink("a") == 0);
	CHECK(stat_of("b").st_nlink == 1 && holds("b", "two"));
	CHECK(mkdir("dir", 0755) == 0);
	FAILS(link("dir", "dirlink"), EPERM);
	CHECK(link("b", "dir/c") == 0 && unlink("b") == 0 && holds("dir/c", "two"));
}

static void a_link_to_a_dirty_open_file_sees_its_data(void)
{
	int fd = open("a", O_RDWR | O_CREAT, 0644);

	CHECK(write(fd, "data", 4) == 4);
	if (!has_links()) {
		FAILS(link("a", "b"), EPERM);
		CHECK(close(fd) == 0 && holds("a", "data"));
		return;
	}
	CHECK(link("a", "b") == 0);
	CHECK(holds("b", "data"));
	CHECK(pwrite(fd, "D", 1, 0) == 1);
	CHECK(holds("b", "Data"));
	CHECK(close(fd) == 0);
	CHECK(stat_of("b").st_nlink == 2);
}

static void symlinks_hold_any_target(void)
{
	char target[4000], buf[4096];
	struct stat st;

	memset(target, 't', sizeof(target));
	target[sizeof(target) - 1] = 0;
	CHECK(symlink(target, "long") == 0);
	CHECK(readlink("long", buf, sizeof(buf)) == (ssize_t)strlen(target));
	CHECK(memcmp(buf, target, strlen(target)) == 0);
	CHECK(stat_of("long").st_size == (off_t)strlen(target));
	CHECK(symlink("\xff\n'", "odd") == 0);
	CHECK(readlink("odd", buf, sizeof(buf)) == 3 && memcmp(buf, "\xff\n'", 3) == 0);
	FAILS(stat("odd", &st), ENOENT);
	FAILS(symlink("x", "odd"), EEXIST);
	CHECK(mkdir("dir", 0755) == 0);
	put("dir/file", "x");
	CHECK(symlink("dir", "link") == 0 && holds("link/file", "x"));
	FAILS(open("odd", O_RDONLY | O_NOFOLLOW), ELOOP);
	FAILS(open("odd", O_WRONLY | O_CREAT | O_EXCL, 0644), EEXIST);
	CHECK(unlink("link") == 0 && exists("dir/file"));
}

static void a_loop_of_symlinks_is_eloop(void)
{
	CHECK(symlink("b", "a") == 0 && symlink("a", "b") == 0);
	FAILS(open("a", O_RDONLY), ELOOP);
	FAILS(chdir("a"), ELOOP);
}

static void fifos_carry_data_between_processes(void)
{
	char buf[8] = "";
	int fd, status;
	pid_t pid;

	CHECK(mkfifo("fifo", 0640) == 0);
	CHECK(S_ISFIFO(stat_of("fifo").st_mode));
	pid = fork();
	if (pid == 0) {
		fd = open("fifo", O_WRONLY);
		_exit(fd >= 0 && write(fd, "through", 7) == 7 ? 0 : 1);
	}
	fd = open("fifo", O_RDONLY);
	CHECK(fd >= 0 && read(fd, buf, 8) == 7 && memcmp(buf, "through", 7) == 0);
	close(fd);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(unlink("fifo") == 0);
}

/* ---- the list ------------------------------------------------------------------------------- */

static const struct test_case cases[] = {
	CASE(missing_things_are_told_as_such),
	CASE(rmdir_of_a_full_directory_is_enotempty),
	CASE(names_up_to_255_bytes_work_and_longer_ones_are_enametoolong),
	CASE(odd_names_are_kept_byte_for_byte),
	CASE(every_byte_but_slash_and_nul_may_be_in_a_name),
	CASE(a_name_of_255_invalid_bytes_works),
	CASE(directories_nest_beyond_path_max),
	CASE(a_listing_has_every_name_once_with_inode_and_type),
	CASE(seekdir_and_rewinddir_resume_where_told),
	CASE(removing_while_listing_skips_nobody_else),
	CASE(a_removed_open_directory_lists_nothing_and_takes_nothing),
	CASE(rename_over_an_existing_file_replaces_it),
	CASE(a_replaced_file_that_is_open_stays_readable),
	CASE(rename_noreplace_never_replaces),
	CASE(rename_exchange_swaps_any_two),
	CASE(rename_of_directories_follows_the_rules),
	CASE(a_renamed_open_file_is_written_under_its_new_name),
	CASE(hard_links_share_one_file),
	CASE(a_link_to_a_dirty_open_file_sees_its_data),
	CASE(symlinks_hold_any_target),
	CASE(a_loop_of_symlinks_is_eloop),
	CASE(fifos_carry_data_between_processes),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
