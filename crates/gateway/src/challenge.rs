//! The answer to an authority that asks in clear text whether a name is ours (ACME http-01,
//! RFC 8555, section 8.3), while an order of ours is open. It comes before every other stage: the
//! authority calls from addresses that nobody knows beforehand.

use crate::answer::Body;
use crate::lifecycle::{Exchange, Stop};
use tollkeep_http1::Method;

impl Exchange<'_> {
    /// What this request asks for, if it asks for an open challenge and nothing more.
    pub(crate) fn challenge(&mut self) -> Option<String> {
        let head = &self.work.head;
        if !matches!(head.method, Method::Get | Method::Head) || self.conn.tls().is_some() {
            return None;
        }
        let bytes = self.conn.unread();
        let found = self
            .worker
            .shared
            .challenges
            .for_request(head.authority.of(bytes), head.target.of(bytes))?;
        self.work.facts.is_probe = true;
        Some(found)
    }

    /// Gives it.
    ///
    /// # Errors
    /// The caller is gone.
    pub(crate) async fn answer_challenge(&mut self, proof: &str) -> Result<(), Stop> {
        let body = Body {
            kind: "application/octet-stream",
            bytes: proof.as_bytes(),
        };
        self.answer_whole(200, body).await
    }
}
