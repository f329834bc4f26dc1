//! What is sold while the store takes nothing: nothing, and no payment is lost by it.

use crate::callers::get;
use crate::paid_fixture::{CENT, Facilitator, open, proof, shop, shown};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tollkeep_testkit::{Gateway, Origin};

/// Holds the database so that nobody else can write, until its input ends.
const HOLD: &str = "import sqlite3, sys\n\
                    held = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                    held.execute('BEGIN IMMEDIATE')\n\
                    print('held', flush=True)\n\
                    sys.stdin.read()\n";

/// A database that nobody can write to.
pub(crate) struct Held(Child);

impl Held {
    /// That of a gateway with a file.
    pub(crate) fn of(gateway: &Gateway) -> Self {
        let mut holder = Command::new("python3")
            .args(["-c", HOLD])
            .arg(gateway.data_dir().join("tollkeep.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut told)
            .unwrap();
        assert_eq!(told, "held\n");
        Self(holder)
    }

    pub(crate) fn let_go(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

// PAY-64 PAY-95
#[test]
fn a_payment_that_can_not_be_kept_is_not_taken_and_no_other_is_asked_for() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let routes = format!("{CENT}  \"GET /free\": {{ upstream: origin, price: \"$0\" }}\n");
    let gateway = shop(&origin, &facilitator, &routes)
        .set("store.busy_timeout", "100ms")
        .set("audit.store_in_db", "false")
        .start();
    let unpaid = open(&gateway, &get("/x", ""));
    let asked = || {
        let text = gateway.metrics_text();
        let line = text
            .lines()
            .find(|line| line.starts_with("tollkeep_challenges_total{rail=\"x402\"} "));
        let count = line.and_then(|line| line.rsplit(' ').next());
        count
            .and_then(|count| count.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let before = asked();
    assert!(before >= 1);
    let held = Held::of(&gateway);
    let unasked = tollkeep_testkit::eventually("nobody is asked to pay", || {
        let answer = gateway.call(&get("/x", ""));
        (answer.status != 402).then_some(answer)
    });
    assert_eq!(
        (unasked.status, unasked.code().as_str()),
        (503, "payment_unavailable")
    );
    assert_eq!(unasked.field("payment-required"), None);
    let counted = asked();
    let answer = gateway.call(&get("/x", &shown(&proof(&unpaid))));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "payment_unavailable")
    );
    assert_eq!(answer.field("payment-required"), None);
    assert!(answer.field("retry-after").is_some());
    assert_eq!(asked(), counted);
    assert_eq!((origin.count(), facilitator.asked("/settle")), (0, 0));
    assert_eq!(gateway.call(&get("/free", "")).status, 200);
    held.let_go();
    let unpaid = open(&gateway, &get("/x", ""));
    let paid = gateway.call(&get("/x", &shown(&proof(&unpaid))));
    assert_eq!(paid.status, 200, "{paid:?}");
}
