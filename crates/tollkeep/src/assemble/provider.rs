//! What an identity provider is asked when operators sign in by it, through the egress door.

use super::egress::Door;
use http::HeaderValue;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_admin::{Asking, ProviderAsk};
use tollkeep_net::dial::{Endpoint, PoolSettings};
use tollkeep_net::fetch::{self, Bounds};
use tollkeep_policy::egress::Exceptions;

/// What it says of itself, its keys and its tokens are some kilobytes; somebody waits for them.
const BOUNDS: Bounds = Bounds {
    bytes_max: 256 * 1024,
    patience: Duration::from_secs(10),
};

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
