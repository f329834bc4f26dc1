//! `/api/v1/security/ip-denylist` and `ip-allowlist`, also below `/v0/management`: addresses denied
//! or allowed while the gateway runs (EDGE-67).

use crate::State;
use crate::authn::{Operator, Right};
use crate::cursor;
use crate::members::Members;
use crate::problem::{Fault, Problem};
use crate::router::{Answer, created, no_content, ok};
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State as Of};
use ipnet::IpNet;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tollkeep_audit::{Action, Event, Key, Value};
use tollkeep_policy::ip_list::{covers_loopback, is_wide, parse_denied, parse_network};
use tollkeep_store::{After, IpEntry, IpEntryRef, IpListName, NewIpEntry, PutIpEntry};
use tollkeep_types::WallMillis;

/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 200;
/// Longest life of an entry that has one: ten years.
const TTL_MS_MAX: u64 = 3_650 * 86_400_000;

/// `POST …/security/ip-denylist`
pub(crate) async fn deny(
    state: Of<Arc<State>>,
    operator: Extension<Operator>,
    body: Bytes,
) -> Answer {
    add(state, operator, IpListName::Deny, &body).await
}

/// `POST …/security/ip-allowlist`
pub(crate) async fn allow(
    state: Of<Arc<State>>,
    operator: Extension<Operator>,
    body: Bytes,
) -> Answer {
    add(state, operator, IpListName::Allow, &body).await
}

/// `GET …/security/ip-denylist`
pub(crate) async fn list_denied(
    state: Of<Arc<State>>,
    operator: Extension<Operator>,
    query: Query<BTreeMap<String, String>>,
) -> Answer {
    list(&state.0, &operator.0, IpListName::Deny, query.0)
}

/// `GET …/security/ip-allowlist`
pub(crate) async fn list_allowed(
    state: Of<Arc<State>>,
    operator: Extension<Operator>,
    query: Query<BTreeMap<String, String>>,
) -> Answer {
    list(&state.0, &operator.0, IpListName::Allow, query.0)
}

/// `DELETE …/security/ip-denylist/{id or addresses}`
pub(crate) async fn undeny(
    state: Of<Arc<State>>,
    operator: Extension<Operator>,
    entry: Path<String>,
) -> Answer {
    remove(state, operator, IpListName::Deny, &entry.0).await
}

/// `DELETE …/security/ip-allowlist/{id or addresses}`
pub(crate) async fn disallow(
    state: Of<Arc<State>>,
    operator: Extension<Operator>,
    entry: Path<String>,
) -> Answer {
    remove(state, operator, IpListName::Allow, &entry.0).await
}

async fn add(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    list: IpListName,
    body: &[u8],
) -> Answer {
    operator.check(Right::Operate)?;
    let now = state.parts.store.now();
    let (new, force) = read(body, list, &operator, now)?;
    if !force && let Some(why) = needs_force(&new, &operator) {
        return Err(Problem::conflict(format!(
            "{why} Say `force: true` if that is meant."
        )));
    }
    state.check_audit()?;
    let put = state.parts.store.put_ip_entry(new).await?;
    state.parts.runtime.apply_overrides();
    let (PutIpEntry::Made(entry) | PutIpEntry::Updated(entry)) = &put;
    let event = told(&state, &operator, Action::IpListAdd, entry);
    state.record(event).await?;
    let shown = shown(entry);
    Ok(match &put {
        PutIpEntry::Made(entry) => created(
            &format!("/api/v1/security/ip-{}list/{}", list.as_str(), entry.id),
            &shown,
        ),
        PutIpEntry::Updated(_) => ok(&shown),
    })
}

fn read(
    body: &[u8],
    list: IpListName,
    operator: &Operator,
    now: WallMillis,
) -> Result<(NewIpEntry, bool), Problem> {
    let mut members = Members::read(body)?;
    let net = address(&mut members, list);
    let reason = members.text("reason", REASON_CHARS_MAX);
    let ttl = members.duration("ttl");
    if ttl.is_some_and(|ms| !(1..=TTL_MS_MAX).contains(&ms)) {
        members.fault("ttl", "more than nothing and at most 3650d");
    }
    let force = members.take_as("force", |value| {
        value.as_bool().ok_or_else(|| "true or false".to_owned())
    });
    members.done()?;
    let new = NewIpEntry {
        list,
        net: net.ok_or_else(Problem::internal)?,
        reason: reason.filter(|reason| !reason.is_empty()),
        created_by: operator.name(),
        expires_at: ttl.map(|ms| WallMillis(now.0.saturating_add(ms))),
    };
    Ok((new, force.unwrap_or(false)))
}

/// The addresses, by either of their names.
fn address(members: &mut Members, list: IpListName) -> Option<IpNet> {
    let mut take = |name| {
        members.take_as(name, |value| {
            let text = value.as_str().ok_or("must be a string")?;
            match list {
                IpListName::Deny => parse_denied(text),
                IpListName::Allow => parse_network(text),
            }
        })
    };
    let (ip, cidr) = (take("ip"), take("cidr"));
    match (ip, cidr) {
        (Some(_), Some(_)) => members.fault("cidr", "is the same as `ip`: give one"),
        (None, None) if !members.is_faulty() => members.fault("ip", "required"),
        (_, None) | (None, _) => {}
    }
    ip.or(cidr)
}

/// Why an entry is more likely a slip than meant.
fn needs_force(new: &NewIpEntry, operator: &Operator) -> Option<&'static str> {
    if is_wide(new.net) {
        return Some("The network is wider than /8 (IPv6: /24).");
    }
    if new.list == IpListName::Allow {
        return None;
    }
    let covers_caller = |ip| new.net.contains(&ip);
    if operator.asked.client_ip.is_some_and(covers_caller) {
        return Some("The entry covers the address you call from.");
    }
    covers_loopback(new.net).then_some("The entry covers this machine's own loopback address.")
}

fn list(
    state: &State,
    operator: &Operator,
    list: IpListName,
    mut query: BTreeMap<String, String>,
) -> Answer {
    operator.check(Right::ReadDeployment)?;
    let limit: usize = match query.remove("limit") {
        None => 50,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=200).contains(limit))
            .ok_or_else(|| Problem::bad_request("limit: want 1 to 200."))?,
    };
    let cursor = query.remove("cursor");
    if let Some(unknown) = query.keys().next() {
        return Err(Problem::bad_request(format!(
            "{unknown}: unknown parameter."
        )));
    }
    let after = cursor
        .map(|cursor| cursor::read(&state.cursor_key, list.as_str(), &cursor))
        .transpose()?;
    let (entries, now) = (state.parts.store.ip_entries(), state.parts.store.now());
    let mut wanted = entries
        .iter()
        .filter(|entry| entry.list == list && entry.holds(now))
        .filter(|entry| {
            after.is_none_or(|after| (entry.created_at, entry.id) < (after.created_at, after.id))
        });
    let rows: Vec<&IpEntry> = wanted.by_ref().take(limit).collect();
    let more = wanted.next().is_some();
    let next = rows.last().filter(|_| more).map(|last| {
        let after = After {
            created_at: last.created_at,
            id: last.id,
        };
        cursor::write(&state.cursor_key, list.as_str(), &after)
    });
    let data: Vec<Json> = rows.into_iter().map(shown).collect();
    Ok(ok(
        &json!({ "data": data, "next_cursor": next, "has_more": more }),
    ))
}

async fn remove(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    list: IpListName,
    which: &str,
) -> Answer {
    operator.check(Right::Operate)?;
    let which = match which.parse() {
        Ok(id) => IpEntryRef::Id(id),
        Err(_) => IpEntryRef::Net(
            match list {
                IpListName::Deny => parse_denied(which),
                IpListName::Allow => parse_network(which),
            }
            .map_err(|message| {
                Problem::invalid(vec![Fault {
                    path: String::new(),
                    message,
                }])
            })?,
        ),
    };
    state.check_audit()?;
    let entry = state.parts.store.remove_ip_entry(list, which).await?;
    state.parts.runtime.apply_overrides();
    let event = told(&state, &operator, Action::IpListRemove, &entry);
    state.record(event).await?;
    Ok(no_content())
}

fn told<'a>(state: &State, operator: &Operator, action: Action, entry: &'a IpEntry) -> Event<'a> {
    let mut event = state
        .event(operator, action)
        .with_detail(Key::List, Value::Word(entry.list.as_str()))
        .with_detail(Key::Cidr, Value::OwnedWord(entry.net.to_string().into()));
    if let Some(reason) = &entry.reason {
        event = event.with_detail(Key::Reason, Value::Text(reason.into()));
    }
    match entry.expires_at {
        Some(end) => event.with_detail(Key::ExpiresAt, Value::OwnedWord(end.to_string().into())),
        None => event,
    }
}

/// The object of an entry (identity, section 9.4); `ip` is for the eyes of the other family.
fn shown(entry: &IpEntry) -> Json {
    let cidr = entry.net.to_string();
    let is_one = entry.net.prefix_len() == entry.net.max_prefix_len();
    let ip = if is_one {
        entry.net.addr().to_string()
    } else {
        cidr.clone()
    };
    json!({
        "id": entry.id,
        "list": entry.list.as_str(),
        "ip": ip,
        "cidr": cidr,
        "reason": entry.reason,
        "expires_at": entry.expires_at,
        "source": "runtime",
        "created_by": entry.created_by,
        "created_at": entry.created_at,
    })
}
