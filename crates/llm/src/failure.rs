//! What kind of failure a provider's error answer is (LLM-R40, R41), and how long the provider says
//! to wait (LLM-R45).
//!
//! The answer may quote what the caller sent. So a word counts only where it is a whole JSON string,
//! which no caller can make out of the middle of a message, and a sentence only at the beginning of
//! the message.

use memchr::memmem;
use std::time::Duration;

/// Bytes of an answer that are looked at.
const LOOKED_AT_BYTES: usize = 4096;
/// Longer waits are not meant.
const WAIT_MAX: Duration = Duration::from_secs(31 * 86_400);

const SECOND_US: u64 = 1_000_000;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// No answer in time.
    Timeout,
    /// The provider failed.
    Transient,
    /// It has too much to do.
    Overload,
    /// Too many calls for now.
    RateLimit,
    /// What may be used is used up.
    Quota,
    /// The account is not paid for.
    Billing,
    /// The credential is refused.
    Auth,
    /// The model is not there.
    ModelMissing,
    /// The input is too long for the model.
    ContextOverflow,
    /// The input is not wanted.
    Policy,
    /// The call itself.
    BadRequest,
    /// A server of the operator's has no room for the model.
    Resource,
    /// Something before the provider wants to see a browser.
    Challenge,
}

/// Words that decide whatever the status is, and what they say.
const CODES: &[(&str, Failure)] = &[
    ("insufficient_quota", Failure::Quota),
    ("quota_exceeded", Failure::Quota),
    ("billing_error", Failure::Billing),
    ("billing_hard_limit_reached", Failure::Billing),
    ("invalid_api_key", Failure::Auth),
    ("authentication_error", Failure::Auth),
    ("api_key_invalid", Failure::Auth),
    ("rate_limit_exceeded", Failure::RateLimit),
    ("rate_limit_error", Failure::RateLimit),
    ("overloaded_error", Failure::Overload),
    ("server_is_overloaded", Failure::Overload),
    ("engine_overloaded", Failure::Overload),
    ("slow_down", Failure::Overload),
    ("model_not_found", Failure::ModelMissing),
    ("context_length_exceeded", Failure::ContextOverflow),
    ("content_policy_violation", Failure::Policy),
    ("content_filter", Failure::Policy),
];

/// How messages begin that decide where no word did, and what they say.
const BEGINNINGS: &[(&str, Failure)] = &[
    ("your credit balance is too low", Failure::Billing),
    ("insufficient balance", Failure::Billing),
    ("insufficient credits", Failure::Billing),
    ("you exceeded your current quota", Failure::Quota),
    ("api key not valid", Failure::Auth),
    ("prompt is too long", Failure::ContextOverflow),
    (
        "this model's maximum context length",
        Failure::ContextOverflow,
    ),
    ("the input token count", Failure::ContextOverflow),
    ("failed to load model", Failure::Resource),
];

/// The kind of an error answer.
pub fn of_answer(status: u16, is_challenge: bool, body: &[u8]) -> Failure {
    if is_challenge {
        return Failure::Challenge;
    }
    let start = body.get(..LOOKED_AT_BYTES).unwrap_or(body);
    let text = start.to_ascii_lowercase();
    let said = CODES.iter().find(|(word, _)| has_word(&text, word));
    let begins = || {
        let mut known = BEGINNINGS.iter();
        known.find(|(sentence, _)| message_begins(&text, sentence))
    };
    if let Some((_, failure)) = said.or_else(begins) {
        return *failure;
    }
    match status {
        401 | 403 => Failure::Auth,
        402 => Failure::Billing,
        404 => Failure::ModelMissing,
        408 | 504 | 524 => Failure::Timeout,
        429 => Failure::RateLimit,
        503 if memmem::find(&text, b"overloaded").is_some() => Failure::Overload,
        529 => Failure::Overload,
        400..=499 => Failure::BadRequest,
        _ => Failure::Transient,
    }
}

/// Whether the word is a whole JSON string of the text.
fn has_word(text: &[u8], word: &str) -> bool {
    memmem::find_iter(text, word.as_bytes()).any(|at| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        before == Some(&b'"') && text.get(at + word.len()) == Some(&b'"')
    })
}

/// Whether the first member `message` begins so.
fn message_begins(text: &[u8], sentence: &str) -> bool {
    const MEMBER: &[u8] = b"\"message\"";
    let Some(at) = memmem::find(text, MEMBER) else {
        return false;
    };
    let rest = text.get(at + MEMBER.len()..).unwrap_or_default();
    let rest = rest.trim_ascii_start();
    let value = rest.strip_prefix(b":").unwrap_or_default();
    let value = value.trim_ascii_start().strip_prefix(b"\"");
    value.is_some_and(|value| value.starts_with(sentence.as_bytes()))
}

/// How long the provider says to wait, by the fields of its answer and then by its message.
/// `field` gives the value of a field by its lower-case name.
pub fn told_wait<'a>(field: impl Fn(&str) -> Option<&'a [u8]>, body: &[u8]) -> Option<Duration> {
    let text = |name| field(name).and_then(|value| std::str::from_utf8(value).ok());
    let milliseconds = || checked(micros(text("retry-after-ms")?.trim(), 1_000)?);
    let seconds = || checked(micros(text("retry-after")?.trim(), SECOND_US)?);
    let resets = || {
        let names = ["x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"];
        let told = names.into_iter().filter_map(text);
        told.filter_map(go_duration).max()
    };
    let message = || {
        const BEFORE: &[u8] = b"try again in ";
        let start = body.get(..LOOKED_AT_BYTES).unwrap_or(body);
        let at = memmem::find(start, BEFORE)? + BEFORE.len();
        let rest = start.get(at..)?;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.';
        let end = rest.iter().position(|byte| !is_part(byte))?;
        let told = std::str::from_utf8(rest.get(..end)?).ok()?;
        go_duration(told.trim_end_matches('.'))
    };
    milliseconds()
        .or_else(seconds)
        .or_else(|| retry_delay(body))
        .or_else(resets)
        .or_else(message)
}

/// What Google says in the details of an error.
fn retry_delay(body: &[u8]) -> Option<Duration> {
    const MEMBER: &[u8] = b"\"retryDelay\"";
    let start = body.get(..LOOKED_AT_BYTES).unwrap_or(body);
    let rest = start.get(memmem::find(start, MEMBER)? + MEMBER.len()..)?;
    let rest = rest.trim_ascii_start().strip_prefix(b":")?;
    let told = rest.trim_ascii_start().strip_prefix(b"\"")?;
    let end = told.iter().position(|byte| *byte == b'"')?;
    go_duration(std::str::from_utf8(told.get(..end)?).ok()?)
}

fn checked(wait_us: u64) -> Option<Duration> {
    let wait = Duration::from_micros(wait_us);
    (!wait.is_zero() && wait <= WAIT_MAX).then_some(wait)
}

/// A decimal number of units of so many microseconds each.
fn micros(number: &str, unit_us: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(fraction) || !is_digits(whole) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction = fraction.get(..6.min(fraction.len())).unwrap_or_default();
    let digits = u32::try_from(fraction.len()).ok()?;
    let part: u64 = match fraction {
        "" => 0,
        digits => digits.parse().ok()?,
    };
    let part = part.checked_mul(unit_us)?.checked_div(10_u64.pow(digits))?;
    whole.checked_mul(unit_us)?.checked_add(part)
}

/// `20ms`, `1.5s`, `7m12s`, `1h2m3.5s`.
fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 4] = [
        ("ms", 1_000),
        ("h", 3_600 * SECOND_US),
        ("m", 60 * SECOND_US),
        ("s", SECOND_US),
    ];
    let mut rest = text.trim();
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit_on) = rest.split_at(digits);
        let (behind, unit_us) = UNITS
            .iter()
            .find_map(|(unit, unit_us)| Some((unit_on.strip_prefix(unit)?, unit_us)))?;
        total = total.checked_add(micros(number, *unit_us)?)?;
        rest = behind;
    }
    checked(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    // LLM-R40 LLM-R41
    #[test]
    fn a_caller_can_not_say_what_failed() {
        for (name, status, body, want) in [
            (
                "a code in a message, escaped",
                400,
                r#"{"error":{"message":"bad role \"insufficient_quota\"","code":"bad"}}"#,
                Failure::BadRequest,
            ),
            (
                "a sentence inside a message",
                400,
                r#"{"error":{"message":"unknown field: api key not valid"}}"#,
                Failure::BadRequest,
            ),
            (
                "the code is the provider's",
                400,
                r#"{"error":{"message":"x","code":"insufficient_quota"}}"#,
                Failure::Quota,
            ),
            (
                "a code behind what is looked at",
                500,
                &format!("{}\"insufficient_quota\"", " ".repeat(LOOKED_AT_BYTES)),
                Failure::Transient,
            ),
            ("nothing", 418, "", Failure::BadRequest),
            ("no JSON", 502, "<html>", Failure::Transient),
            ("cut", 400, r#"{"message""#, Failure::BadRequest),
        ] {
            assert_eq!(of_answer(status, false, body.as_bytes()), want, "{name}");
        }
    }

    // LLM-R45
    #[test]
    fn waits_are_read_where_they_make_sense() {
        for (text, want_ms) in [
            ("20ms", Some(20)),
            ("1.5s", Some(1_500)),
            ("7m12s", Some(432_000)),
            ("1h2m3.5s", Some(3_723_500)),
            ("0s", None),
            ("5", None),
            ("s", None),
            ("1x", None),
            ("-5s", None),
            ("9999999h", None),
            ("", None),
        ] {
            let want = want_ms.map(Duration::from_millis);
            assert_eq!(go_duration(text), want, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_comes_breaks_it(status: u16, body: Vec<u8>, value: Vec<u8>) {
            let _ = of_answer(status, false, &body);
            let told = told_wait(|_| Some(&value), &body);
            proptest::prop_assert!(told.is_none_or(|told| told <= WAIT_MAX));
        }
    }
}
