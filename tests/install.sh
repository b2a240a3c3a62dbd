#!/usr/bin/env bash
# An installed harrow works from anywhere, others can build against its library, and uninstalling leaves nothing.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

read -ra make <<<"${HARROW_MAKE:-make}"
stage=$temporary/stage
in_stage() { # goal
    "${make[@]}" --no-print-directory "$1" PREFIX=/opt/harrow DESTDIR="$stage" >"$temporary/log" 2>&1
}

if ! in_stage install; then
    not_ok "install: make install works" "$(tail -n 20 "$temporary/log")"
    finish
fi
top=$stage/opt/harrow
scenarios=$(find scenarios -maxdepth 1 -name '*.lua' | wc -l)
(
    cd "$temporary"
    "$top/bin/harrow" scenarios >listed 2>&1
) || true
expect_none "install: the installed program lists all $scenarios scenarios from another folder" "$(
    for scenario in scenarios/*.lua; do
        name=$(basename "$scenario" .lua)
        grep -qw -- "$name" "$temporary/listed" || echo "$name is not listed"
    done
)"
(
    cd "$temporary"
    "$top/bin/harrow" targets >listed 2>&1
) || true
expect_none "install: the installed program knows every target, and its file can be read" "$(
    for target in targets/*.lua; do
        name=$(basename "$target" .lua)
        grep -q "^$name " "$temporary/listed" || echo "$name is not listed"
        cmp -s "$target" "$top/share/harrow/targets/$name.lua" || echo "$name.lua is not installed"
    done
)"
dissector=$top/share/harrow/wireshark/harrow.lua
if ! command -v tshark >/dev/null; then
    skip "install: tshark takes the dissector: tshark is not installed"
else
    # A capture without frames: the filter is an error unless the dissector is there.
    printf '\xd4\xc3\xb2\xa1\2\0\4\0\0\0\0\0\0\0\0\0\0\0\4\0\1\0\0\0' >"$temporary/empty.pcap"
    if tshark -X lua_script:"$dissector" -r "$temporary/empty.pcap" -Y harrow.term >"$temporary/log" 2>&1; then
        ok "install: tshark takes the dissector"
    else
        not_ok "install: tshark takes the dissector" "$(cat "$temporary/log")"
    fi
fi
if command -v groff >/dev/null; then
    expect_none "install: the man page is without errors" \
        "$(groff -mandoc -Tutf8 -ww "$top/share/man/man1/harrow.1" 2>&1 >/dev/null)"
else
    skip "install: the man page is without errors: groff is not installed"
fi

cat >"$temporary/user.c" <<'C'
#include "base/base.h"
#include "checkers/checkers.h"
#include "history/history.h"
#include <stdio.h>
int main(void) {
    return printf("%d\n", hash_bytes(bytes_str("harrow"), 1) != 0) < 0;
}
C
mapfile -t flags < <(
    PKG_CONFIG_PATH=$top/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$stage \
        pkg-config --cflags --libs harrow-check | tr ' ' '\n' | grep -v '^$' | sed "s|$stage/usr/|/usr/|"
)
if gcc -std=c17 -o "$temporary/user" "$temporary/user.c" "${flags[@]}" >"$temporary/log" 2>&1 &&
    [ "$("$temporary/user")" = 1 ]; then
    ok "install: a program of others builds against libharrow-check and runs"
else
    not_ok "install: a program of others builds against libharrow-check and runs" "$(cat "$temporary/log")"
fi

in_stage uninstall || not_ok "install: make uninstall works" "$(tail -n 20 "$temporary/log")"
expect_none "install: nothing is left after make uninstall" "$(find "$stage" -type f)"
finish
