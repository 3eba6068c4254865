# The guest's first process once the host's files are its root: mounts what a host has, runs the command, says how it ended.
# $output is where the command prints; the first serial line is the console, the second takes the result.
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=0666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
    ln -sf "${link#*:}" "/dev/${link%%:*}"
done
for mount in securityfs:/sys/kernel/security debugfs:/sys/kernel/debug tracefs:/sys/kernel/tracing bpf:/sys/fs/bpf \
    cgroup2:/sys/fs/cgroup configfs:/sys/kernel/config; do
    mount -t "${mount%%:*}" "${mount%%:*}" "${mount#*:}" 2>/dev/null
done
/run/vm/busybox ifconfig lo 127.0.0.1 up
/run/vm/busybox hostname vm
while IFS= read -r module; do
    modprobe "$module" || echo "vm: no module $module" >/dev/ttyS0
done </run/vm/wanted
output=/dev/ttyS0
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = vm.output ] && output=/dev/${port##*/}
done
echo started >/dev/ttyS1
setsid --wait /bin/sh /run/vm/command </dev/null >"$output" 2>&1
echo "exit $?" >/dev/ttyS1
/run/vm/busybox poweroff -f
