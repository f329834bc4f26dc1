//! What a request asks for, as far as prices depend on it, read so that it can be read in one way
//! only.

use super::condition::Place;
use super::{QuoteFault, Rule};
use crate::json::{self, Value};

/// A request, as it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Names in the route's path and what stands there in the canonical path.
    pub params: &'a [(&'a str, &'a str)],
    /// The query, without `?`.
    pub query: &'a str,
    /// Fields, each line by itself.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, decoded.
    pub body: &'a [u8],
}

/// What the rules of a route read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    query: Vec<Box<str>>,
    headers: Vec<Box<str>>,
    body: bool,
}

/// What stands where rules look.
pub(super) struct Facts<'a> {
    params: &'a [(&'a str, &'a str)],
    query: Vec<(&'a str, String)>,
    headers: Vec<(&'a str, &'a str)>,
    body: Value,
}

/// Depth of a body that is read for its price.
const BODY_DEPTH_MAX: usize = 64;

impl Read {
    pub(super) fn by(rules: &[Rule], by_model: bool) -> Self {
        let mut read = Self {
            query: Vec::new(),
            headers: Vec::new(),
            body: by_model,
        };
        let conditions = rules.iter().flat_map(|rule| &rule.conditions);
        for condition in conditions {
            match condition.place() {
                Place::Param(_) => {}
                Place::Query(name) => read.query.push(name.clone()),
                Place::Header(name) => read.headers.push(name.clone()),
                Place::Body(_) => read.body = true,
            }
        }
        read.query.sort_unstable();
        read.query.dedup();
        read.headers.sort_unstable();
        read.headers.dedup();
        read
    }

    pub(super) const fn reads_body(&self) -> bool {
        self.body
    }

    /// What the rules read of this request.
    ///
    /// # Errors
    /// Something can be read in two ways.
    pub(super) fn facts<'a>(&'a self, asked: &Asked<'a>) -> Result<Facts<'a>, QuoteFault> {
        let body = if self.body {
            check_media_type(asked)?;
            json::read(asked.body, BODY_DEPTH_MAX).map_err(|fault| match fault {
                json::Fault::NotUtf8 => QuoteFault::NotJson,
                json::Fault::Broken
                | json::Fault::TooDeep
                | json::Fault::TooMany
                | json::Fault::Twice => QuoteFault::BrokenBody,
            })?
        } else {
            Value::Null
        };
        let mut headers = Vec::new();
        for name in &self.headers {
            let found = only(asked, name)?;
            headers.extend(found.map(|found| (&**name, found)));
        }
        Ok(Facts {
            params: asked.params,
            query: self.of_query(asked.query)?,
            headers,
            body,
        })
    }

    /// The parameters that rules read. Where any is read, all names must be plain, or a second
    /// one could hide.
    fn of_query(&self, query: &str) -> Result<Vec<(&str, String)>, QuoteFault> {
        let mut found: Vec<(&str, String)> = Vec::new();
        if self.query.is_empty() {
            return Ok(found);
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name).ok_or(QuoteFault::Ambiguous)?;
            let Some(wanted) = self.query.iter().find(|wanted| ***wanted == *name) else {
                continue;
            };
            if found.iter().any(|(known, _)| *known == &**wanted) {
                return Err(QuoteFault::Ambiguous);
            }
            found.push((wanted, decoded(value).ok_or(QuoteFault::Ambiguous)?));
        }
        Ok(found)
    }
}

impl Facts<'_> {
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        let mut params = self.params.iter();
        params
            .find(|(known, _)| *known == name)
            .map(|(_, text)| *text)
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let mut query = self.query.iter();
        query
            .find(|(known, _)| *known == name)
            .map(|(_, text)| text.as_str())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| *known == name)
            .map(|(_, text)| *text)
    }

    pub(super) fn body(&self, steps: &[Box<str>]) -> Option<&Value> {
        steps
            .iter()
            .try_fold(&self.body, |value, step| match value {
                Value::Map(_) => value.get(step),
                Value::List(_) => value.at(index(step)?),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => None,
            })
    }

    pub(super) fn model(&self) -> Option<&str> {
        let model = self.body.get("model").and_then(Value::as_text);
        model.filter(|model| !model.is_empty())
    }
}

fn index(step: &str) -> Option<usize> {
    let is_plain = step.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| step.parse().ok()).flatten()
}

/// The only line of a field.
fn only<'a>(asked: &Asked<'a>, name: &str) -> Result<Option<&'a str>, QuoteFault> {
    let mut lines = asked
        .headers
        .iter()
        .filter(|(known, _)| known.eq_ignore_ascii_case(name));
    let first = lines.next().map(|(_, text)| text.trim());
    if lines.next().is_some() {
        return Err(QuoteFault::Ambiguous);
    }
    Ok(first)
}

/// A body of another kind would fall to the fallback, which may be the cheaper price.
fn check_media_type(asked: &Asked<'_>) -> Result<(), QuoteFault> {
    let media_type = only(asked, "content-type")?.ok_or(QuoteFault::NotJson)?;
    let mut parts = media_type.split(';');
    let essence = parts.next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.ends_with("+json") && essence.starts_with("application/"));
    let is_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            let value = value.trim().trim_matches('"');
            value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
        }
        _ => true,
    });
    if is_json && is_utf8 {
        Ok(())
    } else {
        Err(QuoteFault::NotJson)
    }
}

/// A name or value of a query without its escapes; `+` is a space there.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}
