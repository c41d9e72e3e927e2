# shellcheck shell=sh disable=SC2016 # the inner shell expands these
# Lists folders: list.sh FOLDER …. A folder that is not there is told as `n FOLDER`. For each entry of the
# others one line `s MODE SIZE FOLDER/./NAME`, the mode in hexadecimal; then for each file
# `SHA-256  FOLDER/./NAME`, and for each link `l FOLDER/./NAME` with its target on the next line.
set -eu
for folder; do
    shift
    if (cd -- "$folder") 2>/dev/null; then
        set -- "$@" "${folder%/}/."
    elif said=$(ls -- "$folder/" 2>&1 >/dev/null); then
        exit 45
    else
        case $said in
        *"No such file or directory"*) printf 'n %s\n' "$folder" ;;
        *) printf '%s\n' "$said" >&2; exit 45 ;;
        esac
    fi
done
[ $# -gt 0 ] || exit 0
odd=$(find "$@" ! -name . -prune -name '*[[:cntrl:]\\]*' -print)
if [ -n "$odd" ]; then printf %s "$odd"; exit 46; fi
find "$@" ! -name . -prune ! -name '.portway-put-*' -exec stat -c 's %f %s %n' -- {} +
find "$@" ! -name . -prune ! -name '.portway-put-*' -type f -exec sha256sum -- {} +
find "$@" ! -name . -prune ! -name '.portway-put-*' -type l -exec sh -c \
    'for link; do printf "l %s\n" "$link"; readlink "$link" || exit; done' sh {} +
