//! Words of the program and where they may stand: the environment, sockets, SQL, the clock.
//!
//! Only code that is shipped is read: not comments, literals, tests or `testkit`.

use crate::finding::Finding;
use crate::repo::Repo;
use crate::source::Source;

struct Word {
    words: &'static [&'static str],
    /// Beginnings of the paths where they may stand.
    stands_in: &'static [&'static str],
    why: &'static str,
}

const WORDS: &[Word] = &[
    Word {
        words: &[
            "std::env",
            "env::var",
            "env::vars",
            "env::var_os",
            "env::vars_os",
        ],
        stands_in: &["crates/config/src/", "crates/sim/src/main.rs"],
        why: "only `config` reads the environment, and the simulator its arguments",
    },
    Word {
        words: &["process::Command"],
        stands_in: &[],
        why: "nothing executes another program",
    },
    Word {
        words: &[
            "TcpStream::connect",
            "TcpListener::bind",
            "TcpSocket::new_v4",
            "TcpSocket::new_v6",
            "UdpSocket",
            "UnixStream::connect",
            "UnixListener::bind",
            "UnixDatagram",
            "socket2",
            "lookup_host",
            "to_socket_addrs",
        ],
        stands_in: &["crates/net/src/"],
        why: "only `net` opens sockets and resolves names",
    },
    Word {
        words: &["sqlx"],
        stands_in: &["crates/store/src/"],
        why: "only `store` holds SQL",
    },
    Word {
        words: &["axum"],
        stands_in: &["crates/admin/src/"],
        why: "only `admin` uses axum",
    },
    Word {
        words: &["aws_lc_rs"],
        stands_in: &["crates/crypto/src/", "crates/net/src/"],
        why: "only `crypto` and `net` name a cryptography crate",
    },
    Word {
        words: &["rustls", "tokio_rustls"],
        stands_in: &["crates/net/src/"],
        why: "only `net` speaks TLS",
    },
    Word {
        words: &["Instant::now", "SystemTime::now", "clock_gettime"],
        stands_in: &["crates/tollkeep/src/system.rs"],
        why: "the clock is read in one file; take a `Clock`",
    },
    Word {
        words: &["println!", "eprintln!", "print!", "eprint!", "dbg!"],
        stands_in: &["crates/tollkeep/src/", "crates/sim/src/main.rs"],
        why: "only the binary and the simulator print",
    },
    Word {
        words: &["process::exit"],
        stands_in: &["crates/tollkeep/src/"],
        why: "only the binary ends the process",
    },
    Word {
        words: &["process::abort"],
        // Without randomness no key is safe and no caller could go on.
        stands_in: &["crates/crypto/src/entropy.rs"],
        why: "only the lack of randomness ends the process on the spot",
    },
];

/// Where the methods that `clippy.toml` disallows may be expected all the same. Each place is the
/// owner of the thing.
const EXPECTS: &[&str] = &[
    "crates/sim/build.rs",
    // The environment.
    "crates/config/src/",
    // Sockets, name resolution, worker loops, time limits of dialling.
    "crates/net/src/",
    // A worker's own flush of its records.
    "crates/gateway/src/worker.rs",
    // A change of the store that must not end with its caller's future.
    "crates/store/src/write.rs",
    // A request that is carried out once, and must not end with its caller's either.
    "crates/admin/src/idempotency.rs",
    // What is asked for now and ends later.
    "crates/admin/src/history/prune.rs",
    "crates/admin/src/log_level.rs",
    // A server that hangs, and a transaction that was given up.
    "crates/store/src/postgres.rs",
    // The binary: the clock, the tasks of the control plane.
    "crates/tollkeep/src/",
    // Tests and tools.
    "crates/testkit/",
    "xtask/",
];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &repo.sources {
        if source.is_product() {
            check_words(source, &mut findings);
        }
        check_expects(source, &mut findings);
    }
    findings
}

fn check_words(source: &Source, findings: &mut Vec<Finding>) {
    for row in WORDS
        .iter()
        .filter(|row| !stands(row.stands_in, &source.path))
    {
        for word in row.words {
            for at in source.find_word(word).filter(|at| !source.is_test(*at)) {
                findings.push(Finding::new(
                    &source.path,
                    source.line_of(at),
                    "word",
                    format!("`{word}`: {}", row.why),
                ));
            }
        }
    }
}

fn check_expects(source: &Source, findings: &mut Vec<Finding>) {
    if stands(EXPECTS, &source.path) || source.path.contains("/tests/") {
        return;
    }
    for at in source
        .find_word("clippy::disallowed_methods")
        .filter(|at| !source.is_test(*at))
    {
        let message = "expected outside the places that own such a method";
        findings.push(Finding::new(
            &source.path,
            source.line_of(at),
            "expect",
            message,
        ));
    }
}

fn stands(places: &[&str], path: &str) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&Repo::of_texts(&[(path, text)])).len()
    }

    #[test]
    fn a_word_out_of_its_place_is_found() {
        let clock = "let now = Instant::now();";
        for (path, text, want) in [
            ("crates/net/src/dial.rs", clock, 1),
            ("crates/tollkeep/src/system.rs", clock, 0),
            ("crates/gateway/src/a.rs", "TcpStream::connect(a)", 1),
            ("crates/gateway/src/a.rs", "my_sqlx::x()", 0),
            (
                "crates/llm/src/a.rs",
                "#[expect(clippy::disallowed_methods)]",
                1,
            ),
            (
                "crates/net/src/a.rs",
                "#[expect(clippy::disallowed_methods)]",
                0,
            ),
        ] {
            assert_eq!(findings(path, text), want, "{path}: {text}");
        }
    }

    #[test]
    fn only_shipped_code_is_read() {
        let word = "fn a() { std::env::var(x); }";
        assert_eq!(
            findings("crates/admin/src/lib.rs", word),
            2,
            "two words of one row"
        );
        for (path, text) in [
            ("crates/config/src/env.rs", word.to_owned()),
            ("crates/admin/tests/a.rs", word.to_owned()),
            ("crates/testkit/src/lib.rs", word.to_owned()),
            (
                "crates/admin/src/lib.rs",
                format!("#[cfg(test)] mod t {{ {word} }}"),
            ),
            ("crates/admin/src/lib.rs", format!("// {word}")),
            (
                "crates/admin/src/lib.rs",
                format!("const A: &str = \"{word}\";"),
            ),
        ] {
            assert_eq!(findings(path, &text), 0, "{path}: {text}");
        }
    }
}
