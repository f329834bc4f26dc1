//! The usage line: one JSON line per call to a model.

use crate::RequestOutcome;
use crate::json;
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
    pub surface: &'a str,
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

/// Room that most lines fit into.
const LINE_BYTES: usize = 768;

/// Appends the line and its line feed.
pub fn write_line(out: &mut Vec<u8>, line: &UsageLine<'_>) {
    out.reserve(LINE_BYTES);
    out.extend_from_slice(b"{\"timestamp\":\"");
    out.extend_from_slice(&line.at.rfc3339_millis());
    out.extend_from_slice(b"\",\"request_id\":");
    json::id(out, RequestId::PREFIX, &line.request_id.hex());
    if let Some(id) = line.project_id {
        out.extend_from_slice(b",\"project_id\":");
        json::id(out, ProjectId::PREFIX, &id.hex());
    }
    if let Some(id) = line.token_ref {
        out.extend_from_slice(b",\"token_ref\":");
        json::id(out, TokenId::PREFIX, &id.hex());
    }
    out.extend_from_slice(b",\"route\":");
    json::string(out, line.route);
    out.extend_from_slice(b",\"provider\":");
    json::string(out, line.provider);
    if let Some(model) = line.model_asked {
        out.extend_from_slice(b",\"model_asked\":");
        json::string(out, model);
    }
    if let Some(model) = line.model_served {
        out.extend_from_slice(b",\"model_served\":");
        json::string(out, model);
    }
    out.extend_from_slice(b",\"surface\":");
    json::string(out, line.surface);
    out.extend_from_slice(b",\"status\":");
    json::number(out, u64::from(line.status));
    write_usage(out, line.usage);
    out.extend_from_slice(b",\"outcome\":");
    json::word(out, line.outcome.as_str());
    out.extend_from_slice(if line.stream {
        b",\"stream\":true"
    } else {
        b",\"stream\":false"
    });
    out.extend_from_slice(b",\"duration_ms\":");
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
        write_line(&mut out, &line);
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
