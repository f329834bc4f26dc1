//! What decides whether an answer may be given again to the very same call: what the call asks
//! for, and what the answer is.

use crate::gemini::GENERATION;
use crate::json::values::key_text;
use crate::json::{Broken, Cursor, Scalar, Walked, canonical, scan, walk};
use crate::surface::{Dialect, Surface};
use memchr::memchr_iter;

/// Answers nested deeper are not given again.
const DEPTH_MAX: usize = 128;

/// What is for whoever asked alone.
const SEALS: [&str; 4] = [
    "signature",
    "encrypted_content",
    "thought_signature",
    "thoughtSignature",
];

/// The text of a call's body that is the same for all bodies that say the same, `stream` left out.
/// `None` if it is nested too deep for that.
pub fn canonical_body(body: &[u8]) -> Option<Vec<u8>> {
    canonical(body, &["stream"])
}

impl Surface {
    /// Whether answers to its calls may be given again at all: what is drawn or spoken is made
    /// anew each time, and is long.
    pub const fn is_repeatable(self) -> bool {
        match self {
            Self::Chat
            | Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::Messages
            | Self::CountTokens
            | Self::Generate
            | Self::StreamGenerate
            | Self::GeminiCount => true,
            Self::Images | Self::Speech | Self::Models | Self::Model => false,
        }
    }

    /// Whether what it answers is chosen by chance, unless the call says otherwise.
    const fn is_sampled(self) -> bool {
        match self {
            Self::Chat
            | Self::Completions
            | Self::Responses
            | Self::Messages
            | Self::Generate
            | Self::StreamGenerate => true,
            Self::Embeddings
            | Self::CountTokens
            | Self::GeminiCount
            | Self::Images
            | Self::Speech
            | Self::Models
            | Self::Model => false,
        }
    }
}

/// What a call asks for, as far as it decides whether another answer would do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Repeatable {
    temperature: Option<bool>,
    has_seed: bool,
    /// It changes something at its provider, or is answered later.
    has_effect: bool,
    is_sampled: bool,
}

impl Repeatable {
    /// Reads the body of a call. `None` if it is not one strict JSON object.
    pub fn read(surface: Surface, body: &[u8], depth_max: usize) -> Option<Self> {
        let mut read = Self {
            is_sampled: surface.is_sampled(),
            ..Self::default()
        };
        if surface.dialect() == Dialect::Gemini {
            read.gemini(body).ok()?;
            return Some(read);
        }
        scan(body, depth_max, |place, value| match value {
            Scalar::Number(digits) if place.depth == 1 && place.is("temperature") => {
                let temperature: Option<f64> = digits.text(place.body).parse().ok();
                read.temperature = Some(temperature.is_some_and(|it| it == 0.0));
            }
            Scalar::Number(_) if place.depth == 1 && place.is("seed") => read.has_seed = true,
            Scalar::Bool(true) if place.depth == 1 && place.is("background") => {
                read.has_effect = true;
            }
            Scalar::Text(_) | Scalar::Opened if place.depth == 1 && place.is("conversation") => {
                read.has_effect = true;
            }
            Scalar::Text(_) | Scalar::Bool(_) | Scalar::Number(_) | Scalar::Opened => {}
        })
        .ok()?;
        Some(read)
    }

    fn gemini(&mut self, body: &[u8]) -> Result<(), Broken> {
        Cursor::new(body).members(|key, cursor| {
            if !GENERATION.contains(&&*key_text(key)?) || cursor.first() != Some(b'{') {
                return cursor.skip();
            }
            cursor.members(|key, cursor| {
                let is_number = matches!(cursor.first(), Some(b'-' | b'0'..=b'9'));
                match &*key_text(key)? {
                    "temperature" if is_number => {
                        let number = std::str::from_utf8(cursor.number()?).unwrap_or_default();
                        self.temperature = Some(number.parse().is_ok_and(|it: f64| it == 0.0));
                        Ok(())
                    }
                    "seed" => {
                        self.has_seed |= is_number;
                        cursor.skip()
                    }
                    _ => cursor.skip(),
                }
            })
        })
    }

    /// Whether an answer that was given before may be an answer to it at all.
    pub const fn may_repeat(&self) -> bool {
        !self.has_effect
    }

    /// Whether it asks for the same answer each time.
    pub const fn is_deterministic(&self) -> bool {
        match self.temperature {
            _ if !self.is_sampled => true,
            Some(is_zero) => is_zero,
            None => self.has_seed,
        }
    }
}

/// What an answer is, as far as it decides whether it may be given again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Repeated {
    /// It calls tools, or tells of tools that were called.
    pub calls_tools: bool,
    /// Something in it is sealed for whoever asked: signed thinking, encrypted reasoning.
    pub is_sealed: bool,
    /// It ended because it had become as long as it might.
    pub is_cut_short: bool,
    /// It says that it ended, as its dialect says that.
    is_ended: bool,
    /// It says that it failed, or is no answer of its dialect.
    is_failed: bool,
}

impl Repeated {
    /// Reads a whole answer.
    pub fn of_body(surface: Surface, body: &[u8]) -> Self {
        let mut read = Self::default();
        read.take(surface, body);
        // What has no way to say that it ended is whole when its body is.
        read.is_ended |= !surface.is_sampled();
        read
    }

    /// Reads a stream of events that ended.
    pub fn of_stream(surface: Surface, stream: &[u8]) -> Self {
        let mut read = Self::default();
        let mut start = 0;
        for end in memchr_iter(b'\n', stream).chain([stream.len()]) {
            let line = stream.get(start..end).unwrap_or_default().trim_ascii();
            start = end.saturating_add(1);
            let Some(data) = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii) else {
                continue;
            };
            if data != b"[DONE]" && !data.is_empty() {
                read.take(surface, data);
            }
        }
        read
    }

    /// Whether it is a sound answer, and whole.
    pub const fn is_complete(&self) -> bool {
        self.is_ended && !self.is_failed
    }

    fn take(&mut self, surface: Surface, json: &[u8]) {
        let read = walk(json, DEPTH_MAX, &mut |at, value| match value {
            Walked::Text(text) => {
                let is_end = matches!(&*at.name, "finish_reason" | "stop_reason" | "finishReason");
                self.is_ended |= is_end && !text.is_empty();
                if is_end || at.name == "type" {
                    self.note_kind(&text);
                }
                if at.name == "status" && at.depth <= 2 && surface == Surface::Responses {
                    self.note_status(&text, at.depth);
                }
                self.calls_tools |= at.name == "arguments";
                self.is_sealed |= SEALS.contains(&&*at.name) && !text.is_empty();
                self.is_failed |= at.depth == 1 && at.name == "error";
            }
            Walked::Opened => {
                self.is_failed |= at.depth == 1 && at.name == "error";
                self.calls_tools |= matches!(&*at.name, "functionCall" | "executableCode");
            }
            Walked::Other => {}
        });
        self.is_failed |= read.is_err();
    }

    fn note_kind(&mut self, kind: &str) {
        let is_tool = kind.ends_with("_call")
            || kind.ends_with("tool_use")
            || kind.ends_with("tool_calls")
            || kind.ends_with("_call_output")
            || kind.ends_with("tool_result");
        self.calls_tools |= is_tool;
        self.is_cut_short |= matches!(kind, "length" | "max_tokens" | "MAX_TOKENS");
        self.is_sealed |= kind == "redacted_thinking";
        self.is_failed |= matches!(kind, "error" | "response.failed" | "response.incomplete");
    }

    /// That of a response, or in a stream that of the event's response.
    fn note_status(&mut self, status: &str, depth: usize) {
        match status {
            "completed" => self.is_ended = true,
            "failed" | "cancelled" | "incomplete" => self.is_failed = true,
            // Answered later; in a stream it says so until it is done.
            "queued" | "in_progress" => self.is_failed |= depth == 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LLM-83
    #[test]
    fn a_call_asks_for_the_same_answer_by_temperature_0_or_by_a_seed_alone() {
        for (name, surface, body, want) in [
            ("cold", Surface::Chat, r#"{"temperature":0}"#, true),
            (
                "cold, written long",
                Surface::Chat,
                r#"{"temperature":0.00e0}"#,
                true,
            ),
            ("warm", Surface::Chat, r#"{"temperature":0.1}"#, false),
            ("nothing said", Surface::Chat, "{}", false),
            ("a seed", Surface::Chat, r#"{"seed":7}"#, true),
            (
                "a seed, and warm",
                Surface::Chat,
                r#"{"seed":7,"temperature":1}"#,
                false,
            ),
            (
                "null is nothing",
                Surface::Chat,
                r#"{"temperature":null,"seed":7}"#,
                true,
            ),
            (
                "elsewhere",
                Surface::Chat,
                r#"{"metadata":{"temperature":0}}"#,
                false,
            ),
            ("a text", Surface::Chat, r#"{"temperature":"0"}"#, false),
            ("embeddings", Surface::Embeddings, "{}", true),
            ("messages", Surface::Messages, "{}", false),
        ] {
            let read = Repeatable::read(surface, body.as_bytes(), 8).unwrap();
            assert_eq!(read.is_deterministic(), want, "{name}");
            assert!(read.may_repeat(), "{name}");
        }
        for effect in [
            r#"{"background":true}"#,
            r#"{"conversation":"conv_1"}"#,
            r#"{"conversation":{"id":"conv_1"}}"#,
        ] {
            let read = Repeatable::read(Surface::Responses, effect.as_bytes(), 8).unwrap();
            assert!(!read.may_repeat(), "{effect}");
        }
        assert_eq!(Repeatable::read(Surface::Chat, b"[]", 8), None);
    }

    const STOP: &str =
        r#"{"choices":[{"message":{"content":"x","tool_calls":null},"finish_reason":"stop"}]}"#;

    // LLM-83 LLM-D21
    #[test]
    #[rustfmt::skip]
    fn whole_answers_are_told_from_others() {
        use Surface::{Chat, CountTokens, Embeddings, Messages, Responses};
        for (name, surface, body, want) in [
            ("chat", Chat, STOP, (true, false, false)),
            ("no end", Chat, r#"{"choices":[{"finish_reason":null}]}"#, (false, false, false)),
            ("error inside", Chat, r#"{"error":{"message":"x"},"choices":[{"finish_reason":"stop"}]}"#, (false, false, false)),
            ("an error of words", Chat, r#"{"error":"x","choices":[{"finish_reason":"stop"}]}"#, (false, false, false)),
            ("tools", Chat, r#"{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}]}"#, (true, true, false)),
            ("tools by reason", Chat, r#"{"choices":[{"finish_reason":"tool_calls"}]}"#, (true, true, false)),
            ("tools in words", Chat, r#"{"choices":[{"message":{"content":"\"tool_calls\""},"finish_reason":"stop"}]}"#, (true, false, false)),
            ("messages", Messages, r#"{"type":"message","content":[{"type":"text"}],"stop_reason":"end_turn"}"#, (true, false, false)),
            ("a tool's use", Messages, r#"{"content":[{"type":"server_tool_use"}],"stop_reason":"end_turn"}"#, (true, true, false)),
            ("signed thinking", Messages, r#"{"content":[{"type":"thinking","signature":"x"}],"stop_reason":"end_turn"}"#, (true, false, true)),
            ("hidden thinking", Messages, r#"{"content":[{"type":"redacted_thinking"}],"stop_reason":"end_turn"}"#, (true, false, true)),
            ("error of messages", Messages, r#"{"type":"error","stop_reason":"x"}"#, (false, false, false)),
            ("a response", Responses, r#"{"status":"completed","error":null,"output":[{"type":"message","status":"completed"}]}"#, (true, false, false)),
            ("a response that is not done", Responses, r#"{"status":"queued"}"#, (false, false, false)),
            ("a response cut short", Responses, r#"{"status":"incomplete","output":[{"status":"completed"}]}"#, (false, false, false)),
            ("a response with a call", Responses, r#"{"status":"completed","output":[{"type":"web_search_call"}]}"#, (true, true, false)),
            ("sealed reasoning", Responses, r#"{"status":"completed","output":[{"encrypted_content":"x"}]}"#, (true, false, true)),
            ("embeddings", Embeddings, r#"{"data":[]}"#, (true, false, false)),
            ("a count", CountTokens, r#"{"input_tokens":3}"#, (true, false, false)),
            ("no JSON", Embeddings, "<html>", (false, false, false)),
            ("cut", Chat, r#"{"choices":[{"finish_reason":"stop"}"#, (false, false, false)),
        ] {
            let read = Repeated::of_body(surface, body.as_bytes());
            let got = (read.is_complete(), read.calls_tools, read.is_sealed);
            assert_eq!(got, want, "{name}");
        }
    }

    // LLM-83
    #[test]
    fn what_ended_for_its_length_says_so() {
        for (body, want) in [
            (r#"{"choices":[{"finish_reason":"length"}]}"#, true),
            (r#"{"stop_reason":"max_tokens"}"#, true),
            (STOP, false),
        ] {
            let read = Repeated::of_body(Surface::Chat, body.as_bytes());
            assert_eq!(
                (read.is_complete(), read.is_cut_short),
                (true, want),
                "{body}"
            );
        }
    }

    // LLM-84 LLM-D21
    #[test]
    fn whole_streams_are_told_from_others() {
        let chat = |last: &str| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"x\"}}}}]}}\n\n{last}data: [DONE]\n\n"
            )
        };
        for (name, surface, stream, want) in [
            ("chat", Surface::Chat, chat("data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\r\n\r\n"), (true, false)),
            ("without a reason", Surface::Chat, chat(""), (false, false)),
            ("tools", Surface::Chat, chat("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":\"\"}}]},\"finish_reason\":\"stop\"}]}\n\n"), (true, true)),
            ("an error", Surface::Chat, chat("data: {\"error\":{\"message\":\"x\"}}\n\ndata: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n"), (false, false)),
            ("no JSON", Surface::Chat, chat("data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: {\n\n"), (false, false)),
            ("responses", Surface::Responses, "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"status\":\"in_progress\"}}\n\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n".to_owned(), (true, false)),
            ("responses that failed", Surface::Responses, "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\"}}\n\n".to_owned(), (false, false)),
            ("messages", Surface::Messages, "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n".to_owned(), (true, false)),
        ] {
            let read = Repeated::of_stream(surface, stream.as_bytes());
            assert_eq!((read.is_complete(), read.calls_tools), want, "{name}");
        }
    }
}
