//! Sizes of a head: exactly the limit passes, one more is refused as soon as it arrives.

use crate::reading::{fault, get_with, read_within};
use tollkeep_http1::{Head, HeadFault, Limits, Progress};

#[test]
fn each_limit_passes_exactly_and_refuses_one_more() {
    let fields = |count| get_with("X: 1\r\n".repeat(count));
    let line = |len: usize| get_with(format!("X: {}\r\n", "a".repeat(len - 3)));
    let target = |len: usize| {
        format!(
            "GET /{} HTTP/1.1\r\nHost: gw.test\r\n\r\n",
            "a".repeat(len - 1)
        )
        .into_bytes()
    };
    let head = |len: usize| {
        let line = format!("X: {}\r\n", "a".repeat(1000));
        let filled = get_with(line.repeat(32));
        let rest = "a".repeat(len - filled.len() - 5);
        get_with(format!("{}X: {rest}\r\n", line.repeat(32)))
    };
    for (name, exactly, more, want) in [
        (
            "fields",
            fields(99),
            fields(100),
            HeadFault::HeadersTooLarge,
        ),
        ("line", line(8192), line(8193), HeadFault::HeadersTooLarge),
        (
            "target",
            target(8192),
            target(8193),
            HeadFault::TargetTooLong,
        ),
        (
            "head",
            head(32 * 1024),
            head(32 * 1024 + 1),
            HeadFault::HeadersTooLarge,
        ),
    ] {
        assert_eq!(fault(exactly), None, "{name} exactly");
        assert_eq!(fault(more), Some(want), "{name} and one more");
    }
}

#[test]
fn an_empty_line_before_the_head_and_a_body_behind_it_do_not_count() {
    let request = get_with("");
    let limits = Limits {
        head_bytes_max: request.len(),
        ..Limits::default()
    };
    let around = [b"\r\n", request.as_slice(), b"body"].concat();
    assert!(read_within(around, &limits).is_ok());
}

#[test]
fn a_dropped_field_counts() {
    assert_eq!(
        fault(get_with("a_b: 1\r\n".repeat(100))),
        Some(HeadFault::HeadersTooLarge)
    );
}

#[test]
fn what_never_ends_is_refused_at_the_limit() {
    for (name, start, filler, want) in [
        ("method", "", "A", (8192, HeadFault::HeadersTooLarge)),
        ("target", "GET /", "a", (8191, HeadFault::TargetTooLong)),
        (
            "name",
            "GET /ok HTTP/1.1\r\n",
            "a",
            (8192, HeadFault::HeadersTooLarge),
        ),
        (
            "value",
            "GET /ok HTTP/1.1\r\nX:",
            "a",
            (8190, HeadFault::HeadersTooLarge),
        ),
    ] {
        let (allowed, kind) = want;
        let mut bytes = format!("{start}{}", filler.repeat(allowed)).into_bytes();
        let mut head = Head::new();
        let limits = Limits::default();
        assert_eq!(
            head.read(&bytes, &limits, &[]),
            Ok(Progress::More),
            "{name}"
        );
        bytes.extend(filler.bytes());
        let refused = head
            .read(&bytes, &limits, &[])
            .map_err(|refusal| refusal.kind);
        assert_eq!(refused, Err(kind), "{name}");
    }
}

#[test]
fn the_first_fault_in_the_order_of_the_bytes_is_told() {
    let long = "a".repeat(9000);
    for (name, line, want) in [
        (
            "bad byte in the limit",
            format!("X: \0{long}"),
            HeadFault::FieldValue,
        ),
        (
            "bad byte beyond it",
            format!("X: {long}\0"),
            HeadFault::HeadersTooLarge,
        ),
    ] {
        assert_eq!(fault(get_with(format!("{line}\r\n"))), Some(want), "{name}");
    }
}

#[test]
fn a_value_serves_many_messages_without_growing() {
    let mut head = Head::new();
    let request = get_with("A: 1\r\nB: 2\r\nC: 3\r\n");
    let limits = Limits::default();
    assert_eq!(head.read(&request, &limits, &[]), Ok(Progress::Done));
    let capacity = head.fields.capacity();
    let refused = get_with("A: 1\r\nB\r\n");
    for _ in 0..100 {
        assert!(head.read(&refused, &limits, &[]).is_err());
        assert_eq!(head.read(&request[..20], &limits, &[]), Ok(Progress::More));
        head.reset();
        assert_eq!(head.read(&request, &limits, &[]), Ok(Progress::Done));
        assert_eq!((head.fields.len(), head.len), (4, request.len()));
    }
    assert_eq!(head.fields.capacity(), capacity);
}
