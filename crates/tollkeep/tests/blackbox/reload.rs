//! Settings taken over while the gateway serves: all or none, by each trigger.

use crate::fixture::{before, free, gateway, head};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tollkeep_testkit::{Builder, Gateway, Origin, Signal, eventually};

/// A gateway that looks at its file when it is told to.
pub(crate) fn unwatched(config: impl Into<String>) -> Builder {
    gateway(config).set("reload.watch", "false")
}

/// Reloads by the API: status and answer.
pub(crate) fn reload(gateway: &Gateway) -> (u16, Value) {
    gateway.api("POST", "/api/v1/config/reload", None)
}

/// Reloads by the API what can be taken over.
pub(crate) fn reloaded(gateway: &Gateway, config: &str) {
    gateway.configure(config);
    let (status, answer) = reload(gateway);
    assert_eq!(status, 200, "{answer}");
}

/// The settings in force, as `/status` tells of them.
pub(crate) fn settings(gateway: &Gateway) -> Value {
    let (status, answer) = gateway.api("GET", "/api/v1/status", None);
    assert_eq!(status, 200, "{answer}");
    answer["settings"].clone()
}

pub(crate) fn generation(gateway: &Gateway) -> u64 {
    settings(gateway)["generation"].as_u64().unwrap()
}

pub(crate) fn status_of(gateway: &Gateway, target: &str) -> u16 {
    gateway.call(&head(&format!("GET {target}"), "")).status
}

/// The value of a sample of the metrics listener.
fn sample(gateway: &Gateway, name: &str) -> Option<String> {
    let text = gateway.metrics_text();
    let mut lines = text.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
}

pub(crate) fn events(gateway: &Gateway, action: &str) -> Vec<Value> {
    let lines = gateway.audit_lines().into_iter();
    lines.filter(|event| event["action"] == action).collect()
}

/// A way to ask for a reload, which says what came of it where it can.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trigger {
    Signal,
    Command,
    Api,
}

impl Trigger {
    const ALL: [Self; 3] = [Self::Signal, Self::Command, Self::Api];

    /// Pulls it; what it said, if it says anything.
    fn pull(self, gateway: &Gateway) -> Option<String> {
        match self {
            Self::Signal => {
                gateway.signal(Signal::HUP);
                None
            }
            Self::Command => {
                let output = gateway.cli(&["config", "reload"]);
                let text = [output.stdout, output.stderr].concat();
                let text = String::from_utf8(text).unwrap();
                Some(format!("{} {text}", output.status.code().unwrap()))
            }
            Self::Api => {
                let (status, answer) = reload(gateway);
                Some(format!("{status} {answer}"))
            }
        }
    }
}

// EDGE-135 OPS-8
#[test]
fn each_trigger_takes_a_changed_file_over() {
    let origin = Origin::plain();
    let gateway = unwatched(before(&origin, &free("GET /first"))).start();
    assert_eq!(generation(&gateway), 1);
    for (at, trigger) in (2..).zip(Trigger::ALL) {
        let target = format!("/new-{at}");
        assert_eq!(status_of(&gateway, &target), 404);
        gateway.configure(before(&origin, &free(&format!("GET {target}"))));
        let said = trigger.pull(&gateway);
        eventually("the new settings", || {
            (generation(&gateway) == at).then_some(())
        });
        assert_eq!(status_of(&gateway, &target), 200, "{trigger:?}");
        assert_eq!(status_of(&gateway, "/first"), 404, "what went is gone");
        let wanted = match trigger {
            Trigger::Signal => continue,
            Trigger::Command => "0 ",
            Trigger::Api => "200 ",
        };
        let said = said.unwrap();
        assert!(
            said.starts_with(wanted) && said.contains(&at.to_string()),
            "{said}"
        );
    }
    assert_eq!(settings(&gateway)["refused_at"], Value::Null);
    assert_eq!(
        sample(&gateway, "tollkeep_config_last_reload_success "),
        Some("1".into())
    );
    let told = events(&gateway, "config.reload");
    let told: Vec<_> = told
        .iter()
        .map(|event| {
            (
                event["actor"].as_str().unwrap(),
                &event["details"]["version"],
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("system", &json!(2)),
            ("local", &json!(3)),
            ("management", &json!(4))
        ]
    );
}

/// What no reload may take over, by what is wrong with it, and what is said of it.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn faulty(
    folder: &std::path::Path,
    origin: &Origin,
) -> Vec<(&'static str, Option<Vec<u8>>, &'static str)> {
    let good = before(origin, &free("GET /new"));
    let half = good.split_at(good.len() - 20).0.to_owned();
    let with = |more: &str| Some(format!("{good}{more}").into_bytes());
    let garbage = folder.join("garbage.pem");
    fs::write(&garbage, "not a certificate").unwrap();
    let open = folder.join("open");
    fs::write(&open, "secret").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    let header = |value: &str| {
        let good = good.replace(
            "allow_private",
            &format!("headers: {{ x-api-key: \"{value}\" }}, allow_private"),
        );
        Some(good.into_bytes())
    };
    vec![
        ("half-written", Some(half.into_bytes()), "tollkeep.yaml:"),
        ("empty", Some(Vec::new()), "is empty"),
        ("blank", Some(b" \n\n".to_vec()), "is empty"),
        ("a comment", Some(b"# soon\n".to_vec()), "is empty"),
        ("vanished", None, "can't read it"),
        (
            "too long",
            Some(vec![b'#'; 10 * 1024 * 1024 + 1]),
            "is longer than",
        ),
        ("not text", Some(b"server: \xff".to_vec()), "is not UTF-8"),
        ("no YAML", Some(b"server: [".to_vec()), "tollkeep.yaml:"),
        ("an unknown key", with("serverr: {}\n"), "serverr"),
        (
            "a value out of range",
            with("server: { timeouts: { header_ms: 0 } }\n"),
            "server.timeouts.header_ms",
        ),
        (
            "a variable that is not set",
            header("${NOWHERE}"),
            "NOWHERE",
        ),
        (
            "a secret's file that is gone",
            header("${file:/nowhere/at/all}"),
            "/nowhere/at/all",
        ),
        (
            "a secret's file that others write",
            header("${file:OPEN}"),
            "may be written",
        ),
        (
            "an address that may not be called",
            Some(good.replace("\"127.0.0.1/32\"", "").into_bytes()),
            "upstreams.origin",
        ),
        (
            "certificates that are gone",
            with("egress: { ca_file: /nowhere.pem }\n"),
            "egress.ca_file",
        ),
        (
            "certificates that are none",
            with("egress: { ca_file: GARBAGE }\n"),
            "egress.ca_file",
        ),
        (
            "a route to nowhere",
            Some(
                good.replace("upstream: origin", "upstream: other")
                    .into_bytes(),
            ),
            "other",
        ),
    ]
    .into_iter()
    .map(|(name, bytes, said)| {
        let filled = bytes.map(|bytes| match String::from_utf8(bytes) {
            Ok(text) => text
                .replace("GARBAGE", garbage.to_str().unwrap())
                .replace("OPEN", open.to_str().unwrap())
                .into_bytes(),
            Err(bytes) => bytes.into_bytes(),
        });
        (name, filled, said)
    })
    .collect()
}

// EDGE-135 OPS-8
#[test]
fn what_is_faulty_changes_nothing_and_is_told() {
    let origin = Origin::plain();
    let gateway = unwatched(before(&origin, &free("GET /old"))).start();
    let rows = faulty(gateway.folder(), &origin);
    let count = rows.len();
    for (name, bytes, wanted) in rows {
        match bytes {
            Some(bytes) => fs::write(gateway.config_file(), bytes).unwrap(),
            None => fs::remove_file(gateway.config_file()).unwrap(),
        }
        let (status, answer) = reload(&gateway);
        assert_eq!(
            (status, &answer["code"]),
            (422, &json!("config_invalid")),
            "{name}: {answer}"
        );
        let told = answer["errors"].to_string();
        assert!(told.contains(wanted), "{name}: {told}");
        assert_eq!(status_of(&gateway, "/old"), 200, "{name}");
        assert_eq!(status_of(&gateway, "/new"), 404, "{name}");
    }
    assert_eq!(generation(&gateway), 1);
    assert_ne!(settings(&gateway)["refused_at"], Value::Null);
    assert_eq!(
        sample(&gateway, "tollkeep_config_last_reload_success "),
        Some("0".into())
    );
    let refusals = || events(&gateway, "config.reject").len();
    eventually("the refusals", || (refusals() == count).then_some(()));
    assert!(events(&gateway, "config.reload").is_empty());
    reloaded(&gateway, &before(&origin, &free("GET /new")));
    assert_eq!(status_of(&gateway, "/new"), 200, "what is mended counts");
    assert_eq!(settings(&gateway)["refused_at"], Value::Null);
}

// EDGE-135 OPS-8
#[test]
fn every_fault_is_told_at_once_by_every_trigger() {
    let origin = Origin::plain();
    let good = before(&origin, &free("GET /old"));
    let gateway = unwatched(&good).start();
    gateway.configure(format!(
        "{good}server: {{ timeouts: {{ header_ms: 0 }} }}\nbanner: x\n"
    ));
    for trigger in Trigger::ALL {
        let before = events(&gateway, "config.reject").len();
        let said = trigger.pull(&gateway);
        let event = eventually("the event", || {
            events(&gateway, "config.reject").get(before).cloned()
        });
        assert_eq!(event["result"], "denied", "{event}");
        assert_eq!(event["details"]["count"], 2, "{event}");
        let wanted = match trigger {
            Trigger::Signal => {
                assert_eq!(event["actor"], "system", "{event}");
                eventually("lines of the log", || {
                    let log = gateway.stderr();
                    (log.contains("header_ms") && log.contains("banner")).then_some(())
                });
                continue;
            }
            Trigger::Command => "3 ",
            Trigger::Api => "422 ",
        };
        let said = said.unwrap();
        let all = said.contains("header_ms") && said.contains("banner");
        assert!(said.starts_with(wanted) && all, "{said}");
    }
    assert_eq!(generation(&gateway), 1);
}

// EDGE-135 OPS-8
#[test]
fn a_secret_is_read_again_and_told_to_nobody() {
    let origin = Origin::plain();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let secret = |text: &str| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    secret("first-Zq8kTm2vXw7p\n");
    let config = before(&origin, &free("GET /x")).replace(
        "allow_private",
        &format!(
            "headers: {{ x-api-key: \"${{file:{}}}\" }}, allow_private",
            file.display()
        ),
    );
    let gateway = unwatched(&config).start();
    assert_eq!(status_of(&gateway, "/x"), 200);
    assert_eq!(origin.last().field("x-api-key"), Some("first-Zq8kTm2vXw7p"));
    secret("second-Ls4nRy9bHc3d\n");
    reloaded(&gateway, &config);
    assert_eq!(status_of(&gateway, "/x"), 200);
    assert_eq!(
        origin.last().field("x-api-key"),
        Some("second-Ls4nRy9bHc3d")
    );
    secret("third-\u{1}not-a-value\n");
    let (status, answer) = reload(&gateway);
    assert_eq!(status, 422, "{answer}");
    let told = [answer.to_string(), gateway.stderr()].concat();
    for part in ["first-Z", "second-L", "third-"] {
        assert!(!told.contains(part), "{told}");
    }
    assert_eq!(status_of(&gateway, "/x"), 200);
    assert_eq!(
        origin.last().field("x-api-key"),
        Some("second-Ls4nRy9bHc3d")
    );
}

/// A gateway whose file says itself what others are told by flags.
fn by_file_alone(config: &str) -> Builder {
    let filled_in = [
        "data_dir",
        "store.path",
        "audit.file",
        "server.port",
        "server.workers",
        "management.listen",
        "metrics.port",
        "audit.deadline",
    ];
    let builder = unwatched(config);
    filled_in.into_iter().fold(builder, Builder::in_file)
}

const START: &str = "\
data_dir: ./data
server: { port: 0, workers: 2 }
management: { listen: \"127.0.0.1:0\" }
metrics: { port: 0 }
audit: { deadline: 60s }
vault: { allow_local_kek: true }
";

// EDGE-136 OPS-8
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_is_read_at_start_only_is_refused_as_a_whole_and_named() {
    let gateway = by_file_alone(START).start();
    let added = "llm: { max_depth: 64 }\n";
    for (key, from, to) in [
        ("environment", "vault:", "environment: production\nvault:"),
        ("data_dir", "./data", "./elsewhere"),
        (
            "server.host",
            "port: 0, workers",
            "host: \"::1\", port: 0, workers",
        ),
        ("server.port", "port: 0, workers", "port: 1, workers"),
        ("server.workers", "workers: 2", "workers: 3"),
        ("server.backlog", "workers: 2", "workers: 2, backlog: 5"),
        ("management.listen", "127.0.0.1:0", "127.0.0.1:1"),
        ("management.listen", "\"127.0.0.1:0\"", "\"\""),
        (
            "management.local_socket",
            "listen:",
            "local_socket: false, listen:",
        ),
        (
            "metrics.enabled",
            "metrics: {",
            "metrics: { enabled: false,",
        ),
        ("metrics.host", "metrics: {", "metrics: { host: \"::1\","),
        ("metrics.port", "metrics: { port: 0", "metrics: { port: 1"),
        (
            "metrics.seed_names",
            "metrics: {",
            "metrics: { seed_names: false,",
        ),
        (
            "metrics.compat_ip_label",
            "metrics: {",
            "metrics: { compat_ip_label: true,",
        ),
        (
            "auth.token_prefix",
            "vault:",
            "auth: { token_prefix: tk- }\nvault:",
        ),
        (
            "auth.management_prefix",
            "vault:",
            "auth: { management_prefix: mg- }\nvault:",
        ),
        (
            "auth.encryption.key",
            "vault:",
            "auth: { encryption: { key: 8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e } }\nvault:",
        ),
        (
            "store.path",
            "vault:",
            "store: { path: ./data/other.db }\nvault:",
        ),
        (
            "store.busy_timeout",
            "vault:",
            "store: { busy_timeout: 1s }\nvault:",
        ),
        ("audit.enabled", "audit: {", "audit: { enabled: false,"),
        ("audit.file", "audit: {", "audit: { file: ./data/other.log,"),
        (
            "audit.store_in_db",
            "audit: {",
            "audit: { store_in_db: false,",
        ),
        ("audit.require", "audit: {", "audit: { require: any,"),
        ("audit.retention", "audit: {", "audit: { retention: 8d,"),
        (
            "audit.hold",
            "audit: {",
            "audit: { hold: [{ project: prj_00000000000070008000000000000000, until: \"2030-01-01T00:00:00Z\" }],",
        ),
        (
            "audit.create_dir",
            "audit: {",
            "audit: { create_dir: false,",
        ),
        ("audit.mode", "audit: {", "audit: { mode: \"0640\","),
        ("audit.mask_ip", "audit: {", "audit: { mask_ip: drop,"),
        (
            "audit.unknown_token_mask",
            "audit: {",
            "audit: { unknown_token_mask: full,",
        ),
        ("audit.user_agent", "audit: {", "audit: { user_agent: off,"),
        ("audit.deadline", "60s", "59s"),
        (
            "audit.access_on_failure",
            "audit: {",
            "audit: { access_on_failure: open,",
        ),
        (
            "audit.access_success",
            "audit: {",
            "audit: { access_success: all,",
        ),
        (
            "audit.proxy_request",
            "audit: {",
            "audit: { proxy_request: errors,",
        ),
        ("audit.queue", "audit: {", "audit: { queue: 100,"),
        (
            "logging.format",
            "vault:",
            "logging: { format: text }\nvault:",
        ),
        (
            "logging.output",
            "vault:",
            "logging: { output: ./data/log }\nvault:",
        ),
        (
            "logging.rotation",
            "vault:",
            "logging: { rotation: { max_size: 1MiB } }\nvault:",
        ),
        (
            "logging.style",
            "vault:",
            "logging: { style: cliproxy }\nvault:",
        ),
        (
            "logging.access",
            "vault:",
            "logging: { access: errors }\nvault:",
        ),
        (
            "sandbox.upstream",
            "vault:",
            "sandbox: { upstream: true }\nvault:",
        ),
    ] {
        assert!(START.contains(from), "{key}");
        gateway.configure(format!("{}{added}", START.replace(from, to)));
        let (status, answer) = reload(&gateway);
        assert_eq!(status, 422, "{key}: {answer}");
        let told = answer["errors"].as_array().unwrap();
        let told = told.iter().find(|error| error["path"] == key);
        let message = told.unwrap_or_else(|| panic!("{key}: {answer}"))["message"].as_str();
        assert!(
            message.unwrap().contains("read at start only"),
            "{key}: {answer}"
        );
    }
    assert_eq!(generation(&gateway), 1);
    gateway.configure(START.replace("workers: 2", "workers: 3, backlog: 5"));
    let (_, answer) = reload(&gateway);
    let told = answer["errors"].as_array().unwrap();
    let told: Vec<_> = told.iter().map(|error| &error["path"]).collect();
    assert_eq!(told, ["server.workers", "server.backlog"], "each of them");
    let output = gateway.cli(&["config", "reload"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("server.workers") && text.contains("server.backlog"),
        "{text}"
    );
    reloaded(&gateway, &format!("{START}{added}"));
    assert_eq!(
        generation(&gateway),
        2,
        "what is not read at start only is taken over"
    );
}

// OPS-102
#[test]
fn files_that_were_moved_away_are_opened_again_by_a_signal() {
    let origin = Origin::plain();
    let gateway = gateway(before(&origin, &free("GET /x")))
        .set("logging.output", "log")
        .start();
    let file = |name: &str| gateway.folder().join(name);
    let came = |name: &str, count: usize| {
        eventually(name, || {
            let text = fs::read_to_string(file(name)).ok()?;
            let lines = text.matches("\"status\":200").count();
            assert!(lines <= count, "{name}: {text}");
            (lines == count).then_some(())
        });
    };
    let call = || assert_eq!(gateway.call(&head("GET /x", "")).status, 200);
    call();
    came("log", 1);
    fs::rename(file("log"), file("log.1")).unwrap();
    // Whoever still has the old one writes there.
    call();
    came("log.1", 2);
    for (signal, old) in [(Signal::USR1, "log.2"), (Signal::HUP, "log.3")] {
        gateway.signal(signal);
        call();
        // A signal is taken a moment after it was sent: what came before it is in the old file.
        eventually("the new file", || {
            call();
            file("log").exists().then_some(())
        });
        let mode = fs::metadata(file("log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::rename(file("log"), file(old)).unwrap();
    }
}
