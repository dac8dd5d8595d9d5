/* SPDX-License-Identifier: MIT */
/* ssh.c - ssh's arguments and what is run in the server; see ssh.h. */
#include "ssh.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "text.h"
#include "xalloc.h"

/*
 * What runs in the server. The texts go through the account's login shell, whatever that is: within single quotes, so
 * without ' \ ! and newline, all of bash, dash, busybox, fish and tcsh pass them on as they are. They use nothing that
 * busybox lacks. Words of ours follow as arguments: hex digits and numbers only.
 */

/*
 * The variable with the tag. sudo throws away what it does not know, but lets LC_* pass: so what root does for a script
 * can be found as well.
 */
#define TAG "LC_NOVAJOB_STAGE"

/* Where a gitlab-runner of the host's is put (runner-binary). The scripts find it before the image's own. */
#define BIN "$HOME/.novajob/bin"
#define ADD_TO_PATH "[ -d \"" BIN "\" ] && PATH=" BIN ":$PATH; "

/*
 * The stage's wrapper: $1 nonce, $2 tag, $3 bytes of script, $4 the next text. fd 3 is ssh's stderr, which the script never
 * gets. A TERM to the wrapper is told: init sends it to everybody when the server is shut down, whatever the script then
 * exits with.
 */
static const char stage_text[] =
    "N=novajob-$1; exec 3>&2 2>&1; trap \"echo $N term >&3\" TERM HUP; trap : INT; "
    "echo $N start $$ >&3; "
    "command -v bash >/dev/null || { echo $N nobash >&3; exit 1; }; " ADD_TO_PATH
    TAG "=$2 bash -c \"$4\" bash $N $3; "
    "s=$?; echo $N exit $s >&3; echo $N end";

/*
 * The shell that becomes the script's: $1 the first word of status lines, $2 bytes of script. All of it is read before
 * anything is run: a script cut off by a lost connection must not run its first half. $(<...) is the quickest way to do so
 * (HACKING.md has the times), but cannot open a socket, or another user's pipe: then read -N, which takes blocks as well,
 * where a shell that runs what comes on a pipe reads byte by byte. In the C locale bytes count as characters, and a text is
 * expanded in half the time where nothing splits it and no pattern is looked for. $novajob begins with what puts all that
 * back before the script's first command, from $3 and $4; $5 is how long it all is. What the account's own rc files have
 * made read-only stays (printf -v only fails then, an assignment would end the shell), and the text is quoted, and counted
 * by wc. Bash complains of NUL bytes, hence 2>/dev/null.
 */
static const char script_text[] =
    "novajob=\"${LC_ALL+printf -v LC_ALL %s \\$3 || :; }${IFS+printf -v IFS %s \\$4 || :; }\"; "
    "[ \"${LC_ALL+x}\" ] || novajob+=\"unset LC_ALL || :; \"; [ \"${IFS+x}\" ] || novajob+=\"unset IFS; \"; "
    "[[ $- = *f* ]] || novajob+=\"set +f; \"; novajob=\"{ $novajob} 2>/dev/null; set --; unset novajob; \"; "
    "set -- \"$1\" \"$2\" \"${LC_ALL-}\" \"${IFS-}\" \"$(($2 + ${#novajob}))\"; { printf -v LC_ALL C || :; } 2>/dev/null; "
    "{ novajob+=$(</dev/stdin); } 2>/dev/null || { read -r -N \"$2\" novajob_read; novajob+=$novajob_read; unset novajob_read; }; "
    "[ \"${#novajob}\" -ge \"$5\" ] || [ \"$(printf %s \"$novajob\" | wc -c)\" -ge \"$5\" ] || "
    "{ echo $1 short >&3; exit 1; }; exec 3>&- </dev/null; set -f; { printf -v IFS %s \"\" || :; } 2>/dev/null; "
    "if [ \"$IFS\" ]; then eval \"$novajob\"; else eval $novajob; fi";

/*
 * Ending a stage: $1 process id of its wrapper or 0, $2 tag, $3 grace in hundredths of a second. Its processes are those
 * of the wrapper's session (sshd makes one per command), those with the tag in their environment, and what descends from
 * them; the wrapper itself is left to report. $A keeps those that were found, since what has lost its parent could not be
 * found again. The grace is measured by the clock: one look at a full /proc may take longer than the pause between two.
 * What is not ours to signal or to read is root's, by sudo. Exit 0: none is left.
 */
static const char stop_text[] =
    "w=$1; T=" TAG "=$2; s=$w; A=; "
    "now() { read -r u l </proc/uptime; u=${u%.*}${u#*.}; }; now; g=$((u+$3)); "
    "stat() { l=; read -r l 2>/dev/null </proc/$1/stat || return 1; set -- ${l##*) }; up=$2; sid=$4; [ \"$1\" != Z ]; }; "
    "stat $w && s=$sid; "
    "pid_of() { while read -r l; do l=${l#/proc/}; echo ${l%/environ}; done; }; "
    "ours() { B=\" \"; "
    "for p in $A $(grep -ls $T /proc/[0-9]*/environ | pid_of); do B=\"$B$p \"; done; n=x; "
    "while [ $n ]; do n=; for d in /proc/[0-9]*; do p=${d#/proc/}; "
    "case $B in *\" $p \"*) continue;; esac; "
    "[ $p != $w ] && stat $p || continue; "
    "[ $w != 0 ] && [ \"$sid\" = \"$s\" ] || case $B in *\" $up \"*) ;; *) continue;; esac; "
    "B=\"$B$p \"; n=x; done; done; "
    "A=; for p in $B; do stat $p && A=\"$A $p\"; done; [ -n \"$A\" ]; }; "
    "root() { [ $(id -u) != 0 ] && command -v sudo >/dev/null && sudo -n \"$@\" 2>/dev/null; }; "
    "roots() { A=\"$A $(root grep -ls $T /proc/[0-9]*/environ | pid_of)\"; ours; "
    "o=; for p in $A; do kill -0 $p 2>/dev/null || o=\"$o $p\"; done; [ -n \"$o\" ] && root kill $1 $o; }; "
    "ours && { kill -TERM $A; kill -CONT $A; } 2>/dev/null; roots -TERM; "
    "while now; [ $u -lt $g ] && ours; do sleep 0.1 2>/dev/null || sleep 1; done; "
    "for i in 1 2; do ours && kill -KILL $A 2>/dev/null; roots -KILL; "
    "sleep 0.2 2>/dev/null || sleep 1; done; ours; [ -z \"$A\" ]";

/* The first login: $1 nonce, $2 whether to ask gitlab-runner for its version. */
static const char login_text[] =
    "command -v bash >/dev/null || { echo novajob-nobash-$1; exit; }; " ADD_TO_PATH
    "m=$(uname -m 2>/dev/null) || m=unknown; "
    "g=none; command -v git >/dev/null && g=git; "
    "r=none; command -v gitlab-runner >/dev/null && r=runner; "
    "echo novajob-ok-$1 $m $g $r; "
    "[ $2$r = 1runner ] || exit 0; "
    "v=$(gitlab-runner --version 2>/dev/null </dev/null | head -n 1); echo novajob-version-$1 $v";

/* A gitlab-runner from stdin: $1 nonce, $2 bytes. One that does not run there (a home without exec) is not kept. */
static const char upload_text[] =
    "d=" BIN "; f=$d/new-$1; "
    "mkdir -p \"$d\" && cat >\"$f\" && [ $(wc -c <\"$f\") -eq $2 ] && chmod 755 \"$f\" && "
    "\"$f\" --version >/dev/null </dev/null && mv -f \"$f\" \"$d/gitlab-runner\" && { echo novajob-ok-$1; exit 0; }; "
    "rm -f \"$f\"; rmdir \"$d\" 2>/dev/null; exit 1";

/*
 * With a key of keys.c's kind in known_hosts: that kind first, so that a server with several has to show this one. The others
 * are only there for ssh to say that it does not know them; without them it would say nothing (at LogLevel=ERROR).
 */
#define PINNED_ALGORITHMS                                                                                                 \
	"HostKeyAlgorithms=ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256"

/* Options that hold for every connection; ssh_config(5). Nobody's configuration, agent or terminal takes part. */
static const char *const fixed_options[] = {
	"BatchMode=yes",
	"IdentitiesOnly=yes",
	"IdentityAgent=none",
	"PreferredAuthentications=publickey",
	"PasswordAuthentication=no",
	"KbdInteractiveAuthentication=no",
	"ForwardAgent=no",
	"ForwardX11=no",
	"ClearAllForwardings=yes",
	"PermitLocalCommand=no",
	"AddKeysToAgent=no",
	"ControlPersist=no",
	"RequestTTY=no",
	"EscapeChar=none",
	"GlobalKnownHostsFile=none",
	"UpdateHostKeys=no",
	"HashKnownHosts=no",
	"CheckHostIP=no",
	"ConnectTimeout=10",
	"ConnectionAttempts=1",
	"LogLevel=ERROR",
};

void
ssh_stage_new(struct ssh_stage *s)
{
	char *const words[] = { s->nonce, s->tag };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		(void)snprintf(words[i], SSH_WORD_SIZE, "%08x%08x%08x%08x", arc4random(), arc4random(), arc4random(),
		    arc4random());
}

/* The bastion's own ssh; `to`: where it leads on to, as -W takes it. -J would not give it options of its own. */
static void
bastion_argv(struct strv *argv, const struct settings *st, const char *to)
{
	const char *at = strrchr(st->ssh_proxy_jump, '@');
	const char *host = at == NULL ? st->ssh_proxy_jump : at + 1;
	const char *colon = strrchr(host, ':');
	size_t len = strlen(host);

	if (colon != NULL && strchr(colon, ']') == NULL)
		len = (size_t)(colon - host);
	else
		colon = NULL;
	if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	}
	strv_add_all(argv, (const char *const[]){ st->ssh, "-F", "none", NULL });
	for (size_t i = 0; i < ARRAY_LEN(fixed_options); i++) {
		strv_add(argv, "-o");
		strv_add(argv, fixed_options[i]);
	}
	strv_add_all(argv, (const char *const[]){ "-o", "ControlMaster=no", "-o", "ControlPath=none", "-o",
	    "StrictHostKeyChecking=yes", "-o", NULL });
	strv_addf(argv, "UserKnownHostsFile=%s", st->ssh_proxy_known_hosts);
	strv_add_all(argv, (const char *const[]){ "-i", st->ssh_proxy_key, NULL });
	if (at != NULL) {
		strv_add(argv, "-l");
		strv_addf(argv, "%.*s", (int)(at - st->ssh_proxy_jump), st->ssh_proxy_jump);
	}
	strv_add_all(argv, (const char *const[]){ "-p", colon == NULL ? "22" : colon + 1, "-W", to, "--", NULL });
	strv_addf(argv, "%.*s", (int)len, host);
}

void
ssh_bastion_argv(struct strv *argv, const struct settings *st)
{
	const char *colon = strrchr(st->ssh_proxy_jump, ':');
	auto_free char *to = xasprintf("localhost:%s", colon == NULL || strchr(colon, ']') != NULL ? "22" : colon + 1);

	bastion_argv(argv, st, to);
}

/*
 * The bastion's ssh as a ProxyCommand. ssh runs it by /bin/sh; all of it is the operator's, of alphabets without anything
 * a shell would heed (settings.c), and %h, which is a number.
 */
static void
proxy_argv(struct strv *argv, const struct settings *st)
{
	auto_strv struct strv words = STRV_INIT;
	auto_buf struct buf b = BUF_INIT;

	bastion_argv(&words, st, "'[%h]:%p'");
	for (size_t i = 0; i < words.len; i++)
		buf_printf(&b, "%s%s", i == 0 ? "ProxyCommand=" : " ", words.v[i]);
	strv_add(argv, "-o");
	strv_add(argv, buf_str(&b));
}

enum use {
	USE_STAGE,
	USE_MASTER, /* to be shared */
	USE_PERSON,
};

/* Everything up to the command. What is on the command line holds, whatever ssh-config says of it; the first of a name does. */
static void
connect_argv(struct strv *argv, const struct ssh_target *t, enum use use)
{
	const struct settings *st = t->settings;
	int64_t interval_s = st->alive_timeout / 4000 > 0 ? st->alive_timeout / 4000 : 1; /* alive-timeout is 3 s at least */

	strv_add(argv, st->ssh);
	strv_add(argv, "-F");
	strv_add(argv, st->ssh_config == NULL ? "none" : st->ssh_config);
	if (use == USE_PERSON)
		strv_add_all(argv, (const char *const[]){ "-o", "RequestTTY=auto", "-o", "EscapeChar=~", NULL });
	for (size_t i = 0; i < ARRAY_LEN(fixed_options); i++) {
		strv_add(argv, "-o");
		strv_add(argv, fixed_options[i]);
	}
	strv_add(argv, "-o");
	strv_addf(argv, "ControlMaster=%s", use == USE_MASTER ? "yes" : "no");
	strv_add(argv, "-o");
	if (t->control == NULL)
		strv_add(argv, "ControlPath=none");
	else /* where nobody listens there, ssh connects directly */
		strv_addf(argv, "ControlPath=\"%s\"", t->control);
	strv_add(argv, "-o");
	strv_addf(argv, "StrictHostKeyChecking=%s", t->first && !t->pinned ? "accept-new" : "yes");
	if (t->pinned) {
		strv_add(argv, "-o");
		strv_add(argv, PINNED_ALGORITHMS);
	}
	strv_add(argv, "-o"); /* the first question after one interval, dead one interval after the last: in time together */
	strv_addf(argv, "ServerAliveInterval=%" PRId64, interval_s);
	strv_add(argv, "-o");
	strv_addf(argv, "ServerAliveCountMax=%" PRId64, st->alive_timeout / 1000 / interval_s - 1);
	strv_add(argv, "-o");
	strv_addf(argv, "UserKnownHostsFile=\"%s\"", t->known_hosts);
	strv_add(argv, "-o");
	strv_addf(argv, "HostKeyAlias=%s", t->alias);
	if (st->ssh_proxy_jump != NULL)
		proxy_argv(argv, st);
	strv_add(argv, "-i");
	strv_add(argv, t->identity);
	strv_add(argv, "-p");
	strv_addf(argv, "%" PRId64, st->ssh_port);
	strv_add(argv, "-l");
	strv_add(argv, st->username);
	if (use == USE_MASTER)
		strv_add(argv, "-N");
	strv_add(argv, "--");
	strv_add(argv, t->address);
}

void
ssh_stage_argv(struct strv *argv, const struct ssh_target *t, const struct ssh_stage *s, int64_t script_size)
{
	connect_argv(argv, t, USE_STAGE);
	strv_addf(argv, "exec /bin/sh -c '%s' novajob %s %s %" PRId64 " '%s'", stage_text, s->nonce, s->tag, script_size,
	    script_text);
}

void
ssh_master_argv(struct strv *argv, const struct ssh_target *t)
{
	connect_argv(argv, t, USE_MASTER);
}

void
ssh_stop_argv(struct strv *argv, const struct ssh_target *t, const struct ssh_stage *s, int64_t pid, int64_t grace_s)
{
	connect_argv(argv, t, USE_STAGE);
	strv_addf(argv, "exec /bin/sh -c '%s' novajob %" PRId64 " %s %" PRId64, stop_text, pid, s->tag, grace_s * 100);
}

void
ssh_login_argv(struct strv *argv, const struct ssh_target *t, const char *nonce, bool version)
{
	connect_argv(argv, t, USE_STAGE);
	strv_addf(argv, "exec /bin/sh -c '%s' novajob %s %d", login_text, nonce, version ? 1 : 0);
}

bool
ssh_login_said(const char *out, const char *nonce, struct ssh_tools *tools)
{
	auto_free char *ok = xasprintf("novajob-ok-%s ", nonce);
	auto_free char *version = xasprintf("novajob-version-%s ", nonce);
	const char *at = strstr(out, ok);
	char machine[sizeof(tools->machine)], git[8], runner[8];

	*tools = (struct ssh_tools){ .machine = "unknown" };
	if (at == NULL)
		return false;
	if (sscanf(at + strlen(ok), "%31s %7s %7s", machine, git, runner) == 3) {
		text_one_line(tools->machine, sizeof(tools->machine), machine);
		tools->git = strcmp(git, "git") == 0;
		tools->runner = strcmp(runner, "runner") == 0;
	}
	if ((at = strstr(out, version)) != NULL) {
		auto_free char *line = xstrndup(at + strlen(version), strcspn(at + strlen(version), "\n"));

		text_one_line(tools->version, sizeof(tools->version), line);
	}
	return true;
}

void
ssh_upload_argv(struct strv *argv, const struct ssh_target *t, const char *nonce, int64_t size)
{
	connect_argv(argv, t, USE_STAGE);
	strv_addf(argv, "exec /bin/sh -c '%s' novajob %s %" PRId64, upload_text, nonce, size);
}

void
ssh_person_argv(struct strv *argv, const struct ssh_target *t, char *const *words, int count)
{
	connect_argv(argv, t, USE_PERSON);
	for (int i = 0; i < count; i++) /* behind the "--" before the address ssh takes none of them for an option */
		strv_add(argv, words[i]);
}

void
ssh_end_mark(char *out, size_t size, const struct ssh_stage *s)
{
	(void)snprintf(out, size, "novajob-%s end\n", s->nonce); /* 45 bytes */
}

enum ssh_said
ssh_said(const struct ssh_stage *s, const char *line, size_t len, size_t *at, int64_t *number)
{
	static const struct {
		const char *word;
		enum ssh_said said;
		long long max; /* of the number behind it; -1 = none: the word ends the line */
	} words[] = {
		{ "start ", SSH_SAID_START, INT32_MAX },
		{ "exit ", SSH_SAID_EXIT, 255 },
		{ "short", SSH_SAID_SHORT, -1 },
		{ "nobash", SSH_SAID_NOBASH, -1 },
		{ "term", SSH_SAID_TERM, -1 },
	};
	auto_free char *prefix = xasprintf("novajob-%s ", s->nonce);
	const char *found = memmem(line, len, prefix, strlen(prefix));
	const char *word;

	*at = len;
	if (found == NULL)
		return SSH_SAID_OTHER;
	word = found + strlen(prefix);
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		size_t m = strlen(words[i].word);
		const char *errstr = NULL;

		if (strncmp(word, words[i].word, m) != 0 || (words[i].max < 0 && word[m] != '\0'))
			continue;
		if (words[i].max >= 0)
			*number = strtonum(word + m, 0, words[i].max, &errstr);
		if (errstr != NULL)
			continue;
		*at = (size_t)(found - line);
		return words[i].said;
	}
	return SSH_SAID_OTHER;
}

void
ssh_env(struct strv *env)
{
	static const char *const names[] = { "PATH=*", "HOME=*", "USER=*", "LOGNAME=*", "LANG=*", "LC_*=*", "TZ=*",
		"LD_PRELOAD=*nss_wrapper*", "NSS_WRAPPER_*=*" };
	extern char **environ;

	for (char **e = environ; e != NULL && *e != NULL; e++)
		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			if (fnmatch(names[i], *e, 0) == 0) {
				strv_add(env, *e);
				break;
			}
}
