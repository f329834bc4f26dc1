//! A call brought down to what it may ask for: a few bytes of its body are others then.

use super::gemini::count_of;
use super::{Count, choice_keys, note_count, output_keys};
use crate::gemini::{CHOICES, GENERATION, OUTPUT};
use crate::json::values::key_text;
use crate::json::{Broken, Cursor};
use crate::surface::Surface;

/// The least that models think with (Anthropic, extended thinking).
const THINKING_TOKENS_MIN: u64 = 1024;

/// To what a body is brought down.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Bounds {
    /// Tokens of output.
    pub output_tokens: Option<u64>,
    /// Answers at once.
    pub choices: Option<u64>,
    /// The service, where the body leaves it to the account.
    pub service: Option<&'static str>,
    /// A stream is to tell its usage.
    pub usage: bool,
}

/// Why a body can't be brought down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BoundFault {
    /// It is not what it was when it was read strictly, or nests too deep.
    Unreadable,
    /// It wants to think, and too few tokens are left for that.
    Thinking,
}

impl From<Broken> for BoundFault {
    fn from(_: Broken) -> Self {
        Self::Unreadable
    }
}

/// What to write instead of some bytes.
#[derive(Clone, Copy)]
struct Edit {
    start: usize,
    end: usize,
    with: With,
}

#[derive(Clone, Copy)]
enum With {
    Number(u64),
    /// Text without anything to escape.
    Text(&'static str),
    /// JSON as it stands.
    Json(&'static str),
    /// The bound of output as a member of Gemini's settings of the generation, within this.
    Output(u64, [&'static str; 2]),
}

/// Around a member: the object that has no other.
const ALONE: [&str; 2] = ["{", "}"];
/// It is the only one of an object that is there.
const ONLY: [&str; 2] = ["", ""];
/// Others follow.
const FIRST: [&str; 2] = ["", ","];

impl With {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Text(text) => {
                out.push(b'"');
                out.extend_from_slice(text.as_bytes());
                out.push(b'"');
            }
            Self::Json(json) => out.extend_from_slice(json.as_bytes()),
            Self::Output(number, [before, after]) => {
                let key = OUTPUT[0];
                out.extend_from_slice(format!("{before}\"{key}\":{number}{after}").as_bytes());
            }
        }
    }
}

/// The member that names the service.
const SERVICE_KEY: &str = "service_tier";
/// The member that asks a stream for its usage, and the whole of it.
const STREAM_KEY: &str = "stream_options";
const USAGE_KEY: &str = "include_usage";
const STREAM_WITH_USAGE: &str = "{\"include_usage\":true}";
/// Its value that leaves the service to the account.
const SERVICE_OF_ACCOUNT: &str = "auto";

/// What is found in one pass.
struct Found {
    edits: Vec<Edit>,
    is_empty: bool,
    says_output: bool,
    says_service: bool,
    says_stream: bool,
    /// The output is bounded further than it was.
    is_lowered: bool,
    /// The tokens to think with, and where they stand.
    thinking: Option<(Edit, Count)>,
}

/// The body with these bounds written in: where it asks for more, and for output also where it says
/// nothing, under the name `say_output_as`; the service where it names none. Tokens to think with are fewer than those of the output
/// then. Every other byte is as it was. `None`: it fits as it is.
///
/// # Errors
/// See [`BoundFault`].
pub fn bounded(
    surface: Surface,
    body: &[u8],
    bounds: &Bounds,
    say_output_as: &str,
) -> Result<Option<Vec<u8>>, BoundFault> {
    let opens_at = body.len().saturating_sub(Cursor::new(body).left());
    let mut found = Found::read(surface, body, bounds)?;
    let inserted = bounds.output_tokens.filter(|_| !found.says_output);
    let service = bounds.service.filter(|_| !found.says_service);
    let stream = (bounds.usage && !found.says_stream).then_some(STREAM_WITH_USAGE);
    found.bound_thinking(bounds, inserted)?;
    let inserts = inserted.is_some() || service.is_some() || stream.is_some();
    if found.edits.is_empty() && !inserts {
        return Ok(None);
    }
    let piece = |from: usize, to: usize| body.get(from..to).ok_or(BoundFault::Unreadable);
    let mut edited = Vec::with_capacity(body.len().saturating_add(64));
    let mut copied = opens_at.saturating_add(1);
    edited.extend_from_slice(piece(0, copied)?);
    let output = |max| match generates(surface) {
        true => (GENERATION[0], With::Output(max, ALONE)),
        false => (say_output_as, With::Number(max)),
    };
    let new = [
        inserted.map(output),
        service.map(|service| (SERVICE_KEY, With::Text(service))),
        stream.map(|stream| (STREAM_KEY, With::Json(stream))),
    ];
    let mut new = new.into_iter().flatten().peekable();
    while let Some((key, with)) = new.next() {
        edited.extend_from_slice(format!("\"{key}\":").as_bytes());
        with.write(&mut edited);
        if new.peek().is_some() || !found.is_empty {
            edited.push(b',');
        }
    }
    for edit in found.edits {
        edited.extend_from_slice(piece(copied, edit.start)?);
        edit.with.write(&mut edited);
        copied = edit.end;
    }
    edited.extend_from_slice(piece(copied, body.len())?);
    Ok(Some(edited))
}

/// Whether its calls are Gemini's, and make something.
const fn generates(surface: Surface) -> bool {
    matches!(surface, Surface::Generate | Surface::StreamGenerate)
}

impl Found {
    fn read(surface: Surface, body: &[u8], bounds: &Bounds) -> Result<Self, BoundFault> {
        let mut found = Self {
            edits: Vec::new(),
            is_empty: true,
            says_output: output_keys(surface).is_empty() && !generates(surface),
            says_service: false,
            says_stream: false,
            is_lowered: false,
            thinking: None,
        };
        Cursor::new(body).members(|key, cursor| {
            found.is_empty = false;
            let key = key_text(key)?;
            if generates(surface) && GENERATION.contains(&&*key) {
                return Ok(found.bound_generation((body, bounds), cursor)?);
            }
            let is_output = output_keys(surface).contains(&&*key);
            if is_output && let Some(max) = bounds.output_tokens {
                found.says_output = true;
                return Ok(found.bound((body, max), cursor)?);
            }
            if choice_keys(surface).contains(&&*key)
                && cursor.first() != Some(b'n')
                && let Some(max) = bounds.choices
            {
                let is_lowered = found.is_lowered;
                found.bound((body, max), cursor)?;
                found.is_lowered = is_lowered;
                return Ok(());
            }
            if surface == Surface::Messages && key == "thinking" && cursor.first() == Some(b'{') {
                return Ok(found.look_at_thinking(body, cursor)?);
            }
            if key == SERVICE_KEY
                && let Some(service) = bounds.service
            {
                found.says_service = true;
                return Ok(found.pin_service((body, service), cursor)?);
            }
            if key == STREAM_KEY && bounds.usage {
                found.says_stream = true;
                return Ok(found.ask_for_usage(body, cursor)?);
            }
            Ok::<_, BoundFault>(cursor.skip()?)
        })?;
        Ok(found)
    }

    /// Takes a number, which becomes at most `max`.
    fn bound(&mut self, (body, max): (&[u8], u64), cursor: &mut Cursor<'_>) -> Result<(), Broken> {
        let (edit, asked) = number(body, max, cursor)?;
        if !matches!(asked, Some(Count::Number(number)) if number <= max) {
            self.edits.push(edit);
            self.is_lowered = true;
        }
        Ok(())
    }

    /// Takes the settings of Gemini's generation: each that is there bounds what it bounds.
    fn bound_generation(
        &mut self,
        (body, bounds): (&[u8], &Bounds),
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Broken> {
        let place = |cursor: &Cursor<'_>| body.len().saturating_sub(cursor.left());
        let start = place(cursor);
        if cursor.first() != Some(b'{') {
            cursor.skip()?;
            if let Some(max) = bounds.output_tokens {
                let (end, with) = (place(cursor), With::Output(max, ALONE));
                self.edits.push(Edit { start, end, with });
                self.says_output = true;
            }
            return Ok(());
        }
        let (mut says_output, mut is_empty) = (false, true);
        let before = self.edits.len();
        cursor.members(|key, cursor| {
            is_empty = false;
            let key = key_text(key)?;
            let most = if OUTPUT.contains(&&*key) {
                says_output |= bounds.output_tokens.is_some();
                bounds.output_tokens
            } else if CHOICES.contains(&&*key) && cursor.first() != Some(b'n') {
                bounds.choices
            } else {
                None
            };
            let Some(max) = most else {
                return cursor.skip();
            };
            let start = place(cursor);
            let asked = count_of(cursor)?;
            if !matches!(asked, Some(Count::Number(number)) if number <= max) {
                let (end, with) = (place(cursor), With::Number(max));
                self.edits.push(Edit { start, end, with });
            }
            Ok(())
        })?;
        if let Some(max) = bounds.output_tokens.filter(|_| !says_output) {
            let at = start.saturating_add(1);
            let with = With::Output(max, if is_empty { ONLY } else { FIRST });
            let edit = Edit {
                start: at,
                end: at,
                with,
            };
            self.edits.insert(before, edit);
        }
        self.says_output |= bounds.output_tokens.is_some();
        Ok(())
    }

    /// Takes the service, which is named then.
    fn pin_service(
        &mut self,
        (body, service): (&[u8], &'static str),
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Broken> {
        let start = body.len().saturating_sub(cursor.left());
        cursor.skip()?;
        let end = body.len().saturating_sub(cursor.left());
        let said = body.get(start..end).unwrap_or_default().trim_ascii();
        let is_open = match said {
            b"null" => true,
            [b'"', text @ .., b'"'] => key_text(text)? == SERVICE_OF_ACCOUNT,
            _ => false,
        };
        if is_open {
            let with = With::Text(service);
            self.edits.push(Edit { start, end, with });
        }
        Ok(())
    }

    /// Takes the options of a stream, which ask for its usage then.
    fn ask_for_usage(&mut self, body: &[u8], cursor: &mut Cursor<'_>) -> Result<(), Broken> {
        let place = |cursor: &Cursor<'_>| body.len().saturating_sub(cursor.left());
        let start = place(cursor);
        if cursor.first() != Some(b'{') {
            cursor.skip()?;
            let (end, with) = (place(cursor), With::Json(STREAM_WITH_USAGE));
            self.edits.push(Edit { start, end, with });
            return Ok(());
        }
        let (mut is_asked, mut is_empty) = (false, true);
        let edits = &mut self.edits;
        cursor.members(|key, cursor| {
            is_empty = false;
            if key_text(key)? != USAGE_KEY {
                return cursor.skip();
            }
            is_asked = true;
            let start = place(cursor);
            cursor.skip()?;
            let (end, with) = (place(cursor), With::Json("true"));
            let said = body.get(start..end).unwrap_or_default();
            if said.trim_ascii() != b"true" {
                edits.push(Edit { start, end, with });
            }
            Ok(())
        })?;
        if !is_asked {
            let at = start.saturating_add(1);
            let json = if is_empty {
                "\"include_usage\":true"
            } else {
                "\"include_usage\":true,"
            };
            let with = With::Json(json);
            let (start, end) = (at, at);
            self.edits.push(Edit { start, end, with });
        }
        Ok(())
    }

    fn look_at_thinking(&mut self, body: &[u8], cursor: &mut Cursor<'_>) -> Result<(), Broken> {
        cursor.members(|key, cursor| {
            if key_text(key)? != "budget_tokens" {
                return cursor.skip();
            }
            let (edit, asked) = number(body, 0, cursor)?;
            self.thinking = asked.map(|asked| (edit, asked));
            Ok(())
        })
    }

    /// A model thinks with fewer tokens than it may give out.
    fn bound_thinking(&mut self, bounds: &Bounds, inserted: Option<u64>) -> Result<(), BoundFault> {
        let is_lowered = self.is_lowered || inserted.is_some();
        let (Some((edit, asked)), Some(max)) = (self.thinking, bounds.output_tokens) else {
            return Ok(());
        };
        if !is_lowered || !asked.exceeds(max.saturating_sub(1)) {
            return Ok(());
        }
        let number = max.saturating_sub(1);
        if number < THINKING_TOKENS_MIN {
            return Err(BoundFault::Thinking);
        }
        let with = With::Number(number);
        self.edits.push(Edit { with, ..edit });
        self.edits.sort_unstable_by_key(|edit| edit.start);
        Ok(())
    }
}

/// Takes a value: where it stands, with `instead` for it, and what it asks for.
fn number(
    body: &[u8],
    instead: u64,
    cursor: &mut Cursor<'_>,
) -> Result<(Edit, Option<Count>), Broken> {
    let start = body.len().saturating_sub(cursor.left());
    let mut asked = None;
    note_count(&mut asked, cursor)?;
    let edit = Edit {
        start,
        end: body.len().saturating_sub(cursor.left()),
        with: With::Number(instead),
    };
    Ok((edit, asked))
}
