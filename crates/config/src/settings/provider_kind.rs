//! The kinds of LLM providers: names, addresses, where the credential goes.

/// What kind of service a provider is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the services")]
pub enum ProviderKind {
    OpenAi,
    Anthropic,
    Gemini,
    OpenRouter,
    Groq,
    DeepSeek,
    Mistral,
    Together,
    Fireworks,
    Xai,
    Perplexity,
    Cerebras,
    Vllm,
    Ollama,
    LlamaCpp,
    LmStudio,
    OpenAiCompatible,
    Sandbox,
}

/// What is known about a kind.
struct Facts {
    kind: ProviderKind,
    /// The name, then its aliases.
    names: &'static [&'static str],
    base_url: Option<&'static str>,
    /// The field that carries the credential, lower case.
    credential_field: Option<&'static str>,
}

const BEARER: Option<&str> = Some("authorization");

/// A service that takes its credential as `Authorization: Bearer`.
const fn bearer(
    kind: ProviderKind,
    names: &'static [&'static str],
    base_url: Option<&'static str>,
) -> Facts {
    Facts {
        kind,
        names,
        base_url,
        credential_field: BEARER,
    }
}

const FACTS: [Facts; 18] = [
    bearer(
        ProviderKind::OpenAi,
        &["openai", "codex"],
        Some("https://api.openai.com/v1"),
    ),
    Facts {
        kind: ProviderKind::Anthropic,
        names: &["anthropic", "claude"],
        base_url: Some("https://api.anthropic.com"),
        credential_field: Some("x-api-key"),
    },
    Facts {
        kind: ProviderKind::Gemini,
        names: &["gemini", "google"],
        base_url: Some("https://generativelanguage.googleapis.com"),
        credential_field: Some("x-goog-api-key"),
    },
    bearer(
        ProviderKind::OpenRouter,
        &["openrouter"],
        Some("https://openrouter.ai/api/v1"),
    ),
    bearer(
        ProviderKind::Groq,
        &["groq"],
        Some("https://api.groq.com/openai/v1"),
    ),
    bearer(
        ProviderKind::DeepSeek,
        &["deepseek"],
        Some("https://api.deepseek.com/v1"),
    ),
    bearer(
        ProviderKind::Mistral,
        &["mistral"],
        Some("https://api.mistral.ai/v1"),
    ),
    bearer(
        ProviderKind::Together,
        &["together"],
        Some("https://api.together.xyz/v1"),
    ),
    bearer(
        ProviderKind::Fireworks,
        &["fireworks"],
        Some("https://api.fireworks.ai/inference/v1"),
    ),
    bearer(ProviderKind::Xai, &["xai"], Some("https://api.x.ai/v1")),
    bearer(
        ProviderKind::Perplexity,
        &["perplexity"],
        Some("https://api.perplexity.ai"),
    ),
    bearer(
        ProviderKind::Cerebras,
        &["cerebras"],
        Some("https://api.cerebras.ai/v1"),
    ),
    bearer(ProviderKind::Vllm, &["vllm"], None),
    bearer(ProviderKind::Ollama, &["ollama"], None),
    bearer(ProviderKind::LlamaCpp, &["llamacpp"], None),
    bearer(ProviderKind::LmStudio, &["lmstudio"], None),
    bearer(ProviderKind::OpenAiCompatible, &["openai-compatible"], None),
    Facts {
        kind: ProviderKind::Sandbox,
        names: &["sandbox"],
        // Replaced by the binary with the address of the built-in upstream. RFC 2606 keeps
        // `.invalid` from ever resolving, so a forgotten replacement calls nobody.
        base_url: Some("http://sandbox.invalid"),
        credential_field: None,
    },
];

/// Kinds of the full product that this version does not speak.
pub(super) const LATER: &[&str] = &["azure-openai", "vertex", "bedrock"];

impl ProviderKind {
    /// The kind of a name or alias.
    pub fn named(name: &str) -> Option<Self> {
        let facts = FACTS.iter().find(|facts| facts.names.contains(&name))?;
        Some(facts.kind)
    }

    /// Every name and alias.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        FACTS.iter().flat_map(|facts| facts.names).copied()
    }

    /// The name of the kind.
    pub fn name(self) -> &'static str {
        let names = self.facts().map_or(&[][..], |facts| facts.names);
        names.first().copied().unwrap_or_default()
    }

    /// The base URL while none is written.
    pub(super) fn base_url(self) -> Option<&'static str> {
        self.facts()?.base_url
    }

    /// The field that carries the credential; `None` for the sandbox, which wants none.
    pub(super) fn credential_field(self) -> Option<&'static str> {
        self.facts()?.credential_field
    }

    /// The row of the table; a test proves that there is one for every kind.
    fn facts(self) -> Option<&'static Facts> {
        FACTS.iter().find(|facts| facts.kind == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_one_row_and_every_name_one_kind() {
        let last = ProviderKind::Sandbox as usize;
        let kinds: BTreeSet<_> = FACTS.iter().map(|facts| facts.kind as usize).collect();
        assert_eq!(kinds, (0..=last).collect());
        let names: Vec<_> = ProviderKind::names().collect();
        let unique: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), unique.len());
        assert!(LATER.iter().all(|later| !unique.contains(later)));
        for name in names {
            assert!(ProviderKind::named(name).is_some(), "{name}");
        }
    }
}
