//! What the management API needs of the egress door: asking an identity provider when operators sign in
//! by it, and whether a URL may be stored.

use super::credentials::giver;
use super::egress::Door;
use http::HeaderValue;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_admin::{Asking, ProviderAsk, UrlToStore};
use tollkeep_net::dial::{DialError, Endpoint, PoolSettings};
use tollkeep_net::fetch::{self, Bounds};
use tollkeep_policy::egress::{EgressReason, EgressUrl, Exceptions, parse_url};

/// What it says of itself, its keys and its tokens are some kilobytes; somebody waits for them.
const BOUNDS: Bounds = Bounds {
    bytes_max: 256 * 1024,
    patience: Duration::from_secs(10),
};

/// Whether a URL that came by the management API may be stored: judged as at each dial (EDGE-99).
pub(crate) async fn vet(door: Option<Door>, asked: UrlToStore) -> Result<EgressUrl, EgressReason> {
    let url = parse_url(&asked.text, asked.purpose, giver(asked.by_tenant));
    let url = url.map_err(|refusal| refusal.reason())?;
    let door = door.ok_or(EgressReason::Dns)?;
    let exceptions = Exceptions {
        allow_private: asked.allow_private,
        allow_metadata: false,
    };
    match door.dialer.vet(&url, &exceptions).await {
        Ok(()) => Ok(url),
        Err(DialError::Refused(refusal)) => Err(refusal.reason()),
        Err(_) => Err(EgressReason::Dns),
    }
}

/// Asks it by the door in force.
pub(crate) fn ask(door: Option<Door>, ask: ProviderAsk) -> Asking {
    Box::pin(async move {
        let door = door.ok_or("there is no way out yet")?;
        let url = ask.url;
        let endpoint = Endpoint {
            dialer: door.dialer.clone(),
            // It is never pooled.
            id: 0,
            tls: url.scheme().is_tls().then(|| Arc::clone(&door.tls.of_all)),
            url,
            exceptions: Exceptions {
                allow_private: ask.allow_private,
                allow_metadata: false,
            },
            pool: PoolSettings {
                idle_per_host_max: 0,
                idle: Duration::ZERO,
                connections_max: 1,
                by_owner: false,
            },
        };
        let answer = match ask.form {
            None => fetch::get(&endpoint, BOUNDS).await,
            Some(form) => {
                let authorization = form.authorization.map(|text| {
                    HeaderValue::try_from(text.expose()).map_err(|error| error.to_string())
                });
                let body = form.body.expose().as_bytes().to_vec();
                fetch::post_form(&endpoint, body, authorization.transpose()?, BOUNDS).await
            }
        };
        answer.map(Into::into).map_err(|error| error.to_string())
    })
}
