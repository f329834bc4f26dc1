//! `tollkeep payment …`

use super::client::Client;
use super::config::Source;
use super::export::{Format, export};
use super::given::filters;
use super::quote::{Request, look, text_or_file};
use super::token::{confirm, path_segment};
use super::{Connection, output};
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
    /// List payments, the newest first
    List(List),
    /// Write one line for each payment, the newest first
    Export(Export),
    /// Show one payment
    Get(Get),
    /// Say what became of a payment that nobody knows about, for good
    Resolve(Resolve),
    /// Say that the credit of a payment was sent back to its payer by hand, for good
    Refund(Refund),
    /// What was paid for and not delivered, by token
    Credits(Connection),
    /// What was earned, by token and by route, rail or day
    Revenue(Revenue),
    /// List what payments bought that lasts longer than one call, the newest first
    Sessions(Sessions),
    /// End a session for good; what is left of it stays owed
    RevokeSession(RevokeSession),
}

/// Sessions.
#[derive(Args, Debug)]
pub(crate) struct Sessions {
    /// Only those for this route, as "GET /joke"
    #[arg(long)]
    route: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// A session to end.
#[derive(Args, Debug)]
pub(crate) struct RevokeSession {
    /// Its id
    session: String,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Which payments.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// Only those that stand so, as `unknown`
    #[arg(long)]
    state: Option<String>,
    /// Only those that were paid so, as `x402`
    #[arg(long)]
    rail: Option<String>,
    /// Only those for this route, as "GET /joke"
    #[arg(long)]
    route: Option<String>,
    /// Only those since then, as 2026-11-23T00:00:00Z
    #[arg(long)]
    since: Option<String>,
}

/// Payments.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    connection: Connection,
}

/// Payments, for other programs.
#[derive(Args, Debug)]
pub(crate) struct Export {
    /// How they are written
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    connection: Connection,
}

/// One payment.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// Its id
    payment: String,
    #[command(flatten)]
    connection: Connection,
}

/// What became of a payment.
#[derive(Args, Debug)]
pub(crate) struct Resolve {
    /// Its id
    payment: String,
    /// Whether the money came: `settled` or `voided`
    #[arg(long = "as", value_name = "settled|voided")]
    outcome: String,
    /// What says so, for the records
    #[arg(long)]
    evidence: String,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Credit that was sent back.
#[derive(Args, Debug)]
pub(crate) struct Refund {
    /// The id of the payment
    payment: String,
    /// The transfer that sent it back
    #[arg(long)]
    transaction: String,
    /// What else there is to say, for the records
    #[arg(long)]
    evidence: Option<String>,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What was earned.
#[derive(Args, Debug)]
pub(crate) struct Revenue {
    /// What it is summed up by: `route`, `rail` or `day`
    #[arg(long)]
    by: Option<String>,
    /// Only what came since then, as 2026-11-23T00:00:00Z
    #[arg(long)]
    since: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("STATE", "/state"),
    ("AMOUNT", "/quoted"),
    ("ASSET", "/asset"),
    ("NETWORK", "/network"),
    ("ROUTE", "/route"),
    ("PAYER", "/payer"),
    ("AT", "/created_at"),
];

const SHOWN: &[(&str, &str)] = &[
    ("id", "/id"),
    ("tenant", "/tenant_id"),
    ("state", "/state"),
    ("rail", "/rail"),
    ("route", "/route"),
    ("mode", "/mode"),
    ("asset", "/asset"),
    ("network", "/network"),
    ("quoted", "/quoted"),
    ("received", "/received"),
    ("payer", "/payer"),
    ("pay to", "/pay_to"),
    ("facilitator", "/facilitator"),
    ("transaction", "/transaction"),
    ("reason", "/reason"),
    ("request", "/request_id"),
    ("created", "/created_at"),
    ("settled", "/settled_at"),
];

const CREDITS: &[(&str, &str)] = &[
    ("ASSET", "/asset"),
    ("AMOUNT", "/amount"),
    ("PAYMENTS", "/payments"),
    ("OLDEST", "/oldest_at"),
    ("UNIT", "/unit"),
];

const SESSIONS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("STATE", "/state"),
    ("MODEL", "/model"),
    ("BALANCE", "/balance"),
    ("CALLS", "/calls"),
    ("PAID", "/paid"),
    ("ASSET", "/asset"),
    ("ROUTE", "/route"),
    ("PAYER", "/payer"),
    ("EXPIRES", "/expires_at"),
];

const SESSION: &[(&str, &str)] = &[
    ("id", "/id"),
    ("tenant", "/tenant_id"),
    ("state", "/state"),
    ("model", "/model"),
    ("route", "/route"),
    ("payment", "/payment_id"),
    ("paid", "/paid"),
    ("balance", "/balance"),
    ("held", "/held"),
    ("calls", "/calls"),
    ("expires", "/expires_at"),
];

const REVENUE: &[(&str, &str)] = &[
    ("BY", "/by"),
    ("ASSET", "/asset"),
    ("AMOUNT", "/amount"),
    ("PAYMENTS", "/payments"),
    ("UNIT", "/unit"),
];

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
    /// The request has no price that could be paid, or the proof does not do; the gateway refuses
    /// or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Check(check) => return check.run(),
            Self::List(list) => {
                let query = list.which.query();
                let rows = Client::new(&list.connection)?.all("/api/v1/payments", &query)?;
                output::list(&rows, list.connection.json, COLUMNS);
            }
            Self::Export(one) => {
                let (client, query) = (Client::new(&one.connection)?, one.which.query());
                export(&client, ("/api/v1/payments", &query), one.format)?;
            }
            Self::Get(one) => {
                let payment = Client::new(&one.connection)?.get(&place(&one.payment))?;
                output::one(&payment, one.connection.json, SHOWN);
            }
            Self::Resolve(resolve) => resolve.run()?,
            Self::Refund(refund) => refund.run()?,
            Self::Credits(connection) => {
                let rows = Client::new(&connection)?.get("/api/v1/credits")?;
                output::list(&rows_of(&rows), connection.json, CREDITS);
            }
            Self::Revenue(revenue) => {
                let query = filters([("by", revenue.by), ("since", revenue.since)]);
                let path = format!("/api/v1/revenue?{}", query.trim_start_matches('&'));
                let rows = Client::new(&revenue.connection)?.get(&path)?;
                output::list(&rows_of(&rows), revenue.connection.json, REVENUE);
            }
            Self::Sessions(list) => {
                let query = filters([("route", list.route)]);
                let client = Client::new(&list.connection)?;
                let rows = client.all("/api/v1/payment-sessions", &query)?;
                output::list(&rows, list.connection.json, SESSIONS);
            }
            Self::RevokeSession(one) => one.run()?,
        }
        Ok(())
    }
}

impl Which {
    fn query(self) -> String {
        filters([
            ("state", self.state),
            ("rail", self.rail),
            ("route", self.route),
            ("since", self.since),
        ])
    }
}

impl RevokeSession {
    fn run(self) -> anyhow::Result<()> {
        if !self.yes {
            confirm(&format!("End {} for good?", self.session))?;
        }
        let session = path_segment(&self.session);
        let path = format!("/api/v1/payment-sessions/{session}/revoke");
        let ended = Client::new(&self.connection)?.post(&path, &json!({}))?;
        output::one(&ended, self.connection.json, SESSION);
        Ok(())
    }
}

impl Resolve {
    fn run(self) -> anyhow::Result<()> {
        if !self.yes {
            let (id, outcome) = (&self.payment, &self.outcome);
            confirm(&format!("Let {id} be {outcome} for good?"))?;
        }
        let body = json!({ "as": self.outcome, "evidence": self.evidence });
        let path = format!("{}/resolve", place(&self.payment));
        let payment = Client::new(&self.connection)?.post(&path, &body)?;
        output::one(&payment, self.connection.json, SHOWN);
        Ok(())
    }
}

impl Refund {
    fn run(self) -> anyhow::Result<()> {
        if !self.yes {
            let id = &self.payment;
            confirm(&format!("Let the credit of {id} be sent back for good?"))?;
        }
        let mut body = json!({ "transaction": self.transaction });
        if let (Some(evidence), Some(members)) = (self.evidence, body.as_object_mut()) {
            members.insert("evidence".to_owned(), evidence.into());
        }
        let path = format!("{}/refund", place(&self.payment));
        let payment = Client::new(&self.connection)?.post(&path, &body)?;
        output::one(&payment, self.connection.json, SHOWN);
        Ok(())
    }
}

fn place(payment: &str) -> String {
    format!("/api/v1/payments/{}", path_segment(payment))
}

fn rows_of(list: &Value) -> Vec<Value> {
    list.as_array().cloned().unwrap_or_default()
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
            whole_s: 0,
            smart_wallets: true,
            v1_in_either: true,
            takes_ended: false,
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
