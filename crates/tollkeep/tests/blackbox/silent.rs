//! Many connections that say nothing, or never end what they say: they are gone by their
//! deadline, and until then they are in nobody's way.

use crate::fixture::{before, free, gateway, head};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Client, Gateway, Origin, PATIENCE};

/// What each of them says, by turns.
const BEGINNINGS: [&str; 4] = [
    "",
    "GET /x HT",
    "GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\r\n",
    "POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nten bytes ",
];

/// Callers that stay below the count of connections by address.
fn from(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 2, 0, u8::try_from(1 + number / 400).unwrap())
}

fn stuck(gateway: &Gateway, count: usize) -> Vec<Client> {
    (0..count)
        .map(|number| {
            let mut client = Client::connect_from(from(number), gateway.data());
            client.send(BEGINNINGS[number % BEGINNINGS.len()].as_bytes());
            client
        })
        .collect()
}

/// How long a request on a connection of its own took, at the 99th of a hundred.
fn p99_of_fresh(gateway: &Gateway, count: usize) -> Duration {
    let mut took: Vec<_> = (0..count)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(gateway.call(&head("GET /x", "")).status, 200);
            began.elapsed()
        })
        .collect();
    took.sort();
    took[count * 99 / 100]
}

fn many_stuck(count: usize, deadline: Duration, p99_max: Duration) {
    let origin = Origin::plain();
    let routes = ["GET /x", "POST /x"].map(free).concat();
    let ms = deadline.as_millis();
    let config = format!(
        "server: {{ timeouts: {{ first_byte_ms: {ms}, header_ms: {ms}, body_ms: {ms} }} }}\n{}",
        before(&origin, &routes)
    );
    let gateway = gateway(config).start();
    let clients = stuck(&gateway, count);
    let last = Instant::now();
    let p99 = p99_of_fresh(&gateway, 200);
    assert!(
        p99 < p99_max,
        "p99 {p99:?} beside {count} silent connections"
    );
    let mut ends = Vec::new();
    for mut client in clients {
        // What was refused is answered first.
        let answered = client.answer(PATIENCE);
        assert!(
            answered.is_err() || client.closed_within(PATIENCE),
            "{answered:?}"
        );
        ends.push(answered.map_or(0, |answer| answer.status));
    }
    let gone = last.elapsed();
    let told = ends.iter().filter(|status| **status == 408).count();
    assert_eq!(told, count / 4 * 3, "what began was told that it is late");
    assert_eq!(
        ends.iter().filter(|status| **status == 0).count(),
        count / 4
    );
    assert!(
        gone < deadline + Duration::from_secs(1) + LATE,
        "gone after {gone:?}"
    );
}

/// How much later a busy machine may be.
const LATE: Duration = Duration::from_secs(3);

// EDGE-53
#[test]
fn many_silent_connections_are_gone_by_their_deadline_and_in_nobodys_way() {
    many_stuck(400, Duration::from_secs(2), Duration::from_secs(1));
}

// EDGE-53
#[test]
#[ignore = "soak: needs 7,000 descriptors and a quiet machine"]
fn three_thousand_silent_connections_leave_fresh_requests_below_a_tenth_of_a_second() {
    many_stuck(3_000, Duration::from_secs(10), Duration::from_millis(100));
}
