//! A record of the audit log as its line and as its row. Each says all that the other does, so a
//! lost line can be made from the row, with the hash it had.

use crate::StoreError;
use crate::query::{Row, Value};
use crate::row::{count, id_if_set, number, text, value};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Columns of a row, in the order in which they are written.
pub(super) const COLUMNS: usize = 23;

/// A record, as its row has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Record {
    pub(super) stream: String,
    pub(super) seq: u64,
    id: String,
    timestamp: String,
    action: String,
    class: String,
    actor: String,
    actor_id: Option<String>,
    tenant_id: Option<String>,
    project_id: Option<String>,
    request_id: Option<String>,
    correlation_id: Option<String>,
    client_ip: Option<String>,
    outcome: String,
    reason: Option<String>,
    metadata: String,
    prev: [u8; 32],
    hash: [u8; 32],
    line: Option<String>,
}

/// The members of a line, of whichever format.
#[derive(Deserialize)]
struct Members<'l> {
    id: String,
    stream: String,
    seq: u64,
    timestamp: String,
    action: String,
    class: Option<String>,
    actor: Option<String>,
    actor_id: Option<String>,
    user_id: Option<String>,
    tenant_id: Option<String>,
    project_id: Option<String>,
    request_id: Option<String>,
    correlation_id: Option<String>,
    client_ip: Option<String>,
    ip: Option<String>,
    result: String,
    reason: Option<String>,
    #[serde(borrow)]
    details: Option<&'l RawValue>,
    prev: String,
    hash: String,
}

/// The details that have columns of their own.
#[derive(Default, Deserialize)]
struct Told {
    http_method: Option<String>,
    endpoint: Option<String>,
    user_agent: Option<String>,
    token_id: Option<String>,
}

impl Record {
    /// Reads a line; `None` for what is no record.
    pub(super) fn read(line: &str) -> Option<Self> {
        let members: Members<'_> = serde_json::from_str(line).ok()?;
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
            metadata: details.to_owned(),
            prev: bytes_of(&members.prev)?,
            hash: bytes_of(&members.hash)?,
            line: None,
        };
        let line = (!is_own || record.line() != line).then(|| line.to_owned());
        Some(Self { line, ..record })
    }

    /// The line, without its end.
    pub(super) fn line(&self) -> String {
        if let Some(line) = &self.line {
            return line.clone();
        }
        let mut line = String::with_capacity(1024);
        let plain = |line: &mut String, name: &str, value: Option<&str>| {
            if let Some(value) = value {
                let comma = if line.len() > 1 { "," } else { "" };
                // Nothing else than letters, digits and a few marks is ever in these.
                line.push_str(&format!("{comma}\"{name}\":\"{value}\""));
            }
        };
        line.push('{');
        plain(&mut line, "timestamp", Some(&self.timestamp));
        plain(&mut line, "action", Some(&self.action));
        plain(&mut line, "actor", Some(&self.actor));
        plain(&mut line, "project_id", self.project_id.as_deref());
        plain(&mut line, "request_id", self.request_id.as_deref());
        plain(&mut line, "correlation_id", self.correlation_id.as_deref());
        plain(&mut line, "client_ip", self.client_ip.as_deref());
        plain(&mut line, "result", Some(&self.outcome));
        if self.metadata != "{}" {
            line.push_str(",\"details\":");
            line.push_str(&self.metadata);
        }
        plain(&mut line, "id", Some(&self.id));
        plain(&mut line, "tenant_id", self.tenant_id.as_deref());
        plain(&mut line, "actor_id", self.actor_id.as_deref());
        plain(&mut line, "class", Some(&self.class));
        plain(&mut line, "reason", self.reason.as_deref());
        plain(&mut line, "stream", Some(&self.stream));
        line.push_str(&format!(",\"seq\":{}", self.seq));
        plain(&mut line, "prev", Some(&hex_of(&self.prev)));
        plain(&mut line, "hash", Some(&hex_of(&self.hash)));
        line.push('}');
        line
    }

    /// Its columns.
    pub(super) fn values(self) -> [Value; COLUMNS] {
        let told: Told = serde_json::from_str(&self.metadata).unwrap_or_default();
        [
            self.id.into(),
            self.stream.into(),
            count(self.seq).into(),
            self.timestamp.into(),
            self.action.into(),
            self.class.into(),
            self.actor.into(),
            self.actor_id.into(),
            self.tenant_id.into(),
            self.project_id.into(),
            self.request_id.into(),
            self.correlation_id.into(),
            self.client_ip.into(),
            told.http_method.into(),
            told.endpoint.into(),
            told.user_agent.into(),
            self.outcome.into(),
            self.reason.into(),
            told.token_id.into(),
            self.metadata.into(),
            self.prev.to_vec().into(),
            self.hash.to_vec().into(),
            self.line.into(),
        ]
    }

    pub(super) fn of_row(row: &Row) -> Result<Self, StoreError> {
        let hash = |column| -> Result<[u8; 32], StoreError> {
            let bytes: Vec<u8> = value(row, column)?;
            let wrong = |_| StoreError::Unavailable(format!("column `{column}` is no hash"));
            bytes.try_into().map_err(wrong)
        };
        Ok(Self {
            id: text(row, "id")?,
            stream: text(row, "stream")?,
            seq: number(row, "seq")?,
            timestamp: text(row, "timestamp")?,
            action: text(row, "action")?,
            class: text(row, "class")?,
            actor: text(row, "actor")?,
            actor_id: id_if_set(row, "actor_id")?,
            tenant_id: id_if_set(row, "tenant_id")?,
            project_id: id_if_set(row, "project_id")?,
            request_id: id_if_set(row, "request_id")?,
            correlation_id: id_if_set(row, "correlation_id")?,
            client_ip: id_if_set(row, "client_ip")?,
            outcome: text(row, "outcome")?,
            reason: id_if_set(row, "reason")?,
            metadata: text(row, "metadata")?,
            prev: hash("prev")?,
            hash: hash("hash")?,
            line: id_if_set(row, "line")?,
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

fn hex_of(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
