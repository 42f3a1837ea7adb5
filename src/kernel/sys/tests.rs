//! The system calls, on sockets of the real kernel.

use std::os::fd::AsFd;

use super::*;

/// An RTM_GETLINK dump, 20 bytes of ifinfomsg behind the header.
fn dump_request() -> Vec<u8> {
    let mut request = vec![0; 32];
    request[..4].copy_from_slice(&32_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&18_u16.to_ne_bytes());
    request[6..8].copy_from_slice(&0x301_u16.to_ne_bytes());
    request
}

#[test]
fn receive_appends_behind_what_is_there_and_spills_the_rest() {
    let fd = socket(0).unwrap();
    bind(fd.as_fd(), 0).unwrap();
    assert_ne!(portid(fd.as_fd()).unwrap(), 0);
    send(fd.as_fd(), &dump_request(), Destination::default()).unwrap();
    let mut out = Vec::with_capacity(19);
    out.extend_from_slice(b"abc");
    let room = out.capacity() - 3;
    let mut spill = Vec::with_capacity(4096);
    spill.extend_from_slice(b"of before");
    let taken = receive(fd.as_fd(), &mut out, &mut spill).unwrap();
    assert!(taken.length > room, "a link needs more than {room} bytes");
    assert_eq!(out.len(), 3 + room);
    assert_eq!(&out[..3], b"abc");
    // The first message is as long as its header says: both parts together are the datagram.
    let first = u32::from_ne_bytes(out[3..7].try_into().unwrap()) as usize;
    assert!(first <= taken.length);
    assert_eq!(taken.info.portid, 0);
    assert_eq!(spill.len(), taken.length - room);
    out.extend_from_slice(&spill);
    let mut whole = Vec::with_capacity(64 << 10);
    let again = socket(0).unwrap();
    send(again.as_fd(), &dump_request(), Destination::default()).unwrap();
    receive(again.as_fd(), &mut whole, &mut Vec::new()).unwrap();
    assert_eq!(out.len() - 3, whole.len());
}

#[test]
fn receive_tells_the_whole_length_of_what_had_no_room() {
    let fd = socket(0).unwrap();
    bind(fd.as_fd(), 0).unwrap();
    send(fd.as_fd(), &dump_request(), Destination::default()).unwrap();
    let (mut out, mut spill) = (Vec::with_capacity(16), Vec::with_capacity(16));
    let room = out.capacity();
    let taken = receive(fd.as_fd(), &mut out, &mut spill).unwrap();
    assert!(taken.length > room + spill.len());
    assert_eq!(out.len(), room);
}

#[test]
fn many_sends_stop_at_one_that_the_kernel_refuses() {
    let fd = socket(0).unwrap();
    bind(fd.as_fd(), 0).unwrap();
    // It accepts three bytes, says nothing, and wants at least one.
    let lengths = [3, 3, 0, 3];
    let many =
        |data: &[u8], lengths: &[usize]| send_many(fd.as_fd(), data, lengths.iter().copied());
    assert_eq!(many(&[0; 9], &lengths), Ok(2));
    assert_eq!(many(&[0; 3], &lengths[2..]), Err(Errno::ENODATA));
    assert_eq!(many(&[0; 3], &lengths[3..]), Ok(1));
    assert_eq!(many(&[0; 5], &lengths), Err(Errno::EINVAL), "and reads nothing beyond them");
    assert_eq!(many(&[0; 3 * 20], &[3; 20]), Ok(AT_ONCE));
    let requests = [dump_request(), dump_request()].concat();
    assert_eq!(many(&requests, &[32, 32]), Ok(2));
    let mut out = Vec::with_capacity(64 << 10);
    let taken = receive(fd.as_fd(), &mut out, &mut Vec::new()).unwrap();
    assert_eq!(taken.info.portid, 0);
}

#[test]
fn options_of_any_length_and_errors_as_they_are() {
    let fd = socket(0).unwrap();
    let mut value = [0; 4];
    assert_eq!(option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, &mut value), Ok(4));
    assert_eq!(set_option(fd.as_fd(), libc::SOL_NETLINK, 9999, &[0; 4]), Err(Errno::ENOPROTOOPT));
    // SO_ATTACH_FILTER with a `struct sock_fprog`, SO_GET_FILTER, SO_ATTACH_BPF, and levels
    // whose options a netlink socket does not have.
    for (level, name) in [(libc::SOL_SOCKET, 26), (libc::SOL_SOCKET, 50), (0, 64), (6, 1)] {
        let mut value = [1; 16];
        assert_eq!(set_option(fd.as_fd(), level, name, &value), Err(Errno::ENOPROTOOPT));
        assert_eq!(option(fd.as_fd(), level, name, &mut value), Err(Errno::ENOPROTOOPT));
        assert_eq!(value, [1; 16], "option {name} of level {level}");
    }
    assert_eq!(socket(1 << 20).unwrap_err(), Errno::EPROTONOSUPPORT);
    assert_eq!(socket(u32::MAX).unwrap_err(), Errno::EPROTONOSUPPORT);
}

#[test]
fn options_have_their_kernel_s_sizes() {
    let fd = socket(0).unwrap();
    let flag = (libc::SOL_NETLINK, libc::NETLINK_CAP_ACK);
    let read = |(level, name), room: usize| {
        let mut value = vec![0xee; room];
        option(fd.as_fd(), level, name, &mut value).map(|length| (length, value))
    };
    // Netlink alone would take the shorter value for zero.
    for (level, name) in [flag, (libc::SOL_SOCKET, libc::SO_RCVBUF)] {
        for length in 0..4 {
            let short = vec![1; length];
            assert_eq!(set_option(fd.as_fd(), level, name, &short), Err(Errno::EINVAL));
        }
    }
    let long = [1_i32.to_ne_bytes(), [0xff; 4]].concat();
    set_option(fd.as_fd(), flag.0, flag.1, &long).unwrap();
    let set = [1_i32.to_ne_bytes(), [0xee; 4]].concat();
    assert_eq!(read(flag, 8), Ok((4, set)), "and no byte beyond it is written");
    // What has more than an int: a cookie, and arrays, which end where the room does.
    let sizes = [(libc::SO_COOKIE, 8), (libc::SO_MEMINFO, 9 * 4)];
    for (name, size) in sizes {
        let (length, value) = read((libc::SOL_SOCKET, name), 64).unwrap();
        assert!(length >= size && value[length..].iter().all(|byte| *byte == 0xee), "{name}");
    }
    assert_eq!(read((libc::SOL_SOCKET, libc::SO_MEMINFO), 4).unwrap().0, 4);
    let (level, add) = (libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP);
    set_option(fd.as_fd(), level, add, &1_i32.to_ne_bytes()).unwrap();
    let groups = (level, libc::NETLINK_LIST_MEMBERSHIPS);
    let (needed, value) = read(groups, 3).unwrap();
    assert!(needed >= 4 && value == [0xee; 3], "no part of a word: {value:?}");
    // Those that are read alone.
    for name in [libc::SO_TYPE, libc::SO_COOKIE, libc::SO_MEMINFO] {
        let refused = set_option(fd.as_fd(), libc::SOL_SOCKET, name, &[0; 64]);
        assert_eq!(refused, Err(Errno::ENOPROTOOPT));
    }
}

#[test]
fn a_filter_is_the_kernel_s_to_judge() {
    let fd = socket(0).unwrap();
    let attach = |filter: &[FilterInstruction]| attach_filter(fd.as_fd(), filter);
    let all = FilterInstruction::stmt(0x06, u32::MAX);
    assert_eq!(attach(&[all]), Ok(()));
    assert_eq!(attach(&[all; 4096]), Ok(()));
    assert_eq!(attach(&[]), Err(Errno::EINVAL));
    for many in [4097, 65_535, 65_536, 65_537] {
        assert_eq!(attach(&vec![all; many]), Err(Errno::EINVAL), "{many} instructions");
    }
    // A jump beyond the end.
    assert_eq!(attach(&[FilterInstruction::jump(0x15, 0, 9, 9), all]), Err(Errno::EINVAL));
    let on = 1_i32.to_ne_bytes();
    let set = |name| set_option(fd.as_fd(), libc::SOL_SOCKET, name, &on);
    assert_eq!(set(libc::SO_DETACH_FILTER), Ok(()));
    assert_eq!(set(libc::SO_DETACH_FILTER), Err(Errno::ENOENT));
    assert_eq!(attach(&[all]), Ok(()));
    assert_eq!(set(libc::SO_LOCK_FILTER), Ok(()));
    assert_eq!(attach(&[all]), Err(Errno::EPERM));
}

#[test]
fn the_group_comes_with_the_datagram() {
    let fd = socket(0).unwrap();
    bind(fd.as_fd(), 0).unwrap();
    let on = 1_i32.to_ne_bytes();
    set_option(fd.as_fd(), libc::SOL_NETLINK, libc::NETLINK_PKTINFO, &on).unwrap();
    send(fd.as_fd(), &dump_request(), Destination::default()).unwrap();
    let mut out = Vec::with_capacity(65536);
    let taken = receive(fd.as_fd(), &mut out, &mut Vec::new()).unwrap();
    assert_eq!(taken.info, DatagramInfo { portid: 0, group: 0, nsid: None });
}
