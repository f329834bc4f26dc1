//! What events of the data plane that repeat are told of together by, and the event that tells of them.

use crate::record::Facts;
use crate::refusal::{CountedBy, LimitClass};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use tollkeep_audit::folds::{self, Fold};
use tollkeep_audit::{Action, Actor, ActorId, Event, Key, Outcome, Value};
use tollkeep_observe::metrics::RouteLabel;
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_types::{ProjectId, TenantId, TokenId, WallMillis};

pub(crate) use tollkeep_audit::folds::{Span, When};

/// What was told of lately.
pub(crate) type Folds = folds::Folds<FoldKey, Seen>;
/// What was kept back of a key.
pub(crate) type Folded = folds::Folded<FoldKey, Seen>;

/// Keys of refusals that are counted at a time; beyond it those of all addresses are told of together.
pub(crate) const REFUSED_MAX: usize = 10_000;
/// Tokens whose use is counted at a time; beyond it each use is told of.
pub(crate) const USED_MAX: usize = 65_536;

/// What events that are told of together have in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FoldKey {
    pub(crate) span: Span,
    pub(crate) action: Action,
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<&'static str>,
    route: RouteLabel,
    ip: Option<IpAddr>,
    project: Option<ProjectId>,
    token: Option<TokenId>,
}

/// In one write, as each call asks for a key or two. What is left out has few values.
impl Hash for FoldKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ip = self.ip.map(|ip| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        });
        let (project, token) = (self.project, self.token);
        let ids = [
            ip,
            project.map(|id| *id.bytes()),
            token.map(|id| *id.bytes()),
        ];
        let [ip, project, token] = ids.map(Option::unwrap_or_default);
        let route = u128::from(self.route.number()).to_le_bytes();
        state.write([route, ip, project, token].as_flattened());
    }
}

impl FoldKey {
    const fn new(span: Span, action: Action, outcome: Outcome) -> Self {
        Self {
            span,
            action,
            outcome,
            reason: None,
            route: RouteLabel::NONE,
            ip: None,
            project: None,
            token: None,
        }
    }

    /// What is refused to an address before there is a request.
    pub(crate) const fn peer(action: Action, reason: &'static str, ip: IpAddr) -> Self {
        let mut key = Self::new(Span::Second, action, Outcome::Denied);
        key.reason = Some(reason);
        key.ip = Some(ip);
        key
    }

    /// What is refused to a request.
    pub(crate) fn refused(
        facts: &Facts,
        action: Action,
        outcome: Outcome,
        reason: Option<&'static str>,
    ) -> Self {
        Self {
            reason,
            route: facts.route_label,
            ip: Some(facts.client_ip),
            token: facts.token.as_ref().map(|token| token.id),
            ..Self::new(Span::Second, action, outcome)
        }
    }

    /// What is told of by whose calls of a provider it is.
    pub(crate) fn call(facts: &Facts, action: Action, reason: &'static str) -> Self {
        let token = facts.token.as_ref();
        Self {
            reason: Some(reason),
            project: token.map(|token| token.project.id),
            ..Self::new(Span::Minute, action, Outcome::Error)
        }
    }

    /// A limit.
    pub(crate) fn limit(facts: &Facts, class: &'static str, by: CountedBy) -> Self {
        let action = Action::RateLimitExceeded;
        let mut key = Self::new(Span::Minute, action, Outcome::Denied);
        key.reason = Some(class);
        if class == LimitClass::Route.name() {
            key.route = facts.route_label;
        }
        let token = facts.token.as_ref();
        match by {
            CountedBy::All => {}
            CountedBy::Token => key.token = token.map(|token| token.id),
            CountedBy::Project => key.project = token.map(|token| token.project.id),
            CountedBy::Address => key.ip = Some(prefix_key(facts.client_ip)),
        }
        key
    }

    /// The use of a token.
    pub(crate) const fn used(token: TokenId, action: Action) -> Self {
        let mut key = Self::new(Span::Hour, action, Outcome::Success);
        key.token = Some(token);
        key
    }
}

impl Fold for FoldKey {
    fn span(&self) -> Span {
        self.span
    }

    fn wider(&self) -> Option<Self> {
        let mut key = Self::new(self.span, self.action, self.outcome);
        key.reason = self.reason;
        match self.span {
            Span::Second | Span::Minute => Some(key),
            Span::Hour => None,
        }
    }
}

/// Whose events were kept back, as far as they have that in common.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    tenant: Option<TenantId>,
    project: Option<ProjectId>,
    hint: Option<Box<str>>,
    route: Option<Arc<str>>,
}

impl Seen {
    pub(crate) fn of(facts: &Facts) -> Self {
        let token = facts.token.as_ref();
        Self {
            tenant: token.map(|token| token.project.tenant_id),
            project: token.map(|token| token.project.id),
            hint: token.map(|token| token.hint.clone()),
            route: facts.route.clone(),
        }
    }
}

/// The one event that tells of those that were kept back.
pub(crate) fn event(folded: &Folded, at: WallMillis) -> Event<'_> {
    let (key, seen) = (&folded.key, &folded.seen);
    let is_known = key.token.is_some() || key.project.is_some();
    let actor = if is_known {
        Actor::Client
    } else {
        Actor::Anonymous
    };
    let mut event = Event::new(key.action, actor, key.outcome).at(at);
    if let Some(ip) = key.ip {
        event = event.with_client_ip(ip);
    }
    if let Some(reason) = key.reason {
        event = event.with_reason(reason);
    }
    if let (true, Some(tenant)) = (is_known, seen.tenant) {
        event = event.with_tenant_id(tenant);
    }
    if let (true, Some(project)) = (is_known, seen.project) {
        event = event.with_project_id(project);
    }
    if let Some(token) = key.token {
        event = event.with_actor_id(ActorId::Token(token));
        if let Some(hint) = &seen.hint {
            event.add_detail(Key::TokenId, Value::Word(hint));
        }
        event.add_detail(Key::TokenRef, Value::TokenRef(token));
    }
    if let (false, Some(route)) = (key.route == RouteLabel::NONE, &seen.route) {
        event.add_detail(Key::Route, Value::Word(route));
    }
    event.with_detail(Key::Count, Value::Number(folded.count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn from(last: u8) -> FoldKey {
        let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        FoldKey::peer(Action::RequestRejected, "chunk", ip)
    }

    /// How many of `events` at this time are told of by themselves.
    fn told(folds: &mut Folds, key: FoldKey, events: usize, ms: u64) -> usize {
        let one = |_: &usize| folds.tell(key, WallMillis(ms), Seen::default);
        (0..events).filter(one).count()
    }

    fn counts(folded: &[Folded]) -> Vec<u64> {
        folded.iter().map(|one| one.count).collect()
    }

    // AUD-12
    #[test]
    fn beyond_twenty_a_second_refusals_fold_into_one_event_that_counts_them() {
        let mut folds = Folds::new(REFUSED_MAX);
        assert_eq!(told(&mut folds, from(1), 20, 0), 20);
        assert_eq!(told(&mut folds, from(1), 500, 900), 0);
        assert_eq!(told(&mut folds, from(2), 3, 900), 3, "another address");
        assert!(!folds.is_due(When::Now(WallMillis(999))));
        assert!(folds.is_due(When::Now(WallMillis(1_000))));
        assert_eq!(counts(&folds.take(When::Now(WallMillis(1_000)))), [500]);
        assert_eq!(told(&mut folds, from(1), 21, 1_001), 20, "the next second");
        assert_eq!(counts(&folds.take(When::Last)), [1]);
        assert!(folds.is_empty());
    }

    // AUD-12
    #[test]
    fn a_use_is_told_of_first_and_once_an_hour() {
        let mut folds = Folds::new(USED_MAX);
        let key = FoldKey::used(TokenId::from_bytes([1; 16]), Action::TokenAccess);
        let hour = 3_600_000;
        assert_eq!(told(&mut folds, key, 1_000, 0), 1);
        assert_eq!(counts(&folds.take(When::Now(WallMillis(hour)))), [999]);
        assert_eq!(told(&mut folds, key, 5, hour + 1), 0, "it goes on");
        assert_eq!(counts(&folds.take(When::Now(WallMillis(2 * hour)))), [5]);
        assert!(folds.take(When::Now(WallMillis(3 * hour))).is_empty());
        assert!(folds.is_empty(), "it is forgotten when it is quiet");
        assert_eq!(told(&mut folds, key, 1, 3 * hour), 1);
    }

    // AUD-12
    #[test]
    fn where_there_is_no_room_all_addresses_count_together_and_none_is_lost() {
        let mut folds = Folds::new(3);
        let events: usize = (1..=100)
            .map(|last| told(&mut folds, from(last), 1, 0))
            .sum();
        assert_eq!(events, 3 + 20);
        let folded = folds.take(When::Last);
        assert_eq!(counts(&folded), [77]);
        let one = folded.first().unwrap();
        assert_eq!(one.key.ip, None, "they have no address in common");
        let mut used = Folds::new(1);
        for token in 0..9 {
            let key = FoldKey::used(TokenId::from_bytes([token; 16]), Action::TokenAccess);
            assert!(used.tell(key, WallMillis(0), Seen::default));
        }
        assert_eq!(used.len(), 1);
    }

    // AUD-12
    #[test]
    fn however_they_come_every_event_is_told_of_once() {
        let mut folds = Folds::new(4);
        let (mut now, mut seed, mut come, mut said) = (0_u64, 7_u64, 0_u64, 0_u64);
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            now += (seed >> 33) % 40;
            let key = from(u8::try_from((seed >> 40) % 8).unwrap());
            come += 1;
            said += u64::from(folds.tell(key, WallMillis(now), Seen::default));
            if (seed >> 50).is_multiple_of(50) {
                let folded = folds.take(When::Now(WallMillis(now)));
                said += counts(&folded).iter().sum::<u64>();
            }
        }
        said += counts(&folds.take(When::Last)).iter().sum::<u64>();
        assert_eq!(said, come);
    }
}
