/*
 * POSIX cases about content: writing, appending, truncating, holes, mappings, locks.
 */
#include "tests/mount/posix.h"

/* ---- content -------------------------------------------------------------------------------- */

static void o_excl_makes_exactly_one_winner(void)
{
	int fd = open("f", O_WRONLY | O_CREAT | O_EXCL, 0644), wins = 0, status;

	CHECK(fd >= 0);
	close(fd);
	FAILS(open("f", O_WRONLY | O_CREAT | O_EXCL, 0644), EEXIST);
	for (int i = 0; i < 8; i++)
		if (fork() == 0)
			_exit(open("race", O_WRONLY | O_CREAT | O_EXCL, 0644) >= 0 ? 1 : 0);
	for (int i = 0; i < 8; i++)
		wins += wait(&status) > 0 && WEXITSTATUS(status);
	CHECK(wins == 1);
}

static void o_trunc_empties_and_a_reader_sees_it(void)
{
	int fd;

	put("f", "something");
	fd = open("f", O_WRONLY | O_TRUNC);
	CHECK(fd >= 0);
	CHECK(write(fd, "new", 3) == 3);
	CHECK(close(fd) == 0);
	CHECK(holds("f", "new"));
	fd = open("f", O_WRONLY | O_TRUNC);
	CHECK(close(fd) == 0);
	CHECK(holds("f", "") && stat_of("f").st_size == 0);
}

static void two_descriptors_see_each_other_at_once(void)
{
	int a = open("f", O_RDWR | O_CREAT, 0644), b = open("f", O_RDWR);
	char buf[16];

	CHECK(a >= 0 && b >= 0);
	CHECK(write(a, "hello", 5) == 5);
	CHECK(pread(b, buf, 16, 0) == 5 && memcmp(buf, "hello", 5) == 0);
	CHECK(stat_of("f").st_size == 5);
	CHECK(pwrite(b, "J", 1, 0) == 1);
	CHECK(pread(a, buf, 16, 0) == 5 && buf[0] == 'J');
	CHECK(ftruncate(a, 2) == 0);
	CHECK(pread(b, buf, 16, 0) == 2);
	CHECK(close(a) == 0);
	CHECK(pwrite(b, "!", 1, 2) == 1);
	CHECK(close(b) == 0);
	CHECK(holds("f", "Je!"));
}

static void a_dupped_descriptor_writes_after_the_first_close(void)
{
	int a = open("f", O_WRONLY | O_CREAT | O_TRUNC, 0644), b = dup(a);

	CHECK(close(a) == 0);
	CHECK(write(b, "late", 4) == 4);
	CHECK(close(b) == 0);
	CHECK(holds("f", "late"));
}

static void append_goes_to_the_end_whoever_wrote_there(void)
{
	int a = open("f", O_WRONLY | O_CREAT | O_APPEND, 0644), b = open("f", O_WRONLY | O_APPEND);
	int c = open("f", O_RDWR);

	CHECK(write(a, "1", 1) == 1 && write(b, "2", 1) == 1 && write(a, "3", 1) == 1);
	CHECK(pwrite(c, "45", 2, 3) == 2);
	CHECK(write(b, "6", 1) == 1);
	CHECK(holds("f", "123456"));
	CHECK(ftruncate(c, 1) == 0);
	CHECK(write(a, "x", 1) == 1);
	CHECK(holds("f", "1x"));
	CHECK(close(a) == 0 && close(b) == 0 && close(c) == 0);
	CHECK(holds("f", "1x"));
}

static void truncate_cuts_and_grows_with_zeros(void)
{
	char buf[64];
	int fd;

	put("f", "0123456789");
	CHECK(truncate("f", 4) == 0 && holds("f", "0123"));
	CHECK(truncate("f", 12) == 0 && stat_of("f").st_size == 12);
	fd = open("f", O_RDWR);
	CHECK(pread(fd, buf, 64, 0) == 12 && memcmp(buf, "0123", 4) == 0 && all_zero(buf + 4, 8));
	CHECK(ftruncate(fd, 1 << 20) == 0);
	CHECK(pread(fd, buf, 64, (1 << 20) - 10) == 10 && all_zero(buf, 10));
	CHECK(ftruncate(fd, 2) == 0 && ftruncate(fd, 6) == 0);
	CHECK(pread(fd, buf, 64, 0) == 6 && memcmp(buf, "01\0\0\0\0", 6) == 0);
	FAILS(ftruncate(fd, -1), EINVAL);
	CHECK(close(fd) == 0);
}

static void writing_past_the_end_leaves_zeros(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	char buf[128];

	CHECK(pwrite(fd, "end", 3, 100) == 3);
	CHECK(pread(fd, buf, 128, 0) == 103 && all_zero(buf, 100) && memcmp(buf + 100, "end", 3) == 0);
	CHECK(pread(fd, buf, 128, 103) == 0 && pread(fd, buf, 128, 5000) == 0);
	CHECK(close(fd) == 0 && stat_of("f").st_size == 103);
}

static void offsets_beyond_four_gib_work(void)
{
	const off_t far = (5LL << 30) + 3;
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	char buf[16];

	CHECK(pwrite(fd, "far", 3, far) == 3);
	CHECK(pread(fd, buf, 16, far) == 3 && memcmp(buf, "far", 3) == 0);
	CHECK(pread(fd, buf, 16, 1LL << 32) == 16 && all_zero(buf, 16));
	CHECK(close(fd) == 0);
	CHECK(stat_of("f").st_size == far + 3);
	CHECK(stat_of("f").st_blocks < 65536);
}

static void random_writes_match_a_copy_in_memory(void)
{
	enum { SIZE = 3 << 20 };
	char *image = calloc(1, SIZE), *got = malloc(SIZE), *chunk = malloc(300000);
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	off_t end = 0;
	unsigned seed = 7;

	for (int i = 0; i < 150; i++) {
		size_t len = 1 + rand_r(&seed) % (i % 10 ? 5000 : 300000);
		off_t off = rand_r(&seed) % (SIZE - len);

		memset(chunk, 'a' + i % 26, len);
		CHECK(pwrite(fd, chunk, len, off) == (ssize_t)len);
		memcpy(image + off, chunk, len);
		end = off + (off_t)len > end ? off + (off_t)len : end;
		if (i % 40 == 39) {
			CHECK(close(fd) == 0);
			fd = open("f", O_RDWR);
		}
	}
	CHECK(pread(fd, got, SIZE, 0) == end && memcmp(got, image, end) == 0);
	CHECK(close(fd) == 0);
	free(image);
	free(got);
	free(chunk);
}

static void vectored_and_tiny_writes_are_whole(void)
{
	char one[] = "one", three[] = "three";
	struct iovec v[3] = {{one, 3}, {one, 0}, {three, 5}};
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	char buf[2000];

	CHECK(writev(fd, v, 3) == 8);
	for (int i = 0; i < 1000; i++)
		CHECK(write(fd, &(char){'a' + i % 26}, 1) == 1);
	CHECK(pread(fd, buf, sizeof(buf), 0) == 1008);
	CHECK(memcmp(buf, "onethree", 8) == 0);
	for (int i = 0; i < 1000; i++)
		CHECK(buf[8 + i] == 'a' + i % 26);
	CHECK(close(fd) == 0);
}

static void an_unlinked_open_file_keeps_its_data(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	struct stat st;
	char buf[16];

	CHECK(write(fd, "data", 4) == 4);
	CHECK(unlink("f") == 0);
	CHECK(!exists("f") && entries(".") == 0);
	CHECK(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 4);
	CHECK(pread(fd, buf, 16, 0) == 4 && memcmp(buf, "data", 4) == 0);
	CHECK(pwrite(fd, "more", 4, 4) == 4);
	put("f", "other");
	CHECK(pread(fd, buf, 16, 0) == 8 && memcmp(buf, "datamore", 8) == 0);
	CHECK(ftruncate(fd, 1) == 0 && fstat(fd, &st) == 0 && st.st_size == 1);
	CHECK(fchmod(fd, 0600) == 0 && fsync(fd) == 0);
	CHECK(close(fd) == 0);
	CHECK(holds("f", "other"));
}

static void a_recreated_name_is_another_file(void)
{
	int a, b;

	put("f", "first");
	a = open("f", O_RDONLY);
	CHECK(unlink("f") == 0);
	b = open("f", O_WRONLY | O_CREAT | O_EXCL, 0644);
	CHECK(b >= 0 && write(b, "second", 6) == 6);
	CHECK(close(b) == 0);
	CHECK(close(a) == 0);
	CHECK(holds("f", "second"));
}

static void fallocate_punches_and_zeroes(void)
{
	static char data[256 << 10], buf[256 << 10];
	int fd = open("f", O_RDWR | O_CREAT, 0644), zero;

	memset(data, 'x', sizeof(data));
	CHECK(write(fd, data, sizeof(data)) == sizeof(data));
	CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 150000) == 0);
	memset(data + 5000, 0, 150000);
	CHECK(pread(fd, buf, sizeof(buf), 0) == sizeof(buf) && memcmp(buf, data, sizeof(buf)) == 0);
	zero = fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 200000, 20000);
	CHECK(zero == 0 || errno == EOPNOTSUPP); /* tmpfs has none */
	if (zero == 0)
		memset(data + 200000, 0, 20000);
	CHECK(pread(fd, buf, sizeof(buf), 0) == sizeof(buf) && memcmp(buf, data, sizeof(buf)) == 0);
	CHECK(close(fd) == 0);
	CHECK(stat_of("f").st_size == sizeof(data));
	fd = open("f", O_RDONLY);
	CHECK(pread(fd, buf, sizeof(buf), 0) == sizeof(buf) && memcmp(buf, data, sizeof(buf)) == 0);
	close(fd);
}

/* Room cannot be promised by a store; on a plain disk it can. */
static void reserving_room_is_refused_or_real(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	int got = fallocate(fd, 0, 0, 100000);

	CHECK(got == 0 || errno == EOPNOTSUPP);
	CHECK(stat_of("f").st_size == (got == 0 ? 100000 : 0));
	CHECK(posix_fallocate(fd, 0, 200000) == 0);
	CHECK(stat_of("f").st_size == 200000);
	CHECK(close(fd) == 0);
}

static void seek_finds_data_and_holes(void)
{
	const off_t far = 64 << 20;
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	static char block[65536];
	off_t at;

	memset(block, 'b', sizeof(block));
	CHECK(pwrite(fd, block, sizeof(block), 0) == sizeof(block));
	CHECK(pwrite(fd, block, sizeof(block), far) == sizeof(block));
	for (int again = 0; again < 2; again++) {
		at = lseek(fd, 0, SEEK_HOLE);
		CHECK(at >= (off_t)sizeof(block) && at < far);
		at = lseek(fd, 32 << 20, SEEK_DATA);
		CHECK(at > 32 << 20 && at <= far);
		CHECK(lseek(fd, 0, SEEK_DATA) == 0);
		CHECK(lseek(fd, far, SEEK_HOLE) == far + (off_t)sizeof(block));
		FAILS(lseek(fd, far + sizeof(block), SEEK_DATA), ENXIO);
		CHECK(close(fd) == 0);
		fd = open("f", O_RDWR);
	}
	CHECK(stat_of("f").st_blocks * 512LL < 16 << 20);
	close(fd);
}

static void copy_file_range_copies(void)
{
	off_t from = 1000, to = 5;
	int a, b;
	char buf[64];

	a = open("a", O_RDWR | O_CREAT, 0644);
	b = open("b", O_RDWR | O_CREAT, 0644);
	for (int i = 0; i < 2000; i++)
		CHECK(write(a, &(char){'a' + i % 26}, 1) == 1);
	CHECK(copy_file_range(a, &from, b, &to, 50, 0) == 50);
	CHECK(from == 1050 && to == 55);
	CHECK(pread(b, buf, 64, 0) == 55 && all_zero(buf, 5));
	for (int i = 0; i < 50; i++)
		CHECK(buf[5 + i] == 'a' + (1000 + i) % 26);
	from = 1990;
	to = 0;
	CHECK(copy_file_range(a, &from, b, &to, 100, 0) == 10);
	from = 5000;
	CHECK(copy_file_range(a, &from, b, &to, 100, 0) == 0);
	CHECK(close(a) == 0 && close(b) == 0);
	CHECK(stat_of("b").st_size == 55);
}

static void sendfile_copies(void)
{
	int a, b;

	put("a", "sent over");
	a = open("a", O_RDONLY);
	b = open("b", O_WRONLY | O_CREAT, 0644);
	CHECK(sendfile(b, a, NULL, 100) == 9);
	close(a);
	CHECK(close(b) == 0 && holds("b", "sent over"));
}

static void a_shared_mapping_is_written_back(void)
{
	const size_t len = 3 * 4096 + 100;
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	char *p, buf[8];

	CHECK(ftruncate(fd, len) == 0);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	memcpy(p + 4090, "over a page", 11);
	memcpy(p + len - 3, "end", 3);
	CHECK(msync(p, len, MS_SYNC) == 0);
	CHECK(pread(fd, buf, 3, len - 3) == 3 && memcmp(buf, "end", 3) == 0);
	memcpy(p, "after", 5);
	CHECK(munmap(p, len) == 0);
	CHECK(close(fd) == 0);
	fd = open("f", O_RDONLY);
	CHECK(fstat(fd, &(struct stat){0}) == 0);
	p = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED && memcmp(p, "after", 5) == 0 &&
	      memcmp(p + 4090, "over a page", 11) == 0);
	munmap(p, len);
	close(fd);
	CHECK(stat_of("f").st_size == (off_t)len);
}

static void a_private_mapping_changes_nothing(void)
{
	char *p;
	int fd;

	put("f", "original");
	fd = open("f", O_RDWR);
	p = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	p[0] = 'X';
	CHECK(munmap(p, 8) == 0 && close(fd) == 0 && holds("f", "original"));
}

static void fsync_and_fdatasync_succeed_on_files_and_directories(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644), dir = open(".", O_RDONLY | O_DIRECTORY);

	CHECK(write(fd, "x", 1) == 1 && fdatasync(fd) == 0 && fsync(fd) == 0);
	CHECK(fsync(dir) == 0);
	CHECK(close(fd) == 0 && close(dir) == 0);
	fd = open("f", O_RDWR | O_SYNC);
	CHECK(write(fd, "y", 1) == 1 && close(fd) == 0 && holds("f", "y"));
}

static void locks_exclude_other_processes(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
	int fd = open("f", O_RDWR | O_CREAT, 0644), status;

	CHECK(fcntl(fd, F_SETLK, &lock) == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
	if (fork() == 0) {
		int own = open("f", O_RDWR);

		failures = 0;
		FAILS(fcntl(own, F_SETLK, &lock), EAGAIN);
		FAILS(flock(own, LOCK_EX | LOCK_NB), EWOULDBLOCK);
		lock.l_start = 100;
		CHECK(fcntl(own, F_SETLK, &lock) == 0);
		fflush(stdout);
		_exit(failures ? 1 : 0);
	}
	CHECK(wait(&status) > 0 && status == 0);
	CHECK(close(fd) == 0);
	if (fork() == 0) {
		int own = open("f", O_RDWR);

		_exit(fcntl(own, F_SETLK, &lock) == 0 && flock(own, LOCK_EX | LOCK_NB) == 0 ? 0 : 1);
	}
	CHECK(wait(&status) > 0 && status == 0);
}

static void a_program_runs_from_here(void)
{
	int in = open("/bin/true", O_RDONLY), out = open("prog", O_WRONLY | O_CREAT, 0755), status;

	CHECK(in >= 0 && out >= 0 && sendfile(out, in, NULL, 1 << 24) > 0);
	close(in);
	CHECK(close(out) == 0);
	fflush(stdout);
	if (fork() == 0) {
		execl("./prog", "prog", (char *)NULL);
		_exit(99);
	}
	CHECK(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- the list ------------------------------------------------------------------------------- */

static const struct test_case cases[] = {
	CASE(o_excl_makes_exactly_one_winner),
	CASE(o_trunc_empties_and_a_reader_sees_it),
	CASE(two_descriptors_see_each_other_at_once),
	CASE(a_dupped_descriptor_writes_after_the_first_close),
	CASE(append_goes_to_the_end_whoever_wrote_there),
	CASE(truncate_cuts_and_grows_with_zeros),
	CASE(writing_past_the_end_leaves_zeros),
	CASE(offsets_beyond_four_gib_work),
	CASE(random_writes_match_a_copy_in_memory),
	CASE(vectored_and_tiny_writes_are_whole),
	CASE(an_unlinked_open_file_keeps_its_data),
	CASE(a_recreated_name_is_another_file),
	CASE(fallocate_punches_and_zeroes),
	CASE(reserving_room_is_refused_or_real),
	CASE(seek_finds_data_and_holes),
	CASE(copy_file_range_copies),
	CASE(sendfile_copies),
	CASE(a_shared_mapping_is_written_back),
	CASE(a_private_mapping_changes_nothing),
	CASE(fsync_and_fdatasync_succeed_on_files_and_directories),
	CASE(locks_exclude_other_processes),
	CASE(a_program_runs_from_here),
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
