# Process 1 of a machine of the lab: makes the root folder, prints "ready", and ends with its input.
#
#     bash -c "$(cat host.sh)" host|client NAME BIND WITHOUT ONLY KEYTYPES
#
# `host` has namespaces of its own for processes and network; `client` has those of the test, and the folder BIND.
# WITHOUT are programs to leave out; ONLY=busybox leaves out every program but busybox and sudo.
set -euo pipefail
umask 022
kind=$1 name=$2 bind=$3 without=$4 only=$5 keytypes=$6

mount -t tmpfs -o mode=755 tmpfs /run
cd /run
mkdir -p dev proc sys run/sshd run/lock run/netns tmp root home etc/ssh etc/sudoers.d usr opt/busybox .old \
    var/log var/lib/sudo var/mail var/tmp
chmod 1777 tmp var/tmp
chmod 700 root
ln -s ../run var/run

mount --bind /usr usr
mount -o remount,bind,ro usr
for part in /bin /sbin /lib /lib32 /lib64 /libx32; do
    if [[ -L $part ]]; then
        cp -P "$part" .
    elif [[ -d $part ]]; then
        mkdir ".$part"
        mount --bind "$part" ".$part"
    fi
done
# Programs of this machine's owner are no part of a host.
[[ ! -d usr/local ]] || mount -t tmpfs -o mode=755 tmpfs usr/local
ln -s /usr/bin/busybox opt/busybox/ash

if [[ -n $without$only ]]; then
    mkdir .bin
    mount --bind usr/bin .bin
    mount -t tmpfs -o mode=755 tmpfs usr/bin
    if [[ $only == busybox ]]; then
        for program in $(busybox --list); do
            ln -s /.bin/busybox "usr/bin/$program"
        done
        ln -sf /.bin/busybox /.bin/sudo usr/bin
    else
        (cd .bin && printf '/.bin/%s\0' *) | xargs -0 ln -s -t usr/bin
    fi
    for program in $without; do
        rm "usr/bin/$program"
    done
fi

# Copied from this machine; the lab writes the other files of /etc.
for entry in alternatives bash.bashrc csh csh.cshrc csh.login fish iproute2 ld.so.cache ld.so.conf ld.so.conf.d localtime \
    login.defs protocols security services terminfo; do
    [[ ! -e /etc/$entry ]] || cp -a "/etc/$entry" etc
done
for entry in /etc/ld-musl*; do
    [[ ! -e $entry ]] || cp -a "$entry" etc
done

mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
chmod 1777 dev/shm
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
ln -s pts/ptmx dev/ptmx
if [[ $kind == host ]]; then
    mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    ip link set lo up
    echo 0 >proc/sys/net/ipv6/conf/default/accept_dad
    echo 0 >proc/sys/net/ipv6/conf/all/accept_dad
else
    # The tests' pseudo-terminals are among these.
    mount --bind /dev/pts dev/pts
    mount --rbind /proc proc
    mount --rbind /sys sys
    mkdir -p ".$bind"
    mount --bind "$bind" ".$bind"
fi
echo "$name" >/proc/sys/kernel/hostname

for type in $keytypes; do
    ssh-keygen -q -t "$type" -N '' -C "$name" -f "etc/ssh/ssh_host_${type}_key"
done

# The records of mount(8).
rm -rf mount
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
echo ready
# Bash reaps the orphans meanwhile.
while read -r _; do :; done
