//! The x402 parts of a 402: the field of version 2, the members of version 1.

use super::header;
use super::identifier::Extensions;
use super::network::Networks;
use super::offer::{Offer, Scheme};
use super::reason::Reason;
use serde_json::{Map, Value, json};

/// What is paid for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Resource {
    /// Its URL, as callers know it.
    pub url: String,
    /// What it is, in words.
    pub description: String,
    /// What its answers are.
    pub mime_type: String,
}

/// Ways to pay for one request.
#[derive(Clone, Debug)]
pub struct Challenge<'a> {
    /// What is paid for.
    pub resource: &'a Resource,
    /// The ways, in the order of the route.
    pub offers: &'a [Offer],
    /// What says until when each offer holds, in the same order; none where nothing says so.
    pub quotes: &'a [String],
    /// Why the proof that was shown did not do; `None` if none was.
    pub reason: Option<Reason>,
    /// What is taken besides, in version 2.
    pub extensions: &'a Extensions,
}

/// What a caller is told in words and by machines, whatever it can pay with.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// The status of the answer.
    pub status: u16,
    /// The code.
    pub code: &'a str,
    /// For people.
    pub detail: &'a str,
    /// The request.
    pub request_id: &'a str,
    /// The payment, if there is one.
    pub payment_id: Option<&'a str>,
    /// What a facilitator said.
    pub reason: Option<&'a str>,
    /// The credit that it is asked for, in dollars.
    pub credit: Option<&'a str>,
}

/// Characters of what a facilitator said that are passed on.
const REASON_CHARS_MAX: usize = 200;

impl Problem<'_> {
    /// As a body.
    pub fn body(&self) -> String {
        Value::Object(self.members()).to_string()
    }

    fn members(&self) -> Map<String, Value> {
        let (kind, title) = match self.status {
            402 => (
                "https://paymentauth.org/problems/payment-required",
                "Payment Required",
            ),
            _ => ("about:blank", "Payment"),
        };
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put("type", kind.into());
        put("title", title.into());
        put("status", self.status.into());
        put("detail", self.detail.into());
        put("code", self.code.into());
        put("request_id", self.request_id.into());
        if let Some(payment) = self.payment_id {
            put("payment_id", payment.into());
        }
        if let Some(credit) = self.credit {
            put("credit", credit.into());
        }
        if let Some(reason) = self.reason {
            let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
            put("reason", reason.into());
        }
        members
    }
}

impl Challenge<'_> {
    /// The body of a 402: what version 1 reads, and what is told in any case.
    pub fn body(&self, networks: &Networks, problem: &Problem<'_>) -> String {
        let mut members = self.v1_members(networks);
        members.extend(problem.members());
        Value::Object(members).to_string()
    }

    /// The offers in the order of the wire: `upto` before the rest, for a payer pays less by it.
    fn ordered(&self) -> impl Iterator<Item = (&Offer, Option<&String>)> {
        let of = |scheme: Scheme| {
            let offers = self.offers.iter().enumerate();
            offers
                .filter(move |(_, offer)| offer.scheme == scheme)
                .map(|(at, offer)| (offer, self.quotes.get(at)))
        };
        of(Scheme::Upto).chain(of(Scheme::Exact))
    }

    /// `PAYMENT-REQUIRED`, at most `bytes_max` long: extensions are left out, then offers from the
    /// end. `None`: there is none, or not even one fits.
    pub fn payment_required(&self, bytes_max: usize) -> Option<String> {
        let mut accepts: Vec<Value> = self
            .ordered()
            .map(|(offer, quote)| offer.quoted(quote))
            .collect();
        if let Some(extensions) = self.extensions.member().filter(|_| !accepts.is_empty()) {
            let mut whole = self.v2(&accepts);
            if let Some(members) = whole.as_object_mut() {
                members.insert("extensions".to_owned(), extensions);
            }
            let value = header::encode(&whole);
            if value.len() <= bytes_max {
                return Some(value);
            }
        }
        while !accepts.is_empty() {
            let value = header::encode(&self.v2(&accepts));
            if value.len() <= bytes_max {
                return Some(value);
            }
            accepts.pop();
        }
        None
    }

    fn v2(&self, accepts: &[Value]) -> Value {
        let error = self
            .reason
            .map_or("PAYMENT-SIGNATURE header is required", Reason::code);
        json!({
            "x402Version": 2,
            "error": error,
            "resource": {
                "url": self.resource.url,
                "description": self.resource.description,
                "mimeType": self.resource.mime_type,
            },
            "accepts": accepts,
        })
    }

    /// The members of version 1 for the body; empty if it can express no offer.
    pub fn v1_members(&self, networks: &Networks) -> Map<String, Value> {
        let accepts: Vec<Value> = self
            .ordered()
            .filter_map(|(offer, _)| offer.v1(self.resource, networks))
            .collect();
        let mut members = Map::new();
        if accepts.is_empty() {
            return members;
        }
        let error = self
            .reason
            .map_or("X-PAYMENT header is required", Reason::code);
        members.insert("x402Version".to_owned(), 1.into());
        members.insert("error".to_owned(), error.into());
        members.insert("accepts".to_owned(), accepts.into());
        members
    }
}
