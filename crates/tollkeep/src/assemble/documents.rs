//! Fetching the documents that routes are made of, before anything is served: through the egress door,
//! bounded, and kept only if they can be used.

use super::egress::{Door, outside};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_config::settings::{OpenApiAt, OpenApiRefresh, Settings, Upstream};
use tollkeep_config::{DOCUMENT_BYTES_MAX, check_document, keep_copy};
use tollkeep_net::dial::{Endpoint, PoolSettings};
use tollkeep_net::fetch::{self, Bounds};
use tollkeep_policy::egress::{EgressUrl, Exceptions};

/// How long a document may take: a start waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which documents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Which {
    /// All that are at a URL.
    All,
    /// Those that are fetched at each start.
    AtStart,
}

/// A document that came and is kept.
pub(crate) struct Came {
    /// What can be a route.
    pub(crate) operations: usize,
    /// What can't, and why.
    pub(crate) left_out: Vec<String>,
}

/// What became of each upstream's document, or why it did not come.
pub(crate) type Fetched = Vec<(String, Result<Came, String>)>;

/// Whether some upstream has a document at a URL.
pub(crate) fn are_fetched(settings: &Settings) -> bool {
    wanted(settings, Which::All).next().is_some()
}

/// Fetches what is fetched at each start. What does not come is told: the last good copy is used.
///
/// # Errors
/// There is no way out.
pub(crate) fn refresh(settings: &Settings) -> anyhow::Result<()> {
    for (upstream, came) in fetch(settings, Which::AtStart)? {
        match came {
            Ok(came) => {
                let operations = came.operations;
                tracing::info!(
                    upstream,
                    operations,
                    "The document of `{upstream}` was fetched"
                );
            }
            Err(problem) => tracing::warn!(
                "upstreams.{upstream}.openapi: {problem}; the last good copy is used"
            ),
        }
    }
    Ok(())
}

/// Fetches documents and keeps those that can be used.
///
/// # Errors
/// There is no way out, or no runtime.
pub(crate) fn fetch(settings: &Settings, which: Which) -> anyhow::Result<Fetched> {
    if wanted(settings, which).next().is_none() {
        return Ok(Vec::new());
    }
    outside(settings, async |door| {
        let mut fetched = Vec::new();
        for (upstream, url) in wanted(settings, which) {
            let came = fetch_one(settings, &door, (upstream, url)).await;
            fetched.push((upstream.name.clone(), came));
        }
        fetched
    })
}

fn wanted(settings: &Settings, which: Which) -> impl Iterator<Item = (&Upstream, &EgressUrl)> {
    settings.upstreams.iter().filter_map(move |upstream| {
        let is_wanted = which == Which::All || upstream.openapi_refresh == OpenApiRefresh::Start;
        match &upstream.openapi {
            Some(OpenApiAt::Url(url)) if is_wanted => Some((upstream, url)),
            Some(OpenApiAt::Url(_) | OpenApiAt::File(_)) | None => None,
        }
    })
}

async fn fetch_one(
    settings: &Settings,
    door: &Door,
    (upstream, url): (&Upstream, &EgressUrl),
) -> Result<Came, String> {
    let bounds = Bounds {
        bytes_max: usize::try_from(DOCUMENT_BYTES_MAX).unwrap_or(usize::MAX),
        patience: PATIENCE,
    };
    let body = fetch::get(&endpoint(door, upstream, url), bounds).await;
    let body = body.map_err(|error| format!("can't be fetched: {error}"))?;
    let text = std::str::from_utf8(&body).map_err(|_| "is not UTF-8".to_owned())?;
    let (operations, left_out) = check_document(text)?;
    keep_copy(&settings.data_dir, upstream, &url.to_string(), text)
        .map_err(|error| format!("can't be kept in the data folder: {error}"))?;
    Ok(Came {
        operations,
        left_out,
    })
}

fn endpoint(door: &Door, upstream: &Upstream, url: &EgressUrl) -> Endpoint {
    // Keys and pins are those of the upstream itself, and of no other host.
    let own = door.tls.own.iter().filter(|(place, _)| {
        url.origin() == upstream.url.origin() && *place == format!("upstreams.{}", upstream.name)
    });
    let tls = own.map(|(_, tls)| tls).next().unwrap_or(&door.tls.of_all);
    Endpoint {
        dialer: door.dialer.clone(),
        // It is never pooled.
        id: 0,
        tls: url.scheme().is_tls().then(|| Arc::clone(tls)),
        url: url.clone(),
        exceptions: Exceptions {
            allow_private: upstream.allow_private.clone(),
            allow_metadata: false,
        },
        pool: PoolSettings {
            idle_per_host_max: 0,
            idle: Duration::ZERO,
            connections_max: 1,
            by_owner: false,
        },
    }
}
