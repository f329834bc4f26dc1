//! Kinds of providers, base paths, and from a model name to candidates.

use tollkeep_llm::Surface;
use tollkeep_llm::catalog::{CredentialForm, KINDS, Kind, join_path};
use tollkeep_llm::resolve::{Resolver, Source, glob};

#[test]
fn kinds_have_their_base_credential_and_surfaces() {
    let chat = [Surface::Chat, Surface::Completions, Surface::Embeddings];
    #[rustfmt::skip]
    let rows = [
        ("openai", "openai", Some("https://api.openai.com/v1"), CredentialForm::Bearer, true, true),
        ("codex", "openai", Some("https://api.openai.com/v1"), CredentialForm::Bearer, true, true),
        ("azure-openai", "azure-openai", None, CredentialForm::ApiKey, true, true),
        ("anthropic", "anthropic", Some("https://api.anthropic.com"), CredentialForm::XApiKey, false, false),
        ("claude", "anthropic", Some("https://api.anthropic.com"), CredentialForm::XApiKey, false, false),
        ("gemini", "gemini", Some("https://generativelanguage.googleapis.com"), CredentialForm::XGoogApiKey, false, false),
        ("google", "gemini", Some("https://generativelanguage.googleapis.com"), CredentialForm::XGoogApiKey, false, false),
        ("groq", "groq", Some("https://api.groq.com/openai/v1"), CredentialForm::Bearer, false, true),
        ("perplexity", "perplexity", Some("https://api.perplexity.ai"), CredentialForm::Bearer, false, true),
        ("vllm", "vllm", None, CredentialForm::Bearer, false, true),
        ("openai-compatible", "openai-compatible", None, CredentialForm::Bearer, false, true),
        ("sandbox", "sandbox", None, CredentialForm::None, true, true),
    ];
    for (name, kind, base_url, credential, responses, speaks_chat) in rows {
        let found = Kind::named(name).unwrap();
        assert_eq!(
            (found.name, found.base_url, found.credential),
            (kind, base_url, credential)
        );
        assert!(
            chat.iter()
                .all(|surface| found.speaks.serves(*surface) == speaks_chat),
            "{name}"
        );
        assert_eq!(found.speaks.serves(Surface::Responses), responses, "{name}");
        let anthropic = matches!(kind, "anthropic" | "sandbox");
        assert_eq!(found.speaks.serves(Surface::Messages), anthropic, "{name}");
        assert_eq!(
            found.speaks.serves(Surface::CountTokens),
            anthropic,
            "{name}"
        );
        let gemini = matches!(kind, "gemini" | "sandbox");
        for surface in [
            Surface::Generate,
            Surface::StreamGenerate,
            Surface::GeminiCount,
        ] {
            assert_eq!(found.speaks.serves(surface), gemini, "{name}");
        }
        assert!(!found.speaks.serves(Surface::Models), "{name}");
    }
    assert_eq!(Kind::named("OpenAI"), None);
    assert_eq!(Kind::named(""), None);
}

#[test]
fn kind_names_and_aliases_are_unique() {
    let mut names: Vec<&str> = KINDS
        .iter()
        .flat_map(|kind| kind.aliases.iter().copied().chain([kind.name]))
        .collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

// LLM-R2
#[test]
fn base_paths_are_kept_and_versions_not_doubled() {
    for (base, path, want) in [
        ("", "/v1/x", "/v1/x"),
        ("/", "/v1/x", "/v1/x"),
        ("/api", "/v1/x", "/api/v1/x"),
        ("/api/", "/v1/x", "/api/v1/x"),
        ("/v1", "/v1/x", "/v1/x"),
        ("/v1/", "/v1/x", "/v1/x"),
        (
            "/api/v1",
            "/v1/chat/completions",
            "/api/v1/chat/completions",
        ),
        (
            "/openai/v1",
            "/v1/chat/completions",
            "/openai/v1/chat/completions",
        ),
        ("/v1beta", "/v1beta/models", "/v1beta/models"),
        ("/v1beta", "/v1/models", "/v1beta/v1/models"),
        ("/v1", "/v1beta/models", "/v1/models"),
        ("/api/v1alpha/", "/v1beta/models", "/api/v1alpha/models"),
        ("/v2", "/v1beta/models", "/v2/v1beta/models"),
        ("/v1/api", "/v1/x", "/v1/api/v1/x"),
        ("/apiv1", "/v1/x", "/apiv1/v1/x"),
        ("/v2", "/v1/x", "/v2/v1/x"),
    ] {
        assert_eq!(join_path(base, path), want, "{base} + {path}");
    }
}

#[test]
fn azure_serves_below_openai() {
    let azure = Kind::named("azure-openai").unwrap();
    let openai = Kind::named("openai").unwrap();
    for (kind, base, want) in [
        (azure, "", "/openai/v1/responses"),
        (azure, "/", "/openai/v1/responses"),
        (azure, "/openai", "/openai/v1/responses"),
        (azure, "/openai/v1", "/openai/v1/responses"),
        (azure, "/gate", "/gate/openai/v1/responses"),
        (openai, "/v1", "/v1/responses"),
        (openai, "", "/v1/responses"),
    ] {
        assert_eq!(
            kind.path(base, "/v1/responses"),
            want,
            "{} {base}",
            kind.name
        );
    }
}

fn source(name: &str, models: &[&str], excluded: &[&str], priority: i32) -> Source {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Source {
        name: name.to_owned(),
        models: owned(models),
        excluded_models: owned(excluded),
        priority,
    }
}

fn four() -> Vec<Source> {
    vec![
        source("openai", &["gpt-4o", "gpt-*"], &["*-secret"], 0),
        source("claude", &["claude-haiku-4-5", "gpt-4o"], &[], 5),
        source("any", &["*"], &["claude-*"], 0),
        source("first", &["*"], &[], 9),
    ]
}

#[test]
fn names_resolve_by_the_first_rule_that_hits() {
    let resolver = Resolver::new(four(), Some("gpt-4o".to_owned()));
    #[rustfmt::skip]
    let rows = [
        ("listed by two, priority first", "gpt-4o", Some(("gpt-4o", vec![1, 0]))),
        ("provider and model", "openai/gpt-4o", Some(("gpt-4o", vec![0]))),
        ("provider and a pattern of it", "openai/gpt-5", Some(("gpt-5", vec![0]))),
        ("provider with all models", "any/vendor/x", Some(("vendor/x", vec![2]))),
        ("known provider, excluded there", "any/claude-x", Some(("any/claude-x", vec![3, 2]))),
        ("unknown provider is part of the name", "meta/llama", Some(("meta/llama", vec![3, 2]))),
        ("pattern beats all", "gpt-5", Some(("gpt-5", vec![0]))),
        ("excluded from the pattern", "gpt-secret", Some(("gpt-secret", vec![3, 2]))),
        ("listed beats all", "claude-haiku-4-5", Some(("claude-haiku-4-5", vec![1]))),
        ("all, one excludes it", "claude-opus", Some(("claude-opus", vec![3]))),
        ("case-sensitive", "GPT-4o", Some(("GPT-4o", vec![3, 2]))),
        ("empty", "", None),
        ("control character", "gpt\n", None),
    ];
    for (name, requested, want) in rows {
        let mut candidates = vec![7];
        let model = resolver.resolve(requested, &mut candidates);
        let want_candidates = want
            .as_ref()
            .map_or_else(Vec::new, |(_, list)| list.clone());
        assert_eq!(
            (model, candidates),
            (want.map(|(model, _)| model), want_candidates),
            "{name}"
        );
    }
    let long = "x".repeat(257);
    assert_eq!(resolver.resolve(&long, &mut Vec::new()), None);
    assert!(
        resolver
            .resolve(&"x".repeat(256), &mut Vec::new())
            .is_some()
    );
}

#[test]
fn the_default_model_stands_in_for_unknown_names() {
    let listed = || vec![source("openai", &["gpt-4o"], &["gpt-3"], 0)];
    let with = Resolver::new(listed(), Some("openai/gpt-4o".to_owned()));
    let mut candidates = Vec::new();
    assert_eq!(with.resolve("nothing", &mut candidates), Some("gpt-4o"));
    assert_eq!(candidates, [0]);
    let without = Resolver::new(listed(), None);
    assert_eq!(without.resolve("nothing", &mut candidates), None);
    assert!(candidates.is_empty());
    let broken = Resolver::new(listed(), Some("gpt-3".to_owned()));
    assert_eq!(broken.resolve("nothing", &mut candidates), None);
    assert_eq!(broken.resolve("gpt-3", &mut candidates), None);
}

#[test]
fn lists_name_what_is_listed_and_not_excluded() {
    let mut sources = four();
    sources.push(source(
        "more",
        &["a-secret", "b", "gpt-4o"],
        &["*-secret"],
        0,
    ));
    assert_eq!(
        Resolver::new(sources, None).names(),
        ["b", "claude-haiku-4-5", "gpt-4o"]
    );
}

#[test]
fn globs_match_runs_and_nothing_else() {
    #[rustfmt::skip]
    let rows = [
        ("gpt-4o", "gpt-4o", true),
        ("gpt-4o", "gpt-4", false),
        ("gpt-4", "gpt-4o", false),
        ("gpt-*", "gpt-", true),
        ("gpt-*", "gpt-4/o", true),
        ("gpt-*", "gp", false),
        ("*-mini", "gpt-mini", true),
        ("*-mini", "gpt-mini-2", false),
        ("*mid*", "a mid b", true),
        ("*mid*", "mid", true),
        ("*mid*", "mdi", false),
        ("a*b", "ab", true),
        ("a*b", "a", false),
        ("aa*aa", "aaa", false),
        ("a*b*c", "abbc", true),
        ("a*b*c", "acb", false),
        ("*a*a*", "ba", false),
        ("*ab*b", "abb", true),
        ("*ab*b", "ab", false),
        ("*", "", true),
        ("**", "x", true),
        ("", "", true),
        ("", "x", false),
        ("g?t", "gpt", false),
        ("[g]pt", "gpt", false),
        ("é*", "éa", true),
    ];
    for (pattern, text, want) in rows {
        assert_eq!(glob(pattern, text), want, "{pattern} {text}");
    }
}

fn naive(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            naive(rest, text)
                || text
                    .split_first()
                    .is_some_and(|(_, after)| naive(pattern, after))
        }
        (Some((a, rest)), Some((b, after))) => a == b && naive(rest, after),
        _ => false,
    }
}

proptest::proptest! {
    #[test]
    fn globs_match_as_their_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
        proptest::prop_assert_eq!(glob(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
    }
}
