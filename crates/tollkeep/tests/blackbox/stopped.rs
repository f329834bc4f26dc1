//! Budgets while a process, its database or its disk stands still: nothing is overspent meanwhile, what
//! can't be held is refused, and it heals by itself.

use crate::fixture::{TOLLKEEP, UPSTREAM_KEY, chat};
use crate::held::{answer, body, bound, budget, sums};
use crate::killed::{put_clock, server_with_clock};
use crate::races::{passes_models, provider};
use crate::replicas::on;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Builder, Gate, Gateway, HoldUp, Origin, PATIENCE, Postgres, Signal, Step, Wire, eventually,
    json as answer_json, wait_until,
};

const COST: i64 = 39;
const LIMIT: i64 = 1_000_000_000;
/// A slice that was not renewed is lost after its minute and half of one more.
const LOST_MS: i64 = 95_000;
/// A hold that was not renewed is charged after the longest time of a call, and two minutes.
const HELD_MS: i64 = 3_725_000;

fn origin() -> Origin {
    Origin::start(|_| answer_json(&answer(COST - 30, 30)))
}

fn replica(server: &Postgres, config: &str) -> Gateway {
    on(server, config).env("UPSTREAM_KEY", UPSTREAM_KEY).start()
}

/// A budget that is held in rows, and one that is held in slices.
fn budgets(gateway: &Gateway, limit: i64) -> [String; 2] {
    ["strict", "lease"].map(|durability| {
        let made = json!({"name": durability, "unit": "usd", "limit": {"nano_usd": limit},
            "durability": durability, "scope": {"metadata": {"how": durability}}});
        budget(gateway, &made)
    })
}

/// Tokens whose calls they count.
fn tokens(gateway: &Gateway) -> [String; 2] {
    ["strict", "lease"]
        .map(|how| gateway.mint_token(&json!({"project": "default", "metadata": {"how": how}})))
}

/// Callers of these tokens on these gateways, two of each, as long as `meanwhile` takes; how often
/// which status was given, by token.
fn under_load<T>(
    gateways: &[&Gateway],
    tokens: &[String],
    meanwhile: impl FnOnce() -> T,
) -> (T, Vec<BTreeMap<u16, i64>>) {
    let over = AtomicBool::new(false);
    let statuses = Mutex::new(vec![BTreeMap::new(); tokens.len()]);
    let result = std::thread::scope(|scope| {
        for gateway in gateways.iter().chain(gateways) {
            for (number, token) in tokens.iter().enumerate() {
                let (over, statuses, request) = (&over, &statuses, chat(token, &body(false)));
                let address = gateway.data();
                scope.spawn(move || {
                    let mut client = tollkeep_testkit::Client::connect(address);
                    while !over.load(Ordering::Relaxed) {
                        // Whoever stood still for long answers when it goes on, or ends what was too late.
                        let answered = client
                            .send(&request)
                            .then(|| client.answer(Duration::from_secs(300)));
                        let Some(Ok(answer)) = answered else {
                            let mut statuses = statuses.lock().unwrap();
                            *statuses[number].entry(504).or_default() += 1;
                            drop(statuses);
                            client = tollkeep_testkit::Client::connect(address);
                            continue;
                        };
                        let mut statuses = statuses.lock().unwrap();
                        *statuses[number].entry(answer.status).or_default() += 1;
                        drop(statuses);
                        if answer.closes() {
                            client = tollkeep_testkit::Client::connect(address);
                        }
                        if answer.status != 200 {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                });
            }
        }
        let result = meanwhile();
        over.store(true, Ordering::Relaxed);
        result
    });
    (result, statuses.into_inner().unwrap())
}

fn check(gateway: &Gateway) {
    let (status, report) = gateway.api("GET", "/api/v1/ledger/check", None);
    assert_eq!((status, &report["valid"]), (200, &json!(true)), "{report}");
}

fn passed(statuses: &[BTreeMap<u16, i64>]) -> Vec<i64> {
    let of = |statuses: &BTreeMap<u16, i64>| statuses.get(&200).copied().unwrap_or(0);
    statuses.iter().map(of).collect()
}

/// Of two replicas under load one stands still until its slices are lost, and goes on.
fn one_stands_still(stand: impl FnOnce(&Postgres, &Gateway)) {
    let (origin, server) = (origin(), server_with_clock());
    let config = provider(&origin);
    let [still, other] = [replica(&server, &config), replica(&server, &config)];
    let ids = budgets(&still, LIMIT);
    let tokens = tokens(&still);
    eventually("both know the tokens", || {
        passes_models(&other, &tokens[1]).then_some(())
    });
    let leases = |state: &str| -> i64 {
        let asked = format!("SELECT count(*) FROM budget_leases WHERE state = '{state}'");
        server.ask(&asked).parse().unwrap()
    };
    let ((), statuses) = under_load(&[&still, &other], &tokens, || {
        eventually("both have a slice", || {
            (leases("active") >= 2).then_some(())
        });
        let lost = leases("lost");
        still.signal(Signal::STOP);
        stand(&server, &other);
        let seen = wait_until(Duration::from_secs(30), || {
            (leases("lost") > lost).then_some(())
        });
        assert!(
            seen.is_some(),
            "the slice of the one that stands still is lost"
        );
        still.signal(Signal::CONT);
        std::thread::sleep(Duration::from_secs(3));
    });
    let told = statuses.iter().flat_map(BTreeMap::keys);
    let strange = told
        .filter(|status| !matches!(status, 200 | 503 | 504))
        .count();
    assert_eq!(strange, 0, "{statuses:?}");
    let (sent, passed) = (i64::try_from(origin.count()).unwrap(), passed(&statuses));
    assert!(sent >= passed.iter().sum::<i64>() && passed.iter().all(|calls| *calls > 10));
    // Whatever was lost counts as spent.
    let all = eventually("all ends are written", || {
        let sums = ids.each_ref().map(|id| sums(&other, id));
        let spent: i64 = sums.iter().map(|[spent, ..]| spent).sum();
        let written = sums.iter().all(|[_, reserved, _]| *reserved == 0) && spent >= sent * COST;
        written.then_some(sums)
    });
    assert!(
        all.iter().all(|sums| sums.iter().sum::<i64>() <= LIMIT),
        "{all:?}"
    );
    // Rows are exact, but for calls whose end nobody saw.
    let others: i64 = statuses[0].values().sum::<i64>() - passed[0];
    let exact = passed[0] * COST;
    let most = exact + others * bound(&body(false));
    assert!(
        (exact..=most).contains(&all[0][0]),
        "{all:?} for {statuses:?}"
    );
    check(&still);
}

// LED-50a LED-74
#[test]
#[ignore = "soak: what stands still takes minutes"]
fn a_replica_that_stands_still_until_its_slices_are_lost_overspends_nothing() {
    one_stands_still(|server, _| put_clock(server, LOST_MS));
}

// LED-74
#[test]
#[ignore = "soak: some minutes"]
fn a_replica_that_stands_still_for_three_lives_of_a_lease_overspends_nothing() {
    one_stands_still(|_, _| std::thread::sleep(Duration::from_secs(180)));
}

// LED-71 LED-72 LED-77
#[test]
#[ignore = "soak: what stands still takes minutes"]
fn calls_wait_for_a_database_that_stands_still_or_dies_and_the_sums_are_right_after_it() {
    let (origin, mut server) = (origin(), Postgres::start());
    let gateway = on(&server, &provider(&origin))
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .set("auth.on_stale", "open")
        .set("store.busy_timeout", "1s")
        .start();
    let ids = budgets(&gateway, LIMIT);
    let tokens = tokens(&gateway);
    let status = |token: &str| gateway.call(&chat(token, &body(false))).status;
    let works = |what: &str| {
        for token in &tokens {
            eventually(what, || (status(token) == 200).then_some(()));
        }
    };
    let (server, statuses) = under_load(&[&gateway], &tokens, || {
        works("before");
        for fault in ["stands still", "dies"] {
            eventually("a slice is in hand", || {
                (sums(&gateway, &ids[1])[2] > 0).then_some(())
            });
            if fault == "dies" {
                server.kill();
            } else {
                server.signal(Signal::STOP);
            }
            eventually("what has to be written is refused", || {
                (status(&tokens[0]) == 503).then_some(())
            });
            // What is in hand may be spent.
            assert_eq!(status(&tokens[1]), 200, "{fault}");
            if fault == "dies" {
                server.restart();
            } else {
                server.signal(Signal::CONT);
            }
            works(fault);
        }
        server
    });
    assert!(!server.ask("SELECT 1").is_empty());
    for (number, id) in ids.iter().enumerate() {
        let passed = passed(&statuses)[number];
        let [spent, reserved, leased] = sums(&gateway, id);
        assert!(
            spent + reserved + leased >= passed * COST,
            "{passed} passed: {statuses:?}"
        );
        assert!(spent + reserved + leased <= LIMIT);
    }
    let told = statuses
        .iter()
        .flat_map(BTreeMap::keys)
        .find(|status| !matches!(status, 200 | 503));
    assert_eq!(told, None, "{statuses:?}");
    check(&gateway);
}

/// A program that runs the gateway so that files it may not write do not end it.
fn wrapper(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("wrapped");
    let mut file = File::create(&path).unwrap();
    file.write_all(format!("#!/bin/sh\n{script}\n").as_bytes())
        .unwrap();
    file.set_permissions(Permissions::from_mode(0o700)).unwrap();
    path
}

fn in_small_world(origin: &Origin, folder: &Path, script: &str) -> Builder {
    crate::fixture::gateway(provider(origin))
        .binary(wrapper(folder, script))
        .folder(folder)
        .set("audit.file", folder.join("audit.log").display().to_string())
        // The audit log of this world is elsewhere, and would close it.
        .set("audit.store_in_db", "false")
        .set("logging.level", "error")
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
}

/// Calls while the disk takes nothing more, and when it does again.
fn on_a_full_disk(gateway: &Gateway, origin: &Origin, fill: impl FnOnce(), empty: impl FnOnce()) {
    let ids = budgets(gateway, LIMIT);
    let tokens = tokens(gateway);
    let status = |token: &str| gateway.call(&chat(token, &body(false))).status;
    let mut passed = [0; 2];
    for number in 0..2 {
        eventually("calls pass", || {
            passed[number] += i64::from(status(&tokens[number]) == 200);
            (passed[number] >= 10).then_some(())
        });
    }
    eventually("a slice is in hand", || {
        passed[1] += i64::from(status(&tokens[1]) == 200);
        (sums(gateway, &ids[1])[2] > 0).then_some(())
    });
    fill();
    eventually("what can't be written is refused", || {
        let refused = status(&tokens[0]);
        passed[0] += i64::from(refused == 200);
        (refused == 503).then_some(())
    });
    let (sent, mut waited) = (origin.count(), 0);
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(status(&tokens[0]), 503);
        waited += usize::from(began.elapsed() > Duration::from_secs(4));
    }
    assert!(
        waited <= 5,
        "{waited} of 20 waited for what is known to fail"
    );
    assert_eq!(origin.count(), sent, "nothing goes out without a hold");
    passed[1] += i64::from(status(&tokens[1]) == 200);
    assert_eq!(origin.count(), sent + 1, "what is in hand may be spent");
    empty();
    for number in 0..2 {
        eventually("it heals without a restart", || {
            let passes = status(&tokens[number]) == 200;
            passed[number] += i64::from(passes);
            passes.then_some(())
        });
    }
    for number in 0..2 {
        eventually("the sums are exact", || {
            let [spent, reserved, _] = sums(gateway, &ids[number]);
            (spent == passed[number] * COST && reserved == 0).then_some(())
        });
    }
    check(gateway);
}

// LED-71 LED-77 LED-103
#[test]
fn files_that_may_not_grow_refuse_what_has_to_be_held_in_them_until_they_may() {
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let script = format!("trap '' XFSZ\nexec {TOLLKEEP} \"$@\"");
    let gateway = in_small_world(&origin, folder.path(), &script).start();
    // The log of what happened grows on for a while; the database's is larger soon.
    let log = folder.path().join("audit.log");
    let fill = || gateway.limit_files(Some(fs::metadata(&log).unwrap().len() + 65_536));
    on_a_full_disk(&gateway, &origin, fill, || gateway.limit_files(None));
}

// LED-71 LED-77
#[test]
fn a_full_disk_refuses_what_has_to_be_held_on_it_until_there_is_room() {
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    // A user who is not root mounts it in a world where they are.
    let root = if is_root() { "" } else { "-r " };
    let script = format!(
        "exec unshare {root}-m sh -c 'mount -t tmpfs -o size=6m,mode=700 tmpfs {} && exec {TOLLKEEP} \"$@\"' sh \"$@\"",
        data.display()
    );
    let gateway = in_small_world(&origin, folder.path(), &script).start();
    let inside = PathBuf::from(format!(
        "/proc/{}/root{}/filler",
        gateway.pid(),
        data.display()
    ));
    let fill = || {
        let mut filler = File::create(&inside).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
    };
    on_a_full_disk(&gateway, &origin, fill, || {
        fs::remove_file(&inside).unwrap();
    });
}

fn is_root() -> bool {
    let own = tempfile::tempdir().unwrap();
    fs::metadata(own.path()).unwrap().uid() == 0
}

/// Callers who ask and go, again and again, while nobody can be answered.
fn give_up(gateway: &Gateway, token: &str, callers: usize) {
    let request = chat(token, &body(false));
    let mut waiting: Vec<_> = (0..callers).map(|_| gateway.connect()).collect();
    for client in &mut waiting {
        assert!(client.send(&request));
    }
    // Half of them are surely being waited for.
    std::thread::sleep(Duration::from_millis(30));
    drop(waiting);
}

// LED-73a LED-75
#[test]
fn callers_who_give_up_while_their_hold_is_waited_for_leave_nothing_behind() {
    let (origin, server) = (origin(), Postgres::start());
    let wire = Wire::to(server.port());
    let through = |user: &str| {
        let port = |port: u16| format!("127.0.0.1:{port}");
        server
            .url(user)
            .replace(&port(server.port()), &port(wire.port()))
    };
    let gateway = on(&server, &provider(&origin))
        .env("DATABASE_URL", through("tollkeep_app"))
        .env("TOLLKEEP_STORE__JOBS_URL", through("tollkeep_jobs"))
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .start();
    let ids = budgets(&gateway, LIMIT);
    let tokens = tokens(&gateway);
    for token in &tokens {
        assert_eq!(gateway.call(&chat(token, &body(false))).status, 200);
    }
    for round in 0..8 {
        let what = [HoldUp::Commits, HoldUp::Answers][round % 2];
        wire.hold_up(what);
        for token in &tokens {
            give_up(&gateway, token, 60);
        }
        wire.hold_up(HoldUp::Nothing);
        for token in &tokens {
            eventually("a call passes", || {
                (gateway.call(&chat(token, &body(false))).status == 200).then_some(())
            });
        }
    }
    let most = i64::try_from(origin.count()).unwrap() * bound(&body(false));
    for id in &ids {
        eventually("nothing is held for those who have gone", || {
            let [spent, reserved, _] = sums(&gateway, id);
            (reserved == 0 && spent >= 9 * COST).then_some(())
        });
        let [spent, ..] = sums(&gateway, id);
        assert!(spent <= most, "{spent}: what was not sent costs nothing");
    }
    check(&gateway);
}

// LED-75 LED-77
#[test]
#[ignore = "soak: thirty thousand callers"]
fn however_many_callers_give_up_while_the_database_hangs_the_next_is_told_at_once() {
    let (origin, server) = (origin(), Postgres::start());
    let gateway = on(&server, &provider(&origin))
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .set("auth.on_stale", "open")
        .set("store.busy_timeout", "60s")
        .start();
    let ids = budgets(&gateway, LIMIT);
    let tokens = tokens(&gateway);
    assert_eq!(gateway.call(&chat(&tokens[0], &body(false))).status, 200);
    server.signal(Signal::STOP);
    // Of these surely more are asked for than may be waited for at once, 8,192.
    for _ in 0..300 {
        give_up(&gateway, &tokens[0], 100);
    }
    // Nobody else is asked for in vain.
    let began = Instant::now();
    let refused = gateway.call(&chat(&tokens[0], &body(false)));
    assert_eq!(
        (refused.status, &*refused.code()),
        (503, "ledger_unavailable")
    );
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    server.signal(Signal::CONT);
    let passes = wait_until(Duration::from_secs(120), || {
        (gateway.call(&chat(&tokens[0], &body(false))).status == 200).then_some(())
    });
    assert!(passes.is_some(), "a call passes again");
    let settled = wait_until(Duration::from_secs(120), || {
        (sums(&gateway, &ids[0])[1] == 0).then_some(())
    });
    assert!(settled.is_some(), "nothing is held for those who have gone");
    check(&gateway);
}

// LED-73a
#[test]
fn callers_who_give_up_while_slices_are_called_back_leave_nothing_behind() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let mut steps = vec![Step::Wait(held.clone())];
        steps.extend(answer_json(&answer(COST - 30, 30)));
        steps
    });
    let config = provider(&origin);
    let gateway = crate::fixture::gateway(config)
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let id = budget(&gateway, &json!({"unit": "requests", "limit": 60}));
    let request = chat(&token, &body(false));
    let mut under_way: Vec<_> = (0..60).map(|_| gateway.connect()).collect();
    for (number, client) in under_way.iter_mut().enumerate() {
        assert!(client.send(&request));
        origin.wait_for(number + 1);
    }
    for _ in 0..6 {
        give_up(&gateway, &token, 100);
        // No slice is called back for a second after that brought nothing.
        std::thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(origin.count(), 60);
    gate.open();
    for mut client in under_way {
        assert_eq!(client.answer(PATIENCE).unwrap().status, 200);
    }
    let path = format!("/api/v1/budgets/{id}");
    assert_eq!(
        gateway.api("PATCH", &path, Some(&json!({"limit": 61}))).0,
        200
    );
    eventually("one more passes", || {
        (gateway.call(&request).status == 200).then_some(())
    });
    assert_eq!(gateway.call(&request).status, 402);
    eventually("all is settled", || {
        (sums(&gateway, &id) == [61, 0, 0]).then_some(())
    });
    check(&gateway);
}

// LED-72 LED-74
#[test]
#[ignore = "soak: until what the dead one held is lost"]
fn of_two_replicas_under_one_budget_one_is_killed_and_the_other_spends_no_more_than_there_is() {
    const ROOM: i64 = 2_000;
    let (origin, server) = (origin(), server_with_clock());
    let config = provider(&origin);
    let [mut dies, other] = [replica(&server, &config), replica(&server, &config)];
    let id = budget(&dies, &json!({"unit": "requests", "limit": ROOM}));
    let token = dies.mint_token(&json!({ "project": "default" }));
    eventually("both know it", || {
        passes_models(&other, &token).then_some(())
    });
    let request = chat(&token, &body(false));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..12 {
            let mut client = if number % 2 == 0 {
                dies.connect()
            } else {
                other.connect()
            };
            let (request, over) = (&request, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed)
                    && client.send(request)
                    && let Ok(answer) = client.answer(PATIENCE)
                    && answer.status == 200
                {}
            });
        }
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let taken: i64 = sums(&other, &id).iter().sum();
                assert!(taken <= ROOM, "{taken}");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        eventually("both have spent of it", || {
            (origin.count() > 300).then_some(())
        });
        dies.kill();
        let began = Instant::now();
        eventually("the other is refused", || {
            (other.call(&request).status == 402).then_some(())
        });
        assert!(began.elapsed() < PATIENCE);
        over.store(true, Ordering::Relaxed);
    });
    let sent = i64::try_from(origin.count()).unwrap();
    assert!(sent <= ROOM, "{sent}");
    // What the dead one had in hand counts as spent for good, since it may have sent it: its slices,
    // and the holds of calls that a slice was too short for.
    put_clock(&server, HELD_MS);
    let spent = eventually("nothing is out", || {
        let [spent, reserved, leased] = sums(&other, &id);
        (reserved == 0 && leased == 0).then_some(spent)
    });
    assert!(spent <= ROOM && spent >= sent, "{spent} for {sent}");
    // A slice, of 5 % of what was left, and what it was refilled with.
    assert!(spent - sent <= ROOM / 10, "{spent} for {sent}");
    check(&other);
}

// LED-84
#[test]
fn the_check_of_the_ledger_may_take_longer_than_what_callers_wait_for() {
    let server = Postgres::start();
    let gateway = on(&server, "").set("store.busy_timeout", "500ms").start();
    let waits =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'postings'::regclass";
    let has = "SELECT count(*) FROM pg_locks WHERE granted AND relation = 'postings'::regclass";
    std::thread::scope(|scope| {
        // As long as somebody has the table, it can't be read.
        scope.spawn(|| {
            server.ask(
                "BEGIN; LOCK TABLE postings IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT",
            );
        });
        eventually("somebody has the table", || {
            (server.ask(has) != "0").then_some(())
        });
        let checking = scope.spawn(|| gateway.cli(&["ledger", "check"]));
        eventually("the check waits for it", || {
            (server.ask(waits) != "0").then_some(())
        });
        let began = Instant::now();
        let checked = checking.join().unwrap();
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
        assert!(
            began.elapsed() > Duration::from_millis(1_000),
            "{:?}",
            began.elapsed()
        );
    });
}
