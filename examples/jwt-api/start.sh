#!/usr/bin/env bash
# Starts the application of this example: Redis and Gunicorn, each on a unix socket.
#
#   start.sh          starts what does not run, and says where everything is
#   start.sh app      restarts the application
#   start.sh redis    restarts Redis
#
# Environment:
#   RUN_DIR             where sockets, secrets, data and logs are kept (default: run/ beside this)
#   PORTWAY_PYTHON_ENV  a Python environment to use and to fill (default: $RUN_DIR/venv)
#   PYTHON              the Python that makes the environment (default: python3)
#   REDIS_SERVER        the Redis to run (default: redis-server)
#   SOCKET_GROUP        the group that may connect to the application (default: that of its user)
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
  case "${1-}" in
  '' | app | redis) ;;
  *) die "usage: start.sh [app|redis]" ;;
  esac
  enter_run_dir
  ensure_python
  ensure_redis
  in_app_python -m app.provision "$RUN_DIR"
  [[ -z ${1-} ]] || stop_part "$1"
  case "${1-}" in
  redis) start_redis ;;
  app) start_app ;;
  *)
    pid_of redis >/dev/null || start_redis
    pid_of app >/dev/null || start_app
    ;;
  esac
  report
}

start_redis() { start_part redis "$REDIS_SERVER" "$HERE/redis.conf"; }

start_app() {
  start_part app env -u GUNICORN_CMD_ARGS PYTHONDONTWRITEBYTECODE=1 \
    "$PYTHON_ENV/bin/python" -m gunicorn --config "$HERE/app/gunicorn.conf.py"
}

report() {
  local name user password
  say "application  $(state_of app)  unix:$RUN_DIR/flask.sock"
  say "redis        $(state_of redis)  unix:$RUN_DIR/redis/redis.sock"
  say "logs         $RUN_DIR/app/log, $RUN_DIR/redis/log"
  say
  while IFS=$'\t' read -r name user password; do
    case "$name" in
    api) say "login of the API (POST /flask/auth/login)  user $user  password $password" ;;
    close) say "login of /close/ (basic auth)              user $user  password $password" ;;
    esac
  done < <(in_app_python -m app.provision "$RUN_DIR" show)
  say
  say "publish it:  portway apply -f $(quoted "$HERE/portway.yaml") --set run_dir=$(quoted "$RUN_DIR")"
  say "stop it:     RUN_DIR=$(quoted "$RUN_DIR") $(quoted "$HERE/stop.sh")"
}

# Prints a path so that it can be pasted into a shell.
quoted() { printf '%q' "$1"; }

state_of() {
  local pid
  if pid=$(pid_of "$1"); then say "running (process $pid)"; else say "stopped"; fi
}

main "$@"
