#!/usr/bin/env bash
# A machine with a running systemd to throw away: units, users, journal and reboots are real, and
# nothing of them reaches this machine.
#
#   start-systemd.sh check                      says what is missing here, and how to get it
#   start-systemd.sh start DIR [--while PID]    boots the machine and says how to run commands in it
#   start-systemd.sh run DIR COMMAND …          runs COMMAND in it, as root
#   start-systemd.sh reboot DIR                 shuts it down in order, and boots it with what it kept
#   start-systemd.sh stop DIR                   ends it and removes everything
#   start-systemd.sh with COMMAND …             runs COMMAND here; in it, `$PORTWAY_BED COMMAND …` runs there
#
# It is made of namespaces: this machine's file system as the lower layer, what changes in memory;
# a network of its own with nothing but loopback; processes, host name and control groups of its own.
# Needs root. DIR holds its process ids and its log. With --while it ends with the process of that id.
set -euo pipefail

# How long a boot or a shutdown may take, in tenths of a second.
PATIENCE=600
# What starts with the machine is what a test installs; these want a real one, or a person.
MASKED="systemd-udevd.service systemd-udev-trigger.service systemd-udev-settle.service systemd-udevd-kernel.socket
    systemd-udevd-control.socket systemd-logind.service systemd-networkd.service systemd-resolved.service
    systemd-timesyncd.service systemd-firstboot.service systemd-modules-load.service
    systemd-sysctl.service getty.target
    console-getty.service apparmor.service systemd-remount-fs.service tmp.mount"

main() {
    case "${1-} $#" in
    'check 1') check ;;
    'start 2') start "$2" ;;
    'start 4') [ "$3" = --while ] || usage; start "$2" "$4" ;;
    'reboot 2') reboot "$2" ;;
    'stop 2') stop "$2" ;;
    run\ *) [ $# -gt 2 ] || usage; shift; run_in "$@" ;;
    with\ *) [ $# -gt 1 ] || usage; shift; run_with "$@" ;;
    # What follows is for this script alone.
    'hold 2') hold "$2" ;;
    'init 2') init "$2" ;;
    *) usage ;;
    esac
}

usage() {
    sed -n 's/^#   \(start-systemd.sh [a-z]\)/usage: \1/p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

# --- what is needed -------------------------------------------------------------------------------

check() {
    local missing=() packages=()
    [ "$(uname -s)" = Linux ] || fail "a machine is made of namespaces, which only Linux has"
    want /lib/systemd/systemd systemd
    want /usr/bin/systemd-sysusers systemd
    want /usr/bin/dbus-daemon dbus
    want /usr/bin/journalctl systemd
    want ip iproute2
    want nsenter util-linux
    want unshare util-linux
    want flock util-linux
    if [ ${#missing[@]} -gt 0 ]; then
        fail "missing: ${missing[*]}; get it with: apt-get install --no-install-recommends ${packages[*]}"
    fi
    [ "$(id -u)" -eq 0 ] || fail "only root can make namespaces with users of their own; run it by sudo"
    unshare --mount --pid --net --uts --ipc --cgroup --fork true 2>/dev/null ||
        fail "this machine grants root no namespaces (a container does not, unless it is privileged)"
    # shellcheck disable=SC2016 # the inner shell expands these
    unshare --mount bash -c '
        mount -t tmpfs tmpfs /mnt && mkdir /mnt/{u,w,r,c} &&
        mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r &&
        mount -t cgroup2 cgroup2 /mnt/c && [ -w /mnt/c/cgroup.procs ]' 2>/dev/null ||
        fail "this machine can mount no overlay of its root, or no control groups"
}

want() { # program, package of Debian
    if command -v "$1" >/dev/null 2>&1; then return; fi
    missing+=("$1")
    case " ${packages[*]-} " in *" $2 "*) ;; *) packages+=("$2") ;; esac
}

# --- its life -------------------------------------------------------------------------------------

start() { # folder, process to end with
    local folder
    check
    mkdir -p "$1"
    folder=$(realpath "$1")
    exec 9>"$folder/lock"
    flock 9
    if ! is_running "$folder"; then
        stop "$folder"
        launch_holder "$folder"
        boot "$folder"
        if [ -n "${2-}" ]; then stop_after "$folder" "$2"; fi
    fi
    echo "run commands in it: $(realpath "${BASH_SOURCE[0]}") run $folder COMMAND …"
}

# A process that keeps network and files over a reboot.
launch_holder() { # folder
    setsid unshare --mount --net --propagation private "$(realpath "${BASH_SOURCE[0]}")" hold "$1" \
        </dev/null >"$1/log" 2>&1 9>&- &
    echo $! >"$1/holder"
    wait_until "$1" test -e "$1/held"
}

hold() { # folder
    ip link set lo up
    mkdir -p "$1/disk"
    mount -t tmpfs -o mode=755 tmpfs "$1/disk"
    mkdir "$1"/disk/{upper,work,root,cgroup}
    mount -t cgroup2 cgroup2 "$1/disk/cgroup"
    mkdir "$(cgroup_of "$1")"
    touch "$1/held"
    exec sleep infinity
}

cgroup_of() { # folder
    echo "$1/disk/cgroup/portway-bed-$(cat "$1/holder")"
}

boot() { # folder
    # The shell joins the control group before the namespace makes that the root.
    # shellcheck disable=SC2016 # the inner shell expands these
    setsid nsenter -t "$(cat "$1/holder")" --mount --net -- bash -c '
        echo $$ >"$1/cgroup.procs" || exit
        exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child --propagation private "$2" init "$3"' \
        boot "$(cgroup_of "$1")" "$(realpath "${BASH_SOURCE[0]}")" "$1" </dev/null >>"$1/log" 2>&1 9>&- &
    echo $! >"$1/parent"
    wait_until "$1" has_systemd "$1"
    wait_until "$1" run_quietly "$1" test -S /run/systemd/private
    wait_until "$1" has_booted "$1"
}

# The shell's own children come and go before.
has_systemd() { # folder
    local parent child
    parent=$(cat "$1/parent")
    child=$(cat "/proc/$parent/task/$parent/children")
    child=${child%% *}
    case $(readlink "/proc/$child/exe") in */systemd) echo "$child" >"$1/init" ;; *) return 1 ;; esac
}

# Some unit of this machine may fail in there; that is not the end of it.
has_booted() { # folder
    case $(run_in "$1" systemctl is-system-running 2>/dev/null) in running | degraded) ;; *) return 1 ;; esac
}

# The first process of the machine: makes its root, and becomes systemd.
init() { # folder
    local root=$1/disk/root device unit
    mount -t overlay overlay -o "lowerdir=/,upperdir=$1/disk/upper,workdir=$1/disk/work" "$root"
    cd "$root"
    mount -t proc proc proc
    # What the kernel is told there would hold for this machine, too.
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=1777 tmpfs tmp
    mount -t tmpfs -o mode=755 tmpfs dev
    for device in null zero full random urandom tty; do
        mknod -m 666 "dev/$device" c $((0x$(stat -c %t "/dev/$device"))) $((0x$(stat -c %T "/dev/$device")))
    done
    mknod -m 600 dev/console c 1 3
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    hostname bed
    if [ ! -e "$1/disk/installed" ]; then
        make_fresh
        touch "$1/disk/installed"
    fi
    mkdir -p .old
    pivot_root . .old
    umount -l .old
    exec env -i container=bed PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        chroot . /lib/systemd/systemd --show-status=no
}

# Nothing that runs or lies on this machine is to be met in there.
make_fresh() {
    echo bed >etc/hostname
    printf '127.0.0.1 localhost bed\n::1 localhost bed\n' >etc/hosts
    : >etc/machine-id
    : >etc/fstab
    rm -rf etc/systemd/system/*.wants etc/systemd/system/*.requires var/log/journal
    rm -rf etc/portway var/lib/portway var/lib/portway-edge var/log/portway-edge usr/local/bin/portway
    rm -f etc/systemd/system/portway*.service etc/sysusers.d/portway.conf
    for unit in $MASKED; do ln -sfn /dev/null "etc/systemd/system/$unit"; done
    ln -sfn /lib/systemd/system/multi-user.target etc/systemd/system/default.target
}

reboot() { # folder
    is_running "$1" || fail "no machine runs in $1; start-systemd.sh start $1"
    run_quietly "$1" systemctl poweroff || true
    wait_until "$1" has_ended "$(cat "$1/parent")"
    rm -f "$1/init"
    boot "$1"
}

stop() { # folder
    local holder
    if [ -e "$1/init" ]; then kill -9 "$(cat "$1/init")" 2>/dev/null || true; fi
    if [ -e "$1/parent" ]; then wait_until "$1" has_ended "$(cat "$1/parent")"; fi
    if [ -e "$1/holder" ]; then
        holder=$(cat "$1/holder")
        # shellcheck disable=SC2016 # the inner shell expands these
        nsenter -t "$holder" --mount -- find "$(cgroup_of "$1")" -depth -type d -exec rmdir {} \; 2>/dev/null || true
        kill -9 "$holder" 2>/dev/null || true
        wait_until "$1" has_ended "$holder"
    fi
    rm -rf "$1/disk" "$1"/{init,parent,holder,held}
}

# Waits in the background, without holding on to the caller's output.
stop_after() { # folder, process
    # shellcheck disable=SC2016 # the inner shell expands these
    setsid bash -c 'while kill -0 "$1" 2>/dev/null; do sleep 1; done; exec "$2" stop "$3"' \
        watch "$2" "$(realpath "${BASH_SOURCE[0]}")" "$1" </dev/null >/dev/null 2>&1 9>&- &
}

# --- commands -------------------------------------------------------------------------------------

run_in() { # folder, command
    local init
    init=$(cat "$1/init" 2>/dev/null) || fail "no machine runs in $1; start-systemd.sh start $1"
    shift
    nsenter -t "$init" --mount --pid --net --uts --ipc --cgroup --root --wd -- \
        env -i HOME=/root USER=root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

run_quietly() {
    run_in "$@" >/dev/null 2>&1
}

run_with() {
    local status=0
    folder=$(mktemp -d /tmp/portway-bed.XXXXXX)
    trap 'stop "$folder"; rm -rf "$folder"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start "$folder" >/dev/null
    exec 9>&-
    PORTWAY_BED="$(realpath "${BASH_SOURCE[0]}") run $folder" "$@" || status=$?
    exit "$status"
}

is_running() { # folder
    [ -e "$1/init" ] && kill -0 "$(cat "$1/init")" 2>/dev/null && run_quietly "$1" true
}

# One that nobody has asked for its status yet has ended, too.
has_ended() { # process
    [ ! -e "/proc/$1" ] || grep -q '^State:[[:space:]]*Z' "/proc/$1/status"
}

wait_until() { # folder, condition
    local folder=$1
    shift
    for _ in $(seq "$PATIENCE"); do
        if "$@" 2>/dev/null; then return; fi
        sleep 0.1
    done
    cat "$folder/log" >&2
    if [ -z "${is_giving_up-}" ]; then
        is_giving_up=yes
        stop "$folder"
    fi
    fail "waited in vain for: $*; its log is above"
}

fail() {
    echo "start-systemd: $*" >&2
    exit 1
}

main "$@"
