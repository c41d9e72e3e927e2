# shellcheck shell=sh
# What sshd runs instead of each command: that command, with a look at the gate before each of its
# operations and after its end. Proofs of the login shell and readings of the machine are no steps.
gate=${0%/*}
line=$SSH_ORIGINAL_COMMAND
[ -e "$gate/at" ] || exec sh -c "$line"
pass="\"\$@\" || exit 0"
case $line in
'printf %s '* | 'echo '* | *@memory*) exec sh -c "$line" ;;
*'must() { '*'may() { '*)
    head=${line%%'must() { '*}
    rest=${line#*'must() { '}
    line="${head}must() { sh \"$gate/hook.sh\" $pass; $rest"
    head=${line%%'may() { '*}
    rest=${line#*'may() { '}
    line="${head}may() { sh \"$gate/hook.sh\" $pass; $rest"
    ;;
*) sh "$gate/hook.sh" "$line" || exit 1 ;;
esac
sh -c "$line"
code=$?
sh "$gate/hook.sh" end
exit "$code"
