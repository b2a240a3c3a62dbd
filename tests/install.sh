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
    expect_none "install: the man pages are without errors" \
        "$(groff -mandoc -Tutf8 -ww "$top"/share/man/man?/*.? 2>&1 >/dev/null)"
else
    skip "install: the man pages are without errors: groff is not installed"
fi

# --- libharrow-check: the installed example, linked in both ways ---

export PKG_CONFIG_PATH=$top/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$stage
mapfile -t cflags < <(pkg-config --cflags harrow-check | tr ' ' '\n' | grep -v '^$')
mapfile -t libs < <(pkg-config --libs harrow-check | tr ' ' '\n' | grep -v '^$')
example=$top/share/harrow/examples/check.c
event() { # process, type, function, value, time
    printf '{"process":%s,"type":"%s","f":"%s","key":"x","value":%s,"time":%s}\n' "$@"
}
{
    event 0 invoke write 1 10
    event 0 ok write 1 20
    event 1 invoke read null 30
    event 1 ok read 1 40
} >"$temporary/valid.jsonl"
sed '$s/"value":1/"value":2/' "$temporary/valid.jsonl" >"$temporary/invalid.jsonl"

# Does the program find what is in the two files, and say so by its status, with and without the name of the check?
judges() { # program
    local status=0 said
    said=$(LD_LIBRARY_PATH=$top/lib "$1" "$temporary/valid.jsonl" register) || return 1
    [[ $said == "valid: "* ]] || return 1
    said=$(LD_LIBRARY_PATH=$top/lib "$1" "$temporary/invalid.jsonl") || status=$?
    [ "$status" -eq 1 ] && [[ $said == *"invalid: "*"returned 2, which nobody had written"* ]]
}
compiler=${CC:-gcc}
if "$compiler" -std=c17 -Wall -Wextra -Werror -pedantic "${cflags[@]}" "$example" -o "$temporary/shared" "${libs[@]}" \
    >"$temporary/log" 2>&1 && judges "$temporary/shared" >>"$temporary/log" 2>&1; then
    ok "install: the example builds against the shared library and judges"
else
    not_ok "install: the example builds against the shared library and judges" "$(cat "$temporary/log")"
fi
expect_found "install: it needs the library by its soname" 'NEEDED.*libharrow-check\.so\.[0-9]+\]' \
    "$(readelf -d "$temporary/shared" 2>/dev/null)"
mapfile -t static_libs < <(pkg-config --static --libs harrow-check | sed 's/-lharrow-check/-l:libharrow-check.a/' |
    tr ' ' '\n' | grep -v '^$')
if "$compiler" -std=c17 "${cflags[@]}" "$example" -o "$temporary/static" "${static_libs[@]}" \
    >"$temporary/log" 2>&1 && judges "$temporary/static" >>"$temporary/log" 2>&1; then
    ok "install: the example builds against the static library and judges"
else
    not_ok "install: the example builds against the static library and judges" "$(cat "$temporary/log")"
fi
expect_none "install: the static example needs no library of harrow" \
    "$(readelf -d "$temporary/static" 2>/dev/null | grep harrow || true)"
printf '#include <harrow-check.h>\nint main() { harrow_history_free(harrow_history_new()); }\n' >"$temporary/user.cc"
if ! command -v g++ >/dev/null; then
    skip "install: the header serves C++: g++ is not installed"
elif g++ -Wall -Wextra -Werror "${cflags[@]}" "$temporary/user.cc" -o "$temporary/user" "${libs[@]}" \
    >"$temporary/log" 2>&1; then
    ok "install: the header serves C++"
else
    not_ok "install: the header serves C++" "$(cat "$temporary/log")"
fi
declared=$(sed -n 's/^HARROW_API.*[ *]\(harrow_[a-z_]*\)(.*/\1/p' checkers/harrow-check.h | sort)
exported=$(nm -D --defined-only "$top/lib/libharrow-check.so" | sed -n 's/.* T \([^@]*\).*/\1/p' | sort)
expect_none "install: the shared library exports what the header declares, and nothing else" \
    "$(diff <(echo "$declared") <(echo "$exported") || true)"
expect_none "install: the static library defines no other names" \
    "$(nm "$top/lib/libharrow-check.a" | sed -n 's/.* [TDBRCVW] //p' | grep -v '^harrow_' || true)"

in_stage uninstall || not_ok "install: make uninstall works" "$(tail -n 20 "$temporary/log")"
expect_none "install: nothing is left after make uninstall" "$(find "$stage" ! -type d)"
finish
