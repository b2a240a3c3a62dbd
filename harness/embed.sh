#!/usr/bin/env bash
# Writes the C source that holds the given text files (harness/embedded.h) to standard output: one string literal per
# line of text. A question mark is escaped because two of them can start a trigraph.
set -euo pipefail
export LC_ALL=C

echo '#include "harness/embedded.h"'
for i in $(seq "$#"); do
    printf '\nstatic const char text_%d[] =\n' "$i"
    sed -e 's/[\\"?]/\\&/g' -e 's/^/    "/' -e 's/$/\\n"/' "${!i}"
    echo '    "";'
done
printf '\nconst struct embedded_file embedded_files[] = {\n'
for i in $(seq "$#"); do
    printf '    {"%s", text_%d, sizeof text_%d - 1},\n' "${!i}" "$i" "$i"
done
printf '    {0}, /* keeps the array from being empty; not counted */\n};\n'
printf 'const size_t embedded_files_count = %d;\n' "$#"
