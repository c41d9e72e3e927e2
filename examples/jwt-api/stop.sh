#!/usr/bin/env bash
# Stops what start.sh started, by its process id. Data and secrets stay in the run folder.
#
#   stop.sh          stops both
#   stop.sh app      stops the application only
#   stop.sh redis    stops Redis only
#
# RUN_DIR names the run folder, as for start.sh.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
  local -a parts
  case "${1-}" in
  '') parts=(app redis) ;;
  app | redis) parts=("$1") ;;
  *) die "usage: stop.sh [app|redis]" ;;
  esac
  if [[ ! -d ${RUN_DIR:-$HERE/run} ]]; then
    say "nothing runs: there is no folder ${RUN_DIR:-$HERE/run}"
    return
  fi
  enter_run_dir
  local part
  for part in "${parts[@]}"; do
    if pid_of "$part" >/dev/null; then
      stop_part "$part"
      say "$part stopped"
    else
      stop_part "$part"
      say "$part was not running"
    fi
  done
}

main "$@"
