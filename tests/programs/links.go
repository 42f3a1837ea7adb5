// What vishvananda/netlink and the standard library see and do: links NAMESPACE, to which v0 moves in the end. The
// output is the same inside the namespace.
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

func main() {
	interfaces, err := net.Interfaces()
	fmt.Println(err)
	for _, link := range interfaces {
		addresses, err := link.Addrs()
		fmt.Println(link.Index, link.Name, link.MTU, link.HardwareAddr, link.Flags, addresses, err)
	}
	links, err := netlink.LinkList()
	fmt.Println(len(links), err)
	for _, link := range links {
		a := link.Attrs()
		fmt.Println(a.Index, a.Name, a.MTU, a.HardwareAddr, a.Flags, a.OperState, link.Type(), a.ParentIndex)
		addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		fmt.Println(addresses, err)
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "gb0", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 8, 0}}}
	fmt.Println(netlink.LinkAdd(bridge), netlink.LinkAdd(bridge))
	v0, err := netlink.LinkByName("v0")
	fmt.Println(err)
	address, _ := netlink.ParseAddr("10.30.0.1/24")
	fmt.Println(netlink.AddrAdd(v0, address), netlink.AddrAdd(v0, address))
	_, network, _ := net.ParseCIDR("10.31.0.0/16")
	route := &netlink.Route{LinkIndex: v0.Attrs().Index, Dst: network, Gw: net.IPv4(10, 30, 0, 2)}
	fmt.Println(netlink.RouteAdd(route), netlink.RouteAdd(route))
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	for _, route := range routes {
		fmt.Println(route)
	}
	fmt.Println(err)
	got, err := netlink.RouteGet(net.IPv4(10, 31, 0, 1))
	fmt.Println(got, err)
	_, err = netlink.LinkByName("nosuch")
	fmt.Println(err)
	neighs, err := netlink.NeighList(0, netlink.FAMILY_V4)
	fmt.Println(neighs, err)
	rules, err := netlink.RuleList(netlink.FAMILY_V4)
	fmt.Println(rules, err)
	families, err := netlink.GenlFamilyList()
	fmt.Println(len(families) > 0, err)
	done, updates := make(chan struct{}), make(chan netlink.LinkUpdate)
	fmt.Println(netlink.LinkSubscribe(updates, done))
	fmt.Println(netlink.LinkDel(bridge))
	for update := range updates {
		if update.Header.Type == 17 {
			fmt.Println("gone:", update.Link.Attrs().Name)
			break
		}
	}
	runtime.LockOSThread()
	handle, err := netns.GetFromName(os.Args[1])
	fmt.Println(err)
	second, err := netlink.NewHandleAt(handle)
	fmt.Println(err)
	links, err = second.LinkList()
	fmt.Println(len(links), err)
	fmt.Println(netlink.LinkSetNsFd(v0, int(handle)))
	link, err := second.LinkByName("v0")
	fmt.Println(link.Attrs().Name, err)
}
