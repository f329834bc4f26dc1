//! The names of the settings that metrics have labels for.

use std::collections::HashMap;
use tollkeep_config::settings::{Route, Settings};
use tollkeep_llm::Surface;
use tollkeep_observe::metrics::{Labels, Metrics, ModelLabel};

/// All of them.
pub(crate) fn of(settings: &Settings) -> Labels {
    let surfaces = Surface::ALL.into_iter().map(crate::surface_route);
    let routes = settings.routes.iter().map(Route::name);
    let providers = settings.providers.iter().map(|provider| &provider.name);
    let upstreams = settings.upstreams.iter().map(|upstream| &upstream.name);
    Labels {
        routes: routes.chain(surfaces.map(str::to_owned)).collect(),
        providers: providers.chain(upstreams).cloned().collect(),
        models: models(settings).map(str::to_owned).collect(),
    }
}

/// The models that are listed by name.
fn models(settings: &Settings) -> impl Iterator<Item = &str> {
    let lists = settings.providers.iter().map(|provider| &provider.models);
    let models = lists.flatten().map(String::as_str);
    models.filter(|model| !model.contains('*'))
}

/// Labels of the models that are listed by name.
pub(crate) struct ModelLabels(HashMap<Box<str>, ModelLabel>);

impl ModelLabels {
    pub(crate) fn new(settings: &Settings, metrics: &Metrics) -> Self {
        let labelled = models(settings).map(|model| (model.into(), metrics.model(model)));
        Self(labelled.collect())
    }

    /// HOT. The label of a model; what nobody configured is `other`.
    pub(crate) fn of(&self, model: &str) -> ModelLabel {
        let label = self.0.get(model).copied();
        label.unwrap_or(ModelLabel::OTHER)
    }
}
