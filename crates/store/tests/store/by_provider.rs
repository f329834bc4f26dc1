//! What the rows say of a call whose process ended before it could tell, and whom its cost is owed to.

use crate::ledger::{BUDGET, LEASE, LIFE, about, amount, budget, cost, job, key, page};
use crate::ledger_model::Pair;
use crate::world::{HOUR, SERVICE, START};
use smallvec::smallvec;
use std::collections::BTreeMap;
use std::sync::Arc;
use tollkeep_ledger::amount::{Charge, Measure};
use tollkeep_ledger::hold::{Ended, Outcome, SliceCover, Sure};
use tollkeep_ledger::row::{HoldState, Quality};
use tollkeep_ledger::step::{Command, Grant, Wish, WishFrom};
use tollkeep_ledger::window::Window;
use tollkeep_store::ledger::{CallRecord, Job, Ledger, UsageFilter};
use tollkeep_types::{HoldId, ProjectId, TokenId, WallMillis};

fn grant(number: u8, units: i64) -> Command {
    Command::Grant(Box::new(Grant {
        hold: HoldId::from_bytes([number; 16]),
        life: LIFE,
        // What has no tokens is a price, and owed to no upstream.
        bound: Charge {
            tokens: amount(1),
            ..cost(units)
        },
        owed: None,
        wishes: smallvec![Wish {
            from: WishFrom::Budget(BUDGET),
            measure: Measure::Cost,
            amount: amount(units),
        }],
        state: HoldState::Committed,
        ttl_ms: 60_000,
    }))
}

/// The end of a call that was paid from the slice.
fn end(number: u8, bound: i64, actual: i64) -> Command {
    Command::End {
        ended: Arc::new(Ended {
            hold: HoldId::from_bytes([number; 16]),
            bound: cost(bound),
            sure: Sure::Bound,
            outcome: Outcome::Settled {
                quality: Quality::Reported,
                actual: cost(actual),
            },
            owed: None,
            slices: smallvec![SliceCover {
                lease: LEASE,
                epoch: 1,
                key: key(0),
                measure: Measure::Cost,
                taken: amount(bound),
                bucket: None,
                homeless: amount(0),
            }],
            strict: smallvec![],
        }),
        version: 0,
    }
}

/// The accounts of what upstreams cost and are owed, by kind and what follows the tenant's id.
async fn accounts(ledger: &Ledger) -> BTreeMap<(String, String), i64> {
    let accounts = ledger.accounts(SERVICE, &page(100)).await.unwrap();
    let ours = accounts
        .rows
        .into_iter()
        .filter(|account| ["payable", "upstream_cost", "overrun"].contains(&&*account.kind));
    ours.map(|account| {
        let of = account.provider().unwrap_or_default().to_owned();
        ((account.kind, of), account.balance)
    })
    .collect()
}

fn told(of: &[(&str, &str, i64)]) -> BTreeMap<(String, String), i64> {
    let rows = of.iter();
    rows.map(|(kind, of, balance)| (((*kind).to_owned(), (*of).to_owned()), *balance))
        .collect()
}

// LED-65
#[tokio::test]
async fn what_calls_cost_is_owed_to_the_provider_that_was_called() {
    let pair = Pair::new(&[budget(Window::Lifetime)], WallMillis(START)).await;
    let store = &pair.world.store;
    let (ledger, tenant) = (store.ledger(), store.default_tenant().id);
    let project = ProjectId::from_bytes([3; 16]);
    let call = |number: u8, provider: &str, command: Command| Job {
        command,
        about: Some(Arc::new(CallRecord {
            provider: provider.into(),
            ..about(number, tenant, project)
        })),
    };
    let take = Command::Take {
        lease: LEASE,
        budget: BUDGET,
        life: LIFE,
        amount: amount(1_000),
    };
    let jobs = [
        job(take),
        call(1, "openai", end(1, 100, 60)),
        call(2, "anthropic", end(2, 100, 70)),
        // More than its bound: what is beyond is owed too.
        call(3, "openai", end(3, 50, 55)),
        // Of this one nobody knows who was called.
        job(end(4, 100, 5)),
    ];
    for answer in ledger.run(&jobs).await {
        assert_eq!(answer.unwrap().refusal, None);
    }
    let want = told(&[
        ("overrun", "", 5),
        ("payable", "", -5),
        ("payable", "anthropic", -70),
        ("payable", "openai", -115),
        ("upstream_cost", "", 5),
        ("upstream_cost", "anthropic", 70),
        ("upstream_cost", "openai", 110),
    ]);
    assert_eq!(accounts(&ledger).await, want);
    let report = ledger.check().await.unwrap();
    assert_eq!(report.violations, Vec::<String>::new());
    // Whose it is, is in the chain.
    let change = "UPDATE entries SET provider = 'openai' WHERE provider = 'anthropic'";
    pair.world.home.run(change.to_owned()).await;
    let report = ledger.check().await.unwrap();
    let found = |what: &str| report.violations.iter().any(|told| told.contains(what));
    assert!(found("I9: the chain of entries is broken"), "{report:?}");
    assert!(
        found("is not the sum of its postings: payable:"),
        "{report:?}"
    );
}

// LED-52 LED-65 LED-70
#[tokio::test]
async fn a_call_whose_process_ended_has_a_record_of_whose_it_was_and_its_cost_is_put_right_there() {
    let mut pair = Pair::new(&[budget(Window::Lifetime)], WallMillis(START)).await;
    let tenant = pair.world.store.default_tenant().id;
    let ledger = pair.world.store.ledger();
    let project = pair.world.project().await.id;
    let token = TokenId::from_bytes([4; 16]);
    let known = CallRecord {
        token: Some(token),
        lines: None,
        model_served: None,
        ..about(1, tenant, project)
    };
    let granted = Job {
        command: grant(1, 100),
        about: Some(Arc::new(known.clone())),
    };
    let answers = ledger.run(&[granted]).await;
    assert_eq!(answers[0].as_ref().unwrap().refusal, None);
    let hold = HoldId::from_bytes([1; 16]);
    let shown = ledger.hold(SERVICE, hold).await.unwrap();
    assert_eq!(shown.request, Some(known.request));
    pair.set_clock(WallMillis(START + HOUR)).await;
    let due = ledger.run(&[job(Command::Due)]).await;
    let due = due.into_iter().next().unwrap().unwrap().due_holds;
    let expire = Command::Expire(Box::new(due.into_iter().next().unwrap()));
    let answers = ledger.run(&[job(expire)]).await;
    assert_eq!(answers[0].as_ref().unwrap().refusal, None);
    let of_token = UsageFilter {
        token: Some(token),
        request: Some(known.request),
        ..UsageFilter::default()
    };
    let found = ledger.usage_records(SERVICE, &of_token, &page(10)).await;
    let found = found.unwrap().rows;
    let record = found.first().expect("it is found by its token");
    assert_eq!(
        (record.charge.cost, record.quality),
        (amount(100), Quality::Unknown)
    );
    assert_eq!((record.project, record.attempt), (Some(project), Some(1)));
    assert_eq!(record.provider.as_deref(), Some("openai"));
    assert_eq!(record.route.as_deref(), Some("chat"));
    assert_eq!(record.model_requested.as_deref(), Some("gpt"));
    assert_eq!(record.bound_method.as_deref(), Some("bytes"));
    assert_eq!(record.price_version.as_deref(), Some("2026-11-01.1"));
    assert_eq!(record.started_at, Some(known.started_at));
    assert!(record.is_swept && record.model_served.is_none() && record.status.is_none());
    let want = [
        ("payable", "openai", -100),
        ("upstream_cost", "openai", 100),
    ];
    assert_eq!(accounts(&ledger).await, told(&want));
    // The provider's bill says less: it goes back where it was booked.
    ledger
        .resolve_hold(SERVICE, hold, amount(30))
        .await
        .unwrap();
    let want = [("payable", "openai", -30), ("upstream_cost", "openai", 30)];
    assert_eq!(accounts(&ledger).await, told(&want));
    let report = ledger.check().await.unwrap();
    assert_eq!((report.entries, report.violations), (2, Vec::new()));
}
