//! `config show`.

use crate::support::Case;
use tollkeep_config::{Origin, ShowOptions, show};

const ALL: ShowOptions = ShowOptions {
    origin: true,
    defaults: true,
    json: false,
};

fn case() -> Case {
    let file = "server: {port: '${P}', backlog: 7}\nauth: {encryption: {key: literal-encryption-key}}\nproviders:\n  openai:\n    credentials:\n      - {name: main, secret: '${KEY}'}\n      - {secret: sk-literal}\n    headers: {x-secret: sk-header, x-plain: seen, x-ref: '${REF}'}\n";
    Case::yaml(file)
        .env(&[
            ("P", "9001"),
            ("KEY", "sk-from-env"),
            ("REF", "sk-from-ref"),
            ("TOLLKEEP_MANAGEMENT_KEY", "mgt-from-env"),
            ("TOLLKEEP_LOGGING__LEVEL", "warn"),
        ])
        .set("server.drain.timeout_ms=1s")
}

// OPS-7
#[test]
fn no_secret_is_ever_shown() {
    let loaded = case().loaded();
    for json in [false, true] {
        let text = show(&loaded, ShowOptions { json, ..ALL });
        for secret in ["sk-", "literal-encryption-key", "mgt-from-env", "9001"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    let debugged = format!("{:?}", loaded.settings);
    for secret in ["sk-", "literal-encryption-key", "mgt-from-env"] {
        assert!(!debugged.contains(secret), "{secret} in {debugged}");
    }
}

// OPS-7 OPS-2
#[test]
fn what_was_written_is_shown_with_its_origin() {
    let text = show(
        &case().loaded(),
        ShowOptions {
            origin: true,
            ..ShowOptions::default()
        },
    );
    assert_eq!(
        text,
        "server.port: \"${P}\"  # file\n\
         server.backlog: 7  # file\n\
         server.drain.timeout_ms: \"1s\"  # flag\n\
         management.key: \"‹set›\"  # environment\n\
         auth.encryption.key: \"‹set›\"  # file\n\
         providers.openai.credentials[0].name: \"main\"  # file\n\
         providers.openai.credentials[0].secret: \"‹set›\"  # file\n\
         providers.openai.credentials[1].secret: \"‹set›\"  # file\n\
         providers.openai.headers.x-secret: \"‹set›\"  # file\n\
         providers.openai.headers.x-plain: \"seen\"  # file\n\
         providers.openai.headers.x-ref: \"${REF}\"  # file\n\
         logging.level: \"warn\"  # environment\n"
    );
}

// OPS-7
#[test]
fn defaults_and_json_are_options() {
    let loaded = case().loaded();
    let text = show(&loaded, ALL);
    assert!(text.contains("metrics.port: 9090  # default\n"), "{text}");
    assert!(
        text.contains("auth.token_default_ttl: \"30d\"  # default\n"),
        "{text}"
    );
    let json = show(
        &loaded,
        ShowOptions {
            json: true,
            ..ShowOptions::default()
        },
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json[1],
        serde_json::json!({"key": "server.backlog", "value": 7})
    );
    assert_eq!(loaded.origins.of("server.port"), Some(Origin::File));
    assert_eq!(loaded.origins.of("metrics.port"), Some(Origin::Default));
    assert_eq!(loaded.origins.of("metrics.prot"), None);
}
