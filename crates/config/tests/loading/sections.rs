//! Sections whose settings differ from the file: upstreams, routes, providers.

use crate::support::Case;
use std::time::Duration;
use tollkeep_config::settings::{
    Access, CatalogModel, PostgresTls, ProviderKind, RateBy, RateLimit,
};

fn with_upstream(routes: &str) -> Case {
    Case::yaml(&format!(
        "upstreams: {{api: {{url: 'https://api.example/base'}}}}\nroutes:\n{routes}"
    ))
}

// EDGE-86
#[test]
fn a_free_route_always_has_a_limit() {
    let rate = |route: &str| with_upstream(&format!("  'GET /x': {{upstream: api, {route}}}\n"));
    let default = RateLimit {
        requests: 10,
        window: Duration::from_secs(1),
        burst: 20,
        by: RateBy::Ip,
        is_default: true,
    };
    let settings = rate("access: free").settings();
    assert_eq!(settings.routes[0].access, Access::Free);
    assert_eq!(settings.routes[0].rate, Some(default));
    for off in ["off", "'off'", "false"] {
        let errors = rate(&format!("access: free, rate_limit: {off}")).errors();
        assert!(
            errors.contains("(free_route_without_limit)"),
            "{off}: {errors}"
        );
        assert_eq!(
            rate(&format!("rate_limit: {off}")).settings().routes[0].rate,
            None
        );
    }
    let own = rate("access: free, rateLimit: {requests: 60, window: 1m}").settings();
    let own = own.routes[0].rate.clone().unwrap();
    assert_eq!(
        (own.requests, own.window.as_secs(), own.burst),
        (60, 60, 60)
    );
}

// EDGE-20
#[test]
fn a_streamed_body_can_be_neither_signed_nor_looked_into_nor_decoded() {
    let with = |upstream: &str, route: &str| {
        Case::yaml(&format!(
            "upstreams: {{api: {{url: 'https://api.example'{upstream}}}}}\nroutes:\n  \
             'POST /x': {{upstream: api, {route}}}\n"
        ))
    };
    let signing = |mode: &str| {
        let keys = "keys: [{id: a, secret: 0123456789abcdef0123456789abcdeF}], active: a";
        format!(", signing: {{mode: {mode}, {keys}}}")
    };
    let streams = "request: {streaming: true}";
    for (name, upstream, route, want) in [
        ("bolthub", signing("bolthub"), streams, "signs the body"),
        ("v1", signing("v1"), streams, "signs the body"),
        (
            "a policy",
            String::new(),
            "request: {streaming: true}, policy: {allow_tools: false}",
            "can't be with a `policy`",
        ),
        (
            "codings",
            String::new(),
            "request: {streaming: true, content_encodings: [gzip]}",
            "such a body is not decoded",
        ),
    ] {
        let errors = with(&upstream, route).errors();
        assert!(errors.contains(want), "{name}: {errors}");
    }
    for (name, upstream) in [
        ("unsigned", String::new()),
        (
            "a v1 that leaves the body out",
            signing("v1, body: unsigned"),
        ),
        ("a secret", signing("secret")),
    ] {
        let settings = with(&upstream, streams).settings();
        assert!(settings.routes[0].streaming, "{name}");
        assert!(settings.routes[0].content_encodings.is_empty(), "{name}");
    }
}

#[test]
fn bad_routes_say_what_is_wrong() {
    for (name, routes, want) in [
        (
            "no method",
            "  /x: {upstream: api}\n",
            "tollkeep.yaml:3:3: routes.\"/x\": want `METHOD /path`, such as `GET /v1/x`",
        ),
        (
            "lower case",
            "  get /x: {upstream: api}\n",
            "tollkeep.yaml:3:3: routes.\"get /x\": \"get\" is no method: want GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or ANY",
        ),
        (
            "unknown upstream",
            "  GET /x: {upstream: apj}\n",
            "tollkeep.yaml:3:22: routes.\"GET /x\".upstream: no upstream is named \"apj\"; did you mean `api`?",
        ),
        (
            "no upstream",
            "  GET /x: {}\n",
            "routes.\"GET /x\".upstream: is missing",
        ),
        (
            "the same requests",
            "  GET /a/:x: {upstream: api}\n  ANY /a/:y: {upstream: api}\n",
            "tollkeep.yaml:4:3: routes.\"ANY /a/:y\": takes the same requests as `GET /a/:x`",
        ),
        (
            "a path of ours",
            "  GET /health: {upstream: api}\n",
            "tollkeep.yaml:3:3: routes.\"GET /health\": `/health` is answered by the gateway itself",
        ),
        (
            "below a path of ours",
            "  POST /.well-known/tollkeep/token: {upstream: api}\n",
            "tollkeep.yaml:3:3: routes.\"POST /.well-known/tollkeep/token\": `/.well-known/tollkeep/token` is answered by the gateway itself",
        ),
        (
            "payment",
            "  GET /x: {upstream: api, access: payment}\n",
            "tollkeep.yaml:3:3: routes.\"GET /x\": needs a price above nothing with this `access`",
        ),
        (
            "keys of later",
            "  GET /x: {upstream: api, facilitator: x, pay_to_mode: x}\n",
            "tollkeep.yaml:3:40: routes.\"GET /x\".facilitator: no facilitator is named \"x\": it stands in \
             `payments.x402.facilitators` with its address\n\
             tollkeep.yaml:3:43: routes.\"GET /x\".pay_to_mode: is not supported yet",
        ),
        (
            "half a limit",
            "  GET /x: {upstream: api, rate_limit: {requests: 5}}\n",
            "routes.\"GET /x\".rate_limit.window: is missing",
        ),
    ] {
        assert_eq!(with_upstream(routes).errors(), want, "{name}");
    }
    let wildcard = with_upstream(
        "  ANY /*: {upstream: api}\n  GET /a/x: {upstream: api}\n  POST /a/x: {upstream: api}\n",
    );
    assert_eq!(wildcard.settings().routes.len(), 3);
}

// EDGE-97
#[test]
fn upstream_urls_meet_the_egress_door() {
    for (name, upstream, part) in [
        ("private", "{url: 'http://10.1.2.3/'}", "allow_private"),
        (
            "loopback name",
            "{url: 'http://localhost:9000'}",
            "upstreams.a.url",
        ),
        (
            "outside the list",
            "{url: 'http://10.1.2.3/', allow_private: [10.9.0.0/16]}",
            "upstreams.a.url",
        ),
        (
            "metadata",
            "{url: 'http://169.254.169.254/', allow_private: [169.254.0.0/16]}",
            "metadata",
        ),
        ("blocked port", "{url: 'http://a.example:25/'}", "port"),
        (
            "scheme",
            "{url: 'ftp://a.example/'}",
            "want a URL that starts with `https://` or `http://`",
        ),
        (
            "password",
            "{url: 'https://u:p@a.example/'}",
            "user or password",
        ),
        (
            "query",
            "{url: 'https://a.example/?x=1'}",
            "a base URL has no query",
        ),
        ("no url", "{}", "upstreams.a.url: is missing"),
    ] {
        let errors = Case::yaml(&format!("upstreams: {{a: {upstream}}}\n")).errors();
        assert!(errors.contains(part), "{name}: {errors}");
        assert!(!errors.contains("u:p"), "{name}: {errors}");
    }
    for upstream in [
        "{url: 'http://10.1.2.3/', allow_private: [10.1.0.0/16]}",
        "{url: 'http://localhost:9000', allow_private: [127.0.0.1]}",
        "{url: 'http://10.1.2.3/', allow_private: true}",
        "{url: 'http://a.example/'}",
    ] {
        let case = Case::yaml(&format!("upstreams: {{a: {upstream}}}\n"));
        assert!(case.load().is_ok(), "{upstream}");
    }
}

// OPS-10
#[test]
fn the_timeout_of_an_upstream_asks_for_a_unit() {
    let timeout = |text: &str| {
        Case::yaml(&format!(
            "upstreams: {{a: {{url: 'https://a.example', {text}}}}}\n"
        ))
    };
    let first_byte = |text: &str| timeout(text).settings().upstreams[0].timeouts.first_byte;
    assert_eq!(first_byte("timeout: 30s"), Duration::from_secs(30));
    assert_eq!(first_byte("timeout: 30000"), Duration::from_secs(30));
    assert_eq!(
        first_byte("timeouts: {first_byte_ms: 5}"),
        Duration::from_millis(5)
    );
    assert_eq!(first_byte(""), Duration::from_secs(60));
    let errors = timeout("timeout: 60").errors();
    assert!(
        errors.ends_with("timeout: needs a unit, such as `60s` or `60ms`"),
        "{errors}"
    );
    let errors = timeout("timeout: 30s, timeouts: {first_byte_ms: 5}").errors();
    assert!(
        errors.ends_with("is the same as `timeouts.first_byte_ms`; write one of them"),
        "{errors}"
    );
}

#[test]
fn a_provider_is_its_name_where_that_is_a_kind() {
    let file = "providers:\n  claude: {credentials: [{secret: '${K}'}]}\n  my-openai: {kind: openai, base_url: 'https://gw.example/openai', credentials: [{secret: '${K}', weight: 3}, {secret: none}]}\n  local: {kind: ollama, base_url: 'http://127.0.0.1:11434', allow_private: true, credentials: [{secret: none}]}\n";
    let settings = Case::yaml(file).env(&[("K", "sk-1")]).settings();
    let told: Vec<_> = settings
        .providers
        .iter()
        .map(|provider| (provider.kind, provider.base_url.to_string()))
        .collect();
    assert_eq!(
        told,
        [
            (
                ProviderKind::Anthropic,
                "https://api.anthropic.com/".to_owned()
            ),
            (ProviderKind::OpenAi, "https://gw.example/openai".to_owned()),
            (ProviderKind::Ollama, "http://127.0.0.1:11434/".to_owned()),
        ]
    );
    let credentials = &settings.providers[1].credentials;
    assert_eq!(
        (credentials[0].name.as_str(), credentials[0].weight),
        ("c1", 3)
    );
    assert!(credentials[1].secret.is_none());
    assert_eq!(settings.providers[1].models, ["*"]);
}

/// Name, provider, part of the line.
const BAD_PROVIDERS: &[(&str, &str, &str)] = &[
    (
        "no kind",
        "mine: {}",
        "providers.mine.kind: is missing, and \"mine\" is no kind of provider by itself",
    ),
    (
        "near kind",
        "mine: {kind: opnai}",
        "kind: \"opnai\" is no kind of provider; did you mean `openai`?",
    ),
    (
        "later kind",
        "vertex: {}",
        "providers.vertex.kind: kind `vertex` is not supported yet",
    ),
    (
        "no address",
        "vllm: {}",
        "providers.vllm.base_url: is missing: kind `vllm` has no default",
    ),
    (
        "clear text",
        "openai: {base_url: 'http://gw.example'}",
        "sends the credential in clear text",
    ),
    (
        "bad name",
        "Open_AI: {kind: openai}",
        "want a name of 1 to 40 of `a-z`, `0-9`, `-`",
    ),
    (
        "placeholder",
        "openai: {credentials: [{secret: your-api-key-1}]}",
        "secret: is a placeholder, not a secret",
    ),
    (
        "blank",
        "openai: {credentials: [{secret: 'a b'}]}",
        "secret: holds a blank, a control byte or a non-ASCII character",
    ),
    (
        "no secret",
        "openai: {credentials: [{name: a}]}",
        "providers.openai.credentials[0].secret: is missing",
    ),
    (
        "numeric secret",
        "openai: {credentials: [{secret: 12345678}]}",
        "secret: want text, not this value: write it in quotes",
    ),
    (
        "same names",
        "openai: {credentials: [{secret: none, name: a}, {secret: none, name: a}]}",
        "credentials[1].name: `a` is another credential's name",
    ),
    (
        "field of a credential that is the credential",
        "openai: {credentials: [{secret: none, headers: {Authorization: x}}]}",
        "credentials[0].headers.authorization: carries the credential itself",
    ),
    (
        "field of a credential that its provider sets",
        "openai: {headers: {X-Org: a}, credentials: [{secret: none, headers: {X-Org: b}}]}",
        "credentials[0].headers.x-org: is set or removed by its provider's `headers`",
    ),
    (
        "credential field",
        "openai: {headers: {Authorization: '${K}'}}",
        "headers.authorization: carries the credential: write it under `credentials`",
    ),
    (
        "framing field",
        "openai: {headers: {Host: x}}",
        "headers.Host: is written by the gateway and can't be set",
    ),
    (
        "forwarded cookie",
        "openai: {forward_headers: [Cookie]}",
        "forward_headers[0]: \"Cookie\" is never sent upstream",
    ),
    (
        "sandbox address",
        "sandbox: {base_url: 'https://x.example'}",
        "is the gateway's own: the sandbox is built in",
    ),
];

// LLM-R5
#[test]
fn bad_providers_say_what_is_wrong() {
    for (name, providers, want) in BAD_PROVIDERS {
        let case = Case::yaml(&format!("providers:\n  {providers}\n")).env(&[("K", "v")]);
        let errors = case.errors();
        assert!(errors.contains(want), "{name}: {errors}");
        assert!(!errors.contains("12345678"), "{name}: {errors}");
    }
}

// LLM-R5
#[test]
fn a_provider_without_credentials_is_a_warning() {
    for (name, provider) in [
        ("none", "openai: {}"),
        (
            "weight 0",
            "openai: {credentials: [{secret: '${K}', weight: 0}]}",
        ),
    ] {
        let case = Case::yaml(&format!("providers: {{{provider}}}\n")).env(&[("K", "v")]);
        let told = "tollkeep.yaml:1:13: providers.openai: has no usable credential: it waits for one from `tollkeep credential add`";
        assert_eq!(case.warnings(), told, "{name}");
        assert!(
            case.settings().providers[0].credentials.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn providers_have_the_times_of_llm_unless_they_say() {
    let file = "llm: {connect_timeout_ms: 1s, upstream_timeout_ms: 2s, idle_timeout_ms: 3s, stream: {max_s: 4}}\nproviders: {openai: {credentials: [{secret: none}], timeouts: {idle_ms: 9s}}}\n";
    let times = Case::yaml(file).settings().providers[0].timeouts.clone();
    let seconds = [
        times.connect,
        times.first_byte,
        times.idle,
        times.total_stream,
        times.total,
    ];
    assert_eq!(seconds.map(|time| time.as_secs()), [1, 2, 9, 4, 600]);
}

// LLM-74
#[test]
fn what_is_known_of_models_is_written_by_model_and_provider() {
    let file = "providers: {openai: {credentials: [{secret: none}]}}\nmodels:\n  catalog:\n    \
                - {model: m, created: 2026-01-02}\n    \
                - {model: m, provider: openai, display_name: M, context_window: 10, max_output_tokens: 5, created: '2026-01-02T03:04:05Z'}\n";
    let models = Case::yaml(file).settings().models;
    let of_all = CatalogModel {
        model: "m".to_owned(),
        provider: None,
        display_name: None,
        context_window: None,
        max_output_tokens: None,
        created: Some("2026-01-02T00:00:00Z".parse().unwrap()),
    };
    let of_one = CatalogModel {
        provider: Some("openai".to_owned()),
        display_name: Some("M".to_owned()),
        context_window: Some(10),
        max_output_tokens: Some(5),
        created: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        ..of_all.clone()
    };
    assert_eq!(models.catalog, [of_all, of_one]);
    for (entries, problem) in [
        ("{}", "models.catalog[0].model: is missing"),
        ("{model: ''}", "want 1 to 256 bytes"),
        ("{model: m, provider: openia}", "no provider has that name"),
        ("{model: m, created: 2026-02-30}", "want a date as"),
        ("{model: m, context_window: 0}", "context_window"),
        ("{model: m, price: 1}", "models.catalog[0].price"),
        ("{model: m}, {model: m}", "is there twice"),
    ] {
        let file = format!(
            "providers: {{openai: {{credentials: [{{secret: none}}]}}}}\nmodels: {{catalog: [{entries}]}}\n"
        );
        let told = Case::yaml(&file).errors();
        assert!(told.contains(problem), "{entries}: {told}");
    }
}

#[test]
fn the_sandbox_switch_brings_a_provider() {
    let settings = Case::yaml("sandbox: {upstream: true}\n").settings();
    assert_eq!(settings.providers.len(), 1);
    assert_eq!(settings.providers[0].name, "sandbox");
    assert_eq!(settings.providers[0].kind, ProviderKind::Sandbox);
    assert_eq!(settings.providers[0].credentials.len(), 1);
    let own =
        Case::yaml("sandbox: {upstream: true}\nproviders: {mine: {kind: sandbox, models: [a]}}\n");
    assert_eq!(own.settings().providers[0].models, ["a"]);
    assert_eq!(own.settings().providers.len(), 1);
}

#[test]
fn files_follow_the_data_folder() {
    let settings = Case::yaml("data_dir: /var/lib/tollkeep\n").settings();
    assert_eq!(
        settings.store.path.display().to_string(),
        "/var/lib/tollkeep/tollkeep.db"
    );
    assert_eq!(
        settings.audit.file.unwrap().display().to_string(),
        "/var/lib/tollkeep/audit.log"
    );
}

#[test]
fn rules_between_keys_are_checked() {
    for (name, file, part) in [
        (
            "line over head",
            "server: {limits: {header_bytes_max: 4KiB}}\n",
            "server.limits.header_line_bytes_max: is larger than",
        ),
        (
            "memory",
            "server: {limits: {request_body_memory_bytes_max: 2MiB}}\n",
            "is smaller than one body",
        ),
        (
            "a third of all memory is for bodies",
            "server: {limits: {memory_bytes_max: 59MiB}}\n",
            "server.limits.memory_bytes_max: is less than three times the largest body",
        ),
        (
            "prefixes",
            "auth: {management_prefix: tok-}\n",
            "is that of access tokens too",
        ),
        (
            "lives",
            "auth: {token_default_ttl: 400d}\n",
            "is longer than `auth.token_max_ttl`",
        ),
        (
            "nobody to ask",
            "egress: {resolver: {mode: servers}}\n",
            "is empty, and `mode: servers` asks nobody else",
        ),
        (
            "nobody asks",
            "egress: {resolver: {servers: ['127.0.0.1:53']}}\n",
            "has no effect without `mode: servers`",
        ),
    ] {
        let errors = Case::yaml(file).errors();
        assert!(errors.contains(part), "{name}: {errors}");
    }
}

#[test]
fn prefixes_obey_their_pattern() {
    for (prefix, fits) in [
        ("tok-", true),
        ("gw_", true),
        ("a1234567890123-", true),
        ("a12345678901234-", false),
        ("1a-", false),
        ("tok", false),
        ("-", false),
        ("to-k-", false),
    ] {
        let case = Case::yaml(&format!("auth: {{token_prefix: '{prefix}'}}\n"));
        assert_eq!(case.load().is_ok(), fits, "{prefix}");
    }
}

// ID-81
#[test]
fn postgresql_is_told_by_urls_and_what_is_wrong_with_one_never_shows_it() {
    let file = Case::yaml("server: {}\n").settings().store;
    assert!(file.postgres.is_none());
    let jobs = (
        "TOLLKEEP_STORE__JOBS_URL",
        "postgres://jobs@127.0.0.1/tollkeep",
    );
    let env = [
        ("DB_DRIVER", "postgres"),
        (
            "DATABASE_URL",
            "postgresql://app:p%40ss%2Fw@db.example/tollkeep",
        ),
        ("DATABASE_POOL_SIZE", "7"),
        ("DATABASE_CONN_MAX_LIFETIME", "30m"),
        jobs,
    ];
    let store = Case::bare().env(&env).settings().store;
    let server = store.postgres.unwrap();
    assert_eq!(server.pool_size, 7);
    assert_eq!(server.conn_max_lifetime.as_secs(), 1_800);
    let app = &server.app;
    let name = (
        app.host.as_str(),
        app.port,
        app.user.as_str(),
        app.database.as_str(),
    );
    assert_eq!(name, ("db.example", 5_432, "app", "tollkeep"));
    assert_eq!(app.password.as_ref().unwrap().expose(), "p@ss/w");
    assert_eq!(
        app.tls,
        PostgresTls::Verified,
        "who is far away proves its name"
    );
    assert_eq!(server.jobs.tls, PostgresTls::Preferred);
    assert!(server.owner.is_none());
    for (name, url) in [
        ("no scheme", "sEcret.example:5432"),
        ("another scheme", "mysql://a:sEcret@127.0.0.1/t"),
        ("no host", "postgres:///sEcret"),
        ("no user", "postgres://127.0.0.1/sEcret"),
        ("no database", "postgres://a:sEcret@127.0.0.1"),
        ("a parameter", "postgres://a:sEcret@127.0.0.1/t?options=x"),
        ("a mode", "postgres://a:sEcret@127.0.0.1/t?sslmode=sEcret"),
        ("no encoding", "postgres://a:sEcret%zz@127.0.0.1/t"),
        ("one login for both", "postgres://jobs:sEcret@127.0.0.1/t"),
    ] {
        let errors = Case::bare().env(&[("DATABASE_URL", url), jobs]).errors();
        assert!(
            errors.contains("store.") && !errors.contains("sEcret"),
            "{name}: {errors}"
        );
    }
    let alone = Case::bare().env(&[("DB_DRIVER", "postgres")]).errors();
    assert!(
        alone.contains("store.url: is needed") && alone.contains("store.jobs_url: is needed"),
        "{alone}"
    );
    let unproved = "postgres://a@db.example/t?sslmode=require";
    let away = Case::bare().env(&[("DATABASE_URL", unproved), jobs]);
    assert!(away.warnings().contains("without proof of who answers"));
    let unused = Case::bare().env(&[("DB_DRIVER", "sqlite"), ("DATABASE_URL", unproved)]);
    assert!(unused.warnings().contains("has no effect"));
}

// EDGE-89
#[test]
fn redis_is_told_by_url_and_what_is_wrong_with_one_never_shows_it() {
    let none = Case::yaml("server: {}\n").settings();
    assert!(none.redis.is_none());
    assert_eq!((none.server.replicas, none.counters.keys_max), (1, 100_000));
    let env = [
        ("REDIS_URL", "redis://127.0.0.1"),
        ("TOLLKEEP_REDIS__TIMEOUT_MS", "40"),
    ];
    let plain = Case::bare().env(&env).settings().redis.unwrap();
    let server = &plain.server;
    assert_eq!(
        (server.host.as_str(), server.port, server.database),
        ("127.0.0.1", 6_379, 0)
    );
    assert!(!server.tls && server.username.is_none() && server.password.is_none());
    assert_eq!(
        (plain.prefix.as_str(), plain.timeout.as_millis()),
        ("tollkeep", 40)
    );
    let env = [("UPSTASH_REDIS_URL", "rediss://me:p%40ss%2Fw@[::1]:7000/5")];
    let full = Case::bare().env(&env).settings().redis.unwrap().server;
    assert!(full.tls);
    assert_eq!(
        (full.host.as_str(), full.port, full.database),
        ("::1", 7_000, 5)
    );
    assert_eq!(full.username.as_deref(), Some("me"));
    assert_eq!(full.password.unwrap().expose(), "p@ss/w");
    for (name, url) in [
        ("no scheme", "sEcret.example:6379"),
        ("the other protocol", "https://sEcret.example"),
        ("another scheme", "ftp://sEcret.example"),
        ("no host", "redis:///sEcret"),
        ("no number", "redis://127.0.0.1/sEcret"),
        ("a query", "redis://127.0.0.1/0?sEcret"),
        ("no encoding", "redis://:sEcret%zz@127.0.0.1"),
        ("no text", "redis://:sEcret%ff@127.0.0.1"),
        ("no password", "redis://sEcret@127.0.0.1"),
    ] {
        let errors = Case::bare().env(&[("REDIS_URL", url)]).errors();
        assert!(
            errors.contains("redis.url") && !errors.contains("sEcret"),
            "{name}: {errors}"
        );
    }
    let away = Case::bare().env(&[("REDIS_URL", "redis://192.0.2.7")]);
    assert!(
        away.warnings()
            .contains("without TLS or without a password")
    );
}

// LLM-6
#[test]
fn whose_limits_are_told_in_one_field_is_said_once() {
    let both = "llm: {expose_upstream_limits: true}\ncompat: {x_ratelimit: true}\n";
    let errors = Case::yaml(both).errors();
    assert!(
        errors.contains("llm.expose_upstream_limits: would tell"),
        "{errors}"
    );
    let one = Case::yaml("llm: {expose_upstream_limits: true}\n");
    assert_eq!(one.warnings(), "");
}
