use super::*;

/// A message of this kind, flags, sequence number and payload.
fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32_ne((HEADER + payload.len()) as u32);
    out.put_u16_ne(kind);
    out.put_u16_ne(flags);
    out.put_u32_ne(sequence);
    out.put_u32_ne(0);
    out.put_slice(payload);
    out.put_bytes(0, payload.len().next_multiple_of(4) - payload.len());
    out
}

fn joined(parts: &[BytesMut]) -> Bytes {
    parts.concat().into()
}

/// Kind, sequence number and error code of each message.
fn summary(datagram: &[u8]) -> Vec<(u16, u32, i32)> {
    messages(datagram)
        .map(|(offset, m)| (m.kind, m.sequence, done_code(datagram.get(offset..offset + m.length))))
        .collect()
}

#[test]
fn a_dump_that_ends_with_an_error_code_becomes_that_error() {
    let mut state = State::default();
    state.sent(1, &message(18, 0x301, 7, &[0; 16]));
    let part = message(16, NLM_F_MULTI, 7, &[1; 5]);
    let done = message(NLMSG_DONE, NLM_F_MULTI, 7, &(-105_i32).to_ne_bytes());
    let after = message(16, 0, 0, &[2; 8]);
    let datagram = state.take_answers(joined(&[part.clone(), done, after.clone()]));
    assert_eq!(summary(&datagram)[1], (NLMSG_ERROR, 7, -105));
    assert_eq!(datagram[..part.len()], part[..]);
    assert_eq!(datagram[datagram.len() - after.len()..], after[..]);
    assert!(state.in_flight.is_empty());
}

#[test]
fn an_interrupted_dump_becomes_eintr_unless_tolerated() {
    for tolerate_interrupted in [false, true] {
        let mut state = State { tolerate_interrupted, ..State::default() };
        state.sent(1, &message(18, 0x301, 7, &[0; 16]));
        state.take_answers(message(16, NLM_F_MULTI | NLM_F_DUMP_INTR, 7, &[1; 8]).freeze());
        let done = message(NLMSG_DONE, NLM_F_MULTI, 7, &[0; 4]).freeze();
        let datagram = state.take_answers(done.clone());
        if tolerate_interrupted {
            assert_eq!(datagram, done);
        } else {
            assert_eq!(summary(&datagram), [(NLMSG_ERROR, 7, -EINTR)]);
        }
    }
}

#[test]
fn a_whole_dump_passes_as_it_is_and_in_the_same_memory() {
    let mut state = State::default();
    state.sent(1, &message(18, 0x301, 7, &[0; 16]));
    let dump = joined(&[
        message(16, NLM_F_MULTI, 7, &[1; 8]),
        message(NLMSG_DONE, NLM_F_MULTI, 7, &[0; 4]),
    ]);
    let passed = state.take_answers(dump.clone());
    assert_eq!(passed.as_ptr(), dump.as_ptr());
    assert_eq!(passed, dump);
}

#[test]
fn in_flight_ends_with_the_ack_where_one_was_asked_for() {
    let mut state = State::default();
    state.sent(1, &message(18, 0x1 | NLM_F_ACK, 7, &[0; 16]));
    state.take_answers(message(16, 0, 7, &[1; 8]).freeze());
    assert!(state.in_flight.contains_key(&7), "the ack is still to come");
    state.take_answers(message(NLMSG_ERROR, 0, 7, &[0; 20]).freeze());
    assert!(state.in_flight.is_empty());
    state.sent(2, &message(18, 0x1, 8, &[0; 16]));
    state.take_answers(message(16, 0, 8, &[1; 8]).freeze());
    assert!(state.in_flight.is_empty(), "without one, the answer is the end");
}

#[test]
fn a_failed_send_answers_its_requests_and_no_others() {
    let mut state = State::default();
    state.sent(1, &message(18, 0x1, 7, &[0; 16]));
    state.sent(2, &message(18, 0x1, 8, &[0; 16]));
    state.fail_send(2, 1);
    assert_eq!(summary(&state.take_errors().unwrap()), [(NLMSG_ERROR, 8, -1)]);
    assert!(state.take_errors().is_none());
    assert!(state.in_flight.contains_key(&7));
}

#[test]
fn malformed_datagrams_are_passed_on_untouched() {
    let mut state = State::default();
    state.sent(1, &message(18, 0x301, 7, &[0; 16]));
    for bytes in [
        &b""[..],
        &[1, 2, 3],
        &[0; 40],
        &[0xff; 64],
        &[15, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(state.take_answers(Bytes::copy_from_slice(bytes)), bytes);
    }
}
