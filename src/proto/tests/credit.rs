//! A window, seen from its two ends; orders at random are in the property tests.

use super::*;

#[test]
fn a_grant_is_sent_at_half_a_window() {
    let mut granting = Granting::new(credit(10, 100));
    assert!(granting.receive(10, Credit::default()));
    assert_eq!(granting.consume(4), None);
    assert_eq!(granting.consume(1), Some(credit(15, 102)));
    assert_eq!(granting.consume(4), None, "counted from the last grant");
    assert_eq!(granting.consume(1), Some(credit(20, 104)));
}

#[test]
fn datagrams_are_granted_as_bytes_are() {
    let mut granting = Granting::new(credit(1000, 3));
    assert_eq!(granting.consume(0), None);
    assert_eq!(granting.consume(0), Some(credit(1000, 5)));
}

#[test]
fn a_window_without_bound_stays_one() {
    let mut granting = Granting::new(credit(u64::MAX, 2));
    assert!(granting.receive(7, Credit::default()));
    assert_eq!(granting.consume(7), Some(credit(u64::MAX, 3)));
    assert_eq!(granting.outstanding(), Credit::default());
}

#[test]
fn both_bytes_and_datagrams_limit() {
    let mut granted = Granted::new(credit(10, 2));
    granted.spend(9);
    assert!(granted.may_send());
    granted.spend(100);
    assert!(!granted.may_send());
    assert!(granted.grant(credit(1000, 2)));
    assert!(!granted.may_send(), "two datagrams are two");
    assert!(granted.grant(credit(1000, 3)));
    assert!(granted.may_send());
    assert_eq!(granted.used(), credit(109, 2));
}

#[test]
fn a_grant_never_shrinks_and_may_be_repeated() {
    let mut granted = Granted::new(credit(10, 2));
    assert!(granted.grant(credit(10, 2)));
    assert!(!granted.grant(credit(9, 3)));
    assert!(!granted.grant(credit(11, 1)));
    granted.spend(9);
    assert!(granted.may_send(), "what was refused has changed nothing");
    assert!(granted.may_overdraw(credit(u64::MAX, u64::MAX)));
}
