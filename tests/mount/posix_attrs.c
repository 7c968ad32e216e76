/*
 * POSIX cases about attributes: modes, owners, times, extended attributes, permissions.
 */
#include "tests/mount/posix.h"

/* ---- attributes ----------------------------------------------------------------------------- */

static void chmod_keeps_all_bits(void)
{
	struct stat st;

	put("f", "x");
	for (unsigned mode = 0; mode < 01000; mode += 0111)
		CHECK(chmod("f", mode) == 0 && (stat_of("f").st_mode & 07777) == mode);
	CHECK(chmod("f", 06755) == 0 && (stat_of("f").st_mode & 07777) == 06755);
	CHECK(mkdir("d", 0700) == 0 && chmod("d", 03777) == 0);
	st = stat_of("d");
	CHECK(S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 03777);
}

static void creation_honours_mode_and_umask(void)
{
	mode_t old = umask(027);
	int fd = open("f", O_WRONLY | O_CREAT, 0666);

	CHECK(fd >= 0 && close(fd) == 0);
	CHECK(mkdir("d", 0777) == 0);
	CHECK(mkfifo("p", 0666) == 0);
	umask(old);
	CHECK((stat_of("f").st_mode & 07777) == 0640);
	CHECK((stat_of("d").st_mode & 07777) == 0750);
	CHECK((stat_of("p").st_mode & 07777) == 0640);
}

static void a_file_created_without_permission_is_writable_by_its_creator(void)
{
	int fd = open("f", O_WRONLY | O_CREAT | O_EXCL, 0);

	CHECK(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
	CHECK((stat_of("f").st_mode & 07777) == 0 && stat_of("f").st_size == 1);
}

static void times_have_nanoseconds(void)
{
	struct timespec set[2] = {{1, 2}, {8589934592, 123456789}}, now, omit[2];
	struct stat st;

	put("f", "x");
	CHECK(utimensat(AT_FDCWD, "f", set, 0) == 0);
	st = stat_of("f");
	CHECK(st.st_mtim.tv_sec == 8589934592 && st.st_mtim.tv_nsec == 123456789);
	omit[0] = (struct timespec){0, UTIME_OMIT};
	omit[1] = (struct timespec){0, UTIME_OMIT};
	CHECK(utimensat(AT_FDCWD, "f", omit, 0) == 0);
	CHECK(stat_of("f").st_mtim.tv_sec == 8589934592);
	omit[1].tv_nsec = UTIME_NOW;
	CHECK(utimensat(AT_FDCWD, "f", omit, 0) == 0);
	clock_gettime(CLOCK_REALTIME, &now);
	st = stat_of("f");
	CHECK(st.st_mtim.tv_sec >= now.tv_sec - 5 && st.st_mtim.tv_sec <= now.tv_sec + 1);
	CHECK(mkdir("d", 0755) == 0 && utimensat(AT_FDCWD, "d", set, 0) == 0);
	CHECK(stat_of("d").st_mtim.tv_nsec == 123456789);
	CHECK(symlink("f", "l") == 0 && utimensat(AT_FDCWD, "l", set, AT_SYMLINK_NOFOLLOW) == 0);
	CHECK(stat_of("l").st_mtim.tv_nsec == 123456789 && stat_of("f").st_mtim.tv_sec < 8589934592);
}

static void a_set_time_survives_close(void)
{
	struct timespec set[2] = {{77, 5}, {77, 5}};
	int fd = open("f", O_WRONLY | O_CREAT, 0644);

	CHECK(write(fd, "data", 4) == 4);
	CHECK(futimens(fd, set) == 0);
	CHECK(close(fd) == 0);
	CHECK(stat_of("f").st_mtim.tv_sec == 77 && stat_of("f").st_mtim.tv_nsec == 5);
	CHECK(holds("f", "data"));
}

static void writing_moves_mtime_and_entries_move_the_directory(void)
{
	struct timespec old[2] = {{100, 0}, {100, 0}};
	int fd;

	put("f", "x");
	CHECK(utimensat(AT_FDCWD, "f", old, 0) == 0);
	fd = open("f", O_WRONLY);
	CHECK(write(fd, "y", 1) == 1);
	CHECK(close(fd) == 0);
	CHECK(stat_of("f").st_mtim.tv_sec > 100);
	CHECK(mkdir("d", 0755) == 0);
	CHECK(utimensat(AT_FDCWD, "d", old, 0) == 0);
	put("d/f", "");
	CHECK(stat_of("d").st_mtim.tv_sec > 100);
	CHECK(utimensat(AT_FDCWD, "d", old, 0) == 0);
	CHECK(unlink("d/f") == 0);
	CHECK(stat_of("d").st_mtim.tv_sec > 100);
	CHECK(utimensat(AT_FDCWD, "f", old, 0) == 0);
	CHECK(truncate("f", 0) == 0);
	CHECK(stat_of("f").st_mtim.tv_sec > 100);
}

static void extended_attributes_are_kept(void)
{
	char value[2000], buf[4096];
	ssize_t n;

	put("f", "x");
	memset(value, 0xe5, sizeof(value));
	value[5] = 0;
	CHECK(setxattr("f", "user.one", "1", 1, 0) == 0);
	CHECK(setxattr("f", "user.big", value, sizeof(value), 0) == 0);
	CHECK(setxattr("f", "user.empty", "", 0, 0) == 0);
	CHECK(getxattr("f", "user.big", buf, sizeof(buf)) == sizeof(value));
	CHECK(memcmp(buf, value, sizeof(value)) == 0);
	CHECK(getxattr("f", "user.big", NULL, 0) == sizeof(value));
	CHECK(getxattr("f", "user.empty", buf, sizeof(buf)) == 0);
	FAILS(getxattr("f", "user.big", buf, 10), ERANGE);
	FAILS(getxattr("f", "user.none", buf, 10), ENODATA);
	FAILS(setxattr("f", "user.one", "2", 1, XATTR_CREATE), EEXIST);
	FAILS(setxattr("f", "user.none", "2", 1, XATTR_REPLACE), ENODATA);
	CHECK(setxattr("f", "user.one", "two", 3, XATTR_REPLACE) == 0);
	n = listxattr("f", buf, sizeof(buf));
	CHECK(n > 0 && memmem(buf, n, "user.one", 9) && memmem(buf, n, "user.big", 9) &&
	      memmem(buf, n, "user.empty", 11));
	CHECK(n == 9 + 9 + 11);
	CHECK(listxattr("f", NULL, 0) == n);
	FAILS(listxattr("f", buf, 3), ERANGE);
	CHECK(removexattr("f", "user.one") == 0);
	FAILS(removexattr("f", "user.one"), ENODATA);
	CHECK(mkdir("d", 0755) == 0 && setxattr("d", "user.dir", "d", 1, 0) == 0);
	CHECK(getxattr("d", "user.dir", buf, 10) == 1);
	CHECK(rename("f", "g") == 0 && getxattr("g", "user.big", NULL, 0) == sizeof(value));
}

static void statvfs_says_something_sensible(void)
{
	struct statvfs v;

	CHECK(statvfs(".", &v) == 0);
	CHECK(v.f_bsize > 0 && v.f_namemax == 255);
	CHECK(v.f_bavail <= v.f_blocks);
}

/* ---- several users -------------------------------------------------------------------------- */

static void chown_sets_the_owner(void)
{
	put("f", "x");
	CHECK(chmod("f", 06755) == 0);
	CHECK(chown("f", 1234, 5678) == 0);
	CHECK(stat_of("f").st_uid == 1234 && stat_of("f").st_gid == 5678);
	CHECK((stat_of("f").st_mode & 07777) == 0755);
	CHECK(chown("f", -1, 9) == 0 && stat_of("f").st_uid == 1234 && stat_of("f").st_gid == 9);
	CHECK(symlink("f", "l") == 0 && lchown("l", 5, 5) == 0);
	CHECK(stat_of("l").st_uid == 5 && stat_of("f").st_uid == 1234);
}

static void nobody_writes_and_is_refused(void)
{
	struct stat st = {0};
	int fd = open("own", O_RDWR | O_CREAT, 0644);

	CHECK(fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == NOBODY && st.st_gid == NOBODY);
	FAILS(open("secret", O_RDONLY), EACCES);
	FAILS(open("readonly", O_WRONLY), EACCES);
	FAILS(open("closed/file", O_RDONLY), EACCES);
	FAILS(open("closed/new", O_WRONLY | O_CREAT, 0644), EACCES);
	FAILS(chmod("readonly", 0777), EPERM);
	FAILS(chown("own", 0, -1), EPERM);
	FAILS(utimensat(AT_FDCWD, "readonly", NULL, 0), EACCES);
	CHECK(holds("readonly", "x"));
	close(fd);
	CHECK(chmod("own", 0) == 0);
	FAILS(open("own", O_RDONLY), EACCES);
}

static void permissions_are_checked(void)
{
	CHECK(chmod(".", 0777) == 0);
	put("secret", "x");
	put("readonly", "x");
	CHECK(chmod("secret", 0600) == 0 && mkdir("closed", 0700) == 0);
	put("closed/file", "x");
	as_nobody(nobody_writes_and_is_refused);
}

static void nobody_tries_the_sticky_directory(void)
{
	FAILS(unlink("sticky/root"), EPERM);
	FAILS(rename("sticky/root", "sticky/mine"), EPERM);
	put("sticky/nobody", "x");
	FAILS(rename("sticky/nobody", "sticky/root"), EPERM);
	CHECK(unlink("sticky/nobody") == 0);
}

static void a_sticky_directory_protects_other_owners(void)
{
	CHECK(mkdir("sticky", 0777) == 0 && chmod("sticky", 01777) == 0);
	put("sticky/root", "x");
	as_nobody(nobody_tries_the_sticky_directory);
	CHECK(exists("sticky/root"));
}

static void a_setgid_directory_gives_its_group(void)
{
	CHECK(mkdir("dir", 0755) == 0 && chown("dir", 0, 4321) == 0 && chmod("dir", 02775) == 0);
	put("dir/file", "x");
	CHECK(mkdir("dir/sub", 0755) == 0 && symlink("x", "dir/link") == 0);
	CHECK(stat_of("dir/file").st_gid == 4321 && stat_of("dir/link").st_gid == 4321);
	CHECK(stat_of("dir/sub").st_gid == 4321 && (stat_of("dir/sub").st_mode & S_ISGID));
	CHECK((stat_of("dir/file").st_mode & S_ISGID) == 0);
}

static void nobody_writes_setuid_files(void)
{
	int fd;

	put("a", "x");
	CHECK(chmod("a", 06755) == 0);
	fd = open("a", O_WRONLY);
	CHECK(write(fd, "y", 1) == 1 && close(fd) == 0);
	CHECK((stat_of("a").st_mode & 07777) == 0755);
	CHECK(chmod("a", 06755) == 0 && truncate("a", 0) == 0);
	CHECK((stat_of("a").st_mode & 07777) == 0755);
	CHECK(chmod("a", 06755) == 0);
	fd = open("a", O_WRONLY | O_TRUNC);
	CHECK(fd >= 0 && close(fd) == 0);
	CHECK((stat_of("a").st_mode & 07777) == 0755);
}

static void writing_clears_setuid_and_setgid(void)
{
	CHECK(chmod(".", 0777) == 0);
	as_nobody(nobody_writes_setuid_files);
}

/* ---- the list ------------------------------------------------------------------------------- */

static const struct test_case cases[] = {
	CASE(chmod_keeps_all_bits),
	CASE(creation_honours_mode_and_umask),
	CASE(a_file_created_without_permission_is_writable_by_its_creator),
	CASE(times_have_nanoseconds),
	CASE(a_set_time_survives_close),
	CASE(writing_moves_mtime_and_entries_move_the_directory),
	CASE(extended_attributes_are_kept),
	CASE(statvfs_says_something_sensible),
	ROOT_CASE(chown_sets_the_owner),
	ROOT_CASE(permissions_are_checked),
	ROOT_CASE(a_sticky_directory_protects_other_owners),
	ROOT_CASE(a_setgid_directory_gives_its_group),
	ROOT_CASE(writing_clears_setuid_and_setgid),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
