//! What is known of models, for those who list them: what the operator says, and else the price table.

use super::{LlmPlan, Target};
use std::collections::HashMap;
use tollkeep_config::settings::{CatalogModel, Settings};
use tollkeep_ledger::price::{Book, Provider};
use tollkeep_llm::Surface;
use tollkeep_llm::models::Listed;
use tollkeep_store::live::LiveProject;
use tollkeep_types::WallMillis;

/// Surfaces of each kind: who serves a model serves it on one of them.
const KINDS: [Surface; 4] = [
    Surface::Chat,
    Surface::Messages,
    Surface::Responses,
    Surface::Generate,
];

/// What the operator says of models.
pub(crate) struct Catalog {
    /// By what their providers call them.
    models: HashMap<String, Vec<CatalogModel>>,
    /// Lists tell by whom models are served.
    names_providers: bool,
}

impl Catalog {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut models: HashMap<String, Vec<CatalogModel>> = HashMap::new();
        for one in &settings.models.catalog {
            let same = models.entry(one.model.clone()).or_default();
            same.push(one.clone());
        }
        Self {
            models,
            names_providers: settings.llm.expose_providers,
        }
    }

    /// What is said of a model of this provider, and else of the model at any.
    fn find(&self, model: &str, provider: &str) -> [Option<&CatalogModel>; 2] {
        let same = self.models.get(model).map_or(&[][..], Vec::as_slice);
        [Some(provider), None]
            .map(|provider| same.iter().find(|one| one.provider.as_deref() == provider))
    }
}

impl LlmPlan {
    /// What a list tells of a model of this name to a caller of this project.
    pub(crate) fn tell<'a>(
        &'a self,
        (id, project): (&'a str, Option<&LiveProject>),
        (book, at): (&Book, WallMillis),
    ) -> Listed<'a> {
        let mut candidates = Vec::new();
        let served = KINDS
            .into_iter()
            .find_map(|surface| self.served(surface, (id, project), &mut candidates));
        let found = served.and_then(|served| {
            let target: &Target = self.providers.get(served.provider)?;
            Some((target, served.model))
        });
        let Some((target, model)) = found else {
            return Listed::named(id);
        };
        let provider = Provider {
            name: &target.name,
            kind: target.kind_name(),
            self_hosted: target.self_hosted(),
        };
        let priced = book.listed(provider, model, at);
        let facts = priced.map(|priced| priced.model.facts);
        let said = self.catalog.find(model, &target.name);
        let said = || said.into_iter().flatten();
        let names_it = self.catalog.names_providers;
        Listed {
            id,
            display_name: said().find_map(|one| one.display_name.as_deref()),
            created: said().find_map(|one| one.created),
            owner: names_it.then_some(&*target.name),
            max_input_tokens: said()
                .find_map(|one| one.context_window)
                .or_else(|| facts?.max_input),
            max_tokens: said()
                .find_map(|one| one.max_output_tokens)
                .or_else(|| facts?.max_output),
            generates: self
                .served(Surface::Generate, (id, project), &mut candidates)
                .is_some(),
        }
    }
}
