//! Calls of Gemini: which one a path names, of which model, and what of a body is about that.
//!
//! Gemini's calls name their model in the path. A body may name it once more, and must not name
//! another one then: whoever judges a call and whoever answers it would have two.

use crate::json::values::key_text;
use crate::json::{Broken, Cursor, write_string};
use crate::resolve::MODEL_BYTES_MAX;
use crate::surface::Surface;
use std::borrow::Cow;
use std::ops::Range;

/// The place of the model in the path at a provider.
pub const MODEL_PLACE: &str = "{model}";
/// What the API writes before names of models.
const MODELS: &str = "models/";
/// The paths that calls are found below.
const BELOW: [&str; 2] = ["/v1beta/models/", "/v1/models/"];

/// The call that a canonical path names, and its model as it stands there.
pub(crate) fn call_of(path: &str) -> Option<(Surface, &str)> {
    let rest = BELOW.iter().find_map(|below| path.strip_prefix(below))?;
    let (model, verb) = rest.rsplit_once(':')?;
    let surface = match verb {
        "generateContent" => Surface::Generate,
        "streamGenerateContent" => Surface::StreamGenerate,
        "countTokens" => Surface::GeminiCount,
        _ => return None,
    };
    (!model.is_empty()).then_some((surface, model))
}

/// Whether a path of the models that other dialects list has what Gemini's calls of one end with.
pub(crate) fn names_verb(path: &str) -> bool {
    let rest = BELOW.iter().find_map(|below| path.strip_prefix(below));
    rest.is_some_and(|rest| rest.contains(':'))
}

/// The canonical path that policies are asked about: those who may list models below `/v1/models`
/// may not call them there for that.
pub fn judged_path(path: &str) -> Option<Cow<'_, str>> {
    call_of(path)?;
    Some(match path.strip_prefix("/v1/") {
        Some(rest) => Cow::Owned(format!("/v1beta/{rest}")),
        None => Cow::Borrowed(path),
    })
}

/// The model that a canonical path names. `None`: no call of Gemini's, or nothing that could be a
/// name.
pub fn model_of(path: &str) -> Option<Cow<'_, str>> {
    let (_, written) = call_of(path)?;
    let model = decoded(written)?;
    is_name(&model).then_some(model)
}

/// Whether it can stand in a path and mean a model: segments that lead nowhere else.
fn is_name(model: &str) -> bool {
    let leads = |segment: &str| matches!(segment, "" | "." | "..");
    model.len() <= MODEL_BYTES_MAX
        && !model.chars().any(char::is_control)
        && !model.contains('\\')
        && !model.split('/').any(leads)
}

/// Without its percent encodings; `None` where they are none.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'%' {
            bytes.push(*byte);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_first_chunk::<2>()?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Appends a model as the path of a provider has it. `false` and nothing appended if it can't stand
/// there.
#[must_use]
pub fn write_model(out: &mut Vec<u8>, model: &str) -> bool {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let model = model.strip_prefix(MODELS).unwrap_or(model);
    if !is_name(model) {
        return false;
    }
    for byte in model.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            out.push(byte);
            continue;
        }
        let digit = |half: u8| HEX.get(usize::from(half)).copied().unwrap_or(b'0');
        out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
    }
    true
}

/// Why a body is no call of Gemini's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GeminiFault {
    /// It is not what it was when it was read strictly, or nests too deep.
    #[error("The body nests too deep.")]
    Unreadable,
    /// It has a member in both spellings.
    #[error("The body has `{0}` in both of its spellings.")]
    Twice(&'static str),
    /// It names a model, and the path another one.
    #[error("The body names another model than the path.")]
    OtherModel,
}

impl From<Broken> for GeminiFault {
    fn from(_: Broken) -> Self {
        Self::Unreadable
    }
}

/// What a body says that decides how its call is judged and recorded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GeminiView {
    /// The cap of output.
    pub output_cap: Option<u64>,
    /// The answers that it asks for; 0 where it says nothing.
    pub choices: u64,
}

/// The spellings of a member: protobuf's JSON takes the name of the field for the same.
pub(crate) const GENERATION: [&str; 2] = ["generationConfig", "generation_config"];
/// The same of the bound of output, within the generation's settings.
pub(crate) const OUTPUT: [&str; 2] = ["maxOutputTokens", "max_output_tokens"];
/// The same of how many answers are wanted.
pub(crate) const CHOICES: [&str; 2] = ["candidateCount", "candidate_count"];
/// The same of the whole call that tokens are counted of.
const COUNTED: [&str; 2] = ["generateContentRequest", "generate_content_request"];
/// The member of a name.
const MODEL: &str = "model";
/// The spellings of the settings of thinking, within those of the generation.
pub(crate) const THINKING: [&str; 2] = ["thinkingConfig", "thinking_config"];

impl GeminiView {
    /// Reads a body that [`crate::body::CallView::read`] has read, of a call that names this model.
    ///
    /// # Errors
    /// See [`GeminiFault`].
    pub fn read(body: &[u8], model: &str) -> Result<Self, GeminiFault> {
        let mut view = Self::default();
        let mut cursor = Cursor::new(body);
        view.call(&mut cursor, model, true)?;
        Ok(view)
    }

    fn call(
        &mut self,
        cursor: &mut Cursor<'_>,
        model: &str,
        is_outer: bool,
    ) -> Result<(), GeminiFault> {
        let mut seen = Seen::default();
        cursor.members(|key, cursor| {
            let key = key_text(key)?;
            seen.note(&key)?;
            if key == MODEL && cursor.first() == Some(b'"') {
                return named(&cursor.string()?, model);
            }
            if GENERATION.contains(&&*key) && cursor.first() == Some(b'{') {
                return self.settings(cursor);
            }
            if is_outer && COUNTED.contains(&&*key) && cursor.first() == Some(b'{') {
                return self.call(cursor, model, false);
            }
            Ok(cursor.skip()?)
        })
    }

    fn settings(&mut self, cursor: &mut Cursor<'_>) -> Result<(), GeminiFault> {
        let mut seen = Seen::default();
        cursor.members(|key, cursor| {
            let key = key_text(key)?;
            seen.note(&key)?;
            let is_number = matches!(cursor.first(), Some(b'0'..=b'9' | b'"'));
            if is_number && OUTPUT.contains(&&*key) {
                self.output_cap = whole(cursor)?;
            } else if is_number && CHOICES.contains(&&*key) {
                self.choices = whole(cursor)?.unwrap_or(0);
            } else if THINKING.contains(&&*key) && cursor.first() == Some(b'{') {
                thinking(cursor)?;
            } else {
                cursor.skip()?;
            }
            Ok::<_, GeminiFault>(())
        })
    }
}

fn thinking(cursor: &mut Cursor<'_>) -> Result<(), GeminiFault> {
    let mut seen = Seen::default();
    cursor.members(|key, cursor| {
        seen.note(&key_text(key)?)?;
        Ok(cursor.skip()?)
    })
}

/// Takes a whole number, which may stand in quotes.
pub(crate) fn whole(cursor: &mut Cursor<'_>) -> Result<Option<u64>, Broken> {
    if cursor.first() == Some(b'"') {
        return Ok(cursor.string()?.parse().ok());
    }
    let written = cursor.number()?;
    Ok(std::str::from_utf8(written)
        .ok()
        .and_then(|text| text.parse().ok()))
}

/// The spelling of a member that Google's documents have, of its other one.
pub(crate) fn camel(key: &str) -> Cow<'_, str> {
    if !key.contains('_') || key.contains(|c: char| c.is_ascii_uppercase()) {
        return Cow::Borrowed(key);
    }
    let mut words = key.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    Cow::Owned(name)
}

/// A name in each of the spellings that are taken for the same, its own first.
pub fn spellings(name: &str) -> Vec<String> {
    let camel = camel(name);
    if camel != name {
        return vec![name.to_owned(), camel.into_owned()];
    }
    let is_camel = name.contains(|c: char| c.is_ascii_uppercase()) && !name.contains('_');
    if !is_camel {
        return vec![name.to_owned()];
    }
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    vec![name.to_owned(), snake]
}

fn named(named: &str, model: &str) -> Result<(), GeminiFault> {
    let bare = named.strip_prefix(MODELS).unwrap_or(named);
    if named == model || bare == model {
        Ok(())
    } else {
        Err(GeminiFault::OtherModel)
    }
}

/// Members that were met which decide something, by their place in the list.
#[derive(Default)]
struct Seen(u32);

/// Members that have two spellings and decide something.
const TWO_SPELLINGS: [[&str; 2]; 11] = [
    GENERATION,
    OUTPUT,
    CHOICES,
    COUNTED,
    ["systemInstruction", "system_instruction"],
    ["cachedContent", "cached_content"],
    ["toolConfig", "tool_config"],
    ["safetySettings", "safety_settings"],
    THINKING,
    ["thinkingBudget", "thinking_budget"],
    ["responseModalities", "response_modalities"],
];

impl Seen {
    /// Each spelling stands once at most, so that a second time is that of the other one.
    fn note(&mut self, key: &str) -> Result<(), GeminiFault> {
        let mut bit = 1_u32;
        for names @ [name, _] in TWO_SPELLINGS {
            if names.contains(&key) {
                let is_new = self.0 & bit == 0;
                self.0 |= bit;
                return match is_new {
                    true => Ok(()),
                    false => Err(GeminiFault::Twice(name)),
                };
            }
            bit <<= 1;
        }
        Ok(())
    }
}

/// The body with every name of its model replaced, every other byte as it was. `None` when it names
/// none.
///
/// # Errors
/// It is not what it was when it was read strictly.
pub fn with_model(body: &[u8], model: &str) -> Result<Option<Vec<u8>>, GeminiFault> {
    let mut spans = Vec::new();
    find_names(&mut Cursor::new(body), body.len(), &mut spans, true)?;
    if spans.is_empty() {
        return Ok(None);
    }
    let bare = model.strip_prefix(MODELS).unwrap_or(model);
    let mut edited = Vec::with_capacity(body.len() + model.len() + MODELS.len());
    let mut copied = 0;
    for span in spans {
        let before = body.get(copied..span.start);
        edited.extend_from_slice(before.ok_or(GeminiFault::Unreadable)?);
        write_string(&mut edited, &format!("{MODELS}{bare}"));
        copied = span.end;
    }
    edited.extend_from_slice(body.get(copied..).ok_or(GeminiFault::Unreadable)?);
    Ok(Some(edited))
}

fn find_names(
    cursor: &mut Cursor<'_>,
    len: usize,
    spans: &mut Vec<Range<usize>>,
    is_outer: bool,
) -> Result<(), Broken> {
    cursor.members(|key, cursor| {
        let key = key_text(key)?;
        if key == MODEL && cursor.first() == Some(b'"') {
            let start = len.saturating_sub(cursor.left());
            let written = cursor.taken()?.trim_ascii_end();
            spans.push(start..start.saturating_add(written.len()));
            return Ok(());
        }
        if is_outer && COUNTED.contains(&&*key) && cursor.first() == Some(b'{') {
            return find_names(cursor, len, spans, false);
        }
        cursor.skip()
    })
}
