# Part of vmrole: has a guest mount disks that its VM was just given, or unmount those that are to be taken from it, for
# good or for a moment. It is run through the guest agent; what it prints is why it could not.
: "${verb:?}" "${serials:?}" # set by a line that is put before these
set -u
PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
device_wait_s=10
open_wait_s=3
away=vmrole-away # is mounted where a disk that comes back is not, and cannot be written to

# Sets `device` to the name of the drive's disk.
find_device() {
    for each in /sys/block/*; do
        found=
        [ -r "$each/serial" ] && read -r found <"$each/serial"
        device=${each##*/}
        [ "$found" != "$serial" ] || return 0
    done
    return 1
}

fail() {
    echo "$1"
    exit 1
}

# Prints the numbers of the disk and its partitions.
numbers_of_it() { cat /sys/block/"$device"/dev /sys/block/"$device"/"$device"*/dev 2>/dev/null; }

# Prints where the disk and its partitions are mounted, what was mounted last at the end. By number, as its source may
# be called by a link of it; and by name, as Btrfs has numbers of its own.
places() {
    numbers=" $(numbers_of_it | tr '\n' ' ')"
    while read -r _ _ number _ where rest; do
        rest=${rest#* - }
        source=${rest#* }
        case "$numbers ${source%% *} " in
            *" $number "* | *" /dev/$device "* | *" /dev/$device"[0-9]*" " | *" /dev/${device}p"[0-9]*" ")
                printf '%b\n' "$where" # The kernel writes a blank as \040.
                ;;
        esac
    done </proc/self/mountinfo
}

# users_of PLACE [DEVICE]: who has a file at or below it open, or a partition of the device, or stands there: a few.
users_of() {
    for each in /proc/[0-9]*; do
        for link in "$each"/cwd "$each"/root "$each"/fd/*; do
            case $(readlink "$link") in
                "$1" | "$1"/* | "${2-/dev/none}"[0-9]* | "${2-/dev/none}"p[0-9]*)
                    read -r name <"$each/comm" && echo "$name (${each##*/})"
                    break
                    ;;
            esac
        done
    done 2>/dev/null | head -n 5 | tr '\n' ' '
}

# Whether a program has the disk or a partition open, past every file system.
# shellcheck disable=SC2010 # What is matched is where the links lead; one process for each would take seconds.
is_open() { ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q -E " -> /dev/$device(p?[0-9]+)?\$"; }

# It is no part of anything that no unmounting would end.
look() {
    find_device || return 0
    ! grep -q "^/dev/$device" /proc/swaps || fail "it swaps to $device"
    for each in /sys/block/"$device"/holders/* /sys/block/"$device"/"$device"*/holders/*; do
        [ ! -e "$each" ] || fail "${each##*/} lies on it"
    done
    for each in /sys/block/loop*/loop/backing_file; do # A loop device is no holder, and its file is open to nobody.
        file=
        [ -r "$each" ] && read -r file <"$each"
        each=${each%/loop/*}
        ! is_it "$file" || fail "${each##*/} lies on it"
    done
    look_deeper
    is_shut
}

# is_it PATH: whether that is the disk or a partition of it.
is_it() { case $1 in "/dev/$device" | "/dev/$device"[0-9]* | "/dev/$device"p[0-9]*) ;; *) return 1 ;; esac }

# What has a disk without being its holder: what a mount does not tell, nor any link below the disk.
look_deeper() {
    for each in /sys/block/"$device"/bcache /sys/block/"$device"/"$device"*/bcache; do
        [ ! -e "$each" ] || fail "bcache has it"
    done
    for each in /sys/fs/btrfs/*/devices/"$device" /sys/fs/btrfs/*/devices/"$device"[0-9]*; do
        [ -e "$each" ] || continue
        set -- "${each%/*}"/*
        [ $# -eq 1 ] || fail "a Btrfs of several disks has it"
    done
    for each in /sys/kernel/config/target/core/*/*/udev_path; do # LIO
        file=
        [ -r "$each" ] && read -r file <"$each"
        ! is_it "$(readlink -f "$file" 2>/dev/null)" || fail "a target for others has it: ${each%/*}"
    done
    command -v zpool >/dev/null 2>&1 || return 0
    for each in $(zpool status -LP 2>/dev/null); do
        ! is_it "$each" || fail "a pool of ZFS has it"
    done
}

# Nobody in the kernel has it to himself: a newer one looks at no partitions of what somebody has, whoever that is.
is_free() {
    command -v blockdev >/dev/null 2>&1 || return 0
    case $(LC_ALL=C blockdev --rereadpt "/dev/$device" 2>&1) in
        *[Bb]usy*) fail "/dev/$device is in use by the kernel" ;;
    esac
}

# No program has it open. udev looks at what has just been unmounted, so it is waited for.
is_shut() {
    waited_s=0
    while is_open; do
        [ "$waited_s" -lt "$open_wait_s" ] || fail "/dev/$device is open; by: $(users_of "/dev/$device" "/dev/$device")"
        sleep 1
        waited_s=$((waited_s + 1))
    done
}

# Nobody uses it any more, and it is mounted nowhere.
leave() {
    find_device || return 0
    while where=$(places | tail -n 1) && [ -n "$where" ]; do
        umount "$where" 2>/dev/null || fail "$where is busy; by: $(users_of "$where")"
    done
    # A container has mounts of its own, in which the disk would go on being used. By number and by name, as in `places`.
    it=" ($(numbers_of_it | tr '\n' '|')none) /| - [^ ]+ /dev/$device(p?[0-9]+)? "
    each=$(grep -l -E "$it" /proc/[0-9]*/mountinfo 2>/dev/null | head -n 1)
    if [ -n "$each" ]; then
        read -r name <"${each%/*}/comm"
        each=${each%/*}
        fail "/dev/$device is mounted elsewhere; by: $name (${each##*/})"
    fi
    for each in /sys/fs/btrfs/*/devices/"$device" /sys/fs/btrfs/*/devices/"$device"[0-9]*; do # Whatever it is called.
        [ ! -e "$each" ] || fail "the Btrfs of /dev/$device is mounted elsewhere"
    done
    is_shut
    is_free
}

let_go() {
    look
    leave
    forget
}

# What comes back is mounted at its place alone: who has it at another as well would write to the system disk there.
# What its guest alone mounts has no place of ours, and would come back at none.
look_aside() {
    look
    find_device || return 0
    places=$(places | grep -v -x -F "$place" | head -n 1)
    [ -z "$places" ] || fail "/dev/$device is mounted at $places${place:+ as well}"
    ! grep -q "^/dev/$device $place " /proc/mounts || mounted="$mounted $serial "
}

# It comes back, and keeps its line in fstab: a boot mounts it. Who wants to write meanwhile is told that he cannot,
# instead of writing to the system disk below. Of its going the guest has been told, or is told here.
step_aside() {
    leave
    [ ! -d "$place" ] || shut
    ! command -v udevadm >/dev/null 2>&1 || udevadm settle -t 10 2>/dev/null || true
}

# It is mounted again where it was, above what has been shut.
stay() {
    case "$mounted" in *" $serial "*) ;; *) return 0 ;; esac
    find_device && ! grep -q "^/dev/$device $place " /proc/mounts || return 0
    uncover
    mount_it || why="$why; /dev/$device cannot be mounted again"
}

# Not every guest has chattr, and systemd unmounts at once what lies where the disk of a unit of its own is missing.
shut() {
    chattr +i "$place" 2>/dev/null && return
    [ ! -d /run/systemd/system ] && ! grep -q "^$away $place " /proc/mounts || return 0
    mount -t tmpfs -o ro,size=4k,mode=555 "$away" "$place" 2>/dev/null || true
}

# Takes the line of the drive out of fstab, which is whole at every moment. What stays by a full disk harms nobody.
forget() {
    grep -q "^/dev/disk/by-id/virtio-$serial " /etc/fstab 2>/dev/null || return 0
    fstab=$(readlink -f /etc/fstab)
    if cp -p "$fstab" "$fstab.vmrole" && sed "\\,^/dev/disk/by-id/virtio-$serial ,d" "$fstab" >"$fstab.vmrole"; then
        sync
        mv "$fstab.vmrole" "$fstab" && sync
    fi 2>/dev/null
    rm -f "$fstab.vmrole"
}

# Nothing but zeros where a file system, a table of partitions or data would begin, and nothing known behind that.
is_blank() {
    [ "$(head -c 1048576 "/dev/$device" | tr -d '\0' | wc -c)" -eq 0 ] || return 1
    ! command -v blkid >/dev/null 2>&1 || [ -z "$(blkid "/dev/$device" 2>/dev/null)" ]
}

take_up() {
    waited_s=0
    until find_device && [ -b "/dev/$device" ]; do
        [ "$waited_s" -lt "$device_wait_s" ] || fail "it sees no such disk"
        sleep 1
        waited_s=$((waited_s + 1))
    done
    case $serial in ls-*) ;; *) return 0 ;; esac # Nobody mounts it but who runs the guest.
    ! grep -q "^/dev/$device $place " /proc/mounts || return 0
    dd if="/dev/$device" of=/dev/null bs=65536 count=16 2>/dev/null || fail "/dev/$device cannot be read"
    if is_blank; then
        tool=/usr/sbin/mke2fs # By its path: busybox has one of its own, which makes no ext4.
        [ -x "$tool" ] || tool=/sbin/mke2fs
        why=$("$tool" -q -F -t ext4 -L "${serial#ls-}" "/dev/$device" 2>&1) || fail "it cannot be formatted: $why"
        sync
    fi
    mkdir -p "$place"
    # What has the file lives by it; `micro` looks for its disks at each boot.
    if [ -d /run/systemd/system ] && ! grep -q "[[:space:]]${place}[[:space:]]" /etc/fstab; then
        [ -z "$(tail -c 1 /etc/fstab)" ] || echo >>/etc/fstab
        options=defaults,nofail,x-systemd.before=local-fs.target,x-systemd.device-timeout=300s
        echo "/dev/disk/by-id/virtio-$serial $place auto $options 0 2" >>/etc/fstab && sync
    fi
    uncover
    mount_it || fail "what is in it cannot be mounted"
}

# Where that fails it is mounted above it.
uncover() { ! grep -q "^$away $place " /proc/mounts || umount "$place" 2>/dev/null || true; }

# What systemd has a unit for it mounts itself: it unmounts at once whatever lies on a disk that it does not see yet.
mount_it() {
    if [ -d /run/systemd/system ] && unit=$(systemd-escape -p --suffix=mount "$place") && systemctl cat "$unit"; then
        timeout 30 systemctl start "$unit" && grep -q "^/dev/$device $place " /proc/mounts
    else
        mount "/dev/$device" "$place" || mount -t ext4 "/dev/$device" "$place"
    fi >/dev/null 2>&1
}

# each_disk DO: for each of them, in turn.
each_disk() {
    for serial in $serials; do
        case $serial in ls-*) place=/local/${serial#ls-} ;; *) place= ;; esac
        "$1"
    done
}

mounted=
case $verb in
    take_up) each_disk take_up ;;
    let_go) each_disk let_go ;;
    step_aside) # All of them or none.
        each_disk look_aside
        why=$(each_disk step_aside) || {
            each_disk stay
            fail "$why"
        }
        ;;
esac
