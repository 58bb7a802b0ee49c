# Part of vmrole's answers: directories of the host's are mounted, now and at each boot. They are read-only on the host;
# that they are so here tells programs before they try. It runs before everything that the user brought, at every boot
# that cloud-init sees, and changes nothing twice.
: "${shares:?}" # set by a line that is put before these
set -u
PATH=/usr/sbin:/usr/bin:/sbin:/bin
problems=/var/lib/vmrole/setup-problems fstab=/etc/fstab micro=/usr/lib/vmrole/common starts=/etc/vmrole/start.d
failed=0

# mount_share NAME PLACE
mount_share() {
    mountpoint -q "$2" && return
    mkdir -p "$2"
    mount -t virtiofs -o ro "$1" "$2" && return
    echo "vmrole: share $1 cannot be mounted at $2" >&2
    echo "share $1 cannot be mounted at $2" >>"$problems"
    failed=1
}

# `micro` reads no fstab: what it starts before its services does it at each boot.
if [ -r "$micro" ]; then
    # shellcheck disable=SC1090 # It is of that image alone.
    (. "$micro" && load shares)
    mkdir -p "$starts"
    { echo "#!/bin/sh" && echo ". $micro" && echo "load shares"; } >"$starts/00-shares"
fi
for each in $shares; do
    name=${each%%:*} place=${each#*:}
    mount_share "$name" "$place"
    if [ -r "$micro" ]; then
        echo "mountpoint -q $place || mount -t virtiofs -o ro $name $place || exit 1" >>"$starts/00-shares"
    elif ! grep -q "^${name}[[:space:]]*${place}[[:space:]]" "$fstab"; then
        [ -z "$(tail -c 1 "$fstab")" ] || echo >>"$fstab"
        echo "$name $place virtiofs ro,nofail,x-systemd.before=local-fs.target 0 0" >>"$fstab"
        sync "$fstab"
    fi
done
[ ! -e "$starts/00-shares" ] || chmod 755 "$starts/00-shares"
exit "$failed"
