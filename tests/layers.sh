#!/usr/bin/env bash
# The house stands on its floors: an include only ever points down, rooms have one door, nothing runs in circles, and
# protocol code sees nothing but base/ and its own interface. The last part plants each violation in a temporary tree
# and demands that it is found.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What a room may include from beside itself.
floors='
base
history   base
checkers  history base
targets   base
nemesis   base
reports   history checkers base
harness   base history checkers nemesis targets reports
tests     base history checkers nemesis targets reports harness
'
protocol_libc='assert.h stdbool.h stddef.h stdint.h string.h'
# Offered by base/ but not to protocols: whatever allocates.
protocol_forbidden='x?(malloc|calloc|realloc)|free|xstrdup|xformat|arena_[a-z]+|buffer_[a-z]+|map64_put|heap_push'

# Prints each quoted include in the tree $1 as "file line target", where target is resolved as the compiler does:
# first beside the file, then from the top. What is in neither place keeps a leading "?".
quoted_includes() {
    (cd "$1" && find . -path ./build -prune -o -name '*.[ch]' -print | sed 's|^\./||' | sort |
        xargs -r grep -En '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' /dev/null |
        sed -E 's/^([^:]+):([0-9]+):[^"]*"([^"]+)".*/\1 \2 \3/' |
        while read -r file line target; do
            if [ -f "$(dirname "$file")/$target" ]; then
                target=$(realpath --relative-to=. "$(dirname "$file")/$target")
            elif [ ! -f "$target" ]; then
                target="?$target"
            fi
            echo "$file $line $target"
        done)
}

# The checks below read the output of quoted_includes and print one line per violation.

unknown_files() {
    awk '$3 ~ /^\?/ {print $1 ":" $2 ": includes \"" substr($3, 2) "\", which is not in the tree"}'
}

upward_includes() {
    awk -v floors="$floors" '
        BEGIN {
            lines = split(floors, line, "\n")
            for (i = 1; i <= lines; i++) {
                count = split(line[i], word, " ")
                for (j = 1; j <= count; j++) allowed[word[1], word[j]] = 1
                if (count) room[word[1]] = 1
            }
        }
        $3 ~ /^\?/ {next}
        {
            from = $1; sub("/.*", "", from)
            to = $3; sub("/.*", "", to)
            if (!(from in room)) print $1 ": is in no room of the house"
            else if (!((from, to) in allowed)) print $1 ":" $2 ": " from "/ may not include " $3
        }'
}

# A header named internal.h or *_internal.h belongs to its folder and the folders in it; tests may look inside.
opened_doors() {
    awk '
        $3 ~ /[_\/]internal\.h$/ && $1 !~ /^tests\// {
            from = $1; sub("/[^/]*$", "", from)
            to = $3; sub("/[^/]*$", "", to)
            if (index(from "/", to "/") != 1) print $1 ":" $2 ": includes the private header " $3
        }'
}

# Circles of files, and circles of folders that do not contain one another.
circles() {
    local includes
    includes=$(cat)
    {
        awk '$3 !~ /^\?/ {print $1, $3}' <<<"$includes" | tsort 2>&1 >/dev/null || true
        awk '
            $3 !~ /^\?/ && $1 !~ /^tests\// {
                from = $1; sub("/[^/]*$", "/", from)
                to = $3; sub("/[^/]*$", "/", to)
                if (index(from, to) != 1 && index(to, from) != 1) print from, to
            }' <<<"$includes" | tsort 2>&1 >/dev/null || true
    } | sed -n 's/^tsort: /in a circle: /p' | grep -v 'input contains a loop' || true
}

# Of the tree $1: what protocol code may not see. Takes the includes from standard input.
protocol_reach() {
    local folder=targets/protocols
    awk -v folder="$folder/" '
        index($1, folder) == 1 && $3 !~ /^\?/ {
            own = $1; sub("/[^/]*$", "/", own)
            if (index($3, "base/") != 1 && index($3, own) != 1 && $3 !~ ("^" folder "[^/]*$"))
                print $1 ":" $2 ": protocol code may not include " $3
        }'
    [ -d "$1/$folder" ] || return 0
    { grep -rEn '^[[:space:]]*#[[:space:]]*include[[:space:]]*<' "$1/$folder" || true; } |
        sed -E 's|^.*/(targets/protocols/[^:]+):([0-9]+):[^<]*<([^>]+)>.*|\1 \2 \3|' |
        awk -v libc="$protocol_libc" '
            BEGIN {split(libc, header, " "); for (i in header) allowed[header[i]] = 1}
            !($3 in allowed) {print $1 ":" $2 ": protocol code may not include <" $3 ">"}'
    { grep -rEn --include='*.[ch]' "(^|[^A-Za-z0-9_])($protocol_forbidden)\(" "$1/$folder" || true; } |
        sed -E 's|^.*/(targets/protocols/[^:]+:[0-9]+):.*|\1: protocol code may not allocate|'
}

# What runs in the simulator knows no time but the simulator's.
simulated_clocks() {
    awk '
        $3 == "base/clock.h" && $1 ~ /^(base\/|harness\/sim\/|nemesis\/[^\/]*$|targets\/(kv|wal|protocols)\/)/ &&
            $1 != "base/clock.c" {print $1 ":" $2 ": runs in the simulator and may not include " $3}'
}

# --- the tree ---

includes=$(quoted_includes .)
expect_none "layers: quoted includes name files of the tree" "$(unknown_files <<<"$includes")"
expect_none "layers: includes point down the floors" "$(upward_includes <<<"$includes")"
expect_none "layers: private headers stay in their folder" "$(opened_doors <<<"$includes")"
expect_none "layers: no includes in circles" "$(circles <<<"$includes")"
expect_none "layers: protocols see base/ and what is common to all of them" "$(protocol_reach . <<<"$includes")"
expect_none "layers: what is simulated reads no clock" "$(simulated_clocks <<<"$includes")"

# --- the test itself ---

plant() { # file, text
    mkdir -p "$temporary/$(dirname "$1")"
    printf '%b\n' "$2" >"$temporary/$1"
}
plant base/base.h '#include "history/history.h"'
plant history/history.h '#include "base/base.h"'
plant history/history_internal.h ''
plant checkers/search.c '#include "history/history_internal.h"\n#include "nowhere.h"'
plant nemesis/a.h '  #  include "b.h"'
plant nemesis/b.h '#include "nemesis/a.h"'
plant targets/kv/kv.h '#include "targets/wal/wal.h"'
plant targets/wal/wal.h '#include "targets/kv/kv_types.h"'
plant targets/kv/kv_types.h ''
plant targets/protocols/protocol.h '#include "base/base.h"'
plant targets/protocols/raft/raft.c '#include "targets/protocols/protocol.h"\n#include <time.h>\n#include <string.h>'
plant targets/protocols/paxos/paxos.c '#include "targets/kv/kv.h"\nvoid *p = malloc(1);'
plant base/clock.h ''
plant nemesis/disk.c '#include "base/clock.h"'
plant nemesis/switch/wait.c '#include "base/clock.h"'
plant attic/old.c '#include "base/base.h"'

includes=$(quoted_includes "$temporary")
expect_found "layers finds an include that is not in the tree" '^checkers/search.c:2: .*nowhere.h' \
    "$(unknown_files <<<"$includes")"
expect_found "layers finds an include that points up" '^base/base.h:1: ' "$(upward_includes <<<"$includes")"
expect_found "layers finds a file outside the house" '^attic/old.c: ' "$(upward_includes <<<"$includes")"
expect_found "layers finds an opened door" '^checkers/search.c:1: ' "$(opened_doors <<<"$includes")"
expect_found "layers finds a circle of files" 'circle: nemesis/[ab].h' "$(circles <<<"$includes")"
expect_found "layers finds a circle of folders" 'circle: targets/(kv|wal)/' "$(circles <<<"$includes")"
expect_found "layers finds a clock in the simulator" '^nemesis/disk.c:1: ' "$(simulated_clocks <<<"$includes")"
expect_none "layers leaves real time its clock" "$(simulated_clocks <<<"$includes" | grep switch || true)"
findings=$(protocol_reach "$temporary" <<<"$includes")
expect_found "layers finds a protocol that knows the time" '^targets/protocols/raft/raft.c:2: .*<time.h>' "$findings"
expect_found "layers finds a protocol that looks into the store" '^targets/protocols/paxos/paxos.c:1: ' "$findings"
expect_found "layers finds a protocol that allocates" '^targets/protocols/paxos/paxos.c:2: .*allocate' "$findings"
expect_none "layers finds nothing where nothing is" \
    "$(grep -E 'protocol.h:|raft.c:[13]|kv_types' <<<"$findings" || true)"
finish
