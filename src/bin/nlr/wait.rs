//! `nlr wait`: ends when something is so.

use std::{net::IpAddr, time::Duration};

use clap::{Args, ValueEnum};

use super::{
    args::{ColorArg, NetnsArg, seconds},
    connection::ConnectionArgs,
    failure::Failure,
    mirror::{Followed, Printer, within},
    monitor::{Action, Lines},
    session,
};
use netlink_remote::{
    Target,
    mirror::{Addresses, Kind, Links, Neighbours, Object, Routes},
};

const EXAMPLES: &str = "\
  link NAME [up|down|gone]
      up: it is switched on and has a carrier; by default it is enough that it exists
  addr ADDRESS[/LENGTH] [dev NAME] [gone]
      an IPv6 address that may be used: duplicate address detection is over
  route PREFIX|default [via ADDRESS] [dev NAME] [table NUMBER|main|all] [gone]
  neigh ADDRESS [dev NAME] [reachable|gone]

It subscribes before it looks: what happens in between is not missed. The exit code is 0 once the condition
holds, with the object on standard output, and 1 where the time of --timeout was over before.

A first connection that cannot be made is an error; a later one is made again.

Examples:
  nlr wait link eth0 up ssh://host --timeout 30
  nlr wait route 10.0.0.0/8 via 192.0.2.1 ssh://ci@router
  nlr wait addr fd00::1 dev eth0 -n blue
  nlr wait link veth7 gone";

/// Waits until a link, an address, a route or a neighbour is there, or gone
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WaitArgs {
    /// Kind of object
    object: Awaited,
    /// Its name, address or prefix, what has to hold of it, and a target, as `nlr --help` describes
    /// (default: local:)
    #[arg(required = true, value_name = "WORD")]
    words: Vec<String>,
    #[command(flatten)]
    netns: NetnsArg,
    /// The object as JSON
    #[arg(long, short)]
    json: bool,
    #[command(flatten)]
    color: ColorArg,
    /// Time after which it ends with exit code 1
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Awaited {
    Link,
    #[value(alias = "address")]
    Addr,
    Route,
    #[value(alias = "neighbour", alias = "neighbor")]
    Neigh,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Condition {
    name: String,
    /// The address, and the length of its prefix where that is given.
    address: Option<(IpAddr, Option<u8>)>,
    state: State,
    via: Option<IpAddr>,
    device: Option<String>,
    /// `None` for all tables.
    table: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Exists,
    Up,
    Down,
    Reachable,
    Gone,
}

/// `RT_TABLE_MAIN`.
const MAIN: u32 = 254;

/// The condition and the target of a command line's words.
fn parse(object: Awaited, words: &[String]) -> Result<(Condition, Target), String> {
    let mut words = words.iter();
    let name = words.next().cloned().unwrap_or_default();
    let mut condition = Condition { table: Some(MAIN), ..Condition::default() };
    if object != Awaited::Link {
        condition.address = Some(address(object, &name)?);
    }
    condition.name = name;
    let mut target = Target::local();
    let mut has_target = false;
    while let Some(word) = words.next() {
        let mut value =
            |what: &str| words.next().ok_or_else(|| format!("`{word}` wants {what} behind it"));
        match (word.as_str(), object) {
            ("gone", _) => condition.state = State::Gone,
            ("exists", _) => condition.state = State::Exists,
            ("up", Awaited::Link) => condition.state = State::Up,
            ("down", Awaited::Link) => condition.state = State::Down,
            ("reachable", Awaited::Neigh) => condition.state = State::Reachable,
            ("dev", Awaited::Addr | Awaited::Route | Awaited::Neigh) => {
                condition.device = Some(value("the name of a link")?.clone());
            }
            ("via", Awaited::Route) => {
                let text = value("an address")?;
                let via = text.parse().map_err(|_| format!("{text:?} is no address"))?;
                condition.via = Some(via);
            }
            ("table", Awaited::Route) => {
                let text = value("a table")?;
                condition.table = match text.as_str() {
                    "all" => None,
                    "main" => Some(MAIN),
                    "local" => Some(255),
                    "default" => Some(253),
                    number => Some(number.parse().map_err(|_| {
                        format!("{number:?} is no table: expected a number, main, local or all")
                    })?),
                };
            }
            (text, _) if !has_target && text.contains(':') => {
                target = text.parse().map_err(|error| format!("{error}"))?;
                has_target = true;
            }
            (text, _) => {
                let words = match object {
                    Awaited::Link => "up, down, exists, gone",
                    Awaited::Addr => "dev NAME, exists, gone",
                    Awaited::Route => "via ADDRESS, dev NAME, table TABLE, exists, gone",
                    Awaited::Neigh => "dev NAME, reachable, exists, gone",
                };
                return Err(format!("{text:?}: expected one of {words}, or a target"));
            }
        }
    }
    Ok((condition, target))
}

fn address(object: Awaited, text: &str) -> Result<(IpAddr, Option<u8>), String> {
    let what = if object == Awaited::Route { "a prefix such as 10.0.0.0/8" } else { "an address" };
    let wrong = || format!("{text:?}: expected {what}");
    match text {
        "default" if object == Awaited::Route => return Ok(([0, 0, 0, 0].into(), Some(0))),
        _ => {}
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    match (object, length) {
        (_, Some(length)) if length > longest => Err(wrong()),
        (Awaited::Neigh, Some(_)) => Err(wrong()),
        (Awaited::Route, None) => Ok((address, Some(longest))),
        (_, length) => Ok((address, length)),
    }
}

pub(crate) fn run(connection: &ConnectionArgs, args: &WaitArgs) -> Result<(), Failure> {
    let (condition, target) = parse(args.object, &args.words).map_err(Failure::usage)?;
    let (connection, target) = (connection, &target);
    match args.object {
        Awaited::Link => wait(connection, args, target, &condition, Links, |_, link, _| {
            is_link(&condition, link)
        }),
        Awaited::Addr => {
            wait(connection, args, target, &condition, Addresses, |key, object, names| {
                is_address(&condition, key, object) && is_device(&condition, key.link, names)
            })
        }
        Awaited::Route => {
            wait(connection, args, target, &condition, Routes, |key, object, names| {
                is_route(&condition, key, object, names)
            })
        }
        Awaited::Neigh => {
            wait(connection, args, target, &condition, Neighbours, |key, object, names| {
                is_neighbour(&condition, key, object) && is_device(&condition, key.link, names)
            })
        }
    }
}

/// The index of the link that the condition names, where it names one that is there.
type Device = Option<u32>;

fn wait<K: Kind>(
    connection: &ConnectionArgs,
    args: &WaitArgs,
    target: &Target,
    condition: &Condition,
    kind: K,
    matches: impl Fn(&K::Key, &Object, Device) -> bool,
) -> Result<(), Failure> {
    session::block_on(async |mut signals| {
        let netns = args.netns.netns();
        let mut followed = Followed::start(connection, target, netns.clone(), kind)?;
        // Links by name, over a connection of their own, where one is named.
        let mut links = match condition.device {
            Some(_) => Some(Followed::start(connection, target, netns, Links)?),
            None => None,
        };
        let color = !args.json && args.color.on();
        let mut printer = Printer::new(&followed, Lines::new(args.json, color, true))?;
        let mut holds = false;
        let work = async {
            while !holds {
                match &mut links {
                    Some(links) => {
                        tokio::select! {
                            change = followed.next() => drop(change?),
                            change = links.next() => drop(change?),
                        }
                    }
                    None => drop(followed.next().await?),
                }
                let device = match (&condition.device, &links) {
                    (Some(name), Some(links)) => {
                        let store = links.mirror.store();
                        if !store.is_synced() {
                            continue;
                        }
                        let link = store.snapshot().into_iter().find(|(_, link)| named(link, name));
                        link.map(|(index, _)| index)
                    }
                    _ => None,
                };
                let store = followed.mirror.store();
                if !store.is_synced() {
                    continue;
                }
                let found =
                    store.snapshot().into_iter().find(|(key, object)| matches(key, object, device));
                holds = found.is_some() != (condition.state == State::Gone);
                if holds && let Some((_, object)) = found {
                    printer.learn(&followed).await?;
                    printer.object(&object, Action::New, None).await?;
                }
            }
            Ok(())
        };
        let result = within(work, args.timeout, &mut signals).await;
        let result = printer.end(result).await;
        followed.close(&mut signals).await;
        if let Some(links) = links {
            links.close(&mut signals).await;
        }
        result?;
        match (holds, args.timeout) {
            (false, Some(timeout)) => Err(Failure::request(format_args!(
                "{} did not come true within {timeout:?}",
                args.words.first().map_or("", String::as_str)
            ))),
            _ => Ok(()),
        }
    })
}

/// `IFLA_IFNAME`, and `IFLA_ALT_IFNAME` in `IFLA_PROP_LIST`.
fn named(link: &Object, name: &str) -> bool {
    let attributes = link.attributes(16);
    let is_name = |text: &[u8]| text.strip_suffix(b"\0").unwrap_or(text) == name.as_bytes();
    attributes.bytes(3).is_some_and(is_name)
        || attributes
            .nested(52)
            .is_some_and(|names| names.iter().any(|(kind, text)| kind == 53 && is_name(text)))
}

fn is_link(condition: &Condition, link: &Object) -> bool {
    /// `IFF_UP`, `IFF_RUNNING`; `IFLA_OPERSTATE`, `IF_OPER_UNKNOWN` and `IF_OPER_UP`.
    const UP: u32 = 0x1;
    const RUNNING: u32 = 0x40;
    let flags = link.message().u32(8).unwrap_or(0);
    let state = link.attributes(16).u8(16).unwrap_or(0);
    let is_up = flags & (UP | RUNNING) == UP | RUNNING && matches!(state, 0 | 6);
    named(link, &condition.name)
        && match condition.state {
            State::Up => is_up,
            State::Down => !is_up,
            _ => true,
        }
}

/// Whether the condition names no link, or this one.
fn is_device(condition: &Condition, index: u32, device: Device) -> bool {
    condition.device.is_none() || device == Some(index)
}

fn is_address(
    condition: &Condition,
    key: &netlink_remote::mirror::AddressKey,
    object: &Object,
) -> bool {
    /// `IFA_FLAGS`, `IFA_F_TENTATIVE` and `IFA_F_DADFAILED`.
    const FLAGS: u16 = 8;
    const TENTATIVE: u32 = 0x40 | 0x08;
    let flags = object.attributes(8).u32(FLAGS).unwrap_or(0);
    let is_usable = condition.state == State::Gone || flags & TENTATIVE == 0;
    condition.address.is_some_and(|(address, length)| {
        address == key.address && length.is_none_or(|length| length == key.prefix_len)
    }) && is_usable
}

fn is_route(
    condition: &Condition,
    key: &netlink_remote::mirror::RouteKey,
    object: &Object,
    device: Device,
) -> bool {
    /// `RTA_OIF`, `RTA_GATEWAY`, `RTA_MULTIPATH` and `RTA_VIA`.
    const LINK: u16 = 4;
    const GATEWAY: u16 = 5;
    const HOPS: u16 = 9;
    let is_default = |address: IpAddr| address.is_unspecified();
    let is_prefix = condition.address.is_some_and(|(address, length)| {
        let is_same = address == key.destination
            || condition.name == "default" && is_default(key.destination);
        is_same && length == Some(key.prefix_len)
    });
    if !is_prefix || condition.table.is_some_and(|table| table != key.table) {
        return false;
    }
    let attributes = object.attributes(12);
    let is_gateway = |bytes: &[u8]| match condition.via {
        Some(IpAddr::V4(via)) => bytes == via.octets(),
        Some(IpAddr::V6(via)) => bytes == via.octets(),
        None => true,
    };
    let mut gateways = Vec::new();
    let mut links = Vec::new();
    gateways.extend(attributes.bytes(GATEWAY));
    links.extend(attributes.u32(LINK));
    // `struct rtnexthop`: its length, flags, hops, and the index of the link; then attributes.
    let mut hops = attributes.bytes(HOPS).unwrap_or_default();
    while let (Some(length), Some(index)) =
        (netlink_remote::nlmsg::read_u16(hops, 0), netlink_remote::nlmsg::read_u32(hops, 4))
    {
        let length = usize::from(length);
        links.push(index);
        let inside = netlink_remote::nlmsg::Attributes(hops.get(8..length).unwrap_or_default());
        gateways.extend(inside.bytes(GATEWAY));
        hops = hops.get(netlink_remote::nlmsg::aligned(length).max(8)..).unwrap_or_default();
    }
    (condition.via.is_none() || gateways.into_iter().any(is_gateway))
        && (condition.device.is_none() || links.into_iter().any(|link| device == Some(link)))
}

fn is_neighbour(
    condition: &Condition,
    key: &netlink_remote::mirror::NeighbourKey,
    object: &Object,
) -> bool {
    /// `NUD_REACHABLE`, `NUD_NOARP` and `NUD_PERMANENT`.
    const VALID: u16 = 0x02 | 0x40 | 0x80;
    let state = object.message().u16(8).unwrap_or(0);
    condition.address.is_some_and(|(address, _)| address == key.address)
        && (condition.state != State::Reachable || state & VALID != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(object: Awaited, words: &str) -> Result<(Condition, String), String> {
        let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
        parse(object, &words).map(|(condition, target)| (condition, target.to_string()))
    }

    #[test]
    fn words_make_a_condition_and_a_target() {
        let (link, target) = parsed(Awaited::Link, "eth0 up ssh://host").unwrap();
        assert_eq!((link.name.as_str(), link.state), ("eth0", State::Up));
        assert_eq!(target, "ssh://host");
        let (link, target) = parsed(Awaited::Link, "up").unwrap();
        assert_eq!((link.name.as_str(), link.state, &*target), ("up", State::Exists, "local:"));
        let (route, _) =
            parsed(Awaited::Route, "10.0.0.0/8 via 192.0.2.1 dev e table all gone").unwrap();
        assert_eq!(route.address, Some(([10, 0, 0, 0].into(), Some(8))));
        assert_eq!((route.via, route.table), (Some([192, 0, 2, 1].into()), None));
        assert_eq!((route.device.as_deref(), route.state), (Some("e"), State::Gone));
        let (route, _) = parsed(Awaited::Route, "2001:db8::1").unwrap();
        assert_eq!(route.address.unwrap().1, Some(128));
        let (addr, _) = parsed(Awaited::Addr, "fd00::1 dev eth0").unwrap();
        assert_eq!(addr.address, Some(("fd00::1".parse().unwrap(), None)));
    }

    #[test]
    fn other_words_are_told_with_those_that_may_stand_there() {
        for (object, words, expected) in [
            (Awaited::Link, "eth0 reachable", "\"reachable\": expected one of up, down"),
            (Awaited::Route, "10.0.0.0/33", "expected a prefix"),
            (Awaited::Route, "nosuch", "expected a prefix"),
            (Awaited::Addr, "10.0.0.1 via 10.0.0.2", "expected one of dev NAME"),
            (Awaited::Route, "default via", "`via` wants an address"),
            (Awaited::Route, "default table x", "is no table"),
            (Awaited::Neigh, "10.0.0.1/24", "expected an address"),
            (Awaited::Link, "eth0 nosuch://x", "nosuch"),
            (Awaited::Link, "eth0 local: local:", "expected one of"),
        ] {
            let error = parsed(object, words).unwrap_err();
            assert!(error.contains(expected), "{words}: {error}");
        }
    }
}
