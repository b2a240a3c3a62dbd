#!/usr/bin/env bash
# Embedded files come out byte for byte as they went in, whatever is in them.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

top=$PWD
mkdir "$temporary/scenarios"
printf 'return "a\\n" -- ??/ \\ "quotes" %%d\n\n\tand \xc3\xa9, ?\n' >"$temporary/scenarios/odd.lua"
: >"$temporary/scenarios/empty.lua"
for i in $(seq 3000); do echo "-- line $i is longer than what ISO C promises for one literal"; done \
    >"$temporary/scenarios/long.lua"
cat >"$temporary/main.c" <<'C'
#include "harness/embedded.h"
#include <stdio.h>
int main(int argc, char **argv) {
    const struct embedded_file *file = argc == 2 ? embedded_find(argv[1]) : NULL;
    if (!file) return 1;
    return fwrite(file->text, 1, file->size, stdout) != file->size;
}
C
cd "$temporary"
files=(scenarios/empty.lua scenarios/long.lua scenarios/odd.lua)
"$top/harness/embed.sh" "${files[@]}" >embedded.c
for compiler in gcc clang; do
    $compiler -std=c17 -Wall -Wextra -Werror -I "$top" -o "embed-$compiler" main.c embedded.c "$top/harness/embedded.c"
    for file in "${files[@]}"; do
        "./embed-$compiler" "$file" >out
        if cmp out "$file" >difference 2>&1; then
            ok "embed: $file with $compiler"
        else
            not_ok "embed: $file with $compiler" "$(cat difference)"
        fi
    done
done
if ./embed-gcc scenarios/absent.lua; then
    not_ok "embed: an unknown name is not found"
else
    ok "embed: an unknown name is not found"
fi
finish
