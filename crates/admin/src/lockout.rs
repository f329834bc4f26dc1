//! `/api/v1/lockouts`: addresses that failed to authenticate too often (ID-56). They are kept in
//! memory, a bounded number of them.

use crate::State;
use crate::acting::Acting;
use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::request::Asked;
use crate::rights::Right;
use crate::router::{Answer, no_content, ok};
use crate::shape::{Member, choice, number, text, time};
use serde_json::{Value as Json, json};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tollkeep_audit::{Action, Actor, Event, Key, Outcome, Value};
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_policy::lockout::{Failures, LockoutRules};
use tollkeep_types::{MonoNanos, WallMillis};

/// Addresses that are remembered at most; the one known longest is forgotten for another.
const ADDRESSES_MAX: usize = 100_000;
/// Lock-outs that are listed at most.
const LISTED_MAX: usize = 1_000;

const SHOWN: &[Member] = &[
    text(
        "address",
        60,
        "The address; of IPv6 that of its /64 network",
    ),
    choice("surface", &["management"], "Where it is locked out"),
    number(
        "failures",
        "Failures that led to it, or count towards the next one",
    ),
    time("until", "Until when it is locked out").or_null(),
];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "lockout_list",
        command: "lockout list",
        about: "Addresses that failed to authenticate lately, and whether they are locked out",
        method: Method::Get,
        path: "/api/v1/lockouts",
        also: None,
        right: Right::ReadDeployment,
        change: None,
        query: &[],
        body: None,
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[],
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "lockout_clear",
        command: "lockout clear",
        about: "Forget the failures of an address, and let it in again",
        method: Method::Delete,
        path: "/api/v1/lockouts/{address}",
        also: None,
        right: Right::Operate,
        change: Some(Action::AdminLockout),
        query: &[],
        body: None,
        answers: &[(204, Content::None)],
        refusals: &[],
        run: |call| Box::pin(clear(call)),
    },
];

/// Addresses that failed.
#[derive(Default)]
pub(crate) struct Lockouts(Mutex<Table>);

#[derive(Default)]
struct Table {
    by_address: HashMap<IpAddr, Failures>,
    /// In the order in which they came to be known.
    known: VecDeque<IpAddr>,
}

impl Lockouts {
    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic under the lock leaves maps that are still maps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the address still has to stay away.
    pub(crate) fn left(&self, ip: IpAddr, now: MonoNanos) -> Option<Duration> {
        let until = self
            .table()
            .by_address
            .get(&prefix_key(ip))?
            .locked_until(now)?;
        Some(Duration::from_nanos(until.since(now)))
    }

    /// Counts a failure; says for how long the address is locked out by it.
    fn fail(&self, ip: IpAddr, rules: &LockoutRules, now: MonoNanos) -> Option<Duration> {
        let address = prefix_key(ip);
        let mut table = self.table();
        if !table.by_address.contains_key(&address) {
            while table.known.len() >= ADDRESSES_MAX {
                if let Some(oldest) = table.known.pop_front() {
                    table.by_address.remove(&oldest);
                }
            }
            table.known.push_back(address);
        }
        let failures = table.by_address.entry(address).or_default();
        let until = failures.fail(rules, now)?;
        Some(Duration::from_nanos(until.since(now)))
    }

    fn knows(&self, ip: IpAddr) -> bool {
        self.table().by_address.contains_key(&prefix_key(ip))
    }

    /// Forgets an address; whether it was known.
    fn clear(&self, ip: IpAddr) -> bool {
        let address = prefix_key(ip);
        let mut table = self.table();
        table.known.retain(|known| *known != address);
        table.by_address.remove(&address).is_some()
    }
}

impl State {
    /// Refuses an address that is locked out, before its key is looked at.
    pub(crate) fn check_lockout(&self, asked: &Asked) -> Result<(), Problem> {
        let now = self.parts.clock.mono();
        let left = asked.client_ip.and_then(|ip| self.lockouts.left(ip, now));
        match left {
            Some(left) => Err(Problem::locked_out(left)),
            None => Ok(()),
        }
    }

    /// Counts a failed authentication.
    pub(crate) fn count_failure(&self, asked: &Asked) {
        let Some(ip) = asked.client_ip else { return };
        let rules = self.settings().management.lockout;
        let now = self.parts.clock.mono();
        if let Some(ban) = self.lockouts.fail(ip, &rules, now) {
            tracing::warn!("An address failed to authenticate too often and is locked out");
            let event = Event::new(Action::AdminLockout, Actor::Anonymous, Outcome::Denied)
                .at(self.parts.clock.wall())
                .with_reason("locked_out")
                .with_detail(Key::Count, Value::Number(rules.failures.into()))
                .with_duration_ms(u64::try_from(ban.as_millis()).unwrap_or(u64::MAX));
            self.record_unproven(&asked.told_in(event), "A lock-out");
        }
    }
}

async fn list(call: Call) -> Answer {
    let state = &call.state;
    let (now, wall) = (state.parts.clock.mono(), state.parts.clock.wall());
    let mut rows: Vec<_> = {
        let table = state.lockouts.table();
        let each = table.by_address.iter();
        each.map(|(address, failures)| (failures.locked_until(now), *address, failures.count()))
            .collect()
    };
    rows.sort_unstable_by(|one, other| other.cmp(one));
    let more = rows.len() > LISTED_MAX;
    let data: Vec<Json> = rows
        .into_iter()
        .take(LISTED_MAX)
        .map(|(until, address, failures)| {
            let until = until.map(|until| {
                let left_ms = until.since(now) / 1_000_000;
                WallMillis(wall.0.saturating_add(left_ms))
            });
            json!({
                "address": address.to_string(),
                "surface": "management",
                "failures": failures,
                "until": until,
            })
        })
        .collect();
    Ok(ok(
        &json!({ "data": data, "has_more": more, "next_cursor": null }),
    ))
}

async fn clear(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let ip: IpAddr = call.id.parse().map_err(|_| Problem::not_found())?;
    state.check_audit()?;
    let is_known = match state.acting {
        Acting::Really => state.lockouts.clear(ip),
        Acting::Trying | Acting::Looking => state.lockouts.knows(ip),
    };
    if !is_known {
        return Err(Problem::not_found());
    }
    let event = state
        .event(operator, Action::AdminLockout)
        .with_reason("cleared")
        .with_detail(
            Key::Cidr,
            Value::OwnedWord(prefix_key(ip).to_string().into()),
        );
    state.record(event).await?;
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: LockoutRules = LockoutRules {
        failures: 2,
        window: Duration::from_secs(60),
        ban: Duration::from_secs(60),
    };
    const NOW: MonoNanos = MonoNanos(1);

    fn v4(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(number).into()
    }

    // ID-56
    #[test]
    fn the_oldest_of_a_hundred_thousand_addresses_is_forgotten() {
        let lockouts = Lockouts::default();
        for number in 0..100_001 {
            lockouts.fail(v4(number), &RULES, NOW);
        }
        let known = |number| lockouts.table().by_address.contains_key(&v4(number));
        assert_eq!((known(0), known(1), known(100_000)), (false, true, true));
        assert_eq!(lockouts.table().known.len(), ADDRESSES_MAX);
    }

    // ID-56
    #[test]
    fn an_ipv6_network_is_one_address() {
        let lockouts = Lockouts::default();
        let (one, other): (IpAddr, IpAddr) = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::2:3".parse().unwrap(),
        );
        assert_eq!(lockouts.fail(one, &RULES, NOW), None);
        let ban = lockouts.fail(other, &RULES, NOW);
        assert_eq!(ban, Some(Duration::from_secs(60)));
        assert_eq!(lockouts.left(one, NOW), ban);
        assert!(lockouts.clear(one) && !lockouts.clear(one));
        assert_eq!(lockouts.left(other, NOW), None);
    }
}
