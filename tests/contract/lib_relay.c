/* See lib_relay.h. A thread accepts, and each connection has one of its own. */
#include "tests/contract/lib_relay.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/contract/lib_contract.h"

#define CONNECTIONS 64

struct relay {
	char server[108];
	int listener, stop[2];
	pthread_t acceptor;
	pthread_mutex_t lock; /* guards what follows */
	const char *word;
	bool arrives;
	unsigned cuts;
	pthread_t threads[CONNECTIONS];
	size_t nthreads;
};

struct connection {
	struct relay *r;
	int client;
};

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	assert_true(strlen(path) < sizeof(a.sun_path));
	strcpy(a.sun_path, path);
	return a;
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = address_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool send_all(int fd, const char *p, size_t n)
{
	ssize_t done;

	for (; n; n -= (size_t)done, p += done) {
		done = send(fd, p, n, MSG_NOSIGNAL);
		if (done <= 0)
			return false;
	}
	return true;
}

/* Is this the moment? *arrives then says how. */
static bool cuts_at(struct relay *r, const char *p, size_t n, bool *arrives)
{
	bool is;

	pthread_mutex_lock(&r->lock);
	is = r->word && memmem(p, n, r->word, strlen(r->word));
	*arrives = r->arrives;
	if (is) {
		r->word = NULL;
		r->cuts++;
	}
	pthread_mutex_unlock(&r->lock);
	return is;
}

/* Pass on what one side has; false: the connection ends. */
static bool pass(struct relay *r, int from, int to, bool from_client)
{
	char buf[65536];
	ssize_t n = recv(from, buf, sizeof(buf), 0);
	bool arrives;

	if (n <= 0)
		return false;
	if (!from_client || !cuts_at(r, buf, (size_t)n, &arrives))
		return send_all(to, buf, (size_t)n);
	/* An answer says that it was done. */
	if (arrives && send_all(to, buf, (size_t)n))
		(void)recv(to, buf, 1, 0);
	return false;
}

static void *connection_main(void *arg)
{
	struct connection *c = arg;
	struct relay *r = c->r;
	int server = connect_to(r->server), client = c->client;
	struct pollfd fds[3] = {{client, POLLIN, 0}, {server, POLLIN, 0}, {r->stop[0], POLLIN, 0}};
	bool on = server >= 0;

	free(c);
	while (on && poll(fds, 3, -1) > 0 && !fds[2].revents) {
		if (fds[0].revents)
			on = pass(r, client, server, true);
		if (on && fds[1].revents)
			on = pass(r, server, client, false);
	}
	close(client);
	if (server >= 0)
		close(server);
	return NULL;
}

static void *accept_main(void *arg)
{
	struct relay *r = arg;
	struct pollfd fds[2] = {{r->listener, POLLIN, 0}, {r->stop[0], POLLIN, 0}};
	struct connection *c;

	while (poll(fds, 2, -1) > 0 && !fds[1].revents) {
		c = calloc(1, sizeof(*c));
		c->r = r;
		c->client = accept(r->listener, NULL, NULL);
		if (c->client < 0 || r->nthreads == CONNECTIONS ||
		    pthread_create(&r->threads[r->nthreads++], NULL, connection_main, c) != 0)
			abort();
	}
	return NULL;
}

struct relay *relay_new(const char *path, const char *server)
{
	struct relay *r = calloc(1, sizeof(*r));
	struct sockaddr_un a = address_of(path);

	assert_non_null(r);
	(void)address_of(server);
	strcpy(r->server, server);
	pthread_mutex_init(&r->lock, NULL);
	unlink(path);
	r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(r->listener >= 0);
	assert_int_equal(bind(r->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(r->listener, CONNECTIONS), 0);
	assert_int_equal(pipe(r->stop), 0);
	assert_int_equal(pthread_create(&r->acceptor, NULL, accept_main, r), 0);
	return r;
}

void relay_free(struct relay *r)
{
	size_t i;

	assert_int_equal(write(r->stop[1], "", 1), 1);
	pthread_join(r->acceptor, NULL);
	for (i = 0; i < r->nthreads; i++)
		pthread_join(r->threads[i], NULL);
	close(r->listener);
	close(r->stop[0]);
	close(r->stop[1]);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void relay_cut(struct relay *r, const char *word, bool arrives)
{
	pthread_mutex_lock(&r->lock);
	r->word = word;
	r->arrives = arrives;
	r->cuts = 0;
	pthread_mutex_unlock(&r->lock);
}

unsigned relay_cuts(struct relay *r)
{
	unsigned n;

	pthread_mutex_lock(&r->lock);
	n = r->cuts;
	pthread_mutex_unlock(&r->lock);
	return n;
}
