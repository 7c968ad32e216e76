/*
 * One list of cases over every engine. `test_contract [PATTERN]` runs those whose name, which is
 * "engine: sentence", matches the pattern ("sqlite:*", "*rename*").
 */
#include "tests/contract/lib_contract.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct contract_case *const lists[] = {
	contract_tree_cases,  contract_rename_cases, contract_content_cases, contract_batch_cases,
	contract_list_cases,  contract_lock_cases,   contract_many_cases,    contract_fault_cases,
	contract_model_cases, contract_expiry_cases,
};

#define MAX_TESTS 1000

static struct CMUnitTest tests[MAX_TESTS];
static size_t ntests;

static void add_case(const struct contract_engine *e, const struct contract_case *cs)
{
	char *name = NULL;

	if (ntests == MAX_TESTS || asprintf(&name, "%s: %s", e->name, cs->name) < 0) {
		fprintf(stderr, "too many cases\n");
		exit(1);
	}
	tests[ntests++] = (struct CMUnitTest){
		.name = name,
		.test_func = cs->fn,
		.setup_func = contract_setup,
		.teardown_func = contract_teardown,
		.initial_state = (void *)e,
	};
}

/* Is there a server for the engine? Without one its cases are left out, but never in CI. */
static bool there(const struct contract_engine *e)
{
	const char *ci = getenv("CI");

	if (getenv(e->server))
		return true;
	fprintf(stderr, "%s: NOT TESTED: %s says of no server (scripts/with-services has one)\n",
		e->name, e->server);
	if (ci && strcmp(ci, "true") == 0)
		exit(1);
	return false;
}

int main(int argc, char **argv)
{
	const struct contract_engine *e;
	const struct contract_case *cs;
	size_t i;
	int failed;

	for (e = contract_engines; e->name; e++) {
		const struct pfs_engine *engine = pfs_engine_find(e->name);
		uint32_t offers = engine ? engine->capabilities : UINT32_MAX;

		if (e->shared)
			offers |= NEEDS_SHARED;
		if (e->server && !there(e))
			continue;
		for (i = 0; i < PFS_ARRAY_SIZE(lists); i++) {
			for (cs = lists[i]; cs->name; cs++) {
				if ((cs->needs & ~offers) == 0)
					add_case(e, cs);
			}
		}
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	failed = _cmocka_run_group_tests("contract", tests, ntests, NULL, NULL);
	for (i = 0; i < ntests; i++)
		free((char *)tests[i].name);
	return failed;
}
