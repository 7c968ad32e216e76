/* The scripts of the Redis engine, NUL-terminated: the .lua files beside this. */
#ifndef PFS_BACKENDS_REDIS_SCRIPTS_H
#define PFS_BACKENDS_REDIS_SCRIPTS_H

extern const char redis_script_read[];
extern const char redis_script_look[];
extern const char redis_script_commit[];
extern const char redis_script_create[];
extern const char redis_script_change[];
extern const char redis_script_rename[];
extern const char redis_script_session[];
extern const char redis_script_check[];

#endif
