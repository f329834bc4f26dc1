//! `${…}`, literal secrets, env files.

use crate::support::Case;

fn provider(secret: &str) -> String {
    format!("providers:\n  openai:\n    credentials:\n      - secret: {secret}\n")
}

fn secret_of(case: &Case) -> String {
    let settings = case.settings();
    let secret = settings.providers[0].credentials[0].secret.as_ref();
    secret.unwrap().expose().to_owned()
}

// OPS-3
#[test]
fn references_are_filled_in_once() {
    for (name, text, want) in [
        ("name", "${KEY}", "sk-1"),
        ("inside text", "a-${KEY}-b", "a-sk-1-b"),
        ("two", "${KEY}${_B2}", "sk-12"),
        ("literal", "$${KEY}", "${KEY}"),
        ("literal and reference", "$${${KEY}", "${sk-1"),
        ("never nested", "${NESTED}", "${KEY}"),
        ("a lone dollar", "a$b", "a$b"),
        ("quoted", "\"${KEY}\"", "sk-1"),
    ] {
        let env = [("KEY", "sk-1"), ("_B2", "2"), ("NESTED", "${KEY}")];
        let case = Case::yaml(&provider(text)).env(&env);
        assert_eq!(secret_of(&case), want, "{name}");
    }
}

// OPS-3
#[test]
fn what_can_not_be_filled_in_is_told_with_its_key() {
    const KEY: &str = "providers.openai.credentials[0].secret";
    for (name, text, want) in [
        (
            "unset",
            "${NONE}",
            "the environment has no `NONE`, or it is empty",
        ),
        (
            "empty",
            "${EMPTY}",
            "the environment has no `EMPTY`, or it is empty",
        ),
        (
            "default in a secret",
            "${NONE:-x}",
            "a secret takes no default: write `${NONE}`",
        ),
        (
            "open",
            "${KEY",
            "has a `${` without `}`; a literal `${` is written `$${`",
        ),
        (
            "no name",
            "${params.x}",
            "has a `${…}` that is neither `${NAME}` nor `${file:/path}`; a literal `${` is written `$${`",
        ),
        ("relative file", "${file:key}", "`key` is no absolute path"),
        ("folder", "${file:/tmp}", "`/tmp` is not a file"),
        (
            "no file",
            "${file:/nowhere/key}",
            "can't read `/nowhere/key`: entity not found",
        ),
    ] {
        let case = Case::yaml(&provider(text)).env(&[("EMPTY", ""), ("KEY", "x")]);
        assert_eq!(
            case.errors(),
            format!("tollkeep.yaml:4:17: {KEY}: {want}"),
            "{name}"
        );
    }
}

// OPS-3
#[test]
fn other_values_may_have_defaults_and_be_numbers() {
    let file = "server:\n  port: ${PORT_X:-9000}\n  trusted_proxies: ['${NET}']\naudit: {enabled: '${AUDIT:-false}'}\n";
    let settings = Case::yaml(file).env(&[("NET", "10.0.0.0/8")]).settings();
    assert_eq!(settings.server.listen[0].addr.port(), 9_000);
    assert_eq!(settings.server.trusted_proxies.len(), 1);
    assert!(!settings.audit.enabled);
}

// OPS-3
#[test]
fn files_are_read_without_their_last_newline() {
    let case = Case::bare().file("key", "sk-file\n");
    let path = case.path("key");
    let case = case.file(
        "tollkeep.yaml",
        provider(&format!("${{file:{}}}", path.display())),
    );
    assert_eq!(secret_of(&case), "sk-file");
    assert_eq!(case.warnings(), "");
}

// OPS-3
#[test]
fn files_others_may_write_are_refused_and_read_told() {
    let at = |mode: u32| {
        let case = Case::bare().file_with_mode("key", "sk-file", mode);
        let path = case.path("key");
        case.file(
            "tollkeep.yaml",
            provider(&format!("${{file:{}}}", path.display())),
        )
    };
    assert!(
        at(0o620)
            .errors()
            .contains("may be written by group or others")
    );
    assert!(
        at(0o606)
            .errors()
            .contains("may be written by group or others")
    );
    assert!(at(0o644).warnings().contains("may be read by everybody"));
    assert_eq!(at(0o440).warnings(), "");
}

// OPS-3
#[test]
fn a_secret_file_has_a_bound() {
    let case = Case::bare().file("key", "x".repeat(64 * 1024 + 1));
    let path = case.path("key");
    let case = case.file(
        "tollkeep.yaml",
        provider(&format!("${{file:{}}}", path.display())),
    );
    assert!(case.errors().ends_with("is longer than 65536 bytes"));
}

// OPS-3
#[test]
fn interpolated_values_are_never_told() {
    let file = "server: {host: '${X}', port: '${X}', allowed_hosts: ['${X}']}\nupstreams: {a: {url: '${X}'}}\nlogging: {level: '${X}'}\n";
    let errors = Case::yaml(file).env(&[("X", "hunter two")]).errors();
    assert_eq!(errors.lines().count(), 5, "{errors}");
    assert!(!errors.contains("hunter"), "{errors}");
}

// ID-64
#[test]
fn the_two_spellings_of_one_guide_stand_for_each_other() {
    let file = "auth: {encryption: {key: \"${CLIPROXY_ENCRYPTION_KEY}\"}}\n";
    let key = "k".repeat(32);
    let case = Case::yaml(file).env(&[("CLIPRO_ENCRYPTION_KEY", &key)]);
    assert_eq!(case.settings().auth.encryption_key.unwrap().expose(), key);
    let told = "`${CLIPROXY_ENCRYPTION_KEY}` is not set; `CLIPRO_ENCRYPTION_KEY` is read instead";
    assert!(case.warnings().contains(told), "{}", case.warnings());
}

// OPS-4
#[test]
fn literal_secrets_warn_and_stop_production() {
    let key = "a1B2".repeat(8);
    let file = format!(
        "auth: {{encryption: {{key: {key}}}}}\n{}",
        provider("sk-real")
    );
    let warnings = Case::yaml(&file).warnings();
    assert_eq!(
        warnings,
        "tollkeep.yaml:1:26: auth.encryption.key: is a secret written out: use `${NAME}` or `${file:/path}`\n\
         tollkeep.yaml:5:17: providers.openai.credentials[0].secret: is a secret written out: use `${NAME}` or `${file:/path}`"
    );
    let production = Case::yaml(&format!("environment: production\n{file}"));
    assert_eq!(production.errors().lines().count(), 2);
    let lifted =
        format!("environment: production\nconfig: {{insecure_literal_secrets: true}}\n{file}");
    assert_eq!(Case::yaml(&lifted).warnings().lines().count(), 3);
}

// OPS-4
#[test]
fn a_secret_header_is_a_secret() {
    let file = "upstreams:\n  a:\n    url: https://a.example\n    headers: {x-api-key: abc, accept-language: de, x-tag: '${TAG}'}\n";
    let case = Case::yaml(file).env(&[("TAG", "t")]);
    assert_eq!(
        case.warnings(),
        "tollkeep.yaml:4:26: upstreams.a.headers.x-api-key: is a secret written out: use `${NAME}` or `${file:/path}`"
    );
    let headers = format!("{:?}", case.settings().upstreams[0].headers.set);
    assert_eq!(
        headers,
        "[(\"x-api-key\", Secret(Secret(…))), (\"accept-language\", Text(\"de\")), (\"x-tag\", Secret(Secret(…)))]"
    );
}

// OPS-4
#[test]
fn dot_env_is_for_development_and_never_overrides() {
    let case = Case::yaml(&provider("${KEY}")).file(".env", "KEY=from-file\n");
    assert_eq!(secret_of(&case), "from-file");
    let case = case.env(&[("KEY", "from-shell")]);
    assert_eq!(secret_of(&case), "from-shell");

    let in_production = Case::yaml(&provider("${KEY}"))
        .file(".env", "KEY=from-file\n")
        .set("environment=production")
        .set("vault.allow_local_kek=true");
    assert!(in_production.errors().contains("has no `KEY`"));

    let hidden = Case::yaml(&format!("environment: '${{E}}'\n{}", provider("${KEY}")))
        .file(".env", "KEY=from-file\nE=development\n");
    assert!(hidden.errors().contains("has no `KEY`"));

    let ends_it = Case::yaml(&provider("${KEY}"))
        .file(".env", "KEY=x\nTOLLKEEP_ENVIRONMENT=production\n")
        .set("vault.allow_local_kek=true");
    assert!(
        ends_it
            .errors()
            .contains(".env: is read in development only and can't end it")
    );
}

// OPS-4
#[test]
fn an_env_file_works_anywhere() {
    let case = Case::yaml(&provider("${KEY}"))
        .file(
            "prod.env",
            "export KEY='from-file'\nTOLLKEEP_SERVER__PORT=9\n",
        )
        .env_file("prod.env")
        .set("environment=production")
        .set("vault.allow_local_kek=true");
    assert_eq!(secret_of(&case), "from-file");
    assert_eq!(case.settings().server.listen[0].addr.port(), 9);
    let missing = Case::bare().env_file("none.env").errors();
    assert_eq!(missing, "none.env: can't read it: entity not found");
}

// OPS-4
#[test]
fn an_env_file_others_can_read_is_told() {
    let wide = Case::bare().file_with_mode(".env", "A=1\n", 0o644);
    assert!(
        wide.warnings()
            .contains(".env: may be read by others: chmod 600")
    );
    let production = Case::bare()
        .file_with_mode("prod.env", "A=1\n", 0o640)
        .env_file("prod.env")
        .set("environment=production")
        .set("vault.allow_local_kek=true");
    assert!(
        production
            .errors()
            .contains("prod.env: may be read by others")
    );
}

#[test]
fn an_env_file_can_not_name_the_file_it_was_found_beside() {
    let case = Case::bare().file(".env", "TOLLKEEP_CONFIG=/x.yaml\n");
    assert_eq!(case.warnings(), ".env: TOLLKEEP_CONFIG has no effect here");
}
