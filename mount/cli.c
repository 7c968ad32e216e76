/*
 * Reading the command line: operands and options of mount, the words after -o, and the help texts.
 * The verbs themselves are in verb_*.c.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount/cli.h"
#include "mount/faults.h"

/* ---- mount options ------------------------------------------------------------------------- */

enum word_kind {
	WORD_PASS, /* libfuse or the kernel know it */
	WORD_DROP, /* for mount(8) and fstab, or already so */
	WORD_THREADS,
};

/* A name ending in '=' takes a value, one ending in '*' matches what it begins with. */
static const struct word {
	const char *name;
	enum word_kind kind;
} words[] = {
	{"ro", WORD_PASS},
	{"rw", WORD_PASS},
	{"allow_other", WORD_PASS},
	{"allow_root", WORD_PASS},
	{"dev", WORD_PASS},
	{"nodev", WORD_PASS},
	{"suid", WORD_PASS},
	{"nosuid", WORD_PASS},
	{"exec", WORD_PASS},
	{"noexec", WORD_PASS},
	{"sync", WORD_PASS},
	{"async", WORD_PASS},
	{"dirsync", WORD_PASS},
	{"noatime", WORD_PASS},
	{"context=", WORD_PASS},
	{"fscontext=", WORD_PASS},
	{"defcontext=", WORD_PASS},
	{"rootcontext=", WORD_PASS},
	{"fsname=", WORD_PASS},
	{"max_threads=", WORD_THREADS},
	/* Always so here, or without a meaning where no access times are kept. */
	{"default_permissions", WORD_DROP},
	{"subtype=", WORD_DROP},
	{"defaults", WORD_DROP},
	{"atime", WORD_DROP},
	{"diratime", WORD_DROP},
	{"nodiratime", WORD_DROP},
	{"relatime", WORD_DROP},
	{"norelatime", WORD_DROP},
	{"strictatime", WORD_DROP},
	{"nostrictatime", WORD_DROP},
	{"lazytime", WORD_DROP},
	{"nolazytime", WORD_DROP},
	/* Words of fstab that mount(8) and systemd act on. */
	{"auto", WORD_DROP},
	{"noauto", WORD_DROP},
	{"user", WORD_DROP},
	{"user=", WORD_DROP},
	{"nouser", WORD_DROP},
	{"users", WORD_DROP},
	{"nousers", WORD_DROP},
	{"owner", WORD_DROP},
	{"group", WORD_DROP},
	{"_netdev", WORD_DROP},
	{"nofail", WORD_DROP},
	{"comment=", WORD_DROP},
	{"x-*", WORD_DROP},
	{"X-*", WORD_DROP},
};

void pfs_fuse_options_init(struct pfs_fuse_options *o)
{
	memset(o, 0, sizeof(*o));
	o->max_threads = PFS_THREADS_DEFAULT;
}

void pfs_fuse_options_release(struct pfs_fuse_options *o)
{
	pfs_buf_release(&o->pass);
}

void pfs_fuse_options_escape(struct pfs_buf *b, const char *text)
{
	for (; *text; text++) {
		if (*text == ',' || *text == '\\')
			pfs_buf_add(b, "\\", 1);
		pfs_buf_add(b, text, 1);
	}
}

static bool word_matches(const struct word *w, const char *text, size_t len)
{
	size_t n = strlen(w->name);

	if (w->name[n - 1] == '*')
		return len >= n - 1 && memcmp(w->name, text, n - 1) == 0;
	if (w->name[n - 1] == '=')
		return len > n && memcmp(w->name, text, n) == 0;
	return len == n && memcmp(w->name, text, n) == 0;
}

static int word_threads(struct pfs_fuse_options *o, const char *text, size_t len,
			struct pfs_msg *msg)
{
	const char *value = memchr(text, '=', len);
	unsigned long n = 0;
	size_t i;

	for (i = (size_t)(value - text) + 1; i < len && n <= PFS_THREADS_MAX; i++) {
		if (text[i] < '0' || text[i] > '9') {
			n = 0;
			break;
		}
		n = n * 10 + (unsigned long)(text[i] - '0');
	}
	if (n < 1 || n > PFS_THREADS_MAX) {
		pfs_msg_set(msg, "mount option '%.*s': a number from 1 to %d is wanted", (int)len,
			    text, PFS_THREADS_MAX);
		return -EINVAL;
	}
	o->max_threads = (unsigned)n;
	return 0;
}

static int word_unknown(const char *text, size_t len, struct pfs_msg *msg)
{
	struct pfs_buf known = {0};
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(words) && words[i].kind != WORD_DROP; i++)
		pfs_buf_printf(&known, "%s%s", i ? ", " : "", words[i].name);
	pfs_msg_set(msg, "unknown mount option '%.*s'; known: %s", (int)(len > 80 ? 80 : len), text,
		    known.failed || !known.data ? "?" : known.data);
	pfs_buf_release(&known);
	return -EINVAL;
}

static int word_take(struct pfs_fuse_options *o, const char *text, size_t len, struct pfs_msg *msg)
{
	const struct word *w = NULL;
	size_t i;

	for (i = 0; i < PFS_ARRAY_SIZE(words); i++) {
		if (word_matches(&words[i], text, len)) {
			w = &words[i];
			break;
		}
	}
	if (!w)
		return word_unknown(text, len, msg);
	switch (w->kind) {
	case WORD_DROP:
		return 0;
	case WORD_THREADS:
		return word_threads(o, text, len, msg);
	case WORD_PASS:
		if (len == 2 && (!memcmp(text, "rw", 2) || !memcmp(text, "ro", 2)))
			o->rw = text[1] == 'w';
		break;
	}
	if (o->pass.len)
		pfs_buf_str(&o->pass, ",");
	pfs_buf_add(&o->pass, text, len);
	return o->pass.failed ? -ENOMEM : 0;
}

/* The length of the first word of a list; a backslash keeps the character after it in the word. */
static size_t word_len(const char *text)
{
	size_t n = 0;

	while (text[n] && text[n] != ',') {
		if (text[n] == '\\' && text[n + 1])
			n++;
		n++;
	}
	return n;
}

int pfs_fuse_options_parse(struct pfs_fuse_options *o, const char *text, struct pfs_msg *msg)
{
	size_t len;
	int err;

	for (;;) {
		len = word_len(text);
		if (len) {
			err = word_take(o, text, len, msg);
			if (err)
				return err;
		}
		if (!text[len])
			return 0;
		text += len + 1;
	}
}

/* ---- operands ------------------------------------------------------------------------------ */

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'},
	{"foreground", no_argument, NULL, 'f'},
	{"options", required_argument, NULL, 'o'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static int mount_operands(struct pfs_mount_args *out, const char **operands, size_t n,
			  struct pfs_msg *msg)
{
	if (n == 0) {
		pfs_msg_set(msg, "no MOUNTPOINT given");
		return -EINVAL;
	}
	if (n > 2) {
		pfs_msg_set(msg, "'%s' is one operand too many: SOURCE and MOUNTPOINT are all",
			    operands[2]);
		return -EINVAL;
	}
	out->mountpoint = operands[n - 1];
	if (n == 2)
		out->source = operands[0];
	if (out->source && out->config) {
		pfs_msg_set(msg, "give -c FILE or a SOURCE ('%s'), not both", out->source);
		return -EINVAL;
	}
	return 0;
}

static int bad_option(char **argv, int c, struct pfs_msg *msg)
{
	const char *arg = argv[optind - 1];

	if (c == ':')
		pfs_msg_set(msg, "option '%s' wants a value", arg);
	else if (optopt && optopt != '?')
		pfs_msg_set(msg, "unknown option '-%c'", optopt);
	else
		pfs_msg_set(msg, "unknown option '%s'", arg);
	return -EINVAL;
}

int pfs_mount_args_parse(struct pfs_mount_args *out, int argc, char **argv, struct pfs_msg *msg)
{
	const char *operands[3];
	size_t n = 0;
	int c, err;

	memset(out, 0, sizeof(*out));
	pfs_fuse_options_init(&out->options);
	optind = 0; /* glibc: start over */
	/* '-': operands come in their order, wherever options stand, POSIXLY_CORRECT or not. */
	while ((c = getopt_long(argc, argv, "-:c:fo:h", long_options, NULL)) != -1) {
		switch (c) {
		case 1:
			if (n < PFS_ARRAY_SIZE(operands))
				operands[n++] = optarg;
			break;
		case 'c':
			out->config = optarg;
			break;
		case 'f':
			out->foreground = true;
			break;
		case 'o':
			err = pfs_fuse_options_parse(&out->options, optarg, msg);
			if (err)
				return err == -EINVAL ? -EPROTO : err;
			break;
		case 'h':
			out->help = true;
			return 0;
		default:
			return bad_option(argv, c, msg);
		}
	}
	for (; optind < argc && n < PFS_ARRAY_SIZE(operands); optind++)
		operands[n++] = argv[optind];
	out->write_others = out->options.rw && strcmp(argv[0], "mount") == 0;
	return mount_operands(out, operands, n, msg);
}

void pfs_mount_args_release(struct pfs_mount_args *args)
{
	pfs_fuse_options_release(&args->options);
}

int pfs_operand_parse(int argc, char **argv, const char **operand, bool *help, struct pfs_msg *msg)
{
	bool options = true;
	int i;

	*operand = NULL;
	*help = false;
	for (i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (options && strcmp(a, "--") == 0) {
			options = false;
		} else if (options && (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)) {
			*help = true;
			return 0;
		} else if (options && a[0] == '-' && a[1]) {
			pfs_msg_set(msg, "unknown option '%s'", a);
			return -EINVAL;
		} else if (*operand) {
			pfs_msg_set(msg, "'%s' is one operand too many", a);
			return -EINVAL;
		} else {
			*operand = a;
		}
	}
	return 0;
}

bool pfs_source_is_url(const char *source)
{
	size_t n = strspn(source, "abcdefghijklmnopqrstuvwxyz0123456789+");

	return n > 0 && source[n] == ':';
}

bool pfs_cli_is_mount(int argc, char **argv)
{
	const char *first;
	size_t n;

	if (argc < 2)
		return false;
	first = argv[1];
	n = strlen(first);
	if (first[0] == '-')
		return strcmp(first, "-") != 0;
	return pfs_source_is_url(first) || strchr(first, '/') ||
	       (n > 4 && strcmp(first + n - 4, ".ini") == 0) || access(first, F_OK) == 0;
}

/* ---- help ---------------------------------------------------------------------------------- */

static const char help_main[] =
	"persistfs " PFS_VERSION ": stores in databases as directories; keys are files\n"
	"\n"
	"  persistfs mount [-c FILE] [-f] [-o OPTS] [SOURCE] MOUNTPOINT\n"
	"  persistfs umount MOUNTPOINT              write everything out, then unmount\n"
	"  persistfs status [MOUNTPOINT]            mounts, stores, health\n"
	"  persistfs config check|show [-c FILE]    what a configuration says, or what is wrong\n"
	"  persistfs backends list|show TYPE [--json]\n"
	"  persistfs --version | --help | VERB --help\n"
	"\n"
	"SOURCE is sqlite:PATH, postgres://... or redis://... (data/, a store, and tables/ or keys/:\n"
	"what others keep there) or a configuration file (persistfs.ini).\n"
	"Without one: -c FILE, $PERSISTFS_CONFIG, $XDG_CONFIG_HOME/persistfs/persistfs.ini,\n"
	"/etc/persistfs.ini, else a built-in default.\n"
	"\n"
	"Exit status: 0 done, 1 failed, 2 wrong usage, 69 a backend could not be reached,\n"
	"78 the configuration has faults. Manual: persistfs(1), persistfs.ini(5).\n";

static const char help_mount[] =
	"persistfs mount [-c FILE] [-f] [-o OPTS] [SOURCE] MOUNTPOINT\n"
	"\n"
	"Mounts SOURCE (sqlite:PATH, postgres://..., redis://... or a configuration file) at the\n"
	"directory MOUNTPOINT and returns when the tree answers.\n"
	"\n"
	"  -c FILE   use this configuration file\n"
	"  -f        stay in the foreground; the log goes to stderr unless it goes to a file\n"
	"  -o OPTS   comma-separated: ro, allow_other, allow_root, dev, suid, noexec, nodev, "
	"nosuid,\n"
	"            sync, dirsync, noatime, fsname=TEXT, context=..., max_threads=N (default "
	"10);\n"
	"            rw with a URL: tables/ or keys/ can be written to, too;\n"
	"            words for mount(8) and fstab (noauto, nofail, x-...) are accepted\n"
	"\n"
	"Exit status: 0 mounted, 1 failed, 2 wrong usage, 69 a backend could not be reached,\n"
	"78 the configuration has faults. Nothing stays mounted unless it is 0.\n";

static const char help_umount[] =
	"persistfs umount MOUNTPOINT\n"
	"\n"
	"Unmounts, and returns when everything has been written to the stores and the daemon is "
	"gone.\n"
	"A busy mount stays mounted. A mount whose daemon died is detached.\n"
	"\n"
	"Exit status: 0 unmounted and all written, 1 busy, not mounted, or data was lost, 2 wrong "
	"usage.\n";

static const char help_status[] =
	"persistfs status [MOUNTPOINT]\n"
	"\n"
	"Lists mounts (or the one at MOUNTPOINT) with the health of their backends and stores, "
	"what\n"
	"waits to be written, and where fsync cannot promise to survive a power loss.\n"
	"\n"
	"Exit status: 0 all healthy, 1 something is not, or nothing is mounted at MOUNTPOINT, 2 "
	"wrong\n"
	"usage.\n";

const char *pfs_cli_help(const char *verb)
{
	if (!verb)
		return help_main;
	if (strcmp(verb, "mount") == 0)
		return help_mount;
	if (strcmp(verb, "umount") == 0)
		return help_umount;
	if (strcmp(verb, "status") == 0)
		return help_status;
	return help_main;
}

int pfs_cli_usage(const char *verb, const struct pfs_msg *msg)
{
	const char *space = verb ? " " : "";
	struct pfs_buf text = {0};

	if (!verb)
		verb = "";
	pfs_redact_urls(&text, msg->text); /* it may quote a SOURCE */
	fprintf(stderr, "persistfs%s%s: %s (see persistfs%s%s --help)\n", space, verb,
		text.data ? text.data : "wrong usage", space, verb);
	pfs_buf_release(&text);
	return PFS_EXIT_USAGE;
}
