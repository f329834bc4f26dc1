//! From the name of a model to the provider that serves it.
//!
//! Models may be asked for with a word before them: `prefix/model` is for the credentials of that
//! prefix alone. Which there are depends on whose call it is.

use crate::plan::LlmPlan;
use std::sync::atomic::Ordering;
use tollkeep_llm::Surface;
use tollkeep_store::live::LiveProject;

/// A model that was asked for.
pub(crate) struct Served<'m> {
    /// The place of its provider in the list.
    pub(crate) provider: usize,
    /// The prefix that it was asked for with.
    pub(crate) prefix: Option<&'m str>,
    /// What its provider calls it.
    pub(crate) model: &'m str,
}

impl LlmPlan {
    /// HOT. Who serves a model on this surface for a caller of this project; `candidates` is used on
    /// the way.
    pub(crate) fn served<'m>(
        &'m self,
        surface: Surface,
        (requested, project): (&'m str, Option<&LiveProject>),
        candidates: &mut Vec<usize>,
    ) -> Option<Served<'m>> {
        let serves = |index: &&usize| {
            let provider = self.providers.get(**index);
            provider.is_some_and(|target| target.serves(surface))
        };
        if let Some(found) = self.prefixed(requested, project) {
            return Some(found).filter(|found| serves(&&found.provider));
        }
        candidates.clear();
        let model = self.resolver.resolve(requested, candidates)?;
        let provider = candidates.iter().find(serves).copied()?;
        Some(Served {
            provider,
            prefix: None,
            model,
        })
    }

    /// HOT. What `prefix/model` means to a caller of this project (`None`: to nobody in
    /// particular); `None` if it has no such prefix. A provider's own name goes before.
    fn prefixed<'m>(
        &self,
        requested: &'m str,
        project: Option<&LiveProject>,
    ) -> Option<Served<'m>> {
        if !self.has_prefixes.load(Ordering::Relaxed) {
            return None;
        }
        let (prefix, model) = requested.split_once('/')?;
        if self.providers.iter().any(|target| *target.name == *prefix) {
            return None;
        }
        let has = |index: &usize| {
            let target = self.providers.get(*index);
            let pool = target.and_then(|target| Some((target, &target.provider()?.credentials)));
            pool.is_some_and(|(target, pool)| {
                pool.has_prefix(prefix, (project, self.default_tenant), &target.name)
            }) && self.resolver.serves(*index, model)
        };
        let provider = (0..self.providers.len()).find(has)?;
        Some(Served {
            provider,
            prefix: Some(prefix),
            model,
        })
    }

    /// The names with a prefix that a list shows to a caller of this project.
    pub(crate) fn prefixed_names(&self, project: Option<&LiveProject>) -> Vec<String> {
        let mut names = Vec::new();
        if !self.has_prefixes.load(Ordering::Relaxed) {
            return names;
        }
        for (index, target) in self.providers.iter().enumerate() {
            let Some(provider) = target.provider() else {
                continue;
            };
            let whose = (project, self.default_tenant);
            let prefixes = provider.credentials.prefixes(whose, &target.name);
            for model in self.resolver.names_of(index) {
                names.extend(prefixes.iter().map(|prefix| format!("{prefix}/{model}")));
            }
        }
        names
    }
}
