//! What is asked of the gateway itself, and of no route.

use crate::admit::Entry;
use crate::lifecycle::{Exchange, Stop};
use crate::refusal::Refusal;
use crate::standing::CorsLines;

impl<'a> Exchange<'a> {
    /// HOT. Whether no route is asked, but the gateway.
    pub(crate) fn is_asked_itself(&self, cors: Option<&CorsLines>) -> bool {
        self.work.head.asterisk
            || (cors.is_some() && self.is_preflight())
            || self.is_for_us()
            || self.plan.discovered(&self.work.path).is_some()
    }

    /// Answers that.
    ///
    /// # Errors
    /// By what is asked; the caller is gone.
    pub(crate) async fn answer_itself(
        &mut self,
        cors: Option<&'a CorsLines>,
        entry: &Entry<'_>,
    ) -> Result<(), Stop> {
        if self.work.head.asterisk {
            return self.answer_asterisk(entry).await;
        }
        if let Some(cors) = cors.filter(|_| self.is_preflight()) {
            return self.answer_preflight(cors, entry).await;
        }
        if self.is_for_us() {
            return self.own_token(entry).await;
        }
        match self.plan.discovered(&self.work.path) {
            Some(document) => self.tell_document(entry, document).await,
            None => Err(Refusal::EndpointNotFound.into()),
        }
    }
}
