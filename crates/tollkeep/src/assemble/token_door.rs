//! The door from the data listener to the records of tokens, for their holders.

use super::receipts::Receipts;
use std::sync::Arc;
use tollkeep_admin::{Admin, Holder, HolderNo};
use tollkeep_gateway::{TokenAnswer, TokenAsk, TokenDoor, TokenNo};
use tollkeep_store::Conflict;
use tollkeep_types::RequestId;

/// Who answers, and where: no worker waits for the store.
pub(crate) struct Tokens {
    /// Who answers.
    pub(crate) admin: Admin,
    /// Who makes receipts, where any are made.
    pub(crate) receipts: Option<Arc<Receipts>>,
    /// Where.
    pub(crate) control: tokio::runtime::Handle,
}

impl TokenDoor for Tokens {
    fn show(&self, ask: TokenAsk) -> TokenAnswer {
        let admin = self.admin.clone();
        self.answer(async move { admin.show_own_token(&holder(&ask)).await })
    }

    fn usage(&self, ask: TokenAsk) -> TokenAnswer {
        let admin = self.admin.clone();
        self.answer(async move { admin.show_own_usage(&holder(&ask)).await })
    }

    fn receipts(&self, ask: TokenAsk, of: RequestId) -> TokenAnswer {
        let Some(receipts) = self.receipts.as_ref().map(Arc::clone) else {
            return Box::pin(async { Err(TokenNo::NotFound) });
        };
        let answered = self.control.spawn(async move {
            let whose = (ask.token.project.tenant_id, ask.token.lineage.id);
            receipts.of_request(whose, of).await
        });
        Box::pin(async move {
            match answered.await {
                Ok(Ok(body)) => body.ok_or(TokenNo::NotFound),
                Ok(Err(error)) => {
                    tracing::warn!("Receipts can't be given: {error}");
                    Err(TokenNo::Unavailable)
                }
                Err(_) => Err(TokenNo::Unavailable),
            }
        })
    }

    fn receipt(&self, ask: TokenAsk, attempt: u32) -> TokenAnswer {
        let Some(receipts) = self.receipts.as_ref().map(Arc::clone) else {
            return Box::pin(async { Err(TokenNo::NotFound) });
        };
        let answered = self.control.spawn(async move {
            let whose = (ask.token.project.tenant_id, ask.token.lineage.id);
            receipts.awaited(whose, ask.request, attempt).await
        });
        Box::pin(async move {
            let receipt = answered.await.ok().flatten();
            receipt.map(String::into_bytes).ok_or(TokenNo::NotFound)
        })
    }

    fn rotate(&self, ask: TokenAsk) -> TokenAnswer {
        let admin = self.admin.clone();
        self.answer(async move { admin.rotate_own_token(&holder(&ask)).await })
    }
}

impl Tokens {
    /// What was begun goes on to its end if the caller goes away.
    fn answer(
        &self,
        work: impl Future<Output = Result<Vec<u8>, HolderNo>> + Send + 'static,
    ) -> TokenAnswer {
        let answered = self.control.spawn(work);
        Box::pin(async move {
            let answer = answered.await.map_err(|_| TokenNo::Unavailable)?;
            answer.map_err(|no| told(&no))
        })
    }
}

fn holder(ask: &TokenAsk) -> Holder {
    Holder {
        tenant: ask.token.project.tenant_id,
        token: ask.token.id,
        granted: ask.token.lineage.granted(),
        request: ask.request,
        client_ip: ask.client_ip,
        user_agent: ask.user_agent.as_ref().map(Arc::clone),
    }
}

fn told(no: &HolderNo) -> TokenNo {
    match no.conflict() {
        Some(Conflict::TokenRotated) => return TokenNo::Rotated,
        Some(Conflict::TokenNotOwn) => return TokenNo::NotOwn,
        Some(Conflict::LineageOver) => return TokenNo::LineageOver,
        Some(Conflict::TokenNotActive) => return TokenNo::Ended,
        Some(_) | None => {}
    }
    if matches!(no, HolderNo::Unrecorded) {
        return TokenNo::Unrecorded;
    }
    tracing::warn!("What a holder asked about its token can't be answered: {no}");
    TokenNo::Unavailable
}
