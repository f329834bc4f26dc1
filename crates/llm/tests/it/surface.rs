//! Paths and methods of the surfaces.

use tollkeep_llm::surface::{UsageDialect, model_id};
use tollkeep_llm::{Dialect, Surface, SurfaceMatch, surface_of};

#[test]
fn known_paths_name_their_surface() {
    #[rustfmt::skip]
    let rows = [
        ("POST", "/v1/chat/completions", Surface::Chat, Dialect::Chat, Some("/v1/chat/completions")),
        ("POST", "/openai/v1/chat/completions", Surface::Chat, Dialect::Chat, Some("/v1/chat/completions")),
        ("POST", "/openai", Surface::Chat, Dialect::Chat, Some("/v1/chat/completions")),
        ("POST", "/v1/completions", Surface::Completions, Dialect::Chat, Some("/v1/completions")),
        ("POST", "/v1/responses", Surface::Responses, Dialect::Responses, Some("/v1/responses")),
        ("POST", "/openai/v1/responses", Surface::Responses, Dialect::Responses, Some("/v1/responses")),
        ("POST", "/v1/embeddings", Surface::Embeddings, Dialect::Chat, Some("/v1/embeddings")),
        ("POST", "/v1/images/generations", Surface::Images, Dialect::Chat, Some("/v1/images/generations")),
        ("POST", "/v1/audio/speech", Surface::Speech, Dialect::Chat, Some("/v1/audio/speech")),
        ("POST", "/v1/messages", Surface::Messages, Dialect::Anthropic, Some("/v1/messages")),
        ("POST", "/messages", Surface::Messages, Dialect::Anthropic, Some("/v1/messages")),
        ("POST", "/anthropic", Surface::Messages, Dialect::Anthropic, Some("/v1/messages")),
        ("POST", "/anthropic/v1/messages", Surface::Messages, Dialect::Anthropic, Some("/v1/messages")),
        ("POST", "/v1/messages/count_tokens", Surface::CountTokens, Dialect::Anthropic, Some("/v1/messages/count_tokens")),
        ("POST", "/anthropic/v1/messages/count_tokens", Surface::CountTokens, Dialect::Anthropic, Some("/v1/messages/count_tokens")),
        ("POST", "/v1beta/models/m:generateContent", Surface::Generate, Dialect::Gemini, Some("/v1beta/models/{model}:generateContent")),
        ("POST", "/v1/models/m:streamGenerateContent", Surface::StreamGenerate, Dialect::Gemini, Some("/v1beta/models/{model}:streamGenerateContent?alt=sse")),
        ("POST", "/v1beta/models/m:countTokens", Surface::GeminiCount, Dialect::Gemini, Some("/v1beta/models/{model}:countTokens")),
        ("GET", "/v1/models", Surface::Models, Dialect::Chat, None),
        ("HEAD", "/models", Surface::Models, Dialect::Chat, None),
        ("GET", "/openai/v1/models", Surface::Models, Dialect::Chat, None),
        ("GET", "/anthropic/v1/models", Surface::Models, Dialect::Chat, None),
        ("GET", "/v1/models/gpt-4o", Surface::Model, Dialect::Chat, None),
        ("GET", "/v1/models/openai/gpt-4o", Surface::Model, Dialect::Chat, None),
    ];
    for (method, path, surface, dialect, upstream) in rows {
        assert_eq!(
            surface_of(method, path),
            SurfaceMatch::Surface(surface),
            "{method} {path}"
        );
        assert_eq!(surface.dialect(), dialect, "{path}");
        assert_eq!(surface.upstream_path(), upstream, "{path}");
    }
}

#[test]
fn other_paths_and_methods_are_told_in_the_dialect_of_the_prefix() {
    let not = |allow, dialect| SurfaceMatch::MethodNotAllowed { allow, dialect };
    #[rustfmt::skip]
    let rows = [
        ("GET", "/v1/chat/completions", not("POST", Dialect::Chat)),
        ("post", "/v1/chat/completions", not("POST", Dialect::Chat)),
        ("DELETE", "/v1/messages", not("POST", Dialect::Anthropic)),
        ("POST", "/v1/models", not("GET, HEAD", Dialect::Chat)),
        ("DELETE", "/v1/models/x", not("GET, HEAD", Dialect::Chat)),
        ("POST", "/anthropic/v1/models", not("GET, HEAD", Dialect::Anthropic)),
        ("POST", "/v1/images/edits", SurfaceMatch::Unknown(Dialect::Chat)),
        ("POST", "/v1/chat", SurfaceMatch::Unknown(Dialect::Chat)),
        ("POST", "/v1/chat/completions/", SurfaceMatch::Unknown(Dialect::Chat)),
        ("POST", "/v1", SurfaceMatch::Unknown(Dialect::Chat)),
        ("GET", "/v1/models/", SurfaceMatch::Unknown(Dialect::Chat)),
        ("POST", "/openai/v1/nothing", SurfaceMatch::Unknown(Dialect::Chat)),
        ("POST", "/v1/messages/batches", SurfaceMatch::Unknown(Dialect::Anthropic)),
        ("POST", "/anthropic/v2", SurfaceMatch::Unknown(Dialect::Anthropic)),
        ("POST", "/v1beta/models/m", SurfaceMatch::Unknown(Dialect::Gemini)),
        ("POST", "/v1beta", SurfaceMatch::Unknown(Dialect::Gemini)),
        ("POST", "/", SurfaceMatch::NotLlm),
        ("POST", "/v10/chat/completions", SurfaceMatch::NotLlm),
        ("POST", "/v1betamax", SurfaceMatch::NotLlm),
        ("POST", "/anthropics", SurfaceMatch::NotLlm),
        ("POST", "/V1/chat/completions", SurfaceMatch::NotLlm),
        ("GET", "/messagesx", SurfaceMatch::NotLlm),
    ];
    for (method, path, want) in rows {
        assert_eq!(surface_of(method, path), want, "{method} {path}");
    }
}

#[test]
fn model_ids_are_the_rest_of_the_path() {
    for (path, id) in [
        ("/v1/models/gpt-4o", Some("gpt-4o")),
        ("/v1/models/openai/gpt-4o", Some("openai/gpt-4o")),
        ("/anthropic/v1/models/claude", Some("claude")),
        ("/openai/v1/models/gpt", Some("gpt")),
        ("/v1/models/", None),
        ("/v1/models", None),
    ] {
        assert_eq!(model_id(path), id, "{path}");
    }
}

#[test]
fn only_calls_that_use_tokens_have_usage() {
    for (surface, name, dialect) in [
        (Surface::Chat, "chat", Some(UsageDialect::Chat)),
        (
            Surface::Completions,
            "completions",
            Some(UsageDialect::Chat),
        ),
        (
            Surface::Responses,
            "responses",
            Some(UsageDialect::Responses),
        ),
        (
            Surface::Embeddings,
            "embeddings",
            Some(UsageDialect::Embeddings),
        ),
        (Surface::Images, "images", Some(UsageDialect::Images)),
        (Surface::Speech, "speech", Some(UsageDialect::Speech)),
        (Surface::Messages, "messages", Some(UsageDialect::Anthropic)),
        (Surface::CountTokens, "count_tokens", None),
        (
            Surface::Generate,
            "generate_content",
            Some(UsageDialect::Gemini),
        ),
        (
            Surface::StreamGenerate,
            "stream_generate_content",
            Some(UsageDialect::Gemini),
        ),
        (Surface::GeminiCount, "gemini_count_tokens", None),
        (Surface::Models, "models", None),
        (Surface::Model, "model", None),
    ] {
        assert_eq!((surface.name(), surface.usage_dialect()), (name, dialect));
    }
}
