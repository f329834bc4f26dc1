//! The kinds of providers: what they speak, where they live, how a credential is sent.

use crate::surface::Surface;

/// A kind of provider, by what differs between them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kind {
    /// The name in `providers.*.kind`.
    pub name: &'static str,
    /// Other names that are accepted.
    pub aliases: &'static [&'static str],
    /// Used when the operator gives none. `None`: required.
    pub base_url: Option<&'static str>,
    /// How the credential is sent.
    pub credential: CredentialForm,
    /// The surfaces that are passed through to it.
    pub speaks: Speaks,
}

/// The header that carries a provider's credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CredentialForm {
    /// `Authorization: Bearer <secret>`
    Bearer,
    /// `x-api-key: <secret>`
    XApiKey,
    /// `api-key: <secret>`
    ApiKey,
    /// `x-goog-api-key: <secret>`
    XGoogApiKey,
    /// No credential: the built-in sandbox.
    None,
}

/// Which dialects a provider takes as they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Speaks {
    /// Chat completions, completions, embeddings, images, speech.
    Chat,
    /// Those and Responses.
    ChatAndResponses,
    /// Messages and its token counter.
    Anthropic,
    /// generateContent, its stream and its token counter.
    Gemini,
    /// All of them.
    All,
}

impl Speaks {
    /// Whether a call of this surface can be passed through.
    pub const fn serves(self, surface: Surface) -> bool {
        let (chat, responses, anthropic, gemini) = match self {
            Self::Chat => (true, false, false, false),
            Self::ChatAndResponses => (true, true, false, false),
            Self::Anthropic => (false, false, true, false),
            Self::Gemini => (false, false, false, true),
            Self::All => (true, true, true, true),
        };
        match surface {
            Surface::Chat
            | Surface::Completions
            | Surface::Embeddings
            | Surface::Images
            | Surface::Speech => chat,
            Surface::Responses => responses,
            Surface::Messages | Surface::CountTokens => anthropic,
            Surface::Generate | Surface::StreamGenerate | Surface::GeminiCount => gemini,
            // Answered by the gateway itself.
            Surface::Models | Surface::Model => false,
        }
    }
}

const fn chat_kind(name: &'static str, base_url: Option<&'static str>) -> Kind {
    Kind {
        name,
        aliases: &[],
        base_url,
        credential: CredentialForm::Bearer,
        speaks: Speaks::Chat,
    }
}

/// Every kind that can be passed through to.
pub const KINDS: [Kind; 19] = [
    Kind {
        name: "openai",
        aliases: &["codex"],
        base_url: Some("https://api.openai.com/v1"),
        credential: CredentialForm::Bearer,
        speaks: Speaks::ChatAndResponses,
    },
    Kind {
        name: "azure-openai",
        aliases: &[],
        base_url: None,
        credential: CredentialForm::ApiKey,
        speaks: Speaks::ChatAndResponses,
    },
    Kind {
        name: "anthropic",
        aliases: &["claude"],
        base_url: Some("https://api.anthropic.com"),
        credential: CredentialForm::XApiKey,
        speaks: Speaks::Anthropic,
    },
    Kind {
        name: "gemini",
        aliases: &["google"],
        base_url: Some("https://generativelanguage.googleapis.com"),
        credential: CredentialForm::XGoogApiKey,
        speaks: Speaks::Gemini,
    },
    chat_kind("openrouter", Some("https://openrouter.ai/api/v1")),
    chat_kind("groq", Some("https://api.groq.com/openai/v1")),
    chat_kind("deepseek", Some("https://api.deepseek.com/v1")),
    chat_kind("mistral", Some("https://api.mistral.ai/v1")),
    chat_kind("together", Some("https://api.together.xyz/v1")),
    chat_kind("fireworks", Some("https://api.fireworks.ai/inference/v1")),
    chat_kind("xai", Some("https://api.x.ai/v1")),
    chat_kind("perplexity", Some("https://api.perplexity.ai")),
    chat_kind("cerebras", Some("https://api.cerebras.ai/v1")),
    chat_kind("vllm", None),
    chat_kind("ollama", None),
    chat_kind("llamacpp", None),
    chat_kind("lmstudio", None),
    chat_kind("openai-compatible", None),
    Kind {
        name: "sandbox",
        aliases: &[],
        base_url: None,
        credential: CredentialForm::None,
        speaks: Speaks::All,
    },
];

impl Kind {
    /// The kind of this name or alias.
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS
            .iter()
            .find(|kind| kind.name == name || kind.aliases.contains(&name))
    }

    /// The path of a provider's call: the base path is kept, and a version segment it already
    /// ends with is not doubled. Azure serves the OpenAI paths below `/openai`.
    pub fn path(&self, base_path: &str, upstream_path: &str) -> String {
        let base = base_path.trim_end_matches('/');
        let below =
            if self.name == "azure-openai" && !base.split('/').any(|segment| segment == "openai") {
                "/openai"
            } else {
                ""
            };
        join_path(&format!("{base}{below}"), upstream_path)
    }
}

/// Joins a base path and a surface's path: `/api` and `/v1/x` make `/api/v1/x`; so do `/api/v1`
/// and `/v1/x`. Whose base ends with another version of an API that has several is asked in that.
pub fn join_path(base_path: &str, upstream_path: &str) -> String {
    let base = base_path.trim_end_matches('/');
    if let Some(unversioned) = upstream_path.strip_prefix("/v1beta/")
        && matches!(base.rsplit('/').next(), Some("v1" | "v1alpha"))
    {
        return format!("{base}/{unversioned}");
    }
    let version = upstream_path
        .split('/')
        .nth(1)
        .filter(|segment| matches!(*segment, "v1" | "v1beta"));
    let doubled = version.is_some() && base.rsplit('/').next() == version;
    let kept = if doubled {
        base.rfind('/').and_then(|cut| base.get(..cut))
    } else {
        Some(base)
    };
    format!("{}{upstream_path}", kept.unwrap_or_default())
}
