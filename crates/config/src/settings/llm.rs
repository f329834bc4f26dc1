//! The LLM surfaces and model names.

use super::server_cors::origin;
use super::{DAY_MS, UpstreamTimeouts, ms};
use crate::check::Checks;
use crate::field::{KindExt, section};
use crate::kind::{Kind, Shape, Written, Wrong, bytes, choice, list, millis, seconds};
use crate::kind::{switch, whole};
use crate::reader::keys;
use crate::tree::Node;
use serde_json::{Value as Json, json};
use std::time::Duration;
use tollkeep_ledger::decide::OnDisconnect;
use tollkeep_policy::origin::Origin;

/// The LLM surfaces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Llm {
    /// Which surfaces are served.
    pub surfaces: Surfaces,
    /// Whether `?key=` carries a credential.
    pub query_key: bool,
    /// Bytes of a JSON request body.
    pub max_request_body_bytes: u64,
    /// Nesting of a JSON request body.
    pub max_depth: usize,
    /// Whether the caller's `User-Agent` goes to providers.
    pub forward_user_agent: bool,
    /// Whether callers see the limits that providers tell of their accounts.
    pub expose_upstream_limits: bool,
    /// Whether lists of models name the providers that serve them.
    pub expose_providers: bool,
    /// A streamed answer in all.
    pub stream_max: Duration,
    /// How long a stream is silent before its reader is told that it is not over.
    pub keep_alive: Duration,
    /// How long the head of a stream waits for its first content.
    pub head_hold: Duration,
    /// How long an answer is read without its caller at most.
    pub drain_max: Duration,
    /// Whether callers are told what calls cost.
    pub expose_cost: bool,
    /// Origins that calls must come from; empty: any, or none.
    pub allowed_origins: Vec<Origin>,
}

/// Which surfaces are served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Surfaces {
    /// Every surface some provider can serve.
    All,
    /// None.
    None,
    /// These.
    Some(Vec<Surface>),
}

/// An LLM surface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Surface {
    /// OpenAI chat completions, completions, embeddings.
    Chat,
    /// OpenAI responses.
    Responses,
    /// Anthropic messages and token counts.
    Anthropic,
    /// Gemini's generateContent, streamed and not, and its token counts.
    Gemini,
}

keys! {
    /// The LLM surfaces: built-in routes that every provider makes reachable.
    pub(crate) struct LlmFile {
        /// Which surfaces are served: `all`, `none`, or a list of `chat`, `responses`,
        /// `anthropic`, `gemini`.
        surfaces: Surfaces = SurfacesKind.or(Surfaces::All),
        /// Whether `?key=` carries a credential, as Gemini clients send it. Queries end up in
        /// logs along the way.
        query_key: bool = switch().or(false),
        /// Bytes of a JSON request body; images and documents come inline.
        max_request_body_bytes: u64 = bytes(4_096..=67_108_864).or(20_971_520),
        /// Nesting of a JSON request body.
        max_depth: usize = whole(8..=1_024).or(128),
        /// Whether the caller's `User-Agent` goes to providers instead of `tollkeep`.
        forward_user_agent: bool = switch().or(false),
        /// Whether answers have the provider's own `x-ratelimit-*` and `anthropic-ratelimit-*`: they tell of
        /// an account that all callers share, and not of the caller's own limits.
        expose_upstream_limits: bool = switch().or(false),
        /// Whether lists of models tell in `owned_by` by which provider a model is served, by its name
        /// in the settings; else that is `tollkeep`.
        expose_providers: bool = switch().or(false),
        /// Name look-up, TCP and TLS, of providers that don't say.
        connect_timeout as "connect_timeout_ms": Duration = millis(1..=DAY_MS).or(ms(5_000)),
        /// Request sent to first byte of the answer, of providers that don't say.
        upstream_timeout as "upstream_timeout_ms": Duration = millis(1..=DAY_MS).or(ms(60_000)),
        /// Between two bytes of the answer, of providers that don't say.
        idle_timeout as "idle_timeout_ms": Duration = millis(1..=DAY_MS).or(ms(120_000)),
        stream: Stream = section(),
        /// What becomes of a call whose caller hangs up, at providers that don't say: `cancel` ends it,
        /// `drain` reads its answer to the end, so that its cost is known exactly. Where a hard budget
        /// or an account counts its cost, a call is only cancelled if that ends its bill
        /// (`providers.<name>.cancel_stops_billing`, or the price table says so of the model).
        on_disconnect: OnDisconnect = choice(&ON_DISCONNECT).or(OnDisconnect::Cancel),
        /// How long an answer is read without its caller at most.
        drain_max as "drain_max_s": Duration = seconds(1_000..=120_000).or(ms(120_000)),
        /// Whether answers tell what they cost: `x-tollkeep-cost` in dollars, and for calls that a
        /// budget counts `x-tollkeep-hold` and `x-tollkeep-budget-remaining`, an amount for tokens
        /// with `usage.read`, hundredths for others. A stream whose caller sent
        /// `x-tollkeep-receipt: inline` tells its cost in a comment before its end.
        expose_cost: bool = switch().or(false),
        /// Origins whose pages may call the surfaces, compared exactly; then a call without an
        /// `Origin` is refused too. Empty: any origin or none, and `server.cors` tells browsers.
        allowed_origins: Vec<Origin> = list(origin()).or_empty(),
    }
}

keys! {
    /// Streamed answers.
    pub(crate) struct Stream {
        /// How long the head of a streamed answer waits for its first content, while what only says that it
        /// begins is kept back. A stream that fails before can still be asked for with another credential,
        /// or be answered with a status; after that it goes to the caller as it is. 0: it goes at once.
        head_hold as "head_hold_ms": Duration = millis(0..=60_000).or(ms(10_000)),
        /// After how long without a word the reader of a streamed answer is told that it is not over: by
        /// a comment, in Anthropic's dialect by `ping`, in Gemini's by empty lines. 0: never.
        keep_alive as "keepalive_s": Duration = seconds(0..=3_600_000).or(ms(15_000)),
        /// A streamed answer in all.
        max as "max_s": Duration = seconds(1_000..=DAY_MS).or(ms(3_600_000)),
    }
}

/// What becomes of a call whose caller hangs up.
pub(super) const ON_DISCONNECT: [(&str, OnDisconnect); 2] = [
    ("cancel", OnDisconnect::Cancel),
    ("drain", OnDisconnect::Drain),
];

/// The section checked, and what it says about providers.
pub(crate) struct CheckedLlm {
    pub(crate) settings: Llm,
    /// Times of a provider that doesn't say.
    pub(crate) provider_timeouts: UpstreamTimeouts,
    /// What becomes of calls whose caller hangs up, of a provider that doesn't say.
    pub(crate) on_disconnect: OnDisconnect,
}

impl LlmFile {
    pub(super) fn check(self, checks: &mut Checks<'_>) -> CheckedLlm {
        if self.query_key && checks.in_production() {
            checks.warn(
                "llm.query_key",
                "is on: queries end up in logs along the way",
            );
        }
        CheckedLlm {
            provider_timeouts: UpstreamTimeouts {
                connect: self.connect_timeout,
                first_byte: self.upstream_timeout,
                idle: self.idle_timeout,
                total_stream: self.stream.max,
                ..UpstreamTimeouts::PLAIN
            },
            on_disconnect: self.on_disconnect,
            settings: Llm {
                surfaces: self.surfaces,
                query_key: self.query_key,
                max_request_body_bytes: self.max_request_body_bytes,
                max_depth: self.max_depth,
                forward_user_agent: self.forward_user_agent,
                expose_upstream_limits: self.expose_upstream_limits,
                expose_providers: self.expose_providers,
                stream_max: self.stream.max,
                keep_alive: self.stream.keep_alive,
                head_hold: self.stream.head_hold,
                drain_max: self.drain_max,
                expose_cost: self.expose_cost,
                allowed_origins: self.allowed_origins,
            },
        }
    }
}

/// `all`, `none`, or a list.
struct SurfacesKind;

const SURFACES: [(&str, Surface); 4] = [
    ("chat", Surface::Chat),
    ("responses", Surface::Responses),
    ("anthropic", Surface::Anthropic),
    ("gemini", Surface::Gemini),
];

const LATER: &[&str] = &["auto", "pass"];

impl Kind for SurfacesKind {
    type Value = Surfaces;

    fn shape(&self) -> Shape {
        let list = list(choice(&SURFACES)).shape();
        let schema = json!({"anyOf": [{"enum": ["all", "none"]}, list.schema]});
        Shape::new(schema, format!("`all`, `none`, or {}", list.words))
    }

    fn read(&self, node: &Node) -> Result<Surfaces, Vec<Wrong>> {
        match node.as_text() {
            Some("all") => return Ok(Surfaces::All),
            Some("none") => return Ok(Surfaces::None),
            Some(_) | None => {}
        }
        list(choice(&SURFACES).later(LATER))
            .read(node)
            .map(Surfaces::Some)
    }
}

impl Written for SurfacesKind {
    fn write(&self, value: &Surfaces) -> Json {
        match value {
            Surfaces::All => Json::from("all"),
            Surfaces::None => Json::from("none"),
            Surfaces::Some(surfaces) => list(choice(&SURFACES)).write(surfaces),
        }
    }
}
