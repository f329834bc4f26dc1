//! The routes of the LLM surfaces, which nobody has to write.

use std::sync::Arc;
use tollkeep_config::settings::{self, Settings, Surfaces};
use tollkeep_llm::{Dialect, Surface};
use tollkeep_observe::metrics::{Metrics, RouteLabel};

/// The built-in routes of the LLM surfaces: names and labels, and which are served.
pub(crate) struct SurfaceRoutes {
    served: Vec<(Surface, Arc<str>, RouteLabel)>,
    body_bytes_max: u64,
    any_provider: bool,
}

impl SurfaceRoutes {
    pub(crate) fn new(settings: &Settings, metrics: &Metrics) -> Self {
        let wanted = |surface: Surface| match &settings.llm.surfaces {
            Surfaces::All => true,
            Surfaces::None => false,
            Surfaces::Some(listed) => listed.iter().any(|listed| match listed {
                settings::Surface::Chat => surface.dialect() == Dialect::Chat,
                settings::Surface::Responses => surface.dialect() == Dialect::Responses,
                settings::Surface::Anthropic => {
                    surface.dialect() == Dialect::Anthropic
                        || matches!(surface, Surface::Models | Surface::Model)
                }
                settings::Surface::Gemini => {
                    surface.dialect() == Dialect::Gemini
                        || matches!(surface, Surface::Models | Surface::Model)
                }
            }),
        };
        let served = Surface::ALL
            .into_iter()
            .filter(|surface| wanted(*surface))
            .map(|surface| {
                let name = surface_route(surface);
                (surface, Arc::from(name), metrics.route(name))
            });
        Self {
            served: served.collect(),
            body_bytes_max: settings.llm.max_request_body_bytes,
            any_provider: settings.providers.iter().any(|provider| provider.enabled),
        }
    }

    /// Bytes of a body at most.
    pub(crate) fn body_bytes_max(&self) -> u64 {
        self.body_bytes_max
    }

    pub(crate) fn find(&self, surface: Surface) -> Option<(&Arc<str>, RouteLabel)> {
        let known = self
            .served
            .iter()
            .filter(|_| self.any_provider)
            .find(|(served, ..)| *served == surface);
        known.map(|(_, name, label)| (name, *label))
    }
}

/// The name of a surface's route in records and metrics.
pub fn surface_route(surface: Surface) -> &'static str {
    match surface {
        Surface::Chat => "POST /v1/chat/completions",
        Surface::Completions => "POST /v1/completions",
        Surface::Responses => "POST /v1/responses",
        Surface::Embeddings => "POST /v1/embeddings",
        Surface::Images => "POST /v1/images/generations",
        Surface::Speech => "POST /v1/audio/speech",
        Surface::Messages => "POST /v1/messages",
        Surface::CountTokens => "POST /v1/messages/count_tokens",
        Surface::Generate => "POST /v1beta/models/{model}:generateContent",
        Surface::StreamGenerate => "POST /v1beta/models/{model}:streamGenerateContent",
        Surface::GeminiCount => "POST /v1beta/models/{model}:countTokens",
        Surface::Models => "GET /v1/models",
        Surface::Model => "GET /v1/models/{id}",
    }
}
