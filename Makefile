# novajob: build, test, install. `make help` lists the targets.
# CC, CFLAGS, CPPFLAGS, LDFLAGS, PREFIX, DESTDIR and PKG_CONFIG are yours; what the program needs comes before them.

NAME := novajob
VERSION := $(shell sed -n 's/^\#define NOVAJOB_VERSION "\(.*\)"/\1/p' src/version.h)

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
PKG_CONFIG ?= pkg-config
BATS ?= bats
JOBS ?= 3
CFLAGS ?= -O2 -g

SRC := $(wildcard src/*.c)
HDR := $(wildcard src/*.h)
MAN := $(notdir $(wildcard man/*.[157]))

# Each variant has a folder of its own: `make SANITIZE=address,undefined check` needs no clean in between.
comma := ,
VARIANT := $(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))
BUILD := build$(VARIANT)
OBJ := $(SRC:src/%.c=$(BUILD)/obj/%.o)

# These need no compiler and no libraries.
PLAIN_GOALS := clean help dist deb container uninstall uninstall-compat install-compat setup
ifneq ($(filter-out $(PLAIN_GOALS),$(or $(MAKECMDGOALS),all)),)
PACKAGES := libbsd-overlay jansson
ifneq ($(filter-out check check-all faults demo bench,$(or $(MAKECMDGOALS),all)),)
ifeq ($(shell $(PKG_CONFIG) --exists $(PACKAGES) && echo yes),)
$(error libbsd and jansson are needed: run 'tests/setup build', or install libbsd-dev libjansson-dev pkg-config)
endif
endif
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null)
cc-option = $(shell $(CC) -Werror $(1) -x c -S -o /dev/null /dev/null 2>/dev/null && echo '$(1)')
endif

NJ_CPPFLAGS := -D_GNU_SOURCE -DLIBBSD_NETBSD_VIS $(PKG_CFLAGS)
NJ_WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wformat=2 -Wundef -Wvla -Wwrite-strings -Wcast-qual -Wpointer-arith -Wnull-dereference \
	-Wimplicit-fallthrough -Wswitch-enum -fno-common $(call cc-option,-Wformat-signedness) $(if $(DEV),-Werror)
ifdef SANITIZE
NJ_HARDEN := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
NJ_LDFLAGS := -fsanitize=$(SANITIZE)
else
NJ_HARDEN := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 $(call cc-option,-fstack-protector-strong) \
	$(call cc-option,-fstack-clash-protection) $(call cc-option,-fcf-protection) \
	$(call cc-option,-ftrivial-auto-var-init=zero) -fPIE
NJ_LDFLAGS := -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed
endif
NJ_CFLAGS := -std=c17 -O2 $(NJ_WARN) $(NJ_HARDEN)

.PHONY: all
all: $(BUILD)/$(NAME) ## build the program (default)

$(BUILD)/$(NAME): $(OBJ)
	$(CC) $(NJ_CFLAGS) $(CFLAGS) $(NJ_LDFLAGS) $(LDFLAGS) -o $@ $(OBJ) $(PKG_LIBS)

$(BUILD)/obj/%.o: src/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(NJ_CPPFLAGS) $(CPPFLAGS) $(NJ_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJ:.o=.d)

.PHONY: valgrind
valgrind: build/pidfd.so ## what tests/valgrind needs, which is novajob under valgrind for tests

build/pidfd.so: tests/pidfd.c
	@mkdir -p build
	$(CC) -shared -fPIC -D_GNU_SOURCE -O1 -o $@ $<

# The fuzz targets: each is tests/fuzz/TARGET.c, what they share, and src/ but for commands and their parts; `make fuzz` builds them by clang.
FUZZ_SHARED := fuzz world
FUZZERS := $(filter-out $(FUZZ_SHARED),$(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c)))
FUZZ_OBJ := $(FUZZ_SHARED:%=$(BUILD)/obj/fuzz/%.o) $(filter-out $(BUILD)/obj/main.o $(BUILD)/obj/cmd_%.o $(BUILD)/obj/doctor_%.o,$(OBJ))
# tests/fuzz/world.c stands in for these: time, waits, children, what is written.
FUZZ_WRAP := clock_ms sig_poll sig_stopped sig_seen limit_sleep proc_start proc_reap proc_end proc_run arc4random write
FUZZ_SECONDS ?= 10

.PHONY: fuzzers
fuzzers: $(FUZZERS:%=$(BUILD)/%)

$(FUZZERS:%=$(BUILD)/%): $(BUILD)/%: $(BUILD)/obj/fuzz/%.o $(FUZZ_OBJ)
	$(CC) $(NJ_CFLAGS) $(CFLAGS) -fsanitize=fuzzer $(NJ_LDFLAGS) $(FUZZ_WRAP:%=-Wl,--wrap=%) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/obj/fuzz/%.o: tests/fuzz/%.c Makefile
	@mkdir -p $(@D)
	$(CC) -Isrc $(NJ_CPPFLAGS) $(CPPFLAGS) $(NJ_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(BUILD)/obj/fuzz/*.d)

.PHONY: setup
setup: ## install what tests need (root), or say what to install
	tests/setup check

.PHONY: check
check: ## all tests that the simulated cloud can show
	tests/setup check
	$(MAKE) all
	NOVAJOB=$(CURDIR)/$(BUILD)/$(NAME) JOBS=$(JOBS) BATS=$(BATS) tests/suite check

.PHONY: check-all
check-all: ## the rest: lint, analyzers, sanitizers, fuzzers, valgrind, other clients, the real OpenStack
	tests/setup all
	$(MAKE) all
	JOBS=$(JOBS) BATS=$(BATS) tests/suite all

.PHONY: faults
faults: ## play every fault of novajob-faults(7) on both clouds, and write that page
	tests/setup all
	$(MAKE) all
	JOBS=$(JOBS) BATS=$(BATS) tests/suite faults

.PHONY: bench-scale
bench-scale: ## 200 jobs at 10, then 50 at a time, written to novajob-performance(7); JOBS=6 AT_ONCE=3 SET='--set NAME=VALUE': only shown
	$(MAKE) all
	NOVAJOB=$(CURDIR)/$(BUILD)/$(NAME) tests/scale $(if $(filter command line environment,$(origin JOBS)),--jobs $(JOBS)) $(if $(AT_ONCE),--at-once $(AT_ONCE)) $(SET) \
		$(if $(AT_ONCE)$(SET)$(filter command line environment,$(origin JOBS)),,--page man/novajob-performance.7)

.PHONY: fuzz
fuzz: ## replay the fuzz targets' corpora, then FUZZ_SECONDS=10 of fuzzing each
	@if tests/need clang; then \
		$(MAKE) DEV=1 CC=clang SANITIZE=fuzzer-no-link,address,undefined BUILD=$(BUILD)/fuzz fuzzers && \
		tests/fuzz/run $(BUILD)/fuzz $(FUZZ_SECONDS) $(FUZZERS); \
	else [ $$? = 1 ]; fi

.PHONY: bench
bench: ## what novajob costs beside floors of the same run, written to novajob-performance(7); JSON=1, BENCH_MB=100
	tests/setup demo
	$(MAKE) all
	NOVAJOB=$(CURDIR)/$(BUILD)/$(NAME) tests/bench/bench $(if $(JSON),--json,--page man/novajob-performance.7)

.PHONY: demo
demo: ## see a job run on the simulated cloud; JOB=file.sh runs your own script
	tests/setup demo
	$(MAKE) all
	NOVAJOB=$(CURDIR)/$(BUILD)/$(NAME) tests/demo $(if $(JOB),'$(JOB)')

.PHONY: check-headers
check-headers: ## each header compiles alone
	@for h in $(HDR); do \
		printf '#include "%s"\nextern int not_empty;\n' "$$h" | $(CC) -I. $(NJ_CPPFLAGS) $(NJ_CFLAGS) -fsyntax-only -x c - || exit 1; \
	done

.PHONY: lint
lint: check-headers ## layer rule, shell, manual, duplicated lists
	tests/lint

# cppcheck knows neither Jansson's loops nor the cleanup attribute, whose locals it takes for leaks.
CPPCHECK_FLAGS := --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability --inline-suppr \
	--suppress=missingIncludeSystem --suppress=resourceLeak --suppress=memleak -D_GNU_SOURCE \
	'-Djson_array_foreach(x,y,z)=for((y)=0,(z)=0;(z);)' '-Djson_object_foreach(x,y,z)=for((y)=0,(z)=0;(z);)'

.PHONY: analyze
analyze: ## gcc -fanalyzer, clang-tidy, cppcheck: no output is the goal
	@mkdir -p $(BUILD)
	@for c in $(SRC); do \
		gcc $(NJ_CPPFLAGS) -std=c17 -O1 -fanalyzer -Werror -c -o $(BUILD)/analyze.o $$c || exit 1; \
	done
	@tests/need clang-tidy && clang-tidy --quiet $(SRC) -- $(NJ_CPPFLAGS) -std=c17 2>/dev/null
	@tests/need cppcheck && cppcheck $(CPPCHECK_FLAGS) src

.PHONY: install
install: all ## install under $(DESTDIR)$(PREFIX)
	install -D -m 0755 $(BUILD)/$(NAME) $(DESTDIR)$(BINDIR)/$(NAME)
	for m in $(MAN); do install -D -m 0644 man/$$m $(DESTDIR)$(MANDIR)/man$${m##*.}/$$m || exit 1; done
	install -D -m 0644 completions/novajob $(DESTDIR)$(BASHDIR)/novajob
	install -D -m 0644 completions/_novajob $(DESTDIR)$(ZSHDIR)/_novajob
	install -D -m 0644 completions/novajob.fish $(DESTDIR)$(FISHDIR)/novajob.fish

.PHONY: uninstall
uninstall: ## remove what install has put there
	for m in $(MAN); do rm -f $(DESTDIR)$(MANDIR)/man$${m##*.}/$$m; done
	rm -f $(DESTDIR)$(BINDIR)/$(NAME) \
		$(DESTDIR)$(BASHDIR)/novajob $(DESTDIR)$(ZSHDIR)/_novajob $(DESTDIR)$(FISHDIR)/novajob.fish

.PHONY: dist
dist: ## a source archive of the committed tree
	@mkdir -p build
	git archive --format=tar.gz --prefix=$(NAME)-$(VERSION)/ -o build/$(NAME)-$(VERSION).tar.gz HEAD

# The tree as it is, committed or not; dpkg-buildpackage leaves its results beside it.
DEB_TREE := build/deb/$(NAME)-$(VERSION)

.PHONY: deb
deb: ## a Debian package of the working tree, in build/deb
	rm -rf build/deb
	mkdir -p $(DEB_TREE)
	tar -c --exclude=./build --exclude='./build-*' --exclude=./.git . | tar -x -C $(DEB_TREE)
	mv $(DEB_TREE)/contrib/debian $(DEB_TREE)/debian
	sed -e 's/@NAME@/$(NAME)/; s/@VERSION@/$(VERSION)/' -e "s/@DATE@/$$(date -R -u -d @$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || date +%s)})/" \
		$(DEB_TREE)/debian/changelog.in >$(DEB_TREE)/debian/changelog
	rm $(DEB_TREE)/debian/changelog.in
	cd $(DEB_TREE) && env -u MAKEFLAGS -u MAKELEVEL dpkg-buildpackage -us -uc

# BASE is any Debian or Ubuntu image with gitlab-runner; ENGINE builds as podman, docker and buildah do.
BASE ?= docker.io/gitlab/gitlab-runner:latest
ENGINE ?= $(firstword $(foreach e,podman buildah docker,$(if $(shell command -v $(e)),$(e))) podman)

.PHONY: container
container: ## the container image novajob, with BASE=image and ENGINE=podman
	$(ENGINE) build -f Containerfile --build-arg BASE=$(BASE) -t $(NAME):$(VERSION) -t $(NAME) .

# The Python executor's four programs, for a config.toml that names them: `make install-compat HOME=/home/gitlab-runner`.
COMPAT_LINKS := config.sh prepare.py run.py cleanup.py

.PHONY: install-compat
install-compat: ## links by the Python executor's names in $(DESTDIR)$(HOME), to what install has installed
	mkdir -p $(DESTDIR)$(HOME)
	for l in $(COMPAT_LINKS); do \
		if [ -e $(DESTDIR)$(HOME)/$$l ] && [ ! -L $(DESTDIR)$(HOME)/$$l ]; then \
			mv $(DESTDIR)$(HOME)/$$l $(DESTDIR)$(HOME)/$$l.old || exit 1; \
		fi; \
		ln -sf $(BINDIR)/$(NAME) $(DESTDIR)$(HOME)/$$l || exit 1; \
	done

.PHONY: uninstall-compat
uninstall-compat: ## remove these links, and put back what was in their place
	for l in $(COMPAT_LINKS); do \
		[ "$$(readlink $(DESTDIR)$(HOME)/$$l)" = $(BINDIR)/$(NAME) ] || continue; \
		rm $(DESTDIR)$(HOME)/$$l; \
		[ ! -e $(DESTDIR)$(HOME)/$$l.old ] || mv $(DESTDIR)$(HOME)/$$l.old $(DESTDIR)$(HOME)/$$l; \
	done

.PHONY: format
format: ## clang-format the sources
	clang-format -i $(SRC) $(HDR)

.PHONY: clean
clean: ## remove everything built
	rm -rf build build-*

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | sort | expand -t 16
