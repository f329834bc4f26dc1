//! `sandbox:<key>=<value>,…;` in the last user text: how a test tells the vendor what to do.
//!
//! What has this form is a directive and is not echoed; an unknown key or a value out of range is
//! refused, so that a misspelt test fails. What merely starts with `sandbox:` is text.

use crate::fault::Fault;

/// Longest wait a test can ask for, before the head or between two pieces.
pub(crate) const WAIT_MS_MAX: u32 = 3_600_000;
/// Most stream pieces of one text.
pub(crate) const CHUNKS_MAX: usize = 100_000;
/// Most words of an answer, and most of thinking.
pub(crate) const WORDS_MAX: usize = 2_000_000;
/// Most parallel tool calls.
pub(crate) const CALLS_MAX: usize = 128;
/// Largest `retry_after`, a month.
pub(crate) const RETRY_AFTER_S_MAX: u32 = 2_592_000;

const MARK: &str = "sandbox:";

/// What the last user text asks of the vendor besides an answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Steering {
    /// `delay`: milliseconds before the head.
    pub(crate) delay_ms: u32,
    /// `chunks`: pieces of the text, or of each tool call's arguments.
    pub(crate) chunks: Option<usize>,
    /// `gap`: milliseconds between two pieces.
    pub(crate) gap_ms: u32,
    /// `status`: refuse with it.
    pub(crate) status: Option<u16>,
    /// `code`: the vendor's error code of a refusal or a failure.
    pub(crate) code: Option<String>,
    /// `retry_after`: seconds, with `status`.
    pub(crate) retry_after_s: Option<u32>,
    /// `error_after`: the vendor's error event after this many pieces.
    pub(crate) error_after: Option<usize>,
    /// `cut_after`: broken connection after this many pieces.
    pub(crate) cut_after: Option<usize>,
    /// `html`: an HTML page with 200.
    pub(crate) html: bool,
    /// `tools`: number of parallel tool calls.
    pub(crate) calls: Option<usize>,
    /// `think`: words of thinking.
    pub(crate) think: Option<usize>,
    /// `usage`: what is claimed.
    pub(crate) claim: Claim,
    /// `disobey`: write this many times the cap.
    pub(crate) disobey: Option<usize>,
    /// `words`: length of the answer.
    pub(crate) words: Option<usize>,
}

/// What the vendor claims about usage.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Claim {
    /// What was used.
    #[default]
    True,
    /// No usage object at all.
    None,
    /// All zero.
    Zero,
    /// More than any call could use.
    Huge,
    /// Below zero.
    Negative,
}

impl Steering {
    /// Takes the directives out of a text. Of two with the same key the later wins.
    pub(crate) fn take(text: &str) -> Result<(String, Self), Fault> {
        let mut steering = Self::default();
        let mut kept = String::with_capacity(text.len());
        let mut rest = text;
        let mut found = false;
        while let Some((before, after)) = rest.split_once(MARK) {
            kept.push_str(before);
            let Some((pairs, following)) = directive(after) else {
                kept.push_str(MARK);
                rest = after;
                continue;
            };
            for (key, value) in pairs {
                steering.set(key, value)?;
            }
            found = true;
            rest = following.strip_prefix(' ').unwrap_or(following);
        }
        kept.push_str(rest);
        let kept = if found { kept.trim().to_owned() } else { kept };
        Ok((kept, steering))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        let bad = || Fault::Steering(format!("`{key}` cannot be `{value}`."));
        let number = |max: usize| {
            let parsed = value.parse::<usize>().ok();
            parsed.filter(|n| *n <= max).ok_or_else(bad)
        };
        let short = |max: u32| {
            let parsed = value.parse::<u32>().ok();
            parsed.filter(|n| *n <= max).ok_or_else(bad)
        };
        match key {
            "delay" => self.delay_ms = short(WAIT_MS_MAX)?,
            "gap" => self.gap_ms = short(WAIT_MS_MAX)?,
            "chunks" => self.chunks = Some(number(CHUNKS_MAX)?.max(1)),
            "status" => {
                let parsed = value.parse::<u16>().ok();
                let status = parsed.filter(|status| (400..=599).contains(status));
                self.status = Some(status.ok_or_else(bad)?);
            }
            "code" => self.code = Some(value.to_owned()),
            "retry_after" => self.retry_after_s = Some(short(RETRY_AFTER_S_MAX)?),
            "error_after" => self.error_after = Some(number(usize::MAX)?),
            "cut_after" => self.cut_after = Some(number(usize::MAX)?),
            "html" => self.html = number(1)? == 1,
            "tools" => self.calls = Some(number(CALLS_MAX)?),
            "think" => self.think = Some(number(WORDS_MAX)?),
            "usage" => self.claim = Claim::named(value).ok_or_else(bad)?,
            "disobey" => self.disobey = Some(number(WORDS_MAX)?.max(1)),
            "words" => self.words = Some(number(WORDS_MAX)?),
            _ => return Err(Fault::Steering(format!("There is no key `{key}`."))),
        }
        Ok(())
    }
}

impl Claim {
    fn named(text: &str) -> Option<Self> {
        Some(match text {
            "none" => Self::None,
            "zero" => Self::Zero,
            "huge" => Self::Huge,
            "negative" => Self::Negative,
            _ => return None,
        })
    }
}

/// The pairs up to `;` and what follows it, if all of it has the form of a directive.
fn directive(text: &str) -> Option<(Vec<(&str, &str)>, &str)> {
    let (inside, after) = text.split_once(';')?;
    let key_byte = |b: u8| b.is_ascii_lowercase() || b == b'_';
    let value_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let mut pairs = Vec::new();
    for pair in inside.split(',') {
        let (key, value) = pair.trim().split_once('=')?;
        let well_formed = !key.is_empty()
            && !value.is_empty()
            && key.bytes().all(key_byte)
            && value.bytes().all(value_byte);
        if !well_formed {
            return None;
        }
        pairs.push((key, value));
    }
    Some((pairs, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steered(change: impl FnOnce(&mut Steering)) -> Steering {
        let mut steering = Steering::default();
        change(&mut steering);
        steering
    }

    // OPS-23
    #[test]
    fn every_key_of_the_table_is_read() {
        for (directive, want) in [
            ("delay=250", steered(|s| s.delay_ms = 250)),
            (
                "chunks=5,gap=20",
                steered(|s| (s.chunks, s.gap_ms) = (Some(5), 20)),
            ),
            (
                "status=429,code=slow_down,retry_after=7",
                steered(|s| {
                    s.status = Some(429);
                    s.code = Some("slow_down".into());
                    s.retry_after_s = Some(7);
                }),
            ),
            ("error_after=2", steered(|s| s.error_after = Some(2))),
            ("cut_after=0", steered(|s| s.cut_after = Some(0))),
            ("html=1", steered(|s| s.html = true)),
            ("tools=2", steered(|s| s.calls = Some(2))),
            ("think=9", steered(|s| s.think = Some(9))),
            ("usage=none", steered(|s| s.claim = Claim::None)),
            ("usage=zero", steered(|s| s.claim = Claim::Zero)),
            ("usage=huge", steered(|s| s.claim = Claim::Huge)),
            ("usage=negative", steered(|s| s.claim = Claim::Negative)),
            ("disobey=10", steered(|s| s.disobey = Some(10))),
            ("words=40", steered(|s| s.words = Some(40))),
        ] {
            let text = format!("Hello sandbox:{directive}; world");
            let (kept, got) = Steering::take(&text).unwrap();
            assert_eq!(got, want, "{directive}");
            assert_eq!(kept, "Hello world", "{directive} is not echoed");
        }
    }

    #[test]
    fn directives_may_stand_anywhere_and_more_than_once() {
        let (kept, got) = Steering::take("sandbox:words=3;a sandbox:words=4, gap=1;").unwrap();
        assert_eq!(kept, "a");
        assert_eq!(got, steered(|s| (s.words, s.gap_ms) = (Some(4), 1)));
    }

    #[test]
    fn what_only_looks_like_a_directive_is_text() {
        for text in [
            "a sandbox: is a box; yes",
            "sandbox:delay=5 without an end",
            "sandbox:;",
            "sandbox:delay;",
            "sandbox:delay=;",
            "sandbox:=5;",
            "  sandbox  ",
        ] {
            let (kept, got) = Steering::take(text).unwrap();
            assert_eq!((kept.as_str(), got), (text, Steering::default()));
        }
    }

    #[test]
    fn a_directive_that_cannot_be_followed_is_refused() {
        for directive in [
            "dealy=5",
            "delay=soon",
            "delay=3600001",
            "delay=-1",
            "status=200",
            "status=600",
            "usage=lots",
            "html=2",
            "words=2000001",
            "tools=129",
        ] {
            let text = format!("sandbox:{directive};");
            let refused = Steering::take(&text);
            assert!(matches!(refused, Err(Fault::Steering(_))), "{directive}");
        }
    }
}
