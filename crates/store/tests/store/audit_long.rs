//! Figures of the audit log in the database: how quickly a million records are searched, and how many it
//! takes a second. Their commands are in docs/performance.md.

use crate::world::{SERVICE, START, World};
use std::time::{Duration, Instant};
use tollkeep_store::{AuditFilter, AuditOrder, Store};
use tollkeep_types::{ProjectId, WallMillis};

const STREAM: &str = "aus_0192f3c4a5b67c8d9e0f112233445566";
const REPLICA: &str = "rep_1";
/// As many as the log gives at once.
const LOT: u64 = 1024;
const SLOWEST: Duration = Duration::from_millis(200);

/// The project of a record, one of a thousand.
fn project(seq: u64) -> ProjectId {
    let mut bytes = [7; 16];
    let (_, end) = bytes.split_last_chunk_mut::<8>().unwrap();
    *end = (seq % 1_000).to_be_bytes();
    ProjectId::from_bytes(bytes)
}

fn address(seq: u64) -> String {
    format!("192.0.{}.{}", seq / 200 % 50, seq % 200)
}

fn request(seq: u64) -> String {
    format!("req_{:032x}", seq / 2)
}

/// A record as a busy gateway writes it.
fn record(seq: u64) -> String {
    let at = WallMillis(START + seq * 10);
    let (action, actor, result, class) = match seq % 100 {
        0 => ("token.create", "management", "success", "management"),
        1 => ("token.access", "anonymous", "failure", "security"),
        number if number % 2 == 0 => ("token.access", "client", "success", "access"),
        _ => ("proxy_request", "client", "success", "access"),
    };
    let (project, request, address) = (project(seq), request(seq), address(seq));
    let (hash, prev) = (format!("{seq:064x}"), format!("{:064x}", seq - 1));
    format!(
        "{{\"timestamp\":\"{at}\",\"action\":\"{action}\",\"actor\":\"{actor}\",\
         \"project_id\":\"{project}\",\"request_id\":\"{request}\",\"client_ip\":\"{address}\",\
         \"result\":\"{result}\",\"details\":{{\"http_method\":\"POST\",\
         \"endpoint\":\"/v1/chat/completions\",\"status_code\":200,\"duration_ms\":31}},\
         \"id\":\"evt_{seq:032x}\",\"class\":\"{class}\",\"stream\":\"{STREAM}\",\"seq\":{seq},\
         \"prev\":\"{prev}\",\"hash\":\"{hash}\"}}\n"
    )
}

/// Keeps records up to a number in lots; gives how long that took.
async fn fill(store: &Store, records: u64) -> Duration {
    let mut took = Duration::ZERO;
    let mut next = 1;
    while next <= records {
        let last = (next + LOT - 1).min(records);
        let text: String = (next..=last).map(record).collect();
        let began = Instant::now();
        let kept = store.keep_audit(REPLICA, &text, Some(last)).await;
        took += began.elapsed();
        kept.unwrap();
        next = last + 1;
    }
    took
}

/// What is asked, each by an index of the table.
fn filters(records: u64) -> Vec<(&'static str, AuditFilter)> {
    let middle = records / 2;
    let at = |seq: u64| Some(WallMillis(START + seq * 10));
    let words = |word: &str| vec![word.to_owned()];
    let filled = |fill: &dyn Fn(&mut AuditFilter)| {
        let mut filter = AuditFilter::default();
        fill(&mut filter);
        filter
    };
    let within = |filter: &mut AuditFilter| {
        filter.start = at(records * 4 / 10);
        filter.end = at(records * 6 / 10);
    };
    let created = |filter: &mut AuditFilter| filter.actions = words("token.create");
    let of_project = |filter: &mut AuditFilter| filter.project = Some(project(middle));
    let failed = |filter: &mut AuditFilter| filter.outcomes = words("failure");
    let both = |one: &dyn Fn(&mut AuditFilter)| {
        let mut filter = filled(one);
        within(&mut filter);
        filter
    };
    let from = |seq: u64| move |filter: &mut AuditFilter| filter.client_ip = Some(address(seq));
    let mut of_address = filled(&from(101));
    of_address.actions = words("token.access");
    let asked = |filter: &mut AuditFilter| filter.request_id = Some(request(middle));
    vec![
        ("time", filled(&within)),
        ("action", filled(&created)),
        ("time and action", both(&created)),
        ("project", filled(&of_project)),
        ("time and project", both(&of_project)),
        ("address", filled(&from(middle))),
        ("address and action", of_address),
        ("request", filled(&asked)),
        ("result", filled(&failed)),
        ("time and result", both(&failed)),
    ]
}

#[expect(clippy::print_stdout, reason = "a figure for whoever measures")]
async fn every_index_answers(records: u64, slowest: Duration) {
    let world = World::new().await;
    let store = &world.store;
    fill(store, records).await;
    for (name, filter) in filters(records) {
        let began = Instant::now();
        let order = (AuditOrder::LastFirst, None);
        let found = store.audit_lines(SERVICE, &filter, order, 100).await;
        let took = began.elapsed();
        let lines = found.unwrap().0;
        println!("{name}: {} of {records} in {took:?}", lines.len());
        assert!(!lines.is_empty(), "{name}");
        assert!(took < slowest, "{name}: {took:?}");
    }
    let id = format!("evt_{:032x}", records / 2);
    let began = Instant::now();
    assert!(store.audit_line(SERVICE, &id).await.unwrap().is_some());
    assert!(began.elapsed() < slowest, "{:?}", began.elapsed());
}

// AUD-71 AUD-72
#[tokio::test]
async fn every_filter_with_an_index_finds_what_it_is_asked() {
    every_index_answers(2_000, Duration::from_secs(10)).await;
}

// AUD-72
#[tokio::test]
#[ignore = "a measurement: docs/performance.md has its command"]
async fn a_million_records_answer_each_index_at_once_for_long() {
    every_index_answers(1_000_000, SLOWEST).await;
}

// AUD-41
#[tokio::test]
#[ignore = "a measurement: docs/performance.md has its command"]
async fn the_database_takes_twenty_thousand_records_a_second_for_long() {
    const RECORDS: u64 = 400_000;
    let world = World::new().await;
    let took = fill(&world.store, RECORDS).await;
    let per_second = u128::from(RECORDS) * 1_000_000 / took.as_micros();
    println!("{RECORDS} records in {took:?}: {per_second} a second");
    // A build without optimisation says nothing about speed.
    if !cfg!(debug_assertions) {
        assert!(per_second >= 20_000, "{per_second} a second");
    }
}
