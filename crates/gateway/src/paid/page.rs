//! The page that people see instead of JSON where a request is to be paid for.

use super::sold::{Asking, Sold};
use crate::lifecycle::Exchange;
use tollkeep_http1::{Known, Method};
use tollkeep_payments::paywall::Paywall;
use tollkeep_payments::x402::Reason;

/// A page, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(super) html: String,
    pub(super) policy: String,
}

/// Random bytes that say which script is ours.
const NONCE_BYTES: usize = 16;

impl Exchange<'_> {
    /// The page for whoever asks with a browser. `required` is the field that programs read.
    pub(super) fn page(
        &self,
        sold: &Sold,
        asking: &Asking,
        (required, reason, text): (Option<&str>, Option<Reason>, &str),
    ) -> Option<Box<Page>> {
        let head = &self.work.head;
        let accept = head.value(self.request_bytes(), Known::Accept);
        let is_wanted =
            sold.paywall.html && head.method == Method::Get && accept.is_some_and(wants_html);
        // Whoever asks for credit is a program.
        let required = required.filter(|_| is_wanted && asking.credit.is_none())?;
        let mut nonce = [0; NONCE_BYTES];
        self.worker.shared.entropy.fill(&mut nonce);
        let nonce: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
        let page = Paywall {
            title: &sold.paywall.title,
            logo: &sold.paywall.logo,
            url: &asking.resource.url,
            price: &asking.price,
            offers: &asking.offers,
            networks: &sold.networks,
            required,
            said: if reason.is_some() { text } else { "" },
            nonce: &nonce,
        };
        Some(Box::new(Page {
            html: page.html(),
            policy: page.policy(),
        }))
    }
}

/// Whether HTML is listed, and before any JSON.
fn wants_html(accept: &[u8]) -> bool {
    let accept = std::str::from_utf8(accept).unwrap_or_default();
    for listed in accept.split(',') {
        let mut parts = listed.split(';');
        let kind = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_refused = parts.any(|part| {
            let quality = part.trim().strip_prefix("q=");
            quality.is_some_and(|quality| quality.trim_end_matches(['0', '.']).is_empty())
        });
        if is_refused {
            continue;
        }
        if kind == "text/html" {
            return true;
        }
        if kind == "application/json" || kind.ends_with("+json") {
            return false;
        }
    }
    false
}

/// A written head without its policy for pages, which allows none.
pub(super) fn without_policy(head: &mut Vec<u8>) {
    const NAME: &[u8] = b"content-security-policy:";
    let mut kept = Vec::with_capacity(head.len());
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let start = line.get(..NAME.len());
        if !start.is_some_and(|start| start.eq_ignore_ascii_case(NAME)) {
            kept.extend_from_slice(line);
        }
    }
    *head = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-56
    #[test]
    fn browsers_get_a_page_and_programs_what_they_read() {
        for (accept, want) in [
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("text/html", true),
            ("TEXT/HTML; charset=utf-8", true),
            ("image/png, text/html;q=0.5, application/json", true),
            ("application/json, text/html", false),
            ("application/problem+json, text/html", false),
            ("application/json;q=0, text/html", true),
            ("text/html;q=0", false),
            ("text/html;q=0.000, */*", false),
            ("*/*", false),
            ("text/*", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(wants_html(accept.as_bytes()), want, "{accept}");
        }
        assert!(!wants_html(b"\xff"));
    }

    #[test]
    fn only_the_policy_is_taken_out() {
        let mut head =
            b"HTTP/1.1 402 x\r\nContent-Security-Policy: a\r\nx-b: content-security-policy: c\r\n"
                .to_vec();
        without_policy(&mut head);
        assert_eq!(
            head,
            b"HTTP/1.1 402 x\r\nx-b: content-security-policy: c\r\n"
        );
    }
}
