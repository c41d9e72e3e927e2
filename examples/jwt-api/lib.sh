# shellcheck shell=bash
# What start.sh and stop.sh share. Sourced, never run.
#
# A part (redis, app) is known by its pid file and by its working directory, $RUN_DIR/<part>:
# a recycled process id is never mistaken for it.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
START_SECONDS=20
STOP_SECONDS=15

die() {
  printf 'error: %s\n' "$@" >&2
  exit 1
}

say() { printf '%s\n' "$*"; }

# Makes RUN_DIR absolute and takes its lock for the rest of the script (descriptor 9).
enter_run_dir() {
  local longest
  RUN_DIR=$(realpath -m -- "${RUN_DIR:-$HERE/run}")
  export RUN_DIR
  longest=$RUN_DIR/redis/redis.sock
  # sun_path holds 108 bytes, the closing zero among them.
  (($(printf '%s' "$longest" | wc -c) <= 107)) ||
    die "the path $longest is too long for a unix socket (107 bytes at most); set RUN_DIR to a shorter one"
  # 0711: a proxy that runs as another user can reach the socket but list nothing.
  (umask 066 && mkdir -p -- "$RUN_DIR") ||
    die "cannot create the run folder $RUN_DIR"
  { exec 9>"$RUN_DIR/.lock"; } || die "cannot write to the run folder $RUN_DIR"
  flock -w 120 9 || die "another start.sh or stop.sh works in $RUN_DIR"
}

# Prints the process id of a part, or fails if it does not run.
pid_of() {
  local part=$1 pid
  pid=$(cat "$RUN_DIR/$part/pid" 2>/dev/null) || return 1
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  [[ $(readlink "/proc/$pid/cwd" 2>/dev/null) == "$RUN_DIR/$part" ]] || return 1
  printf '%s\n' "$pid"
}

# Runs a command as the daemon of a part and waits until the part answers.
start_part() {
  local part=$1 pid
  shift
  [[ -d $RUN_DIR/$part ]] || mkdir -m 0700 -- "$RUN_DIR/$part"
  (
    cd -- "$RUN_DIR/$part" || exit
    # A session of its own, and neither the terminal nor the lock.
    exec setsid "$@" </dev/null >>log 2>&1 9>&-
  ) &
  pid=$!
  printf '%s\n' "$pid" >"$RUN_DIR/$part/pid"
  if ! in_app_python -m app.probe "$part" "$RUN_DIR" "$pid" "$START_SECONDS"; then
    tail -n 15 -- "$RUN_DIR/$part/log" >&2
    stop_part "$part"
    die "$part did not start; its log is $RUN_DIR/$part/log"
  fi
}

# Ends a part by its process id: politely, then not. Does nothing if it does not run.
stop_part() {
  local part=$1 pid deadline=$((SECONDS + STOP_SECONDS))
  if pid=$(pid_of "$part"); then
    kill -TERM "$pid" 2>/dev/null || true
    while pid_of "$part" >/dev/null; do
      if ((SECONDS >= deadline)); then
        say "$part does not end within $STOP_SECONDS s; killing process $pid"
        kill -KILL "$pid" 2>/dev/null || true
        deadline=$((SECONDS + STOP_SECONDS))
      fi
      sleep 0.05
    done
  fi
  rm -f -- "$RUN_DIR/$part/pid"
}

# Runs the Python of the example's environment, with the application importable. It writes no
# bytecode, which would otherwise lie among the sources.
in_app_python() {
  PYTHONPATH=$HERE PYTHONDONTWRITEBYTECODE=1 "$PYTHON_ENV/bin/python" "$@"
}

# Makes the Python environment, or brings it to the pinned versions. Quick if it is current.
ensure_python() {
  PYTHON_ENV=${PORTWAY_PYTHON_ENV:-$RUN_DIR/venv}
  local stamp=$PYTHON_ENV/.jwt-api-requirements.txt
  mkdir -p -- "$(dirname -- "$PYTHON_ENV")"
  # Others may share the environment, so it has a lock of its own.
  exec 8>"$PYTHON_ENV.lock"
  flock -w 600 8 || die "another process is setting up $PYTHON_ENV"
  if ! { cmp -s "$HERE/requirements.txt" "$stamp" && "$PYTHON_ENV/bin/python" -c '' 2>/dev/null; }; then
    say "installing the Python packages into $PYTHON_ENV"
    make_python_env
    "$PYTHON_ENV/bin/python" -m pip install --quiet --disable-pip-version-check \
      --no-deps --requirement "$HERE/requirements.txt" ||
      die "cannot install the packages of $HERE/requirements.txt; pip's message is above"
    cp -- "$HERE/requirements.txt" "$stamp"
  fi
  exec 8>&-
}

make_python_env() {
  local python=${PYTHON:-python3}
  "$PYTHON_ENV/bin/python" -m pip --version >/dev/null 2>&1 && return
  command -v "$python" >/dev/null || install_packages "Python 3.9 or later" python3 python3-venv
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
    die "$("$python" --version) is too old; set PYTHON to Python 3.9 or later"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    install_packages "Python's venv module" python3-venv
  "$python" -m venv -- "$PYTHON_ENV" || die "cannot create the Python environment $PYTHON_ENV"
}

ensure_redis() {
  REDIS_SERVER=${REDIS_SERVER:-redis-server}
  command -v "$REDIS_SERVER" >/dev/null || install_packages "$REDIS_SERVER" redis-server
}

# Installs Debian packages when that is ours to do, else says how. Starts no service.
install_packages() {
  local what=$1
  shift
  if ! command -v apt-get >/dev/null; then
    die "$what is missing; install it with your system's package manager" \
      "(another Redis, such as valkey-server, can be named by REDIS_SERVER, another Python by PYTHON)"
  fi
  ((EUID == 0)) ||
    die "$what is missing; install it with: sudo apt-get install --no-install-recommends $*"
  say "installing $* (no service is started)"
  without_services apt_install "$@"
  # The package would have its service start at the next boot; the example runs its own Redis.
  if [[ " $* " == *" redis-server "* ]] && command -v systemctl >/dev/null; then
    systemctl disable --quiet redis-server.service ||
      say "note: redis-server.service could not be disabled and may start at the next boot"
  fi
}

apt_install() {
  local -a install=(apt-get install --yes --quiet=2 --no-install-recommends "$@")
  export DEBIAN_FRONTEND=noninteractive
  "${install[@]}" >/dev/null 2>&1 || {
    apt-get update --quiet=2 && "${install[@]}" >/dev/null
  } || die "apt-get cannot install $*; its message is above"
}

# Runs a command while the system's policy forbids packages to start services.
without_services() (
  local policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap 'rm -f -- "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
  fi
  "$@"
)
