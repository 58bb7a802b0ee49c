# Part of vmrole's answers; cloud-init runs it as a boot hook, before everything that the user brought.
# It runs at every boot of the guest, but once the setup of this generation has ended it does nothing.
: "${instance_id:?}" "${generation:?}" "${storages?}" # set by lines that are put before these
set -u
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin
state=/var/lib/vmrole
device_wait_s=30

# save NAME TEXT: whole or not at all, even when the power goes.
save() {
    printf '%s\n' "$2" >"$state/.$1" && sync "$state/.$1" && mv "$state/.$1" "$state/$1" && sync "$state"
}

# Where an agent that SELinux or its unit confines may read it: below /etc nearly everybody may.
save_copy() {
    mkdir -p /etc/vmrole && printf '%s\n' "$1" >/etc/vmrole/.setup-boot &&
        mv /etc/vmrole/.setup-boot /etc/vmrole/setup-boot && sync /etc/vmrole
}

problem() {
    echo "vmrole: $1" >&2
    printf '%s\n' "$1" >>"$state/setup-problems"
}

# Later boots come without the disc: cloud-init shall then trust what it remembers. It asks the first file,
# ds-identify (which decides whether cloud-init runs at all) asks the second.
keep_cache() {
    mkdir -p /etc/cloud/cloud.cfg.d
    printf '# The answer disc is taken away after setup; see manual_cache_clean.\nmanual_cache_clean: true\n' \
        >/etc/cloud/cloud.cfg.d/99_vmrole.cfg
    : >/var/lib/cloud/instance/manual-clean
    sync /etc/cloud/cloud.cfg.d/99_vmrole.cfg /var/lib/cloud/instance/manual-clean
}

# mount_storage NAME: what was kept from an earlier generation is mounted; only a blank disk is formatted.
mount_storage() {
    device=/dev/disk/by-id/virtio-ls-$1 place=/local/$1
    mountpoint -q "$place" && return
    waited_s=0
    while ! [ -b "$device" ] && [ "$waited_s" -lt "$device_wait_s" ]; do
        sleep 1
        waited_s=$((waited_s + 1))
    done
    if ! dd if="$device" of=/dev/null bs=65536 count=16 2>/dev/null; then
        problem "local storage $1: $device cannot be read"
        return
    fi
    blkid -p "$device" >/dev/null
    if [ $? -eq 2 ]; then
        format_storage "$1" || return
    fi
    mkdir -p "$place"
    if ! grep -q "[[:space:]]${place}[[:space:]]" /etc/fstab; then
        [ -z "$(tail -c 1 /etc/fstab)" ] || echo >>/etc/fstab
        # A boot waits for the disk, but not forever: without `before` nothing would wait, and services would write
        # below the mount point; 30 s were too short for a host that started ten guests at once.
        options=defaults,nofail,x-systemd.before=local-fs.target,x-systemd.device-timeout=300s
        echo "$device $place auto $options 0 2" >>/etc/fstab
        sync /etc/fstab
    fi
    mount "$place" || problem "local storage $1: cannot be mounted"
    grow_storage "$1"
}

# format_storage NAME: a disk in which blkid knows nothing, if its first MiB is zero: raw data has no signature either.
# The mark says that what a power cut has left of a file system is ours.
format_storage() {
    mark=$state/formatting-$1
    if ! [ -e "$mark" ] && [ "$(head -c 1048576 "$device" | tr -d '\0' | wc -c)" -ne 0 ]; then
        problem "local storage $1: what is in it is no file system, and is left as it is"
        return 1
    fi
    : >"$mark" && sync "$mark" "$state"
    if ! mkfs.ext4 -q -F -L "$1" "$device"; then
        problem "local storage $1: cannot be formatted"
        return 1
    fi
    sync "$device"
    rm -f "$mark"
}

# grow_storage NAME: the host makes the disk of a new generation larger, never smaller. A file system of the user's own
# kind is his to grow.
grow_storage() {
    [ "$(blkid -p -o value -s TYPE "$device")" = ext4 ] || return
    resize2fs "$device" >/dev/null 2>&1 || echo "vmrole: local storage $1: $device cannot be grown into" >&2
}

boot_id=$(cat /proc/sys/kernel/random/boot_id)
if [ "$(cat "$state/instance-id" 2>/dev/null)" != "$instance_id" ]; then
    rm -rf "$state" /etc/vmrole/setup-boot # An image may carry the traces of another instance.
    mkdir -p "$state"
    save setup-boot "$boot_id"
    save_copy "$boot_id"
    save generation "$generation"
    keep_cache
    save instance-id "$instance_id"
elif [ -e "$state/setup-result.json" ]; then
    exit 0
else
    save setup-boot "$boot_id" # The user's parts restarted the guest: setup still goes on, in this boot.
    save_copy "$boot_id"
fi
rm -f "$state/setup-problems"
for storage in $storages; do
    mount_storage "$storage"
done
