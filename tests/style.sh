#!/usr/bin/env bash
# What clang-format cannot see: lengths of lines and files, stray characters, comments that should not be there, vague
# types, and traces of the machine a file was written on. Each rule is a filter that prints one line per violation; the
# last part plants one violation of each rule and demands that it is found.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

line_length_max=120
file_lines_max=800

# Comments are /* */; so a line that starts with // is code that was put aside. Inside /* */, a whole statement is.
disabled_c_pattern='^[[:space:]]*//|^[[:space:]]*#[[:space:]]*if 0'
disabled_c_pattern+='|/\*[[:space:]]*([a-z_0-9]+\(.*\)|[a-z_0-9.>-]+ = .*|return .*);[[:space:]]*\*/'
disabled_lua_pattern='^[[:space:]]*--+[[:space:]]*'
disabled_lua_pattern+='(local [a-zA-Z_]+ =|return [^ ]+$|end\)?$|(if|for|while) .* (then|do)$|[a-z_.:]+\(.*\)$)'
# A parameter that is a size or a count, or a member of a struct in a header, is size_t or has a fixed width; a local
# may hold what libc or Lua returns.
vague_type='(int|long|unsigned)[[:space:]]+((n|num|nb)_[a-z_]+|[a-z_]*(bytes|size|count|length|capacity))[[:space:]]*'
vague_parameter_pattern="[(,][[:space:]]*(unsigned )?${vague_type}[,)]"
vague_member_pattern="^[[:space:]]+(unsigned )?${vague_type}[;,]"

# Each rule takes file names and prints "file:line: ..." per violation; findings calls it.
# shellcheck disable=SC2317
{
    at() { sed -E "s/^([^:]+:[0-9]+):.*/\1: $1/"; }
    long_lines() { grep -EnH "^.{$((line_length_max + 1))}" "$@" | at 'line too long'; }
    tabs() { grep -nH $'\t' "$@" | at 'tab'; }
    stray_ends() { grep -EnH '[[:space:]]$' "$@" | at 'space at the end of the line'; }
    long_files() {
        awk -v max="$file_lines_max" 'FNR == max + 1 {print FILENAME ": more than " max " lines; is it one room?"}' "$@"
    }
    no_opening_comment() {
        awk 'FNR == 1 && !/^(\/\*|--)/ {print FILENAME ": does not start by saying what lives here"}' "$@"
    }
    unfinished() { grep -EnHw 'TO''DO|FIX''ME|X''XX|HA''CK' "$@"; }
    disabled_c() { grep -EnH "$disabled_c_pattern" "$@"; }
    disabled_lua() { grep -EnH "$disabled_lua_pattern" "$@"; }
    vague_parameters() { grep -EnH "$vague_parameter_pattern" "$@"; }
    vague_members() { grep -EnH "$vague_member_pattern" "$@"; }
    machine_paths() { grep -EnH '/wo''rk/(main|shared)|/ho''me/[a-z]+/|/tmp/bash''_jobs' "$@"; }
}

# findings RULE FILES...: that grep finds nothing is status 1, and fine.
findings() {
    local rule=$1
    shift
    [ $# -eq 0 ] || "$rule" "$@" || true
}

# --- the tree ---

mapfile -t all < <(tree_files | grep -Ev '\.(png|svg|gz|db|edn|jsonl|log|pcap)$|^tests/corpus/' | sort)
only() { printf '%s\n' "${all[@]}" | grep -E "$1" || true; }
mapfile -t c_files < <(only '\.[ch]$')
mapfile -t headers < <(only '\.h$')
mapfile -t lua_files < <(only '\.lua$')
mapfile -t code < <(only '\.([ch]|def|lua|sh|awk)$|^\.ci/|^Makefile$')
mapfile -t untabbed < <(only '\.([ch]|lua|sh|awk|md|yml)$|^\.ci/')
sources=("${c_files[@]}" "${lua_files[@]}")

check() { # rule, what holds, files
    local rule=$1 what=$2
    shift 2
    expect_none "style: $what ($# files)" "$(findings "$rule" "$@")"
}
check long_lines "lines have at most $line_length_max characters" "${code[@]}"
check tabs "no tabs" "${untabbed[@]}"
check stray_ends "no spaces at the ends of lines" "${all[@]}"
check long_files "files have at most $file_lines_max lines" "${sources[@]}"
check no_opening_comment "files start by saying what lives there" "${sources[@]}"
check unfinished "nothing is marked as unfinished" "${code[@]}"
check disabled_c "no C code in comments" "${c_files[@]}"
check disabled_lua "no Lua code in comments" "${lua_files[@]}"
check vague_parameters "parameters that are sizes have a fit type" "${c_files[@]}"
check vague_members "members that are sizes have a fit type" "${headers[@]}"
check machine_paths "no paths of one machine" "${all[@]}"

# --- the test itself ---

cd "$temporary"
plant() { printf '%b\n' "$2" >"$1"; }
found() { # rule, file
    expect_found "style finds $1" "^$2:" "$(findings "$1" "$2" clean.c)"
}
plant clean.c '/* Calm: frees what it must (a != b); "// no". */\nsize_t size;\nint count_all(int size_class);'
printf '%s\n' '/* x */' "$(printf 'x%.0s' {1..121})" >long.c
plant tab.c '/* x */\n\tint a;'
plant space.c '/* x */ \nint a;'
seq 801 >many.c
plant headless.lua 'return {}'
plant unfinished.c '/* TO''DO: all of it */'
plant disabled.c '/* x */\n// x = 1;'
plant disabled2.c '/* x */\n/* free(x); */'
plant disabled.lua '-- x\n-- local x = 1'
plant vague.h '/* x */\nstruct x {\n    int n_bytes;\n};'
plant vague.c '/* x */\nvoid f(int size, char c);'
plant path.md 'see /wo''rk/main/base'
found long_lines long.c
found tabs tab.c
found stray_ends space.c
found long_files many.c
found no_opening_comment headless.lua
found unfinished unfinished.c
found disabled_c disabled.c
found disabled_c disabled2.c
found disabled_lua disabled.lua
found vague_members vague.h
found vague_parameters vague.c
found machine_paths path.md
for rule in long_lines tabs stray_ends long_files no_opening_comment unfinished disabled_c vague_parameters \
    vague_members; do
    expect_none "style: $rule is calm about clean code" "$(findings $rule clean.c)"
done
finish
