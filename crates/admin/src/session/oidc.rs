//! Signing in by an identity provider: the authorization code flow with PKCE, `state` and `nonce`.
//!
//! A login under way is a cookie of this browser alone; `state`, `nonce` and the verifier follow
//! from what it holds and the key of this deployment, so that any replica can end what another one
//! began, and nobody can be led into a login that they did not begin.

use super::claims;
use super::cookie::Cookie;
use super::found::is_same;
use super::handover::Waiting;
use super::login::{self, Proven, check_channel};
use super::provider::{Code, Known, query};
use super::set;
use crate::State;
use crate::authn::{Operator, Who};
use crate::operation::Call;
use crate::problem::Problem;
use crate::router::{Answer, see_other};
use crate::shape::{Member, switch, text};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::sync::Arc;
use tollkeep_config::settings::Oidc;
use tollkeep_crypto::jwt::{JwtRefused, JwtRules};
use tollkeep_crypto::sha256;
use tollkeep_store::SessionHolder;
use tollkeep_types::{Secret, WallMillis};

/// How long somebody may take at the provider.
const LOGIN_MS: u64 = 600_000;
/// How far its clock may be off.
const LEEWAY_S: u64 = 60;
const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];
const CALLBACK: &str = "/api/v1/session/oidc/callback";

pub(super) const BEGIN: &[Member] = &[
    switch(
        "fresh",
        "Whether the provider shall ask anew who it is, as a proof for what needs one",
    ),
    text(
        "port",
        5,
        "Where a command of this machine waits for the login",
    ),
    text(
        "challenge",
        64,
        "The SHA-256 digest of its verifier, in hex",
    ),
];

/// What providers send back; those with no other word here are not looked at.
pub(super) const CALLBACK_QUERY: &[Member] = &[
    text("code", 4096, "What the provider exchanges for a token"),
    text("state", 200, "What the login was begun with"),
    text("iss", 512, "Who answers (RFC 9207)"),
    text("error", 200, "Why the provider refuses"),
    text("error_description", 1000, "The same in words"),
    text("error_uri", 1000, "Where it is explained"),
    text("session_state", 1000, "Of the provider's own"),
    text("scope", 1000, "What was granted"),
    text("authuser", 200, "Of the provider's own"),
    text("prompt", 200, "Of the provider's own"),
    text("hd", 300, "Of the provider's own"),
    text("client_info", 4096, "Of the provider's own"),
];

/// What follows from the cookie of a login.
struct Bound {
    state: Secret,
    nonce: Secret,
    verifier: Secret,
}

impl State {
    pub(super) fn derived(&self, what: &str, text: &Secret) -> Secret {
        let digest = self.parts.hasher.hash(format!("{what} {}", text.expose()));
        let hex = digest.bytes().iter().map(|byte| format!("{byte:02x}"));
        Secret::new(hex.collect::<String>())
    }

    fn bound(&self, login: &Secret) -> Bound {
        Bound {
            state: self.derived("login state", login),
            nonce: self.derived("login nonce", login),
            verifier: self.derived("login verifier", login),
        }
    }

    /// A login that begins now: until when it may end, something random, the command that waits for
    /// it, and our own mark.
    fn new_login(&self, waiting: Option<&Waiting>) -> Secret {
        let mut random = [0; 16];
        self.parts.entropy.fill(&mut random);
        let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let until = self.parts.store.now().0.saturating_add(LOGIN_MS);
        let mut text = format!("{until}-{random}");
        if let Some(waiting) = waiting {
            text = format!("{text}-{}", waiting.written());
        }
        let mark = self.derived("login", &Secret::new(&*text));
        let mark: String = mark.expose().chars().take(32).collect();
        Secret::new(format!("{text}-{mark}"))
    }

    /// Until when a login may end, and the command that waits for it, if we began it.
    fn login_begun(&self, login: &Secret) -> Option<(WallMillis, Option<Waiting>)> {
        let (text, mark) = login.expose().rsplit_once('-')?;
        let own = self.derived("login", &Secret::new(text));
        let own: String = own.expose().chars().take(32).collect();
        if !is_same(own.as_bytes(), mark.as_bytes()) {
            return None;
        }
        let mut parts = text.splitn(3, '-');
        let until = parts.next()?.parse().ok().map(WallMillis)?;
        let waiting = parts.nth(1).map(Waiting::read);
        Some((until, waiting.flatten()))
    }
}

/// Leads to the provider.
pub(super) async fn begin(call: Call) -> Answer {
    let (state, nobody) = (&call.state, &call.operator);
    let settings = state.settings();
    let oidc = settings
        .management
        .oidc
        .as_ref()
        .ok_or_else(Problem::not_found)?;
    check_channel(nobody)?;
    let waiting = Waiting::asked(&call.query)?;
    let redirect_uri = redirect_uri(nobody)?;
    let known = state.provider(oidc).await?;
    let login = state.new_login(waiting.as_ref());
    let bound = state.bound(&login);
    let challenge = sha256(&[bound.verifier.expose().as_bytes()]);
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(challenge);
    let (is_fresh, scope) = (call.query.is_on("fresh"), oidc.scopes.join(" "));
    // One who is asked for an age says when they were last asked who they are.
    let age_max = if is_fresh {
        0
    } else {
        settings.management.session.absolute.as_secs()
    };
    let age_max = age_max.to_string();
    let mut fields = vec![
        ("response_type", "code"),
        ("client_id", &oidc.client_id),
        ("redirect_uri", &redirect_uri),
        ("scope", &scope),
        ("state", bound.state.expose()),
        ("nonce", bound.nonce.expose()),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("max_age", &age_max),
    ];
    if is_fresh {
        fields.push(("prompt", "login"));
    }
    let place = &known.discovery.authorization_endpoint;
    let joint = if place.contains('?') { '&' } else { '?' };
    let mut answer = see_other(&format!("{place}{joint}{}", query(&fields)))?;
    set(&mut answer, Cookie::Login, Some(&login), nobody);
    Ok(answer)
}

/// Comes back from the provider.
pub(super) async fn end(call: Call) -> Answer {
    let (state, nobody) = (&call.state, &call.operator);
    let since = state.parts.clock.mono();
    let settings = state.settings();
    let oidc = settings
        .management
        .oidc
        .as_ref()
        .ok_or_else(Problem::not_found)?;
    check_channel(nobody)?;
    state.check_audit()?;
    let (proven, waiting) = match answered(&call, oidc).await {
        Ok(answered) => answered,
        Err(Refused::Login(reason)) => {
            state.record_failed_login(nobody, None, reason);
            let problem = Problem::not_signed_in();
            return Err(login::refused(state, nobody, since, problem).await);
        }
        Err(Refused::Problem(problem)) => return Err(problem),
    };
    let mut answer = match waiting {
        Some(waiting) => see_other(&state.hand_over(&waiting, &proven)?)?,
        None => {
            let mut answer = login::begin(state, nobody, proven).await?;
            *answer.status_mut() = StatusCode::OK;
            answer
        }
    };
    set(&mut answer, Cookie::Login, None, nobody);
    Ok(answer)
}

/// Why nobody is signed in.
enum Refused {
    /// For this reason, which records tell.
    Login(&'static str),
    /// Something else is in the way.
    Problem(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

async fn answered(call: &Call, oidc: &Oidc) -> Result<(Proven, Option<Waiting>), Refused> {
    let (state, nobody) = (&call.state, &call.operator);
    let login = brought(nobody).ok_or(Refused::Login("login_state"))?;
    let now = state.parts.store.now();
    let begun = state.login_begun(login).filter(|(until, _)| now < *until);
    let (until, waiting) = begun.ok_or(Refused::Login("login_state"))?;
    let bound = state.bound(login);
    let sent = call.query.get("state").unwrap_or_default();
    if !is_same(sent.as_bytes(), bound.state.expose().as_bytes()) {
        return Err(Refused::Login("login_state"));
    }
    let known = state.provider(oidc).await?;
    check_answerer(call, oidc, &known)?;
    let Some(code) = call.query.get("code").filter(|code| !code.is_empty()) else {
        return Err(Refused::Login("provider_refused"));
    };
    // Each login has one answer.
    let digest = state
        .parts
        .hasher
        .hash(format!("answered {}", login.expose()));
    let store = &state.parts.store;
    let is_first = store.use_provider_login(digest, until).await;
    if !is_first.map_err(Problem::from)? {
        return Err(Refused::Login("login_replayed"));
    }
    let redirect_uri = redirect_uri(nobody)?;
    let given = Code {
        code,
        redirect_uri: &redirect_uri,
        verifier: &bound.verifier,
    };
    let exchanged = state.exchange(oidc, &known, given);
    let token = exchanged.await.map_err(|why| {
        tracing::warn!(
            "The identity provider `{}` took no code: {why}",
            oidc.issuer
        );
        Refused::Login("code_refused")
    })?;
    let claims = verified(state, oidc, &known, &token).await?;
    let nonce = claims
        .get("nonce")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !is_same(nonce.as_bytes(), bound.nonce.expose().as_bytes()) {
        return Err(Refused::Login("token_nonce"));
    }
    let person = claims::person(oidc, &claims).map_err(|why| Refused::Login(why.reason()))?;
    let person = store
        .provider_operator(person)
        .await
        .map_err(Problem::from)?;
    if person.disabled_at.is_some() {
        return Err(Refused::Login("disabled"));
    }
    let proven = Proven {
        holder: SessionHolder::Operator(person.id),
        proved_at: proved_at(state, &claims, now),
        who: Who::Person(Arc::new(person)),
    };
    Ok((proven, waiting))
}

fn brought(nobody: &Operator) -> Option<&Secret> {
    match &nobody.who {
        Who::Nobody(brought) => brought.login.as_ref(),
        Who::Key(_) | Who::Environment | Who::Person(_) | Who::Local { .. } | Who::Loopback => None,
    }
}

/// Whether it is this provider that answers, and not one that was mixed up with it (RFC 9207).
fn check_answerer(call: &Call, oidc: &Oidc, known: &Known) -> Result<(), Refused> {
    let says = known
        .discovery
        .authorization_response_iss_parameter_supported;
    match call.query.get("iss") {
        Some(issuer) if issuer == oidc.issuer => Ok(()),
        None if says != Some(true) => Ok(()),
        Some(_) | None => Err(Refused::Login("other_issuer")),
    }
}

async fn verified(
    state: &State,
    oidc: &Oidc,
    known: &Known,
    token: &Secret,
) -> Result<Map<String, Value>, Refused> {
    let audience = [oidc.client_id.clone()];
    let rules = JwtRules::new(&oidc.issuer, &audience, &ALGORITHMS, LEEWAY_S);
    let now_s = state.parts.store.now().0 / 1000;
    let token = token.expose().as_bytes();
    let mut claims = rules.verify_identity(token, &known.keys, now_s);
    if claims == Err(JwtRefused::UnknownKey)
        && let Some(keys) = state.keys_again(oidc, known).await
    {
        claims = rules.verify_identity(token, &keys, now_s);
    }
    claims.map_err(|refused| Refused::Login(reason(refused)))
}

const fn reason(refused: JwtRefused) -> &'static str {
    match refused {
        JwtRefused::Malformed => "token_malformed",
        JwtRefused::Algorithm => "token_algorithm",
        JwtRefused::UnknownKey => "token_unknown_key",
        JwtRefused::Signature => "token_signature",
        JwtRefused::MissingClaim => "token_claims",
        JwtRefused::Issuer => "token_issuer",
        JwtRefused::Audience => "token_audience",
        JwtRefused::NotYet => "token_not_yet",
        JwtRefused::Expired => "token_expired",
    }
}

/// When they proved to the provider who they are. Where it does not say, that is too long ago.
fn proved_at(state: &State, claims: &Map<String, Value>, now: WallMillis) -> WallMillis {
    let said_s = claims.get("auth_time").and_then(Value::as_u64);
    let holds = state.settings().management.session.proof;
    let holds_ms = u64::try_from(holds.as_millis()).unwrap_or(u64::MAX);
    let long_ago = WallMillis(now.0.saturating_sub(holds_ms));
    said_s.map_or(long_ago, |said_s| {
        WallMillis(said_s.saturating_mul(1000)).min(now)
    })
}

/// Where the provider sends them back to: where they came to, which was judged to be ours.
fn redirect_uri(nobody: &Operator) -> Result<String, Problem> {
    let own = match &nobody.who {
        Who::Nobody(brought) => brought.origin.clone(),
        Who::Key(_) | Who::Environment | Who::Person(_) | Who::Local { .. } | Who::Loopback => None,
    };
    let own = own.ok_or_else(|| Problem::bad_request("The request names no host."))?;
    Ok(format!("{own}{CALLBACK}"))
}
