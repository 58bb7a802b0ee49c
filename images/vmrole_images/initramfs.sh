#!/bin/busybox sh
# shellcheck shell=dash
# /init of the initramfs: load the disk's drivers, mount the root file system, hand over. @ROOT_UUID@ is set at build.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in /modules/*.ko; do $b insmod "$module"; done
tries=0
until device=$($b findfs UUID=@ROOT_UUID@) && [ -b "$device" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 250 ]; then
        echo "initramfs: no disk holds the root file system @ROOT_UUID@" > /dev/console
        $b reboot -f
    fi
    $b usleep 20000
done 2> /dev/null
$b mount -t ext4 -o rw,noatime "$device" /root || { echo "initramfs: cannot mount $device" > /dev/console; $b reboot -f; }
$b mount -o move /dev /root/dev
exec $b switch_root /root /sbin/init
