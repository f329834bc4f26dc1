//! Which answers are kept, as the file and the environment say it.

use crate::support::Case;
use std::time::Duration;
use tollkeep_config::settings::{CacheMethod, CacheScope, HitPrice, RouteCache};

const ROUTE: &str = "upstreams: { o: { url: 'https://o.example' } }\n";

fn route(cache: &str) -> String {
    format!("{ROUTE}routes: {{ 'GET /x': {{ upstream: o, cache: {cache} }} }}\n")
}

// LLM-80 LLM-83 LLM-87
#[test]
fn nothing_is_kept_unless_it_is_switched_on_and_then_little_for_few() {
    assert_eq!(Case::bare().settings().cache, None);
    let on = Case::yaml("cache: { enabled: true }\n").settings();
    let cache = on.cache.unwrap();
    assert_eq!(
        (cache.bytes_max, cache.entries_max, cache.object_bytes_max),
        (64 << 20, 10_000, 1 << 20)
    );
    assert_eq!(
        (cache.ttl, cache.hit_price),
        (Duration::from_secs(300), HitPrice::Free)
    );
    let surfaces = cache.surfaces.unwrap();
    assert_eq!(surfaces.scope, CacheScope::Token);
    assert!(surfaces.only_deterministic && surfaces.ignore_upstream_directives);
    assert!(!surfaces.streams && !surfaces.tools);
    let plain_alone = Case::yaml("cache: { enabled: true, mode: off }\n").settings();
    assert_eq!(plain_alone.cache.unwrap().surfaces, None);
}

// LLM-80
#[test]
fn a_route_says_itself_what_is_kept_of_it() {
    let on = format!("cache: {{ enabled: true }}\n{}", route("{ mode: exact }"));
    let kept = Case::yaml(&on).settings().routes[0].cache.clone();
    assert_eq!(
        kept,
        Some(RouteCache {
            ttl: None,
            scope: CacheScope::Token,
            methods: vec![CacheMethod::Get],
            object_bytes_max: None,
            ignore_upstream_directives: false,
        })
    );
    for nothing in ["{}", "{ mode: off, ttl_s: 9 }"] {
        let settings = Case::yaml(&route(nothing)).settings();
        assert_eq!(settings.routes[0].cache, None, "{nothing}");
    }
    let without = Case::yaml(&route("{ mode: exact }")).warnings();
    assert!(
        without.contains("has no effect while `cache.enabled` is off"),
        "{without}"
    );
}

// LLM-80 LLM-81
#[test]
fn what_can_not_be_kept_is_an_error() {
    let streaming = format!(
        "{ROUTE}routes: {{ 'POST /x': {{ upstream: o, request: {{ streaming: true }}, cache: {{ mode: exact }} }} }}\n"
    );
    for (name, yaml, want) in [
        (
            "on a server",
            "cache: { backend: redis }\n".to_owned(),
            "cache.backend: ",
        ),
        (
            "not at all",
            "cache: { backend: disk }\n".to_owned(),
            "cache.backend: ",
        ),
        (
            "wider than a tenant",
            "cache: { scope: all }\n".to_owned(),
            "cache.scope: ",
        ),
        (
            "too large for a tenant",
            "cache: { max_bytes: 1MiB }\n".to_owned(),
            "cache.max_object_bytes: ",
        ),
        (
            "too large for a route",
            route("{ mode: exact, max_object_bytes: 17MiB }"),
            "cache.max_object_bytes: ",
        ),
        (
            "no time",
            "cache: { default_ttl: 0s }\n".to_owned(),
            "cache.default_ttl: ",
        ),
        (
            "no method",
            route("{ mode: exact, methods: [] }"),
            "cache.methods: ",
        ),
        (
            "what changes things",
            route("{ mode: exact, methods: [DELETE] }"),
            "methods",
        ),
        ("what is not read whole", streaming, "cache.mode: "),
    ] {
        let errors = Case::yaml(&yaml).errors();
        assert!(errors.contains(want), "{name}: {errors}");
    }
}

// LLM-80
#[test]
fn the_names_of_llm_proxy_are_read() {
    let env = [
        ("HTTP_CACHE_ENABLED", "true"),
        ("HTTP_CACHE_BACKEND", "in-memory"),
        ("HTTP_CACHE_MAX_OBJECT_BYTES", "2097152"),
        ("HTTP_CACHE_DEFAULT_TTL", "60"),
        ("HTTP_CACHE_STREAM_RESPONSES", "true"),
    ];
    let cache = Case::bare().env(&env).settings().cache.unwrap();
    assert_eq!(
        (cache.object_bytes_max, cache.ttl),
        (2 << 20, Duration::from_secs(60))
    );
    assert!(cache.surfaces.unwrap().streams);
    for (name, value) in [
        ("HTTP_CACHE_BACKEND", "redis"),
        ("HTTP_CACHE_DEFAULT_TTL", "5m"),
        ("HTTP_CACHE_DEFAULT_TTL", "0"),
        ("HTTP_CACHE_MAX_OBJECT_BYTES", "-1"),
    ] {
        let errors = Case::bare().env(&[(name, value)]).errors();
        assert!(errors.contains(name), "{name}={value}: {errors}");
    }
}
