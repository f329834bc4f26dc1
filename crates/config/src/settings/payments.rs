//! How payments are taken: who settles them, when, and what a payer may do.

use super::credit::CreditFile;
use super::egress::is_clear_text;
use super::facilitator::Addresses;
use super::{DAY_MS, Egress, SecretOrText, days, ms, payment_sandbox};
use crate::check::Checks;
use crate::error::nearest;
use crate::field::{KindExt, headers, mapped, named, plain_name, section};
use crate::kind::{
    Kind, Shape, Wrong, choice, dollars, duration, networks_or_all_private, parsed, switch, whole,
};
use crate::reader::keys;
use crate::tree::{KeyPath, Node, Value};
use ipnet::IpNet;
use serde_json::json;
use std::net::IpAddr;
use std::time::Duration;
use tollkeep_payments::session::CreditTerms;
use tollkeep_payments::state::Mode;
use tollkeep_payments::x402::{Network, Networks};
use tollkeep_policy::egress::{EgressUrl, Exceptions, Giver, Host, Purpose, parse_url};
use tollkeep_types::money::NanoUsd;

/// How payments are taken.
#[derive(Clone, Debug)]
pub struct Payments {
    /// For how long a price holds that a caller was told.
    pub quote_ttl: Duration,
    /// How long a caller waits while nobody knows what became of its money.
    pub settle_wait: Duration,
    /// How old credit may be that a proof is served for.
    pub credit_ttl: Duration,
    /// Proofs that did not do, by client network.
    pub failed_proofs: FailedProofs,
    /// Bytes of the fields of a 402 that ask for payment.
    pub challenge_bytes_max: usize,
    /// Whether no money moves: the one facilitator is in this process.
    pub sandbox: bool,
    /// On what terms credit is sold; `None`: none is.
    pub credit: Option<CreditTerms>,
    /// Stablecoins.
    pub x402: X402,
}

/// Stablecoins, by x402.
#[derive(Clone, Debug)]
pub struct X402 {
    /// Who verifies and settles, in the order of the file.
    pub facilitators: Vec<Facilitator>,
    /// Their numbers by network, best first; `None` is every network that is not named.
    pub(super) uses: Vec<(Option<Network>, Vec<usize>)>,
    /// What is asked of a facilitator before money is taken.
    pub verify: Verify,
    /// Whether signatures are taken that only the chain can judge.
    pub smart_wallets: bool,
    /// Whether payers have to name what they buy.
    pub requires_identifier: bool,
    /// Nodes that are read to find out what became of a payment.
    pub rpc: Vec<(Network, EgressUrl)>,
    /// Private networks that facilitators and nodes may be in.
    pub allow_private: Vec<IpNet>,
}

impl X402 {
    /// Who verifies and settles on a network, best first.
    pub fn facilitators_of(&self, network: &Network) -> Vec<&Facilitator> {
        let of = |wanted: Option<&Network>| {
            let mut uses = self.uses.iter();
            uses.find(|(named, _)| named.as_ref() == wanted)
                .map(|(_, uses)| uses.as_slice())
        };
        let uses = of(Some(network)).or_else(|| of(None)).unwrap_or_default();
        let known = uses.iter().filter_map(|at| self.facilitators.get(*at));
        known.collect()
    }
}

/// Who verifies and settles.
#[derive(Clone, Debug)]
pub struct Facilitator {
    /// Its name in the file.
    pub name: String,
    /// Where it is.
    pub at: FacilitatorAt,
    /// Fields on every request to it.
    pub headers: Vec<(String, SecretOrText)>,
    /// How long it may take.
    pub timeouts: FacilitatorTimeouts,
}

/// Where a facilitator is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FacilitatorAt {
    /// Below it are `supported`, `verify` and `settle`.
    Url(EgressUrl),
    /// In this process; it moves no money.
    Sandbox,
}

/// What is asked of a facilitator before money is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verify {
    /// Nothing, where a proof can be judged here.
    LocalOnly,
    /// Whether it would settle what passed here.
    LocalThenFacilitator,
}

const VERIFY: [(&str, Verify); 2] = [
    ("local_only", Verify::LocalOnly),
    ("local_then_facilitator", Verify::LocalThenFacilitator),
];

const IDENTIFIER: [(&str, bool); 2] = [("optional", false), ("required", true)];

pub(super) const SETTLEMENT: [(&str, Mode); 2] = [
    ("before-response", Mode::Before),
    ("after-response", Mode::After),
];

pub(super) const MID_STREAM: [(&str, MidStream); 2] =
    [("credit", MidStream::Credit), ("charge", MidStream::Charge)];

/// What becomes of a payment whose answer broke off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MidStream {
    /// The same proof is served once more.
    Credit,
    /// It is charged.
    Charge,
}

/// On what terms a route is sold.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// When money is taken.
    pub mode: Mode,
    /// What becomes of an answer that broke off.
    pub mid_stream: MidStream,
    /// Whether a request that the upstream refused is charged.
    pub charge_on_4xx: bool,
    /// Requests of one payer at a time.
    pub concurrent_max: u32,
    /// What one payer may have running that is not settled yet.
    pub exposure_max: NanoUsd,
    /// For how long it is remembered that a facilitator said yes to a proof; `None`: not at all.
    pub verified_for: Option<Duration>,
    /// Whether access tokens are told what they are charged.
    pub expose_cost: bool,
}

keys! {
    /// How payments are taken.
    pub(crate) struct PaymentsFile {
        /// For how long a price holds that a caller was told, though it has changed since.
        quote_ttl: Duration = duration(1_000..=DAY_MS).or(ms(300_000)),
        /// How long a caller waits for its payment to be settled before it is told to come again.
        settle_wait: Duration = duration(100..=300_000).or(ms(20_000)),
        /// For how long a proof is served for what was paid and not delivered. What is left is
        /// owed all the same.
        credit_ttl: Duration = duration(60_000..=365 * DAY_MS).or(days(7)),
        /// What becomes of a payment whose answer broke off after its first byte: `credit`, the
        /// same proof is served once more; `charge`, it is earned.
        mid_stream: MidStream = choice(&MID_STREAM).or(MidStream::Credit),
        /// Whether a request is charged that the upstream answered with 4xx, but 408 and 429.
        charge_on_4xx: bool = switch().or(true),
        /// Requests of one payer at a time.
        max_concurrent_per_payer: u32 = whole(1..=10_000).or(8),
        /// What one payer may have running with `settlement: after-response`, which is not paid
        /// yet.
        max_exposure: Option<NanoUsd> = dollars().optional(),
        /// Whether payments are tried out: what payers sign for Base Sepolia (`base-sepolia`) is
        /// judged as ever and taken once, and no money moves. No facilitator is asked then. Refused
        /// in production, on a public bind and beside a facilitator. Lightning has none yet.
        sandbox: bool = switch().or(false),
        credit: CreditFile = section(),
        failed_proofs: FailedProofs = section(),
        challenge: ChallengeFile = section(),
        x402: X402File = section(),
    }
}

keys! {
    /// Proofs that did not do, by client network (/24, /48); more get 429.
    #[derive(Copy, Eq, PartialEq)]
    pub struct FailedProofs {
        /// So many of them.
        requests: u64 = whole(1..=1_000_000).or(20),
        /// In this time.
        window: Duration = duration(1_000..=DAY_MS).or(ms(60_000)),
    }
}

keys! {
    /// What a 402 carries.
    pub(crate) struct ChallengeFile {
        /// Bytes of its fields that ask for payment; offers are left out from the end.
        max_header_bytes as "max_header_bytes": usize = whole(1_024..=32_768).or(7_168),
    }
}

keys! {
    /// Stablecoins, by x402.
    pub(crate) struct X402File {
        /// Who verifies and settles, by name. Money goes to nobody who is not named here.
        facilitators: Vec<(String, FacilitatorFile)> = named(plain_name),
        /// Which of them, best first: names, or by network `{base: [main]}`. Default: all, in the
        /// order of the file.
        uses as "use": Option<Uses> = UsesKind.optional(),
        /// What is asked of a facilitator before money is taken: `local_then_facilitator`, whether
        /// it would settle what passed here; `local_only`, nothing.
        verify: Verify = choice(&VERIFY).later(&["facilitator"]).or(Verify::LocalThenFacilitator),
        /// When money is taken: `before-response`, before the upstream is called;
        /// `after-response`, when its answer has begun, before a byte of that goes out.
        settlement: Mode = choice(&SETTLEMENT).or(Mode::Before),
        /// Whether signatures of contracts are taken, which only the chain can judge.
        smart_wallets: bool = switch().or(true),
        /// Whether payers name what they buy, so that a lost answer is sent once more (extension
        /// `payment-identifier`): `optional`, or `required`, which shuts out version 1.
        requires_identifier as "identifier": bool = choice(&IDENTIFIER).or(false),
        /// Nodes of networks, which are only read: to find out what became of a payment.
        rpc: Vec<(String, EgressUrl)> = mapped(parsed("URL", called)),
        /// Private networks that facilitators and nodes may be in. An address of this machine that
        /// is written as one, such as `http://127.0.0.1:8402`, needs none.
        allow_private: Vec<IpNet> = networks_or_all_private().or_empty(),
        /// Tokens besides the built-in ones: by network and symbol, each with `address`, `name` and
        /// `version` (as its contract signs, EIP-712), `decimals`, `transfer` (`eip3009`,
        /// `permit2`) and `peg` (`usd`, `none`).
        assets: Option<Vec<super::market::Listing>> = super::market::Listings.optional(),
        /// Short names of networks besides the built-in ones, each with its CAIP-2 name.
        networks: Vec<(String, Network)> = mapped(parsed("CAIP-2 name, `eip155:8453`", caip2)),
    }
}

keys! {
    /// Who verifies and settles.
    pub(crate) struct FacilitatorFile {
        /// Below it are `supported`, `verify` and `settle`: `https`, or `http` on this machine or
        /// in `allow_private`.
        url: Option<EgressUrl> = parsed("URL", called).required(),
        /// Fields on every request to it.
        headers: Vec<(String, SecretOrText)> = headers(),
        timeouts: FacilitatorTimeouts = section(),
    }
}

/// Where nothing is said.
pub(super) const USUAL: FacilitatorTimeouts = FacilitatorTimeouts {
    connect: ms(2_000),
    verify: ms(5_000),
    settle: ms(30_000),
};

keys! {
    /// How long a facilitator may take.
    #[derive(Copy, Eq, PartialEq)]
    pub struct FacilitatorTimeouts {
        /// Name look-up, TCP and TLS.
        connect: Duration = duration(1..=60_000).or(USUAL.connect),
        /// To say whether it would settle, and what it can.
        verify: Duration = duration(1..=60_000).or(USUAL.verify),
        /// To settle.
        settle: Duration = duration(1..=300_000).or(USUAL.settle),
    }
}

/// What one payer may have running where nothing is said.
const EXPOSURE_MAX: NanoUsd = NanoUsd::new(1_000_000_000);

impl FacilitatorFile {
    /// One of which nothing but its address is said.
    pub(super) fn at(url: &str) -> Result<Self, String> {
        Ok(Self {
            url: Some(called(url)?),
            headers: Vec::new(),
            timeouts: USUAL,
        })
    }
}

impl Uses {
    pub(super) const fn by_network(uses: Vec<(Option<String>, Vec<String>)>) -> Self {
        Self(uses)
    }
}

fn called(text: &str) -> Result<EgressUrl, String> {
    parse_url(text, Purpose::Webhook, Giver::Operator).map_err(|refusal| refusal.to_string())
}

fn caip2(text: &str) -> Result<Network, String> {
    Network::from_caip2(text)
        .ok_or_else(|| format!("want a CAIP-2 name, `eip155:8453`, not {text:?}"))
}

impl PaymentsFile {
    /// The terms of routes that say nothing of their own.
    pub(super) fn terms(&self) -> Terms {
        Terms {
            mode: self.x402.settlement,
            mid_stream: self.mid_stream,
            charge_on_4xx: self.charge_on_4xx,
            concurrent_max: self.max_concurrent_per_payer,
            exposure_max: self.max_exposure.unwrap_or(EXPOSURE_MAX),
            verified_for: None,
            expose_cost: false,
        }
    }

    pub(super) fn check(
        mut self,
        addresses: Option<Addresses>,
        networks: &Networks,
        egress: &Egress,
        checks: &mut Checks<'_>,
    ) -> Payments {
        let is_mock = addresses.as_ref().is_some_and(Addresses::is_mock);
        let sandbox = self.sandbox || is_mock;
        if is_mock && !self.sandbox && checks.is_written("payments.sandbox") {
            checks.error("facilitator", "is `mock` beside `payments.sandbox: false`");
        }
        if let Some((facilitators, uses)) = addresses.and_then(|all| all.facilitators(checks)) {
            if !self.x402.facilitators.is_empty() || self.x402.uses.is_some() {
                let problem =
                    "stands beside `payments.x402.facilitators` or `.use`: write only those";
                checks.error("facilitator", problem);
            }
            self.x402.facilitators = facilitators;
            self.x402.uses = Some(uses);
        }
        Payments {
            quote_ttl: self.quote_ttl,
            settle_wait: self.settle_wait,
            credit_ttl: self.credit_ttl,
            failed_proofs: self.failed_proofs,
            challenge_bytes_max: self.challenge.max_header_bytes,
            sandbox,
            credit: self.credit.check(checks),
            x402: match self.x402.check(networks, egress, checks) {
                x402 if sandbox => payment_sandbox::played(x402, is_mock, checks),
                x402 => x402,
            },
        }
    }
}

impl X402File {
    fn check(self, networks: &Networks, egress: &Egress, checks: &mut Checks<'_>) -> X402 {
        let place = KeyPath::of("payments.x402");
        let mut allow_private = self.allow_private;
        let mut facilitators = Vec::new();
        for (name, file) in self.facilitators {
            let at = place.name("facilitators").name(&name).name("url");
            let Some(url) = file.url else { continue };
            admit(&url, &at, (&mut allow_private, egress), checks);
            facilitators.push(Facilitator {
                name,
                at: FacilitatorAt::Url(url),
                headers: file.headers,
                timeouts: file.timeouts,
            });
        }
        let mut rpc = Vec::new();
        for (name, url) in self.rpc {
            let at = place.name("rpc").name(&name);
            admit(&url, &at, (&mut allow_private, egress), checks);
            let network = super::market::find(networks, &name, &at, checks);
            rpc.extend(network.map(|network| (network, url)));
        }
        let uses = uses(self.uses, &facilitators, networks, checks);
        X402 {
            facilitators,
            uses,
            verify: self.verify,
            smart_wallets: self.smart_wallets,
            requires_identifier: self.requires_identifier,
            rpc,
            allow_private,
        }
    }
}

/// How callers know the gateway: `https://host`, perhaps with a path; empty if nobody says.
pub(super) fn public_url(text: &str) -> Result<Box<str>, String> {
    if text.is_empty() {
        return Ok(Box::default());
    }
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_strange = |byte: u8| !byte.is_ascii_graphic() || b"?#@\\\"<>".contains(&byte);
    let fits = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    if !fits || text.len() > 512 || text.bytes().any(is_strange) {
        return Err(
            "want scheme, host and perhaps a path, as `https://api.example.com`".to_owned(),
        );
    }
    Ok(text.trim_end_matches('/').into())
}

/// Whether a place may be called at all; an address of this machine that is written as one may.
fn admit(
    url: &EgressUrl,
    at: &KeyPath,
    (allow_private, egress): (&mut Vec<IpNet>, &Egress),
    checks: &mut Checks<'_>,
) {
    let literal = match url.host() {
        Host::V4(ip) => Some(IpAddr::from(*ip)),
        Host::V6(ip) => Some(IpAddr::from(*ip)),
        Host::Name(_) => None,
    };
    allow_private.extend(literal.filter(IpAddr::is_loopback).map(IpNet::from));
    let exceptions = Exceptions {
        allow_private: allow_private.clone(),
        allow_metadata: false,
    };
    if let Err(problem) = egress.admit(url, &exceptions) {
        checks.error_at(at, problem);
    }
    if is_clear_text(url) && allow_private.is_empty() {
        let problem = "is `http` outside of `payments.x402.allow_private`: anybody on the way \
                       could say that money has moved";
        checks.error_at(at, problem);
    }
}

/// The numbers of the facilitators of each network.
fn uses(
    written: Option<Uses>,
    facilitators: &[Facilitator],
    networks: &Networks,
    checks: &mut Checks<'_>,
) -> Vec<(Option<Network>, Vec<usize>)> {
    let place = KeyPath::of("payments.x402.use");
    let Some(Uses(written)) = written else {
        return vec![(None, (0..facilitators.len()).collect())];
    };
    let mut uses = Vec::new();
    for (network, names) in written {
        let mut numbers = Vec::new();
        for name in &names {
            let known = || facilitators.iter().map(|known| known.name.as_str());
            match known().position(|known| known == name) {
                Some(number) => numbers.push(number),
                None => {
                    let mut problem = format!("no facilitator is named {name:?}");
                    if let Some(near) = nearest(name, known()) {
                        problem.push_str(&format!("; did you mean `{near}`?"));
                    }
                    checks.error_at(&place, problem);
                }
            }
        }
        match network {
            None => uses.push((None, numbers)),
            Some(name) => {
                let network = super::market::find(networks, &name, &place, checks);
                uses.extend(network.map(|network| (Some(network), numbers)));
            }
        }
    }
    uses
}

/// Names of facilitators, for all networks or by network.
#[derive(Clone, Debug)]
pub(crate) struct Uses(Vec<(Option<String>, Vec<String>)>);

/// The kind of [`Uses`].
struct UsesKind;

impl Kind for UsesKind {
    type Value = Uses;

    fn shape(&self) -> Shape {
        let names = json!({"type": "array", "items": {"type": "string"}});
        let by_network = json!({"type": "object", "additionalProperties": names});
        Shape::new(
            json!({"anyOf": [names, by_network]}),
            "names of facilitators, or such lists by network",
        )
    }

    fn read(&self, node: &Node) -> Result<Uses, Vec<Wrong>> {
        let Value::Map(entries) = &node.value else {
            return Ok(Uses(vec![(None, names(node)?)]));
        };
        let by_network = entries
            .iter()
            .map(|entry| Ok((Some(entry.name.clone()), names(&entry.node)?)));
        by_network.collect::<Result<_, Vec<Wrong>>>().map(Uses)
    }
}

fn names(node: &Node) -> Result<Vec<String>, Vec<Wrong>> {
    crate::kind::list(crate::kind::text()).read(node)
}
