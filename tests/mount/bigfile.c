/*
 * Large values. The bytes at an offset follow from the offset. usage:
 *	bigfile write FILE MIB		writes, fsyncs, closes
 *	bigfile verify FILE MIB		reads all back
 *	bigfile sparse FILE MIB		64 KiB at each of 16 places of a file of that size
 *	bigfile verify-sparse FILE MIB	the places hold their data, what lies around them zeros
 */
#include "tests/mount/helper.h"

#define PIECE  (1 << 20)
#define PLACES 16
#define PLACE  65536

static uint64_t piece[PIECE / 8], other[PIECE / 8];

static void fill(uint64_t *p, off_t off, size_t len)
{
	for (size_t i = 0; i < len / 8; i++)
		p[i] = (off / 8 + i) * UINT64_C(0x9e3779b97f4a7c15);
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, flags, 0644);

	if (fd < 0)
		die("open %s", path);
	return fd;
}

static void check_size(int fd, off_t size)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		die("fstat");
	errno = 0;
	if (st.st_size != size)
		die("size is %lld, not %lld", (long long)st.st_size, (long long)size);
}

static void write_file(const char *path, off_t size)
{
	int fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);

	for (off_t off = 0; off < size; off += PIECE) {
		fill(piece, off, PIECE);
		if (write_all(fd, piece, PIECE) != 0)
			die("write at %lld", (long long)off);
	}
	if (fsync(fd) != 0 || close(fd) != 0)
		die("fsync, close");
}

static void expect_at(int fd, off_t off, size_t len, bool zero)
{
	if (zero)
		memset(piece, 0, len);
	else
		fill(piece, off, len);
	if (pread(fd, other, len, off) != (ssize_t)len)
		die("read at %lld", (long long)off);
	errno = 0;
	if (memcmp(piece, other, len) != 0)
		die("other bytes at %lld", (long long)off);
}

static void verify(const char *path, off_t size)
{
	int fd = open_file(path, O_RDONLY);

	check_size(fd, size);
	for (off_t off = 0; off < size; off += PIECE)
		expect_at(fd, off, PIECE, false);
	close(fd);
}

/* Places are spread over the file, off every round boundary; the last one ends it. */
static off_t place(off_t size, int i)
{
	return (size - PLACE) / (PLACES - 1) * i / 8 * 8;
}

static off_t sparse_size(off_t size)
{
	return place(size, PLACES - 1) + PLACE;
}

static void write_sparse(const char *path, off_t size)
{
	int fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC);

	for (int n = 0; n < PLACES; n++) {
		off_t off = place(size, n * 7 % PLACES); /* out of order */

		fill(piece, off, PLACE);
		if (pwrite(fd, piece, PLACE, off) != PLACE)
			die("write at %lld", (long long)off);
	}
	if (fsync(fd) != 0 || close(fd) != 0)
		die("fsync, close");
}

static void verify_sparse(const char *path, off_t size)
{
	int fd = open_file(path, O_RDONLY);
	struct stat st;

	check_size(fd, sparse_size(size));
	for (int i = 0; i < PLACES; i++) {
		off_t off = place(size, i);

		expect_at(fd, off, PLACE, false);
		if (i + 1 < PLACES) {
			expect_at(fd, off + PLACE, PIECE, true);
			expect_at(fd, place(size, i + 1) - PIECE, PIECE, true);
		}
	}
	if (fstat(fd, &st) != 0)
		die("fstat");
	errno = 0;
	if (st.st_blocks * 512LL > (off_t)PLACES * 8 * PIECE)
		die("holes take room: %lld bytes", (long long)st.st_blocks * 512);
	close(fd);
}

int main(int argc, char **argv)
{
	double start = now_ms(), took;
	off_t size;

	if (argc != 4) {
		fprintf(stderr, "usage: bigfile write|verify|sparse|verify-sparse FILE MIB\n");
		return 64;
	}
	size = (off_t)atoll(argv[3]) << 20;
	if (strcmp(argv[1], "write") == 0)
		write_file(argv[2], size);
	else if (strcmp(argv[1], "verify") == 0)
		verify(argv[2], size);
	else if (strcmp(argv[1], "sparse") == 0)
		write_sparse(argv[2], size);
	else if (strcmp(argv[1], "verify-sparse") == 0)
		verify_sparse(argv[2], size);
	else
		return 64;
	took = now_ms() - start;
	printf("%s of %s MiB: %.0f ms (%.0f MiB/s)\n", argv[1], argv[3], took,
	       atof(argv[3]) / took * 1e3);
	return 0;
}
