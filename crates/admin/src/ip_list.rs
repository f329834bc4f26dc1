//! `/api/v1/security/ip-denylist` and `ip-allowlist`, also below `/v0/management`: addresses denied
//! or allowed while the gateway runs (EDGE-67).

use crate::State;
use crate::authn::Operator;
use crate::members::Members;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, next_cursor};
use crate::problem::{Fault, Problem};
use crate::rights::Right;
use crate::router::{Answer, created, no_content, ok};
use crate::shape::{Member, choice, duration, id, switch, text, time};
use ipnet::IpNet;
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Event, Key, Value};
use tollkeep_policy::ip_list::{covers_loopback, is_wide, parse_denied, parse_network};
use tollkeep_store::{After, IpEntry, IpEntryRef, IpListName, NewIpEntry, PutIpEntry};
use tollkeep_types::WallMillis;

/// Longest life of an entry that has one: ten years.
const TTL_MS_MAX: u64 = 3_650 * 86_400_000;

const ADD: &[Member] = &[
    text("ip", 60, "The address or network"),
    text("cidr", 60, "The same"),
    text("reason", 200, "Why, for the records"),
    duration("ttl", "How long it holds; for good if not given"),
    switch(
        "force",
        "Also if it covers loopback, the caller, or very many addresses",
    ),
];

const SHOWN: &[Member] = &[
    id("id", "ipe_", "Its id"),
    choice("list", &["deny", "allow"], "The list it is on"),
    text("ip", 60, "The address, or the network"),
    text("cidr", 60, "The network"),
    text("reason", 200, "Why").or_null(),
    time("expires_at", "When it ends by itself").or_null(),
    choice("source", &["runtime"], "Where it comes from"),
    text("created_by", 100, "Who made it"),
    time("created_at", "When it was made"),
];

/// Of the list of those who may not come.
pub(crate) const DENY: &[Operation] = &[
    Operation {
        id: "ip_deny_list",
        command: "ip list",
        about: "Addresses that are denied while the gateway runs",
        method: Method::Get,
        path: "/api/v1/security/ip-denylist",
        also: Some("/v0/management/security/ip-denylist"),
        right: Right::ReadDeployment,
        change: None,
        query: &[LIMIT, CURSOR],
        body: None,
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[],
        run: |call| Box::pin(list(call, IpListName::Deny)),
    },
    Operation {
        id: "ip_deny",
        command: "ip deny",
        about: "Keep an address or network out",
        method: Method::Post,
        path: "/api/v1/security/ip-denylist",
        also: Some("/v0/management/security/ip-denylist"),
        right: Right::Operate,
        change: Some(Action::IpListAdd),
        query: &[],
        body: Some(ADD),
        answers: &[
            (201, Content::Object(&[SHOWN])),
            (200, Content::Object(&[SHOWN])),
        ],
        refusals: &[409],
        run: |call| Box::pin(add(call, IpListName::Deny)),
    },
    Operation {
        id: "ip_deny_remove",
        command: "ip remove",
        about: "Take an entry away, by its id or its addresses",
        method: Method::Delete,
        path: "/api/v1/security/ip-denylist/{*entry}",
        also: Some("/v0/management/security/ip-denylist/{*entry}"),
        right: Right::Operate,
        change: Some(Action::IpListRemove),
        query: &[],
        body: None,
        answers: &[(204, Content::None)],
        refusals: &[422],
        run: |call| Box::pin(remove(call, IpListName::Deny)),
    },
];

/// Of the list of those who may come.
pub(crate) const ALLOW: &[Operation] = &[
    Operation {
        id: "ip_allow_list",
        command: "ip list",
        about: "Addresses that are allowed while the gateway runs",
        method: Method::Get,
        path: "/api/v1/security/ip-allowlist",
        also: Some("/v0/management/security/ip-allowlist"),
        right: Right::ReadDeployment,
        change: None,
        query: &[LIMIT, CURSOR],
        body: None,
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[],
        run: |call| Box::pin(list(call, IpListName::Allow)),
    },
    Operation {
        id: "ip_allow",
        command: "ip allow",
        about: "Let an address or network in",
        method: Method::Post,
        path: "/api/v1/security/ip-allowlist",
        also: Some("/v0/management/security/ip-allowlist"),
        right: Right::Operate,
        change: Some(Action::IpListAdd),
        query: &[],
        body: Some(ADD),
        answers: &[
            (201, Content::Object(&[SHOWN])),
            (200, Content::Object(&[SHOWN])),
        ],
        refusals: &[409],
        run: |call| Box::pin(add(call, IpListName::Allow)),
    },
    Operation {
        id: "ip_allow_remove",
        command: "ip remove",
        about: "Take an entry away, by its id or its addresses",
        method: Method::Delete,
        path: "/api/v1/security/ip-allowlist/{*entry}",
        also: Some("/v0/management/security/ip-allowlist/{*entry}"),
        right: Right::Operate,
        change: Some(Action::IpListRemove),
        query: &[],
        body: None,
        answers: &[(204, Content::None)],
        refusals: &[422],
        run: |call| Box::pin(remove(call, IpListName::Allow)),
    },
];

async fn add(call: Call, list: IpListName) -> Answer {
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
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
    mut members: Members,
    list: IpListName,
    operator: &Operator,
    now: WallMillis,
) -> Result<(NewIpEntry, bool), Problem> {
    let net = address(&mut members, list);
    let reason = members.text("reason");
    let ttl = members.duration("ttl");
    if ttl.is_some_and(|ms| !(1..=TTL_MS_MAX).contains(&ms)) {
        members.fault("ttl", "more than nothing and at most 3650d");
    }
    let force = members.switch("force");
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

async fn list(call: Call, list: IpListName) -> Answer {
    let state = &call.state;
    let page = call.query.page(state, list.as_str())?;
    let (limit, after) = (usize::try_from(page.limit).unwrap_or(1), page.after);
    let (entries, now) = (state.parts.store.ip_entries(), state.parts.store.now());
    let mut wanted = entries
        .iter()
        .filter(|entry| entry.list == list && entry.holds(now))
        .filter(|entry| {
            after.is_none_or(|after| (entry.created_at, entry.id) < (after.created_at, after.id))
        });
    let rows: Vec<&IpEntry> = wanted.by_ref().take(limit).collect();
    let more = wanted.next().is_some();
    let last = rows.last().filter(|_| more).map(|last| After {
        created_at: last.created_at,
        id: last.id,
    });
    let next = next_cursor(state, list.as_str(), last);
    let data: Vec<Json> = rows.into_iter().map(shown).collect();
    Ok(ok(
        &json!({ "data": data, "next_cursor": next, "has_more": more }),
    ))
}

async fn remove(call: Call, list: IpListName) -> Answer {
    let (state, operator, which) = (&call.state, &call.operator, &*call.id);
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
    let event = told(state, operator, Action::IpListRemove, &entry);
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
