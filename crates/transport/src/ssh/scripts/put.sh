# shellcheck shell=sh disable=SC2016 # the inner shell expands these
# Writes the files of one folder: put.sh FOLDER COUNT, the archive on standard input. In the archive: `sums`,
# what sha256sum is to find, and `files`. All of them are on disk before the first takes its place.
set -eu
umask 077
flush() {
    if said=$(sync "$@" 2>&1); then return; fi
    # Old ones know no options, and bring everything to disk.
    case $said in *nvalid\ option* | *nrecognized\ option*) sync ;; *) echo "$said" >&2; exit 1 ;; esac
}
[ -d "$1" ] || { ls -d -- "$1/" >/dev/null || true; exit 44; }
find "$1" ! -path "$1" -prune -type d -name '.portway-put-*' -mmin +60 -exec rm -rf -- {} + 2>/dev/null || true
staging=$(mktemp -d "$1/.portway-put-XXXXXX")
trap 'rm -rf -- "$staging"' EXIT
trap 'exit 129' HUP INT PIPE TERM
cd "$staging"
tar -xpomf -
sha256sum -c sums >/dev/null
# A few are brought to disk one by one; for many, the whole file system is.
if [ "$2" -le 16 ]; then find files -type f -print0 | xargs -0 sync; else flush -f "$staging"; fi
cd files
find . -type f -print0 | xargs -0 sh -c '
    for file; do
        if [ -d "$0/$file" ] && [ ! -L "$0/$file" ]; then echo "$0/${file#./}: Is a directory" >&2; exit 1; fi
    done' "$1"
find . -type f -print0 | xargs -0 sh -c 'exec mv -f -- "$@" "$0"' "$1/"
flush "$1"
