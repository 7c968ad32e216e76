/*
 * The Redis engine's ground in the contract suite: each case has the database PERSISTFS_TEST_REDIS
 * (unix:///PATH) with a number of its own, emptied before and after.
 */
#ifndef PFS_TESTS_LIB_REDIS_H
#define PFS_TESTS_LIB_REDIS_H

#include <hiredis/hiredis.h>

#include "tests/contract/lib_contract.h"

#define RD_DATABASE 9

void rd_prepare(struct contract *c);
void rd_remove(struct contract *c);

/* A connection like redis-cli's, to the server of PERSISTFS_TEST_REDIS and this database. */
redisContext *rd_connect(int db);
/* A command, which must not fail; its reply is owned. */
redisReply *rd_command(redisContext *c, const char *format, ...);
/* The same, for its effect. */
void rd_do(redisContext *c, const char *format, ...);
/* A command that answers with a number, or with a text that is one. */
long long rd_number(redisContext *c, const char *format, ...);

#endif
