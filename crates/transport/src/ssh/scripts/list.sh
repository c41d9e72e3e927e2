# shellcheck shell=sh disable=SC2016 # the inner shell expands these
# Lists a folder: list.sh FOLDER. One line each: `s SIZE ./NAME` and `SHA-256  ./NAME` for a file,
# `l ./NAME` and its target for a link, `d ./NAME` for a folder, `o ./NAME` for what is none of these.
set -eu
cd -- "$1" 2>/dev/null || { ls -- "$1/" >/dev/null || true; exit 45; }
odd=$(find . ! -name . -prune -name '*[[:cntrl:]\\]*' -print)
if [ -n "$odd" ]; then printf %s "$odd"; exit 46; fi
found() { find . ! -name . -prune ! -name '.portway-put-*' "$@" -print0; }
found -type f | xargs -0 -r stat -c 's %s %n' --
found -type f | xargs -0 -r sha256sum --
found -type l | xargs -0 -r -n 1 sh -c 'printf "l %s\n" "$0"; exec readlink "$0"'
found -type d | xargs -0 -r printf 'd %s\n'
found ! -type f ! -type l ! -type d | xargs -0 -r printf 'o %s\n'
