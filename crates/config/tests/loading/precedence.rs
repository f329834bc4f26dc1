//! Default, file, other gateways' names, `TOLLKEEP_*`, `--set`: each beats those before it.

use crate::support::Case;
use std::net::IpAddr;
use tollkeep_config::Origin;

// OPS-2
#[test]
fn each_layer_beats_those_below_it() {
    const FILE: &str = "server: {port: 1}\n";
    const SEED: (&str, &str) = ("PORT", "2");
    const OWN: (&str, &str) = ("TOLLKEEP_SERVER__PORT", "3");
    const FLAG: &str = "server.port=4";
    for layers in 0_u8..16 {
        let has = |layer: u8| layers & (1 << layer) != 0;
        let mut case = if has(0) {
            Case::yaml(FILE)
        } else {
            Case::bare()
        };
        let env: Vec<_> = [(1, SEED), (2, OWN)]
            .into_iter()
            .filter_map(|(layer, pair)| has(layer).then_some(pair))
            .collect();
        case = case.env(&env);
        if has(3) {
            case = case.set(FLAG);
        }
        let highest = (0..4).rev().find(|layer| has(*layer));
        let (port, origin) = match highest {
            None => (8317, Origin::Default),
            Some(0) => (1, Origin::File),
            Some(1) => (2, Origin::Environment),
            Some(2) => (3, Origin::Environment),
            Some(_) => (4, Origin::Flag),
        };
        let loaded = case.loaded();
        assert_eq!(
            loaded.settings.server.listen[0].addr.port(),
            port,
            "layers {layers:04b}"
        );
        assert_eq!(
            loaded.origins.of("server.port"),
            Some(origin),
            "layers {layers:04b}"
        );
    }
}

// OPS-2
#[test]
fn the_last_flag_wins() {
    let case = Case::bare().set("server.port=1").set("server.port=2");
    assert_eq!(case.settings().server.listen[0].addr.port(), 2);
}

// OPS-2
#[test]
fn every_kind_of_value_can_be_set_from_outside() {
    let proxies = |text: &str| {
        let settings = Case::bare()
            .env(&[("TOLLKEEP_SERVER__TRUSTED_PROXIES", text)])
            .settings();
        let nets = settings.server.trusted_proxies.iter();
        nets.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        proxies("10.0.0.0/8, 192.168.1.1"),
        ["10.0.0.0/8", "192.168.1.1/32"]
    );
    assert_eq!(proxies("[\"10.0.0.0/8\"]"), ["10.0.0.0/8"]);
    assert_eq!(proxies(""), Vec::<String>::new());

    let settings = Case::bare()
        .set("audit.enabled=false")
        .set("audit.mask_ip=off")
        .set("auth.failure_floor=50ms")
        .set("server.timeouts.header_ms=2500")
        .set("server.limits.request_body_bytes_max=2MiB")
        .set("server.workers=3")
        .set("egress.allow_ports=25,8443")
        .set("llm.surfaces=chat,anthropic")
        .settings();
    assert!(!settings.audit.enabled);
    assert_eq!(settings.auth.failure_floor.as_millis(), 50);
    assert_eq!(settings.server.timeouts.header.as_millis(), 2_500);
    assert_eq!(settings.server.limits.request_body_bytes_max, 2 << 20);
    assert_eq!(settings.server.workers.map(Into::<usize>::into), Some(3));
    assert_eq!(settings.egress.allow_ports, [25, 8443]);
    assert_eq!(
        format!("{:?}", settings.llm.surfaces),
        "Some([Chat, Anthropic])"
    );
}

// OPS-2
#[test]
fn chosen_names_are_matched_or_made() {
    let case = Case::yaml(
        "providers:\n  open-router: {kind: openrouter, credentials: [{secret: none}]}\n",
    )
    .env(&[
        ("TOLLKEEP_PROVIDERS__OPEN_ROUTER__PRIORITY", "7"),
        (
            "TOLLKEEP_PROVIDERS__CLAUDE__CREDENTIALS",
            "[{\"secret\": \"sk-ant-1\"}]",
        ),
        ("TOLLKEEP_UPSTREAMS__API__URL", "https://api.example"),
        ("TOLLKEEP_UPSTREAMS__API__TIMEOUTS__IDLE_MS", "9000"),
    ])
    .set("routes.\"GET /a.b\".upstream=api")
    .set("routes.\"GET /a.b\".access=free");
    let settings = case.settings();
    let names: Vec<_> = settings
        .providers
        .iter()
        .map(|provider| provider.name.as_str())
        .collect();
    assert_eq!(names, ["open-router", "claude"]);
    assert_eq!(settings.providers[0].priority, 7);
    assert_eq!(settings.providers[1].credentials.len(), 1);
    assert_eq!(settings.upstreams[0].timeouts.idle.as_secs(), 9);
    assert_eq!(settings.routes[0].name(), "GET /a.b");
}

// OPS-2
#[test]
fn a_section_can_be_set_as_json_and_refined() {
    let settings = Case::bare()
        .env(&[(
            "TOLLKEEP_SERVER__LIMITS",
            "{\"connections_max\": 10, \"header_fields_max\": 20}",
        )])
        .set("server.limits.header_fields_max=30")
        .settings();
    assert_eq!(settings.server.limits.connections_max, 10);
    assert_eq!(settings.server.limits.header_fields_max, 30);
}

// OPS-2
#[test]
fn unknown_names_are_errors_with_the_name_meant() {
    for (name, env, want) in [
        (
            "near name",
            ("TOLLKEEP_SERVER__PROT", "1"),
            "TOLLKEEP_SERVER__PROT: is no known name; did you mean `TOLLKEEP_SERVER__PORT`?",
        ),
        (
            "one underscore",
            ("TOLLKEEP_SERVER_PORT", "1"),
            "TOLLKEEP_SERVER_PORT: is no known name; did you mean `TOLLKEEP_SERVER__PORT`?",
        ),
        (
            "later",
            ("TOLLKEEP_SERVER__BANNER", "true"),
            "TOLLKEEP_SERVER__BANNER: is not supported yet",
        ),
        (
            "nothing near",
            ("TOLLKEEP_ZEBRA", "1"),
            "TOLLKEEP_ZEBRA: is no known name",
        ),
        (
            "a file for what is no secret",
            ("TOLLKEEP_SERVER__PORT_FILE", "/x"),
            "TOLLKEEP_SERVER__PORT_FILE: is no known name: `TOLLKEEP_SERVER__PORT` is no secret, so it takes no file",
        ),
        (
            "a bad value",
            ("TOLLKEEP_SERVER__PORT", "x"),
            "TOLLKEEP_SERVER__PORT: server.port: want a whole number, not \"x\"",
        ),
        (
            "bad json",
            ("TOLLKEEP_SERVER__LIMITS", "{"),
            "TOLLKEEP_SERVER__LIMITS: not JSON: EOF while parsing an object",
        ),
    ] {
        assert_eq!(Case::bare().env(&[env]).errors(), want, "{name}");
    }
    for (set, want) in [
        (
            "server.prot=1",
            "--set: server.prot: is no known key; did you mean `server.port`?",
        ),
        (
            "server.port",
            "--set: want `key=value`, with a name that holds a dot in quotes",
        ),
        (
            "server.banner=x",
            "--set: server.banner: is not supported yet",
        ),
        (
            "server.port=x",
            "--set: server.port: want a whole number, not \"x\"",
        ),
        (
            "management.key=x",
            "--set: management.key: is no key of the file: set `TOLLKEEP_MANAGEMENT_KEY`",
        ),
    ] {
        assert_eq!(Case::bare().set(set).errors(), want, "{set}");
    }
}

// OPS-2 OPS-3
#[test]
fn short_names_and_their_files_set_secrets() {
    let case = Case::bare()
        .file("key", "mgt-from-file\n")
        .file("kek", "k".repeat(32));
    let (key, kek) = (case.path("key"), case.path("kek"));
    let settings = case
        .env(&[
            ("TOLLKEEP_MANAGEMENT_KEY_FILE", key.to_str().unwrap()),
            ("TOLLKEEP_ENCRYPTION_KEY_FILE", kek.to_str().unwrap()),
        ])
        .settings();
    assert_eq!(settings.management.key.unwrap().expose(), "mgt-from-file");
    assert_eq!(
        settings.auth.encryption_key.unwrap().expose(),
        "k".repeat(32)
    );

    let case = Case::bare().file("key", "a");
    let key = case.path("key");
    let errors = case
        .env(&[
            ("TOLLKEEP_MANAGEMENT_KEY", "b"),
            ("TOLLKEEP_MANAGEMENT_KEY_FILE", key.to_str().unwrap()),
        ])
        .errors();
    let line =
        "TOLLKEEP_MANAGEMENT_KEY_FILE: is set besides `TOLLKEEP_MANAGEMENT_KEY`; set one of them";
    assert!(errors.contains(line), "{errors}");
}

// OPS-3
#[test]
fn secrets_of_the_file_have_file_twins_too() {
    let case = Case::bare().file("kek", "k".repeat(32));
    let kek = case.path("kek");
    let case = case.env(&[("TOLLKEEP_AUTH__ENCRYPTION__KEY_FILE", kek.to_str().unwrap())]);
    let loaded = case.loaded();
    assert!(loaded.settings.auth.encryption_key.is_some());
    assert_eq!(
        loaded.origins.of("auth.encryption.key"),
        Some(Origin::Environment)
    );
}

#[test]
fn localhost_is_an_address() {
    let settings = Case::yaml("gateway: {hostname: localhost}\n").settings();
    assert_eq!(
        settings.server.listen[0].addr.ip(),
        IpAddr::from([127, 0, 0, 1])
    );
}

// OPS-2
#[test]
fn other_names_of_a_key_are_laid_over_too() {
    let file = "gateway: {hostname: 127.0.0.5, port: 1}\nupstreams: {a: {url: 'https://a.example', allowPrivate: true}}\n";
    let settings = Case::yaml(file)
        .env(&[
            ("TOLLKEEP_SERVER__HOST", "127.0.0.6"),
            ("TOLLKEEP_UPSTREAMS__A__ALLOW_PRIVATE", "10.0.0.0/8"),
        ])
        .set("gateway.port=2")
        .settings();
    assert_eq!(
        settings.server.listen[0].addr.ip(),
        IpAddr::from([127, 0, 0, 6])
    );
    assert_eq!(settings.server.listen[0].addr.port(), 2);
    assert_eq!(settings.upstreams[0].allow_private.len(), 1);
}

// OPS-2 AUD-80
#[test]
fn the_other_name_of_one_key_can_be_the_name_of_another() {
    let case = Case::yaml("server: {cors: {allowed_origins: [\"https://a.example\"]}}\n");
    let case = case.set("logging.rotation.max_age=5d");
    let settings = case.set("server.cors.max_age=60").settings();
    let day = std::time::Duration::from_secs(86_400);
    assert_eq!(settings.logging.rotation.max_age, 5 * day);
    let cors = settings.server.cors.unwrap();
    assert_eq!(cors.max_age, std::time::Duration::from_secs(60));
}
