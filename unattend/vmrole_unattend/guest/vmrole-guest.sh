#!/bin/sh
# Speaks to vmrole from within a guest that has no Python: vmrole-guest whoami | ready [--for SECONDS] [REASON] |
# busy --for SECONDS [REASON] | log LINE | blob put NAME [FILE] | blob get NAME [FILE] | blob ls | blob rm NAME |
# peers [--after NUMBER | --past NAME] | stopping | let-go
# Prints the answer, one line of JSON. Exits with 0 when it is done, 1 when the host refuses it, 2 for what is no such
# request, 3 when the host has noted it and not done it yet, 4 when nobody answers, 5 when the blob is of another
# version by now. Run it as root.
name=com.vmrole.guest.0
tries_max=15
within=25

usage() {
    echo "usage: vmrole-guest whoami | ready [--for SECONDS] [REASON] | busy --for SECONDS [REASON] | log LINE |" >&2
    echo "  peers [--after NUMBER | --past NAME] | stopping | let-go |" >&2
    echo "  blob put [--role] [--if-version VERSION|none] NAME [FILE] | blob get [--role] NAME [FILE] |" >&2
    echo "  blob ls [--role] | blob rm [--role] [--if-version VERSION] NAME" >&2
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
    stopping | let-go)
        [ $# -eq 0 ] || usage
        read -r boot </proc/sys/kernel/random/boot_id
        params="\"boot\":\"$boot\""
        ;;
    peers)
        [ $# -eq 0 ] || [ $# -eq 2 ] || usage
        option=${1-}
        value=${2-}
        case $option in
            '') ;;
            --after)
                case $value in '' | *[!0-9]*) usage ;; esac
                params="\"after\":$value"
                ;;
            --past) params="\"past\":\"$(plain "$value")\"" ;;
            *) usage ;;
        esac
        ;;
    blob)
        does=${1-}
        case $does in put | get | ls | rm) shift ;; *) usage ;; esac
        method=blob.$does
        of=instance
        version=
        while :; do
            case ${1-} in
                --role) of=role ;;
                --if-version)
                    case ${2-} in '' | *[!0-9a-z]*) usage ;; esac
                    version=$2
                    shift
                    ;;
                *) break ;;
            esac
            shift
        done
        blob=${1-}
        file=${2--}
        case $does in
            ls) [ $# -eq 0 ] || usage ;;
            rm) [ $# -eq 1 ] || usage ;;
            *) [ $# -eq 1 ] || [ $# -eq 2 ] || usage ;;
        esac
        case $blob in
            *[!A-Za-z0-9._-]*)
                echo "vmrole-guest: a blob's name has letters, digits, '.', '_' and '-'" >&2
                exit 1
                ;;
        esac
        [ -z "$version" ] || set -- --if-version "$version" "$@"
        [ "$of" = instance ] || set -- --role "$@"
        set -- "$does" "$@"
        within=3600 # So many parts, each in a process of its own.
        ;;
    *) usage ;;
esac

# The host may be away, and then a write waits for it.
if [ -z "${VMROLE_GUEST_TIMED-}" ] && command -v timeout >/dev/null 2>&1; then
    VMROLE_GUEST_TIMED=yes timeout "$within" "$0" "${method%%.*}" ${seconds:+--for "$seconds"} "$@"
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
[ "$method" != let-go ] || method=let_go
read -r up _ </proc/uptime
id="$$-$up"

# What goes when we do: also when we are told to end while the host says nothing, or nobody else could have the port.
talking=
heard=
made=
# shellcheck disable=SC2317 # It is called by the trap.
gone() {
    [ -z "$talking" ] || kill "$talking" 2>/dev/null
    rm -f "$heard" "$made"
}
trap gone EXIT
trap 'exit 143' HUP INT TERM
umask 077
for place in /run /dev/shm /tmp; do # A full disk must not keep a guest from saying that it is busy.
    if heard=$(mktemp "$place/vmrole-guest.XXXXXX" 2>/dev/null); then break; fi
done
[ -n "$heard" ] || {
    echo "vmrole-guest: neither /run nor /dev/shm nor /tmp takes a file" >&2
    exit 2
}

# One request, and its answer; 1 when the host hung up. What others have left unread comes before it, at times with it
# in one piece: one program reads it all. It is waited for, for only then are we heard when we are told to end.
talk() {
    {
        printf '\n{"jsonrpc":"2.0","id":"%s","method":"%s","params":{%s}}\n' "$id" "$method" "$params" >&3 &&
            exec grep -F -m 1 "\"id\": \"$id\"" <&3 >"$heard"
    } &
    talking=$!
    wait "$talking"
    status=$?
    talking=
    [ "$status" = 0 ] || return 1
    answer=$(cat "$heard")
}

# Asks, and again while another program has the port or the host is away.
ask() {
    tries=0
    until { talk; } 2>/dev/null 3<>"$port"; do
        tries=$((tries + 1))
        [ "$tries" -lt "$tries_max" ] || {
            echo "vmrole-guest: nobody answers" >&2
            exit 4
        }
        sleep 1
    done
}

# The error of the answer, if it is one: exits, or returns its code in `code`, where it is one that may be tried again.
refused() {
    code=
    case $answer in
        *'"error": {"code": -32001,'* | *'"error": {"code": -32003,'*)
            code=${answer#*'"code": '}
            code=${code%%,*}
            return 0
            ;;
        *'"error": {"code": -32002,'*) status=5 ;;
        *'"error": {'*) status=1 ;;
        *) return 1 ;;
    esac
    printf '%s\n' "$answer" >&2
    exit "$status"
}

# request MEMBERS: asks with these parameters, once more in time where it was too often; 1: there is no such thing.
request() {
    id="${id%.*}.$((${id##*.} + 1))"
    params="\"of\":\"$of\"${1:+,$1}"
    left=20
    ask
    while refused; do
        if [ "$code" != -32001 ] || [ "$left" -eq 0 ]; then return 1; fi
        left=$((left - 1))
        sleep 1
        ask
    done
}

member() { # member NAME: its value in the answer, without quotes
    value=${answer#*"\"$1\": "}
    value=${value#'"'}
    value=${value%%[\",\}]*}
}

gives_up() {
    printf '%s\n' "$answer" >&2
    exit 1
}

put() {
    size=$(wc -c <"$1")
    digest=$(sha256sum <"$1")
    read -r put </proc/sys/kernel/random/uuid
    said="\"name\":\"$blob\",\"put\":\"$put\",\"size\":$((size)),\"sha256\":\"${digest%% *}\""
    said="$said${version:+,\"if_version\":\"$version\"}"
    at=0
    begun=0
    while :; do
        data=$(dd if="$1" bs="$part" skip=$((at / part)) count=1 2>/dev/null | base64 | tr -d '\n')
        if request "$said,\"offset\":$at,\"data\":\"$data\""; then
            case $answer in *'"taken": '*) ;; *) return ;; esac
            member taken
            at=$value
        else
            begun=$((begun + 1)) # The host has begun anew.
            if [ "$at" -eq 0 ] || [ "$begun" -gt 2 ]; then gives_up; fi
            at=0
        fi
    done
}

get() {
    got=0
    : >"$1"
    while :; do
        request "\"name\":\"$blob\",\"offset\":$got${version:+,\"version\":\"$version\"}" || gives_up
        member data
        printf '%s' "$value" | base64 -d >>"$1"
        member version
        version=$value
        member sha256
        digest=$value
        member size
        size=$value
        got=$(($(wc -c <"$1")))
        [ "$got" -lt "$size" ] || break
    done
    is=$(sha256sum <"$1")
    [ "${is%% *}" = "$digest" ] || {
        echo "vmrole-guest: the bytes of $blob are not those of its digest" >&2
        exit 1
    }
}

part=11264
if [ "${method#blob}" != "$method" ]; then
    id="$id.0"
    case $method in
        blob.ls)
            after=
            while :; do
                request "${after:+\"after\":\"$after\"}" || gives_up
                printf '%s\n' "$answer"
                case $answer in *'"more": true'*) ;; *) exit 0 ;; esac
                after=${answer##*'"name": "'}
                after=${after%%'"'*}
            done
            ;;
        blob.rm)
            request "\"name\":\"$blob\"${version:+,\"if_version\":\"$version\"}" || gives_up
            ;;
        blob.put)
            if [ "$file" = - ]; then
                made=$(mktemp) || exit 2
                file=$made
                cat >"$file"
            fi
            [ -r "$file" ] || usage
            put "$file"
            ;;
        blob.get)
            made=$(mktemp) || exit 2
            get "$made"
            if [ "$file" = - ]; then
                cat "$made"
                exit 0
            fi
            cp "$made" "$file.$$" && sync && mv "$file.$$" "$file" || exit 2
            exit 0
            ;;
    esac
    printf '%s\n' "$answer"
    exit 0
fi

ask
printf '%s\n' "$answer"
case $answer in
    *'"error": {'*) exit 1 ;;
    *'"done": false'*) exit 3 ;;
esac
exit 0
