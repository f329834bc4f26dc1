//! `tollkeep import`, as somebody uses it who moves.

use crate::fixture::TOLLKEEP;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const THEIRS: &str = r#"
wallets: { base-sepolia: "0x1111111111111111111111111111111111111111" }
accepts: [{ asset: USDC, network: base-sepolia }]
facilitator: mock
upstreams:
  dummy: { url: "http://localhost:4000", headers: { authorization: "Bearer ${DUMMY_KEY}" } }
routes:
  "GET /weather": { upstream: dummy, path: "/weather", price: "$0.01" }
  "POST /chat":
    upstream: dummy
    match: [{ where: { body.model: "opus*" }, price: "$0.075" }]
    fallback: "$0.015"
"#;

fn run(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(TOLLKEEP);
    let command = command.args(arguments).current_dir(folder).env_clear();
    command.envs(env.iter().copied()).output().unwrap()
}

fn told(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

// PAY-10 OPS-30
#[test]
fn a_tollbooth_becomes_a_file_that_is_valid_and_prints_its_prices() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("theirs.yaml"), THEIRS).unwrap();
    let import = ["import", "--from", "tollbooth", "theirs.yaml"];
    let printed = run(folder, &import, &[]);
    assert_eq!(printed.status.code(), Some(0), "{}", told(&printed.stderr));
    let text = told(&printed.stdout);
    assert!(
        text.contains("price: \"$0.001\"  # tollbooth's own default"),
        "{text}"
    );
    let said = told(&printed.stderr);
    assert!(
        said.contains("needs you: DUMMY_KEY: is not set in the environment"),
        "{said}"
    );
    assert!(said.contains("changed: upstreams.dummy.url: "), "{said}");

    let written = run(
        folder,
        &[&import[..], &["--out", "tollkeep.yaml"]].concat(),
        &[],
    );
    assert_eq!(written.status.code(), Some(0), "{}", told(&written.stderr));
    let table = told(&written.stdout);
    for part in [
        "GET /weather",
        "$0.01",
        "10000 USDC on eip155:84532",
        "$0.075",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert_eq!(
        fs::read_to_string(folder.join("tollkeep.yaml")).unwrap(),
        text
    );
    let valid = run(
        folder,
        &["validate", "tollkeep.yaml"],
        &[("DUMMY_KEY", "k-1")],
    );
    assert_eq!(valid.status.code(), Some(0), "{}", told(&valid.stderr));
    assert!(told(&valid.stdout).contains("GET /weather"));
    let warned = told(&valid.stderr);
    assert!(
        warned.contains("takes payments that move no money"),
        "{warned}"
    );

    // What is there is left alone.
    let again = run(
        folder,
        &[&import[..], &["--out", "tollkeep.yaml"]].concat(),
        &[],
    );
    assert_eq!(again.status.code(), Some(6), "{}", told(&again.stderr));
    let json = run(folder, &[&import[..], &["--json"]].concat(), &[]);
    let notes: serde_json::Value = serde_json::from_slice(&json.stderr).unwrap();
    assert_eq!(notes["valid"], true);
    assert!(notes["notes"].as_array().unwrap().len() >= 2);
}

// OPS-30
#[test]
fn what_can_not_be_had_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let code = THEIRS.replace("price: \"$0.01\"", "price: { fn: ./price.ts }");
    fs::write(folder.join("code.yaml"), code).unwrap();
    let wrong = THEIRS.replace(
        "0x1111111111111111111111111111111111111111",
        "0xYourWalletAddress",
    );
    fs::write(folder.join("wrong.yaml"), wrong).unwrap();
    for (file, problem, is_written) in [
        (
            "code.yaml",
            ": routes.\"GET /weather\".price: is code",
            false,
        ),
        ("none.yaml", "can't read it", false),
        (".", "is not a file", false),
        ("wrong.yaml", "wallets.base-sepolia: ", true),
    ] {
        let out = format!("{}.out", file.trim_matches('.'));
        let arguments = ["import", "--from", "tollbooth", file, "--out", &out];
        let output = run(folder, &arguments, &[]);
        let said = told(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{file}: {said}");
        assert!(said.contains(problem), "{file}: {said}");
        assert_eq!(folder.join(&out).exists(), is_written, "{file}");
    }
    let other = run(folder, &["import", "--from", "elsewhere", "code.yaml"], &[]);
    assert_eq!(other.status.code(), Some(2));
}
