# shellcheck shell=sh disable=SC2016 # the inner shell expands these
# Lists a folder: list.sh FOLDER. For each entry one line `s MODE SIZE ./NAME`, the mode in hexadecimal;
# then for each file `SHA-256  ./NAME`, and for each link `l ./NAME` with its target on the next line.
set -eu
cd -- "$1" 2>/dev/null || { ls -- "$1/" >/dev/null || true; exit 45; }
odd=$(find . ! -name . -prune -name '*[[:cntrl:]\\]*' -print)
if [ -n "$odd" ]; then printf %s "$odd"; exit 46; fi
found() { find . ! -name . -prune ! -name '.portway-put-*' "$@"; }
found -exec stat -c 's %f %s %n' -- {} +
found -type f -exec sha256sum -- {} +
found -type l -exec sh -c 'for link; do printf "l %s\n" "$link"; readlink "$link" || exit; done' sh {} +
