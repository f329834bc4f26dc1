//! What a facilitator said of a proof, remembered for a while.

use crate::callers::get;
use crate::paid_fixture::{Facilitator, open, proof, shop, shown};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tollkeep_testkit::{Origin, Step, ok};

const AFTER: &str =
    "  \"GET /x\": { upstream: origin, price: \"$0.01\", settlement: after-response MORE }\n";

// PAY-32 PAY-131
#[test]
fn the_very_same_proof_is_not_asked_about_twice() {
    for (more, asked) in [("", 2), (", verificationCache: { ttl: 1m }", 1)] {
        let fails = Arc::new(AtomicBool::new(true));
        let failing = Arc::clone(&fails);
        let origin = Origin::start(move |_| {
            if failing.load(Ordering::Relaxed) {
                let away = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
                return vec![Step::Send(away.to_vec())];
            }
            ok(b"served")
        });
        let facilitator = Facilitator::start();
        let gateway = shop(&origin, &facilitator, &AFTER.replace("MORE", more))
            .set("payments.x402.verify", "local_then_facilitator")
            .start();
        let unpaid = open(&gateway, &get("/x", ""));
        let paid = proof(&unpaid);
        let failed = gateway.call(&get("/x", &shown(&paid)));
        assert_eq!(failed.status, 503, "{}", failed.text());
        assert_eq!(facilitator.asked("/settle"), 0);
        fails.store(false, Ordering::Relaxed);
        let served = gateway.call(&get("/x", &shown(&paid)));
        assert_eq!(served.status, 200, "{}", served.text());
        assert_eq!(facilitator.asked("/verify"), asked, "{more}");
        assert_eq!(facilitator.asked("/settle"), 1);

        // It serves nobody by itself, and says nothing of another proof of the same payer.
        let again = gateway.call(&get("/x", &shown(&paid)));
        assert_eq!(again.status, 402);
        let other = gateway.call(&get("/x", &shown(&proof(&open(&gateway, &get("/x", ""))))));
        assert_eq!(other.status, 200, "{}", other.text());
        assert_eq!(facilitator.asked("/verify"), asked + 1, "{more}");
        assert_eq!(facilitator.asked("/settle"), 2);
    }
}
