//! Which events are looked for.

use super::Whose;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::rights;
use serde_json::Value;
use tollkeep_audit::Action;
use tollkeep_store::AuditFilter;
use tollkeep_types::{ProjectId, WallMillis};

/// How much later than its follower an event may be stamped: clocks are set back.
const SLACK_MS: u64 = 600_000;

/// Members that are compared as they are, and where an event has them.
const EXACT: [(&str, &str); 7] = [
    ("client_ip", "/client_ip"),
    ("actor", "/actor"),
    ("actor_id", "/actor_id"),
    ("request_id", "/request_id"),
    ("correlation_id", "/correlation_id"),
    ("reason", "/reason"),
    ("method", "/details/http_method"),
];

/// Members that may be one of several, by comma.
const AMONG: [(&str, &str); 4] = [
    ("action", "/action"),
    ("outcome", "/result"),
    ("class", "/class"),
    ("path", "/details/endpoint"),
];

/// Which events are looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    exact: Vec<(&'static str, String)>,
    among: Vec<(&'static str, Vec<String>)>,
    token: Option<String>,
    search: Option<String>,
    min_amount: Option<u64>,
    start: Option<WallMillis>,
    end: Option<WallMillis>,
}

impl Filter {
    /// What a query asks for, of what may be seen.
    ///
    /// # Errors
    /// A time that is none.
    pub(super) fn read(query: &Parameters, whose: Whose) -> Result<Self, Problem> {
        let mut filter = Self::of(whose);
        for (name, place) in EXACT {
            if let Some(value) = query.get(name) {
                filter.exact.push((place, value.to_owned()));
            }
        }
        for (name, place) in AMONG {
            if let Some(values) = query.get(name) {
                let values = values.split(',').map(|value| value.trim().to_owned());
                filter.among.push((place, values.collect()));
            }
        }
        filter.min_amount = query.get("min_amount").and_then(|text| text.parse().ok());
        filter.token = query.get("token").map(str::to_owned);
        filter.search = query.get("search").map(str::to_lowercase);
        filter.start = time(query, "start_time")?;
        filter.end = time(query, "end_time")?;
        Ok(filter)
    }

    /// One event, of what may be seen; `None` for what is no id of one.
    pub(super) fn of_event(id: &str, whose: Whose) -> Option<Self> {
        let hex = id.strip_prefix("evt_")?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_id = hex.len() == 32 && hex.bytes().all(is_digit);
        let mut filter = Self::of(whose);
        filter.exact.push(("/id", id.to_owned()));
        is_id.then_some(filter)
    }

    /// What happened in one request.
    pub(super) fn of_request(id: &str) -> Self {
        Self {
            exact: vec![("/request_id", id.to_owned())],
            ..Self::default()
        }
    }

    fn of(whose: Whose) -> Self {
        let tenant = whose.map(|tenant| ("/tenant_id", tenant.to_string()));
        Self {
            exact: tenant.into_iter().collect(),
            ..Self::default()
        }
    }

    pub(super) fn of_project(&mut self, project: ProjectId) {
        self.exact.push(("/project_id", project.to_string()));
    }

    /// What tells this filter from every other.
    pub(super) fn name(&self) -> String {
        format!("{self:?}")
    }

    /// Whether an event is before all that are looked for.
    pub(super) fn is_past(&self, event: &Value) -> bool {
        match (self.start, stamp(event)) {
            (Some(start), Some(at)) => at.0.saturating_add(SLACK_MS) < start.0,
            (Some(_) | None, _) => false,
        }
    }

    /// Whether an event, of this line, is looked for.
    pub(super) fn fits(&self, event: &Value, line: &[u8]) -> bool {
        let at = |place: &str| event.pointer(place).and_then(Value::as_str);
        let exact = self
            .exact
            .iter()
            .all(|(place, want)| at(place) == Some(want));
        let among = self.among.iter().all(|(place, wanted)| {
            let any = |text| wanted.iter().any(|want| rights::matches(want, text));
            at(place).is_some_and(any)
        });
        let of_token = self.token.as_deref().is_none_or(|token| {
            let places = ["token_ref", "token_id", "fingerprint"];
            let mut places = places.iter().map(|name| format!("/details/{name}"));
            places.any(|place| at(&place) == Some(token))
        });
        let in_time = match (self.start, self.end) {
            (None, None) => true,
            (start, end) => stamp(event).is_some_and(|at| {
                start.is_none_or(|start| at >= start) && end.is_none_or(|end| at < end)
            }),
        };
        let amount = event.pointer("/details/amount").and_then(Value::as_u64);
        let is_enough = self
            .min_amount
            .is_none_or(|least| amount.is_some_and(|it| it >= least));
        exact && among && of_token && is_enough && in_time && self.is_in(line)
    }

    fn is_in(&self, line: &[u8]) -> bool {
        let Some(search) = &self.search else {
            return true;
        };
        String::from_utf8_lossy(line)
            .to_lowercase()
            .contains(&**search)
    }
}

/// What a query asks of the database.
///
/// # Errors
/// A time that is none.
pub(super) fn of_database(
    query: &Parameters,
    project: Option<ProjectId>,
) -> Result<AuditFilter, Problem> {
    let one = |name| query.get(name).map(str::to_owned);
    let several = |name| {
        let given: &str = query.get(name).unwrap_or_default();
        let all = given.split(',').map(str::trim);
        all.filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let amount = query.get("min_amount").and_then(|text| text.parse().ok());
    Ok(AuditFilter {
        actions: actions(query.get("action").unwrap_or_default()),
        outcomes: several("outcome"),
        classes: several("class"),
        paths: several("path"),
        project,
        client_ip: one("client_ip"),
        actor: one("actor"),
        actor_id: one("actor_id"),
        request_id: one("request_id"),
        correlation_id: one("correlation_id"),
        reason: one("reason"),
        method: one("method"),
        token: one("token"),
        search: one("search"),
        min_amount: amount,
        start: time(query, "start_time")?,
        end: time(query, "end_time")?,
    })
}

/// The actions that a list of words and patterns means; a pattern that means none stands for itself.
fn actions(wanted: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let wanted = wanted.split(',').map(str::trim);
    for want in wanted.filter(|want| !want.is_empty()) {
        let known = Action::ALL.iter().map(|action| action.as_str());
        let known: Vec<_> = known
            .filter(|action| rights::matches(want, action))
            .collect();
        match known[..] {
            [] => all.push(want.to_owned()),
            _ => all.extend(known.iter().map(|action| (*action).to_owned())),
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The event of a line; `None` for what is none.
pub(super) fn event(line: &[u8]) -> Option<Value> {
    let event: Value = serde_json::from_slice(line).ok()?;
    event.is_object().then_some(event)
}

fn stamp(event: &Value) -> Option<WallMillis> {
    event.get("timestamp")?.as_str()?.parse().ok()
}

fn time(query: &Parameters, name: &str) -> Result<Option<WallMillis>, Problem> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    let problem = || {
        let want = format!("{name}: want a time such as 2026-11-22T10:15:30Z.");
        Problem::bad_request(want)
    };
    text.parse().map(Some).map_err(|_| problem())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tollkeep_types::TenantId;

    fn fits(change: impl FnOnce(&mut Filter)) -> bool {
        let event = json!({
            "timestamp": "2026-11-22T10:15:30.123Z", "action": "token.create",
            "actor": "management", "result": "success", "client_ip": "192.0.2.7",
            "tenant_id": "ten_1", "class": "management",
            "details": { "http_method": "POST", "endpoint": "/api/v1/tokens",
                "token_ref": "tid_1", "token_id": "tok-1234****cdef" },
        });
        let mut filter = Filter::default();
        change(&mut filter);
        filter.fits(&event, event.to_string().as_bytes())
    }

    // AUD-71
    #[test]
    fn an_event_fits_if_all_that_is_asked_for_does() {
        let at = |text: &str| text.parse().ok();
        let among = |place, texts: &[&str]| {
            let texts = texts.iter().map(|text| (*text).to_owned()).collect();
            move |filter: &mut Filter| filter.among.push((place, texts))
        };
        assert!(fits(|_| {}));
        assert!(fits(among("/action", &["project.read", "token.*"])));
        assert!(!fits(among("/action", &["project.*"])));
        assert!(!fits(among("/action", &["token"])));
        assert!(fits(among("/details/endpoint", &["/api/v1/*"])));
        assert!(fits(|filter| filter
            .exact
            .push(("/client_ip", "192.0.2.7".into()))));
        assert!(!fits(|filter| filter
            .exact
            .push(("/client_ip", "192.0.2.70".into()))));
        assert!(!fits(|filter| filter
            .exact
            .push(("/reason", String::new()))));
        for (token, want) in [
            ("tid_1", true),
            ("tok-1234****cdef", true),
            ("tid_2", false),
        ] {
            assert_eq!(
                fits(|filter| filter.token = Some(token.into())),
                want,
                "{token}"
            );
        }
        assert!(fits(|filter| filter.search = Some("tok-1234".into())));
        assert!(!fits(|filter| filter.search = Some("tok-9".into())));
        assert!(fits(|filter| filter.start = at("2026-11-22T10:15:30.123Z")));
        assert!(!fits(|filter| filter.start = at("2026-11-22T10:15:30.124Z")));
        assert!(!fits(|filter| filter.end = at("2026-11-22T10:15:30.123Z")));
        assert!(fits(|filter| filter.end = at("2026-11-22T10:15:30.124Z")));
    }

    // AUD-71
    #[test]
    fn patterns_of_actions_mean_the_actions_they_fit() {
        assert_eq!(actions(""), [""; 0]);
        assert_eq!(
            actions("token.create, proxy_request"),
            ["proxy_request", "token.create"]
        );
        let tokens = actions("token.*,token.create");
        assert!(tokens.len() > 5 && tokens.iter().all(|action| action.starts_with("token.")));
        assert_eq!(
            actions("nothing.*"),
            ["nothing.*"],
            "nothing is found, not everything"
        );
    }

    // AUD-71 ID-54
    #[test]
    fn a_tenant_sees_its_own_events_alone() {
        let tenant = TenantId::from_bytes([1; 16]);
        let filter = Filter::of(Some(tenant));
        let of = |tenant: Value| {
            let event = json!({ "action": "token.create", "tenant_id": tenant });
            filter.fits(&event, b"")
        };
        assert!(of(json!(tenant.to_string())));
        assert!(!of(json!("ten_2")));
        assert!(!of(Value::Null));
        assert!(!filter.fits(&json!({ "action": "system.start" }), b""));
    }

    #[test]
    fn ids_of_events_have_one_form() {
        for (id, want) in [
            ("evt_0192f3c4a5b67c8d9e0f112233445566", true),
            ("evt_0192F3C4A5B67C8D9E0F112233445566", false),
            ("evt_1", false),
            ("0192f3c4a5b67c8d9e0f112233445566", false),
        ] {
            assert_eq!(Filter::of_event(id, None).is_some(), want, "{id}");
        }
    }
}
