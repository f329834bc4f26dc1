//! Usage records: one for each call that ended, with what was used, what it cost, and by what it was
//! priced. Never a prompt, an answer or a secret.

use super::columns::{QUALITIES, charge_text, covers_text, word};
use super::kept::KeptUsage;
use super::rows::Rows;
use super::{Failure, Job};
use crate::query::{Bulk, Connection, Value, query};
use crate::row::{count, millis};
use crate::{StoreError, row};
use serde_json::{Map, json};
use tollkeep_ledger::amount::{Amount, Charge};
use tollkeep_ledger::row::Quality;
use tollkeep_types::usage::{Flags, Line, Lines};
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
    /// The name of the route.
    pub route: String,
    /// The name of the provider.
    pub provider: String,
    /// The model that was asked for, and the one that answered.
    pub model_requested: String,
    /// The one whose price was looked up. It is not written.
    pub model_priced: String,
    /// Nothing where none answered.
    pub model_served: Option<String>,
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
    pub version: String,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

const COLUMNS: usize = 33;

const HEAD: &str = "INSERT INTO usage_records (id, tenant_id, at, quality, bound, cost, tokens,
      output_tokens, billable_tokens, requests, charged, hold_version, is_swept, is_corrected,
      request_id, attempt, project_id, lineage_id, token_id, route, provider, model_requested,
      model_served, lines, flags, bound_method, upstream_cost, price_version, price_sha256,
      started_at, duration_ms, from_cache, status)";

static RECORDS: Bulk = Bulk::new(COLUMNS, HEAD, "");

/// For calls without a hold, which may be told twice.
pub(super) static RECORDS_ONCE: Bulk = Bulk::new(COLUMNS, HEAD, " ON CONFLICT (id) DO NOTHING");

const CORRECT: &str = "UPDATE usage_records SET cost = $2, tokens = $3, output_tokens = $4,
    billable_tokens = $5, requests = $6, charged = $7, is_swept = $8, is_corrected = $9
  WHERE id = $1";

const TELL: &str = "UPDATE usage_records SET request_id = $2, attempt = $3, project_id = $4,
    lineage_id = $5, token_id = $6, route = $7, provider = $8, model_requested = $9,
    model_served = $10, lines = $11, flags = $12, bound_method = $13, upstream_cost = $14,
    price_version = $15, price_sha256 = $16, started_at = $17, duration_ms = $18,
    from_cache = $19, status = $20
  WHERE id = $1";

/// Writes the records of holds that ended.
pub(super) async fn keep(
    connection: &mut Connection,
    jobs: &[Job],
    rows: &Rows,
) -> Result<(), Failure> {
    let mut new = Vec::new();
    for (hold, was_stored, kept) in rows.usage.changed() {
        let Some(kept) = kept else {
            continue;
        };
        let about = jobs.get(kept.job).and_then(|job| job.about.as_deref());
        if !was_stored {
            let mut record = of_hold(kept, rows.seen)?;
            record.extend(told(about)?);
            new.append(&mut record);
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
        if about.is_some() {
            let mut tell = query(TELL).bind(hold.to_string());
            for value in told(about)? {
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

/// The first columns of a record: what the ledger itself knows.
fn of_hold(kept: &KeptUsage, at: WallMillis) -> Result<Vec<Value>, StoreError> {
    let row = &kept.row;
    let mut values = Vec::with_capacity(COLUMNS);
    values.extend::<[Value; 5]>([
        row.hold.to_string().into(),
        kept.tenant.to_string().into(),
        millis(at).into(),
        word(QUALITIES, row.quality).into(),
        charge_text(&row.bound).into(),
    ]);
    values.extend(sums(&row.charge));
    values.extend::<[Value; 4]>([
        covers_text(&row.charged)?.into(),
        row.row.map(i64::from).into(),
        row.swept.into(),
        row.corrected.into(),
    ]);
    Ok(values)
}

/// The columns of a record of a call without a hold.
pub(super) fn of_call(record: &CallRecord, at: WallMillis) -> Result<Vec<Value>, StoreError> {
    let mut values = Vec::with_capacity(COLUMNS);
    values.extend::<[Value; 5]>([
        format!("{}.{}", record.request, record.attempt).into(),
        record.tenant.to_string().into(),
        millis(at).into(),
        word(QUALITIES, record.quality).into(),
        charge_text(&record.bound).into(),
    ]);
    values.extend(sums(&record.charge));
    values.extend::<[Value; 4]>(["[]".into(), None::<i64>.into(), false.into(), false.into()]);
    values.extend(told(Some(record))?);
    Ok(values)
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

/// The columns that the gateway tells.
fn told(about: Option<&CallRecord>) -> Result<[Value; 19], StoreError> {
    let text = |of: fn(&CallRecord) -> String| -> Value { about.map(of).into() };
    let number = |of: fn(&CallRecord) -> Option<i64>| -> Value { about.and_then(of).into() };
    let price = about.and_then(|about| about.price.as_ref());
    let lines = about.and_then(|about| about.lines.as_ref());
    let flags = about
        .map(|about| about.flags)
        .filter(|flags| !flags.is_empty());
    Ok([
        text(|about| about.request.to_string()),
        number(|about| Some(about.attempt.into())),
        text(|about| about.project.to_string()),
        about
            .and_then(|about| about.lineage)
            .map(|id| id.to_string())
            .into(),
        about
            .and_then(|about| about.token)
            .map(|id| id.to_string())
            .into(),
        text(|about| about.route.clone()),
        text(|about| about.provider.clone()),
        text(|about| about.model_requested.clone()),
        about.and_then(|about| about.model_served.clone()).into(),
        lines.map(lines_text).transpose()?.into(),
        flags.map(flags_text).transpose()?.into(),
        about.and_then(|about| about.bound_method).into(),
        number(|about| Some(about.upstream_cost?.units())),
        price.map(|price| price.version.as_str()).into(),
        price.map(|price| price.sha256.as_str()).into(),
        number(|about| Some(millis(about.started_at))),
        number(|about| Some(count(about.duration_ms))),
        about.is_some_and(|about| about.from_cache).into(),
        number(|about| about.status.map(i64::from)),
    ])
}

fn flags_text(flags: Flags) -> Result<String, StoreError> {
    let names: Vec<_> = flags
        .iter()
        .map(tollkeep_types::usage::Flag::name)
        .collect();
    row::to_json(&names)
}

/// Lines as records have them: counts by the names of classes and units.
fn lines_text(lines: &Lines) -> Result<String, StoreError> {
    let lines: Vec<_> = lines.iter().map(line_json).collect();
    row::to_json(&lines)
}

fn line_json(line: &Line) -> serde_json::Value {
    let mut told = Map::new();
    if let Some(model) = &line.model {
        told.insert("model".to_owned(), json!(model));
    }
    if let Some(model) = &line.or_dearer {
        told.insert("or_dearer".to_owned(), json!(model));
    }
    told.insert("service".to_owned(), json!(line.service.name()));
    let modifiers = line.modifiers.iter();
    let modifiers: Vec<_> = modifiers
        .map(|(kind, value)| format!("{kind}:{value}"))
        .collect();
    if !modifiers.is_empty() {
        told.insert("modifiers".to_owned(), json!(modifiers));
    }
    let mut usage = Map::new();
    for (class, count) in line.usage.iter() {
        usage.insert(class.name().to_owned(), json!(count));
    }
    for (unit, count) in line.usage.units() {
        usage.insert(unit.name().to_owned(), json!(count));
    }
    if let Some(images) = line.usage.images() {
        usage.insert(format!("image:{}", images.sort), json!(images.count));
    }
    told.insert("usage".to_owned(), usage.into());
    told.into()
}
