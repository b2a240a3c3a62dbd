# What the shell tests share: their way to report, a folder for temporary files, and the list of the tree's files.
# A test reports each behaviour in one line, "ok ...", "not ok ..." or "skip ...", and leaves with status 0 or 1.
# shellcheck shell=bash
set -euo pipefail
export LC_ALL=C.UTF-8
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failures=0
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

ok() { echo "ok $1"; }
skip() { echo "skip $1"; }
not_ok() { # what, and optionally the evidence
    echo "not ok $1"
    [ $# -lt 2 ] || printf '    %s\n' "${2//$'\n'/$'\n'    }"
    failures=$((failures + 1))
}
finish() { exit $((failures > 0)); }

# expect_none WHAT TEXT: ok when TEXT (what a search for violations found) is empty.
expect_none() {
    if [ -z "$2" ]; then ok "$1"; else not_ok "$1" "$2"; fi
}
# expect_found WHAT PATTERN TEXT: ok when TEXT (the findings in a planted tree) has a line that matches PATTERN.
expect_found() {
    if grep -Eq -- "$2" <<<"$3"; then ok "$1"; else not_ok "$1" "no line matches '$2' in: $3"; fi
}

# The files of the tree that are or may become part of a commit, one a line; in a tree without git, all but build/.
tree_files() {
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files --cached --others --exclude-standard | while read -r file; do
            [ ! -f "$file" ] || echo "$file"
        done
    else
        find . -name .git -prune -o -path ./build -prune -o -path ./store -prune -o -type f -print | sed 's|^\./||'
    fi
}
