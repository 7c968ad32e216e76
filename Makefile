# persistfs. `make help` lists the targets.
.DELETE_ON_ERROR:
.SUFFIXES:

PREFIX  ?= /usr/local
DESTDIR ?=
BUILD   ?= build
CC      ?= cc
PKGS    := fuse3 sqlite3 inih libpq hiredis
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wwrite-strings -Wshadow -Wvla
ifeq ($(CI),true)
WARN    += -Werror
endif
comma   := ,
ifdef SANITIZE
SAN     := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all
BUILD   := build/$(subst $(comma),-,$(SANITIZE))
endif

ifeq ($(filter clean help format,$(MAKECMDGOALS)),)
ifneq ($(shell pkg-config --exists $(PKGS) && echo yes),yes)
$(error libraries are missing; run scripts/quickstart once, or install: pkg-config libfuse3-dev libsqlite3-dev libinih-dev libpq-dev libhiredis-dev libcmocka-dev)
endif
endif

ALL_CPPFLAGS := -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=314 \
                $(shell pkg-config --cflags $(PKGS) 2>/dev/null) $(CPPFLAGS)
ALL_CFLAGS   := -std=gnu11 -pthread $(WARN) $(CFLAGS) $(SAN)
LIBS         := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -pthread

BACKEND_SRC := $(sort $(wildcard backends/*.c backends/*/*.c))
FS_SRC      := $(sort $(wildcard fs/*.c))
MOUNT_SRC   := $(sort $(wildcard mount/*.c))
MAIN_SRC    := mount/main.c
LIB_SRC     := $(BACKEND_SRC) $(FS_SRC) $(filter-out $(MAIN_SRC),$(MOUNT_SRC))
LIB_OBJ     := $(LIB_SRC:%.c=$(BUILD)/obj/%.o)

# Every tests/unit/test_X.c and tests/contract/test_X.c is one cmocka program; helpers are lib_*.c.
TEST_SRC    := $(sort $(wildcard tests/unit/test_*.c tests/contract/test_*.c))
TEST_BIN    := $(TEST_SRC:%.c=$(BUILD)/%)
TESTLIB_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(sort $(wildcard tests/unit/lib_*.c tests/contract/lib_*.c)))
# Every tests/mount/X.c is a helper program of the mount tests.
MOUNT_HELPERS := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/mount/*.c)))

.PHONY: all check check-unit check-mount soak bench lint format install clean help tests

all: $(BUILD)/persistfs

help:
	@echo 'all check check-unit check-mount soak bench lint format install clean'
	@echo 'SANITIZE=address,undefined (or thread) builds into build/<sanitizers>'

$(BUILD)/persistfs: $(BUILD)/obj/mount/main.o $(BUILD)/libpersistfs.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libpersistfs.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The assembler takes the scripts in.
$(BUILD)/obj/backends/redis/scripts.o: $(wildcard backends/redis/*.lua)

define test_rule
$(BUILD)/$(1): $(BUILD)/obj/$(1).o $(TESTLIB_OBJ) $(BUILD)/libpersistfs.a
	@mkdir -p $$(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $$@ $$^ -lcmocka $(LIBS)
endef
$(foreach t,$(TEST_SRC:%.c=%),$(eval $(call test_rule,$(t))))

$(BUILD)/tests/mount/%: tests/mount/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $< $(HELPER_LIBS) -pthread

# The one that is a client of every engine.
$(BUILD)/tests/mount/apps: HELPER_LIBS = $(shell pkg-config --libs sqlite3 libpq hiredis)

tests: $(TEST_BIN) $(MOUNT_HELPERS)

check: check-unit check-mount

check-unit: all tests
	scripts/with-services --if-there scripts/run-unit $(TEST_BIN)

check-mount: all tests
	BUILD=$(abspath $(BUILD)) scripts/with-services --if-there scripts/run-mount \
	    --engine sqlite --engine postgres --engine redis

soak: all tests
	BUILD=$(abspath $(BUILD)) PERSISTFS_SOAK=1 scripts/with-services scripts/run-mount \
	    --engine sqlite --engine postgres --engine redis

bench: all tests
	BUILD=$(abspath $(BUILD)) tests/bench/run
	BUILD=$(abspath $(BUILD)) tests/bench/run --backend postgres
	BUILD=$(abspath $(BUILD)) tests/bench/run --backend redis

lint:
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
	    --inline-suppr --suppress=missingIncludeSystem --suppress=ctunullpointer -I. -D_GNU_SOURCE backends fs mount
	clang-tidy --quiet --warnings-as-errors='*' $(LIB_SRC) $(MAIN_SRC) -- $(ALL_CPPFLAGS) -std=gnu11

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

install: all
	install -D -m 0755 $(BUILD)/persistfs $(DESTDIR)$(PREFIX)/bin/persistfs
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 0644 docs/persistfs.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 0644 docs/persistfs.ini.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	install -D -m 0644 persistfs.ini $(DESTDIR)$(PREFIX)/share/doc/persistfs/examples/persistfs.ini

clean:
	rm -rf build

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
