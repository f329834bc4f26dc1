//! What holders of tokens ask about their own one, and how they replace it (ID-31).
//!
//! Such a request spends nothing and goes nowhere, so a token may ask whatever it is bound to
//! besides: its addresses, origins and fields are looked at, its methods and routes are not. The
//! store is asked by whoever the binary hands in, on the control runtime.

use crate::admit::Entry;
use crate::answer::Framed;
use crate::form::{FormRules, unrouted};
use crate::identify::{binding_refusal, bindings_of, check_project};
use crate::lifecycle::{Exchange, Stop};
use crate::refusal::{AuthnFailure, CountedBy, LimitClass, Limited, Refusal};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_counters::{Claim, Class, Key};
use tollkeep_http1::{Framing, Method, write};
use tollkeep_net::Raced;
use tollkeep_observe::RequestOutcome;
use tollkeep_policy::permission::BindingFacts;
use tollkeep_policy::rate::Quota;
use tollkeep_store::live::LiveToken;
use tollkeep_types::{PaymentId, RequestId};

/// Where all that the gateway answers about itself is.
const PLACE: &str = "/.well-known/tollkeep/";
/// Where receipts are, by the request.
const RECEIPTS: &str = "receipts/";
/// Where payments are, for whoever made them.
const PAYMENTS: &str = "payments/";
/// Bytes of a body, which says nothing.
const BODY_BYTES_MAX: u64 = 1024;
/// How long the store may take.
const WAIT: Duration = Duration::from_secs(10);
/// How often the tokens of a line are asked about, and in what span.
const ASKS: (u64, Duration, u32) = (60, Duration::from_secs(60), 20);
/// How often receipts are asked for.
const RECEIPT_ASKS: (u64, Duration, u32) = (600, Duration::from_secs(60), 100);
/// How often they are replaced: each leaves a record.
const ROTATIONS: (u64, Duration, u32) = (30, Duration::from_secs(3600), 10);

/// Who asks about a token.
pub struct TokenAsk {
    /// The token.
    pub token: Arc<LiveToken>,
    /// The request.
    pub request: RequestId,
    /// From where.
    pub client_ip: IpAddr,
    /// What with.
    pub user_agent: Option<Arc<str>>,
}

/// Why a holder was told no.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenNo {
    /// It is not for its holder to replace.
    NotOwn,
    /// It was replaced before.
    Rotated,
    /// Its line is as old as one may become.
    LineageOver,
    /// It ended meanwhile.
    Ended,
    /// The store does not answer.
    Unavailable,
    /// It can't be recorded, so it is not done.
    Unrecorded,
    /// There is no such thing, or it is another's.
    NotFound,
}

/// What comes of an ask: the body of the answer.
pub type TokenAnswer = Pin<Box<dyn Future<Output = Result<Vec<u8>, TokenNo>> + Send>>;

/// A way to the records of tokens.
pub trait TokenDoor: Send + Sync {
    /// What its holder may know of it.
    fn show(&self, ask: TokenAsk) -> TokenAnswer;
    /// What its line has spent.
    fn usage(&self, ask: TokenAsk) -> TokenAnswer;
    /// The receipts of one of its line's requests.
    fn receipts(&self, ask: TokenAsk, of: RequestId) -> TokenAnswer;
    /// The receipt of this attempt at one of its line's requests, as soon as what the call cost is
    /// kept: the text alone.
    fn receipt(&self, ask: TokenAsk, attempt: u32) -> TokenAnswer;
    /// Replaces it.
    fn rotate(&self, ask: TokenAsk) -> TokenAnswer;
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Show,
    Usage,
    Receipts(RequestId),
    /// What receipts are verified with: anybody may ask.
    ReceiptKeys,
    /// Of whoever shows its proof; `None` is one that can't be.
    Payment(Option<PaymentId>),
    Rotate,
}

impl Asked {
    fn of(method: Method, path: &str) -> Result<Self, Refusal> {
        let other_method = |allow: &str| Refusal::MethodNotAllowed {
            allow: allow.into(),
            closes: false,
        };
        match (path.strip_prefix(PLACE), method) {
            (Some("token"), Method::Get | Method::Head) => Ok(Self::Show),
            (Some("usage"), Method::Get | Method::Head) => Ok(Self::Usage),
            (Some("receipt-keys"), Method::Get | Method::Head) => Ok(Self::ReceiptKeys),
            (Some("token" | "usage" | "receipt-keys"), _) => Err(other_method("GET, HEAD")),
            (Some(path), Method::Get | Method::Head) if path.starts_with(RECEIPTS) => {
                let request = path.strip_prefix(RECEIPTS).and_then(|id| id.parse().ok());
                request.map(Self::Receipts).ok_or(Refusal::EndpointNotFound)
            }
            (Some(path), Method::Get | Method::Head) if path.starts_with(PAYMENTS) => {
                let payment = path.strip_prefix(PAYMENTS).and_then(|id| id.parse().ok());
                Ok(Self::Payment(payment))
            }
            (Some("token/rotate"), Method::Post) => Ok(Self::Rotate),
            (Some("token/rotate"), _) => Err(other_method("POST")),
            (Some(_) | None, _) => Err(Refusal::EndpointNotFound),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Show => "GET /.well-known/tollkeep/token",
            Self::Usage => "GET /.well-known/tollkeep/usage",
            Self::Receipts(_) => "GET /.well-known/tollkeep/receipts/{request_id}",
            Self::ReceiptKeys => "GET /.well-known/tollkeep/receipt-keys",
            Self::Payment(_) => "GET /.well-known/tollkeep/payments/{payment_id}",
            Self::Rotate => "POST /.well-known/tollkeep/token/rotate",
        }
    }

    /// How often it may be asked, and the number that this is counted under: no route has it.
    const fn limit(self) -> ((u64, Duration, u32), u32) {
        match self {
            Self::Show => (ASKS, u32::MAX - 1),
            Self::Rotate => (ROTATIONS, u32::MAX - 2),
            Self::Usage => (ASKS, u32::MAX - 3),
            Self::Receipts(_) | Self::ReceiptKeys | Self::Payment(_) => {
                (RECEIPT_ASKS, u32::MAX - 4)
            }
        }
    }
}

impl Exchange<'_> {
    /// HOT. Whether the request is for the gateway itself.
    pub(crate) fn is_for_us(&self) -> bool {
        self.work.path.as_bytes().get(1) == Some(&b'.') && self.work.path.starts_with(PLACE)
    }

    /// Answers what a holder asks about its token.
    ///
    /// # Errors
    /// The uniform 401, 403, 404, 405, 409, 429, 503; the caller is gone.
    pub(crate) async fn own_token(&mut self, entry: &Entry<'_>) -> Result<(), Stop> {
        let asked = Asked::of(self.work.head.method, &self.work.path)
            .map_err(|refusal| unrouted(entry, refusal))
            .inspect_err(|_| self.debit_address(entry))?;
        self.work.facts.route = Some(self.worker.name(asked.name()));
        self.check_form(
            entry,
            &FormRules {
                body: false,
                encoded_slash: false,
                semicolon: false,
            },
        )
        .inspect_err(|_| self.debit_address(entry))?;
        if asked == Asked::ReceiptKeys {
            self.debit_address(entry);
            let keys = self.worker.shared.receipt_keys.get();
            let keys = keys.ok_or(Refusal::EndpointNotFound)?.load_full();
            return self.tell_own(keys.as_bytes()).await;
        }
        if let Asked::Payment(payment) = asked {
            let body = self.ask_own_payment(entry, payment).await?;
            return self.tell_own(&body).await;
        }
        self.work.facts.validates = asked == Asked::Show;
        let token = self.own(entry)?;
        self.hold_slot();
        self.spend_ask(asked, &token)?;
        if asked == Asked::Rotate {
            if matches!(self.work.head.framing, Framing::Length(length) if length > BODY_BYTES_MAX)
            {
                return Err(Refusal::BodyTooLarge.into());
            }
            self.read_body(BODY_BYTES_MAX).await?;
            if !matches!(self.body().trim_ascii(), b"" | b"{}") {
                return Err(Refusal::BadRequest("body").into());
            }
        }
        let Some(door) = self.worker.shared.token_door.get().map(Arc::clone) else {
            return Err(Refusal::AuthUnavailable.into());
        };
        let ask = TokenAsk {
            token,
            request: self.work.facts.id,
            client_ip: entry.client_ip(),
            user_agent: self.work.facts.user_agent.clone(),
        };
        let answered = match asked {
            Asked::Show => door.show(ask),
            Asked::Usage => door.usage(ask),
            Asked::Receipts(of) => door.receipts(ask, of),
            Asked::Rotate => door.rotate(ask),
            Asked::ReceiptKeys | Asked::Payment(_) => {
                return Err(Refusal::EndpointNotFound.into());
            }
        };
        self.conn.slot().set(WAIT);
        let body = match self.conn.race(answered).await {
            Raced::Done(Ok(body)) => zeroize::Zeroizing::new(body),
            Raced::Done(Err(no)) => return Err(no.into()),
            Raced::Late => return Err(self.late().into()),
            Raced::Gone => return Err(Stop::CallerGone),
        };
        self.tell_own(&body).await
    }

    /// The token whose holder asks.
    fn own(&mut self, entry: &Entry<'_>) -> Result<Arc<LiveToken>, Refusal> {
        self.check_news()?;
        let found = self.find_token(entry, None);
        let found = found.map_err(|failure| self.not_let_in(entry, None, failure))?;
        self.work.facts.token = Some(Arc::clone(&found));
        self.worker.note_known(entry.client_ip());
        check_project(&found)?;
        let bytes = self.conn.unread();
        let fields = self.work.head.fields.iter();
        let facts = BindingFacts {
            ip: entry.client_ip(),
            method: self.work.head.method.as_str(),
            path: &self.work.path,
            route: None,
            fields: fields.map(|field| (field.name.of(bytes), field.value.of(bytes))),
        };
        let mut bindings = bindings_of(&found);
        bindings.methods = &[];
        bindings.routes = &[];
        bindings.check(&facts).map_err(binding_refusal)?;
        Ok(found)
    }

    fn spend_ask(&self, asked: Asked, token: &LiveToken) -> Result<(), Refusal> {
        let ((requests, window, burst), number) = asked.limit();
        let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        let key = Key::id(Class::Token, *token.lineage.id.bytes()).on_route(number);
        let quota = Quota::per(requests, window_ns, u64::from(burst));
        let admitted = self
            .worker
            .shared
            .rates
            .admit(self.started, &mut [Claim::key(key, quota)]);
        admitted.map_err(|refused| {
            Refusal::RateLimited(Limited {
                class: LimitClass::Token,
                by: CountedBy::Token,
                quota: requests,
                window_s: window.as_secs(),
                retry_after: Duration::from_nanos(refused.retry_after_ns),
            })
        })
    }

    async fn tell_own(&mut self, body: &[u8]) -> Result<(), Stop> {
        self.begin_answer(200);
        let out = &mut self.work.out;
        write::field(out, b"cache-control", b"no-store");
        write::field(out, b"content-type", b"application/json");
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        self.end_head(Framed::Length(length));
        if self.work.head.method != Method::Head {
            self.work.out.extend_from_slice(body);
            self.work.facts.bytes_out = length;
        }
        let told = self.flush().await;
        // It held the text of a token, and is written to again.
        zeroize::Zeroize::zeroize(&mut self.work.out);
        told?;
        self.work.facts.outcome = RequestOutcome::Served;
        Ok(())
    }
}

impl From<TokenNo> for Stop {
    fn from(no: TokenNo) -> Self {
        Self::Refused(match no {
            TokenNo::NotOwn => Refusal::NotSelfRotating,
            TokenNo::Rotated => Refusal::TokenRotated,
            TokenNo::LineageOver => Refusal::LineageOver,
            TokenNo::Ended => Refusal::Unauthenticated(AuthnFailure::Revoked),
            TokenNo::Unavailable => Refusal::AuthUnavailable,
            TokenNo::Unrecorded => Refusal::AuditUnavailable,
            TokenNo::NotFound => Refusal::EndpointNotFound,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-31
    #[test]
    fn what_is_asked_of_a_token_is_told_by_path_and_method() {
        let code = |method, path: &str| match Asked::of(method, path) {
            Ok(asked) => asked.name(),
            Err(refusal) => refusal.public().code,
        };
        for (method, path, want) in [
            (Method::Get, "token", Asked::Show.name()),
            (Method::Head, "token", Asked::Show.name()),
            (Method::Get, "usage", Asked::Usage.name()),
            (Method::Post, "usage", "method_not_allowed"),
            (Method::Post, "token", "method_not_allowed"),
            (
                Method::Get,
                "receipts/req_0198c0ffee0070008000000000000001",
                "GET /.well-known/tollkeep/receipts/{request_id}",
            ),
            (Method::Get, "receipts/x", "endpoint_not_found"),
            (Method::Get, "receipts/", "endpoint_not_found"),
            (Method::Get, "receipt-keys", Asked::ReceiptKeys.name()),
            (Method::Post, "receipt-keys", "method_not_allowed"),
            (Method::Get, "payments/x", Asked::Payment(None).name()),
            (Method::Post, "payments/x", "endpoint_not_found"),
            (Method::Post, "token/rotate", Asked::Rotate.name()),
            (Method::Get, "token/rotate", "method_not_allowed"),
            (Method::Get, "token/", "endpoint_not_found"),
            (Method::Get, "tokens", "endpoint_not_found"),
            (Method::Post, "token/rotate/x", "endpoint_not_found"),
            (Method::Get, "", "endpoint_not_found"),
        ] {
            let path = format!("{PLACE}{path}");
            assert_eq!(code(method, &path), want, "{path}");
        }
    }
}
