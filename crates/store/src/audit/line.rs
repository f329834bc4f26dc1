//! A record of the audit log as its line and as its row. Each says all that the other does, so a
//! lost line can be made from the row, with the hash it had.

use crate::StoreError;
use crate::query::{Row, Value};
use crate::row::{count, id_if_set, number, text, value};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// Columns of a row, in the order in which they are written.
pub(super) const COLUMNS: usize = 23;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A record, as its row has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Record<'l> {
    pub(super) stream: Text<'l>,
    pub(super) seq: u64,
    id: Text<'l>,
    timestamp: Text<'l>,
    action: Text<'l>,
    class: Text<'l>,
    actor: Text<'l>,
    actor_id: Option<Text<'l>>,
    tenant_id: Option<Text<'l>>,
    project_id: Option<Text<'l>>,
    request_id: Option<Text<'l>>,
    correlation_id: Option<Text<'l>>,
    client_ip: Option<Text<'l>>,
    outcome: Text<'l>,
    reason: Option<Text<'l>>,
    metadata: Cow<'l, str>,
    prev: [u8; 32],
    hash: [u8; 32],
    line: Option<Cow<'l, str>>,
}

/// A text, which is copied only where the line has it escaped.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
pub(super) struct Text<'l>(#[serde(borrow)] Cow<'l, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

/// The members of a line, of whichever format.
#[derive(Deserialize)]
struct Members<'l> {
    #[serde(borrow)]
    id: Text<'l>,
    stream: Text<'l>,
    seq: u64,
    timestamp: Text<'l>,
    action: Text<'l>,
    class: Option<Text<'l>>,
    actor: Option<Text<'l>>,
    actor_id: Option<Text<'l>>,
    user_id: Option<Text<'l>>,
    tenant_id: Option<Text<'l>>,
    project_id: Option<Text<'l>>,
    request_id: Option<Text<'l>>,
    correlation_id: Option<Text<'l>>,
    client_ip: Option<Text<'l>>,
    ip: Option<Text<'l>>,
    result: Text<'l>,
    reason: Option<Text<'l>>,
    details: Option<&'l RawValue>,
    prev: Text<'l>,
    hash: Text<'l>,
}

/// The details that have columns of their own.
#[derive(Default, Deserialize)]
struct Told<'l> {
    #[serde(borrow)]
    http_method: Option<Text<'l>>,
    endpoint: Option<Text<'l>>,
    user_agent: Option<Text<'l>>,
    token_id: Option<Text<'l>>,
}

/// Texts of columns that are often the same as in the row before: those are made once.
#[derive(Default)]
pub(super) struct Before([Option<Arc<str>>; COLUMNS]);

impl Before {
    fn of(&mut self, column: usize, text: Option<&str>) -> Value {
        let Some(text) = text else {
            return Value::Text(None);
        };
        match self.0.get_mut(column) {
            Some(Some(before)) if before.as_ref() == text => Value::Shared(Arc::clone(before)),
            Some(before) => Value::Shared(Arc::clone(before.insert(text.into()))),
            None => text.into(),
        }
    }
}

impl<'l> Record<'l> {
    /// Reads a line; `None` for what is no record.
    pub(super) fn read(line: &'l str) -> Option<Self> {
        let members: Members<'l> = serde_json::from_str(line).ok()?;
        let details = members.details.map_or("{}", RawValue::get);
        // Another format has no actor and calls some things otherwise.
        let is_own = members.actor.is_some() && members.class.is_some();
        let record = Self {
            id: members.id,
            stream: members.stream,
            seq: members.seq,
            timestamp: members.timestamp,
            action: members.action,
            class: members.class.unwrap_or_default(),
            actor: members.actor.unwrap_or_default(),
            actor_id: members.actor_id.or(members.user_id),
            tenant_id: members.tenant_id,
            project_id: members.project_id,
            request_id: members.request_id,
            correlation_id: members.correlation_id,
            client_ip: members.client_ip.or(members.ip),
            outcome: members.result,
            reason: members.reason,
            metadata: Cow::Borrowed(details),
            prev: bytes_of(members.prev.as_str())?,
            hash: bytes_of(members.hash.as_str())?,
            line: None,
        };
        let line = (!is_own || !record.makes(line)).then_some(Cow::Borrowed(line));
        Some(Self { line, ..record })
    }

    /// The line, without its end.
    pub(super) fn line(&self) -> String {
        if let Some(line) = &self.line {
            return line.clone().into_owned();
        }
        let mut line = String::with_capacity(1024);
        self.tell(&mut |part| line.push_str(part));
        line
    }

    /// Whether the row alone makes this line.
    fn makes(&self, line: &str) -> bool {
        let mut rest = Some(line);
        self.tell(&mut |part| rest = rest.and_then(|rest| rest.strip_prefix(part)));
        rest == Some("")
    }

    /// Tells the line of the row, part by part.
    fn tell(&self, to: &mut dyn FnMut(&str)) {
        // Nothing else than letters, digits and a few marks is ever in these.
        let plain = |to: &mut dyn FnMut(&str), before: &str, value: Option<&Text<'_>>| {
            if let Some(value) = value {
                to(before);
                to(value.as_str());
                to("\"");
            }
        };
        plain(to, "{\"timestamp\":\"", Some(&self.timestamp));
        plain(to, ",\"action\":\"", Some(&self.action));
        plain(to, ",\"actor\":\"", Some(&self.actor));
        plain(to, ",\"project_id\":\"", self.project_id.as_ref());
        plain(to, ",\"request_id\":\"", self.request_id.as_ref());
        plain(to, ",\"correlation_id\":\"", self.correlation_id.as_ref());
        plain(to, ",\"client_ip\":\"", self.client_ip.as_ref());
        plain(to, ",\"result\":\"", Some(&self.outcome));
        if self.metadata != "{}" {
            to(",\"details\":");
            to(&self.metadata);
        }
        plain(to, ",\"id\":\"", Some(&self.id));
        plain(to, ",\"tenant_id\":\"", self.tenant_id.as_ref());
        plain(to, ",\"actor_id\":\"", self.actor_id.as_ref());
        plain(to, ",\"class\":\"", Some(&self.class));
        plain(to, ",\"reason\":\"", self.reason.as_ref());
        plain(to, ",\"stream\":\"", Some(&self.stream));
        to(",\"seq\":");
        to(&self.seq.to_string());
        to(",\"prev\":\"");
        tell_hex(&self.prev, to);
        to("\",\"hash\":\"");
        tell_hex(&self.hash, to);
        to("\"}");
    }

    /// Its columns.
    pub(super) fn values(&self, before: &mut Before) -> [Value; COLUMNS] {
        let told: Told<'_> = serde_json::from_str(&self.metadata).unwrap_or_default();
        let mut column = 0;
        let mut text = |value: Option<&Text<'_>>| {
            column += 1;
            before.of(column - 1, value.map(Text::as_str))
        };
        [
            self.id.as_str().into(),
            text(Some(&self.stream)),
            count(self.seq).into(),
            self.timestamp.as_str().into(),
            text(Some(&self.action)),
            text(Some(&self.class)),
            text(Some(&self.actor)),
            text(self.actor_id.as_ref()),
            text(self.tenant_id.as_ref()),
            text(self.project_id.as_ref()),
            text(self.request_id.as_ref()),
            text(self.correlation_id.as_ref()),
            text(self.client_ip.as_ref()),
            text(told.http_method.as_ref()),
            text(told.endpoint.as_ref()),
            text(told.user_agent.as_ref()),
            text(Some(&self.outcome)),
            text(self.reason.as_ref()),
            text(told.token_id.as_ref()),
            self.metadata.as_ref().into(),
            self.prev.to_vec().into(),
            self.hash.to_vec().into(),
            self.line.as_deref().into(),
        ]
    }
}

impl Record<'static> {
    pub(super) fn of_row(row: &Row) -> Result<Self, StoreError> {
        let hash = |column| -> Result<[u8; 32], StoreError> {
            let bytes: Vec<u8> = value(row, column)?;
            let wrong = |_| StoreError::Unavailable(format!("column `{column}` is no hash"));
            bytes.try_into().map_err(wrong)
        };
        let text = |column| text(row, column).map(Text::from);
        let text_if_set = |column| -> Result<Option<Text<'static>>, StoreError> {
            let found: Option<String> = id_if_set(row, column)?;
            Ok(found.map(Text::from))
        };
        Ok(Self {
            id: text("id")?,
            stream: text("stream")?,
            seq: number(row, "seq")?,
            timestamp: text("timestamp")?,
            action: text("action")?,
            class: text("class")?,
            actor: text("actor")?,
            actor_id: text_if_set("actor_id")?,
            tenant_id: text_if_set("tenant_id")?,
            project_id: text_if_set("project_id")?,
            request_id: text_if_set("request_id")?,
            correlation_id: text_if_set("correlation_id")?,
            client_ip: text_if_set("client_ip")?,
            outcome: text("outcome")?,
            reason: text_if_set("reason")?,
            metadata: text("metadata")?.0,
            prev: hash("prev")?,
            hash: hash("hash")?,
            line: text_if_set("line")?.map(|line| line.0),
        })
    }
}

/// The bytes that 64 lower-case hex digits stand for.
fn bytes_of(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    let mut bytes = [0; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

fn tell_hex(bytes: &[u8; 32], to: &mut dyn FnMut(&str)) {
    let digit = |of: u8| DIGITS.get(usize::from(of & 15)).copied().unwrap_or(b'0');
    let mut digits = [0; 64];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(*byte)];
    }
    to(str::from_utf8(&digits).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY_ACTION: &str = include_str!("../../../audit/tests/data/every_action.jsonl");

    // AUD-70 AUD-42
    #[test]
    fn a_record_says_the_same_as_its_line() {
        for line in EVERY_ACTION.lines() {
            let record = Record::read(line).unwrap();
            assert_eq!(record.line, None, "the row alone makes the line: {line}");
            assert_eq!(record.line(), line);
        }
    }

    // AUD-70
    #[test]
    fn a_line_that_a_row_could_not_make_is_kept_itself() {
        let line = EVERY_ACTION.lines().next().unwrap();
        let other = line.replacen("\"actor\":", "\"actor\": ", 1);
        let record = Record::read(&other).unwrap();
        assert_eq!(record.line(), other);
        assert!(record.line.is_some());
        for broken in [
            "",
            "{}",
            "[]",
            line.get(1..).unwrap(),
            &line.replace("\"prev\":\"", "\"prev\":\"x"),
        ] {
            assert_eq!(Record::read(broken), None, "{broken}");
        }
    }
}
