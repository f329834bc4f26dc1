//! Routes that come from a document which is fetched.

use crate::fixture::{TOLLKEEP, gateway, head};
use serde_json::{Value, json};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use tollkeep_testkit::{Gateway, Origin, Step, with_fields};

/// What an origin tells of itself at `/openapi`.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<String>>);

impl Told {
    fn set(&self, text: impl Into<String>) {
        *self.0.lock().unwrap() = text.into();
    }

    fn origin(&self) -> Origin {
        let told = self.clone();
        Origin::start(move |request| -> Vec<Step> {
            if request.target == "/openapi" {
                let text = told.0.lock().unwrap().clone();
                return with_fields("content-type: text/plain\r\n", text.as_bytes());
            }
            let seen = json!({ "target": request.target });
            tollkeep_testkit::json(&seen)
        })
    }
}

fn document(paths: &Value) -> String {
    json!({ "openapi": "3.0.3", "servers": [{ "url": "https://evil.example" }], "paths": paths })
        .to_string()
}

fn config(origin: &Origin, more: &str) -> String {
    let url = origin.url();
    format!(
        "upstreams:\n  shop:\n    url: \"{url}\"\n    allow_private: [\"127.0.0.1/32\"]\n    \
         openapi: \"{url}/openapi\"\n    default_price: \"$0\"\n{more}"
    )
}

fn target(gateway: &Gateway, start: &str) -> (u16, Value) {
    let answer = gateway.call(&head(start, ""));
    let seen: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.status, seen["target"].clone())
}

// PAY-40
#[test]
fn a_document_is_fetched_at_the_start_and_its_last_good_copy_stays() {
    let told = Told::default();
    told.set(document(
        &json!({ "/items/{id}": { "get": {} }, "/odd/{a}.txt": { "get": {} } }),
    ));
    let origin = told.origin();
    let text = config(&origin, "    openapi_refresh: start\n");
    let mut shop = gateway(text.clone()).start();
    assert_eq!(target(&shop, "GET /shop/items/7"), (200, json!("/items/7")));
    assert_eq!(target(&shop, "GET /shop/items/a%2e%2eb").0, 200);
    assert_eq!(target(&shop, "GET /shop/odd/a.txt").0, 404);
    assert_eq!(target(&shop, "POST /shop/items/7").0, 405);
    assert_eq!(target(&shop, "GET /items/7").0, 404);

    // What is there at a later start is no document: the copy is used, and a reload reads it too.
    for broken in ["no document", "{\"openapi\": \"3.0.0\", \"paths\": {}}", ""] {
        told.set(broken);
        shop = shop.restart().unwrap();
        assert_eq!(target(&shop, "GET /shop/items/7").0, 200, "{broken}");
        let said = shop.stderr();
        assert!(said.contains("the last good copy is used"), "{said}");
        assert_eq!(shop.cli(&["config", "reload"]).status.code(), Some(0));
        assert_eq!(target(&shop, "GET /shop/items/7").0, 200, "{broken}");
    }

    // Without a copy nothing is served.
    let none = gateway(text).try_start();
    let said = none.err().unwrap().stderr;
    assert!(
        said.contains("upstreams.shop.openapi: was not fetched yet"),
        "{said}"
    );
}

fn import(folder: &std::path::Path, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(TOLLKEEP);
    let arguments = ["import", "--from", "openapi", "tollkeep.yaml"];
    let command = command.args(arguments).args(more).current_dir(folder);
    let Output {
        status,
        stdout,
        stderr,
    } = command.env_clear().output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

// PAY-40
#[test]
fn a_document_is_fetched_by_import_and_never_from_where_nobody_may_go() {
    let told = Told::default();
    told.set(document(&json!({ "/items/{id}": { "get": {} } })));
    let origin = told.origin();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let config = config(&origin, "");
    let write = |text: &str| std::fs::write(folder.join("tollkeep.yaml"), text).unwrap();
    write(&config);
    let (code, table, said) = import(folder, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("upstreams.shop.openapi: 1 operations"),
        "{said}"
    );
    assert!(table.contains("GET /shop/items/:id"), "{table}");
    let copy = folder.join("data/openapi/shop");
    let kept = std::fs::read_to_string(&copy).unwrap();

    // What can't be used replaces nothing.
    told.set("{\"swagger\": \"2.0\"}");
    let (code, _, said) = import(folder, &[]);
    assert_eq!(code, Some(7), "{said}");
    assert!(said.contains("Swagger 2"), "{said}");
    let (code, _, said) = import(folder, &["--json"]);
    let rows: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((code, &rows["valid"]), (Some(7), &json!(false)));
    let huge = format!(
        "{{\"openapi\": \"3.0.0\", \"x\": \"{}\"}}",
        "x".repeat(9 << 20)
    );
    told.set(huge);
    assert_eq!(import(folder, &[]).0, Some(7));
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), kept);

    // The same door as for all that is called.
    write(&config.replace("    allow_private: [\"127.0.0.1/32\"]\n", ""));
    let (code, _, said) = import(folder, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("upstreams.shop"), "{said}");
    write("upstreams: { a: { url: \"https://a.example\" } }\n");
    let (code, _, said) = import(folder, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("nothing to fetch"), "{said}");
}
