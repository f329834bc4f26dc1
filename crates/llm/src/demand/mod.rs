//! What a request may make its upstream do, read from its body for the bound of its cost.
//!
//! The rule is: what is not understood is an obstacle, and with an obstacle there is no bound. So
//! the readers know every member that matters, and the list in `known.txt` those that don't.

mod escapes;
mod gemini;
mod known;
mod made;
mod messages;
mod openai;

pub use escapes::escape_bytes;
pub use known::{Known, KnownTool};
pub(crate) use made::{chars_in, image_sort};

use crate::gemini::camel;
use crate::json::{Broken, Cursor};
use crate::surface::Surface;
use known::known;
use tollkeep_types::demand::{CacheWrites, CapForm, Demand, ToolUses};

/// More than any model writes, or anybody asks for.
const COUNT_MAX: u64 = 1 << 40;

/// The forms of requests that can be bounded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Chat completions.
    Chat,
    /// Legacy completions.
    Completions,
    /// Responses.
    Responses,
    /// Embeddings.
    Embeddings,
    /// Images that are made.
    Images,
    /// Text that is spoken.
    Speech,
    /// Anthropic's messages.
    Messages,
    /// Gemini's generateContent.
    Gemini,
}

impl Form {
    /// The form of a surface's requests. `None`: a call that costs nothing.
    pub const fn of(surface: Surface) -> Option<Self> {
        match surface {
            Surface::Chat => Some(Self::Chat),
            Surface::Completions => Some(Self::Completions),
            Surface::Responses => Some(Self::Responses),
            Surface::Embeddings => Some(Self::Embeddings),
            Surface::Images => Some(Self::Images),
            Surface::Speech => Some(Self::Speech),
            Surface::Messages => Some(Self::Messages),
            Surface::Generate | Surface::StreamGenerate => Some(Self::Gemini),
            Surface::CountTokens | Surface::GeminiCount | Surface::Models | Surface::Model => None,
        }
    }

    /// All of them, in the order of the enum.
    pub const ALL: [Self; 8] = [
        Self::Chat,
        Self::Completions,
        Self::Responses,
        Self::Embeddings,
        Self::Images,
        Self::Speech,
        Self::Messages,
        Self::Gemini,
    ];

    /// The name in commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Images => "images",
            Self::Speech => "speech",
            Self::Messages => "messages",
            Self::Gemini => "gemini",
        }
    }

    const fn fields(self) -> &'static str {
        match self {
            Self::Chat => "chat.fields",
            Self::Completions => "completions.fields",
            Self::Responses => "responses.fields",
            Self::Embeddings => "embeddings.fields",
            Self::Images => "images.fields",
            Self::Speech => "speech.fields",
            Self::Messages => "messages.fields",
            Self::Gemini => "gemini.fields",
        }
    }

    const fn cap_form(self) -> CapForm {
        match self {
            Self::Chat => CapForm::Chat,
            Self::Completions | Self::Messages => CapForm::MaxTokens,
            Self::Responses => CapForm::Responses,
            Self::Embeddings | Self::Images | Self::Speech => CapForm::NoOutput,
            Self::Gemini => CapForm::Gemini,
        }
    }
}

/// Reads the body of a request, which [`crate::body::CallView`] has read before; what the operator
/// has `widened` the lists by is known too. A body that can't be read has an obstacle too.
pub fn read(form: Form, body: &[u8], widened: &Known) -> Demand {
    let mut reader = Reader {
        form,
        widened,
        demand: Demand::new(count(body.len()), form.cap_form()),
    };
    let mut cursor = Cursor::new(body);
    let read = match form {
        Form::Chat => reader.chat(&mut cursor),
        Form::Completions => reader.completions(&mut cursor),
        Form::Responses => reader.responses(&mut cursor),
        Form::Embeddings => reader.embeddings(&mut cursor),
        Form::Images => reader.images(&mut cursor),
        Form::Speech => reader.speech(&mut cursor),
        Form::Messages => reader.messages(&mut cursor),
        Form::Gemini => reader.gemini(&mut cursor),
    };
    if read.is_err() || !cursor.is_at_end() {
        reader.obstacle("a member has another form than is understood");
    }
    reader.demand
}

struct Reader<'k> {
    form: Form,
    widened: &'k Known,
    demand: Demand,
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl Reader<'_> {
    /// The first obstacle is told.
    fn obstacle(&mut self, what: &str) {
        /// A name of the caller's is told so far.
        const BYTES_MAX: usize = 120;
        let cut = what.floor_char_boundary(BYTES_MAX);
        let what = what.get(..cut).unwrap_or_default();
        self.demand.obstacle.get_or_insert_with(|| what.into());
    }

    /// Takes an object. Keys with escapes could hide what is looked for, so they are obstacles.
    fn object<'a>(
        &mut self,
        value: &mut Cursor<'a>,
        mut each: impl FnMut(&mut Self, &'a [u8], &mut Cursor<'a>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        if value.null() {
            return Ok(());
        }
        value.members(|key, value| {
            if key.contains(&b'\\') {
                self.obstacle("a key has escapes");
                return value.skip();
            }
            each(self, key, value)
        })
    }

    /// Takes the body itself: members that no reader takes must be known.
    fn body<'a>(
        &mut self,
        value: &mut Cursor<'a>,
        mut each: impl FnMut(&mut Self, &'a [u8], &mut Cursor<'a>) -> Result<bool, Broken>,
    ) -> Result<(), Broken> {
        let section = self.form.fields();
        self.object(value, |reader, key, value| {
            let name = String::from_utf8_lossy(key);
            let listed = if reader.form == Form::Gemini {
                known(section, &camel(&name))
            } else {
                known(section, &name)
            };
            let is_known = listed.is_some() || reader.widened.has_field(&name);
            if !is_known && !value.clone().null() {
                reader.obstacle(&format!("the field `{name}` is not understood"));
            }
            if value.null() || each(reader, key, value)? {
                return Ok(());
            }
            value.skip()
        })
    }

    /// Takes an array, or one value that stands for an array of one.
    fn list<'a>(
        &mut self,
        value: &mut Cursor<'a>,
        mut each: impl FnMut(&mut Self, &mut Cursor<'a>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        if value.null() {
            return Ok(());
        }
        value.items(|item| each(self, item))
    }

    /// Takes a count. What is no whole number is an obstacle.
    fn whole(&mut self, name: &str, value: &mut Cursor<'_>) -> Result<Option<u64>, Broken> {
        let number = self.number(name, value)?;
        if number.is_some_and(|number| number > COUNT_MAX) {
            self.obstacle(&format!("`{name}` is more than anybody does"));
            return Ok(None);
        }
        Ok(number)
    }

    fn number(&mut self, name: &str, value: &mut Cursor<'_>) -> Result<Option<u64>, Broken> {
        let written = value.taken()?;
        let number = std::str::from_utf8(written).ok().map(str::trim);
        let number = number.and_then(|text| text.parse().ok());
        if number.is_none() {
            self.obstacle(&format!("`{name}` is no whole number"));
        }
        Ok(number)
    }

    /// Takes a cap of output that is none if it is zero: there are upstreams that take zero for none
    /// given, and write as much as they like.
    fn cap_above_zero(&mut self, name: &str, value: &mut Cursor<'_>) -> Result<bool, Broken> {
        let least = self.demand.cap.take();
        self.cap(name, value)?;
        if self.demand.cap == Some(0) {
            self.obstacle(&format!("`{name}` is zero"));
        }
        self.demand.cap = self.demand.cap.into_iter().chain(least).min();
        Ok(true)
    }

    /// Takes a cap of output; the least one counts. Whatever it is, the model has its own.
    fn cap(&mut self, name: &str, value: &mut Cursor<'_>) -> Result<bool, Broken> {
        let cap = self.number(name, value)?;
        let cap = cap.map(|cap| cap.min(COUNT_MAX));
        self.demand.cap = self.demand.cap.into_iter().chain(cap).min();
        Ok(true)
    }

    /// Takes how many answers are asked for.
    fn choices(&mut self, name: &str, value: &mut Cursor<'_>) -> Result<bool, Broken> {
        let choices = self.whole(name, value)?.unwrap_or(1);
        self.demand.choices = self.demand.choices.max(choices);
        Ok(true)
    }

    fn service(&mut self, value: &mut Cursor<'_>) -> Result<bool, Broken> {
        let name = value.string()?;
        self.demand.service = crate::usage::service_of(&name);
        let says_nothing = matches!(&*name, "auto" | "standard_only");
        if self.demand.service.is_none() && !says_nothing {
            self.obstacle("`service_tier` is not understood");
        }
        Ok(true)
    }

    /// Takes any value: how many bytes it is written with.
    fn written(value: &mut Cursor<'_>) -> Result<u64, Broken> {
        value
            .taken()
            .map(|taken| count(taken.trim_ascii_end().len()))
    }

    /// Takes the address of an image. What is inline is no text.
    fn image(&mut self, value: &mut Cursor<'_>) -> Result<(), Broken> {
        let inline = value.clone().string()?.starts_with("data:");
        let written = Self::written(value)?;
        if inline {
            // Without its quotes.
            self.media(written.saturating_sub(2));
        }
        self.demand.images = self.demand.images.saturating_add(1);
        Ok(())
    }

    fn media(&mut self, bytes: u64) {
        self.demand.media_bytes = self.demand.media_bytes.saturating_add(bytes);
    }

    fn message(&mut self) {
        self.demand.messages = self.demand.messages.saturating_add(1);
    }

    fn unknown_type(&mut self, of: &str, kind: &str) {
        self.obstacle(&format!("the {of} type `{kind}` is not understood"));
    }

    /// A tool of this type, which is used so often at most if the request says so. Whether it is
    /// one of the lists that are shipped.
    fn tool(&mut self, section: &str, kind: &str, uses: Option<u64>) -> bool {
        let shipped = known(section, kind);
        let tokens = match (shipped, self.widened.tool(kind)) {
            (Some(tokens), _) => tokens,
            (None, Some(widened)) => {
                self.widened_tool(widened, uses);
                widened.extra_tokens
            }
            (None, None) => {
                self.unknown_type("tool", kind);
                return false;
            }
        };
        self.demand.tools = self.demand.tools.saturating_add(1);
        self.demand.tool_tokens = self.demand.tool_tokens.saturating_add(tokens);
        shipped.is_some()
    }

    /// What the upstream runs by itself is run as often as the request says, or else the operator.
    fn widened_tool(&mut self, tool: &KnownTool, uses: Option<u64>) {
        if let Some(uses) = tool.max_uses.map(|most| uses.unwrap_or(most)) {
            let unit = tool.unit;
            self.demand.tool_uses.push(ToolUses { unit, uses });
            // Without a single use the context may still be gone through for nothing.
            self.demand.whole_window |= uses == 0;
        }
    }

    fn cache_control(&mut self, value: &mut Cursor<'_>) -> Result<(), Broken> {
        if !value.null() {
            value.skip()?;
            self.demand.cache_writes = CacheWrites::Asked;
        }
        Ok(())
    }
}

/// The text of a member of an object, which is not taken.
fn member_text<'a>(value: &Cursor<'a>, name: &[u8]) -> Result<Option<String>, Broken> {
    let mut found = None;
    value.clone().members(|key, value: &mut Cursor<'a>| {
        if key == name {
            found = value
                .or_skip(Cursor::string)?
                .ok()
                .map(std::borrow::Cow::into_owned);
            return Ok(());
        }
        value.skip()
    })?;
    Ok(found)
}
