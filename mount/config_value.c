/*
 * From the text behind a `=` to a value: ${env.NAME}, `~`, passwords in files, and the option table.
 * No text that may be a secret gets into a message: the value of a secret option and what came out
 * of the environment are never quoted.
 */
#include "mount/config_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_FILE_MAX 4096
#define LIST_MAX	24   /* names in "available:" */
#define NEAR_MAX	1000 /* more names than that are not compared */

/* A value after substitution. */
struct expanded {
	struct pfs_buf text;
	struct pfs_buf written; /* without what came from the environment */
	bool env;		/* something did */
};

static void expanded_add(struct expanded *e, const char *p, size_t n)
{
	pfs_buf_add(&e->text, p, n);
	pfs_buf_add(&e->written, p, n);
}

/* ---- paths ----------------------------------------------------------------------------------- */

int pfs_config_home(char **out, struct pfs_msg *msg)
{
	const char *home = getenv("HOME");
	struct passwd pw, *found = NULL;
	char buf[16384];

	if (!home || *home != '/') {
		home = NULL;
		if (!getpwuid_r(getuid(), &pw, buf, sizeof(buf), &found) && found &&
		    found->pw_dir && *found->pw_dir == '/')
			home = found->pw_dir;
	}
	if (!home) {
		pfs_msg_set(
			msg,
			"the home directory is not known: $HOME is not set and user %u is not in "
			"the user database",
			(unsigned)getuid());
		return -EINVAL;
	}
	*out = strdup(home);
	return *out ? 0 : -ENOMEM;
}

int pfs_config_path(const char *text, const char *dir, char **out, struct pfs_msg *msg)
{
	struct pfs_buf buf = {0};
	char *home = NULL;
	int err = 0;

	if (*text == '~') {
		if (text[1] && text[1] != '/') {
			pfs_msg_set(msg,
				    "of ~ only '~/...' is understood; write the directory out");
			return -EINVAL;
		}
		err = pfs_config_home(&home, msg);
		if (err)
			return err;
		pfs_buf_str(&buf, home);
		pfs_buf_str(&buf, text + 1);
	} else if (*text == '/') {
		pfs_buf_str(&buf, text);
	} else {
		pfs_buf_printf(&buf, "%s/%s", strcmp(dir, "/") ? dir : "", text);
	}
	free(home);
	if (buf.failed) {
		pfs_buf_release(&buf);
		return -ENOMEM;
	}
	*out = buf.data;
	return 0;
}

/* ---- ${env.NAME} ----------------------------------------------------------------------------- */

static bool env_name_valid(const char *name, size_t len)
{
	size_t i;

	if (!len || isdigit((unsigned char)*name))
		return false;
	for (i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && name[i] != '_')
			return false;
	}
	return true;
}

static bool has_control(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	}
	return false;
}

/* expr: what stands between ${ and }. */
static int expand_one(const char *expr, size_t len, struct expanded *out, struct pfs_msg *msg)
{
	char name[256];
	const char *def, *value;
	size_t nlen;

	def = memmem(expr, len, ":=", 2);
	nlen = (def ? (size_t)(def - expr) : len);
	if (nlen < 4 || memcmp(expr, "env.", 4) || nlen - 4 >= sizeof(name) ||
	    !env_name_valid(expr + 4, nlen - 4) || memmem(expr, len, "${", 2)) {
		pfs_msg_set(msg, "malformed ${...}; available: ${env.NAME}, ${env.NAME:=default}");
		return -EINVAL;
	}
	memcpy(name, expr + 4, nlen - 4);
	name[nlen - 4] = '\0';
	value = getenv(name);
	if (value && has_control(value)) {
		pfs_msg_set(msg, "the environment variable %s holds a control character", name);
		return -EINVAL;
	}
	if (def && (!value || !*value)) {
		expanded_add(out, def + 2, (size_t)(expr + len - def - 2));
		return 0;
	}
	if (!value) {
		pfs_msg_set(msg,
			    "the environment variable %s is not set; set it or write "
			    "${env.%s:=default}",
			    name, name);
		return -EINVAL;
	}
	out->env = true;
	pfs_buf_str(&out->text, value);
	return 0;
}

static int expand(const char *raw, struct expanded *out, struct pfs_msg *msg)
{
	const char *start, *end;
	int err;

	pfs_buf_str(&out->text, "");
	pfs_buf_str(&out->written, "");
	while ((start = strstr(raw, "${"))) {
		expanded_add(out, raw, (size_t)(start - raw));
		end = strchr(start, '}');
		if (!end) {
			pfs_msg_set(msg, "malformed ${...}: the '}' is missing; available: "
					 "${env.NAME}, ${env.NAME:=default}");
			return -EINVAL;
		}
		err = expand_one(start + 2, (size_t)(end - start - 2), out, msg);
		if (err)
			return err;
		raw = end + 1;
	}
	expanded_add(out, raw, strlen(raw));
	return out->text.failed || out->written.failed ? -ENOMEM : 0;
}

/* ---- one value ------------------------------------------------------------------------------- */

static bool has_url_password(const char *text)
{
	struct pfs_buf masked = {0};
	bool found;

	pfs_redact_urls(&masked, text);
	found = masked.data && strcmp(masked.data, text) != 0;
	pfs_buf_release(&masked);
	return found;
}

static void note_secret(struct cfg *cfg, const struct pfs_option *opt,
			const struct pfs_ini_section *ini, const struct pfs_ini_key *key)
{
	if (cfg->secret.line && cfg->secret.line <= key->line)
		return;
	cfg->secret = (struct cfg_origin){key->line, ini->name};
	cfg->secret_key = opt->name;
}

/* Parse text as opt into the set. quote: the text may stand in a message. */
static int set_value(struct cfg_section *s, const struct pfs_option *opt, const char *text,
		     bool quote, struct pfs_msg *msg)
{
	struct pfs_option careful = *opt;
	struct pfs_option_value ignored;
	int err;

	if (!quote) {
		careful.secret = true;
		err = pfs_option_parse(&careful, text, &ignored, msg);
		if (err)
			return err;
	}
	return pfs_option_set_text(&s->set, opt->name, text, msg);
}

/* -EINVAL with msg, -ENOMEM. */
static int fill_key(struct cfg *cfg, struct cfg_section *s, const struct pfs_option *opt,
		    const struct pfs_ini_section *ini, const struct pfs_ini_key *key,
		    struct pfs_msg *msg)
{
	struct expanded value = {0};
	char *path = NULL;
	int err;

	if (key->literal)
		return set_value(s, opt, key->value, true, msg);
	err = expand(key->value, &value, msg);
	if (err)
		goto out;
	if (opt->secret ? value.written.len > 0 : has_url_password(value.written.data))
		note_secret(cfg, opt, ini, key);
	if (opt->type == PFS_OPT_PATH && *value.text.data) {
		err = pfs_config_path(value.text.data, cfg->dir, &path, msg);
		if (err)
			goto out;
	}
	err = set_value(s, opt, path ? path : value.text.data, !value.env, msg);
out:
	free(path);
	pfs_buf_release(&value.text);
	pfs_buf_release(&value.written);
	return err;
}

/* ---- sections -------------------------------------------------------------------------------- */

static size_t table_length(const struct pfs_option *table)
{
	size_t n = 0;

	while (table[n].name)
		n++;
	return n;
}

void pfs_config_available(struct pfs_buf *out, const char *word, const char *const *names, size_t n)
{
	const char *near = word && n <= NEAR_MAX ? pfs_nearest(word, names, n) : NULL;
	size_t i;

	pfs_buf_str(out, "; available: ");
	for (i = 0; i < n && i < LIST_MAX; i++)
		pfs_buf_printf(out, "%s%s", i ? ", " : "", names[i]);
	if (i < n)
		pfs_buf_printf(out, ", ... (%zu in all)", n);
	if (!n)
		pfs_buf_str(out, "none");
	if (near)
		pfs_buf_printf(out, " — did you mean '%s'?", near);
}

static void unknown_key(struct cfg *cfg, const struct cfg_section *s, const char *title,
			const struct pfs_ini_key *key)
{
	const char *names[256];
	struct pfs_buf avail = {0};
	size_t n;

	for (n = 0; n < PFS_ARRAY_SIZE(names) && s->set.table[n].name; n++)
		names[n] = s->set.table[n].name;
	pfs_config_available(&avail, key->name, names, n);
	pfs_faults_at(cfg->faults, key->line, "[%s] %s: unknown key%s", title, key->name,
		      avail.failed ? "" : avail.data);
	pfs_buf_release(&avail);
}

int pfs_config_section_init(struct cfg_section *s, const struct pfs_ini_section *ini,
			    const struct pfs_option *table)
{
	const char *colon;

	s->title = ini ? ini->name : "";
	colon = strchr(s->title, ':');
	s->name = colon ? colon + 1 : "";
	s->line = ini ? ini->line : 0;
	s->origins = calloc(table_length(table) + 1, sizeof(*s->origins));
	if (!s->origins)
		return -ENOMEM;
	return pfs_option_set_init(&s->set, table);
}

void pfs_config_section_release(struct cfg_section *s)
{
	pfs_option_set_release(&s->set);
	free(s->origins);
	*s = (struct cfg_section){0};
}

int pfs_config_section_fill(struct cfg *cfg, struct cfg_section *s,
			    const struct pfs_ini_section *ini, bool all)
{
	const struct pfs_option *opt;
	const struct pfs_ini_key *key;
	struct pfs_msg msg;
	size_t i;
	int err;

	for (i = 0; ini && i < ini->nkeys; i++) {
		key = &ini->keys[i];
		opt = pfs_option_find(s->set.table, key->name);
		if (!opt) {
			if (all)
				unknown_key(cfg, s, ini->name, key);
			continue;
		}
		s->origins[opt - s->set.table] = (struct cfg_origin){key->line, ini->name};
		pfs_msg_clear(&msg);
		err = fill_key(cfg, s, opt, ini, key, &msg);
		if (err == -ENOMEM)
			return err;
		if (err)
			pfs_faults_at(cfg->faults, key->line, "[%s] %s: %s", ini->name, key->name,
				      msg.text);
	}
	return 0;
}

const struct pfs_option_value *pfs_config_get(const struct cfg_section *s, const char *name)
{
	return pfs_option_get(&s->set, name);
}

bool pfs_config_written(const struct cfg_section *s, const char *name)
{
	const struct pfs_option *opt = pfs_option_find(s->set.table, name);

	return opt && s->origins[opt - s->set.table].section;
}

struct cfg_origin pfs_config_origin(const struct cfg_section *s, const char *name)
{
	const struct pfs_option *opt = pfs_option_find(s->set.table, name);

	if (!pfs_config_written(s, name))
		return (struct cfg_origin){s->line, s->title};
	return s->origins[opt - s->set.table];
}

/* ---- passwords in files ---------------------------------------------------------------------- */

/* One line of a file that only its owner can read. *out owned. -EINVAL with msg, -ENOMEM. */
static int read_secret(const char *path, char **out, struct pfs_msg *msg)
{
	char buf[SECRET_FILE_MAX + 1];
	struct stat st;
	ssize_t n;
	int fd, err = -EINVAL;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st)) {
		pfs_msg_set(msg, "'%.300s' cannot be read: %s", path, strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		pfs_msg_set(msg, "'%.300s' is no regular file", path);
	} else if (st.st_mode & 077) {
		pfs_msg_set(msg, "others can read it (mode %04o); run: chmod 600 '%.300s'",
			    st.st_mode & 07777, path);
	} else if ((n = read(fd, buf, sizeof(buf))) < 0) {
		pfs_msg_set(msg, "'%.300s' cannot be read: %s", path, strerror(errno));
	} else {
		while (n && (buf[n - 1] == '\n' || buf[n - 1] == '\r'))
			n--;
		buf[n < SECRET_FILE_MAX ? n : SECRET_FILE_MAX] = '\0';
		if (!n || n > SECRET_FILE_MAX || strlen(buf) != (size_t)n || has_control(buf)) {
			pfs_msg_set(msg, "'%.300s' must hold one line of 1 to %d bytes", path,
				    SECRET_FILE_MAX);
		} else {
			*out = strdup(buf);
			err = *out ? 0 : -ENOMEM;
		}
		explicit_bzero(buf, sizeof(buf));
	}
	if (fd >= 0)
		close(fd);
	return err;
}

/* A secret option `X` may come from the file that `X_file` names. */
static int load_secret(struct cfg *cfg, struct cfg_section *s, const struct pfs_option *opt)
{
	const struct pfs_option *file_opt;
	struct cfg_origin origin;
	struct pfs_msg msg = {0};
	char name[128], *secret = NULL;
	const char *path;
	int err;

	snprintf(name, sizeof(name), "%s_file", opt->name);
	file_opt = pfs_option_find(s->set.table, name);
	if (!file_opt || file_opt->type != PFS_OPT_PATH)
		return 0;
	path = pfs_config_get(s, name)->str;
	if (!path)
		return 0;
	origin = pfs_config_origin(s, name);
	if (pfs_config_get(s, opt->name)->given) {
		pfs_faults_at(cfg->faults, origin.line,
			      "[%s] %s: %s is given too; keep one of them", origin.section, name,
			      opt->name);
		return 0;
	}
	err = read_secret(path, &secret, &msg);
	if (!err)
		err = set_value(s, opt, secret, false, &msg);
	if (err == -EINVAL) {
		pfs_faults_at(cfg->faults, origin.line, "[%s] %s: %s", origin.section, name,
			      msg.text);
		err = 0;
	}
	free(secret);
	return err;
}

/* The default of a path option is resolved as if it were written in the file. */
static int resolve_default(struct cfg *cfg, struct cfg_section *s, const struct pfs_option *opt)
{
	struct pfs_ini_section ini = {.name = (char *)s->title, .line = s->line};
	struct pfs_ini_key key = {.name = (char *)opt->name, .value = (char *)opt->def};
	struct pfs_msg msg = {0};
	int err;

	err = fill_key(cfg, s, opt, &ini, &key, &msg);
	if (err == -EINVAL) {
		pfs_faults_at(cfg->faults, s->line, "[%s] %s: %s", s->title, opt->name, msg.text);
		err = 0;
	}
	s->set.values[opt - s->set.table].given = false;
	return err;
}

int pfs_config_section_finish(struct cfg *cfg, struct cfg_section *s)
{
	const struct pfs_option *opt;
	struct cfg_origin *origin;
	int err = 0;

	for (opt = s->set.table; opt->name && !err; opt++) {
		origin = &s->origins[opt - s->set.table];
		if (opt->required && !origin->section)
			pfs_faults_at(cfg->faults, s->line, "[%s] %s: required (%s)", s->title,
				      opt->name, opt->help);
		if (opt->type == PFS_OPT_PATH && opt->def && !origin->section)
			err = resolve_default(cfg, s, opt);
		else if (opt->secret)
			err = load_secret(cfg, s, opt);
	}
	return err;
}
