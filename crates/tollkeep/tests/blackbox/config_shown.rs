//! What settings a running gateway uses, as operators are shown them.

use crate::callers::{PROVIDER_KEY, models};
use crate::operators::{ask, code, key};
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, MANAGEMENT_KEY, Origin};

const PATH: &str = "/v0/management/config";

fn read(gateway: &Gateway, path: &str) -> Value {
    let (status, shown) = gateway.api("GET", path, None);
    assert_eq!(status, 200, "{shown}");
    shown
}

// ID-100 ID-106
#[test]
fn settings_in_force_are_shown_without_their_secrets() {
    let gateway = models(&Origin::plain()).start();
    let shown = read(&gateway, "/api/v1/config");
    assert_eq!(
        (&shown["source"], &shown["revision"]),
        (&json!("file"), &json!(1))
    );
    let file = gateway.config_file().display().to_string();
    assert!(file.ends_with(shown["path"].as_str().unwrap()) || shown["path"] == json!(file));
    let provider = &shown["values"]["providers"]["openai"];
    assert_eq!(provider["models"], json!(["gpt-4o", "gpt-4o-mini", "o3"]));
    assert_eq!(shown["origins"]["providers.openai.models"], "file");
    assert_eq!(
        shown["values"]["server"]["backlog"],
        Value::Null,
        "nobody wrote it"
    );
    let all = read(&gateway, "/api/v1/config?defaults=true");
    assert_eq!(all["values"]["server"]["backlog"], 4096);
    assert_eq!(all["origins"]["server.backlog"], "default");
    assert_eq!(all["hash"], shown["hash"], "of all of them");
    assert_eq!(read(&gateway, PATH), shown["values"]);
    let start = format!("GET {PATH}.yaml");
    let answer = ask(&gateway, MANAGEMENT_KEY, &start, None);
    assert_eq!(answer.field("content-type"), Some("application/yaml"));
    let yaml = answer.text();
    assert!(
        yaml.contains("providers:\n") && yaml.contains("    models:\n"),
        "{yaml}"
    );
    for text in [shown.to_string(), all.to_string(), yaml] {
        assert!(
            !text.contains(PROVIDER_KEY) && !text.contains(MANAGEMENT_KEY),
            "{text}"
        );
        assert!(
            text.contains("PROVIDER_KEY") || text.contains("‹set›"),
            "{text}"
        );
    }
}

// ID-100 ID-106
#[test]
fn what_is_shown_follows_a_reload_and_is_written_in_the_file_alone() {
    let gateway = models(&Origin::plain()).start();
    let before = read(&gateway, "/api/v1/config");
    let text = std::fs::read_to_string(gateway.config_file()).unwrap();
    gateway.configure(text.replace("gpt-4o-mini, o3", "gpt-4o-mini"));
    let (status, told) = gateway.api("POST", "/api/v1/config/reload", Some(&json!({})));
    assert_eq!(status, 200, "{told}");
    let after = read(&gateway, "/api/v1/config");
    assert!(after["revision"].as_u64() > before["revision"].as_u64());
    assert_ne!(after["hash"], before["hash"]);
    let models = &after["values"]["providers"]["openai"]["models"];
    assert_eq!(models, &json!(["gpt-4o", "gpt-4o-mini"]));
    let start = format!("PUT {PATH}.yaml");
    let refused = ask(&gateway, MANAGEMENT_KEY, &start, Some(&json!({})));
    assert_eq!(refused.status, 405, "{}", refused.text());
    assert_eq!(refused.field("allow"), Some("GET, HEAD"));
    assert!(
        refused.text().contains("config/reload"),
        "{}",
        refused.text()
    );
    let bound = json!({ "name": "k", "role": "tenant-admin", "tenant_id": "default" });
    let (_, bound) = key(&gateway, &bound);
    let refused = ask(&gateway, &bound, &format!("GET {PATH}"), None);
    assert_eq!(
        (refused.status, code(&refused)),
        (403, "forbidden".to_owned())
    );
}

// ID-110
#[test]
fn the_command_prints_them_as_a_file_or_as_json() {
    let gateway = models(&Origin::plain()).start();
    let table = gateway.cli(&["config", "get", "--output", "table"]);
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(
        text.starts_with("# file: ") && text.contains("\nproviders:\n"),
        "{text}"
    );
    let json = gateway.cli(&["config", "get", "--json"]);
    let shown: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(shown["source"], "file");
}
