"""What the classes of pyroute2 0.9 see and do: pyroute.py CLASS. The output is the same inside the namespace."""

import asyncio
import socket
import sys

from pyroute2 import NDB, AsyncIPRoute, IPRoute
from pyroute2.netlink.exceptions import NetlinkError


def link(message):
    names = ("IFLA_IFNAME", "IFLA_MTU", "IFLA_ADDRESS", "IFLA_OPERSTATE")
    return (message["index"], *(message.get(name) for name in names))


def iproute():
    with IPRoute() as ipr:
        for message in ipr.get_links():
            print(link(message))
        for message in ipr.get_addr(family=socket.AF_INET):
            print(message["index"], message.get("IFA_ADDRESS"), message["prefixlen"])
        ipr.link("add", ifname="pv0", kind="veth", peer={"ifname": "pv1", "address": "02:00:00:00:09:01"},
                 address="02:00:00:00:09:00")
        (index,) = ipr.link_lookup(ifname="pv0")
        ipr.link("set", index=index, state="up")
        ipr.addr("add", index=index, address="10.40.0.1", prefixlen=24)
        ipr.route("add", dst="10.41.0.0/16", gateway="10.40.0.2")
        for act in (lambda: ipr.addr("add", index=index, address="10.40.0.1", prefixlen=24),
                    lambda: ipr.route("del", dst="10.99.0.0/16"),
                    lambda: ipr.link("set", index=9999, state="up")):
            try:
                act()
                print("no error")
            except NetlinkError as error:
                print("error", error.code, error)
        for message in ipr.route("dump", family=socket.AF_INET):
            print(message.get("RTA_DST"), message["dst_len"], message.get("RTA_GATEWAY"), message.get("RTA_OIF"))
        for message in ipr.get_rules(family=socket.AF_INET):
            print(message.get("FRA_PRIORITY"), message.get("FRA_TABLE"))
        with IPRoute() as watch:
            watch.bind()
            ipr.link("del", index=index)
            events = []
            while ("RTM_DELLINK", "pv0") not in events:
                events += [(message["event"], message.get("IFLA_IFNAME")) for message in watch.get()]
            print(sorted({event for event in events if event[0] == "RTM_DELLINK"}))


async def asynchronous():
    async with AsyncIPRoute() as ipr:
        async for message in await ipr.get_links():
            print(link(message))
        await ipr.link("add", ifname="pb0", kind="bridge", address="02:00:00:00:09:02")
        found = await ipr.link_lookup(ifname="pb0")
        print(len(found))
        for dump in (ipr.addr, ipr.route, ipr.rule):
            print(len([message async for message in await dump("dump")]))
        await ipr.link("del", index=found[0])
        try:
            await ipr.link("del", index=found[0])
        except NetlinkError as error:
            print("error", error.code)


def ndb():
    with NDB() as ndb:
        print(sorted((item.ifname, item.mtu, item.address) for item in ndb.interfaces.dump()))
        with ndb.interfaces.create(ifname="pn0", kind="veth", peer="pn1", address="02:00:00:00:09:04") as interface:
            interface.set("mtu", 1400).set("state", "up")
            interface.add_ip("10.42.0.1/24")
        print(sorted(str(address.address) for address in ndb.addresses.dump() if address.address.startswith("10.42")))
        ndb.routes.create(dst="10.43.0.0/16", gateway="10.42.0.2").commit()
        print(ndb.routes["10.43.0.0/16"]["gateway"], ndb.interfaces["pn0"]["mtu"])
        ndb.interfaces["pn0"].remove().commit()
        print("pn1" in [item.ifname for item in ndb.interfaces.dump()])


{"iproute": iproute, "async": lambda: asyncio.run(asynchronous()), "ndb": ndb}[sys.argv[1]]()
