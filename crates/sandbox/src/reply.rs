//! What the vendor says: the same for the same call, in no vendor's words yet.

use serde_json::Value;

use crate::ask::{Ask, Offer};
use crate::schema;
use crate::steering::Claim;
use crate::words::{self, Pieces};

/// Words of thinking of a model that thinks unasked.
const THINK_WORDS: usize = 6;
/// Most pieces of a text whose call doesn't say how many.
const PIECES_MAX: usize = 10_000;
/// Characters in a piece of tool arguments whose call doesn't say how many pieces.
const ARGUMENT_PIECE: usize = 8;
/// A count that no call can reach and that every client can read: the largest integer of a double.
const HUGE: i64 = 9_007_199_254_740_991;

/// An answer.
pub(crate) struct Reply {
    /// What the model thought first; none for a model that doesn't think.
    pub(crate) thinking: Option<Pieces>,
    /// What it says.
    pub(crate) output: Output,
    /// Why it stopped.
    pub(crate) finish: Finish,
    /// What it claims to have used.
    pub(crate) tally: Option<Tally>,
}

/// What an answer consists of.
pub(crate) enum Output {
    /// Words.
    Text(Pieces),
    /// Tool calls, at least one.
    Calls(Vec<Call>),
}

/// One tool call.
pub(crate) struct Call {
    /// The tool.
    pub(crate) name: String,
    /// Its arguments as JSON text.
    pub(crate) arguments: Pieces,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Finish {
    /// All was said.
    Stop,
    /// The cap was reached.
    Length,
    /// Tools were called.
    Calls,
}

/// Token counts as claimed, which may be false.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Tally {
    /// Input.
    pub(crate) input: i64,
    /// Output, thinking included.
    pub(crate) output: i64,
    /// Thinking.
    pub(crate) thinking: i64,
}

impl Tally {
    /// Input and output.
    pub(crate) fn total(self) -> i64 {
        self.input.saturating_add(self.output)
    }

    /// The claim a call asked for, of these true counts.
    pub(crate) fn claimed(
        claim: Claim,
        input: i64,
        output: usize,
        thinking: usize,
    ) -> Option<Self> {
        let counted = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let all = |count: i64| Self {
            input: count,
            output: count,
            thinking: 0,
        };
        match claim {
            Claim::None => None,
            Claim::Zero => Some(all(0)),
            Claim::Huge => Some(all(HUGE)),
            Claim::True => Some(Self {
                input,
                output: counted(output),
                thinking: counted(thinking),
            }),
            Claim::Negative => Some(Self {
                input: input.saturating_neg(),
                output: counted(output).saturating_neg(),
                thinking: 0,
            }),
        }
    }
}

impl Reply {
    /// The answer to a call.
    pub(crate) fn to(ask: &Ask) -> Self {
        let steering = &ask.steering;
        let usual = if ask.thinks() { THINK_WORDS } else { 0 };
        let thought = steering
            .think
            .unwrap_or(usual)
            .min(ask.cap.unwrap_or(usize::MAX));
        let thinking = (thought > 0).then(|| {
            let text = words::fit("The user wrote; I shall answer.", thought);
            Pieces::by_words(text, steering.chunks.unwrap_or(PIECES_MAX))
        });
        let calls = ask
            .offer
            .as_ref()
            .map_or_else(Vec::new, |offer| calls(ask, offer));
        let (output, said, finish) = if calls.is_empty() {
            let (text, finish) = text(ask, thought);
            let said = words::count(text.text());
            (Output::Text(text), said, finish)
        } else {
            let cost =
                |call: &Call| words::count(&call.name).max(1) + words::count(call.arguments.text());
            let said = calls.iter().map(cost).sum();
            (Output::Calls(calls), said, Finish::Calls)
        };
        let most = match (ask.cap, steering.disobey) {
            (Some(cap), None) => cap,
            (Some(_), Some(_)) | (None, _) => usize::MAX,
        };
        let spent = (thought + said).min(most);
        Self {
            thinking,
            output,
            finish,
            tally: Tally::claimed(steering.claim, ask.tokens_in, spent, thought),
        }
    }
}

/// The text, as long as the steering and the cap say.
fn text(ask: &Ask, thought: usize) -> (Pieces, Finish) {
    let steering = &ask.steering;
    if let Some(schema) = &ask.schema {
        let text = schema::smallest(schema).to_string();
        let pieces = steering
            .chunks
            .unwrap_or_else(|| text.len().div_ceil(ARGUMENT_PIECE));
        return (Pieces::by_chars(text, pieces), Finish::Stop);
    }
    let said = format!("You said: {}", ask.text);
    let natural = words::count(&said).max(steering.chunks.unwrap_or(0));
    let wanted = steering.words.unwrap_or(natural);
    let (length, finish) = match (ask.cap, steering.disobey) {
        (Some(cap), Some(times)) => {
            let longest = crate::steering::WORDS_MAX;
            (
                cap.saturating_mul(times)
                    .min(longest)
                    .saturating_sub(thought),
                Finish::Stop,
            )
        }
        (Some(cap), None) if wanted > cap - thought => (cap - thought, Finish::Length),
        (Some(_), None) | (None, _) => (wanted, Finish::Stop),
    };
    let pieces = steering.chunks.unwrap_or(PIECES_MAX);
    (Pieces::by_words(words::fit(&said, length), pieces), finish)
}

/// The tool calls: as many as steered, else one if a tool must be called or a question was asked.
fn calls(ask: &Ask, offer: &Offer) -> Vec<Call> {
    let asked = offer.must || ask.text.contains('?');
    let wanted = ask.steering.calls.unwrap_or(usize::from(asked));
    let wanted = if offer.parallel {
        wanted
    } else {
        wanted.min(1)
    };
    let tools = offer.tools.iter().cycle().take(wanted);
    let called = tools.map(|tool| {
        let arguments = match schema::smallest(&tool.schema) {
            Value::Object(members) => Value::Object(members).to_string(),
            // Arguments are an object, whatever else a schema of no type would allow.
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => "{}".to_owned(),
        };
        let usual = arguments.len().div_ceil(ARGUMENT_PIECE);
        let pieces = ask.steering.chunks.unwrap_or(usual);
        Call {
            name: tool.name.clone(),
            arguments: Pieces::by_chars(arguments, pieces),
        }
    });
    called.collect()
}
