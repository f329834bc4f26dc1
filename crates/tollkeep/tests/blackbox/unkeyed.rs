//! Whatever way a path or a method is written, nobody without a key gets anything by it.

use crate::callers::models;
use crate::fixture::Dice;
use crate::openapi::{document, operations};
use tollkeep_testkit::{Client, Gateway, Origin};

/// Ways to write a path that somebody in between, or a careless router, may take for another one.
fn written(path: &str, dice: &mut Dice) -> String {
    let at = |dice: &mut Dice| usize::try_from(dice.roll()).unwrap_or(0) % path.len();
    let (place, other) = (at(dice), at(dice));
    let (head, tail) = path.split_at(place);
    let coded = |text: &str| {
        text.bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect::<String>()
    };
    let one: String = tail.chars().take(1).collect();
    let rest: String = tail.chars().skip(1).collect();
    match dice.roll() % 24 {
        0 => path.to_uppercase(),
        1 => format!("{head}{}{rest}", one.to_uppercase()),
        2 => format!("{head}{}{rest}", coded(&one)),
        3 => format!("{head}%25{}", tail.trim_start_matches('/')),
        4 => format!("{head}/{tail}"),
        5 => format!("{head}/.{tail}"),
        6 => format!("{head}/x/..{tail}"),
        7 => format!("{head}/%2e%2e/{tail}"),
        8 => format!("{path}/"),
        9 => format!("{path}/."),
        10 => format!("{path};x=y"),
        11 => format!("{path}%00"),
        12 => format!("{path}%20"),
        13 => format!("{path}.json"),
        14 => format!("{path}?key=mgt-x&token=mgt-x&access_token=mgt-x"),
        15 => format!("{path}#x"),
        16 => format!("/health/..{path}"),
        17 => format!("/live/../..{path}"),
        18 => format!("/api/v1/openapi.json/..{path}"),
        19 => format!("/api/v1/openapi.json{path}"),
        20 => format!("http://127.0.0.1{path}"),
        21 => format!("{head}\\{tail}"),
        22 => format!("{}{}", path.get(..other).unwrap_or("/x"), path),
        _ => path.to_owned(),
    }
}

const FIELDS: [&str; 10] = [
    "",
    "x-http-method-override: GET\r\n",
    "x-original-url: /health\r\n",
    "x-rewrite-url: /health\r\n",
    "authorization: Bearer\r\n",
    "authorization: Bearer null\r\n",
    "authorization: Basic Og==\r\n",
    "x-management-key: undefined\r\n",
    "cookie: tollkeep_session=csn-x\r\n",
    "x-forwarded-for: 127.0.0.1\r\n",
];

const METHODS: [&str; 12] = [
    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "get", "Post", "PROPFIND",
    "GETX",
];

/// A connection from an address that has not failed so often yet that it is locked out.
fn anew(gateway: &Gateway, tried: u64) -> Client {
    let [.., third, fourth] = (1 + tried / 500).to_be_bytes();
    Client::connect_from([127, 0, third, fourth].into(), gateway.management())
}

fn attack(gateway: &Gateway, variants_of_each: u64) -> u64 {
    let mut tried = 0;
    let mut client = anew(gateway, 0);
    let mut dice = Dice::new(0x0dd5_eed5);
    for operation in operations(&document(gateway)) {
        for variant in 0..variants_of_each {
            let path = operation.path.replace(['{', '}'], "");
            let path = written(&path, &mut dice);
            let rolled = |from: &[&'static str], dice: &mut Dice| {
                from[usize::try_from(dice.roll()).unwrap_or(0) % from.len()]
            };
            let method = match variant % 3 {
                0 => rolled(&METHODS, &mut dice).to_owned(),
                _ => operation.method.clone(),
            };
            let fields = rolled(&FIELDS, &mut dice);
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: {}\r\n{fields}content-length: 0\r\n\r\n",
                gateway.management()
            );
            assert!(client.send(request.as_bytes()));
            let head_only = method == "HEAD";
            let answer = client
                .answer_within(tollkeep_testkit::PATIENCE, head_only)
                .unwrap();
            tried += 1;
            // The description of the API is for anybody on this machine, and is no secret.
            let is_open = answer.text().contains("\"openapi\":\"3.1.0\"");
            let is_probe = ["/health", "/healthz", "/live", "/ready"].contains(&&*path);
            let is_nothing = matches!(answer.status, 400 | 401 | 404 | 405 | 421);
            // Whoever signs in has no key yet, and is told what a login wants.
            let is_login = operation.path == "/api/v1/session" && answer.status == 422;
            let shown = || format!("{request}{} {}", answer.status, answer.text());
            assert!(is_nothing || is_open || is_probe || is_login, "{}", shown());
            if answer.closes() || answer.status == 400 || tried % 200 == 0 {
                client = anew(gateway, tried);
            }
        }
    }
    tried
}

fn gateway() -> Gateway {
    models(&Origin::plain())
        .set("management.lockout.failures", "1000")
        .set("management.lockout.window", "1s")
        .start()
}

// ID-54 ID-106
#[test]
fn no_way_to_write_a_path_or_method_reaches_anything_without_a_key() {
    let tried = attack(&gateway(), 100);
    assert!(tried >= 5_000, "{tried}");
}

// ID-54 ID-106
#[test]
#[ignore = "the long form: 5 000 ways of each operation"]
fn no_way_to_write_a_path_or_method_reaches_anything_without_a_key_at_length() {
    attack(&gateway(), 5_000);
}
