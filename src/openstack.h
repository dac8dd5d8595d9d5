/* SPDX-License-Identifier: MIT */
/*
 * openstack.h - typed calls to the cloud; openstack.c is the only file that
 * spells `openstack` arguments and knows its JSON (openstack-cli.md §3, §6).
 *
 * Every call is bounded by its limit and, within it, by call-timeout. Calls
 * that change nothing, and delete, are repeated with jitter while the fault is
 * transient and the limit allows; create never is.
 */
#ifndef NOVAJOB_OPENSTACK_H
#define NOVAJOB_OPENSTACK_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "os_client.h"
#include "sig.h"
#include "strv.h"

struct os_server {
	char *id;
	char *name;
	char *status;           /* BUILD, ACTIVE, ERROR, SHUTOFF … */
	char *task;             /* task state: "deleting" …; "" when none */
	char *fault;            /* what nova says of an ERROR; "" when none, or not asked for */
	char *owner, *job, *try; /* the properties novajob:…; "" when not set */
	int64_t created;        /* UNIX time by the cloud's clock; 0 when the client does not tell (5.5) */
	int64_t expires;        /* UNIX time: created and the property novajob:life, or else novajob:expires; 0 when not set */
	struct strv addresses;  /* all, IPv4 before IPv6 */
};

struct os_servers {
	struct os_server *v; /* owned */
	size_t len;
};

struct os_floating {
	char *id;
	char *address;
	char *description;
	bool attached;          /* to a port */
};

struct os_floatings {
	struct os_floating *v; /* owned */
	size_t len;
};

#define OS_SERVER_INIT { .id = NULL, .addresses = STRV_INIT }
#define OS_SERVERS_INIT { .v = NULL, .len = 0 }
#define auto_server __attribute__((cleanup(os_server_free)))
#define auto_servers __attribute__((cleanup(os_servers_free)))
#define OS_FLOATING_INIT { .id = NULL }
#define OS_FLOATINGS_INIT { .v = NULL, .len = 0 }
#define auto_floating __attribute__((cleanup(os_floating_free)))
#define auto_floatings __attribute__((cleanup(os_floatings_free)))

/* What to create; all borrowed, NULL = leave out (but for name, image, flavor). */
struct os_wish {
	const char *name, *image, *flavor, *key_pair, *zone, *description;
	const struct strv *networks, *security_groups;
	const struct strv *properties; /* further ones, "name=value" */
	const char *user_data; /* a file */
	bool config_drive;     /* … handed over on one */
	const char *owner, *job, *project, *try, *host; /* become properties novajob:… */
	int64_t expires; /* by this host's clock; the cloud is told how long that is, too: clocks differ */
};

/* Is it an id as the API makes them (a UUID)? */
bool os_is_id(const char *s);

/* The words of a call, appended to words: what the calls below say to the client, and `novajob plan` shows. */
void os_image_words(const char *image, struct strv *words);
void os_create_words(const struct os_wish *w, struct strv *words);
void os_list_words(const char *name_regex, struct strv *words);
void os_delete_words(const char *id, struct strv *words);
void os_show_words(const char *kind, const char *name, struct strv *words);
void os_floating_create_words(const char *network, const char *description, struct strv *words);
void os_floating_attach_words(const char *server, const char *address, struct strv *words);
void os_floating_list_words(struct strv *words);
void os_floating_delete_words(const char *id, struct strv *words);

/*
 * The image to boot, for a name, an id, or properties ("os_distro=debian,ci=yes"): *id becomes the active one updated
 * last (the caller's), *others how many more there are. FAULT_MISSING when there is none.
 */
bool os_image_find(struct os_client *c, const char *image, struct limit limit, char **id, size_t *others,
    struct fault *f) ATTR_MUST_USE;

/*
 * Create a server; *id is the caller's. On failure *unknown tells whether the server may exist all the same: look for
 * it by os_server_list. FAULT_MISSING: a name of the wish is unknown.
 */
bool os_server_create(struct os_client *c, const struct os_wish *w, struct limit limit, char **id, bool *unknown,
    struct fault *f) ATTR_MUST_USE;

/*
 * Servers whose name matches a regular expression (not anchored; only characters the client's shell takes), foreign
 * ones included. Complete for up to one API page (openstack-cli.md §3): enough for the servers of one job.
 */
bool os_server_list(struct os_client *c, const char *name_regex, struct limit limit, struct os_servers *list,
    struct fault *f) ATTR_MUST_USE;

/*
 * The same, all pages of it (openstack-cli.md §3: clients before 6.1 have to be asked for them): a list that proves
 * what is not in it.
 */
bool os_server_list_all(struct os_client *c, const char *name_regex, struct limit limit, struct os_servers *list,
    struct fault *f) ATTR_MUST_USE;

/* One server with its fault. FAULT_TRANSIENT when it is not found: only a list proves absence. */
bool os_server_show(struct os_client *c, const char *id, struct limit limit, struct os_server *s, struct fault *f)
    ATTR_MUST_USE;

/* Ask for a server's deletion. True: accepted, or nothing was said against it; the list tells when it is gone. */
bool os_server_delete(struct os_client *c, const char *id, struct limit limit, struct fault *f) ATTR_MUST_USE;

/*
 * Give a server another name (NULL: keep it) and further properties ("name=value" each; those of a name it has are
 * replaced). Repeated while the fault is transient. On failure some of it may be done: the name alone, or the properties, too.
 */
bool os_server_set(struct os_client *c, const char *id, const char *name, const struct strv *properties, struct limit limit,
    struct fault *f) ATTR_MUST_USE;

/* When the token of now ends, UNIX time: the only word of the cloud that says how late it is at most. */
bool os_token_expires(struct os_client *c, struct limit limit, int64_t *at, struct fault *f) ATTR_MUST_USE;

/* `openstack KIND show NAME` for "image", "flavor", "network", "security group": *o is a new reference. */
bool os_show(struct os_client *c, const char *kind, const char *name, struct limit limit, json_t **o, struct fault *f)
    ATTR_MUST_USE;

/* The project's limits and what is used of them; -1 = not told, or no limit. */
struct os_quota {
	int64_t instances, instances_used, cores, cores_used, ram; /* ram: MiB */
};
bool os_quota(struct os_client *c, struct limit limit, struct os_quota *q, struct fault *f) ATTR_MUST_USE;

/* The names of the availability zones that servers may be in, appended to zones. */
bool os_zones(struct os_client *c, struct limit limit, struct strv *zones, struct fault *f) ATTR_MUST_USE;

/* The public key of a key pair, one line; the caller's. */
bool os_keypair_public(struct os_client *c, const char *name, struct limit limit, char **key, struct fault *f)
    ATTR_MUST_USE;

/* A call that changes nothing, with repeats while the fault is transient (see above). */
bool os_read(struct os_client *c, const struct strv *words, enum os_expect expect, const char *what, struct limit limit,
    struct os_answer *a, struct fault *f) ATTR_MUST_USE;

/* The last lines of a server's console, as they are (untrusted); the caller's. */
bool os_console(struct os_client *c, const char *id, int lines, struct limit limit, char **text, struct fault *f)
    ATTR_MUST_USE;

/*
 * Allocate a floating address of a network; *fip is the caller's. On failure *unknown tells whether there may be one all
 * the same: look for its description by os_floating_list. FAULT_MISSING: no such network, or none that has floating
 * addresses; FAULT_BUSY: the quota, or the network's addresses, are used up.
 */
bool os_floating_create(struct os_client *c, const char *network, const char *description, struct limit limit,
    struct os_floating *fip, bool *unknown, struct fault *f) ATTR_MUST_USE;

/* Attach a floating address to a server's first port that takes it; harmless when it is attached there already. True:
 * nothing was said against it; the list tells. FAULT_MISSING: no router leads from its network to the server's. */
bool os_floating_attach(struct os_client *c, const char *server, const char *address, struct limit limit,
    struct fault *f) ATTR_MUST_USE;

/* The floating addresses of the project, foreign ones included, all of them (the client follows the pages). */
bool os_floating_list(struct os_client *c, struct limit limit, struct os_floatings *list, struct fault *f) ATTR_MUST_USE;

/* Release a floating address, attached or not. True: nothing was said against it; the list tells. Not repeated. */
bool os_floating_delete(struct os_client *c, const char *id, struct limit limit, struct fault *f) ATTR_MUST_USE;

void os_server_free(struct os_server *s);
void os_servers_free(struct os_servers *list);
void os_floating_free(struct os_floating *fip);
void os_floatings_free(struct os_floatings *list);

#endif
