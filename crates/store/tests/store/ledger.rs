//! The ledger's rows: usage, checks, and what happens when the database fails.

use crate::ledger_model::Pair;
use crate::world::{DAY, Home, SECOND, SERVICE, START, World};
use smallvec::smallvec;
use std::sync::Arc;
use tollkeep_ledger::amount::{Amount, Charge, Measure};
use tollkeep_ledger::budget::{Budget, Durability, OnShort, Scope as BudgetScope};
use tollkeep_ledger::hold::{Ended, Outcome, SliceCover, Sure};
use tollkeep_ledger::row::{Cover, Enforcement, HoldState, Pot, Quality};
use tollkeep_ledger::step::{Command, Grant, LeaseRef, Life, Wish, WishFrom};
use tollkeep_ledger::window::{Window, WindowKey};
use tollkeep_ledger::write::{NoAnswer, Refusal, Reply};
use tollkeep_store::ledger::{CallRecord, Groups, Job, PriceMark, UsageBy, UsageFilter};
use tollkeep_store::{PageRequest, Scope};
use tollkeep_types::usage::{Class, Flag, Flags, Lines, Usage};
use tollkeep_types::{
    BudgetId, HoldId, LeaseId, ProjectId, ReplicaId, RequestId, TenantId, WallMillis,
};

pub(crate) const BUDGET: BudgetId = BudgetId::from_bytes([7; 16]);
pub(crate) const LEASE: LeaseId = LeaseId::from_bytes([8; 16]);
pub(crate) const LIFE: Life = Life {
    replica: ReplicaId::from_bytes([9; 16]),
    epoch: 1,
};

pub(crate) const fn amount(units: i64) -> Amount {
    Amount::new(units).unwrap()
}

pub(crate) const fn cost(units: i64) -> Charge {
    Charge {
        cost: amount(units),
        ..Charge::NOTHING
    }
}

pub(crate) fn budget(window: Window) -> Budget {
    Budget {
        id: BUDGET,
        tenant: TenantId::from_bytes([1; 16]),
        scope: BudgetScope::Tenant(TenantId::from_bytes([1; 16])),
        measure: Measure::Cost,
        limit: amount(10_000),
        window,
        enforcement: Enforcement::Hard,
        on_short: OnShort::Refuse,
        durability: Durability::Lease,
        warn: Vec::new(),
    }
}

pub(crate) const fn key(start: u64) -> WindowKey {
    WindowKey {
        budget: BUDGET,
        start: WallMillis(start),
    }
}

pub(crate) fn job(command: Command) -> Job {
    Job {
        command,
        about: None,
    }
}

fn take(units: i64) -> Command {
    Command::Take {
        lease: LEASE,
        budget: BUDGET,
        life: LIFE,
        amount: amount(units),
    }
}

fn grant(number: u8, units: i64) -> Command {
    Command::Grant(Box::new(Grant {
        hold: HoldId::from_bytes([number; 16]),
        life: LIFE,
        bound: cost(units),
        owed: None,
        wishes: smallvec![Wish {
            from: WishFrom::Budget(BUDGET),
            measure: Measure::Cost,
            amount: amount(units),
        }],
        state: HoldState::Committed,
        ttl_ms: 120_000,
    }))
}

/// The end of a call that was paid from the slice.
fn end_of_slice(number: u8, bound: i64, actual: i64, bucket: Option<WallMillis>) -> Command {
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
                bucket,
                homeless: Amount::ZERO,
            }],
            strict: smallvec![],
        }),
        version: 0,
    }
}

/// The end of a call that has a row.
fn end_of_hold(number: u8, bound: i64, actual: i64, bucket: Option<WallMillis>) -> Command {
    Command::End {
        ended: Arc::new(Ended {
            hold: HoldId::from_bytes([number; 16]),
            bound: cost(bound),
            sure: Sure::Bound,
            outcome: Outcome::Settled {
                quality: Quality::Estimated,
                actual: cost(actual),
            },
            owed: None,
            slices: smallvec![],
            strict: smallvec![Cover {
                pot: Pot::Window(key(0)),
                measure: Measure::Cost,
                taken: amount(bound),
                bucket,
            }],
        }),
        version: 0,
    }
}

pub(crate) fn about(number: u8, tenant: TenantId, project: ProjectId) -> CallRecord {
    let mut usage = Usage::default();
    usage.set(Class::InText, 9);
    usage.set(Class::OutText, 30);
    let mut flags = Flags::NONE;
    flags.add(Flag::Regressed);
    CallRecord {
        request: RequestId::from_bytes([number; 16]),
        attempt: 1,
        tenant,
        project,
        lineage: None,
        token: None,
        method: "POST",
        route: "chat".into(),
        provider: "openai".into(),
        model_requested: "gpt".into(),
        quarantines: None,
        model_served: Some("gpt-5".into()),
        lines: Some(Lines::from(usage)),
        quality: Quality::Reported,
        flags,
        bound: cost(200),
        bound_method: Some("bytes"),
        charge: cost(50),
        upstream_cost: Some(amount(40)),
        markup: None,
        price: Some(PriceMark {
            version: "2026-11-01.1".into(),
            sha256: "ab".repeat(32).into(),
        }),
        started_at: WallMillis(START),
        duration_ms: 1200,
        from_cache: false,
        status: Some(200),
    }
}

async fn run(world: &World, commands: Vec<Command>) -> Vec<Result<Reply, NoAnswer>> {
    let jobs: Vec<_> = commands.into_iter().map(job).collect();
    world.store.ledger().run(&jobs).await
}

pub(crate) const fn page(limit: u32) -> PageRequest<String> {
    PageRequest { limit, after: None }
}

// LED-70 LED-80
#[tokio::test]
async fn a_record_says_what_the_hold_knows_and_what_the_gateway_tells() {
    let pair = Pair::new(&[budget(Window::Lifetime)], WallMillis(START)).await;
    let store = &pair.world.store;
    let (ledger, tenant) = (store.ledger(), store.default_tenant().id);
    let project = pair.world.project().await.id;
    let told = about(1, tenant, project);
    let jobs = [
        job(take(1_000)),
        Job {
            command: end_of_slice(1, 100, 60, None),
            about: Some(Arc::new(told.clone())),
        },
    ];
    for answer in ledger.run(&jobs).await {
        assert_eq!(answer.unwrap().refusal, None);
    }
    let filter = UsageFilter {
        request: Some(told.request),
        ..UsageFilter::default()
    };
    let found = ledger.usage_records(SERVICE, &filter, &page(10)).await;
    let found = found.unwrap().rows;
    assert_eq!(found.len(), 1);
    let record = found.first().unwrap();
    assert_eq!(record.hold, Some(HoldId::from_bytes([1; 16])));
    assert_eq!((record.bound, record.charge), (cost(100), cost(60)));
    assert_eq!(record.project, Some(project));
    assert_eq!(
        record.lines.as_deref(),
        Some(r#"[{"service":"default","usage":{"in_text":9,"out_text":30}}]"#)
    );
    assert_eq!(record.flags.as_deref(), Some(r#"["regressed"]"#));
    assert_eq!(record.price_version.as_deref(), Some("2026-11-01.1"));
    assert_eq!(record.upstream_cost, Some(amount(40)));
    assert_eq!(record.status, Some(200));
    let entries = ledger.check().await.unwrap();
    assert_eq!((entries.entries, entries.violations.len()), (1, 0));
}

// LED-80
#[tokio::test]
async fn calls_without_a_budget_are_recorded_once_and_summed_up_by_what_is_asked() {
    let (world, a, b) = crate::tenancy::two_tenants(World::new().await).await;
    let ledger = world.store.ledger();
    let project = ProjectId::from_bytes([3; 16]);
    let tenant_of = |scope: Scope| match scope {
        Scope::Tenant(id) => id,
        Scope::Service(_) => panic!("a tenant"),
    };
    let mut records: Vec<_> = (0..100)
        .map(|number| about(number, tenant_of(a), project))
        .collect();
    records.extend((100..110).map(|number| CallRecord {
        provider: "anthropic".into(),
        model_served: None,
        quality: Quality::Unknown,
        ..about(number, tenant_of(b), project)
    }));
    ledger.record(&records).await.unwrap();
    world.pass(DAY);
    ledger.record(&records[50..]).await.unwrap();
    let late: Vec<_> = (110..120)
        .map(|number| about(number, tenant_of(a), project))
        .collect();
    ledger.record(&late).await.unwrap();
    let sums = async |scope, by: &[UsageBy], times: Option<&[(WallMillis, WallMillis)]>| {
        let filter = UsageFilter::default();
        let sums = ledger.usage_sums(scope, by, times, (&filter, Groups::default()));
        let sums = sums.await.unwrap();
        let rows = sums.rows.into_iter();
        rows.map(|sum| (sum.group, sum.time, sum.calls, sum.charge.cost.units()))
            .collect::<Vec<_>>()
    };
    let named = |name: &str| vec![Some(name.to_owned())];
    assert_eq!(
        sums(SERVICE, &[UsageBy::Provider], None).await,
        [
            (named("anthropic"), None, 10, 500),
            (named("openai"), None, 110, 5500)
        ]
    );
    assert_eq!(
        sums(b, &[UsageBy::Model], None).await,
        [(named("gpt"), None, 10, 500)],
        "a tenant sees its own calls"
    );
    let day = |n: u64| {
        (
            WallMillis(START + n * DAY),
            WallMillis(START + (n + 1) * DAY),
        )
    };
    assert_eq!(
        sums(a, &[], Some(&[day(0), day(1), day(2)])).await,
        [(vec![], Some(0), 100, 5000), (vec![], Some(1), 10, 500)]
    );
    assert_eq!(sums(a, &[], None).await, [(vec![], None, 110, 5500)]);
    let filter = UsageFilter {
        quality: Some(Quality::Unknown),
        ..UsageFilter::default()
    };
    let found = ledger.usage_records(SERVICE, &filter, &page(4)).await;
    let found = found.unwrap();
    assert_eq!((found.rows.len(), found.more), (4, true));
    let hidden = ledger.usage_records(a, &filter, &page(4)).await.unwrap();
    assert_eq!(hidden.rows.len(), 0);
}

// LED-61
#[tokio::test]
async fn a_budget_that_is_changed_counts_by_its_new_limit_from_the_next_look_on() {
    let pair = Pair::new(&[budget(Window::Lifetime)], WallMillis(START)).await;
    let world = &pair.world;
    let look = async || {
        let mut answers = run(world, vec![Command::Look(BUDGET)]).await;
        let reply = answers.pop().unwrap().unwrap();
        reply.windows.first().unwrap().1.clone()
    };
    let first = run(world, vec![take(9_000)]).await;
    assert_eq!(first.first().unwrap().as_ref().unwrap().refusal, None);
    let change = |limit| tollkeep_store::BudgetChange {
        limit: Some(amount(limit)),
        ..tollkeep_store::BudgetChange::default()
    };
    let store = &world.store;
    store
        .change_budget(SERVICE, BUDGET, change(5_000))
        .await
        .unwrap();
    let row = look().await;
    assert_eq!((row.limit, row.ceiling), (amount(5_000), amount(9_000)));
    let refused = run(world, vec![grant(1, 1)]).await;
    let refused = refused.first().unwrap().as_ref().unwrap().refusal;
    assert_eq!(refused, Some(Refusal::Short(Pot::Window(key(0)))));
    store
        .change_budget(SERVICE, BUDGET, change(20_000))
        .await
        .unwrap();
    let row = look().await;
    assert_eq!((row.limit, row.ceiling), (amount(20_000), amount(20_000)));
    store.end_budget(SERVICE, BUDGET).await.unwrap();
    let gone = run(world, vec![grant(2, 1), end_of_slice(3, 10, 10, None)]).await;
    let refusals: Vec<_> = gone
        .into_iter()
        .map(|answer| answer.unwrap().refusal)
        .collect();
    assert_eq!(refusals, [Some(Refusal::Absent), None], "ends are written");
}

const FAIL: &str =
    "CREATE TABLE fail (left_over BIGINT NOT NULL); INSERT INTO fail VALUES (1000000);";

/// Lets the write fail after which so many more were to come.
async fn fail_after(home: &Home, writes: u32) {
    home.run(format!("UPDATE fail SET left_over = {writes}"))
        .await;
}

/// Counts each row that is written, and fails when the count is over.
async fn plant_failures(home: &Home) {
    const TABLES: [&str; 9] = [
        "ledger_state",
        "budget_windows",
        "budget_buckets",
        "budget_leases",
        "holds",
        "usage_records",
        "entries",
        "postings",
        "accounts",
    ];
    let mut statements = FAIL.to_owned();
    if let Home::Server(_) = home {
        statements.push_str(
            "GRANT SELECT, UPDATE ON fail TO tollkeep_jobs;
             CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               UPDATE fail SET left_over = left_over - 1;
               IF (SELECT left_over FROM fail) < 0 THEN RAISE 'planted'; END IF;
               RETURN NULL; END $$;",
        );
    }
    for table in TABLES {
        for what in ["INSERT", "UPDATE", "DELETE"] {
            statements.push_str(&match home {
                Home::Folder(_) => format!(
                    "CREATE TRIGGER fail_{table}_{what} AFTER {what} ON {table} BEGIN
                       UPDATE fail SET left_over = left_over - 1;
                       SELECT RAISE(ABORT, 'planted') WHERE (SELECT left_over FROM fail) < 0;
                     END;"
                ),
                Home::Server(_) => format!(
                    "CREATE TRIGGER fail_{what} AFTER {what} ON {table}
                       FOR EACH ROW EXECUTE FUNCTION fail();"
                ),
            });
        }
    }
    home.run(statements).await;
}

// LED-103
#[tokio::test]
async fn whichever_write_of_the_charge_path_fails_nothing_is_done_by_halves() {
    let window = Window::rolling(3_600_000).unwrap();
    let mut pair = Pair::new(&[budget(window)], WallMillis(START)).await;
    pair.give(vec![Command::Look(BUDGET)]).await;
    plant_failures(&pair.world.home).await;
    let bucket = Some(WallMillis(START - START % 60_000));
    let batches = [
        vec![take(2_000), grant(1, 300), grant(2, 400)],
        vec![
            end_of_slice(3, 100, 60, bucket),
            end_of_slice(4, 100, 250, bucket),
            end_of_hold(1, 300, 120, bucket),
            Command::Return {
                lease: LeaseRef {
                    id: LEASE,
                    key: key(0),
                    epoch: 1,
                    serial: 0,
                },
                amount: amount(500),
            },
        ],
        vec![end_of_hold(2, 400, 400, bucket), Command::Due],
    ];
    for batch in batches {
        let mut failed = 0;
        loop {
            fail_after(&pair.world.home, failed).await;
            let jobs: Vec<_> = batch.iter().cloned().map(job).collect();
            let answers = pair.world.store.ledger().run(&jobs).await;
            if answers.iter().all(Result::is_ok) {
                break;
            }
            assert!(answers.iter().all(Result::is_err), "some were answered");
            assert!(pair.world.store.ledger().is_down());
            failed += 1;
        }
        assert!(failed > 3, "{failed} writes");
        // The model is given it for the first time, and the store again.
        fail_after(&pair.world.home, 1_000_000).await;
        for command in &batch {
            pair.model.run(command, pair.clock, false).unwrap();
        }
        pair.give(batch).await;
        assert!(!pair.world.store.ledger().is_down());
        assert_eq!(pair.compare().await, Vec::<String>::new());
    }
}

// LED-84 LED-65
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one forgery after the other")]
async fn a_check_names_each_row_that_was_changed_by_hand() {
    let pair = Pair::new(&[budget(Window::Lifetime)], WallMillis(START)).await;
    let world = &pair.world;
    let commands = vec![
        take(2_000),
        end_of_slice(1, 100, 60, None),
        // Of this one two entries: what a bound covers says its cost, what is beyond has postings.
        end_of_slice(2, 100, 170, None),
        grant(3, 10),
    ];
    for answer in run(world, commands).await {
        assert_eq!(answer.unwrap().refusal, None);
    }
    let ledger = world.store.ledger();
    let found = async || ledger.check().await.unwrap().violations;
    assert_eq!(found().await, Vec::<String>::new());
    for (name, change, undo, want) in [
        (
            "a balance",
            "UPDATE accounts SET balance = balance + 1 WHERE kind = 'payable'",
            "UPDATE accounts SET balance = balance - 1 WHERE kind = 'payable'",
            "I2: the balance of an account is not the sum of its postings: payable:",
        ),
        (
            "a window",
            "UPDATE budget_windows SET leased = leased - 1",
            "UPDATE budget_windows SET leased = leased + 1",
            "I2: what is leased of a window is not what its active slices have left: bud_",
        ),
        (
            "a posting",
            "UPDATE postings SET amount = -amount",
            "UPDATE postings SET amount = -amount",
            "I9: the chain of entries is broken at ent_",
        ),
        (
            "a cost",
            "UPDATE entries SET cost = cost + 1 WHERE number = 1",
            "UPDATE entries SET cost = cost - 1 WHERE number = 1",
            "I9: the chain of entries is broken at ent_",
        ),
        (
            "a cost, as a balance is told",
            "UPDATE entries SET cost = cost + 1 WHERE number = 1",
            "UPDATE entries SET cost = cost - 1 WHERE number = 1",
            "I2: the balance of an account is not the sum of its postings: upstream_cost:",
        ),
        (
            "postings beside a cost",
            "INSERT INTO postings (entry, line, tenant_id, account, amount)
               SELECT number, 0, tenant_id, 'payable:' || tenant_id, 0 FROM entries WHERE number = 1",
            "DELETE FROM postings WHERE entry = 1",
            "I9: the chain of entries is broken at ent_",
        ),
        (
            "the last entry",
            "UPDATE ledger_state SET entries = 2",
            "UPDATE ledger_state SET entries = 3",
            "I9: the chain of entries is cut or spliced, at 2 of 2",
        ),
        (
            "a hold",
            "UPDATE holds SET state = 'settled_unknown'",
            "UPDATE holds SET state = 'committed'",
            "I5: a hold that ended has no usage record: hld_",
        ),
        (
            "a hold's time",
            "UPDATE holds SET expires_at = 5",
            "UPDATE holds SET expires_at = 9999999999999",
            "I6: a hold is open long after its time: hld_",
        ),
    ] {
        world.home.by_hand(change).await;
        let told = found().await;
        assert!(
            told.iter().any(|told| told.starts_with(want)),
            "{name}: {told:?}"
        );
        world.home.by_hand(undo).await;
        assert_eq!(found().await, Vec::<String>::new(), "{name}");
    }
}

// LED-78
#[tokio::test]
async fn records_are_kept_for_as_long_as_it_says_and_holds_with_them() {
    let mut pair = Pair::new(&[budget(Window::Lifetime)], WallMillis(START)).await;
    let store = pair.world.store.clone();
    let (ledger, tenant) = (store.ledger(), store.default_tenant().id);
    let mut old: Vec<_> = (0..1500_u32)
        .map(|number| CallRecord {
            attempt: number,
            ..about(1, tenant, ProjectId::from_bytes([3; 16]))
        })
        .collect();
    ledger.record(&old).await.unwrap();
    let commands = vec![grant(1, 100), end_of_hold(1, 100, 60, None)];
    for answer in run(&pair.world, commands).await {
        assert_eq!(answer.unwrap().refusal, None);
    }
    pair.set_clock(WallMillis(START + 400 * DAY)).await;
    old.truncate(10);
    for record in &mut old {
        record.request = RequestId::from_bytes([2; 16]);
    }
    ledger.record(&old).await.unwrap();
    let cleaned = store.clean().await.unwrap();
    assert_eq!(cleaned.forgotten_usage, 0, "none is old enough");
    pair.set_clock(WallMillis(START + 400 * DAY + SECOND)).await;
    assert_eq!(store.clean().await.unwrap().forgotten_usage, 1501);
    let filter = UsageFilter::default();
    let left = ledger.usage_records(SERVICE, &filter, &page(100)).await;
    assert_eq!(left.unwrap().rows.len(), 10);
    let report = ledger.check().await.unwrap();
    assert_eq!(report.violations, Vec::<String>::new());
    assert_eq!(report.entries, 1, "money is never forgotten");
}

// LED-71 LED-77
#[tokio::test]
async fn a_file_that_is_damaged_is_not_written_to_until_it_was_reopened_and_checked() {
    let pair = Pair::new(&[budget(Window::Lifetime)], WallMillis(START)).await;
    let world = &pair.world;
    if let Home::Server(_) = world.home {
        return;
    }
    let ledger = world.store.ledger();
    let done = async |command| run(world, vec![command]).await.pop().unwrap();
    assert_eq!(done(take(2_000)).await.unwrap().refusal, None);
    world
        .home
        .by_hand("UPDATE meta SET value = value; PRAGMA wal_checkpoint(TRUNCATE)")
        .await;
    let whole = std::fs::read(world.path()).unwrap();
    let mut damaged = whole.clone();
    damaged.iter_mut().skip(4096).for_each(|byte| *byte = 0xAA);
    std::fs::write(world.path(), damaged).unwrap();
    assert!(done(Command::Look(BUDGET)).await.is_err());
    assert!(ledger.is_down());
    let refused = done(end_of_slice(1, 10, 10, None)).await;
    assert!(refused.is_err(), "it was checked, and is damaged");
    assert!(ledger.is_down());
    std::fs::write(world.path(), whole).unwrap();
    let ended = done(end_of_slice(1, 10, 10, None)).await;
    assert_eq!(ended.unwrap().refusal, None);
    assert!(!ledger.is_down());
    assert_eq!(
        ledger.check().await.unwrap().violations,
        Vec::<String>::new()
    );
}
