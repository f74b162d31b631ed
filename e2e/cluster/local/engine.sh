#!/bin/sh
# First process of fresh mount and process namespaces: gives itself a file system on top of ROOT, with STATE at /state, and becomes the engine's init.
# usage: engine.sh ROOT STATE DOCKERD_OPTION...
set -eu
base=$1 state=$2
scripts=$(cd "$(dirname "$0")" && pwd)
shift 2

mkdir -p "$state/root/written" "$state/root/work" "$state/root/merged"
root=$state/root/merged
mount -t overlay -o "lowerdir=$base,upperdir=$state/root/written,workdir=$state/root/work" overlay "$root"
mkdir -p "$root/state" "$root/usr/lib/modules"
cp "$scripts/runc-without-resource" "$root/usr/local/bin/"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount --bind "$state" "$root/state"
if [ -d /lib/modules ]; then mount --bind -o ro /lib/modules "$root/usr/lib/modules"; fi
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"

cd "$root"
pivot_root . mnt
PATH=/usr/sbin:/usr/bin exec chroot . sh -c 'umount -l /mnt && exec tini-static -- dockerd "$@"' sh "$@"
