//! `tollkeep payment …`

use super::config::Source;
use super::output;
use super::quote::{Request, look, text_or_file};
use crate::exit::Failed;
use crate::system::SystemClock;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use tollkeep_payments::x402::{
    Checked, Field, Networks, Offer, Proof, Resource, Rules, check, verification,
};
use tollkeep_types::Clock;

/// Payments of callers without a token.
#[derive(Debug, Subcommand)]
pub(crate) enum Payment {
    /// Judge an x402 proof against the price of a request, without asking anybody
    Check(Check),
}

/// A proof to judge.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The method of the request
    method: String,
    /// Its path, or its URL
    #[arg(value_name = "URL")]
    target: String,
    /// What stands in PAYMENT-SIGNATURE, or `@FILE` with it
    #[arg(long, value_name = "TEXT|@FILE", required_unless_present = "x_payment")]
    payment_signature: Option<String>,
    /// What stands in X-PAYMENT, of version 1, or `@FILE` with it
    #[arg(long, value_name = "TEXT|@FILE", conflicts_with = "payment_signature")]
    x_payment: Option<String>,
    /// The time to judge by, in seconds since 1970, instead of now
    #[arg(long, value_name = "SECONDS")]
    at: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    request: Request,
    #[command(flatten)]
    source: Source,
}

const MEMBERS: &[(&str, &str)] = &[
    ("valid", "/valid"),
    ("reason", "/reason"),
    ("version", "/version"),
    ("payer", "/payer"),
    ("amount", "/amount"),
    ("asset", "/asset"),
    ("network", "/network"),
    ("payment key", "/payment_key"),
    ("ends", "/ends"),
    ("left to the facilitator", "/is_deferred"),
];

impl Payment {
    /// Runs the command.
    ///
    /// # Errors
    /// The request has no price that could be paid, or the proof does not do.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Check(check) => check.run(),
        }
    }
}

impl Check {
    fn run(self) -> anyhow::Result<()> {
        let settings = look(&self.source)?;
        let quoted = self.request.quote(&settings, &self.method, &self.target)?;
        if let Some(code) = quoted.told.get("refused").and_then(Value::as_str) {
            return Err(Failed::new(1, format!("the request would be refused: {code}")).into());
        }
        if quoted.offers.is_empty() {
            let problem = "the request costs nothing that x402 could pay";
            return Err(Failed::new(1, problem.to_owned()).into());
        }
        let (field, given) = match (&self.payment_signature, &self.x_payment) {
            (Some(text), _) => (Field::PaymentSignature, text),
            (None, Some(text)) => (Field::XPayment, text),
            (None, None) => return Ok(()),
        };
        let now_s = SystemClock::new().wall().0 / 1_000;
        let rules = Rules {
            offers: &quoted.offers,
            networks: &settings.networks,
            now_s: self.at.unwrap_or(now_s),
            head_s: 0,
            smart_wallets: true,
            v1_in_either: true,
        };
        let proof = Proof::read(field, &text_or_file(given)?);
        let told = match proof {
            Err(malformed) => Err(("invalid_payment", malformed.to_string())),
            Ok(proof) => check(&proof, &rules).map_err(|reason| (reason.code(), String::new())),
        };
        let told = match told {
            Ok(checked) => self.passed(&checked, &quoted.offers, &settings.networks),
            Err((reason, detail)) => json!({"valid": false, "reason": reason, "detail": detail}),
        };
        output::one(&told, self.json, MEMBERS);
        if told.get("valid") == Some(&json!(true)) {
            return Ok(());
        }
        Err(Failed::new(1, "the proof does not pay for this request".to_owned()).into())
    }

    fn passed(&self, checked: &Checked, offers: &[Offer], networks: &Networks) -> Value {
        let mut told = Map::new();
        let mut put = |name: &str, value: Value| told.insert(name.to_owned(), value);
        put("valid", true.into());
        put("version", checked.version.number().into());
        put("payer", checked.payload.payer().to_string().into());
        put("payment_key", checked.key.to_string().into());
        put("ends", checked.payload.ends().to_string().into());
        put("is_deferred", checked.is_deferred.into());
        if let Some(offer) = offers.get(checked.offer) {
            put("amount", offer.amount.to_string().into());
            put("asset", json!(&*offer.asset.symbol));
            put("network", offer.network().to_string().into());
            let resource = Resource {
                url: self.target.clone(),
                ..Resource::default()
            };
            let body = verification(checked, offer, &resource, networks);
            let body = body.and_then(|body| serde_json::from_str(&body).ok());
            put("facilitator_request", body.unwrap_or(Value::Null));
        }
        Value::Object(told)
    }
}
