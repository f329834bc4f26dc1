//! Model lists in the two forms SDKs read.

use crate::json::write_string;
use crate::surface::{Dialect, under};
use tollkeep_types::WallMillis;

/// The owner that is told of models whose provider is not the caller's business.
const OWNER: &str = "tollkeep";
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// What a list tells of a model.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Listed<'a> {
    /// Its name for callers.
    pub id: &'a str,
    /// What people read; `None`: the same.
    pub display_name: Option<&'a str>,
    /// Since when it is there; `None` is told as the epoch.
    pub created: Option<WallMillis>,
    /// Who serves it; `None`: the gateway.
    pub owner: Option<&'a str>,
    /// Tokens of input that it takes.
    pub max_input_tokens: Option<u64>,
    /// Tokens of one answer.
    pub max_tokens: Option<u64>,
}

impl<'a> Listed<'a> {
    /// A model of which nothing else is known.
    pub fn named(id: &'a str) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }
}

/// The form of a list: Anthropic's when `anthropic-version` was sent or the path starts
/// `/anthropic`, else OpenAI's.
pub fn form(path: &str, anthropic_version: Option<&[u8]>) -> Dialect {
    if anthropic_version.is_some() || under(path, "/anthropic") {
        Dialect::Anthropic
    } else {
        Dialect::Chat
    }
}

/// The OpenAI list of `models`, which are sorted.
pub fn list_openai<'a>(models: impl IntoIterator<Item = Listed<'a>>) -> Vec<u8> {
    let mut out = b"{\"object\":\"list\",\"data\":[".to_vec();
    join(&mut out, models, write_openai);
    out.extend_from_slice(b"]}");
    out
}

/// One model in the OpenAI form.
pub fn one_openai(model: Listed<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_openai(&mut out, model);
    out
}

/// One model in the Anthropic form.
pub fn one_anthropic(model: Listed<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_anthropic(&mut out, model);
    out
}

/// A page of the Anthropic list of `names`, which are sorted; `tell` says what is known of one.
pub fn list_anthropic<'a>(
    names: &[&'a str],
    page: &Page,
    tell: impl FnMut(&'a str) -> Listed<'a>,
) -> Vec<u8> {
    let (shown, has_more) = page.of(names);
    let mut out = b"{\"data\":[".to_vec();
    join(&mut out, shown.iter().copied().map(tell), write_anthropic);
    out.extend_from_slice(b"],\"has_more\":");
    out.extend_from_slice(if has_more { b"true" } else { b"false" });
    for (key, name) in [("first_id", shown.first()), ("last_id", shown.last())] {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        match name {
            Some(name) => write_string(&mut out, name),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    out
}

/// Which part of an Anthropic list is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    limit: usize,
    cursor: Cursor,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Cursor {
    Start,
    After(String),
    Before(String),
}

/// Why a query does not name a page (400).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PageError {
    /// `limit` is not a number from 1 to 1000.
    #[error("limit: want a number from 1 to 1000")]
    Limit,
    /// `after_id` and `before_id` together.
    #[error("after_id and before_id exclude each other")]
    TwoCursors,
    /// A parameter twice, or percent-coding that is not UTF-8.
    #[error("query: want each of limit, after_id, before_id at most once, in UTF-8")]
    Query,
}

impl Page {
    const LIMIT_DEFAULT: usize = 20;
    const LIMIT_MAX: usize = 1000;

    /// Reads `limit`, `after_id` and `before_id` of a raw query; other parameters are ignored.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn parse(query: Option<&[u8]>) -> Result<Self, PageError> {
        let (mut limit, mut after, mut before) = (None, None, None);
        for pair in query.unwrap_or_default().split(|byte| *byte == b'&') {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let (key, value) = (halves.next(), halves.next().unwrap_or_default());
            let slot = match key {
                Some(b"limit") => &mut limit,
                Some(b"after_id") => &mut after,
                Some(b"before_id") => &mut before,
                _ => continue,
            };
            let value = percent_decoded(value).ok_or(PageError::Query)?;
            if slot.replace(value).is_some() {
                return Err(PageError::Query);
            }
        }
        let limit = match limit {
            None => Self::LIMIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=Self::LIMIT_MAX).contains(limit))
                .ok_or(PageError::Limit)?,
        };
        let cursor = match (after, before) {
            (Some(_), Some(_)) => return Err(PageError::TwoCursors),
            (Some(id), None) => Cursor::After(id),
            (None, Some(id)) => Cursor::Before(id),
            (None, None) => Cursor::Start,
        };
        Ok(Self { limit, cursor })
    }

    /// The names of this page, and whether more follow in its direction. A cursor need not be
    /// on the list: it is a place in the order.
    fn of<'a, 'b>(&self, names: &'a [&'b str]) -> (&'a [&'b str], bool) {
        let (rest, from_end) = match &self.cursor {
            Cursor::Start => (names, false),
            Cursor::After(id) => {
                let start = names.partition_point(|name| *name <= id.as_str());
                (names.get(start..).unwrap_or_default(), false)
            }
            Cursor::Before(id) => {
                let end = names.partition_point(|name| *name < id.as_str());
                (names.get(..end).unwrap_or_default(), true)
            }
        };
        let beyond = rest.len().saturating_sub(self.limit);
        let shown = if from_end {
            rest.get(beyond..)
        } else {
            rest.get(..rest.len().saturating_sub(beyond))
        };
        (shown.unwrap_or_default(), beyond > 0)
    }
}

fn percent_decoded(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        if *byte == b'%' {
            let mut digit = || char::from(*rest.next()?).to_digit(16);
            let value = (digit()? << 4) | digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn join<'a>(
    out: &mut Vec<u8>,
    models: impl IntoIterator<Item = Listed<'a>>,
    write: fn(&mut Vec<u8>, Listed<'_>),
) {
    for (index, model) in models.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, model);
    }
}

fn write_openai(out: &mut Vec<u8>, model: Listed<'_>) {
    let created_s = model.created.map_or(0, |at| at.0 / 1000);
    out.extend_from_slice(b"{\"id\":");
    write_string(out, model.id);
    out.extend_from_slice(b",\"object\":\"model\",\"created\":");
    out.extend_from_slice(created_s.to_string().as_bytes());
    out.extend_from_slice(b",\"owned_by\":");
    write_string(out, model.owner.unwrap_or(OWNER));
    out.push(b'}');
}

fn write_anthropic(out: &mut Vec<u8>, model: Listed<'_>) {
    out.extend_from_slice(b"{\"type\":\"model\",\"id\":");
    write_string(out, model.id);
    out.extend_from_slice(b",\"display_name\":");
    write_string(out, model.display_name.unwrap_or(model.id));
    out.extend_from_slice(b",\"created_at\":");
    match model.created {
        // In whole seconds, as the vendor writes them.
        Some(at) => {
            let text = WallMillis(at.0 / 1000 * 1000).to_string();
            write_string(out, &text.replace(".000Z", "Z"));
        }
        None => write_string(out, EPOCH),
    }
    out.extend_from_slice(b",\"lifecycle\":\"active\"");
    for (name, count) in [
        ("max_input_tokens", model.max_input_tokens),
        ("max_tokens", model.max_tokens),
    ] {
        let count = count.map_or_else(|| "null".to_owned(), |count| count.to_string());
        out.extend_from_slice(format!(",\"{name}\":{count}").as_bytes());
    }
    out.push(b'}');
}
