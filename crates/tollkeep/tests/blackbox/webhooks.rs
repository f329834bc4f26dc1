//! Who is told of payments, budgets and failures: signed, at least once, also after a crash.

use crate::callers::get;
use crate::paid_fixture::{CENT, Facilitator, Settles, open, proof, shop, shown};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tollkeep_testkit::{Origin, Request, Step, eventually, ok, with_fields};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn webhook(to: &Origin, events: &str) -> String {
    let url = to.url();
    format!(
        "webhooks: [{{ url: \"{url}/told?x=1\", secret: \"{SECRET}\", \
         allow_private: [\"127.0.0.1/32\"], events: [{events}] }}]\n"
    )
}

fn body(of: &Request) -> Value {
    serde_json::from_slice(&of.body).unwrap()
}

/// What it was told of this event, once it was.
fn told(receiver: &Origin, event: &str) -> Request {
    eventually(event, || {
        let mut all = receiver.requests().into_iter();
        all.find(|request| request.field("x-webhook-event") == Some(event))
    })
}

// PAY-80
#[test]
fn a_settled_payment_is_told_signed() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let receiver = Origin::plain();
    let routes = format!("{CENT}{}", webhook(&receiver, ""));
    let gateway = shop(&origin, &facilitator, &routes).start();
    let unpaid = open(&gateway, &get("/x", ""));
    assert_eq!(
        gateway.call(&get("/x", &shown(&proof(&unpaid)))).status,
        200
    );
    let told = told(&receiver, "payment.settled");
    let body = body(&told);
    assert_eq!(
        (told.method.as_str(), told.target.as_str()),
        ("POST", "/told?x=1")
    );
    assert_eq!(body["id"], told.field("x-webhook-id").unwrap());
    assert_eq!(body["event"], "payment.settled");
    assert_eq!(body["data"]["amount"], "10000");
    assert_eq!(body["data"]["route"], "GET /x");
    let at = told.field("x-webhook-timestamp").unwrap();
    let signed = tollkeep_crypto::webhook_signature(SECRET, at, &told.body);
    assert_eq!(told.field("x-webhook-signature"), Some(&*signed));
    assert!(!gateway.stderr().contains(SECRET));
}

// PAY-80
#[test]
fn what_was_not_taken_is_told_again_with_the_same_id_also_after_a_crash() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let receiver = Origin::start(move |_| match up.load(Ordering::Relaxed) {
        // Longer than anybody reads.
        true => with_fields("", &[b'x'; 100_000]),
        false => vec![Step::Send(
            b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n".to_vec(),
        )],
    });
    let routes = format!("{CENT}{}", webhook(&receiver, "payment.settled"));
    let mut gateway = shop(&origin, &facilitator, &routes).start();
    let unpaid = open(&gateway, &get("/x", ""));
    assert_eq!(
        gateway.call(&get("/x", &shown(&proof(&unpaid)))).status,
        200
    );
    let first = told(&receiver, "payment.settled");
    is_up.store(true, Ordering::Relaxed);
    gateway = gateway.restart().unwrap();
    let again = eventually("it is told again", || {
        let all = receiver.requests();
        (all.len() > 1).then(|| all.last().cloned()).flatten()
    });
    assert_eq!(first.field("x-webhook-id"), again.field("x-webhook-id"));
    assert_eq!(first.body, again.body);
    drop(gateway);
}

// PAY-80
#[test]
fn what_nobody_knows_and_what_is_owed_are_told() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let receiver = Origin::plain();
    let routes = format!("{CENT}{}", webhook(&receiver, ""));
    let gateway = shop(&origin, &facilitator, &routes)
        .set("payments.settle_wait", "1s")
        .start();
    let unpaid = open(&gateway, &get("/x", ""));
    facilitator.settles(Settles::Garbled);
    let request = get("/x", &shown(&proof(&unpaid)));
    assert_eq!(gateway.call(&request).status, 503);
    let unknown = body(&told(&receiver, "payment.unknown"));
    facilitator.settles(Settles::Yes);
    let resolved = body(&told(&receiver, "payment.resolved"));
    assert_eq!(
        unknown["data"]["payment_id"],
        resolved["data"]["payment_id"]
    );
    assert_eq!(
        body(&told(&receiver, "payment.credit"))["data"]["state"],
        "credit"
    );
    told(&receiver, "payment.settled");
}

// PAY-35 PAY-80
#[test]
fn hooks_are_told_of_settlements_and_failures() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/x" => ok(b"goods"),
        _ => vec![Step::Close],
    });
    let (facilitator, receiver) = (Facilitator::start(), Origin::plain());
    let url = receiver.url();
    let step = format!(
        "{{ http: {{ url: \"{url}/hook\", secret: \"{SECRET}\", allow_private: [\"127.0.0.1/32\"] }} }}"
    );
    let routes = format!(
        "{CENT}  \"GET /broken\": {{ upstream: origin, access: free }}\n\
         hooks: {{ onSettled: [{step}], onError: [{step}] }}\n"
    );
    let gateway = shop(&origin, &facilitator, &routes).start();
    let unpaid = open(&gateway, &get("/x", ""));
    assert_eq!(
        gateway.call(&get("/x", &shown(&proof(&unpaid)))).status,
        200
    );
    let settled = body(&told(&receiver, "onSettled"));
    assert_eq!(
        (&settled["hook"], &settled["payment"]["amount"]),
        (&"onSettled".into(), &"10000".into())
    );
    let failed = gateway.call(&get("/broken", ""));
    assert_eq!(failed.status, 502);
    let id = failed.field("x-request-id").unwrap();
    let errors = || {
        let all = receiver.requests().into_iter();
        let all = all.filter(|request| request.field("x-webhook-event") == Some("onError"));
        let all: Vec<Value> = all.map(|request| body(&request)).collect();
        all
    };
    let error = eventually("the failure is told", || {
        let mut all = errors().into_iter();
        all.find(|error| error["request_id"] == id)
    });
    assert_eq!(error["error"]["code"], failed.code());
    // What is the caller's fault is told to nobody.
    assert!(
        errors()
            .iter()
            .all(|error| error["error"]["status"].as_u64() >= Some(500))
    );
}

// PAY-80
#[test]
fn a_receiver_that_hangs_holds_up_no_other() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let hanging = Origin::start(|_| vec![Step::Hang]);
    let taking = Origin::plain();
    let one = |to: &Origin| {
        let url = to.url();
        format!(
            "{{ url: \"{url}/told\", secret: \"{SECRET}\", allow_private: [\"127.0.0.1/32\"], \
             events: [payment.settled] }}"
        )
    };
    let webhooks = format!("webhooks: [{}, {}]\n", one(&hanging), one(&taking));
    let gateway = shop(&origin, &facilitator, &format!("{CENT}{webhooks}")).start();
    let pay = || {
        let unpaid = open(&gateway, &get("/x", ""));
        let answer = gateway.call(&get("/x", &shown(&proof(&unpaid))));
        assert_eq!(answer.status, 200);
    };
    // A busy machine may take longer for a payment than anybody waits for the one who hangs.
    let while_it_hangs = (0..10).any(|_| {
        let (before, given_up) = (hanging.count(), hanging.left().len());
        pay();
        hanging.wait_for(before + 1);
        let taken = taking.count();
        pay();
        taking.wait_for(taken + 1);
        hanging.left().len() == given_up
    });
    assert!(while_it_hangs, "the other one was told only afterwards");
}
