//! Receipts: made of usage records that are on disk already, each behind the one before it in a
//! chain of its tenant and of this life of the process.
//!
//! A chain goes on only when the receipt before is kept, so it has no gaps. What a process that ends
//! leaves without a receipt, the next one finds.

use super::Base;
use super::receipt_keys::ReceiptKeys;
use super::runtime::Live;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tollkeep_config::settings::ReceiptsMode;
use tollkeep_crypto::sha256;
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::price::Book;
use tollkeep_ledger::receipt::{PaidText, PriceText, ProviderText, Receipt, ReceiptFault};
use tollkeep_ledger::row::{Pot, Quality};
use tollkeep_store::ledger::{NewReceipt, UsageFilter, UsageRecord};
use tollkeep_store::{PageRequest, Scope, Store, StoreError};
use tollkeep_types::{Clock, LineageId, RequestId, TenantId, WallMillis};

/// How long receipts are kept: 90 days.
const KEPT_MS: u64 = 90 * 86_400_000;
/// How often calls without a receipt are looked for, and how many at a time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const AT_A_TIME: u32 = 200;
/// How far back they are looked for: a day at start, then what may have been written late.
const AT_START_MS: u64 = 86_400_000;
const LATE_MS: u64 = 10 * 60_000;
/// At which of these looks the keys are read, which another replica may have made.
const KEYS_EVERY: u64 = 2;
/// At which of these looks old ones are deleted.
const FORGET_EVERY: u64 = 600;
/// Whoever makes receipts of all calls, of several processes.
const LEASE: &str = "receipts";
const LEASE_TIME: Duration = Duration::from_secs(15);
/// How often others may be quicker with the same receipt.
const TRIES: u32 = 5;
/// Price tables in memory at most.
const TABLES_MAX: usize = 4;
/// When a receipt that somebody waits for is looked for again.
const AWAITED_MS: [u64; 8] = [8, 12, 20, 40, 80, 160, 320, 640];
/// What comes before the first of a chain.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What makes receipts.
pub(crate) struct Receipts {
    store: Store,
    clock: Arc<dyn Clock>,
    live: Arc<Live>,
    keys: Arc<ReceiptKeys>,
    issuer: String,
    /// This life of this process.
    chain: String,
    /// Tables without prices of the operator's own, by their hashes, the last one that was needed last.
    tables: Mutex<Vec<Arc<Book>>>,
    /// The end of each tenant's chain.
    ends: Mutex<HashMap<TenantId, (u64, String)>>,
}

impl Receipts {
    /// With these keys.
    pub(crate) fn new(
        base: &Base,
        store: &Store,
        live: &Arc<Live>,
        keys: &Arc<ReceiptKeys>,
    ) -> Self {
        let (mut place, mut life) = ([0; 16], [0; 8]);
        base.entropy.fill(&mut place);
        base.entropy.fill(&mut life);
        Self {
            store: store.clone(),
            clock: Arc::clone(&base.clock),
            live: Arc::clone(live),
            keys: Arc::clone(keys),
            issuer: "tollkeep".to_owned(),
            chain: format!(
                "{}.{}",
                tollkeep_types::ReplicaId::from_bytes(place),
                u64::from_be_bytes(life) >> 12
            ),
            tables: Mutex::default(),
            ends: Mutex::default(),
        }
    }

    /// The receipts of a request that a token of this line made, as JSON; `None` if there are none.
    ///
    /// # Errors
    /// The store.
    pub(crate) async fn of_request(
        &self,
        whose: (TenantId, LineageId),
        request: RequestId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let texts = self.texts(whose, request).await?;
        let texts: Vec<_> = texts.into_iter().map(|(_, text)| text).collect();
        let body = serde_json::json!({ "receipts": texts });
        Ok((!texts.is_empty()).then(|| body.to_string().into_bytes()))
    }

    /// The receipt of an attempt that has just ended, once its record is kept.
    pub(crate) async fn awaited(
        &self,
        whose: (TenantId, LineageId),
        request: RequestId,
        attempt: u32,
    ) -> Option<String> {
        for wait_ms in AWAITED_MS {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            match self.texts(whose, request).await {
                Ok(texts) => {
                    let found = texts.into_iter().find(|(of, _)| *of == attempt);
                    if let Some((_, text)) = found {
                        return Some(text);
                    }
                }
                Err(error) => {
                    tracing::warn!("A receipt can't be given: {error}");
                    return None;
                }
            }
        }
        None
    }

    /// The receipts of a request, by its attempts.
    async fn texts(
        &self,
        (tenant, lineage): (TenantId, LineageId),
        request: RequestId,
    ) -> Result<Vec<(u32, String)>, StoreError> {
        let scope = Scope::Tenant(tenant);
        let filter = UsageFilter {
            request: Some(request),
            lineage: Some(lineage),
            ..UsageFilter::default()
        };
        for _ in 0..TRIES {
            let page = PageRequest {
                limit: AT_A_TIME,
                after: None,
            };
            let records = self.store.ledger();
            let records = records.usage_records(scope, &filter, &page).await?.rows;
            let mut kept: HashMap<_, _> = self
                .store
                .receipts_of(scope, request)
                .await?
                .into_iter()
                .collect();
            // Calls that no budget counts have no receipt.
            let mut wanted = records;
            wanted.retain(|record| record.hold.is_some());
            wanted.sort_by_key(|record| record.attempt);
            let missing: Vec<_> = wanted
                .iter()
                .filter_map(|record| missing(record, &kept))
                .collect();
            if missing.is_empty() {
                let mut texts = Vec::new();
                for record in &wanted {
                    let attempt = record.attempt.unwrap_or(1);
                    let both = [kept.remove(&record.id), kept.remove(&corrected(record))];
                    texts.extend(both.into_iter().flatten().map(|text| (attempt, text)));
                }
                return Ok(texts);
            }
            // If another process was quicker, its receipts are found the next time.
            self.issue(&missing).await?;
        }
        Err(StoreError::Unavailable(
            "receipts of that request are made elsewhere".to_owned(),
        ))
    }

    /// Makes receipts of records, and keeps them. Gives whether they are kept: not if one of the
    /// records has one already.
    async fn issue(&self, records: &[Wanted<'_>]) -> Result<bool, StoreError> {
        let mut ends = self.ends.lock().await;
        let mut next: HashMap<TenantId, (u64, String)> = HashMap::new();
        let key = self.keys.signer();
        let mut all = Vec::with_capacity(records.len());
        for Wanted { record, adj } in records {
            let Some(request) = record.request else {
                continue;
            };
            let end = match next.entry(record.tenant) {
                Entry::Occupied(end) => end.into_mut(),
                Entry::Vacant(place) => {
                    let end = ends.get(&record.tenant).cloned();
                    place.insert(end.unwrap_or((0, NOTHING.to_owned())))
                }
            };
            let table = self.table(record.price_sha256.as_deref()).await?;
            let mut receipt = self.receipt((record, table.as_deref()), request, end);
            receipt.adj.clone_from(adj);
            let text = key.sign(receipt.payload().as_bytes());
            *end = (receipt.seq, hash(&text));
            all.push(NewReceipt {
                id: match adj {
                    Some(_) => corrected(record),
                    None => record.id.clone(),
                },
                record: record.id.clone(),
                tenant: record.tenant,
                request,
                attempt: record.attempt.unwrap_or(1),
                chain: receipt.chain,
                seq: receipt.seq,
                text,
            });
        }
        let kept = all.is_empty() || self.store.keep_receipts(all).await?;
        if kept {
            ends.extend(next);
        }
        Ok(kept)
    }

    /// The table that a record names; `None` if nobody has it any more.
    async fn table(&self, sha256: Option<&str>) -> Result<Option<Arc<Book>>, StoreError> {
        let Some(sha256) = sha256 else {
            return Ok(None);
        };
        let mut tables = self.tables.lock().await;
        let is_it = |table: &Arc<Book>| table.version().1 == sha256;
        if let Some(found) = tables.iter().rposition(is_it) {
            let found = tables.remove(found);
            tables.push(Arc::clone(&found));
            return Ok(Some(found));
        }
        let Some(found) = self.live.pricing.table(sha256).await? else {
            return Ok(None);
        };
        let found = Arc::new(found);
        if tables.len() >= TABLES_MAX {
            tables.remove(0);
        }
        tables.push(Arc::clone(&found));
        Ok(Some(found))
    }

    fn receipt(
        &self,
        (record, table): (&UsageRecord, Option<&Book>),
        request: RequestId,
        end: &(u64, String),
    ) -> Receipt {
        let attempt = record.attempt.unwrap_or(1);
        let lines = record.lines.as_deref();
        let released = record.lines.is_none()
            && record.quality == Quality::Reported
            && record.charge.cost.is_zero();
        let mut receipt = Receipt {
            issuer: self.issuer.clone(),
            issued_at: self.clock.wall().0 / 1000,
            id: match attempt {
                0 | 1 => request.to_string(),
                more => format!("{request}.{more}"),
            },
            subject: record.token.map(|id| id.to_string()),
            chain: self.chain.clone(),
            seq: end.0.saturating_add(1),
            prev: end.1.clone(),
            method: record.method.clone(),
            route: record.route.clone().unwrap_or_default(),
            model_asked: record.model_requested.clone().unwrap_or_default(),
            model_served: record.model_served.clone(),
            provider: self.provider(record.provider.as_deref().unwrap_or_default()),
            quoted_at: record.started_at.unwrap_or(record.at),
            lines: lines.and_then(|lines| serde_json::from_str(lines).ok()),
            price: None,
            cost: record.charge.cost.units(),
            bound: record.bound.cost.units(),
            upstream: record.upstream_cost.map(Amount::units),
            paid: paid(record),
            hold: record.hold.map(|id| id.to_string()),
            state: if released { "released" } else { "settled" }.to_owned(),
            quality: match record.quality {
                Quality::Reported => "reported",
                Quality::Estimated => "estimated",
                Quality::Unknown => "unknown",
            }
            .to_owned(),
            corrected: record.is_corrected,
            adj: None,
        };
        if let (Some(version), Some(sha256)) = (&record.price_version, &record.price_sha256) {
            receipt.price = Some(PriceText {
                version: version.clone(),
                sha256: sha256.clone(),
                own: false,
            });
            // Of a table that nobody has it is not said that it alone makes the cost.
            let own = table.is_none_or(|table| is_own(&receipt, table));
            if let Some(price) = &mut receipt.price {
                price.own = own;
            }
        }
        receipt
    }

    fn provider(&self, name: &str) -> ProviderText {
        let settings = self.live.settings_now();
        let mut all = settings.providers.iter();
        let found = all.find(|provider| provider.name == name);
        ProviderText {
            name: name.to_owned(),
            kind: found.map_or("", |of| of.kind.name()).to_owned(),
            self_hosted: found.is_some_and(|of| of.self_hosted),
        }
    }

    /// Makes receipts of all calls where that is asked for, and forgets old ones.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut from = self.ago(AT_START_MS);
        for tick in 0_u64.. {
            ticks.tick().await;
            if tick.is_multiple_of(KEYS_EVERY)
                && let Err(error) = self.keys.refresh().await
            {
                tracing::warn!("The keys of receipts can't be read: {error:#}");
            }
            if tick.is_multiple_of(FORGET_EVERY)
                && let Err(error) = self.store.forget_receipts(self.ago(KEPT_MS)).await
            {
                tracing::warn!("Old receipts can't be deleted: {error}");
            }
            let all = self.live.settings_now().ledger.receipts == ReceiptsMode::All;
            if !all {
                continue;
            }
            match self.make_all(from).await {
                Ok(true) => from = self.ago(LATE_MS).max(from),
                Ok(false) => {}
                Err(error) => tracing::warn!("Receipts can't be made: {error}"),
            }
        }
    }

    fn ago(&self, ms: u64) -> WallMillis {
        WallMillis(self.clock.wall().0.saturating_sub(ms))
    }

    /// Whether none is left to be made.
    async fn make_all(&self, from: WallMillis) -> Result<bool, StoreError> {
        if !self
            .store
            .take_lease(LEASE, &self.chain, LEASE_TIME)
            .await?
        {
            return Ok(false);
        }
        loop {
            let records = self.store.records_without_receipt(from, AT_A_TIME).await?;
            let all: Vec<_> = records.iter().map(Wanted::first).collect();
            // One that was asked for meanwhile has its own by now.
            if !self.issue(&all).await? || all.len() < AT_A_TIME as usize {
                return Ok(true);
            }
        }
    }
}

/// A record that needs a receipt.
struct Wanted<'r> {
    record: &'r UsageRecord,
    /// The hash of the one it has, which says what was believed before.
    adj: Option<String>,
}

impl<'r> Wanted<'r> {
    const fn first(record: &'r UsageRecord) -> Self {
        Self { record, adj: None }
    }
}

/// What a record has no receipt of: itself, or that its cost was put right since.
fn missing<'r>(record: &'r UsageRecord, kept: &HashMap<String, String>) -> Option<Wanted<'r>> {
    let Some(text) = kept.get(&record.id) else {
        return Some(Wanted::first(record));
    };
    let is_told = kept.contains_key(&corrected(record)) || says_it_is_corrected(text);
    (record.is_corrected && !is_told).then(|| Wanted {
        record,
        adj: Some(hash(text)),
    })
}

/// Under what the receipt is kept that puts right the one of this record.
fn corrected(record: &UsageRecord) -> String {
    format!("{}.adj", record.id)
}

fn says_it_is_corrected(text: &str) -> bool {
    let payload = text.split('.').nth(1).unwrap_or_default();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload);
    let receipt = payload
        .ok()
        .and_then(|payload| Receipt::read(&payload).ok());
    receipt.is_some_and(|receipt| receipt.corrected)
}

/// What prepaid accounts gave for a call.
fn paid(record: &UsageRecord) -> Vec<PaidText> {
    let mut paid = Vec::new();
    for cover in &record.charged {
        if let Pot::Account(account) = cover.pot
            && !cover.taken.is_zero()
        {
            paid.push(PaidText {
                account: account.to_string(),
                unit: match cover.measure {
                    Measure::Cost => "usd",
                    Measure::Tokens | Measure::OutputTokens | Measure::BillableTokens => "tokens",
                    Measure::Requests => "requests",
                }
                .to_owned(),
                amount: cover.taken.units(),
            });
        }
    }
    paid
}

/// Whether the table alone does not make this cost.
fn is_own(receipt: &Receipt, table: &Book) -> bool {
    matches!(
        receipt.reckon(table),
        Err(ReceiptFault::OtherCost { .. } | ReceiptFault::NoCost(_))
    )
}

fn hash(text: &str) -> String {
    let hash = sha256(&[text.as_bytes()]);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
