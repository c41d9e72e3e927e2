# shellcheck shell=sh disable=SC2016 # the inner shell expands these
# Makes a link name something, in one step: relink.sh FOLDER NAME TARGET.
set -eu
umask 077
[ -d "$1" ] || { ls -d -- "$1/" >/dev/null || true; exit 44; }
if [ -d "$1/$2" ] && [ ! -L "$1/$2" ]; then echo "$1/$2: Is a directory" >&2; exit 1; fi
staging=$(mktemp -d "$1/.portway-put-XXXXXX")
trap 'rm -rf -- "$staging"' EXIT
trap 'exit 129' HUP INT PIPE TERM
ln -s -- "$3" "$staging/$2"
mv -f -- "$staging/$2" "$1/"
sync "$1" 2>/dev/null || sync
