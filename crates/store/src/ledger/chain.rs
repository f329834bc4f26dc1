//! Entries and their postings, each bound to the one before by a hash over it and all of its own.

use super::columns::{account_name, entry_kind_word};
use super::kept::{AccountKey, KeptEntry};
use super::load::Chain;
use super::rows::Rows;
use super::{Failure, Job};
use crate::query::{Bulk, Connection, Value};
use crate::row::millis;
use tollkeep_crypto::sha256;
use tollkeep_types::WallMillis;

static ENTRIES: Bulk = Bulk::new(
    8,
    "INSERT INTO entries (number, id, tenant_id, kind, corrects, request_id, at, hash)",
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
    pub(super) postings: &'a [(String, i64)],
}

impl Link<'_> {
    pub(super) fn hash(&self, before: &[u8; 32]) -> [u8; 32] {
        let mut text = format!(
            "tollkeep-entry/1\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n",
            self.number,
            self.id,
            self.tenant,
            self.kind,
            self.corrects.unwrap_or("-"),
            self.request.unwrap_or("-"),
            self.at.0,
        );
        for (account, amount) in self.postings {
            text.push_str(&format!("{account} {amount}\n"));
        }
        sha256(&[before, text.as_bytes()])
    }
}

/// Writes new entries behind the end of the chain.
pub(super) async fn keep(
    connection: &mut Connection,
    jobs: &[Job],
    rows: &Rows,
    chain: &mut Chain,
) -> Result<(), Failure> {
    let (mut entries, mut postings) = (Vec::new(), Vec::new());
    let new = rows.entries.changed();
    for kept in new.filter_map(|(_, _, kept)| kept?.as_ref()) {
        link(kept, jobs, rows.seen, chain, (&mut entries, &mut postings));
    }
    if !entries.is_empty() {
        ENTRIES.execute(entries, connection).await?;
        POSTINGS.execute(postings, connection).await?;
    }
    Ok(())
}

fn link(
    kept: &KeptEntry,
    jobs: &[Job],
    at: WallMillis,
    chain: &mut Chain,
    into: (&mut Vec<Value>, &mut Vec<Value>),
) {
    let (entries, postings) = into;
    let about = jobs.get(kept.job).and_then(|job| job.about.as_deref());
    let request = about.map(|about| about.request.to_string());
    let corrects = kept.entry.corrects().map(|id| id.to_string());
    let (id, tenant) = (kept.entry.id().to_string(), kept.tenant.to_string());
    let named: Vec<(String, i64)> = kept
        .entry
        .postings()
        .iter()
        .map(|posting| {
            let key = AccountKey::of(posting.account, kept.tenant);
            (account_name(key).0, posting.by.units())
        })
        .collect();
    let kind = entry_kind_word(kept.entry.kind());
    chain.entries = chain.entries.saturating_add(1);
    let link = Link {
        number: chain.entries,
        id: &id,
        tenant: &tenant,
        kind,
        corrects: corrects.as_deref(),
        request: request.as_deref(),
        at,
        postings: &named,
    };
    chain.end = link.hash(&chain.end);
    for (line, (account, amount)) in (0_i64..).zip(named) {
        postings.extend::<[Value; 5]>([
            chain.entries.into(),
            line.into(),
            tenant.as_str().into(),
            account.into(),
            amount.into(),
        ]);
    }
    entries.extend::<[Value; 8]>([
        chain.entries.into(),
        id.into(),
        tenant.into(),
        kind.into(),
        corrects.into(),
        request.into(),
        millis(at).into(),
        chain.end.to_vec().into(),
    ]);
}
