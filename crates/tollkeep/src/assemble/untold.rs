//! Charges that a process wrote down and did not live to tell of: killed between the two, it leaves
//! entries in the ledger that the audit log knows nothing of. The next process tells of them, late
//! (AUD-40).
//!
//! What was told is read from the log: from its file, where one process has the store and the log to
//! itself; else from the records in the database, where those of all replicas are. There is no third
//! way: of replicas that keep their logs in files alone, none knows what another told.

use super::Base;
use anyhow::Context;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_audit::{Action, Actor, Backwards, Event, Key, Logger, Outcome, Value};
use tollkeep_config::settings::Settings;
use tollkeep_ledger::posting::{EntryKind, entry_of};
use tollkeep_store::ledger::{EntryRecord, UsageFilter, UsageRecord};
use tollkeep_store::{After, PageRequest, Scope, Store, ToldEntries};
use tollkeep_types::{EntryId, WallMillis};

/// Whoever reads and tells here.
const SCOPE: Scope = Scope::Service("untold");
/// The fact that says up to which entry all has been told.
const TOLD: &str = "ledger_told";
/// So much of the log is looked at, from its end.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Charges that are told late at one start.
const LATE_MAX: usize = 65_536;
const AT_ONCE: u32 = 1_000;
/// The reason that events have which are told late, these and those of operators' acts.
const LATE: &str = "recorded_late";
/// What was told of in the same moment as the oldest line that was looked at may stand before it.
const MOMENT_MS: u64 = 1_000;

/// Records of the database that tell of entries are looked at, from the last, until they tell of so
/// many.
const TOLD_MAX: usize = 262_144;
/// Replicas that live have told by then what they wrote down before, and clocks differ less.
const LIVING: Duration = Duration::from_secs(60);
/// One replica at a time tells for all.
const LEASE: &str = "untold";
/// How long one that was killed meanwhile keeps the others from it.
const LEASE_TIME: Duration = Duration::from_secs(600);
/// Pages of usage records that are looked through for the calls of entries.
const PAGES_MAX: usize = 1_000;

/// What the log's end tells: all that it told since a time.
type LogEnd = ToldEntries;

/// Where what was told can be read.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Log {
    /// In the file of the one process there is.
    File(PathBuf),
    /// In the database.
    Database {
        /// Other processes may live that write to it too.
        is_shared: bool,
    },
}

impl Log {
    fn of(settings: &Settings) -> Option<Self> {
        let is_shared = settings.store.postgres.is_some();
        match &settings.audit.file {
            Some(file) if !is_shared => Some(Self::File(file.clone())),
            Some(_) | None if settings.audit.store_in_db => Some(Self::Database { is_shared }),
            Some(_) | None => None,
        }
    }

    /// What was told of entries from this time on, at least.
    async fn end(&self, store: &Store, from: WallMillis) -> anyhow::Result<LogEnd> {
        let earlier = |ms: u64| WallMillis(from.0.saturating_sub(ms));
        match self {
            Self::File(file) => {
                let (file, from) = (file.clone(), earlier(MOMENT_MS));
                tokio::task::spawn_blocking(move || read_file(&file, from)).await?
            }
            Self::Database { .. } => {
                let skew = u64::try_from(LIVING.as_millis()).unwrap_or(u64::MAX);
                Ok(store.entries_told(earlier(skew), TOLD_MAX).await?)
            }
        }
    }
}

/// Tells of what processes before this one wrote down and did not tell of. Nothing that is written
/// from now on is looked at.
pub(super) fn tell_late(base: &Base, store: &Store, audit: &Arc<Logger>) {
    let Some(log) = Log::of(&base.settings) else {
        return;
    };
    let mut holder = [0; 8];
    base.entropy.fill(&mut holder);
    let holder = format!("{:016x}", u64::from_be_bytes(holder));
    let (store, audit, began) = (store.clone(), Arc::clone(audit), base.clock.wall());
    tokio::spawn(async move {
        match tell_alone(&store, &audit, (&log, began), &holder).await {
            Ok(0) => {}
            Ok(late) => {
                tracing::warn!(
                    "{late} charges of calls are recorded late: the process that made them was killed"
                );
            }
            Err(error) => {
                tracing::warn!("Whether all charges are recorded is not known: {error:#}");
            }
        }
    });
}

/// Tells, in turn with the other replicas there may be. How many were told.
async fn tell_alone(
    store: &Store,
    audit: &Logger,
    (log, began): (&Log, WallMillis),
    holder: &str,
) -> anyhow::Result<usize> {
    if *log != (Log::Database { is_shared: true }) {
        return tell(store, audit, (log, began)).await;
    }
    tokio::time::sleep(LIVING).await;
    while !store.take_lease(LEASE, holder, LEASE_TIME).await? {
        tokio::time::sleep(LIVING).await;
    }
    let told = tell(store, audit, (log, began)).await;
    store.give_lease_back(LEASE, holder).await?;
    told
}

/// How many were told.
async fn tell(
    store: &Store,
    audit: &Logger,
    (log, began): (&Log, WallMillis),
) -> anyhow::Result<usize> {
    let after = match store.meta(TOLD).await? {
        Some(number) => number.parse().context("the fact `ledger_told`")?,
        // Before this was kept nobody knows what was told where.
        None => 0,
    };
    let first = store.ledger().entries(after, 1).await?;
    let Some(first) = first.first().filter(|first| first.at < began) else {
        return Ok(0);
    };
    let log = log.end(store, first.at).await?;
    let (untold, last) = untold(store, &log, (after, began)).await?;
    let late = if untold.is_empty() {
        0
    } else {
        tell_of(store, audit, untold, began).await?
    };
    store.set_meta(TOLD, &last.to_string()).await?;
    Ok(late)
}

/// The charges that the log's end does not tell of, by their ids, and the last entry that was there.
async fn untold(
    store: &Store,
    log: &LogEnd,
    (mut after, began): (u64, WallMillis),
) -> anyhow::Result<(HashMap<EntryId, EntryRecord>, u64)> {
    let mut untold = HashMap::new();
    // What the log says nothing of is not for it to judge.
    let since = log
        .since
        .map_or(u64::MAX, |since| since.0.saturating_add(MOMENT_MS));
    after = behind(store, after, since).await?;
    loop {
        let page = store.ledger().entries(after, AT_ONCE).await?;
        let is_last = page.len() < AT_ONCE as usize;
        for entry in page {
            if entry.at >= began {
                return Ok((untold, after));
            }
            after = entry.number;
            let is_charge = entry.kind == "settle" && entry.at.0 > since;
            let is_told = log.digests.contains(&entry.hash);
            if is_charge && !is_told && untold.len() < LATE_MAX {
                untold.insert(entry.id, entry);
            }
        }
        if is_last {
            return Ok((untold, after));
        }
    }
}

/// The last entry behind this one that was not written after `since`: times never go back along the
/// chain.
async fn behind(store: &Store, after: u64, since: u64) -> anyhow::Result<u64> {
    let (mut low, mut width) = (after, 1_u64);
    let ledger = store.ledger();
    let is_old = async |number: u64| -> anyhow::Result<bool> {
        let entry = ledger.entries(number.saturating_sub(1), 1).await?;
        Ok(entry.first().is_some_and(|entry| entry.at.0 <= since))
    };
    while is_old(low.saturating_add(width)).await? {
        low = low.saturating_add(width);
        width = width.saturating_mul(2);
    }
    while width > 1 {
        width /= 2;
        if is_old(low.saturating_add(width)).await? {
            low = low.saturating_add(width);
        }
    }
    Ok(low)
}

/// Tells of the calls that these entries are of, and waits until that is on disk.
async fn tell_of(
    store: &Store,
    audit: &Logger,
    mut untold: HashMap<EntryId, EntryRecord>,
    began: WallMillis,
) -> anyhow::Result<usize> {
    let from = untold.values().map(|entry| entry.at).min();
    let filter = UsageFilter {
        from,
        to: Some(began),
        ..UsageFilter::default()
    };
    let (mut late, mut after) = (0, None);
    for _ in 0..PAGES_MAX {
        let limit = AT_ONCE;
        let asked = PageRequest { limit, after };
        let page = store.ledger().usage_records(SCOPE, &filter, &asked).await?;
        for record in &page.rows {
            let Some(event) = event(record, &mut untold) else {
                continue;
            };
            audit.log_async(&event).await?;
            late += 1;
        }
        let last = page.rows.last().filter(|_| page.more && !untold.is_empty());
        let Some(last) = last else { return Ok(late) };
        after = Some(After {
            created_at: last.at,
            id: last.id.clone(),
        });
    }
    Ok(late)
}

/// The event of a call some of whose entries nobody told of; those are taken out.
fn event<'a>(
    record: &'a UsageRecord,
    untold: &mut HashMap<EntryId, EntryRecord>,
) -> Option<Event<'a>> {
    let hold = record.hold?;
    let ids = (0..=u8::MAX).map(|number| entry_of(hold, EntryKind::Settle, number));
    let mut entries: Vec<_> = ids.filter_map(|id| untold.remove(&id)).collect();
    entries.sort_unstable_by_key(|entry| entry.number);
    let hashes: Vec<_> = entries.iter().map(|entry| entry.hash.as_str()).collect();
    let at = entries.first()?.at;
    let units = |units: i64| Value::Number(u64::try_from(units).unwrap_or(0));
    let mut event = Event::new(Action::MoneySettle, Actor::System, Outcome::Success)
        .at(at)
        .with_reason(LATE)
        .with_tenant_id(record.tenant)
        .with_detail(Key::Hold, Value::OwnedWord(hold.to_string().into()))
        .with_detail(Key::Amount, units(record.charge.cost.units()))
        .with_detail(Key::Bound, units(record.bound.cost.units()))
        .with_detail(Key::Quality, Value::Word(record.quality.as_str()))
        .with_detail(Key::EntryDigest, Value::OwnedWord(hashes.join(" ").into()));
    if let Some(project) = record.project {
        event = event.with_project_id(project);
    }
    if let Some(request) = record.request {
        event = event.with_request_id(request);
    }
    if let Some(provider) = &record.provider {
        event = event.with_detail(Key::Provider, Value::Word(provider));
    }
    if let Some(model) = &record.model_requested {
        event = event.with_detail(Key::Model, Value::Text(model.as_str().into()));
    }
    Some(event)
}

/// Reads lines, the last first, back to this time.
fn read_file(file: &Path, from: WallMillis) -> anyhow::Result<LogEnd> {
    let mut end = LogEnd::default();
    let lines = Backwards::open(file, None).with_context(|| format!("cannot read {file:?}"))?;
    let Some(mut lines) = lines else {
        return Ok(end);
    };
    let mut newest = None;
    while let Some((at, line)) = lines.next()? {
        take_line(&mut end, &line);
        let newest = *newest.get_or_insert(at);
        let is_far = newest.saturating_sub(at) > LOG_BYTES_MAX;
        if is_far || end.since.is_some_and(|since| since < from) {
            break;
        }
    }
    Ok(end)
}

/// Takes in a line, in whichever words it is.
fn take_line(end: &mut LogEnd, line: &[u8]) {
    let Ok(record) = serde_json::from_slice::<serde_json::Value>(line) else {
        return;
    };
    let text = |pointer: &str| record.pointer(pointer).and_then(serde_json::Value::as_str);
    let is_first = record.get("seq").and_then(serde_json::Value::as_u64) == Some(1);
    // What is told late says when it was, and stands behind what came after that.
    let reason = text("/reason").or_else(|| text("/details/reason"));
    let is_late = reason == Some(LATE);
    let at = text("/timestamp").and_then(|at| at.parse().ok());
    if is_first {
        // Nothing was told before.
        end.since = Some(WallMillis(0));
    } else if let Some(at) = at.filter(|_| !is_late) {
        end.since = Some(end.since.map_or(at, |since: WallMillis| since.min(at)));
    }
    let told = text("/details/entry_digest").unwrap_or_default();
    end.digests
        .extend(told.split_ascii_whitespace().map(str::to_owned));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> WallMillis {
        text.parse().unwrap()
    }

    /// What the end of a log with these lines tells, from a time on.
    fn read(lines: &[&str], from: &str) -> (Vec<String>, Option<WallMillis>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&file, text).unwrap();
        let end = read_file(&file, time(from)).unwrap();
        let mut digests: Vec<_> = end.digests.into_iter().collect();
        digests.sort_unstable();
        (digests, end.since)
    }

    const LOG: [&str; 4] = [
        r#"{"seq":7,"timestamp":"2026-11-23T10:00:00.000Z","details":{"entry_digest":"a b"}}"#,
        r#"{"seq":8,"timestamp":"2026-11-23T10:00:05.000Z","details":{"entry_digest":"c"}}"#,
        r#"{"seq":9,"timestamp":"2026-11-23T09:00:00.000Z","reason":"recorded_late","details":{"entry_digest":"d"}}"#,
        r#"{"seq":10,"timestamp":"2026-11-23T10:00:09.000Z"}"#,
    ];

    #[test]
    fn the_log_is_read_back_to_a_time_and_late_lines_do_not_say_which_that_is() {
        let all = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let (digests, since) = read(&LOG, "2026-11-23T10:00:01.000Z");
        assert_eq!(digests, all);
        assert_eq!(since, Some(time("2026-11-23T10:00:00.000Z")));
        let (digests, since) = read(&LOG, "2026-11-23T10:00:06.000Z");
        assert_eq!(digests, ["c", "d"]);
        assert_eq!(since, Some(time("2026-11-23T10:00:05.000Z")));
    }

    #[test]
    fn what_is_told_in_other_words_is_read_too() {
        let lines = [
            r#"{"timestamp":"2026-11-23T10:00:00Z","event_type":"money.settle","details":{"entry_digest":"a b"},"seq":7}"#,
            r#"{"timestamp":"2026-11-23T09:00:00Z","event_type":"money.settle","details":{"reason":"recorded_late","entry_digest":"d"},"seq":8}"#,
        ];
        let (digests, since) = read(&lines, "2026-11-23T08:00:00.000Z");
        assert_eq!(digests, ["a", "b", "d"]);
        assert_eq!(since, Some(time("2026-11-23T10:00:00.000Z")));
    }

    #[test]
    fn of_what_was_before_a_log_that_begins_anew_nothing_is_known() {
        let (_, since) = read(&LOG, "2026-11-23T08:00:00.000Z");
        assert_eq!(since, Some(time("2026-11-23T10:00:00.000Z")));
        let first = LOG[0].replace("\"seq\":7", "\"seq\":1");
        let (_, since) = read(&[&first, LOG[1]], "2026-11-23T08:00:00.000Z");
        assert_eq!(
            since,
            Some(WallMillis(0)),
            "but before the very first line nothing was told"
        );
        assert_eq!(read(&[], "2026-11-23T08:00:00.000Z"), (Vec::new(), None));
    }
}
