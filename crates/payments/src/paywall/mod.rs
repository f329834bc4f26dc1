//! The page that people see where a request is to be paid for: what it costs, on which networks, and
//! a button for a wallet in the browser. It asks nobody but the gateway; without scripts it says
//! what programs would have to do.

use crate::price::Price;
use crate::x402::{Networks, Offer};
use std::fmt::Write;
use tollkeep_types::html::escaped;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub struct Paywall<'a> {
    /// The heading; empty: that payment is required.
    pub title: &'a str,
    /// An image: `data:image/…` or a path of the gateway; empty: none.
    pub logo: &'a str,
    /// What is paid for.
    pub url: &'a str,
    /// What it costs.
    pub price: &'a Price,
    /// How it can be paid.
    pub offers: &'a [Offer],
    /// Short names of networks.
    pub networks: &'a Networks,
    /// The value of `PAYMENT-REQUIRED`.
    pub required: &'a str,
    /// What is said of a payment that did not do; empty: none was shown.
    pub said: &'a str,
    /// What only this answer knows: letters and digits.
    pub nonce: &'a str,
}

/// Heading where nothing is said.
const TITLE: &str = "Payment required";

impl Paywall<'_> {
    /// `Content-Security-Policy` of the page: its own script and style, nobody else's.
    pub fn policy(&self) -> String {
        let nonce = self.nonce;
        format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
             img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        )
    }

    /// The page.
    pub fn html(&self) -> String {
        let title = escaped(if self.title.is_empty() {
            TITLE
        } else {
            self.title
        });
        let logo = match self.logo {
            "" => String::new(),
            logo => format!("<img class=\"logo\" alt=\"\" src=\"{}\">", escaped(logo)),
        };
        let (url, required) = (escaped(self.url), escaped(self.required));
        let (price, nonce) = (escaped(&self.price.to_string()), self.nonce);
        let (rows, names) = (self.rows(), self.names());
        let said = escaped(self.said);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style nonce=\"{nonce}\">\n{STYLE}</style>\n</head>\n<body>\n\
             <main data-required=\"{required}\">\n{logo}<h1>{title}</h1>\n\
             <p class=\"price\">{price}</p>\n<p class=\"what\">for {url}</p>\n\
             <table>\n<thead><tr><th>Network</th><th>Amount</th><th>Paid to</th></tr></thead>\n\
             <tbody>\n{rows}</tbody>\n</table>\n\
             <p><select id=\"network\" aria-label=\"Network\"{names} hidden></select>\n\
             <button id=\"pay\" type=\"button\" hidden>Pay with a wallet</button></p>\n\
             <p id=\"said\" role=\"status\">{said}</p>\n<div id=\"had\"></div>\n\
             <p id=\"save\"></p>\n\
             <noscript><p>The button for wallets needs JavaScript, which is off.</p></noscript>\n\
             <p class=\"small\">Programs pay by x402: the field <code>PAYMENT-REQUIRED</code> of this \
             answer says how.</p>\n</main>\n<script nonce=\"{nonce}\">\n{SCRIPT}</script>\n\
             </body>\n</html>\n"
        )
    }

    fn rows(&self) -> String {
        let mut rows = String::new();
        for offer in self.offers {
            // Text is always written.
            let _written = writeln!(
                rows,
                "<tr><td>{}</td><td>{} {}</td><td>{}</td></tr>",
                escaped(&self.network(offer)),
                amount(offer.amount, offer.asset.decimals),
                escaped(&offer.asset.symbol),
                offer.pay_to,
            );
        }
        rows
    }

    /// The names of networks, for the script.
    fn names(&self) -> String {
        let mut names = String::new();
        for offer in self.offers {
            let key = offer.network().to_string().replace(':', "");
            let _written = write!(names, " data-{key}=\"{}\"", escaped(&self.network(offer)));
        }
        names
    }

    fn network(&self, offer: &Offer) -> String {
        let short = self.networks.short_name(offer.network());
        short.map_or_else(|| offer.network().to_string(), str::to_owned)
    }
}

/// An amount in whole tokens.
fn amount(units: u128, decimals: u8) -> String {
    let one = 10_u128.checked_pow(u32::from(decimals)).unwrap_or(1);
    let (whole, rest) = (units / one, units % one);
    let digits = format!("{rest:0width$}", width = usize::from(decimals));
    match digits.trim_end_matches('0') {
        "" => whole.to_string(),
        digits => format!("{whole}.{digits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x402::{Assets, PLAY_NETWORK, Scheme};

    // PAY-56
    #[test]
    fn whatever_is_said_stays_text() {
        let networks = Networks::default();
        let offers = [Offer {
            scheme: Scheme::Exact,
            asset: Assets::default()
                .find("USDC", &PLAY_NETWORK)
                .unwrap()
                .clone(),
            amount: 1_500_000,
            pay_to: "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
                .parse()
                .unwrap(),
            max_timeout_s: 60,
            facilitator: None,
        }];
        let hostile = "\"></title><script>alert(1)</script>'";
        let page = Paywall {
            title: hostile,
            logo: hostile,
            url: hostile,
            price: &"$1.5".parse().unwrap(),
            offers: &offers,
            networks: &networks,
            required: hostile,
            said: hostile,
            nonce: "abc",
        };
        let html = page.html();
        assert!(!html.contains("alert(1)</script>"), "{html}");
        assert_eq!(html.matches("<script").count(), 1);
        assert_eq!(html.matches("</title>").count(), 1);
        assert!(
            html.contains("<td>base-sepolia</td><td>1.5 USDC</td>"),
            "{html}"
        );
        assert!(!SCRIPT.contains("</script") && !STYLE.contains("</style"));
    }

    // PAY-56
    #[test]
    fn amounts_are_told_in_whole_tokens() {
        for (units, decimals, want) in [
            (10_000, 6, "0.01"),
            (1, 6, "0.000001"),
            (1_000_000, 6, "1"),
            (1_230_000, 6, "1.23"),
            (7, 0, "7"),
        ] {
            assert_eq!(amount(units, decimals), want);
        }
    }
}
