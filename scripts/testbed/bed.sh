#!/usr/bin/env bash
# Machines to reach over SSH and to throw away: each has its own files, users, processes, network and
# host key, and nothing of them reaches this machine.
#
#   bed.sh check                        says what is missing here, and how to get it
#   bed.sh up DIR COUNT [--while PID]   starts machines 1 to COUNT, and a hub that reaches them
#   bed.sh add DIR N                    starts one more
#   bed.sh del DIR N                    ends one; what was on it is gone
#   bed.sh address DIR N                prints its address
#   bed.sh run DIR N COMMAND …          runs COMMAND in it, as root
#   bed.sh hub DIR COMMAND …            runs COMMAND of this machine where all of them can be reached
#   bed.sh hub-file DIR                 prints the file of the hub's network, for `setns`
#   bed.sh cut DIR N                    takes its cable out;            bed.sh heal DIR N puts it in
#   bed.sh freeze DIR N                 stops all that runs on it;      bed.sh thaw DIR N lets it go on
#   bed.sh kill-sshd DIR N              ends its SSH server, at once;   bed.sh start-sshd DIR N
#   bed.sh down DIR                     ends all and removes what they left
#
# Root and the user `deploy` log in with the key DIR/id; DIR/known_hosts has the machines' keys.
# A machine is made of namespaces: this machine's file system as the lower layer, what changes in
# memory. Needs root. With --while all ends with the process of that id.
set -euo pipefail

# How long a machine may take to start or end, in hundredths of a second.
PATIENCE=2000
# The hub has the first address. Beds have networks of their own, so all use the same.
NETWORK=10.77

main() {
    case "${1-} $#" in
    'check 1') check ;;
    'up 3') up "$2" "$3" ;;
    'up 5') [ "$4" = --while ] || usage; up "$2" "$3" "$5" ;;
    'add 3') start_node "$(realpath "$2")" "$3" ;;
    'del 3') end_node "$(realpath "$2")" "$3" ;;
    'address 3') address_of "$3" ;;
    'hub-file 2') echo "/run/netns/$(hub_of "$(realpath "$2")")" ;;
    'cut 3') ip -n "$(hub_of "$(realpath "$2")")" link set "v$3" down ;;
    'heal 3') ip -n "$(hub_of "$(realpath "$2")")" link set "v$3" up ;;
    'freeze 3') signal_all "$2" "$3" STOP ;;
    'thaw 3') signal_all "$2" "$3" CONT ;;
    'kill-sshd 3') run_in "$2" "$3" pkill -KILL -x sshd ;;
    'start-sshd 3') run_in "$2" "$3" /usr/sbin/sshd ;;
    'down 2') down "$2" ;;
    run\ *) [ $# -gt 3 ] || usage; shift; run_in "$@" ;;
    hub\ *) [ $# -gt 2 ] || usage; on_hub "${@:2}" ;;
    # What follows is for this script alone.
    'init 3') init "$2" "$3" ;;
    *) usage ;;
    esac
}

usage() {
    sed -n 's/^#   \(bed.sh [a-z]\)/usage: \1/p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

# --- what is needed -------------------------------------------------------------------------------

check() {
    local missing=() packages=()
    [ "$(uname -s)" = Linux ] || fail "a machine is made of namespaces, which only Linux has"
    want ip iproute2
    want nsenter util-linux
    want pkill procps
    want sudo sudo
    want useradd passwd
    want ssh-keygen openssh-client
    want /usr/sbin/sshd openssh-server
    if [ ${#missing[@]} -gt 0 ]; then
        fail "missing on this machine: ${missing[*]}; get it with: apt-get install --no-install-recommends ${packages[*]}"
    fi
    [ "$(id -u)" -eq 0 ] || fail "only root can make machines with users of their own; run it by sudo"
    unshare --mount --pid --net --uts --ipc --fork true 2>/dev/null ||
        fail "this machine grants root no namespaces (a container does not, unless it is privileged)"
    # shellcheck disable=SC2016 # the inner shell expands these
    unshare --mount bash -c '
        mount -t tmpfs tmpfs /mnt && mkdir /mnt/{u,w,r} &&
        mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r' 2>/dev/null ||
        fail "this machine can mount no overlay of its root"
}

want() { # program, package of Debian
    if command -v "$1" >/dev/null 2>&1; then return; fi
    missing+=("$1")
    case " ${packages[*]-} " in *" $2 "*) ;; *) packages+=("$2") ;; esac
}

# --- the bed --------------------------------------------------------------------------------------

up() { # folder, count, process to end with
    local folder hub n
    check
    mkdir -p "$1"
    folder=$(realpath "$1")
    hub=$(hub_of "$folder")
    [ ! -e "$folder/id" ] || fail "a bed stands in $1 already; bed.sh down $1"
    ssh-keygen -q -t ed25519 -N '' -f "$folder/id" -C bed
    : >"$folder/known_hosts"
    ip netns add "$hub"
    ip -n "$hub" link set lo up
    ip -n "$hub" link add br0 type bridge
    ip -n "$hub" addr add "$NETWORK.0.1/16" dev br0
    ip -n "$hub" link set br0 up
    for n in $(seq 1 "$2"); do start_node "$folder" "$n"; done
    if [ -n "${3-}" ]; then end_after "$folder" "$3"; fi
}

down() { # folder
    local folder node
    [ -d "$1" ] || return 0
    folder=$(realpath "$1")
    for node in "$folder"/n*/; do
        if [ -d "$node" ]; then end_node "$folder" "$(basename "$node" | tr -d n)"; fi
    done
    ip netns del "$(hub_of "$folder")" 2>/dev/null || true
    rm -rf "$folder"/{id,id.pub,known_hosts}
}

# Waits in the background, without holding on to the caller's output.
end_after() { # folder, process
    # shellcheck disable=SC2016 # the inner shell expands these
    setsid bash -c 'while kill -0 "$1" 2>/dev/null; do sleep 1; done; exec "$2" down "$3"' \
        watch "$2" "$(realpath "${BASH_SOURCE[0]}")" "$1" </dev/null >/dev/null 2>&1 &
}

# Names of networks are known to the whole machine, so they are made of the folder's.
hub_of() { # folder
    echo "portway-bed-$(printf %s "$1" | cksum | cut -d ' ' -f 1)"
}

network_of() { # folder, number
    echo "$(hub_of "$1")-$2"
}

address_of() { # number
    echo "$NETWORK.$(((10 + $1) / 256)).$(((10 + $1) % 256))"
}

# --- one machine ----------------------------------------------------------------------------------

start_node() { # folder, number
    local node=$1/n$2 hub network key
    hub=$(hub_of "$1")
    network=$(network_of "$1" "$2")
    mkdir -p "$node/disk"
    ip netns add "$network"
    ip -n "$hub" link add "v$2" type veth peer name eth0 netns "$network"
    ip -n "$hub" link set "v$2" master br0 up
    ip -n "$network" addr add "$(address_of "$2")/16" dev eth0
    ip -n "$network" link set eth0 up
    ip -n "$network" link set lo up
    setsid nsenter --net="/run/netns/$network" -- unshare --mount --pid --uts --ipc --fork --kill-child \
        --propagation private "$(realpath "${BASH_SOURCE[0]}")" init "$1" "$2" </dev/null >"$node/log" 2>&1 &
    echo $! >"$node/parent"
    wait_until "$node" has_started "$node"
    key=$(cut -d ' ' -f 1,2 "/proc/$(cat "$node/init")/root/etc/ssh/ssh_host_ed25519_key.pub")
    echo "$(address_of "$2") $key" >>"$1/known_hosts"
}

# The shell's own children come and go before.
has_started() { # folder of the machine
    local parent child
    parent=$(cat "$1/parent")
    child=$(cat "/proc/$parent/task/$parent/children")
    child=${child%% *}
    [ -e "/proc/$child/root/run/portway-bed-started" ] && echo "$child" >"$1/init"
}

# The first process of a machine: makes its root and starts its SSH server.
init() { # folder, number
    local root=$1/n$2/disk/root device
    mount -t tmpfs -o mode=755 tmpfs "$1/n$2/disk"
    mkdir "$1/n$2/disk"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$1/n$2/disk/upper,workdir=$1/n$2/disk/work" "$root"
    cd "$root"
    mount -t proc proc proc
    # What the kernel is told there would hold for this machine, too.
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=1777 tmpfs tmp
    mount -t tmpfs -o mode=755 tmpfs dev
    for device in null zero full random urandom tty; do
        mknod -m 666 "dev/$device" c $((0x$(stat -c %t "/dev/$device"))) $((0x$(stat -c %T "/dev/$device")))
    done
    mkdir dev/pts dev/shm run/sshd
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    hostname "node$2"
    make_fresh "$1" "node$2"
    mkdir -p .old
    pivot_root . .old
    umount -l .old
    # The first process adopts what loses its parent, and must not leave it as a zombie.
    # shellcheck disable=SC2016 # the inner shell expands these
    exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root bash -c '
        useradd --create-home --shell /bin/bash deploy
        install -d -m 700 -o deploy -g deploy /home/deploy/.ssh
        install -m 600 -o deploy -g deploy ~root/.ssh/authorized_keys /home/deploy/.ssh/authorized_keys
        /usr/sbin/sshd || exit
        touch /run/portway-bed-started
        while :; do sleep 3600 & wait; done'
}

# Nothing that lies on this machine is to be met in there.
make_fresh() { # folder, name
    echo "$2" >etc/hostname
    printf '127.0.0.1 localhost %s\n::1 localhost\n' "$2" >etc/hosts
    rm -rf etc/ssh/ssh_host_* etc/ssh/sshd_config.d/* etc/sudoers.d/portway* home/deploy root/.ssh
    rm -rf etc/portway var/lib/portway var/log/portway var/log/nginx/*
    printf '%s\n' 'UsePAM yes' 'PrintMotd no' 'MaxStartups 1000:30:1000' 'LogLevel VERBOSE' >etc/ssh/sshd_config
    ssh-keygen -q -t ed25519 -N '' -f etc/ssh/ssh_host_ed25519_key
    mkdir -m 700 root/.ssh
    install -m 600 "$1/id.pub" root/.ssh/authorized_keys
    if grep -q '^deploy:' etc/passwd; then chroot . userdel deploy; fi
}

end_node() { # folder, number
    local node=$1/n$2
    if [ -e "$node/init" ]; then kill -9 "$(cat "$node/init")" 2>/dev/null || true; fi
    if [ -e "$node/parent" ]; then
        kill -9 "$(cat "$node/parent")" 2>/dev/null || true
        wait_until "$node" has_ended "$(cat "$node/parent")"
    fi
    ip netns del "$(network_of "$1" "$2")" 2>/dev/null || true
    rm -rf "$node"
}

# One that nobody has asked for its status yet has ended, too.
has_ended() { # process
    [ ! -e "/proc/$1" ] || grep -q '^State:[[:space:]]*Z' "/proc/$1/status"
}

# --- commands -------------------------------------------------------------------------------------

run_in() { # folder, number, command
    local init
    init=$(cat "$1/n$2/init" 2>/dev/null) || fail "no machine $2 runs in $1; bed.sh add $1 $2"
    shift 2
    nsenter -t "$init" --mount --pid --net --uts --ipc --root --wd -- \
        env -i HOME=/root USER=root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

on_hub() { # folder, command
    local hub
    hub=$(hub_of "$(realpath "$1")")
    shift
    exec ip netns exec "$hub" "$@"
}

# Twice, for what was started meanwhile.
signal_all() { # folder, number, signal
    local space process
    space=$(readlink "/proc/$(cat "$1/n$2/init")/ns/pid")
    for _ in 1 2; do
        for process in /proc/[0-9]*; do
            if [ "$(readlink "$process/ns/pid" 2>/dev/null)" = "$space" ]; then
                kill "-$3" "${process#/proc/}" 2>/dev/null || true
            fi
        done
    done
}

wait_until() { # folder of the machine, condition
    local node=$1
    shift
    for _ in $(seq "$PATIENCE"); do
        if "$@" 2>/dev/null; then return; fi
        sleep 0.01
    done
    cat "$node/log" >&2
    fail "waited in vain for: $*; its log is above"
}

fail() {
    echo "bed: $*" >&2
    exit 1
}

main "$@"
