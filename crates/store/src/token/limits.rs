//! Rate limits and bindings of a token, as plain data: `policy` judges by them.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// Rate limits of calls, with the names and shape of the management API. Unset: inherited, or none.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallLimits {
    /// Calls a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<NonZeroU32>,
    /// Calls a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens a minute, of input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Tokens in 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<NonZeroU32>,
    /// Calls at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<NonZeroU32>,
    /// Calls that may come at once before the rates bite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
}

impl CallLimits {
    /// These limits, and where they are silent the inherited ones.
    #[must_use]
    pub fn or(self, inherited: Self) -> Self {
        Self {
            requests_per_second: self.requests_per_second.or(inherited.requests_per_second),
            requests_per_minute: self.requests_per_minute.or(inherited.requests_per_minute),
            tokens_per_minute: self.tokens_per_minute.or(inherited.tokens_per_minute),
            tokens_per_day: self.tokens_per_day.or(inherited.tokens_per_day),
            concurrency: self.concurrency.or(inherited.concurrency),
            burst: self.burst.or(inherited.burst),
        }
    }
}

/// From where and for what a token may be used, with the names and shape of the management API.
/// An empty list or map binds to nothing: the border refuses to take one that was written empty.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bindings {
    /// Client networks; IPv4-mapped ones are written as IPv4.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpNet>,
    /// Exact origins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// Header name to allowed values, exact or with `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Vec<String>>,
    /// Methods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Path prefixes on segment borders.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Globs on the public model name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_limits_win_and_others_are_inherited() {
        let number = NonZeroU32::new;
        let own = CallLimits {
            burst: number(5),
            ..CallLimits::default()
        };
        let inherited = CallLimits {
            requests_per_second: number(9),
            burst: number(7),
            ..CallLimits::default()
        };
        let want = CallLimits {
            burst: number(5),
            ..inherited
        };
        assert_eq!(own.or(inherited), want);
    }

    #[test]
    fn json_keeps_what_is_set_and_refuses_what_is_unknown() {
        let limits: CallLimits = serde_json::from_str(r#"{"burst":5}"#).unwrap();
        assert_eq!(serde_json::to_string(&limits).unwrap(), r#"{"burst":5}"#);
        for (name, text) in [
            ("unknown limit", r#"{"tokens_per_hour":5}"#),
            ("zero", r#"{"burst":0}"#),
            ("negative", r#"{"burst":-1}"#),
        ] {
            assert!(serde_json::from_str::<CallLimits>(text).is_err(), "{name}");
        }
        let text = r#"{"ips":["10.0.0.0/8","::1/128"],"headers":{"X-User":["alice"]}}"#;
        let bindings: Bindings = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&bindings).unwrap(), text);
        assert!(serde_json::from_str::<Bindings>(r#"{"networks":[]}"#).is_err());
    }
}
