//! One order, from the account to the chain of certificates.

use super::cache::{Cache, KeptPair};
use super::challenges::{Challenge, ChallengeKind};
use super::client::Place;
use crate::dial::DialError;
use crate::fetch::FetchError;
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier,
    NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::Der;
use std::io;
use std::time::Duration;
use tollkeep_policy::acme::Window;
use tollkeep_policy::egress::EgressRefusal;
use tollkeep_types::WallMillis;
use zeroize::Zeroizing;

/// How long a whole order may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the authority may take to look at the answers, and again to make the certificate.
const POLLED: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(100));
/// How long an answer is there before the authority is told to look: other replicas, which may
/// be whom it asks, find it within a second.
const SPREAD: Duration = Duration::from_millis(2_000);
/// What is told of a problem, which the authority's words are part of.
const PROBLEM_CHARS_MAX: usize = 300;
/// How often the suggested window is looked at, at most and at least (RFC 9773, section 4.3.2).
const LOOK_MIN: Duration = Duration::from_secs(60);
const LOOK_MAX: Duration = Duration::from_secs(86_400);
/// When it is looked at again where the authority suggests none, or none now.
const LOOK_USUAL: Duration = Duration::from_secs(6 * 3_600);

/// What is ordered.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The names, lower case.
    pub domains: &'a [String],
    /// Whom the authority may write to.
    pub email: Option<&'a str>,
    /// How it is shown that the names are ours.
    pub challenge: ChallengeKind,
    /// The certificate that this one takes the place of.
    pub replaces: Option<&'a KeptPair>,
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The egress policy said no.
    #[error("egress refused: {0}")]
    Egress(EgressRefusal),
    /// The authority said no.
    #[error("the authority refuses: {0}")]
    Authority(String),
    /// It is not reached, or does not speak as it should.
    #[error("{0}")]
    Failed(String),
    /// The folder can't be written.
    #[error("{0}")]
    Folder(String),
    /// All of it took too long.
    #[error("it took longer than {} s", PATIENCE.as_secs())]
    Late,
}

impl OrderError {
    fn of(error: &Error) -> Self {
        if let Error::Api(problem) = error {
            return Self::Authority(clean(&problem.to_string()));
        }
        if let Error::Other(other) = error
            && let Some(FetchError::Dial(DialError::Refused(refused))) = other.downcast_ref()
        {
            return Self::Egress(refused.clone());
        }
        Self::Failed(clean(&error.to_string()))
    }

    pub(super) fn folder(error: &io::Error, cache: &Cache) -> Self {
        Self::Folder(format!("{}: {error}", cache.folder().display()))
    }
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

/// The authority's words, bounded, and on one line.
fn clean(text: &str) -> String {
    let shown = text.chars().map(|letter| match letter {
        letter if letter.is_control() => ' ',
        letter => letter,
    });
    shown.take(PROBLEM_CHARS_MAX).collect()
}

/// Orders a certificate and keeps it, once it is known to be what was ordered. The caller has the
/// folder's [turn](super::cache::Turn); `published` is called when its challenges have changed.
///
/// # Errors
/// See [`OrderError`]; what was kept before is still there.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no connection of a caller whose slot could time it"
)]
pub async fn obtain(
    place: &Place,
    cache: &Cache,
    order: Order<'_>,
    published: &(dyn Fn() + Sync),
) -> Result<(), OrderError> {
    let opened = Opened { cache, published };
    let ordered = tokio::time::timeout(PATIENCE, run(place, cache, order, published));
    let ordered = ordered.await.unwrap_or(Err(OrderError::Late));
    drop(opened);
    let made = ordered?;
    let now = place.clock.wall();
    cache
        .keep(order.domains, &made, now)
        .map_err(|problem| OrderError::Failed(clean(&problem)))
}

/// Whatever becomes of an order, also that it is given up: nothing is answered any more.
struct Opened<'a> {
    cache: &'a Cache,
    published: &'a (dyn Fn() + Sync),
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.cache.withdraw();
        (self.published)();
    }
}

async fn run(
    place: &Place,
    cache: &Cache,
    order: Order<'_>,
    published: &(dyn Fn() + Sync),
) -> Result<Zeroizing<String>, OrderError> {
    let account = account(place, cache, order.email).await?;
    let mut opened = open(&account, order).await.inspect_err(|error| {
        // An authority that was set up anew: the next order begins with a new account.
        if is_problem(error, "accountDoesNotExist") {
            cache.forget_account();
        }
    })?;
    let challenges = challenges(&mut opened, order).await?;
    if !challenges.is_empty() {
        let until = place.clock.wall().0.saturating_add(in_millis(PATIENCE));
        cache
            .publish(&challenges, WallMillis(until))
            .map_err(|error| OrderError::folder(&error, cache))?;
        published();
        tokio::time::sleep(SPREAD).await;
        ready(&mut opened, order.challenge).await?;
    }
    match opened.poll_ready(&POLLED).await? {
        OrderStatus::Ready => {}
        OrderStatus::Pending
        | OrderStatus::Invalid
        | OrderStatus::Processing
        | OrderStatus::Valid => return Err(explain(&mut opened).await),
    }
    let wrong = |error: rcgen::Error| OrderError::Failed(error.to_string());
    let mut params = CertificateParams::new(order.domains.to_vec()).map_err(wrong)?;
    params.distinguished_name = DistinguishedName::new();
    // For each certificate a new one.
    let key = KeyPair::generate().map_err(wrong)?;
    let asked = params.serialize_request(&key).map_err(wrong)?;
    opened.finalize_csr(asked.der()).await?;
    let chain = opened.poll_certificate(&POLLED).await?;
    Ok(Zeroizing::new(format!(
        "{}{chain}",
        Zeroizing::new(key.serialize_pem()).as_str()
    )))
}

async fn account(place: &Place, cache: &Cache, email: Option<&str>) -> Result<Account, OrderError> {
    let builder = Account::builder_with_http(place.http());
    if let Some(known) = cache.account() {
        return Ok(builder.from_credentials(known).await?);
    }
    let contact = email.map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.as_deref().into_iter().collect();
    let new = NewAccount {
        contact: &contact,
        // The settings are refused where it is not so.
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let directory = place.directory.to_string();
    let (account, credentials) = builder.create(&new, directory, None).await?;
    // Before anything is ordered by it.
    cache
        .keep_account(&credentials)
        .map_err(|error| OrderError::folder(&error, cache))?;
    Ok(account)
}

async fn open(account: &Account, order: Order<'_>) -> Result<instant_acme::Order, Error> {
    let domains = order.domains.iter().cloned();
    let names: Vec<_> = domains.map(Identifier::Dns).collect();
    let replaced = order.replaces.and_then(identifier);
    if let Some(replaced) = replaced {
        let new = NewOrder::new(&names).replaces(replaced);
        match account.new_order(&new).await {
            Ok(opened) => return Ok(opened),
            // It does not know of replacing, or of the certificate; limits are meant for all.
            Err(error) if is_problem(&error, "rateLimited") => return Err(error),
            Err(Error::Api(_) | Error::Unsupported(_)) => {}
            Err(error) => return Err(error),
        }
    }
    account.new_order(&NewOrder::new(&names)).await
}

fn is_problem(error: &Error, wanted: &str) -> bool {
    let Error::Api(problem) = error else {
        return false;
    };
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix("urn:ietf:params:acme:error:") == Some(wanted)
}

/// A certificate as the authority names it (RFC 9773, section 4.1).
fn identifier(kept: &KeptPair) -> Option<CertificateIdentifier<'static>> {
    let issuer = kept.issuer_key.as_deref()?;
    let named = CertificateIdentifier::new(Der::from_slice(issuer), Der::from_slice(&kept.serial));
    Some(named.into_owned())
}

const fn kind(challenge: ChallengeKind) -> ChallengeType {
    match challenge {
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        ChallengeKind::Http01 => ChallengeType::Http01,
    }
}

/// What the authority asks, and what it shall find.
async fn challenges(
    opened: &mut instant_acme::Order,
    order: Order<'_>,
) -> Result<Vec<Challenge>, OrderError> {
    let mut open = Vec::new();
    let mut authorizations = opened.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            // Shown lately, and not forgotten.
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status @ (AuthorizationStatus::Invalid
            | AuthorizationStatus::Revoked
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Deactivated) => {
                return Err(OrderError::Authority(format!(
                    "an authorization is {status:?}"
                )));
            }
        }
        let asked = authorization.challenge(kind(order.challenge));
        let asked = asked.ok_or_else(|| {
            OrderError::Authority("it does not offer the challenge that is configured".to_owned())
        })?;
        let domain = asked.identifier().to_string().to_ascii_lowercase();
        // What was not ordered is not answered for.
        if !order.domains.contains(&domain) {
            return Err(OrderError::Authority(
                "it asks about another name".to_owned(),
            ));
        }
        open.push(Challenge {
            kind: order.challenge,
            domain,
            token: asked.token.clone(),
            key_authorization: asked.key_authorization().as_str().to_owned(),
        });
    }
    Ok(open)
}

/// Tells the authority to look.
async fn ready(
    opened: &mut instant_acme::Order,
    challenge: ChallengeKind,
) -> Result<(), OrderError> {
    let mut authorizations = opened.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Pending
            && let Some(mut asked) = authorization.challenge(kind(challenge))
        {
            asked.set_ready().await?;
        }
    }
    Ok(())
}

/// Why an order did not become ready, as its challenges tell it.
async fn explain(opened: &mut instant_acme::Order) -> OrderError {
    let status = opened.state().status;
    let mut told = Vec::new();
    let mut authorizations = opened.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let problems = state.challenges.iter().filter_map(|one| one.error.as_ref());
        told.extend(problems.map(|problem| format!("{name}: {problem}")));
    }
    if told.is_empty() {
        told.push(format!("the order is {status:?}"));
    }
    OrderError::Authority(clean(&told.join("; ")))
}

/// When the authority suggests to renew, and when to ask again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Renewal {
    /// The window, where it suggests one.
    pub window: Option<Window>,
    /// When it is asked again.
    pub again: Duration,
}

/// Asks when a certificate should be renewed. An authority that can't say, or not now, suggests
/// nothing: two thirds of the lifetime hold then.
pub async fn suggested(place: &Place, cache: &Cache, kept: &KeptPair) -> Renewal {
    let nothing = Renewal {
        window: None,
        again: LOOK_USUAL,
    };
    let (Some(known), Some(named)) = (cache.account(), identifier(kept)) else {
        return nothing;
    };
    let builder = Account::builder_with_http(place.http());
    let asked = async {
        let account = builder.from_credentials(known).await?;
        account.renewal_info(&named).await
    };
    match asked.await {
        Ok((told, again)) => Renewal {
            window: window(&told),
            again: again.clamp(LOOK_MIN, LOOK_MAX),
        },
        Err(Error::Unsupported(_)) => nothing,
        Err(error) => {
            tracing::debug!("No window is suggested: {}", OrderError::of(&error));
            nothing
        }
    }
}

fn window(told: &instant_acme::RenewalInfo) -> Option<Window> {
    let at = |seconds: i64| {
        u64::try_from(seconds.max(0))
            .ok()?
            .checked_mul(1_000)
            .map(WallMillis)
    };
    let window = &told.suggested_window;
    Some(Window {
        from: at(window.start.unix_timestamp())?,
        to: at(window.end.unix_timestamp())?,
    })
}

fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
