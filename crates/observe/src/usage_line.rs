//! The usage line: one JSON line per call to a model.

use crate::RequestOutcome;
use crate::json;
use crate::texts::Texts;
use tollkeep_types::usage::UsageReport;
use tollkeep_types::{ProjectId, RequestId, TokenId, WallMillis};

/// What is recorded about one call.
#[derive(Clone, Copy, Debug)]
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
    /// How it ended.
    pub outcome: RequestOutcome,
    /// Whether the answer was a stream.
    pub stream: bool,
    /// First byte of the request to last byte of the answer, in milliseconds.
    pub duration_ms: u64,
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
    write_usage(out, line.usage);
    out.extend_from_slice(b",\"outcome\":\"");
    out.extend_from_slice(line.outcome.as_str().as_bytes());
    if line.stream {
        out.extend_from_slice(b"\",\"stream\":true,\"duration_ms\":");
    } else {
        out.extend_from_slice(b"\",\"stream\":false,\"duration_ms\":");
    }
    json::number(out, line.duration_ms);
    out.extend_from_slice(b"}\n");
}

/// Classes with a count, and how far to trust them. Unknown usage has no counts at all, so that
/// nobody sums it up as zero.
fn write_usage(out: &mut Vec<u8>, report: &UsageReport) {
    match report {
        UsageReport::Reported(usage) => {
            out.extend_from_slice(b",\"quality\":\"reported\",\"usage\":{");
            for (at, (class, count)) in usage.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                json::word(out, class.name());
                out.push(b':');
                json::number(out, count);
            }
            out.push(b'}');
        }
        UsageReport::Released => out.extend_from_slice(b",\"quality\":\"released\""),
        UsageReport::Unknown(why) => {
            out.extend_from_slice(b",\"quality\":\"unknown\",\"reason\":");
            json::word(out, why.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_types::usage::{Class, UnknownUsage, Usage};

    fn written(usage: &UsageReport) -> String {
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
            outcome: RequestOutcome::Served,
            stream: true,
            duration_ms: 1204,
        };
        write_line(&mut out, &mut Texts::default(), &line);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_call_is_one_line_that_says_how_sure_it_is() {
        let mut used = Usage::default();
        used.set(Class::InText, 11);
        used.set(Class::OutText, 7);
        for (usage, want) in [
            (
                UsageReport::Reported(used),
                r#""quality":"reported","usage":{"in_text":11,"out_text":7}"#,
            ),
            (
                UsageReport::Reported(Usage::default()),
                r#""quality":"reported","usage":{}"#,
            ),
            (UsageReport::Released, r#""quality":"released""#),
            (
                UsageReport::Unknown(UnknownUsage::Cut),
                r#""quality":"unknown","reason":"cut""#,
            ),
        ] {
            let want = [
                r#"{"timestamp":"2026-11-22T10:15:30.123Z","request_id":"req_11111111111111111111111111111111","project_id":"prj_22222222222222222222222222222222","token_ref":"tid_33333333333333333333333333333333","route":"llm","provider":"openai","model_asked":"gpt-4o","surface":"chat_completions","status":200,"#,
                want,
                r#","outcome":"served","stream":true,"duration_ms":1204}"#,
                "\n",
            ]
            .concat();
            assert_eq!(written(&usage), want);
        }
    }
}
