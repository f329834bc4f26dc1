//! Lines as messages of syslog (RFC 5424), counted in octets (RFC 6587, RFC 5425).

use super::RelayLine;
use std::fmt::Write as _;

/// "log audit".
const FACILITY: u8 = 13;
/// Printable characters of a name of a host, and of what a message is about, at most.
const HOST_CHARS_MAX: usize = 255;
const ABOUT_CHARS_MAX: usize = 32;

/// The messages of lines, as they are sent.
pub fn syslog_messages(lines: &[RelayLine], host: &str, pid: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let host = plain(host, HOST_CHARS_MAX);
    for line in lines {
        let severity = match line.result.as_str() {
            "success" => 6,
            "error" => 3,
            _ => 4,
        };
        let (time, about) = (
            plain(&line.timestamp, 64),
            plain(&line.action, ABOUT_CHARS_MAX),
        );
        let mut message = String::with_capacity(line.text.len() + 128);
        // Nothing is written to a text in vain.
        let _written = write!(
            message,
            "<{}>1 {time} {host} tollkeep {pid} {about} - {}",
            FACILITY * 8 + severity,
            line.text
        );
        out.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
    }
    out
}

/// What a field of the head may have, or the sign for nothing.
fn plain(text: &str, chars_max: usize) -> String {
    let printable = text.chars().filter(char::is_ascii_graphic);
    let text: String = printable.take(chars_max).collect();
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, result: &str) -> RelayLine {
        RelayLine {
            text: text.to_owned(),
            seq: 7,
            action: "token.create".to_owned(),
            timestamp: "2026-11-22T10:15:30.123Z".to_owned(),
            result: result.to_owned(),
        }
    }

    // AUD-20
    #[test]
    fn messages_are_counted_in_octets_and_their_heads_have_no_strange_text() {
        let sent = |line: RelayLine, host: &str| {
            String::from_utf8(syslog_messages(&[line], host, 42)).unwrap()
        };
        assert_eq!(
            sent(line(r#"{"é":1}"#, "success"), "gate"),
            "72 <110>1 2026-11-22T10:15:30.123Z gate tollkeep 42 token.create - {\"é\":1}"
        );
        assert!(
            sent(line("{}", "denied"), "a b\nc").contains("<108>1 2026-11-22T10:15:30.123Z abc ")
        );
        assert!(
            sent(line("{}", "error"), "").contains("<107>1 2026-11-22T10:15:30.123Z - tollkeep")
        );
        let two = syslog_messages(&[line("{}", "success"), line("{}", "success")], "h", 1);
        let text = String::from_utf8(two).unwrap();
        let (first, _) = text.split_once(' ').unwrap();
        let len: usize = first.parse().unwrap();
        assert_eq!(text.len(), 2 * (len + first.len() + 1));
    }
}
