//! A provider as calls are sent to it.

use super::{PlanError, PlanParts, ProviderPlan, Target, TargetKind, endpoint, secrets};
use crate::breaker::Guard;
use crate::credentials::CredentialPool;
use crate::holds::HungUp;
use crate::plan::Plan;
use crate::set_fields::{names, set_fields};
use crate::token_rates::ProviderRates;
use std::sync::Arc;
use tollkeep_config::settings::{Provider, Retry};
use tollkeep_llm::Surface;
use tollkeep_llm::catalog::Kind;
use tollkeep_llm::gemini::{self, MODEL_PLACE};
use tollkeep_policy::egress::{EgressUrl, Exceptions};

pub(super) fn target(provider: &Provider, parts: &PlanParts<'_>) -> Result<Target, PlanError> {
    let kind =
        Kind::named(provider.kind.name()).ok_or_else(|| PlanError::Kind(provider.name.clone()))?;
    let exceptions = Exceptions {
        allow_private: provider.allow_private.clone(),
        allow_metadata: false,
    };
    let rules = &provider.headers;
    let (set_fields, settled) = set_fields(&rules.set, &rules.remove);
    let how = (&provider.pool, parts.tls.of("providers", &provider.name));
    Ok(Target {
        name: Arc::from(provider.name.as_str()),
        label: parts.metrics.provider(&provider.name),
        is_private: !exceptions.allow_private.is_empty(),
        endpoint: endpoint(&provider.base_url, exceptions, how, parts),
        timeouts: provider.timeouts.clone(),
        retry: Retry::DEFAULT,
        guard: Guard::new(&provider.name, provider.breaker.as_ref(), parts.breakers),
        kind: TargetKind::Provider(ProviderPlan {
            kind,
            self_hosted: provider.self_hosted,
            hung_up: HungUp {
                wanted: provider.on_disconnect,
                cancel_stops_billing: provider.cancel_stops_billing,
            },
            forward_headers: rules.only.as_deref().map(names).unwrap_or_default(),
            allowed_betas: provider.allowed_betas.as_deref().map(Arc::from),
            credentials: CredentialPool::new(
                provider,
                (kind.credential, parts.default_tenant),
                CredentialPool::before(&provider.name, parts.before),
            ),
            rates: ProviderRates::new(provider.rate, rates_before(&provider.name, parts.before)),
            heads: heads(kind, &provider.base_url, &settled),
        }),
        set_fields,
        settled,
        returned: names(&rules.returned),
        secrets: secrets(&provider.headers.set),
        signer: None,
        is_elsewhere: false,
    })
}

/// How every head of a call to a surface begins.
pub(crate) struct HeadStart {
    start: Box<[u8]>,
    /// What follows the model, where that stands in the path.
    after_model: Option<Box<[u8]>>,
}

impl HeadStart {
    /// HOT. Appends it. `None` and something appended if the model can't stand in a path.
    pub(crate) fn write(&self, out: &mut Vec<u8>, model: &str) -> Option<()> {
        out.extend_from_slice(&self.start);
        if let Some(after) = &self.after_model {
            gemini::write_model(out, model).then_some(())?;
            out.extend_from_slice(after);
        }
        Some(())
    }
}

/// What was counted of it under the settings before.
fn rates_before<'p>(name: &str, before: Option<&'p Plan>) -> Option<&'p ProviderRates> {
    let mut known = before?.llm.providers.iter();
    let provider = known.find(|target| *target.name == *name)?.provider()?;
    provider.rates.as_deref()
}

/// By surface: how every call begins that goes to this place.
pub(super) fn heads(
    kind: &Kind,
    url: &EgressUrl,
    settled: &[Box<[u8]>],
) -> Vec<(Surface, HeadStart)> {
    let (base, host) = (url.path(), url.authority());
    let surfaces = Surface::ALL
        .into_iter()
        .filter(|surface| kind.speaks.serves(*surface));
    let heads = surfaces.filter_map(|surface| {
        let path = kind.path(base, surface.upstream_path()?);
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in [
            ("content-type", "application/json"),
            ("accept-encoding", "identity"),
        ] {
            if !settled.iter().any(|own| **own == *name.as_bytes()) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let start = match head.split_once(MODEL_PLACE) {
            Some((before, after)) => HeadStart {
                start: before.as_bytes().into(),
                after_model: Some(after.as_bytes().into()),
            },
            None => HeadStart {
                start: head.into_bytes().into(),
                after_model: None,
            },
        };
        Some((surface, start))
    });
    heads.collect()
}
