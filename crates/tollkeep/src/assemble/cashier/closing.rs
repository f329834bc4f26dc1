//! Sessions that are over: their time is, or their route was taken out of the settings. What is left in
//! them stays owed; each end is written down once, by whichever replica comes first.
//!
//! A route is gone for a process that had it and has it no more. One that starts without a route may have
//! been given an old file, while others sell it: only where no other can be at work does that end anything.

use super::{Cashier, SCOPE};
use std::collections::HashSet;
use tollkeep_store::{SessionEnded, SessionRecord, StoreError};
use tollkeep_types::WallMillis;

/// The routes of the settings that sessions were compared with last.
#[derive(Default)]
pub(super) struct RoutesSeen {
    /// Which settings; 0 before the first.
    generation: u64,
    routes: HashSet<String>,
}

impl RoutesSeen {
    /// Whether a route is gone that is not in the settings now.
    fn had(&self, route: &str, is_shared: bool) -> bool {
        match self.generation {
            0 => !is_shared,
            _ => self.routes.contains(route),
        }
    }
}

impl Cashier {
    /// Ends what is over. `seen` is what the routes were compared with last.
    pub(super) async fn close_sessions(&self, seen: &mut RoutesSeen) {
        if let Err(error) = self.close_expired().await {
            tracing::debug!("Sessions can't be looked at: {error}");
        }
        let state = self.reloader.state();
        if state.generation != seen.generation {
            let settings = self.reloader.settings();
            let routes = settings.routes.iter().map(|route| route.name()).collect();
            match self.close_without_route(state.since, (&routes, seen)).await {
                Ok(()) => {
                    *seen = RoutesSeen {
                        generation: state.generation,
                        routes,
                    }
                }
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
    async fn close_without_route(
        &self,
        since: WallMillis,
        (known, seen): (&HashSet<String>, &RoutesSeen),
    ) -> Result<(), StoreError> {
        let routes = self.store.routes_of_sessions(SCOPE, since).await?;
        for route in routes.iter().filter(|route| !known.contains(*route)) {
            if !seen.had(route, self.store.is_shared()) {
                tracing::warn!(
                    "There are sessions of `{route}`, which these settings don't have: they are left to \
                     replicas that do"
                );
                continue;
            }
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
