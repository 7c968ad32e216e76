/*
 * Two processes take part in mounting. The *daemon* starts the backends, mounts and answers. The
 * *reporter* looks at the tree from outside, like any program, and tells the user; that is the
 * process that was called, or its child with -f. A socket pair joins them: the daemon sends a byte
 * when it has mounted, the reporter answers with one when the tree has answered, and either knows
 * from the end of the stream that the other has gone. Faults the daemon prints itself, and its exit
 * status becomes the reporter's.
 *
 * In the daemon the main thread runs the session; a supervisor thread takes the signals (all other
 * threads block them) and the reporter's word. d->lock guards `phase` alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/daemon.h"
#include "mount/session.h"
#include "mount/state.h"

#define STOP_AGAIN_MS 10

enum phase {
	PHASE_START, /* nothing to undo but what ends with the process */
	PHASE_SERVE, /* the session must be stopped */
};

struct daemon {
	const struct pfs_daemon_config *config;
	struct pfs_fs *fs;
	struct pfs_session *session;
	struct pfs_state *state;
	pid_t reporter; /* -f: our child; else 0 */
	int report;	/* the socket to the reporter; -1 after it has spoken */
	int signals;	/* signalfd */
	int quit;	/* eventfd: the supervisor ends */
	pthread_t supervisor;
	bool supervised;
	_Atomic bool refused; /* the reporter found that the tree does not answer */

	pthread_mutex_t lock;
	enum phase phase;
};

/* ---- the reporter --------------------------------------------------------------------------- */

/* 0 or -errno. A store that cannot say how full it is still answers. */
static int tree_answers(const char *mountpoint)
{
	struct statvfs vfs;
	struct stat st;

	if (stat(mountpoint, &st))
		return -errno;
	if (statvfs(mountpoint, &vfs) && (errno == ENOTCONN || errno == ECONNABORTED))
		return -errno;
	return 0;
}

/* Can others' data be written here? As the store's health has it now that it was looked at. */
static void print_access(const char *mountpoint, const struct pfs_store_config *store)
{
	char path[PATH_MAX], line[512] = "", why[512] = "and can be written to";
	FILE *f;

	snprintf(path, sizeof(path), "%s/.persistfs/stores/%s/health", mountpoint, store->name);
	f = store->read_only ? NULL : fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "read-only: ", 11) == 0 || strncmp(line, "unhealthy: ", 11) == 0)
			snprintf(why, sizeof(why), "%s", line);
	}
	if (f)
		fclose(f);
	printf("%s\n", store->read_only ? "read-only" : why);
}

static void print_mounted(const struct pfs_daemon_config *c)
{
	const struct pfs_fs_config *fs = &c->config->fs;
	size_t i;

	printf("mounted ");
	for (i = 0; i < fs->nstores && i < 8; i++)
		printf("%s%s/", i ? ", " : "", fs->stores[i].name);
	if (i < fs->nstores)
		printf(" and %zu more", fs->nstores - i);
	printf(" at %s (configuration: %s)\n", c->mountpoint, c->config->source);
	for (i = 0; i < fs->nstores; i++) {
		if (!fs->stores[i].backend->host)
			continue;
		printf("  %s/ is another application's data on '%s', ", fs->stores[i].name,
		       fs->stores[i].backend_name);
		print_access(c->mountpoint, &fs->stores[i]);
	}
	fflush(stdout);
}

/* Returns 0 when the tree answers and the daemon knows, -errno when not. */
static int report(const struct pfs_daemon_config *c, int sock)
{
	char byte = 'y';
	int err;

	/* The end of the stream: the daemon has gone, and has said why. */
	if (read(sock, &byte, 1) != 1)
		return -EPIPE;
	err = tree_answers(c->mountpoint);
	if (err) {
		fprintf(stderr, "persistfs: %s was mounted but does not answer: %s\n",
			c->mountpoint, strerror(-err));
		return err;
	}
	if (send(sock, "y", 1, MSG_NOSIGNAL) != 1)
		return -EPIPE;
	print_mounted(c);
	return 0;
}

/* The exit status of a daemon that ended before the tree answered. */
static int daemon_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return 1;
	}
	if (WIFEXITED(status))
		return WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
	fprintf(stderr,
		"persistfs: the daemon was ended by signal %d (%s) before the tree answered\n",
		WTERMSIG(status), strsignal(WTERMSIG(status)));
	return 1;
}

/* ---- signals and the reporter's word -------------------------------------------------------- */

static void stdio_to_null(bool keep_stderr)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	dup2(fd, 0);
	dup2(fd, 1);
	if (!keep_stderr)
		dup2(fd, 2);
	close(fd);
}

/* Returns whether the session is to be stopped. */
static bool supervise_report(struct daemon *d)
{
	bool yes;
	char byte;

	yes = read(d->report, &byte, 1) == 1 && byte == 'y';
	close(d->report);
	d->report = -1;
	if (d->reporter > 0)
		waitpid(d->reporter, NULL, 0);
	if (!yes) {
		atomic_store(&d->refused, true);
		pfs_log(PFS_LOG_ERROR, "%s: given up, since the mount was not confirmed",
			d->config->mountpoint);
		return true;
	}
	pfs_log(PFS_LOG_INFO, "%s: mounted (configuration: %s)", d->config->mountpoint,
		d->config->config->source);
	if (!d->config->foreground)
		stdio_to_null(strcmp(d->config->config->log, "stderr") == 0);
	return false;
}

/* Returns whether the session is to be stopped. */
static bool supervise_signal(struct daemon *d)
{
	struct signalfd_siginfo info;
	const char *mountpoint = d->config->mountpoint;

	if (read(d->signals, &info, sizeof(info)) != sizeof(info))
		return false;
	if (info.ssi_signo == SIGHUP) {
		pfs_log(PFS_LOG_INFO,
			"%s: SIGHUP is ignored: mount again to read the configuration", mountpoint);
		return false;
	}
	pfs_log(PFS_LOG_INFO, "%s: %s: writing everything out and unmounting", mountpoint,
		strsignal((int)info.ssi_signo));
	return true;
}

static void *supervise(void *arg)
{
	struct daemon *d = arg;
	bool stopping = false;

	for (;;) {
		struct pollfd p[] = {
			{.fd = d->quit, .events = POLLIN},
			{.fd = d->signals, .events = POLLIN},
			{.fd = d->report, .events = POLLIN},
		};

		if (poll(p, 3, stopping ? STOP_AGAIN_MS : -1) < 0)
			continue;
		if (p[0].revents)
			return NULL;
		if (p[1].revents)
			stopping |= supervise_signal(d);
		if (p[2].revents)
			stopping |= supervise_report(d);
		if (!stopping)
			continue;
		pthread_mutex_lock(&d->lock);
		if (d->phase == PHASE_START)
			_exit(1);
		pthread_mutex_unlock(&d->lock);
		pfs_session_stop(d->session);
	}
}

static int supervise_start(struct daemon *d)
{
	sigset_t set;
	int err;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	d->quit = eventfd(0, EFD_CLOEXEC);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC);
	if (d->quit < 0 || d->signals < 0)
		return -errno;
	err = -pthread_create(&d->supervisor, NULL, supervise, d);
	d->supervised = !err;
	return err;
}

static void supervise_end(struct daemon *d)
{
	if (d->supervised && !eventfd_write(d->quit, 1))
		pthread_join(d->supervisor, NULL);
	d->supervised = false;
}

/* ---- the daemon ----------------------------------------------------------------------------- */

/* Tell a fault; returns `status`. */
static int fault(int status, const char *text)
{
	fprintf(stderr, "persistfs: %s\n", text);
	return status;
}

static int make_fs(struct daemon *d)
{
	const struct pfs_config *c = d->config->config;
	struct pfs_msg msg = {{0}};
	const char *log = c->log;
	int err;

	if (d->config->foreground && !c->log_given)
		log = "stderr";
	err = pfs_log_open(log, c->log_json, &msg);
	if (err)
		return fault(1, msg.text);
	err = pfs_fs_new(&c->fs, &d->fs, &msg);
	return err ? fault(1, msg.text[0] ? msg.text : strerror(-err)) : 0;
}

/* After make_session(): the threads of fs/ find the kernel's side there. */
static int start_fs(struct daemon *d)
{
	size_t failed = SIZE_MAX;
	struct pfs_msg msg = {{0}};
	int err;

	err = pfs_fs_start(d->fs, &failed, &msg);
	if (err)
		return fault(failed == SIZE_MAX ? 1 : PFS_EXIT_UNAVAILABLE,
			     msg.text[0] ? msg.text : strerror(-err));
	return 0;
}

static int make_session(struct daemon *d)
{
	const struct pfs_fuse_options *o = d->config->options;
	struct pfs_session_config sc = {
		.source = d->config->config->source,
		.options = o->pass.len ? o->pass.data : NULL,
		.max_threads = o->max_threads,
		.nbackends = d->config->config->fs.nbackends,
	};
	struct pfs_msg msg = {{0}};
	int err;

	err = pfs_session_new(&sc, d->fs, &d->session, &msg);
	return err ? fault(1, msg.text[0] ? msg.text : strerror(-err)) : 0;
}

static int start_session(struct daemon *d)
{
	struct pfs_msg msg = {{0}};
	int err;

	pthread_mutex_lock(&d->lock);
	d->phase = PHASE_SERVE;
	pthread_mutex_unlock(&d->lock);
	err = pfs_session_mount(d->session, d->config->mountpoint, &msg);
	if (!err)
		err = pfs_state_new(d->config->mountpoint, d->config->config->source, &d->state,
				    &msg);
	if (err)
		return fault(1, msg.text[0] ? msg.text : strerror(-err));
	if (send(d->report, "m", 1, MSG_NOSIGNAL) != 1)
		return 1; /* the reporter was interrupted */
	return 0;
}

/* Commit what is left. Returns the exit status. */
static int drain(struct daemon *d)
{
	const char *mountpoint = d->config->mountpoint;
	struct pfs_msg msg = {{0}};
	int err;

	err = pfs_fs_drain(d->fs, &msg);
	if (err) {
		if (!msg.text[0])
			pfs_msg_set(&msg, "not everything could be written: %s", strerror(-err));
		pfs_log(PFS_LOG_ERROR, "%s: unmounted, but data was lost: %s", mountpoint,
			msg.text);
	} else {
		pfs_log(PFS_LOG_INFO, "%s: unmounted, everything is written", mountpoint);
	}
	pfs_state_finish(d->state, err ? msg.text : NULL);
	return err ? 1 : 0;
}

static int serve(struct daemon *d)
{
	int err, status;

	err = pfs_session_loop(d->session);
	if (err)
		pfs_log(PFS_LOG_ERROR, "%s: the session ended: %s", d->config->mountpoint,
			strerror(-err));
	pfs_session_unmount(d->session);
	status = drain(d);
	return err || atomic_load(&d->refused) ? 1 : status;
}

static int daemon_main(const struct pfs_daemon_config *c, int sock, pid_t reporter)
{
	struct daemon d = {
		.config = c, .report = sock, .reporter = reporter, .quit = -1, .signals = -1};
	int status;

	pthread_mutex_init(&d.lock, NULL);
	if (chdir("/"))
		fault(1, "cannot change to the root directory");
	status = supervise_start(&d) ? fault(1, "cannot start a thread") : 0;
	if (!status)
		status = make_fs(&d);
	if (!status)
		status = make_session(&d);
	if (!status)
		status = start_fs(&d);
	if (!status)
		status = start_session(&d);
	if (!status)
		status = serve(&d);
	supervise_end(&d);
	if (d.session) {
		pfs_session_unmount(d.session);
		pfs_session_close_files(d.session);
	}
	pfs_fs_free(d.fs);
	pfs_session_free(d.session);
	pfs_config_free(c->config);
	pfs_log_close();
	pfs_state_remove(d.state);
	pthread_mutex_destroy(&d.lock);
	return status;
}

/* ---- both ----------------------------------------------------------------------------------- */

/* -f: we are the daemon, our child reports. */
static int run_foreground(const struct pfs_daemon_config *c, int sock[2])
{
	pid_t pid = fork();

	if (pid < 0)
		return fault(1, strerror(errno));
	if (pid == 0) {
		close(sock[0]);
		_exit(report(c, sock[1]) ? 1 : 0);
	}
	close(sock[1]);
	return daemon_main(c, sock[0], pid);
}

static int run_background(const struct pfs_daemon_config *c, int sock[2])
{
	pid_t pid = fork();
	int status = 0;

	if (pid < 0)
		return fault(1, strerror(errno));
	if (pid == 0) {
		close(sock[1]);
		setsid();
		exit(daemon_main(c, sock[0], 0));
	}
	close(sock[0]);
	if (report(c, sock[1])) {
		close(sock[1]);
		status = daemon_status(pid);
	}
	pfs_config_free(c->config);
	return status;
}

int pfs_daemon_run(const struct pfs_daemon_config *config)
{
	int sock[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock)) {
		pfs_config_free(config->config);
		return fault(1, strerror(errno));
	}
	fflush(NULL);
	return config->foreground ? run_foreground(config, sock) : run_background(config, sock);
}
