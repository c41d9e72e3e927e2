# shellcheck shell=sh
# Counts a step, and strikes where it is the one: hook.sh WHAT…. Ends with a failure where nothing is to
# follow on this machine.
gate=${0%/*}
[ -e "$gate/at" ] || exit 0
read -r at <"$gate/at"
{
    printf '%.120s' "$*" | tr '\n' ' '
    echo
} >>"$gate/steps"
[ "$(grep -c '' <"$gate/steps")" -eq "$at" ] || exit 0

# The SSH server, which is nobody's session.
read -r server <"$gate/server"

# Prints the sessions of a server, and of those the ones that they start.
sessions() {
    # shellcheck disable=SC2013 # words of one line
    for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
        name=
        read -r name 2>/dev/null <"/proc/$child/comm" || continue
        case $name in sshd*)
            echo "$child"
            sessions "$child"
            ;;
        esac
    done
}

# Ends all sessions at once: whoever is at the other end hears nothing more.
cut_off() {
    # shellcheck disable=SC2046 # these are numbers
    kill -KILL $(sessions "$server") 2>/dev/null
}

# Waits until the gate is lifted.
hold() {
    while [ -e "$gate/at" ]; do sleep 0.05; done
}

: >"$gate/struck"
# shellcheck source=/dev/null
. "$gate/strike"
