//! Sessions that are over: their time is, or there is no such route any more. What is left in them
//! stays owed; each end is written down once, by whichever replica comes first.

use super::{Cashier, SCOPE};
use std::collections::HashSet;
use tollkeep_store::{SessionEnded, SessionRecord, StoreError};
use tollkeep_types::WallMillis;

impl Cashier {
    /// Ends what is over. `routes_seen` is which settings the routes were compared with last.
    pub(super) async fn close_sessions(&self, routes_seen: &mut u64) {
        if let Err(error) = self.close_expired().await {
            tracing::debug!("Sessions can't be looked at: {error}");
        }
        let state = self.reloader.state();
        if state.generation != *routes_seen {
            match self.close_without_route(state.since).await {
                Ok(()) => *routes_seen = state.generation,
                Err(error) => tracing::debug!("Sessions can't be looked at: {error}"),
            }
        }
    }

    async fn close_expired(&self) -> Result<(), StoreError> {
        let over = self.store.sessions_over(SCOPE, self.store.now()).await?;
        self.close_all(over, SessionEnded::Expired).await
    }

    /// Ends what began before these settings on a route that is not in them. What began since is
    /// left alone: it was bought from a replica that has such a route.
    async fn close_without_route(&self, since: WallMillis) -> Result<(), StoreError> {
        let routes = self.store.routes_of_sessions(SCOPE, since).await?;
        if routes.is_empty() {
            return Ok(());
        }
        let settings = self.reloader.settings();
        let known: HashSet<String> = settings.routes.iter().map(|route| route.name()).collect();
        for route in routes.iter().filter(|route| !known.contains(*route)) {
            loop {
                let of = (route.as_str(), since);
                let left = self.store.sessions_of_route(SCOPE, of).await?;
                if left.is_empty() {
                    break;
                }
                self.close_all(left, SessionEnded::RouteRemoved).await?;
            }
            tracing::info!("The sessions of `{route}` have ended with it: what is left stays owed");
        }
        Ok(())
    }

    async fn close_all(
        &self,
        sessions: Vec<SessionRecord>,
        because: SessionEnded,
    ) -> Result<(), StoreError> {
        for session in sessions {
            if let Some(closed) = self.store.close_session(session.id, because).await? {
                self.record_closed(&closed, because);
            }
        }
        Ok(())
    }
}
