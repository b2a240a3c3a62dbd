#!/usr/bin/env bash
# The C code is formatted as .clang-format says. `tests/format.sh fix` formats it in place.
# Releases of clang-format differ in details, so only the one the tree is formatted with may judge.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

wanted=14
if ! command -v clang-format >/dev/null; then
    skip "format: clang-format is not installed"
    finish
fi
found=$(clang-format --version | sed -E 's/.*version ([0-9]+).*/\1/')
mapfile -t files < <(tree_files | grep -E '\.[ch]$' | sort)

if [ "${1:-}" = fix ]; then
    [ "$found" = "$wanted" ] || echo "note: this is clang-format $found; the tree is checked with $wanted" >&2
    clang-format -i "${files[@]}"
elif [ "$found" != "$wanted" ]; then
    skip "format: the tree is checked with clang-format $wanted, this is $found"
else
    expect_none "format: ${#files[@]} C files are formatted ('make format' mends it)" \
        "$(clang-format --dry-run -Werror "${files[@]}" 2>&1 | grep -E 'error:' | cut -d: -f1 | uniq -c || true)"
fi
finish
