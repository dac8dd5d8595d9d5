/* SPDX-License-Identifier: MIT */
/*
 * cmd_plan.c - for the operator: what novajob would do for a job, with that
 * job's environment: every setting with its source, every command with its
 * arguments. Nothing is run, nothing is written.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "building.h"
#include "clock.h"
#include "cmd.h"
#include "floating.h"
#include "json.h"
#include "keys.h"
#include "names.h"
#include "pool.h"
#include "ssh.h"
#include "ssh_share.h"
#include "xalloc.h"

struct plan_opts {
	bool json;
};

static const struct opt opts[] = {
	{ "json", 0, OPT_FLAG, offsetof(struct plan_opts, json), NULL, "print a JSON object" },
	{ 0 },
};

/* What is not known before it is done stands so in the commands. */
#define IMAGE_ID   "<id of the image>"
#define SERVER_ID  "<id of the server>"
#define ADDRESS    "<address of the server>"
#define FLOATING_ID "<id of the floating address>"
#define FLOATING   "<floating address>"

struct plan {
	const struct settings *st;
	const struct job *job;
	const char *settings_file; /* --settings, or NULL */
	json_t *stages; /* [{"stage", "commands": [[…]]}] */
	json_t *now;    /* the commands of the last one; borrowed */
};

static void
stage(struct plan *p, const char *name)
{
	p->now = json_array();
	(void)json_array_append_new(p->stages, json_pack("{s:s, s:o}", "stage", name, "commands", p->now)); /* OOM only */
}

/* One command: the program, or NULL where argv has it, and its words. */
static void
command(struct plan *p, const char *program, const struct strv *argv)
{
	json_t *words = json_array();

	if (program != NULL)
		(void)json_array_append_new(words, json_string(program)); /* out of memory only, as below */
	for (size_t i = 0; i < argv->len; i++)
		(void)json_array_append_new(words, json_string(argv->v[i]));
	(void)json_array_append_new(p->now, words);
}

static void
plan_create(struct plan *p, const struct state *state)
{
	auto_strv struct strv image = STRV_INIT;
	struct building b = { .st = p->st, .job = p->job, .try = "<try>" };
	struct building_wish w;

	if (!os_is_id(p->st->image)) {
		os_image_words(p->st->image, &image);
		command(p, p->st->openstack, &image);
	}
	b.image_id = xstrdup(os_is_id(p->st->image) ? p->st->image : IMAGE_ID);
	b.user_data = keys_user_data(p->st, state);
	b.record.expires = job_expires(p->job, p->st->max_life);
	choices_init(&b.choices, p->st);
	do {
		auto_strv struct strv words = STRV_INIT;

		building_wish(&b, &w);
		os_create_words(&w.wish, &words);
		command(p, p->st->openstack, &words);
		building_wish_free(&w);
	} while (choices_next(&b.choices)); /* each that may come */
	choices_free(&b.choices);
	free(b.image_id);
	free(b.user_data);
}

static void
plan_look(struct plan *p, const char *regex)
{
	auto_strv struct strv words = STRV_INIT;

	os_list_words(regex, &words);
	command(p, p->st->openstack, &words);
}

static void
plan_show(struct plan *p, const char *kind, const struct strv *names)
{
	for (size_t i = 0; i < names->len; i++) {
		auto_strv struct strv words = STRV_INIT;

		if (!names_is_name(names->v[i]))
			continue;
		os_show_words(kind, names->v[i], &words);
		command(p, p->st->openstack, &words);
	}
}

/* Ids that are asked for while a server is built, to be remembered: of every choice that may come. */
static void
plan_names(struct plan *p)
{
	auto_strv struct strv networks = STRV_INIT, groups = STRV_INIT;
	struct choices c;

	if (!p->st->openstack_session || p->st->name_cache < 1000) /* as building.c and names.c have it */
		return;
	choices_init(&c, p->st);
	for (size_t i = 0; i < c.networks.len; i++)
		choices_split_networks(c.networks.v[i], &networks);
	strv_split(&groups, p->st->security_group == NULL ? "" : p->st->security_group);
	plan_show(p, "flavor", &c.flavors);
	plan_show(p, "network", &networks);
	plan_show(p, "security group", &groups);
	choices_free(&c);
}

/* What comes between the first login and the job, where it is set. */
static void
plan_ready(struct plan *p, const struct ssh_target *t, const struct ssh_stage *words)
{
	auto_strv struct strv script = STRV_INIT, ask = STRV_INIT, here = STRV_INIT, upload = STRV_INIT;

	ssh_stage_argv(&script, t, words, 0);
	if (p->st->ready_command != NULL)
		command(p, NULL, &script);
	if (p->st->runner_binary != NULL) {
		ssh_login_argv(&ask, t, words->nonce, true);
		command(p, NULL, &ask);
		strv_add(&here, "--version");
		command(p, p->st->runner_binary, &here);
		ssh_upload_argv(&upload, t, words->nonce, 0);
		command(p, NULL, &upload);
	}
	if (p->st->prepare_script != NULL)
		command(p, NULL, &script);
}

static void
plan_addresses(struct plan *p)
{
	auto_strv struct strv words = STRV_INIT;

	os_floating_list_words(&words);
	command(p, p->st->openstack, &words);
}

static void
plan_allocate(struct plan *p)
{
	auto_free char *description = floating_description(p->st->owner, p->job->key, "<try>",
	    job_expires(p->job, p->st->max_life));
	auto_strv struct strv create = STRV_INIT, attach = STRV_INIT;

	os_floating_create_words(p->st->floating_network, description, &create);
	command(p, p->st->openstack, &create);
	os_floating_attach_words(SERVER_ID, FLOATING, &attach);
	command(p, p->st->openstack, &attach);
	plan_addresses(p);
}

static void
plan_cleanup(struct plan *p)
{
	auto_free char *mine = xasprintf("-job-%" PRId64 "$", p->job->id);
	auto_strv struct strv delete = STRV_INIT, release = STRV_INIT;

	stage(p, "cleanup");
	if (strcmp(p->st->delete_by, "timer") == 0) /* sweep's work */
		return;
	plan_look(p, mine);
	os_delete_words(SERVER_ID, &delete);
	command(p, p->st->openstack, &delete);
	if (p->st->floating_network == NULL)
		return;
	plan_addresses(p);
	os_floating_delete_words(FLOATING_ID, &release);
	command(p, p->st->openstack, &release);
}

/* The connection that the stages share, if they do, and the first words over it. */
static void
plan_login(struct plan *p, const struct ssh_target *t, const struct ssh_stage *words)
{
	auto_strv struct strv master = STRV_INIT, login = STRV_INIT;

	if (t->control != NULL) {
		ssh_master_argv(&master, t);
		command(p, NULL, &master);
	}
	ssh_login_argv(&login, t, words->nonce, false);
	command(p, NULL, &login);
}

/* In place of all that comes before the run stages, where the pool has a server for the job. */
static void
plan_warm(struct plan *p, const struct ssh_target *t, const struct ssh_stage *words)
{
	auto_pool_members struct pool_members all = POOL_MEMBERS_INIT;
	auto_strv struct strv fill = STRV_INIT;

	pool_members_read(&all, p->st->state_dir);
	if (!t->pinned || p->st->floating_network != NULL || (p->st->pool == 0 && all.len == 0))
		return;
	stage(p, "prepare, with a server of the warm pool");
	plan_login(p, t, words);
	pool_fill_words("novajob", p->st, p->settings_file, &fill);
	command(p, NULL, &fill);
}

static void
plan_stages(struct plan *p, const struct state *state)
{
	auto_free char *identity = keys_identity(p->st, state);
	auto_free char *known_hosts = keys_known_hosts(state);
	auto_free char *exact = xasprintf("^%s$", p->job->server_name);
	struct ssh_target t = { .settings = p->st, .identity = identity, .known_hosts = known_hosts, .address = ADDRESS,
		.alias = p->job->key, .pinned = settings_keys_per_job(p->st), .first = true };
	auto_free char *control = p->st->ssh_share ? share_path(state, "<try>") : NULL;
	auto_strv struct strv run = STRV_INIT;
	struct ssh_stage words = { .nonce = "<nonce>", .tag = "<tag>" };

	t.control = control;
	plan_warm(p, &t, &words);
	stage(p, "prepare");
	for (int host = 0; t.pinned && host < 2; host++) {
		auto_strv struct strv keygen = STRV_INIT;

		keys_keygen_words(p->st, state, host == 1, &keygen);
		command(p, NULL, &keygen);
	}
	plan_create(p, state);
	plan_look(p, exact);
	plan_names(p);
	if (p->st->floating_network != NULL)
		plan_allocate(p);
	plan_login(p, &t, &words);
	t.first = false;
	plan_ready(p, &t, &words);
	stage(p, "run");
	ssh_stage_argv(&run, &t, &words, 0);
	command(p, NULL, &run);
	plan_cleanup(p);
}

static json_t *
settings_object(const struct settings *s)
{
	json_t *o = json_object();

	for (int i = 0; i < SETTINGS_COUNT; i++) {
		auto_free char *value = settings_shown(s, i);
		json_t *entry = json_pack("{s:o}", "value", value[0] == '\0' ? json_null() : json_string(value));

		json_put(entry, "from", settings_where(s, i));
		(void)json_object_set_new(o, setting_infos[i].name, entry); /* out of memory only */
	}
	return o;
}

static void
print_json(const struct plan *p)
{
	json_auto_t *root = json_pack("{s:{s:s, s:s, s:s, s:b, s:s}, s:o, s:O}", "job", "key", p->job->key, "project",
	    p->job->project, "ref", p->job->ref, "protected", p->job->is_protected, "server", p->job->server_name, "settings",
	    settings_object(p->st), "stages", p->stages);
	auto_free char *text = json_text(root);

	(void)puts(text); /* main looks at ferror(stdout) */
}

/* One command as a line that a shell would take; what runs in the server is shortened to its first words. */
static void
print_command(const json_t *words)
{
	auto_strv struct strv argv = STRV_INIT;
	auto_free char *line = NULL;
	const json_t *word;
	size_t i;

	json_array_foreach(words, i, word)
		if (strncmp(json_string_value(word), "exec /bin/sh -c ", 16) == 0)
			strv_add(&argv, "<what runs in the server>");
		else
			strv_add(&argv, json_string_value(word));
	line = strv_quoted(&argv);
	(void)printf("  %s\n", line); /* as above */
}

static void
print_text(const struct plan *p)
{
	const json_t *entry, *words;
	size_t i, n;

	(void)printf("job %s, project %s, %s ref %s\n\nsettings:\n", p->job->key, p->job->project,
	    p->job->is_protected ? "protected" : "unprotected", p->job->ref); /* main looks at ferror(stdout), as below */
	for (int s = 0; s < SETTINGS_COUNT; s++) {
		auto_free char *value = settings_shown(p->st, s);

		if (value[0] != '\0')
			(void)printf("  %s = %s  (%s)\n", setting_infos[s].name, value, settings_where(p->st, s));
	}
	json_array_foreach(p->stages, i, entry) {
		(void)printf("\n%s:\n", json_str(entry, "stage"));
		json_array_foreach(json_object_get(entry, "commands"), n, words)
			print_command(words);
		if (n == 0)
			(void)printf("  nothing: sweep's timer deletes the server (delete-by)\n");
	}
}

static bool
plan(struct context *c, struct fault *f)
{
	const struct plan_opts *o = c->opts;
	json_auto_t *stages = json_array();
	struct plan p = { .st = &c->settings, .job = &c->job, .settings_file = c->settings_file, .stages = stages };
	auto_free char *dir = NULL;
	struct state state = STATE_INIT; /* only its paths: nothing is opened */

	if (!c->job.known)
		return fault_set(f, FAULT_LOCAL, "JOB_RESPONSE_FILE is empty: there is no job to plan for");
	if (!settings_complete(&c->settings, f) || !keys_check_user_data(&c->settings, f))
		return false;
	dir = xasprintf("%s/jobs/%s", c->settings.state_dir, c->job.key);
	state.dir = c->settings.state_dir;
	state.job = dir;
	plan_stages(&p, &state);
	(o->json ? print_json : print_text)(&p);
	return true;
}

const struct cmd cmd_plan = {
	.name = "plan",
	.args = "[--json]",
	.help = "show what would be done for the job of this environment; run nothing",
	.details = "With the environment of a stage (JOB_RESPONSE_FILE, the job's variables): every\n"
	           "setting as it holds for that job, and every command that its stages would run.\n"
	           "Runs nothing and writes nothing. What it refuses, config would refuse.\n",
	.exits = "  1   the job asks for what is not allowed\n",
	.example = "plan",
	.see = "novajob.conf(5), WHAT A JOB MAY CHOOSE",
	.min_args = 0,
	.max_args = 0,
	.flags = CMD_SETTINGS | CMD_JOB_VARS | CMD_JOB | CMD_FRESH,
	.opts = opts,
	.opts_size = sizeof(struct plan_opts),
	.run = plan,
};
