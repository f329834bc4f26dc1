//! The access line: one JSON line per request, written when it ends.

use crate::RequestOutcome;
use crate::json;
use crate::texts::Texts;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::{ProjectId, RequestId, TokenId, WallMillis};

/// What lines are called.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Style {
    /// Each `request`.
    #[default]
    Tollkeep,
    /// `request_success` or `request_error`, which readers of cliproxyapi++'s log look for.
    Cliproxy,
}

impl Style {
    /// An error of an upstream that was handed on is one for them too.
    const fn msg(self, outcome: RequestOutcome, status: u16) -> &'static str {
        match (self, outcome) {
            (Self::Tollkeep, _) => "request",
            (Self::Cliproxy, RequestOutcome::Served) if status < 400 => "request_success",
            (Self::Cliproxy, _) => "request_error",
        }
    }
}

/// What is told about one request. Texts are masked where they are made, not here.
#[derive(Clone, Copy, Debug)]
pub struct AccessLine<'a> {
    /// When it ended.
    pub at: WallMillis,
    /// Its id.
    pub request_id: RequestId,
    /// Its method.
    pub method: &'static str,
    /// The route's name or pattern; never the path.
    pub route: &'a str,
    /// What was answered; 0 when nothing was.
    pub status: u16,
    /// First byte of the request to last byte of the answer.
    pub latency_ns: u64,
    /// First byte of the request to first byte of the answer's body.
    pub ttft_ns: Option<u64>,
    /// Time spent waiting for the upstream.
    pub upstream_ns: Option<u64>,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Body bytes sent.
    pub bytes_out: u64,
    /// Whose request.
    pub project_id: Option<ProjectId>,
    /// With which token.
    pub token_ref: Option<TokenId>,
    /// Configured name of the provider or upstream.
    pub provider: Option<&'a str>,
    /// The model asked for.
    pub model: Option<&'a str>,
    /// Input and output tokens, if they are known.
    pub tokens: Option<(u64, u64)>,
    /// What it cost, if that is known.
    pub cost: Option<NanoUsd>,
    /// The payment it was served for, and how much of what that was.
    pub payment: Option<(&'a str, &'a str)>,
    /// What hooks call it.
    pub labels: &'a [(Box<str>, Box<str>)],
    /// How it ended.
    pub outcome: RequestOutcome,
    /// The caller's address, masked as the settings say: letters, digits, `.`, `:`, `/` and `_`.
    pub client_ip: Option<&'a [u8]>,
}

/// HOT. Appends the line and its line feed. What is unknown is left out, never written as zero.
pub fn write_line(out: &mut Vec<u8>, (texts, style): (&mut Texts, Style), line: &AccessLine<'_>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    out.extend_from_slice(&texts.time.of(line.at));
    out.extend_from_slice(b"\",\"level\":\"info\",\"msg\":\"");
    out.extend_from_slice(style.msg(line.outcome, line.status).as_bytes());
    out.extend_from_slice(b"\",\"target\":\"access\",\"request_id\":\"req_");
    out.extend_from_slice(texts.request.of(line.request_id.bytes()));
    out.extend_from_slice(b"\",\"method\":\"");
    out.extend_from_slice(line.method.as_bytes());
    out.extend_from_slice(b"\",\"route\":\"");
    json::escaped(out, line.route);
    out.extend_from_slice(b"\",\"status\":");
    json::number(out, u64::from(line.status));
    out.extend_from_slice(b",\"latency_ms\":");
    json::millis(out, line.latency_ns);
    if let Some(nanos) = line.ttft_ns {
        out.extend_from_slice(b",\"ttft_ms\":");
        json::millis(out, nanos);
    }
    if let Some(nanos) = line.upstream_ns {
        out.extend_from_slice(b",\"upstream_ms\":");
        json::millis(out, nanos);
    }
    out.extend_from_slice(b",\"bytes_in\":");
    json::number(out, line.bytes_in);
    out.extend_from_slice(b",\"bytes_out\":");
    json::number(out, line.bytes_out);
    texts.write_whose(out, line.project_id, line.token_ref);
    if let Some(provider) = line.provider {
        out.extend_from_slice(b",\"provider\":");
        json::string(out, provider);
    }
    if let Some(model) = line.model {
        out.extend_from_slice(b",\"model\":");
        json::string(out, model);
    }
    write_end(out, line);
}

fn write_end(out: &mut Vec<u8>, line: &AccessLine<'_>) {
    if let Some((input, output)) = line.tokens {
        out.extend_from_slice(b",\"tokens\":{\"input\":");
        json::number(out, input);
        out.extend_from_slice(b",\"output\":");
        json::number(out, output);
        out.push(b'}');
    }
    if let Some(cost) = line.cost.and_then(|cost| u64::try_from(cost.get()).ok()) {
        out.extend_from_slice(b",\"amount_nano_usd\":");
        json::number(out, cost);
    }
    if let Some((payment, amount)) = line.payment {
        out.extend_from_slice(b",\"payment\":{\"id\":");
        json::string(out, payment);
        out.extend_from_slice(b",\"rail\":\"x402\",\"amount\":");
        json::string(out, amount);
        out.push(b'}');
    }
    if !line.labels.is_empty() {
        let mut before: &[u8] = b",\"labels\":{";
        for (name, text) in line.labels {
            out.extend_from_slice(before);
            json::string(out, name);
            out.push(b':');
            json::string(out, text);
            before = b",";
        }
        out.push(b'}');
    }
    out.extend_from_slice(b",\"outcome\":\"");
    out.extend_from_slice(line.outcome.as_str().as_bytes());
    if let Some(ip) = line.client_ip {
        out.extend_from_slice(b"\",\"client_ip\":\"");
        out.extend_from_slice(ip);
    }
    out.extend_from_slice(b"\"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> AccessLine<'static> {
        AccessLine {
            at: WallMillis(1_795_342_530_123),
            request_id: RequestId::from_bytes([0x11; 16]),
            method: "POST",
            route: "none",
            status: 401,
            latency_ns: 81_500,
            ttft_ns: None,
            upstream_ns: None,
            bytes_in: 0,
            bytes_out: 120,
            project_id: None,
            token_ref: None,
            provider: None,
            model: None,
            tokens: None,
            cost: None,
            payment: None,
            labels: &[],
            outcome: RequestOutcome::Refused,
            client_ip: None,
        }
    }

    fn written(line: &AccessLine<'_>) -> String {
        let mut out = Vec::new();
        write_line(&mut out, (&mut Texts::default(), Style::Tollkeep), line);
        String::from_utf8(out).unwrap()
    }

    // AUD-81
    #[test]
    fn a_served_call_tells_everything_in_order() {
        let line = AccessLine {
            route: "chat",
            status: 200,
            latency_ns: 1_204_567_890,
            ttft_ns: Some(310_000_000),
            upstream_ns: Some(1_204_400_000),
            bytes_in: 512,
            bytes_out: 20_480,
            project_id: Some(ProjectId::from_bytes([0x22; 16])),
            token_ref: Some(TokenId::from_bytes([0x33; 16])),
            provider: Some("openai"),
            model: Some("gpt-4o\n"),
            tokens: Some((11, 0)),
            cost: Some(NanoUsd::new(4_305_000)),
            outcome: RequestOutcome::Served,
            client_ip: Some(b"192.0.2.0/24"),
            ..refused()
        };
        assert_eq!(
            written(&line),
            concat!(
                r#"{"timestamp":"2026-11-22T10:15:30.123Z","level":"info","msg":"request","#,
                r#""target":"access","request_id":"req_11111111111111111111111111111111","method":"POST","#,
                r#""route":"chat","status":200,"latency_ms":1204.567,"ttft_ms":310.000,"#,
                r#""upstream_ms":1204.400,"bytes_in":512,"bytes_out":20480,"#,
                r#""project_id":"prj_22222222222222222222222222222222","#,
                r#""token_ref":"tid_33333333333333333333333333333333","provider":"openai","#,
                r#""model":"gpt-4o\u000a","tokens":{"input":11,"output":0},"#,
                r#""amount_nano_usd":4305000,"outcome":"served","client_ip":"192.0.2.0/24"}"#,
                "\n"
            )
        );
    }

    // AUD-81
    #[test]
    fn what_is_unknown_is_left_out() {
        assert_eq!(
            written(&refused()),
            concat!(
                r#"{"timestamp":"2026-11-22T10:15:30.123Z","level":"info","msg":"request","#,
                r#""target":"access","request_id":"req_11111111111111111111111111111111","method":"POST","#,
                r#""route":"none","status":401,"latency_ms":0.081,"bytes_in":0,"#,
                r#""bytes_out":120,"outcome":"refused"}"#,
                "\n"
            )
        );
    }

    // AUD-81
    #[test]
    fn by_the_other_style_lines_are_called_by_how_requests_ended() {
        for (status, outcome, want) in [
            (200, RequestOutcome::Served, "request_success"),
            (204, RequestOutcome::Served, "request_success"),
            (404, RequestOutcome::Served, "request_error"),
            (200, RequestOutcome::Cut, "request_error"),
            (0, RequestOutcome::CallerGone, "request_error"),
            (401, RequestOutcome::Refused, "request_error"),
        ] {
            let line = AccessLine {
                status,
                outcome,
                ..refused()
            };
            let mut out = Vec::new();
            write_line(&mut out, (&mut Texts::default(), Style::Cliproxy), &line);
            let text = String::from_utf8(out).unwrap();
            let msg = format!(r#""level":"info","msg":"{want}","target":"access","#);
            assert!(text.contains(&msg), "{text}");
            assert_eq!(text.replace(want, "request"), written(&line));
        }
    }
}
