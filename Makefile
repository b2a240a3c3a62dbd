# harrow's build. `make help` lists the targets.
#
# One set of rules builds every variant; a variant is a few settings and a folder of its own:
#     make                                                      build/harrow, gcc -O2
#     make BUILD=build/clang CC=clang OPT=-O0                   build/clang/harrow
#     make BUILD=build/asan SANITIZE=address,undefined          build/asan/harrow
# The same settings twice in one folder is a build; other settings in the same folder rebuild it.

# --- settings --------------------------------------------------------------------------------------------------------

ifeq ($(origin CC),default)
CC := gcc
endif
OPT := -O2
SANITIZE :=
BUILD := build
WERROR := -Werror
CFLAGS :=
LDFLAGS :=
PREFIX := /usr/local
DESTDIR :=
JOBS := $(shell nproc 2>/dev/null || echo 2)
FUZZ_SECONDS := 300
FUZZ_SMOKE_SECONDS := 5
BENCH :=
V :=

PACKAGES := lua5.4 sqlite3 jansson libxxhash libuv libpcap fuse3 libmnl libseccomp libcurl hiredis
PACKAGES_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
PACKAGES_LIBS := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)

# The ways in which the checks build harrow beside the plain one.
VARIANT_gcc-O0 := CC=gcc OPT=-O0
VARIANT_clang-O0 := CC=clang OPT=-O0
VARIANT_clang-O2 := CC=clang OPT=-O2
VARIANT_sanitize := CC=clang OPT=-O1 SANITIZE=fuzzer-no-link,address,undefined
VARIANTS := gcc-O0 clang-O0 clang-O2 sanitize
GOALS := all

# --- flags -----------------------------------------------------------------------------------------------------------

sanitize_flags = $(if $(SANITIZE),-fsanitize=$(1) -fno-sanitize-recover=all -fno-omit-frame-pointer)
warning_flags := -Wall -Wextra -Wshadow -Wconversion $(WERROR)
compile = $(CC) -std=c17 -D_GNU_SOURCE $(OPT) -g -pthread $(warning_flags) $(call sanitize_flags,$(SANITIZE)) -I. \
	$(PACKAGES_CFLAGS) $(CFLAGS) $(shared_flags)
link = $(CC) $(OPT) -g -pthread $(call sanitize_flags,$(SANITIZE)) $(LDFLAGS)
link_fuzzer = $(CC) $(OPT) -g -pthread $(call sanitize_flags,$(subst fuzzer-no-link,fuzzer,$(SANITIZE))) \
	$(LDFLAGS)
libs := $(PACKAGES_LIBS) -lm
# Of what is in the library of checkers: one object serves the program, the archive and the shared library.
library_flags := -fPIC -fvisibility=hidden

# --- files -----------------------------------------------------------------------------------------------------------

# The library of checkers reads files, but not harrow's store.
check_library_sources := $(filter-out history/store%,$(wildcard base/*.c history/*.c checkers/*.c checkers/*/*.c))
sources := $(check_library_sources) $(wildcard history/store*.c nemesis/*.c nemesis/*/*.c targets/*/*.c \
	targets/*/*/*.c reports/*.c harness/*.c harness/*/*.c)
lua_files := $(sort $(wildcard nemesis/*.lua targets/*.lua harness/lua/*.lua harness/bench/*.lua scenarios/*.lua))
test_sources := $(wildcard tests/test_*.c)
fuzz_sources := $(wildcard tests/fuzz_*.c)
test_support_sources := $(filter-out $(test_sources) $(fuzz_sources),$(wildcard tests/*.c))

object_of = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
embedded := $(BUILD)/gen/embedded.c
main_object := $(call object_of,harness/main.c)
objects := $(call object_of,$(sources)) $(BUILD)/obj/gen/embedded.o
program := $(BUILD)/harrow
check_library := $(BUILD)/libharrow-check.a
check_version := $(shell sed -n 's/^\#define HARROW_CHECK_VERSION "\(.*\)"/\1/p' checkers/harrow-check.h)
check_soname := libharrow-check.so.0
check_shared := $(BUILD)/libharrow-check.so.$(check_version)
check_exports := checkers/harrow-check.map
test_library := $(BUILD)/tests/libharrow-test.a
unit_tests := $(test_sources:%.c=$(BUILD)/%)
fuzzers := $(fuzz_sources:%.c=$(BUILD)/%)

# --- building --------------------------------------------------------------------------------------------------------

Q := $(if $(V),,@)
say = @printf '  %-5s %s\n' $(1) $@

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all deps demo check test bench install uninstall format lint fuzz fuzz-smoke valgrind clean help \
	unit-tests fuzzers variants FORCE

all: $(program) $(check_library) $(check_shared) ## build the program and the library of checkers (the default)

unit-tests: $(unit_tests)

fuzzers: $(fuzzers)

variants: $(VARIANTS:%=variant-%) ## build harrow in every way that the determinism test compares

variant-%: FORCE
	+@$(MAKE) --no-print-directory BUILD=build/$* $(VARIANT_$*) $(GOALS)

$(program): $(objects) $(BUILD)/files
	$(call say,LD)
	$(Q)$(link) -o $@ $(objects) $(libs)

archive = $(Q)mkdir -p $(@D) && rm -f $@ && $(AR) rcsD $@ $(filter %.o,$^)

$(call object_of,$(check_library_sources)): shared_flags = $(library_flags)

# One object in which only what harrow-check.h declares is still visible: no name of it meets one of a user's.
$(BUILD)/obj/libharrow-check.o: $(call object_of,$(check_library_sources)) $(BUILD)/files
	$(call say,LD)
	$(Q)$(CC) -r -nostdlib -o $@ $(filter %.o,$^) && objcopy --localize-hidden $@

$(check_library): $(BUILD)/obj/libharrow-check.o
	$(call say,AR)
	$(archive)

$(check_shared): $(call object_of,$(check_library_sources)) $(check_exports) $(BUILD)/files
	$(call say,LD)
	$(Q)$(link) -shared -Wl,-soname,$(check_soname) -Wl,--version-script,$(check_exports) -o $@ $(filter %.o,$^)

$(test_library): $(filter-out $(main_object),$(objects)) $(call object_of,$(test_support_sources)) $(BUILD)/files
	$(call say,AR)
	$(archive)

$(BUILD)/tests/test_%: $(BUILD)/obj/tests/test_%.o $(test_library)
	$(call say,LD)
	$(Q)$(link) -o $@ $^ $(libs) -lcmocka

$(BUILD)/tests/fuzz_%: $(BUILD)/obj/tests/fuzz_%.o $(test_library)
	$(call say,LD)
	$(Q)$(link_fuzzer) -o $@ $^ $(libs)

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(compile) -MMD -MP -c -o $@ $<

$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c $(BUILD)/flags
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(compile) -MMD -MP -c -o $@ $<

$(embedded): harness/embed.sh $(lua_files) $(BUILD)/files
	$(call say,EMBED)
	$(Q)mkdir -p $(@D) && harness/embed.sh $(lua_files) >$@

# A stamp is rewritten only when its text has changed; what depends on it is then made anew.
stamp = @mkdir -p $(@D) && { printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' >$@; }

$(BUILD)/flags: FORCE
	@pkg-config --exists $(PACKAGES) || { echo "libraries are missing; 'make deps' installs them" >&2; exit 1; }
	$(call stamp,$(compile) $(library_flags))

$(BUILD)/files: FORCE
	$(call stamp,$(link) $(libs) $(objects) $(lua_files) $(test_support_sources))

-include $(patsubst %.o,%.d,$(objects) $(call object_of,$(wildcard tests/*.c)))

# --- checking --------------------------------------------------------------------------------------------------------

run_tests = @MAKEFLAGS= HARROW_MAKE='$(MAKE) $(MAKEOVERRIDES)' HARROW_JOBS=$(JOBS) FUZZ_SECONDS=$(1) tests/run.sh

deps: ## install what building and checking need (Debian, Ubuntu), if it is missing
	@.ci/deps check

demo: ## build harrow, run a scenario that holds and one that does not, leave the reports in build/demo
	@.ci/deps build
	+@$(MAKE) --no-print-directory -j$(JOBS) all
	@harness/demo.sh $(program) $(BUILD)/demo

check: deps ## everything that continuous integration checks, in some minutes
	$(call run_tests,$(FUZZ_SMOKE_SECONDS)) all

test: ## the unit tests, built plainly
	$(call run_tests,$(FUZZ_SMOKE_SECONDS)) unit

valgrind: ## the unit tests under valgrind
	$(call run_tests,$(FUZZ_SMOKE_SECONDS)) valgrind

fuzz: ## every fuzzer for FUZZ_SECONDS=300
	$(call run_tests,$(FUZZ_SECONDS)) fuzz

fuzz-smoke: ## every fuzzer for FUZZ_SMOKE_SECONDS=5
	$(call run_tests,$(FUZZ_SMOKE_SECONDS)) fuzz

bench: all ## measure; BENCH=NAME for one of them
	@$(program) bench $(BENCH)

format: ## format the C code in place
	@tests/format.sh fix

lint: ## formatting, layers, style, and a static analyser if one is here
	$(call run_tests,0) lint

# --- installing ------------------------------------------------------------------------------------------------------

root = $(DESTDIR)$(PREFIX)

install: all ## install program, man page, scenarios, targets and library under PREFIX=/usr/local (and DESTDIR)
	install -d $(root)/bin $(root)/share/man/man1 $(root)/share/harrow/scenarios $(root)/lib/pkgconfig
	install -m 755 $(program) $(root)/bin/harrow
	install -m 644 docs/harrow.1 $(root)/share/man/man1/harrow.1
	install -D -m 644 targets/node/wireshark.lua $(root)/share/harrow/wireshark/harrow.lua
	$(if $(wildcard scenarios/*.lua),install -m 644 $(wildcard scenarios/*.lua) $(root)/share/harrow/scenarios)
	install -D -m 644 -t $(root)/share/harrow/targets $(wildcard targets/*.lua)
	install -m 644 $(check_library) $(root)/lib/libharrow-check.a
	install -m 755 $(check_shared) $(root)/lib/$(notdir $(check_shared))
	ln -sf $(notdir $(check_shared)) $(root)/lib/$(check_soname)
	ln -sf $(check_soname) $(root)/lib/libharrow-check.so
	install -D -m 644 -t $(root)/include checkers/harrow-check.h
	install -D -m 644 -t $(root)/share/man/man3 docs/libharrow-check.3
	install -D -m 644 -t $(root)/share/harrow/examples $(wildcard docs/examples/*)
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(check_version)|' checkers/harrow-check.pc.in \
		>$(root)/lib/pkgconfig/harrow-check.pc

uninstall: ## remove what install installed
	rm -f $(root)/bin/harrow $(root)/share/man/man1/harrow.1 $(root)/share/man/man3/libharrow-check.3 \
		$(root)/lib/libharrow-check.* $(root)/lib/pkgconfig/harrow-check.pc $(root)/include/harrow-check.h
	rm -rf $(root)/share/harrow

clean: ## remove everything that was built
	rm -rf build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
