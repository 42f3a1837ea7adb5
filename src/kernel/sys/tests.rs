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
    assert_eq!(
        set_option(fd.as_fd(), libc::SOL_NETLINK, 9999, &[0; 4]),
        Err(Errno::ENOPROTOOPT)
    );
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
