#!/bin/busybox sh
# The guest's first process. Lays a layer in memory over the host's files, binds the shared directories through it, and
# goes on there. Modules that this needs are in /modules, in the order in which they are loaded.
fail() {
    echo "vm: $1" >/dev/ttyS0
    echo "setup $1" >/dev/ttyS1
    busybox poweroff -f
}
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs dev /dev
for module in /modules/*; do
    [ -e "$module" ] && busybox insmod "$module"
done
busybox mount -t virtiofs host /host || fail "the host's files cannot be mounted"
busybox mount -t tmpfs memory /memory
busybox mkdir /memory/upper /memory/work
busybox mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /root ||
    fail "no overlay over the host's files"
for place in tmp run; do
    busybox mount -t tmpfs "$place" "/root/$place"
done
while IFS= read -r place; do
    busybox mkdir -p "/root$place"
    busybox mount -o bind "/host$place" "/root$place" || fail "$place cannot be shared"
done </vm/shares
# What a host has of its kernel: modules, and the configuration that libbpf and onebpf read.
IFS= read -r kernel </vm/kernel
for place in "lib/modules/$(busybox uname -r)" boot; do
    busybox mkdir -p "/root/$place"
    busybox mount -o bind "/host$kernel/$place" "/root/$place"
done
busybox umount -l /host
busybox mkdir -p /root/run/vm
busybox cp /vm/* /bin/busybox /root/run/vm/
for place in proc sys dev; do
    busybox mount -o move "/$place" "/root/$place"
done
exec busybox switch_root /root /bin/sh /run/vm/guest.sh
