# shellcheck shell=sh disable=SC2016 # the inner shell expands these
# Writes the files of one folder: put.sh FOLDER [./NAME …], the archive on standard input. In the
# archive: `sums`, what sha256sum is to find, and `files`. All of them are on disk before the first takes
# its place. A few are named, which takes fewer programs; without names it is all that arrive.
set -eu
umask 077
folder=$1
shift
flush() {
    if said=$(sync "$@" 2>&1); then return; fi
    # Old ones know no options, and bring everything to disk.
    case $said in *nvalid\ option* | *nrecognized\ option*) sync ;; *) echo "$said" >&2; exit 1 ;; esac
}
refuse_folders='for file; do
    if [ -d "$0/$file" ] && [ ! -L "$0/$file" ]; then echo "$0/${file#./}: Is a directory" >&2; exit 1; fi
done'
[ -d "$folder" ] || { ls -d -- "$folder/" >/dev/null || true; exit 44; }
for left in "$folder"/.portway-put-*; do
    if [ -d "$left" ]; then find "$left" -prune -mmin +60 -exec rm -rf -- {} + 2>/dev/null || true; fi
done
staging=$(mktemp -d "$folder/.portway-put-XXXXXX")
trap 'rm -rf -- "$staging"' EXIT
trap 'exit 129' HUP INT PIPE TERM
cd "$staging"
tar -xpomf -
sha256sum -c sums >/dev/null
cd files
if [ $# -gt 0 ]; then
    flush "$@"
    for file; do
        if [ -d "$folder/$file" ] && [ ! -L "$folder/$file" ]; then
            echo "$folder/${file#./}: Is a directory" >&2
            exit 1
        fi
    done
    mv -f -- "$@" "$folder/"
else
    flush -f "$staging"
    find . -type f -print0 | xargs -0 sh -c "$refuse_folders" "$folder"
    find . -type f -print0 | xargs -0 sh -c 'exec mv -f -- "$@" "$0"' "$folder/"
fi
flush "$folder"
