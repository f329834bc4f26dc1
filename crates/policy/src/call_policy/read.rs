//! A policy as written, turned into one that can be asked, or everything that is wrong with it.

use super::head::METHODS;
use super::{CallPolicy, ParamPlace, ParamRule, WrittenPolicy};
use crate::cel::Condition;
use crate::origin::Origin;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use tollkeep_types::path::{PathRules, canonicalize};

/// Entries of a list, and parameters.
const ENTRIES_MAX: usize = 256;
/// Parameters of a policy.
const PARAMS_MAX: usize = 64;
/// Bytes of an entry.
const ENTRY_BYTES_MAX: usize = 256;
/// Segments of a pointer.
const SEGMENTS_MAX: usize = 32;

/// Something wrong with a policy as written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}: {problem}", path.join("."))]
pub struct PolicyFault {
    /// The way to it.
    pub path: Vec<String>,
    /// What is wrong.
    pub problem: String,
}

impl PolicyFault {
    /// One of many.
    pub(super) fn first(faults: Vec<Self>) -> Self {
        faults.into_iter().next().unwrap_or(Self {
            path: Vec::new(),
            problem: String::new(),
        })
    }
}

/// Collects what is wrong.
#[derive(Default)]
struct Faults(Vec<PolicyFault>);

impl Faults {
    fn add(&mut self, path: &[&str], problem: impl Into<String>) {
        self.0.push(PolicyFault {
            path: path.iter().map(|step| (*step).to_owned()).collect(),
            problem: problem.into(),
        });
    }

    /// The entries of a list that `read` takes.
    fn list<T>(
        &mut self,
        path: &[&str],
        entries: &[String],
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        if entries.len() > ENTRIES_MAX {
            self.add(path, format!("more than {ENTRIES_MAX} entries"));
        }
        let mut values = Vec::new();
        for entry in entries {
            let fits =
                (1..=ENTRY_BYTES_MAX).contains(&entry.len()) && !entry.contains(char::is_control);
            if !fits {
                let problem = "an entry is empty, longer than 256 bytes, or has control characters";
                self.add(path, problem);
                continue;
            }
            match read(entry) {
                Ok(value) => values.push(value),
                Err(problem) => self.add(path, format!("`{entry}` {problem}")),
            }
        }
        values
    }

    fn range(&mut self, key: &str, value: Option<u64>, allowed: RangeInclusive<u64>) {
        if value.is_some_and(|value| !allowed.contains(&value)) {
            let (min, max) = (allowed.start(), allowed.end());
            self.add(&[key], format!("want a whole number from {min} to {max}"));
        }
    }
}

impl CallPolicy {
    /// Reads a policy.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(written: WrittenPolicy) -> Result<Self, Vec<PolicyFault>> {
        let mut faults = Faults::default();
        let any = |_: &str| Ok(());
        let methods = written.allowed_methods.as_deref().unwrap_or_default();
        faults.list(&["allowed_methods"], methods, method);
        let endpoints = written.allowed_endpoints.as_deref();
        let endpoints = endpoints.map(|list| faults.list(&["allowed_endpoints"], list, endpoint));
        for (key, globs) in [
            ("allowed_models", &written.allowed_models),
            ("denied_models", &written.denied_models),
        ] {
            faults.list(&[key], globs.as_deref().unwrap_or_default(), any);
        }
        let origins = written.allowed_origins.as_deref();
        let origins = origins.map(|list| faults.list(&["allowed_origins"], list, origin));
        let headers = written.required_headers.as_deref().unwrap_or_default();
        let required_headers = faults.list(&["required_headers"], headers, header);
        const MANY: u64 = 1_000_000_000;
        faults.range("max_output_tokens", written.max_output_tokens, 1..=MANY);
        faults.range("max_input_tokens", written.max_input_tokens, 1..=MANY);
        faults.range("max_n", written.max_n, 1..=MANY);
        faults.range("max_tools", written.max_tools, 0..=MANY);
        const BYTES: u64 = 256 << 20;
        faults.range("max_body_bytes", written.max_body_bytes, 0..=BYTES);
        let params = params(&written, &mut faults);
        let when = written.when.as_deref().map(Condition::new).transpose();
        let when = when.unwrap_or_else(|fault| {
            faults.add(&["when"], fault.to_string());
            None
        });
        if !faults.0.is_empty() {
            return Err(faults.0);
        }
        Ok(Self {
            written,
            endpoints,
            origins,
            required_headers,
            params,
            when,
        })
    }
}

fn params(written: &WrittenPolicy, faults: &mut Faults) -> Vec<ParamRule> {
    const KEY: &str = "param_whitelist";
    let mut rules = Vec::new();
    let required = written.param_required.as_deref().unwrap_or_default();
    let names = faults.list(&["param_required"], required, |name| {
        place(name).map(|_| name.to_owned())
    });
    let required: BTreeSet<String> = names.into_iter().collect();
    let listed = written.param_whitelist.iter().flatten();
    for (name, globs) in listed {
        let place = match place(name) {
            Ok(place) => place,
            Err(problem) => {
                faults.add(&[KEY, name], problem);
                continue;
            }
        };
        faults.list(&[KEY, name], globs, |_| Ok(()));
        rules.push(ParamRule {
            name: name.clone(),
            place,
            allowed: Some(globs.clone()),
            is_required: required.contains(name),
        });
    }
    if written
        .param_whitelist
        .as_ref()
        .is_some_and(|list| list.is_empty())
    {
        faults.add(&[KEY], "names no parameter: leave it out, or name one");
    }
    let is_alone = |name: &&String| !rules.iter().any(|rule| rule.name == **name);
    let alone: Vec<_> = required.iter().filter(is_alone).cloned().collect();
    rules.extend(alone.into_iter().filter_map(|name| {
        let place = place(&name).ok()?;
        Some(ParamRule {
            name,
            place,
            allowed: None,
            is_required: true,
        })
    }));
    if rules.len() > PARAMS_MAX {
        faults.add(&[KEY], format!("more than {PARAMS_MAX} parameters"));
    }
    rules
}

/// Where a parameter of this name stands.
fn place(name: &str) -> Result<ParamPlace, String> {
    if name.is_empty() || name.len() > ENTRY_BYTES_MAX || name.contains(char::is_control) {
        return Err("is empty, longer than 256 bytes, or has control characters".to_owned());
    }
    if let Some(key) = name.strip_prefix("query.") {
        return match key {
            "" => Err("names no key of the query".to_owned()),
            key => Ok(ParamPlace::Query(key.to_owned())),
        };
    }
    let Some(pointer) = name.strip_prefix('/') else {
        return Ok(ParamPlace::Body(vec![name.to_owned()]));
    };
    let segments: Option<Vec<String>> = pointer.split('/').map(segment).collect();
    match segments {
        Some(segments) if segments.len() <= SEGMENTS_MAX => Ok(ParamPlace::Body(segments)),
        Some(_) => Err(format!("has more than {SEGMENTS_MAX} segments")),
        None => Err("is no JSON pointer: `~` is written `~0`, `/` is written `~1`".to_owned()),
    }
}

/// A segment of a JSON pointer (RFC 6901).
fn segment(raw: &str) -> Option<String> {
    let mut text = String::with_capacity(raw.len());
    let mut letters = raw.chars();
    while let Some(letter) = letters.next() {
        text.push(match letter {
            '~' => match letters.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}

fn method(text: &str) -> Result<(), String> {
    if METHODS.contains(&text) {
        return Ok(());
    }
    Err(format!("is none of the methods {}", METHODS.join(", ")))
}

fn endpoint(text: &str) -> Result<String, String> {
    let mut path = String::new();
    match canonicalize(text.as_bytes(), PathRules::PERMISSIVE, &mut path) {
        Ok(_) => Ok(path),
        Err(fault) => Err(format!("is no path: {fault}")),
    }
}

fn origin(text: &str) -> Result<Origin, String> {
    text.parse()
        .map_err(|fault: crate::origin::NotAnOrigin| fault.to_string())
}

/// A field with `_` in its name is dropped or refused before anything looks at it (EDGE-24).
fn header(text: &str) -> Result<String, String> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        return Ok(text.to_ascii_lowercase());
    }
    Err("is no name of a header field".to_owned())
}
