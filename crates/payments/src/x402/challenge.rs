//! The x402 parts of a 402: the field of version 2, the members of version 1.

use super::header;
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
    /// Why the proof that was shown did not do; `None` if none was.
    pub reason: Option<Reason>,
}

impl Challenge<'_> {
    /// The offers in the order of the wire: `upto` before the rest, for a payer pays less by it.
    fn ordered(&self) -> impl Iterator<Item = &Offer> {
        let of = |scheme: Scheme| {
            let offers = self.offers.iter();
            offers.filter(move |offer| offer.scheme == scheme)
        };
        of(Scheme::Upto).chain(of(Scheme::Exact))
    }

    /// `PAYMENT-REQUIRED`, at most `bytes_max` long: offers are left out from the end. `None`:
    /// there is none, or not even one fits.
    pub fn payment_required(&self, bytes_max: usize) -> Option<String> {
        let mut accepts: Vec<Value> = self.ordered().map(Offer::v2).collect();
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
            .filter_map(|offer| offer.v1(self.resource, networks))
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
