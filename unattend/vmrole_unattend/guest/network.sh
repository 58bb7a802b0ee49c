# Part of vmrole: gives a guest what its ifupdown was told and cannot do. cloud-init has it add ways out by `route`, of
# net-tools, and name servers by resolvconf; minimal systems have neither, and go without a word. It is run at each boot.
: "${ways?}" "${servers?}" "${searched?}" # set by lines that are put before these
set -u
PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
interfaces=/etc/network/interfaces file=/etc/resolv.conf

# Whether ifupdown was told so.
told() { grep -qs "$1" "$interfaces" "$interfaces".d/*; }

if told '^ *post-up route add ' && ! command -v route >/dev/null 2>&1; then
    for way in $ways; do
        case $way in *:*) family=-6 ;; *) family=-4 ;; esac
        [ -n "$(ip $family route show default)" ] || ip $family route add default via "$way"
    done
fi

# A link leads to somebody who has the file.
if told '^ *dns-nameservers ' && ! command -v resolvconf >/dev/null 2>&1 && [ ! -L "$file" ]; then
    {
        [ -z "$searched" ] || echo "search $searched"
        for server in $servers; do echo "nameserver $server"; done
    } >"$file"
fi
exit 0
