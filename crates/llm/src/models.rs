//! Model lists in the three forms SDKs read.

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
    /// Whether calls in Gemini's dialect are served by it.
    pub generates: bool,
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

/// Which fields that tell a vendor's client were sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Signs {
    /// `anthropic-version`
    pub anthropic: bool,
    /// `x-goog-api-key`
    pub google: bool,
}

/// The form of a list: that of the path where it belongs to one vendor, else that of the client,
/// else OpenAI's.
pub fn form(path: &str, signs: Signs) -> Dialect {
    if under(path, "/v1beta") {
        Dialect::Gemini
    } else if signs.anthropic || under(path, "/anthropic") {
        Dialect::Anthropic
    } else if signs.google {
        Dialect::Gemini
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

/// One model in the Gemini form.
pub fn one_gemini(model: Listed<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_gemini(&mut out, model);
    out
}

/// A page of the Gemini list of `names`, which are sorted; `tell` says what is known of one.
pub fn list_gemini<'a>(
    names: &[&'a str],
    page: &Page,
    tell: impl FnMut(&'a str) -> Listed<'a>,
) -> Vec<u8> {
    let (shown, has_more) = page.of(names);
    let mut out = b"{\"models\":[".to_vec();
    join(&mut out, shown.iter().copied().map(tell), write_gemini);
    out.push(b']');
    if let Some(last) = shown.last().filter(|_| has_more) {
        out.extend_from_slice(b",\"nextPageToken\":");
        write_string(&mut out, last);
    }
    out.push(b'}');
    out
}

/// Which part of an Anthropic or Gemini list is wanted.
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
    /// `pageSize` is no number.
    #[error("pageSize: want a number")]
    PageSize,
    /// `after_id` and `before_id` together.
    #[error("after_id and before_id exclude each other")]
    TwoCursors,
    /// A parameter twice, or percent-coding that is not UTF-8.
    #[error("query: want each of its parameters at most once, in UTF-8")]
    Query,
}

impl Page {
    const LIMIT_DEFAULT: usize = 20;
    const LIMIT_MAX: usize = 1000;
    /// Of a Gemini list.
    const SIZE_DEFAULT: usize = 50;

    /// Reads `limit`, `after_id` and `before_id` of a raw query; other parameters are ignored.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn parse(query: Option<&[u8]>) -> Result<Self, PageError> {
        let names: [&[u8]; 3] = [b"limit", b"after_id", b"before_id"];
        let [limit, after, before] = values_of(query, names)?;
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

    /// Reads `pageSize` and `pageToken` of a raw query, in either spelling; other parameters are
    /// ignored. As the vendor has it, 0 is no size and one that is too large is the largest.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn parse_gemini(query: Option<&[u8]>) -> Result<Self, PageError> {
        let names: [&[u8]; 4] = [b"pageSize", b"page_size", b"pageToken", b"page_token"];
        let [size, size_too, token, token_too] = values_of(query, names)?;
        if (size.is_some() && size_too.is_some()) || (token.is_some() && token_too.is_some()) {
            return Err(PageError::Query);
        }
        let size = match size.or(size_too) {
            None => 0,
            Some(text) => text.parse().map_err(|_| PageError::PageSize)?,
        };
        let limit = match size {
            0 => Self::SIZE_DEFAULT,
            size => size.min(Self::LIMIT_MAX),
        };
        let after = token.or(token_too).filter(|token| !token.is_empty());
        let cursor = after.map_or(Cursor::Start, Cursor::After);
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

/// The values of these parameters of a raw query.
fn values_of<const N: usize>(
    query: Option<&[u8]>,
    names: [&[u8]; N],
) -> Result<[Option<String>; N], PageError> {
    let mut values = [const { None }; N];
    for pair in query.unwrap_or_default().split(|byte| *byte == b'&') {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let (key, value) = (halves.next(), halves.next().unwrap_or_default());
        let mut slots = names.iter().zip(&mut values);
        let Some((_, slot)) = slots.find(|(name, _)| key == Some(**name)) else {
            continue;
        };
        let value = percent_decoded(value).ok_or(PageError::Query)?;
        if slot.replace(value).is_some() {
            return Err(PageError::Query);
        }
    }
    Ok(values)
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

fn write_gemini(out: &mut Vec<u8>, model: Listed<'_>) {
    out.extend_from_slice(b"{\"name\":");
    write_string(out, &format!("models/{}", model.id));
    out.extend_from_slice(b",\"displayName\":");
    write_string(out, model.display_name.unwrap_or(model.id));
    for (name, count) in [
        ("inputTokenLimit", model.max_input_tokens),
        ("outputTokenLimit", model.max_tokens),
    ] {
        if let Some(count) = count {
            out.extend_from_slice(format!(",\"{name}\":{count}").as_bytes());
        }
    }
    out.extend_from_slice(b",\"supportedGenerationMethods\":[");
    if model.generates {
        out.extend_from_slice(b"\"generateContent\",\"countTokens\"");
    }
    out.extend_from_slice(b"]}");
}
