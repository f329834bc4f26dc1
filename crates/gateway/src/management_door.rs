//! Management on the data listener, for callers of this machine alone (EDGE-4).
//!
//! The data plane does not know the management API: whoever starts both hands in a door. What is
//! let through is only what a program of this machine sent itself; a proxy in front would make
//! everybody local.

use crate::answer::Framed;
use crate::lifecycle::{Exchange, Stop};
use crate::refusal::Refusal;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_http1::{Framing, write};
use tollkeep_net::Raced;
use tollkeep_observe::RequestOutcome;
use tollkeep_types::Authority;
use tollkeep_types::field_name::{Reserved, reserved};

/// Bytes of a request body, as on the management listener.
const BODY_BYTES_MAX: u64 = 1024 * 1024;
/// How long an operation may take.
const WAIT: Duration = Duration::from_secs(60);
/// Where management is.
const PLACES: [&[u8]; 3] = [b"/api/v1/", b"/manage/", b"/v0/"];

/// Name and value of a field.
pub type Field = (Box<[u8]>, Box<[u8]>);

/// A management request.
pub struct ManagementRequest {
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub target: Box<[u8]>,
    /// The fields, in order.
    pub fields: Vec<Field>,
    /// The body.
    pub body: Vec<u8>,
    /// Who asks.
    pub peer: SocketAddr,
}

/// What management says to it.
pub struct ManagementAnswer {
    /// The status.
    pub status: u16,
    /// The fields, without those about framing.
    pub fields: Vec<Field>,
    /// The body.
    pub body: Vec<u8>,
}

/// A way to the management API.
pub trait ManagementDoor: Send + Sync {
    /// Asks; `None` if it broke.
    fn ask(
        &self,
        request: ManagementRequest,
    ) -> Pin<Box<dyn Future<Output = Option<ManagementAnswer>> + Send>>;
}

/// Whether a path is management's, where management is on the data listener.
pub(crate) fn is_place(path: &[u8]) -> bool {
    PLACES.iter().any(|place| path.starts_with(place))
}

impl Exchange<'_> {
    /// The way to management, if this request may take it.
    pub(crate) fn management_door(&self) -> Option<Arc<dyn ManagementDoor>> {
        let (head, bytes) = (&self.work.head, self.conn.unread());
        if !is_place(head.target.of(bytes)) || !self.conn.peer().ip().to_canonical().is_loopback() {
            return None;
        }
        let forwarded = |name| matches!(reserved(name), Some(Reserved::Forwarding));
        let mut names = head.fields.iter().map(|field| field.name.of(bytes));
        if !is_loopback_name(head.authority.of(bytes)) || names.any(forwarded) {
            return None;
        }
        self.worker.shared.management.get().map(Arc::clone)
    }

    /// Passes the request to management, and its answer back.
    ///
    /// # Errors
    /// 400, 408, 413, 417, 504; the caller is gone.
    pub(crate) async fn manage(&mut self, door: &dyn ManagementDoor) -> Result<(), Stop> {
        self.work.facts.method = self.work.head.method.as_str();
        self.work.facts.route = Some(self.worker.name("management"));
        if self.work.head.expect_other {
            return Err(Refusal::ExpectationFailed.into());
        }
        if matches!(self.work.head.framing, Framing::Length(length) if length > BODY_BYTES_MAX) {
            return Err(Refusal::BodyTooLarge.into());
        }
        self.read_body(BODY_BYTES_MAX).await?;
        let asked = door.ask(self.management_request());
        self.conn.slot().set(WAIT);
        let answer = match self.conn.race(asked).await {
            Raced::Done(Some(answer)) => answer,
            Raced::Done(None) => return Err(Refusal::Internal.into()),
            Raced::Late => return Err(Refusal::Timeout.into()),
            Raced::Gone => return Err(Stop::CallerGone),
        };
        self.begin_bare_answer(answer.status);
        for (name, value) in &answer.fields {
            write::field(&mut self.work.out, name, value);
        }
        let length = u64::try_from(answer.body.len()).unwrap_or(u64::MAX);
        self.end_head(match answer.status {
            204 => Framed::None,
            _ => Framed::Length(length),
        });
        self.work.out.extend_from_slice(&answer.body);
        self.work.facts.bytes_out = length;
        self.work.facts.outcome = RequestOutcome::Served;
        self.flush().await
    }

    fn management_request(&self) -> ManagementRequest {
        let (head, bytes) = (&self.work.head, self.request_bytes());
        let kept = head.fields.iter().filter(|field| !field.hop);
        let fields = kept.map(|field| {
            let (name, value) = (field.name.of(bytes), field.value.of(bytes));
            (Box::from(name), Box::from(value))
        });
        ManagementRequest {
            method: head.method.as_str(),
            target: head.target.of(bytes).into(),
            fields: fields.collect(),
            body: self.body().to_vec(),
            peer: self.conn.peer(),
        }
    }
}

fn is_loopback_name(authority: &[u8]) -> bool {
    let text = std::str::from_utf8(authority).unwrap_or_default();
    let Ok(authority) = text.parse::<Authority>() else {
        return false;
    };
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-4
    #[test]
    fn names_of_this_machine_are_known_and_no_others() {
        for (name, want) in [
            ("localhost", true),
            ("LOCALHOST:8317", true),
            ("127.0.0.1", true),
            ("127.9.9.9:1", true),
            ("[::1]:8317", true),
            ("localhost.example.com", false),
            ("notlocalhost", false),
            ("example.com", false),
            ("10.0.0.1", false),
            ("[2001:db8::1]", false),
            ("", false),
        ] {
            assert_eq!(is_loopback_name(name.as_bytes()), want, "{name}");
        }
    }

    // EDGE-4
    #[test]
    fn management_is_at_its_own_paths_only() {
        for (path, want) in [
            ("/v0/management/auths", true),
            ("/api/v1/tokens", true),
            ("/manage/projects?x=1", true),
            ("/v0", false),
            ("/v1/models", false),
            ("/api/v2/x", false),
            ("/V0/management", false),
            ("/%760/management", false),
        ] {
            assert_eq!(is_place(path.as_bytes()), want, "{path}");
        }
    }
}
