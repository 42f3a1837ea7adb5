# The folders in which a stub may lie, as arguments of the shell; a folder counts if its base is ours, or sticky, so
# that nobody else can put another in its place, and if it is a real one and ours. Another's home is none, even where
# sudo left it in HOME: its owner could put anything in the place of what root made there.
unset IFS;
set +aeuxC;
umask 077;
PATH=${PATH:-/usr/sbin:/usr/bin:/sbin:/bin};
u=$(id -u);
c=$XDG_CACHE_HOME;
[ "$c" ] || { [ -O "$HOME" ] && c=$HOME/.cache; };
set -- "$c/netlink-remote" "$XDG_RUNTIME_DIR/netlink-remote";
for b in /dev/shm /tmp /var/tmp; do set -- "$@" "$b/netlink-remote-$u"; done;
safe() { [ -O "$1" ] || [ -k "$1" ]; };
ours() { safe "${1%/*}" && [ -d "$1" ] && [ -O "$1" ] && { [ -L "$1" ] && return 1; [ "$1" = "/${1#/}" ]; }; };
