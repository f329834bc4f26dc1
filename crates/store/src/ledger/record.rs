//! Usage records: one for each call that ended, with what was used, what it cost, and by what it was
//! priced. Never a prompt, an answer or a secret.

use super::columns::{QUALITIES, charge_text, covers_text, word};
use super::kept::KeptUsage;
use super::rows::Rows;
use super::{Failure, Job};
use crate::query::{Bulk, Connection, Repeated, Value, query};
use crate::row::{count, millis};
use crate::{StoreError, row};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::sync::Arc;
use tollkeep_ledger::amount::{Amount, Charge};
use tollkeep_ledger::row::Quality;
use tollkeep_ledger::step::Command;
use tollkeep_types::money::Ratio;
use tollkeep_types::usage::{Flags, Line, Lines, Usage};
use tollkeep_types::{LineageId, ProjectId, RequestId, TenantId, TokenId, WallMillis};

/// What is written of a call beside its hold.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRecord {
    /// The request, and which of its attempts this was.
    pub request: RequestId,
    /// The first attempt is 1.
    pub attempt: u32,
    /// Whose call it was.
    pub tenant: TenantId,
    /// Its project.
    pub project: ProjectId,
    /// The line of its token.
    pub lineage: Option<LineageId>,
    /// Its token.
    pub token: Option<TokenId>,
    /// With which method it came; empty if that is not known.
    pub method: &'static str,
    /// The name of the route.
    pub route: Arc<str>,
    /// The name of the provider.
    pub provider: Arc<str>,
    /// The model that was asked for, and the one that answered.
    pub model_requested: Arc<str>,
    /// The one that is in quarantine if this call came to more than it could: none where it went to a
    /// server of its credential's own, which is nobody else's business. It is not written.
    pub quarantines: Option<Arc<str>>,
    /// Nothing where none answered.
    pub model_served: Option<Arc<str>>,
    /// What was used.
    pub lines: Option<Lines>,
    /// How far that is known. Where there is a hold, its end says it.
    pub quality: Quality,
    /// What was odd about it.
    pub flags: Flags,
    /// What it could cost at most. Where there is a hold, its bound.
    pub bound: Charge,
    /// How the bound was found.
    pub bound_method: Option<&'static str>,
    /// What it cost. Where there is a hold, its end says it.
    pub charge: Charge,
    /// What the upstream asks for it, where that is another amount.
    pub upstream_cost: Option<Amount>,
    /// The factor that it is charged by, where that is more than its upstream asks.
    pub markup: Option<Ratio>,
    /// The table it was priced by.
    pub price: Option<PriceMark>,
    /// When it began.
    pub started_at: WallMillis,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether a kept answer was given.
    pub from_cache: bool,
    /// The status of the answer.
    pub status: Option<u16>,
}

/// A price table by its version and the hash of its text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PriceMark {
    /// Its version.
    pub version: Arc<str>,
    /// Its SHA-256, in hex.
    pub sha256: Arc<str>,
}

const COLUMNS: usize = 35;

const HEAD: &str = "INSERT INTO usage_records (id, tenant_id, at, quality, bound, cost, tokens,
      output_tokens, billable_tokens, requests, charged, hold_version, is_swept, is_corrected,
      request_id, attempt, project_id, lineage_id, token_id, route, provider, model_requested,
      model_served, lines, flags, bound_method, upstream_cost, price_version, price_sha256,
      started_at, duration_ms, from_cache, status, method,
      markup)";

static RECORDS: Bulk = Bulk::new(COLUMNS, HEAD, "");

/// For calls without a hold, which may be told twice.
pub(super) static RECORDS_ONCE: Bulk = Bulk::new(COLUMNS, HEAD, " ON CONFLICT (id) DO NOTHING");

const CORRECT: &str = "UPDATE usage_records SET cost = $2, tokens = $3, output_tokens = $4,
    billable_tokens = $5, requests = $6, charged = $7, is_swept = $8, is_corrected = $9
  WHERE id = $1";

const ASKED: &str = "UPDATE usage_records SET upstream_cost = $2 WHERE id = $1";

const TELL: &str = "UPDATE usage_records SET request_id = $2, attempt = $3, project_id = $4,
    lineage_id = $5, token_id = $6, route = $7, provider = $8, model_requested = $9,
    model_served = $10, lines = $11, flags = $12, bound_method = $13, upstream_cost = $14,
    price_version = $15, price_sha256 = $16, started_at = $17, duration_ms = $18,
    from_cache = $19, status = $20, method = $21, markup = $22
  WHERE id = $1";

/// Texts that many records in a row have.
#[derive(Default)]
pub(super) struct Common {
    tenant: Repeated<TenantId>,
    project: Repeated<ProjectId>,
    lineage: Repeated<LineageId>,
    token: Repeated<TokenId>,
    quality: Repeated<Quality>,
    bound_method: Repeated<&'static str>,
    method: Repeated<&'static str>,
}

/// Writes the records of holds that ended.
pub(super) async fn keep(
    connection: &mut Connection,
    jobs: &[Job],
    rows: &Rows,
) -> Result<(), Failure> {
    let (mut new, mut common) = (Vec::new(), Common::default());
    for (hold, was_stored, kept) in rows.usage.changed() {
        let Some(kept) = kept else {
            continue;
        };
        let about = jobs.get(kept.job).and_then(|job| job.about.as_deref());
        if !was_stored {
            if new.is_empty() {
                new.reserve(COLUMNS.saturating_mul(jobs.len()));
            }
            of_hold(kept, rows.seen, &mut common, &mut new)?;
            let granted = about.is_none().then(|| granted(kept, rows)).flatten();
            told(about.or(granted.as_ref()), &mut common, &mut new)?;
            continue;
        }
        let mut correct = query(CORRECT).bind(hold.to_string());
        for value in sums(&kept.row.charge) {
            correct = correct.bind(value);
        }
        correct
            .bind(covers_text(&kept.row.charged)?)
            .bind(kept.row.swept)
            .bind(kept.row.corrected)
            .execute(connection)
            .await?;
        if let Some(truth) = truth(kept, jobs) {
            query(ASKED)
                .bind(hold.to_string())
                .bind(truth.map(Amount::units))
                .execute(connection)
                .await?;
        }
        if about.is_some() {
            let mut values = Vec::with_capacity(COLUMNS);
            told(about, &mut common, &mut values)?;
            let mut tell = query(TELL).bind(hold.to_string());
            for value in values {
                tell = tell.bind(value);
            }
            tell.execute(connection).await?;
        }
    }
    if !new.is_empty() {
        RECORDS.execute(new, connection).await?;
    }
    Ok(())
}

/// Of a call whose process did not tell its end: what it told at the beginning. As nobody knows what its
/// upstream asks, that is the most it may.
fn granted(kept: &KeptUsage, rows: &Rows) -> Option<CallRecord> {
    let hold = rows.holds.get(&kept.row.hold)?;
    let about = hold.about.as_deref()?.clone();
    let is_charged = !kept.row.charge.cost.is_zero();
    Some(CallRecord {
        upstream_cost: hold.row.owed.filter(|_| is_charged),
        ..about
    })
}

/// What an upstream asks by evidence from outside, where that was told beside what is charged: nothing
/// where both are the same.
fn truth(kept: &KeptUsage, jobs: &[Job]) -> Option<Option<Amount>> {
    jobs.iter().find_map(|job| {
        let Command::Correct {
            usage,
            actual,
            asked: Some(asked),
        } = &job.command
        else {
            return None;
        };
        let is_it = usage.hold == kept.row.hold && **actual == kept.row.charge;
        is_it.then(|| Some(asked.truth).filter(|truth| *truth != actual.cost))
    })
}

/// The columns of a record of a hold, up to what the gateway tells.
fn of_hold(
    kept: &KeptUsage,
    at: WallMillis,
    common: &mut Common,
    into: &mut Vec<Value>,
) -> Result<(), StoreError> {
    let row = &kept.row;
    into.extend::<[Value; 5]>([
        row.hold.to_string().into(),
        common.tenant.of(kept.tenant, |id| id.to_string()).into(),
        millis(at).into(),
        common.quality(row.quality),
        charge_text(&row.bound)?.into(),
    ]);
    into.extend(sums(&row.charge));
    into.extend::<[Value; 4]>([
        covers_text(&row.charged)?.into(),
        row.row.map(i64::from).into(),
        row.swept.into(),
        row.corrected.into(),
    ]);
    Ok(())
}

/// The columns of a record of a call without a hold.
pub(super) fn of_call(
    record: &CallRecord,
    at: WallMillis,
    common: &mut Common,
    into: &mut Vec<Value>,
) -> Result<(), StoreError> {
    into.extend::<[Value; 5]>([
        format!("{}.{}", record.request, record.attempt).into(),
        common.tenant.of(record.tenant, |id| id.to_string()).into(),
        millis(at).into(),
        common.quality(record.quality),
        charge_text(&record.bound)?.into(),
    ]);
    into.extend(sums(&record.charge));
    into.extend::<[Value; 4]>(["[]".into(), None::<i64>.into(), false.into(), false.into()]);
    told(Some(record), common, into)
}

impl Common {
    fn quality(&mut self, quality: Quality) -> Value {
        self.quality
            .of(quality, |quality| word(QUALITIES, quality))
            .into()
    }
}

fn sums(charge: &Charge) -> [Value; 5] {
    [
        charge.cost,
        charge.tokens,
        charge.output_tokens,
        charge.billable_tokens,
        charge.requests,
    ]
    .map(|amount| amount.units().into())
}

/// How many columns the gateway tells.
const TOLD: usize = 21;

/// The columns that the gateway tells.
fn told(
    about: Option<&CallRecord>,
    common: &mut Common,
    into: &mut Vec<Value>,
) -> Result<(), StoreError> {
    let Some(about) = about else {
        let none = (0..TOLD).map(|column| match column {
            // Whether a kept answer was given.
            17 => Value::Switch(false),
            // The attempt, the upstream's cost, times and the status: a server wants to know of what sort.
            1 | 12 | 15 | 16 | 18 => Value::Number(None),
            _ => Value::Text(None),
        });
        into.extend(none);
        return Ok(());
    };
    let lines = about
        .lines
        .as_ref()
        .map(|lines| row::to_json(&LinesText(lines)));
    let flags = Some(about.flags).filter(|flags| !flags.is_empty());
    let (version, sha256) = about.price.as_ref().map(PriceMark::texts).unzip();
    into.extend::<[Value; TOLD]>([
        about.request.to_string().into(),
        about.attempt.into(),
        common.project.of(about.project, |id| id.to_string()).into(),
        (about.lineage)
            .map(|id| common.lineage.of(id, |id| id.to_string()))
            .into(),
        (about.token)
            .map(|id| common.token.of(id, |id| id.to_string()))
            .into(),
        Arc::clone(&about.route).into(),
        Arc::clone(&about.provider).into(),
        Arc::clone(&about.model_requested).into(),
        about.model_served.as_ref().map(Arc::clone).into(),
        lines.transpose()?.into(),
        flags.map(flags_text).transpose()?.into(),
        (about.bound_method)
            .map(|method| common.bound_method.of(method, |method| method))
            .into(),
        about.upstream_cost.map(Amount::units).into(),
        version.into(),
        sha256.into(),
        millis(about.started_at).into(),
        count(about.duration_ms).into(),
        about.from_cache.into(),
        about.status.map(i64::from).into(),
        Some(about.method)
            .filter(|method| !method.is_empty())
            .map(|method| common.method.of(method, |method| method))
            .into(),
        about.markup.map(|markup| markup.to_string()).into(),
    ]);
    Ok(())
}

impl PriceMark {
    fn texts(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.version), Arc::clone(&self.sha256))
    }
}

fn flags_text(flags: Flags) -> Result<String, StoreError> {
    let names: Vec<_> = flags
        .iter()
        .map(tollkeep_types::usage::Flag::name)
        .collect();
    row::to_json(&names)
}

/// Lines as records have them: counts by the names of classes and units.
struct LinesText<'l>(&'l Lines);

#[derive(Serialize)]
struct LineText<'l> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    or_dearer: Option<&'l str>,
    service: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    modifiers: Vec<String>,
    usage: Counts<'l>,
}

struct Counts<'l>(&'l Usage);

impl Serialize for LinesText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(line_text))
    }
}

fn line_text(line: &Line) -> LineText<'_> {
    let modifiers = line.modifiers.iter();
    LineText {
        model: line.model.as_deref(),
        or_dearer: line.or_dearer.as_deref(),
        service: line.service.name(),
        modifiers: modifiers
            .map(|(kind, value)| format!("{kind}:{value}"))
            .collect(),
        usage: Counts(&line.usage),
    }
}

impl Serialize for Counts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let classes = self
            .0
            .iter()
            .map(|(class, count)| (Cow::Borrowed(class.name()), count));
        let units = self
            .0
            .units()
            .map(|(unit, count)| (Cow::Borrowed(unit.name()), count));
        let images = self.0.images().into_iter();
        let images =
            images.map(|images| (Cow::Owned(format!("image:{}", images.sort)), images.count));
        serializer.collect_map(classes.chain(units).chain(images))
    }
}
