//! What a call to a model may make its upstream do: the sizes and wishes of its request that
//! decide what it can cost at most.

use crate::usage::{Modifiers, Service, Unit};

/// The field that a cap of output is written into.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CapForm {
    /// `max_completion_tokens` or `max_tokens`, as the model wants it.
    Chat,
    /// `max_tokens`
    MaxTokens,
    /// `max_output_tokens`
    Responses,
    /// `generationConfig.maxOutputTokens`
    Gemini,
    /// There is no output.
    NoOutput,
}

/// Searches that a server does by itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Searches {
    /// Web searches, each of which is one more round.
    pub web: u64,
    /// Pages fetched, each of which is one more round.
    pub fetches: u64,
    /// File searches, each of which is one more round.
    pub files: u64,
    /// One search within the one round (chat's `web_search_options`).
    pub in_round: bool,
    /// The prompt is grounded (gemini's `googleSearch`).
    pub grounded: bool,
}

/// Who writes caches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CacheWrites {
    /// Nobody, unless the model does so by itself.
    #[default]
    Unasked,
    /// The request asks for it (`cache_control`).
    Asked,
}

/// Uses of a tool that only the operator knows (`budgets.known_tools`). Each is one more round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ToolUses {
    /// What is billed for each.
    pub unit: Option<Unit>,
    /// How many at most.
    pub uses: u64,
}

/// Images that are to be made, as many as there are choices.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ImagesWanted {
    /// Of this quality; `None` or `auto`: the upstream's choice.
    pub quality: Option<Box<str>>,
    /// Of this size; `None` or `auto`: the upstream's choice.
    pub size: Option<Box<str>>,
}

/// What a request asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Demand {
    /// Bytes of the body as received.
    pub bytes: u64,
    /// Bytes of it that are inline media.
    pub media_bytes: u64,
    /// Messages or items, one more for instructions.
    pub messages: u64,
    /// Tools.
    pub tools: u64,
    /// Tokens that prompts of known tools add.
    pub tool_tokens: u64,
    /// Images, inline or by address.
    pub images: u64,
    /// There is audio in it.
    pub audio_in: bool,
    /// Something whose size it does not tell: the whole context may be read.
    pub whole_window: bool,
    /// Answers that are asked for (`n`).
    pub choices: u64,
    /// The least cap that it names.
    pub cap: Option<u64>,
    /// Where its cap stands.
    pub cap_form: CapForm,
    /// `thinking.budget_tokens`
    pub thinking_budget: Option<u64>,
    /// The service that it asks for; `None`: the upstream's own choice.
    pub service: Option<Service>,
    /// What it asks for that multiplies prices.
    pub modifiers: Modifiers,
    /// Who writes caches.
    pub cache_writes: CacheWrites,
    /// Searches.
    pub searches: Searches,
    /// It wants audio.
    pub audio_out: bool,
    /// It wants images beside text.
    pub image_out: bool,
    /// It wants images and nothing else.
    pub images_wanted: Option<ImagesWanted>,
    /// It wants a text spoken, of so many characters.
    pub chars_in: Option<u64>,
    /// Tools of the operator's list that the upstream runs by itself.
    pub tool_uses: Vec<ToolUses>,
    /// The first thing in it that is not understood, so that nothing bounds it.
    pub obstacle: Option<Box<str>>,
}

impl Demand {
    /// A request that asks for nothing.
    pub const fn new(bytes: u64, cap_form: CapForm) -> Self {
        Self {
            bytes,
            media_bytes: 0,
            messages: 0,
            tools: 0,
            tool_tokens: 0,
            images: 0,
            audio_in: false,
            whole_window: false,
            choices: 1,
            cap: None,
            cap_form,
            thinking_budget: None,
            service: None,
            modifiers: Modifiers {
                speed: None,
                inference_geo: None,
            },
            cache_writes: CacheWrites::Unasked,
            searches: Searches {
                web: 0,
                fetches: 0,
                files: 0,
                in_round: false,
                grounded: false,
            },
            audio_out: false,
            image_out: false,
            images_wanted: None,
            chars_in: None,
            tool_uses: Vec::new(),
            obstacle: None,
        }
    }
}
