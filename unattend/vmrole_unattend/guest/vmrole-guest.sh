#!/bin/sh
# Speaks to vmrole from within a guest that has no Python: vmrole-guest whoami | ready [--for SECONDS] [REASON] |
# busy --for SECONDS [REASON] | log LINE
# Prints the answer, one line of JSON. Exits with 0 when it is done, 1 when the host refuses it, 2 for what is no such
# request, 3 when the host has noted it and not done it yet, 4 when nobody answers. Run it as root.
name=com.vmrole.guest.0
tries_max=15

usage() {
    echo "usage: vmrole-guest whoami | ready [--for SECONDS] [REASON] | busy --for SECONDS [REASON] | log LINE" >&2
    exit 2
}

# plain TEXT...: as it may stand between the quotes of JSON, without quotes and backslashes of its own.
plain() { printf '%s' "$*" | tr '\n\t' '  ' | tr -d '\000-\037\042\134'; }

[ $# -gt 0 ] || usage
method=$1
shift
params=
seconds=
case $method in
    whoami) [ $# -eq 0 ] || usage ;;
    ready | busy)
        if [ "${1-}" = --for ]; then
            case ${2-} in '' | *[!0-9.]*) usage ;; esac
            seconds=$2
            shift 2
        fi
        [ "$method" = ready ] || [ -n "$seconds" ] || usage
        read -r boot </proc/sys/kernel/random/boot_id
        params="\"boot\":\"$boot\",\"reason\":\"$(plain "$@")\"${seconds:+,\"for_s\":$seconds}"
        ;;
    log)
        [ $# -gt 0 ] || usage
        params="\"line\":\"$(plain "$@")\""
        ;;
    *) usage ;;
esac

# The host may be away, and then a write waits for it.
if [ -z "${VMROLE_GUEST_TIMED-}" ] && command -v timeout >/dev/null 2>&1; then
    VMROLE_GUEST_TIMED=yes timeout 25 "$0" "$method" ${seconds:+--for "$seconds"} "$@"
    status=$?
    [ "$status" = 124 ] || [ "$status" = 143 ] || exit "$status"
    echo "vmrole-guest: nobody answers" >&2
    exit 4
fi

port=
for place in /sys/class/virtio-ports/*; do
    if [ -r "$place/name" ] && read -r found <"$place/name" && [ "$found" = "$name" ]; then
        port=/dev/${place##*/}
    fi
done
[ -n "$port" ] || {
    echo "vmrole-guest: this machine has no channel $name" >&2
    exit 4
}
read -r up _ </proc/uptime
id="$$-$up"

# One request, and what comes back until its answer does; 1 when the host hung up.
talk() {
    printf '\n{"jsonrpc":"2.0","id":"%s","method":"%s","params":{%s}}\n' "$id" "$method" "$params" >&3 || return 1
    while read -r answer <&3; do
        case $answer in *"\"id\": \"$id\""*) return 0 ;; esac
    done
    return 1
}

tries=0
until { talk; } 2>/dev/null 3<>"$port"; do # Another program may have it, or the host be away.
    tries=$((tries + 1))
    [ "$tries" -lt "$tries_max" ] || {
        echo "vmrole-guest: nobody answers" >&2
        exit 4
    }
    sleep 1
done
printf '%s\n' "$answer"
case $answer in
    *'"error": {'*) exit 1 ;;
    *'"done": false'*) exit 3 ;;
esac
exit 0
