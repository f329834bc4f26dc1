//! Entries and their postings, each bound to the one before by a hash over it and all of its own.
//!
//! What nearly every call makes, an entry of what its tenant owes upstreams, is one row: it says the cost,
//! and its two postings follow from that. All others have their postings as rows.

use super::Failure;
use super::columns::{account_name, entry_kind_word, for_provider};
use super::kept::{AccountKey, KeptEntry};
use super::load::Chain;
use super::rows::Rows;
use crate::query::{Bulk, Connection, Repeated, Value};
use crate::row::millis;
use smallvec::SmallVec;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use tollkeep_crypto::sha256;
use tollkeep_ledger::posting::{Account, Entry, EntryKind};
use tollkeep_types::{TenantId, WallMillis};

static ENTRIES: Bulk = Bulk::new(
    10,
    "INSERT INTO entries (number, id, tenant_id, kind, corrects, request_id, at, hash, cost,
      provider)",
    "",
);

static POSTINGS: Bulk = Bulk::new(
    5,
    "INSERT INTO postings (entry, line, tenant_id, account, amount)",
    "",
);

/// An entry as it is hashed: its columns, a line each, then its postings.
pub(super) struct Link<'a> {
    pub(super) number: i64,
    pub(super) id: &'a str,
    pub(super) tenant: &'a str,
    pub(super) kind: &'a str,
    pub(super) corrects: Option<&'a str>,
    pub(super) request: Option<&'a str>,
    pub(super) at: WallMillis,
    pub(super) postings: &'a [(Arc<str>, i64)],
}

impl Link<'_> {
    pub(super) fn hash(&self, before: &[u8; 32]) -> [u8; 32] {
        sha256(&[before, self.text().as_bytes()])
    }

    fn text(&self) -> String {
        let mut text = String::with_capacity(512);
        // A text takes whatever is written.
        let _always = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        writeln!(
            text,
            "tollkeep-entry/1\n{}\n{}\n{}\n{}\n{}\n{}\n{}",
            self.number,
            self.id,
            self.tenant,
            self.kind,
            self.corrects.unwrap_or("-"),
            self.request.unwrap_or("-"),
            self.at.0,
        )?;
        for (account, amount) in self.postings {
            writeln!(text, "{account} {amount}")?;
        }
        Ok(())
    }
}

/// The cost of an entry that moves just that from a tenant's `payable` to its `upstream_cost`.
fn cost_of(entry: &Entry) -> Option<i64> {
    let [from, to] = entry.postings() else {
        return None;
    };
    let is_cost = from.account == Account::Payable && to.account == Account::UpstreamCost;
    let cost = to.by.units();
    (is_cost && entry.kind() == EntryKind::Settle && cost > 0).then_some(cost)
}

/// The postings of an entry that says its cost alone.
pub(super) fn postings_of_cost(
    tenant: &str,
    provider: Option<&str>,
    cost: i64,
) -> [(Arc<str>, i64); 2] {
    let of = for_provider(tenant.to_owned(), provider);
    [
        (format!("payable:{of}").into(), cost.saturating_neg()),
        (format!("upstream_cost:{of}").into(), cost),
    ]
}

/// Rows to be written, and the texts that many of them have.
#[derive(Default)]
struct Links {
    entries: Vec<Value>,
    postings: Vec<Value>,
    tenant: Repeated<TenantId>,
    kind: Repeated<EntryKind>,
    /// The names of what entries move something from and to, line by line.
    accounts: [Repeated<AccountKey>; 2],
}

/// Writes new entries behind the end of the chain.
pub(super) async fn keep(
    connection: &mut Connection,
    rows: &Rows,
    chain: &mut Chain,
) -> Result<(), Failure> {
    let mut links = Links::default();
    let new = rows.entries.changed();
    for kept in new.filter_map(|(_, _, kept)| kept?.as_ref()) {
        links.add(kept, rows.seen, chain);
    }
    if !links.entries.is_empty() {
        ENTRIES.execute(links.entries, connection).await?;
    }
    if !links.postings.is_empty() {
        POSTINGS.execute(links.postings, connection).await?;
    }
    Ok(())
}

impl Links {
    fn add(&mut self, kept: &KeptEntry, at: WallMillis, chain: &mut Chain) {
        let request = kept.request.map(|id| id.to_string());
        let corrects = kept.entry.corrects().map(|id| id.to_string());
        let id = kept.entry.id().to_string();
        let tenant = self.tenant.of(kept.tenant, |id| id.to_string());
        let kind = self.kind.of(kept.entry.kind(), entry_kind_word);
        let mut postings: SmallVec<[(Arc<str>, i64); 4]> = SmallVec::new();
        let mut known = self.accounts.iter_mut();
        for posting in kept.entry.postings() {
            let key = AccountKey::of(posting.account, kept.tenant, kept.provider.as_ref());
            let name = match known.next() {
                Some(known) => known.of(key, |key| account_name(&key).0),
                None => account_name(&key).0.into(),
            };
            postings.push((name, posting.by.units()));
        }
        chain.entries = chain.entries.saturating_add(1);
        let link = Link {
            number: chain.entries,
            id: &id,
            tenant: &tenant,
            kind: &kind,
            corrects: corrects.as_deref(),
            request: request.as_deref(),
            at,
            postings: &postings,
        };
        chain.end = link.hash(&chain.end);
        chain.made.push((kept.job, chain.end));
        let cost = cost_of(&kept.entry);
        let rows = (0_i64..).zip(postings).filter(|_| cost.is_none());
        for (line, (account, amount)) in rows {
            self.postings.extend::<[Value; 5]>([
                chain.entries.into(),
                line.into(),
                Arc::clone(&tenant).into(),
                account.into(),
                amount.into(),
            ]);
        }
        self.entries.extend::<[Value; 10]>([
            chain.entries.into(),
            id.into(),
            tenant.into(),
            kind.into(),
            corrects.into(),
            request.into(),
            millis(at).into(),
            chain.end.to_vec().into(),
            cost.into(),
            kept.provider.clone().filter(|_| cost.is_some()).into(),
        ]);
    }
}
