//! A provider as one credential reaches it that has a place, or a proxy, of its own.

use super::provider::heads;
use super::{ProviderPlan, Target, TargetKind, next_endpoint_id};
use crate::credentials::CredentialPool;
use std::sync::Arc;
use tollkeep_net::dial::Endpoint;
use tollkeep_net::tls::UpstreamTls;
use tollkeep_net::{Dialer, Proxy};
use tollkeep_policy::egress::{EgressRefusal, EgressUrl, Giver};

/// Where the calls of a credential go, as far as that is its own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CredentialPlace {
    /// The place itself, with its base path.
    pub url: Option<EgressUrl>,
    /// The proxy on the way there.
    pub proxy: Option<EgressUrl>,
}

impl CredentialPlace {
    /// Whether there is nothing of its own in it.
    pub const fn is_of_provider(&self) -> bool {
        self.url.is_none() && self.proxy.is_none()
    }
}

impl Target {
    /// This provider at that place. `of_all` is TLS with whoever has no settings of their own.
    ///
    /// # Errors
    /// The proxy may not be dialled. Whether the place may is asked at each dial.
    pub(crate) fn at(
        &self,
        provider: &ProviderPlan,
        place: &CredentialPlace,
        of_all: &Arc<UpstreamTls>,
    ) -> Result<Self, EgressRefusal> {
        let own = &self.endpoint;
        let url = place.url.as_ref().unwrap_or(&own.url);
        let is_same_origin = url.origin() == own.url.origin();
        let tls = match &own.tls {
            Some(tls) if is_same_origin => Some(Arc::clone(tls)),
            Some(_) | None => url.scheme().is_tls().then(|| Arc::clone(of_all)),
        };
        let kind = TargetKind::Provider(ProviderPlan {
            kind: provider.kind,
            self_hosted: provider.self_hosted,
            hung_up: provider.hung_up,
            forward_headers: provider.forward_headers.clone(),
            allowed_betas: provider.allowed_betas.clone(),
            credentials: CredentialPool::none(),
            // A call was counted before its place was chosen.
            rates: None,
            heads: heads(provider.kind, url, &self.settled),
        });
        Ok(Self {
            name: Arc::clone(&self.name),
            label: self.label,
            endpoint: Endpoint {
                id: next_endpoint_id(),
                url: url.clone(),
                exceptions: own.exceptions.clone(),
                tls,
                dialer: self.way(place, of_all)?,
                pool: own.pool,
            },
            timeouts: self.timeouts.clone(),
            retry: self.retry,
            guard: None,
            kind,
            // What the settings add may be secret, and was meant for the provider's own place.
            set_fields: match is_same_origin {
                true => self.set_fields.clone(),
                false => Box::default(),
            },
            settled: self.settled.clone(),
            returned: self.returned.clone(),
            secrets: self.secrets.clone(),
            is_private: self.is_private && url.giver() == Giver::Operator,
            signer: None,
            is_elsewhere: !is_same_origin,
        })
    }

    fn way(
        &self,
        place: &CredentialPlace,
        of_all: &Arc<UpstreamTls>,
    ) -> Result<Dialer, EgressRefusal> {
        let dialer = self.endpoint.dialer.clone();
        let Some(url) = &place.proxy else {
            return Ok(dialer);
        };
        let proxy = Proxy {
            url: url.clone(),
            tls: url.scheme().is_tls().then(|| Arc::clone(of_all)),
            authorization: None,
        };
        dialer.by_way_of(proxy, self.endpoint.exceptions.clone())
    }
}
