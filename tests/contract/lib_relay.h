/*
 * A relay between an engine and its server, over Unix sockets, that breaks a connection at a chosen moment:
 * a client then does not know whether the server did what it was told.
 */
#ifndef PFS_TESTS_LIB_RELAY_H
#define PFS_TESTS_LIB_RELAY_H

#include <stdbool.h>

struct relay;

/* Listens at `path` for connections to be relayed to `server`. Asserts. */
struct relay *relay_new(const char *path, const char *server);
void relay_free(struct relay *r); /* the connections break */
/*
 * The next time that a client sends what has `word` in it, its connection breaks: with `arrives` the server
 * gets it and answers, and that answer is lost; else nothing of it arrives. NULL: never.
 */
void relay_cut(struct relay *r, const char *word, bool arrives);
/* How often that has happened. */
unsigned relay_cuts(struct relay *r);

#endif
