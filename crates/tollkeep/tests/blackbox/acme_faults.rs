//! Orders that fail: what is there stays, the next try waits, and nothing else suffers.

use crate::acme_fixture::{DAY, World, again, checked, degraded, failed, files, orders};
use crate::fixture::gateway;
use serde_json::json;
use std::fs;
use std::time::Duration;
use tollkeep_testkit::{AcmeFault, eventually};

// EDGE-14
#[test]
fn whatever_the_authority_does_the_certificate_that_is_there_stays() {
    let world = World::new(90 * DAY);
    let gateway = world.start("a.example");
    let first = world.wait_served(&gateway, "a.example");
    let kept = fs::read(world.kept()).unwrap();
    // Its time has not come; so a name more makes an order due at once.
    world.authority.fail("new-order", AcmeFault::ServerError, 1);
    gateway.configure(world.config("a.example, b.example"));
    assert!(failed(&gateway, 1).contains("status 500"));
    let faults = [
        ("directory", AcmeFault::ServerError, "status 500"),
        ("directory", AcmeFault::Redirect, "status 302"),
        ("directory", AcmeFault::Cut, "no proper answer"),
        ("new-nonce", AcmeFault::ServerError, "status 500"),
        ("new-order", AcmeFault::Malformed, "JSON"),
        ("new-order", AcmeFault::BadNonce, "badNonce"),
        ("authz", AcmeFault::Cut, "no proper answer"),
        ("finalize", AcmeFault::ServerError, "status 500"),
        ("finalize", AcmeFault::OtherKey, "does not match"),
        (
            "finalize",
            AcmeFault::OtherName,
            "other names: other.example",
        ),
        ("cert", AcmeFault::Malformed, "can't be used"),
    ];
    let mut count = 1;
    for (resource, fault, words) in faults {
        // The library tries three times with another nonce.
        let times = if matches!(fault, AcmeFault::BadNonce) {
            3
        } else {
            1
        };
        world.authority.recover();
        world.authority.fail(resource, fault, times);
        again(&gateway);
        count += 1;
        let why = failed(&gateway, count);
        assert!(why.contains(words), "{resource}: {why}");
        assert_eq!(
            world.served(&gateway, "a.example"),
            Ok(first.clone()),
            "{words}"
        );
        assert_eq!(fs::read(world.kept()).unwrap(), kept, "{words}");
        assert!(files(&world.cache(), ".challenges").is_empty(), "{words}");
    }
    eventually("the reason", || {
        degraded(&gateway)
            .contains(&"certificate_order".to_owned())
            .then_some(())
    });
    let (_, told) = checked(&gateway);
    assert_eq!(
        (&told["failures"], &told["problem"].is_string()),
        (&json!(1), &true),
        "{told}"
    );
    world.authority.recover();
    again(&gateway);
    let both = world.wait_served(&gateway, "b.example");
    assert_eq!(world.served(&gateway, "a.example"), Ok(both));
    eventually("no reason", || degraded(&gateway).is_empty().then_some(()));
    assert_eq!(world.authority.accounts().len(), 1);
}

// EDGE-14
#[test]
fn a_nonce_that_is_refused_once_is_no_failure() {
    let world = World::new(90 * DAY);
    for resource in ["new-account", "new-order", "tls-alpn-01", "finalize"] {
        world.authority.fail(resource, AcmeFault::BadNonce, 1);
    }
    let gateway = world.start("a.example");
    world.wait_served(&gateway, "a.example");
    let line = eventually("its record", || orders(&gateway).into_iter().next());
    assert_eq!(line["result"], "success");
}

// EDGE-14
#[test]
fn an_authority_that_asks_for_time_gets_it() {
    let world = World::new(90 * DAY);
    world
        .authority
        .fail("new-order", AcmeFault::RateLimited(3_600), 1);
    let gateway = world.start("a.example");
    let why = failed(&gateway, 1);
    assert!(
        why.contains("rateLimited") && why.contains("too many of them"),
        "{why}"
    );
    // Neither a restart nor an operator asks sooner.
    let gateway = gateway.restart().unwrap();
    again(&gateway);
    eventually("two looks", || {
        degraded(&gateway)
            .contains(&"certificate_order".to_owned())
            .then_some(())
    });
    let (code, told) = checked(&gateway);
    assert_eq!((code, &told["failures"]), (Some(8), &json!(1)), "{told}");
    assert_ne!(told["next_order"], "now");
    assert_eq!(world.authority.asked("new-order"), 1);
}

// EDGE-14
#[test]
fn an_authority_that_asks_for_forever_stops_nothing() {
    let world = World::new(90 * DAY);
    let forever = AcmeFault::RetryAfter("18446744073709551615");
    world.authority.fail("order", forever, 1);
    // It is not looked for yet, so that the order is not ready at the first look.
    let gateway = world.builder("a.example").start();
    let why = failed(&gateway, 1);
    assert!(why.contains("timed out"), "{why}");
    world.lead_to(&gateway);
    again(&gateway);
    world.wait_served(&gateway, "a.example");
}

// EDGE-14
#[test]
fn a_name_that_leads_elsewhere_gets_no_certificate() {
    let world = World::new(90 * DAY);
    let elsewhere = gateway("sandbox: { upstream: true }\n").start();
    let gateway = world.builder("a.example").start();
    world.lead_to(&elsewhere);
    let why = failed(&gateway, 1);
    assert!(
        why.contains("a.example: ") && why.contains("handshake"),
        "{why}"
    );
    assert!(world.served(&gateway, "a.example").is_err());
    let (_, told) = checked(&gateway);
    assert_ne!(told["next_order"], "now", "{told}");
    assert_eq!(world.authority.orders().len(), 1, "it waits");
}

// EDGE-14
#[test]
fn an_account_that_is_gone_is_made_anew() {
    let world = World::new(90 * DAY);
    let gateway = world.start("a.example");
    world.wait_served(&gateway, "a.example");
    world.authority.forget_accounts();
    gateway.configure(world.config("a.example, b.example"));
    let why = failed(&gateway, 1);
    assert!(why.contains("accountDoesNotExist"), "{why}");
    again(&gateway);
    world.wait_served(&gateway, "b.example");
    assert_eq!(world.authority.accounts().len(), 1);
}

// EDGE-14
#[test]
#[ignore = "waits for the minute that follows a failure"]
fn a_failed_order_is_tried_again_after_a_minute_and_after_two() {
    let world = World::new(90 * DAY);
    world.authority.fail("new-order", AcmeFault::ServerError, 2);
    let gateway = world.start("a.example");
    failed(&gateway, 1);
    let began = std::time::Instant::now();
    let asked = |count| move |world: &World| world.authority.asked("new-order") == count;
    for (count, at_least, at_most) in [(2, 59, 80), (3, 59 + 119, 80 + 155)] {
        let patience = Duration::from_secs(200);
        let asked = asked(count);
        tollkeep_testkit::wait_until(patience, || asked(&world).then_some(())).unwrap();
        let passed = began.elapsed().as_secs();
        assert!(
            passed >= at_least && passed <= at_most,
            "{count}: {passed} s"
        );
    }
    world.wait_served(&gateway, "a.example");
}

// EDGE-14
#[test]
#[ignore = "waits for as long as an answer may take"]
fn an_authority_that_hangs_is_given_up_and_holds_up_nobody() {
    let world = World::new(90 * DAY);
    world.authority.fail("authz", AcmeFault::Hang, 1);
    let gateway = world.start("a.example");
    eventually("the request that hangs", || {
        (world.authority.asked("authz") == 1).then_some(())
    });
    assert!(degraded(&gateway).contains(&"no_certificate".to_owned()));
    std::thread::sleep(Duration::from_secs(30));
    let why = failed(&gateway, 1);
    assert!(why.contains("no answer within 30 s"), "{why}");
    again(&gateway);
    world.wait_served(&gateway, "a.example");
}
