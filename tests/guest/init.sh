#!/bin/bash
# The init of a User-Mode Linux guest whose root is that of the host: runs the lines of a file, and writes what ip and nlr
# show then. From the kernel's command line: $out, a folder of the host, $ip, the folder of ip, and $nlr.
export PATH=$ip:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /run
exec </dev/null >"$out/log" 2>&1
cd "/usr/lib/uml/modules/$(uname -r)" || exit
# In modules.dep the dependencies of a module follow it, the innermost last.
load() {
    local name path one
    for name; do
        path=$(grep -oE "^[^:]*/$name\\.ko:.*" modules.dep | tr -d :)
        [ "$path" ] || { echo "no module $name"; continue; }
        for one in $(printf '%s\n' $path | tac); do busybox insmod "$one" 2>/dev/null; done
    done
}
load dummy bonding 8021q vrf ip_gre ip6_gre ipip sit ip_vti ip6_vti geneve vxlan macvlan macvtap ipvlan ipvtap ifb veth bridge \
    team nlmon vcan vxcan macsec hsr batman-adv tun mpls_iptunnel ila \
    sch_htb sch_fq_codel sch_fq sch_tbf sch_ingress sch_prio cls_u32 cls_flower cls_matchall cls_fw cls_basic act_gact act_mirred act_vlan \
    act_skbedit act_tunnel_key
while read -r line; do
    $line || echo "refused: $line"
done <"$out/lines"
show() { ip -j $2 >"$out/ip-$1" && "$nlr" show $3 --json >"$out/nlr-$1"; }
show link "-d link" "link"
show route "route show table all" "route --table all"
show route6 "-6 route show table all" "route -6 --table all"
show rule "rule" "rule"
show rule6 "-6 rule" "rule -6"
show addr "addr" "addr"
"$nlr" monitor --json >"$out/events" 2>"$out/events-errors" &
until grep -q ready "$out/events"; do sleep 0.1; done
while read -r line; do
    $line || echo "refused: $line"
done <"$out/changes"
sleep 1
kill -INT $!
wait
echo done
sync
echo o >/proc/sysrq-trigger
sleep 10
