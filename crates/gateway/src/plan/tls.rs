//! TLS towards upstreams and providers.

use std::sync::Arc;
use tollkeep_net::tls::UpstreamTls;

/// TLS towards upstreams and providers.
#[derive(Clone)]
pub struct TlsToUpstreams {
    /// Of those that ask for nothing of their own.
    pub of_all: Arc<UpstreamTls>,
    /// Of those that do, by the place of their settings: `upstreams.<name>`, `providers.<name>`.
    pub own: Vec<(String, Arc<UpstreamTls>)>,
}

impl TlsToUpstreams {
    /// That of whoever has its settings at this place.
    pub fn of(&self, section: &str, name: &str) -> &Arc<UpstreamTls> {
        let is_its = |place: &str| {
            let rest = place.strip_prefix(section);
            rest.and_then(|rest| rest.strip_prefix('.')) == Some(name)
        };
        let own = self.own.iter().find(|(place, _)| is_its(place));
        own.map_or(&self.of_all, |(_, tls)| tls)
    }
}
