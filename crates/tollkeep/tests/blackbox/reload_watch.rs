//! A changed file is taken over by itself: however it changed, when it is whole, and only then.

use crate::fixture::{before, free, gateway};
use crate::reload::{events, generation, reload, status_of};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;
use tollkeep_testkit::{Gateway, Origin, eventually, wait_until};

/// Longer than a changed file is waited for, several times over.
const A_WHILE: Duration = Duration::from_millis(1_200);

/// Whether other settings are taken over within a while.
fn taken_over(gateway: &Gateway, before: u64) -> bool {
    wait_until(A_WHILE, || (generation(gateway) != before).then_some(())).is_some()
}

fn awaits(gateway: &Gateway, target: &str) {
    eventually(target, || (status_of(gateway, target) == 200).then_some(()));
}

/// The layout of a mounted ConfigMap: the file is a link through a link to a folder.
fn mount(folder: &Path, version: &str, config: &str) {
    let data = folder.join(format!("..{version}"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("tollkeep.yaml"), config).unwrap();
    let (link, new) = (folder.join("..data"), folder.join("..data_tmp"));
    symlink(format!("..{version}"), &new).unwrap();
    fs::rename(new, link).unwrap();
}

// EDGE-135 OPS-8
#[test]
fn a_file_is_followed_however_it_is_exchanged() {
    let origin = Origin::plain();
    let config = |target: &str| before(&origin, &free(&format!("GET {target}")));
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), "one", &config("/one"));
    symlink("..data/tollkeep.yaml", folder.path().join("tollkeep.yaml")).unwrap();
    let gateway = gateway(config("/one")).folder(folder.path()).start();
    awaits(&gateway, "/one");
    mount(folder.path(), "two", &config("/two"));
    awaits(&gateway, "/two");
    // What the link leads to, written in place.
    fs::write(folder.path().join("..data/tollkeep.yaml"), config("/three")).unwrap();
    awaits(&gateway, "/three");
    // A file in the place of the link.
    gateway.configure(config("/four"));
    awaits(&gateway, "/four");
    fs::write(gateway.config_file(), config("/five")).unwrap();
    awaits(&gateway, "/five");
    // As some editors do it: away with the old one first.
    fs::rename(gateway.config_file(), folder.path().join("backup")).unwrap();
    fs::write(gateway.config_file(), config("/six")).unwrap();
    awaits(&gateway, "/six");
    assert_eq!(status_of(&gateway, "/five"), 404);
    // What is served by new settings is told of a moment later.
    let told = eventually("five reloads", || {
        let told = events(&gateway, "config.reload");
        (told.len() >= 5).then_some(told)
    });
    let by_file = told
        .iter()
        .filter(|event| event["details"]["kind"] == "file");
    assert_eq!((by_file.count(), told.len()), (5, 5), "each once: {told:?}");
    assert_eq!(generation(&gateway), 6);
}

// EDGE-135 OPS-8
#[test]
fn a_file_that_is_being_written_is_not_read() {
    let origin = Origin::plain();
    let whole = before(&origin, &[free("GET /old"), free("GET /new")].concat());
    // Good settings by themselves, without the route.
    let (half, rest) = whole.split_at(whole.find("routes:").unwrap());
    let gateway = gateway(before(&origin, &free("GET /old"))).start();
    let mut file = File::create(gateway.config_file()).unwrap();
    assert!(!taken_over(&gateway, 1), "an empty file, to be written");
    file.write_all(half.as_bytes()).unwrap();
    assert!(
        !taken_over(&gateway, 1),
        "half a file, although it is one that could be read"
    );
    let (status, answer) = reload(&gateway);
    assert_eq!(status, 422, "nor when somebody asks for it: {answer}");
    assert!(answer.to_string().contains("is being written"), "{answer}");
    assert_eq!(
        (status_of(&gateway, "/old"), generation(&gateway)),
        (200, 1)
    );
    file.write_all(rest.as_bytes()).unwrap();
    drop(file);
    awaits(&gateway, "/new");
    eventually("the generation", || {
        (generation(&gateway) == 2).then_some(())
    });
    let refused = events(&gateway, "config.reject");
    assert_eq!(refused.len(), 1, "the one that was asked for");
}

// EDGE-135 OPS-8
#[test]
fn what_is_left_broken_is_refused_once_and_what_is_mended_taken() {
    let origin = Origin::plain();
    let good = |target: &str| before(&origin, &free(&format!("GET {target}")));
    let gateway = gateway(good("/old")).start();
    let broken: [&dyn Fn(); 4] = [
        &|| fs::write(gateway.config_file(), good("/new").split_at(60).0).unwrap(),
        &|| fs::write(gateway.config_file(), "").unwrap(),
        &|| fs::remove_file(gateway.config_file()).unwrap(),
        &|| gateway.configure(format!("{}banner: x\n", good("/new"))),
    ];
    for (count, break_it) in (1..).zip(broken) {
        break_it();
        let told = eventually("the refusal", || {
            let told = events(&gateway, "config.reject");
            (told.len() >= count).then_some(told)
        });
        assert_eq!(told.last().unwrap()["details"]["kind"], "file");
        assert_eq!(
            (status_of(&gateway, "/old"), status_of(&gateway, "/new")),
            (200, 404)
        );
    }
    assert!(!taken_over(&gateway, 1));
    assert_eq!(
        events(&gateway, "config.reject").len(),
        4,
        "none was tried again"
    );
    gateway.configure(good("/new"));
    awaits(&gateway, "/new");
    assert_eq!(status_of(&gateway, "/old"), 404);
}

// EDGE-135 OPS-8
#[test]
fn a_secret_in_a_file_of_its_own_is_followed_too() {
    let origin = Origin::plain();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let secret = |text: &str| {
        let new = folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, &file).unwrap();
    };
    secret("first");
    let header = format!(
        "headers: {{ x-api-key: \"${{file:{}}}\" }}, allow_private",
        file.display()
    );
    let config = before(&origin, &free("GET /x")).replace("allow_private", &header);
    let gateway = gateway(config).start();
    secret("second");
    eventually("the second secret", || {
        assert_eq!(status_of(&gateway, "/x"), 200);
        (origin.last().field("x-api-key") == Some("second")).then_some(())
    });
}

// EDGE-135 OPS-8
#[test]
fn whoever_does_not_want_that_switches_it_off() {
    let origin = Origin::plain();
    let config = |target: &str, watch: bool| {
        let routes = before(&origin, &free(&format!("GET {target}")));
        format!("reload: {{ watch: {watch} }}\n{routes}")
    };
    let gateway = gateway(config("/one", false)).start();
    gateway.configure(config("/two", true));
    assert!(!taken_over(&gateway, 1));
    assert_eq!(reload(&gateway).0, 200);
    assert_eq!(status_of(&gateway, "/two"), 200);
    gateway.configure(config("/three", false));
    awaits(&gateway, "/three");
    gateway.configure(config("/four", true));
    assert!(
        !taken_over(&gateway, 3),
        "switched off by what was taken over"
    );
}
