//! Prices that an expression makes, and routes that one facilitator alone settles.

use crate::callers::get;
use crate::fixture::gateway;
use crate::paid_fixture::{Facilitator, PAYEE, asked, open, proof, shop, shown};
use serde_json::Value;
use tollkeep_testkit::{Answer, Origin, eventually};

const COMPUTED: &str = "  \"GET /x\": { upstream: origin, price: { cel: \"int(request.query.n) * \
                        1000000\" }, min_price: \"$0.002\", max_price: \"$0.05\" }\n";

fn amount(answer: &Answer) -> Value {
    asked(answer)["accepts"][0]["amount"].clone()
}

// PAY-27 PAY-6
#[test]
fn an_expression_makes_the_price_of_each_request_between_its_bounds() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, COMPUTED).start();
    let unpaid = open(&gateway, &get("/x?n=7", ""));
    assert_eq!(amount(&unpaid), "7000");
    // Below the least price it is that; above the most it is not sold.
    assert_eq!(amount(&gateway.call(&get("/x?n=1", ""))), "2000");
    for (query, told) in [
        ("n=51", (500, "price_out_of_bounds")),
        ("", (500, "price_unresolved")),
        ("n=x", (500, "price_unresolved")),
        ("n=1&n=2", (500, "price_unresolved")),
        ("n=9223372036854775807", (500, "price_unresolved")),
    ] {
        let answer = gateway.call(&get(&format!("/x?{query}"), ""));
        assert_eq!((answer.status, answer.code().as_str()), told, "{query}");
        assert_eq!(answer.field("payment-required"), None, "{query}");
    }
    // What was paid is what it costs: a cheaper request's proof is none for a dearer one.
    let cheap = shown(&proof(&unpaid));
    let dearer = gateway.call(&get("/x?n=8", &cheap));
    assert_eq!((dearer.status, origin.count()), (402, 0));
    assert_eq!(gateway.call(&get("/x?n=7", &cheap)).status, 200);
    assert_eq!(origin.count(), 1);
    let discovered = gateway.call(&get("/.well-known/x402", "")).json();
    assert_eq!(discovered["endpoints"][0]["pricing"]["type"], "dynamic");
}

// PAY-10
#[test]
fn a_route_may_name_who_settles_it() {
    let (main, other) = (Facilitator::start(), Facilitator::start());
    let origin = Origin::plain();
    let (url, a, b) = (origin.url(), main.url(), other.url());
    let gateway = gateway(format!(
        "upstreams:\n  origin: {{ url: \"{url}\", allow_private: [\"127.0.0.1/32\"] }}\n\
         accepts: [{{ asset: USDC, network: base-sepolia }}]\n\
         wallets: {{ base-sepolia: \"{PAYEE}\" }}\n\
         payments: {{ x402: {{ facilitators: {{ main: {{ url: \"{a}\" }}, other: {{ url: \"{b}\" }} }}, \
         use: [main] }} }}\n\
         routes:\n  \"GET /x\": {{ upstream: origin, price: \"$0.01\" }}\n  \
         \"GET /y\": {{ upstream: origin, price: \"$0.01\", facilitator: other }}\n"
    ))
    .start();
    for (path, settled) in [("/x", (1, 0)), ("/y", (1, 1))] {
        let line = shown(&proof(&open(&gateway, &get(path, ""))));
        assert_eq!(gateway.call(&get(path, &line)).status, 200, "{path}");
        eventually("it is settled", || {
            let told = (main.asked("/settle"), other.asked("/settle"));
            (told == settled).then_some(())
        });
    }
}
