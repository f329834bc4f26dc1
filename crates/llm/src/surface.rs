//! Which LLM surface a method and path name, and which dialect its caller speaks.

use crate::gemini;

/// The wire form a caller speaks; it decides how errors look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// OpenAI chat completions and the other OpenAI calls of its form.
    Chat,
    /// OpenAI Responses: error bodies as in chat, its own event when a stream fails.
    Responses,
    /// Anthropic Messages.
    Anthropic,
    /// Gemini generateContent.
    Gemini,
    /// No LLM dialect: a plain route.
    Plain,
}

/// How an answer tells its usage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UsageDialect {
    /// Chat completions and legacy completions: `prompt_tokens`, `completion_tokens`.
    Chat,
    /// Responses: `input_tokens`, `output_tokens`, cache inside input.
    Responses,
    /// Embeddings: `prompt_tokens` only.
    Embeddings,
    /// Messages: `input_tokens`, `output_tokens`, cache outside input.
    Anthropic,
    /// Image generation: tokens, or images one by one.
    Images,
    /// Transcription: tokens by modality, or seconds.
    Transcription,
    /// Speech: characters of the request.
    Speech,
    /// Realtime's `response.done`: tokens by modality.
    Realtime,
    /// generateContent: `usageMetadata`, by modality.
    Gemini,
}

/// One LLM call the gateway serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Surface {
    /// `POST /v1/chat/completions`
    Chat,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/responses`
    Responses,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/images/generations`
    Images,
    /// `POST /v1/audio/speech`
    Speech,
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1beta/models/{model}:generateContent`
    Generate,
    /// `POST /v1beta/models/{model}:streamGenerateContent`
    StreamGenerate,
    /// `POST /v1beta/models/{model}:countTokens`
    GeminiCount,
    /// `GET /v1/models`, answered by the gateway itself.
    Models,
    /// `GET /v1/models/{id}`, answered by the gateway itself.
    Model,
}

impl Surface {
    /// Every surface, in the order of the enum.
    pub const ALL: [Self; 13] = [
        Self::Chat,
        Self::Completions,
        Self::Responses,
        Self::Embeddings,
        Self::Images,
        Self::Speech,
        Self::Messages,
        Self::CountTokens,
        Self::Generate,
        Self::StreamGenerate,
        Self::GeminiCount,
        Self::Models,
        Self::Model,
    ];

    /// The caller's dialect. Model lists are in three forms; see [`crate::models::form`].
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Chat
            | Self::Completions
            | Self::Embeddings
            | Self::Images
            | Self::Speech
            | Self::Models
            | Self::Model => Dialect::Chat,
            Self::Responses => Dialect::Responses,
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::Generate | Self::StreamGenerate | Self::GeminiCount => Dialect::Gemini,
        }
    }

    /// The path at a provider that serves this call itself, to be joined with the provider's
    /// base by [`crate::catalog::join_path`]; the model stands in for
    /// [`crate::gemini::MODEL_PLACE`]. `None` where no upstream is asked.
    pub const fn upstream_path(self) -> Option<&'static str> {
        match self {
            Self::Chat => Some("/v1/chat/completions"),
            Self::Completions => Some("/v1/completions"),
            Self::Responses => Some("/v1/responses"),
            Self::Embeddings => Some("/v1/embeddings"),
            Self::Images => Some("/v1/images/generations"),
            Self::Speech => Some("/v1/audio/speech"),
            Self::Messages => Some("/v1/messages"),
            Self::CountTokens => Some("/v1/messages/count_tokens"),
            Self::Generate => Some("/v1beta/models/{model}:generateContent"),
            Self::StreamGenerate => Some("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            Self::GeminiCount => Some("/v1beta/models/{model}:countTokens"),
            Self::Models | Self::Model => None,
        }
    }

    /// How to read the usage of an answer. `None` where a call uses no tokens.
    pub const fn usage_dialect(self) -> Option<UsageDialect> {
        match self {
            Self::Chat | Self::Completions => Some(UsageDialect::Chat),
            Self::Responses => Some(UsageDialect::Responses),
            Self::Embeddings => Some(UsageDialect::Embeddings),
            Self::Images => Some(UsageDialect::Images),
            Self::Speech => Some(UsageDialect::Speech),
            Self::Messages => Some(UsageDialect::Anthropic),
            Self::Generate | Self::StreamGenerate => Some(UsageDialect::Gemini),
            Self::CountTokens | Self::GeminiCount | Self::Models | Self::Model => None,
        }
    }

    /// Whether its calls count tokens and make nothing.
    pub const fn counts_tokens(self) -> bool {
        matches!(self, Self::CountTokens | Self::GeminiCount)
    }

    /// The name in records and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Images => "images",
            Self::Speech => "speech",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Generate => "generate_content",
            Self::StreamGenerate => "stream_generate_content",
            Self::GeminiCount => "gemini_count_tokens",
            Self::Models => "models",
            Self::Model => "model",
        }
    }

    /// Whether the method is one that [`Self::allow`] lists.
    fn takes(self, method: &str) -> bool {
        match self {
            Self::Models | Self::Model => matches!(method, "GET" | "HEAD"),
            Self::Chat
            | Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::Images
            | Self::Speech
            | Self::Messages
            | Self::CountTokens
            | Self::Generate
            | Self::StreamGenerate
            | Self::GeminiCount => method == "POST",
        }
    }

    /// The methods it takes, as `Allow` lists them.
    pub const fn allow(self) -> &'static str {
        match self {
            Self::Models | Self::Model => "GET, HEAD",
            Self::Chat
            | Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::Images
            | Self::Speech
            | Self::Messages
            | Self::CountTokens
            | Self::Generate
            | Self::StreamGenerate
            | Self::GeminiCount => "POST",
        }
    }
}

/// What a method and path mean to the LLM part of the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SurfaceMatch {
    /// This call.
    Surface(Surface),
    /// A known path under another method: 405 with this `Allow`.
    MethodNotAllowed {
        /// The value of the `Allow` field.
        allow: &'static str,
        /// The dialect to say so in.
        dialect: Dialect,
    },
    /// Nothing is known under a prefix that belongs to a dialect: 404 in it.
    Unknown(Dialect),
    /// Not a path of an LLM surface.
    NotLlm,
}

/// Finds the surface of a method and a canonical path (without query).
pub fn surface_of(method: &str, path: &str) -> SurfaceMatch {
    let Some(surface) = named(path) else {
        return unknown(path);
    };
    let is_gemini = under(path, "/v1beta");
    if surface.takes(method) {
        SurfaceMatch::Surface(surface)
    } else if method == "POST" && (is_gemini || gemini::names_verb(path)) {
        SurfaceMatch::Unknown(Dialect::Gemini)
    } else {
        SurfaceMatch::MethodNotAllowed {
            allow: surface.allow(),
            dialect: if under(path, "/anthropic") {
                Dialect::Anthropic
            } else if is_gemini {
                Dialect::Gemini
            } else {
                surface.dialect()
            },
        }
    }
}

fn named(path: &str) -> Option<Surface> {
    match path {
        "/v1/chat/completions" | "/openai/v1/chat/completions" | "/openai" => Some(Surface::Chat),
        "/v1/completions" => Some(Surface::Completions),
        "/v1/responses" | "/openai/v1/responses" => Some(Surface::Responses),
        "/v1/embeddings" => Some(Surface::Embeddings),
        "/v1/images/generations" => Some(Surface::Images),
        "/v1/audio/speech" => Some(Surface::Speech),
        "/v1/messages" | "/messages" | "/anthropic" | "/anthropic/v1/messages" => {
            Some(Surface::Messages)
        }
        "/v1/messages/count_tokens" | "/anthropic/v1/messages/count_tokens" => {
            Some(Surface::CountTokens)
        }
        "/v1/models"
        | "/models"
        | "/openai/v1/models"
        | "/anthropic/v1/models"
        | "/v1beta/models" => Some(Surface::Models),
        other => {
            let call = gemini::call_of(other).map(|(surface, _)| surface);
            call.or_else(|| model_id(other).map(|_| Surface::Model))
        }
    }
}

/// The model id of a path of [`Surface::Model`]. Ids may contain `/`.
pub fn model_id(path: &str) -> Option<&str> {
    let below = [
        "/v1/models/",
        "/openai/v1/models/",
        "/anthropic/v1/models/",
        "/v1beta/models/",
    ];
    below
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix))
        .filter(|id| !id.is_empty())
}

fn unknown(path: &str) -> SurfaceMatch {
    let prefixes = [
        ("/v1/messages", Dialect::Anthropic),
        ("/anthropic", Dialect::Anthropic),
        ("/v1beta", Dialect::Gemini),
        ("/v1/tunedModels", Dialect::Gemini),
        ("/v1/cachedContents", Dialect::Gemini),
        ("/v1", Dialect::Chat),
        ("/openai", Dialect::Chat),
    ];
    prefixes
        .into_iter()
        .find(|(prefix, _)| under(path, prefix))
        .map_or(SurfaceMatch::NotLlm, |(_, dialect)| {
            SurfaceMatch::Unknown(dialect)
        })
}

/// Whether `path` is `prefix` or below it at a segment border.
pub(crate) fn under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
