//! The usage line: one JSON line per call to a model.

use crate::RequestOutcome;
use crate::json;
use crate::redact::Redactor;
use crate::texts::Texts;
use std::fmt::Display;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::usage::{Flags, Line, Service, Usage, UsageReport};
use tollkeep_types::{ProjectId, RequestId, TokenId, WallMillis};

/// What is recorded about one call.
#[derive(Clone, Copy)]
pub struct UsageLine<'a> {
    /// When it ended.
    pub at: WallMillis,
    /// Its request.
    pub request_id: RequestId,
    /// Whose call.
    pub project_id: Option<ProjectId>,
    /// With which token.
    pub token_ref: Option<TokenId>,
    /// The route's name or pattern.
    pub route: &'a str,
    /// Configured name of the provider.
    pub provider: &'a str,
    /// The model asked for.
    pub model_asked: Option<&'a str>,
    /// The model the answer names.
    pub model_served: Option<&'a str>,
    /// The API surface, as `chat_completions`.
    pub surface: &'static str,
    /// What was answered; 0 when nothing was.
    pub status: u16,
    /// What it used.
    pub usage: &'a UsageReport,
    /// What was odd about what its answer told.
    pub flags: Flags,
    /// What it cost, or why that is not known; `None` where its usage isn't.
    pub cost: Option<Result<NanoUsd, &'a dyn Display>>,
    /// What its upstream asks for it, where it is charged by a markup.
    pub upstream_cost: Option<NanoUsd>,
    /// The version of the price table.
    pub price_version: &'a str,
    /// The hash of the price table.
    pub price_sha256: &'a str,
    /// How it ended.
    pub outcome: RequestOutcome,
    /// Whether the answer was a stream.
    pub stream: bool,
    /// What is kept was given again.
    pub from_cache: bool,
    /// First byte of the request to last byte of the answer, in milliseconds.
    pub duration_ms: u64,
    /// Hides secrets in what callers and upstreams named.
    pub redactor: &'a Redactor,
}

/// HOT. Appends the line and its line feed.
pub fn write_line(out: &mut Vec<u8>, texts: &mut Texts, line: &UsageLine<'_>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    out.extend_from_slice(&texts.time.of(line.at));
    out.extend_from_slice(b"\",\"request_id\":\"req_");
    out.extend_from_slice(texts.request.of(line.request_id.bytes()));
    out.push(b'"');
    texts.write_whose(out, line.project_id, line.token_ref);
    out.extend_from_slice(b",\"route\":\"");
    json::escaped(out, line.route);
    out.extend_from_slice(b"\",\"provider\":\"");
    json::escaped(out, line.provider);
    if let Some(model) = line.model_asked {
        out.extend_from_slice(b"\",\"model_asked\":\"");
        json::escaped(out, model);
    }
    if let Some(model) = line.model_served {
        out.extend_from_slice(b"\",\"model_served\":\"");
        json::escaped(out, model);
    }
    out.extend_from_slice(b"\",\"surface\":\"");
    out.extend_from_slice(line.surface.as_bytes());
    out.extend_from_slice(b"\",\"status\":");
    json::number(out, u64::from(line.status));
    write_usage(out, line.usage, line.redactor);
    write_flags(out, line.flags);
    write_cost(out, line);
    out.extend_from_slice(b",\"outcome\":\"");
    out.extend_from_slice(line.outcome.as_str().as_bytes());
    if line.stream {
        out.extend_from_slice(b"\",\"stream\":true,\"duration_ms\":");
    } else {
        out.extend_from_slice(b"\",\"stream\":false,\"duration_ms\":");
    }
    json::number(out, line.duration_ms);
    if line.from_cache {
        out.extend_from_slice(b",\"from_cache\":true");
    }
    out.extend_from_slice(b"}\n");
}

/// Counts, and how far to trust them. Unknown usage has no counts at all, so that nobody sums it
/// up as zero.
fn write_usage(out: &mut Vec<u8>, report: &UsageReport, redactor: &Redactor) {
    out.extend_from_slice(b",\"quality\":");
    json::word(out, report.quality().name());
    match report {
        UsageReport::Reported(lines) | UsageReport::Estimated(lines) => {
            out.push(b',');
            write_line_of(out, &lines.first, redactor);
            if lines.more.is_empty() {
                return;
            }
            out.extend_from_slice(b",\"more_lines\":[");
            for (at, line) in lines.more.iter().enumerate() {
                out.extend_from_slice(if at > 0 { b",{" } else { b"{" });
                if let Some(model) = &line.model {
                    out.extend_from_slice(b"\"model\":\"");
                    json::escaped(out, &redactor.hide(model));
                    out.extend_from_slice(b"\",");
                }
                write_line_of(out, line, redactor);
                out.push(b'}');
            }
            out.push(b']');
        }
        UsageReport::Released => {}
        UsageReport::Unknown(why) => {
            out.extend_from_slice(b",\"reason\":");
            json::word(out, why.name());
        }
    }
}

fn write_line_of(out: &mut Vec<u8>, line: &Line, redactor: &Redactor) {
    out.extend_from_slice(b"\"usage\":{");
    write_counts(out, &line.usage, redactor);
    out.push(b'}');
    if line.service != Service::Default {
        out.extend_from_slice(b",\"service\":");
        json::word(out, line.service.name());
    }
    if !line.modifiers.is_empty() {
        out.extend_from_slice(b",\"modifiers\":[");
        for (at, (kind, value)) in line.modifiers.iter().enumerate() {
            out.extend_from_slice(if at > 0 { b",\"" } else { b"\"" });
            json::escaped(out, kind);
            out.push(b':');
            json::escaped(out, &redactor.hide(value));
            out.push(b'"');
        }
        out.push(b']');
    }
}

fn write_counts(out: &mut Vec<u8>, usage: &Usage, redactor: &Redactor) {
    let tokens = usage.iter().map(|(class, count)| (class.name(), count));
    let units = usage.units().map(|(unit, count)| (unit.name(), count));
    let mut is_first = true;
    let mut comma = |out: &mut Vec<u8>| {
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
    };
    for (name, count) in tokens.chain(units) {
        comma(out);
        json::word(out, name);
        out.push(b':');
        json::number(out, count);
    }
    if let Some(images) = usage.images() {
        comma(out);
        out.extend_from_slice(b"\"image:");
        json::escaped(out, &redactor.hide(&images.sort));
        out.extend_from_slice(b"\":");
        json::number(out, images.count);
    }
}

fn write_flags(out: &mut Vec<u8>, flags: Flags) {
    if flags.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"flags\":[");
    for (at, flag) in flags.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::word(out, flag.name());
    }
    out.push(b']');
}

/// The cost as an integer and as text, with the table that it is from; or what has no price.
fn write_cost(out: &mut Vec<u8>, line: &UsageLine<'_>) {
    match line.cost {
        None => {}
        Some(Ok(cost)) => {
            out.extend_from_slice(b",\"cost_nano_usd\":");
            json::signed(out, cost.get());
            out.extend_from_slice(b",\"cost_usd\":\"");
            write_dollars(out, cost);
            if let Some(upstream) = line.upstream_cost {
                out.extend_from_slice(b"\",\"upstream_cost_nano_usd\":");
                json::signed(out, upstream.get());
                out.extend_from_slice(b",\"price_version\":\"");
            } else {
                out.extend_from_slice(b"\",\"price_version\":\"");
            }
            json::escaped(out, line.price_version);
            out.extend_from_slice(b"\",\"price_sha256\":\"");
            out.extend_from_slice(line.price_sha256.as_bytes());
            out.push(b'"');
        }
        Some(Err(why)) => {
            out.extend_from_slice(b",\"unpriced\":\"");
            json::escaped(out, &line.redactor.hide(&why.to_string()));
            out.push(b'"');
        }
    }
}

/// Appends what [`NanoUsd`] displays.
fn write_dollars(out: &mut Vec<u8>, amount: NanoUsd) {
    const NANOS: u64 = 1_000_000_000;
    if amount < NanoUsd::ZERO {
        out.push(b'-');
    }
    let nanos = amount.get().unsigned_abs();
    json::number(out, nanos / NANOS);
    out.push(b'.');
    json::nine_digits(out, nanos % NANOS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_types::usage::{Class, Flag, ImageCount, Lines, Modifiers, Unit, UnknownUsage};

    type CostTold<'a> = Option<Result<NanoUsd, &'a dyn Display>>;

    fn written(usage: &UsageReport, flags: Flags, cost: CostTold<'_>) -> String {
        let mut out = Vec::new();
        let line = UsageLine {
            at: WallMillis(1_795_342_530_123),
            request_id: RequestId::from_bytes([0x11; 16]),
            project_id: Some(ProjectId::from_bytes([0x22; 16])),
            token_ref: Some(TokenId::from_bytes([0x33; 16])),
            route: "llm",
            provider: "openai",
            model_asked: Some("gpt-4o"),
            model_served: None,
            surface: "chat_completions",
            status: 200,
            usage,
            flags,
            cost,
            upstream_cost: None,
            price_version: "2026-11-22.1",
            price_sha256: "abc",
            outcome: RequestOutcome::Served,
            stream: true,
            from_cache: false,
            duration_ms: 1204,
            redactor: &Redactor::default(),
        };
        write_line(&mut out, &mut Texts::default(), &line);
        String::from_utf8(out).unwrap()
    }

    /// What stands between the status and the outcome.
    fn middle(usage: &UsageReport, flags: Flags, cost: CostTold<'_>) -> String {
        let line = written(usage, flags, cost);
        let (begin, rest) = line.split_once(r#""status":200,"#).unwrap();
        let (middle, end) = rest.split_once(r#","outcome""#).unwrap();
        let want = r#"{"timestamp":"2026-11-22T10:15:30.123Z","request_id":"req_11111111111111111111111111111111","project_id":"prj_22222222222222222222222222222222","token_ref":"tid_33333333333333333333333333333333","route":"llm","provider":"openai","model_asked":"gpt-4o","surface":"chat_completions","#;
        assert_eq!(begin, want);
        assert_eq!(end, ":\"served\",\"stream\":true,\"duration_ms\":1204}\n");
        middle.to_owned()
    }

    #[test]
    fn a_call_is_one_line_that_says_how_sure_it_is() {
        let mut used = Usage::default();
        used.set(Class::InText, 11);
        used.set(Class::OutText, 7);
        for (usage, want) in [
            (
                UsageReport::Reported(used.clone().into()),
                r#""quality":"reported","usage":{"in_text":11,"out_text":7}"#,
            ),
            (
                UsageReport::Reported(Usage::default().into()),
                r#""quality":"reported","usage":{}"#,
            ),
            (
                UsageReport::Estimated(used.into()),
                r#""quality":"estimated","usage":{"in_text":11,"out_text":7}"#,
            ),
            (UsageReport::Released, r#""quality":"released""#),
            (
                UsageReport::Unknown(UnknownUsage::Cut),
                r#""quality":"unknown","reason":"cut""#,
            ),
        ] {
            assert_eq!(middle(&usage, Flags::NONE, None), want);
        }
    }

    #[test]
    fn dollars_are_written_as_they_are_displayed() {
        for nanos in [
            0,
            1,
            999,
            1_000,
            4_305_000,
            999_999_999,
            1_000_000_000,
            i64::MAX,
            -1,
            i64::MIN,
        ] {
            let (amount, mut out) = (NanoUsd::new(nanos), Vec::new());
            write_dollars(&mut out, amount);
            assert_eq!(String::from_utf8(out).unwrap(), amount.to_string());
            let mut out = Vec::new();
            json::signed(&mut out, nanos);
            assert_eq!(String::from_utf8(out).unwrap(), nanos.to_string());
        }
    }

    // LED-4 LED-12
    #[test]
    fn a_line_names_its_price_and_everything_that_was_billed() {
        let mut usage = Usage::default();
        usage.set(Class::InText, 1);
        usage.set_units(Unit::WebSearch, 2);
        let (sort, count) = ("hd:1024x1024".into(), 3);
        usage.set_images(ImageCount { sort, count });
        let first = Line {
            service: Service::Flex,
            modifiers: Modifiers {
                speed: Some("fast".into()),
                inference_geo: Some("us".into()),
            },
            usage: usage.clone(),
            ..Line::default()
        };
        let other = Line {
            model: Some("advisor\"".into()),
            ..Line::default()
        };
        let lines = Lines {
            first,
            more: vec![other.clone(), other],
        };
        let mut flags = Flags::NONE;
        flags.add(Flag::Cut);
        flags.add(Flag::Regressed);
        let cost = Some(Ok(NanoUsd::new(4_305_000)));
        let want = r#""quality":"reported","usage":{"in_text":1,"web_search":2,"image:hd:1024x1024":3},"service":"flex","modifiers":["speed:fast","inference_geo:us"],"more_lines":[{"model":"advisor\"","usage":{}},{"model":"advisor\"","usage":{}}],"flags":["regressed","cut"],"cost_nano_usd":4305000,"cost_usd":"0.004305000","price_version":"2026-11-22.1","price_sha256":"abc""#;
        let report = UsageReport::Reported(lines);
        assert_eq!(middle(&report, flags, cost), want);
        let why = "no price for out_audio";
        let unpriced: CostTold<'_> = Some(Err(&why));
        assert_eq!(
            middle(&UsageReport::Released, Flags::NONE, unpriced),
            r#""quality":"released","unpriced":"no price for out_audio""#
        );
    }
}
