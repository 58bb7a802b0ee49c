# Part of vmrole's answers: what installs packages (apt, dnf, yum) asks a proxy for them. It runs before everything that
# the user brought, at every boot that cloud-init sees, and changes nothing twice. What says otherwise already, stays.
: "${proxy:?}" # set by a line that is put before these
set -u
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin
if [ -d /etc/apt/apt.conf.d ]; then
    printf 'Acquire::http::Proxy "%s";\nAcquire::https::Proxy "%s";\n' "$proxy" "$proxy" >/etc/apt/apt.conf.d/00vmrole-proxy
fi
for conf in /etc/dnf/dnf.conf /etc/yum.conf; do
    if [ ! -f "$conf" ] || [ -L "$conf" ]; then continue; fi
    grep -q '^ *proxy *=' "$conf" || sed -i "s|^\[main\].*|&\nproxy=$proxy|" "$conf"
done
