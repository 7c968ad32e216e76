/*
 * The scripts, as files of this folder, which the assembler takes in. Most are lib.lua, notes.lua and
 * some others, in this order.
 */
#include "backends/redis/scripts.h"

/* NOLINTBEGIN(bugprone-macro-parentheses): names of symbols and texts for the assembler */
#define PART(name) ".incbin \"backends/redis/" name ".lua\"\n"
#define SCRIPT(symbol, parts)                                                                      \
	__asm__(".pushsection .rodata\n.global " #symbol "\n" #symbol ":\n" parts                  \
		".byte 0\n.popsection\n")
/* NOLINTEND(bugprone-macro-parentheses) */

#define COMMON PART("lib") PART("notes")

SCRIPT(redis_script_read, COMMON PART("read"));
SCRIPT(redis_script_look, PART("look"));
SCRIPT(redis_script_commit,
       COMMON PART("batch") PART("commit") PART("content") PART("ops") PART("flush"));
SCRIPT(redis_script_create, PART("create"));
SCRIPT(redis_script_change, PART("change"));
SCRIPT(redis_script_rename, PART("rename"));
SCRIPT(redis_script_session, COMMON PART("session"));
SCRIPT(redis_script_check, COMMON PART("check"));
