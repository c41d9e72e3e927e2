# shellcheck shell=sh
# What a machine tells of itself, in sections that begin with `@`. Nothing is changed. What is missing
# is left out; whoever reads this says so.
# Arguments: the engine's process, its service, then folders whose disks are looked at.
exec 2>/dev/null
engine=$1
service=$2
shift 2
echo '@time'
date -u +%s
echo '@stat'
sed -n -e '1p' -e '/^btime /p' /proc/stat
echo '@memory'
sed -n '/^Mem/p' /proc/meminfo
echo '@load'
cat /proc/loadavg
echo '@uptime'
cat /proc/uptime
echo '@network'
cat /proc/net/dev
echo '@unit'
if [ -d /run/systemd/system ]; then
    echo 'manager=systemd'
    systemctl show "$service.service" -p LoadState -p ActiveState -p SubState \
        -p ActiveEnterTimestampMonotonic -p InactiveEnterTimestampMonotonic
elif [ -d /run/openrc ] && [ -e "/etc/init.d/$service" ]; then
    echo 'manager=openrc'
    if [ -e "/run/openrc/started/$service" ]; then echo 'state=started'; else echo 'state=stopped'; fi
fi
echo '@processes'
[ -r /proc/1/comm ] && echo 'all'
for process in /proc/[0-9]*; do
    read -r name <"$process/comm" || continue
    [ "$name" = "$engine" ] || continue
    read -r stat <"$process/stat" || continue
    echo "$stat"
    head -c 4096 "$process/cmdline" | tr '\000\n' '  '
    echo
done
for folder; do
    at=$folder
    while [ ! -e "$at" ]; do
        at=${at%/*}
        at=${at:-/}
    done
    echo "@disk $folder"
    timeout 3 df -P -k "$at"
done
echo '@end'
