//! The folder: what is kept, what is served, and what damage does.

use super::*;
use crate::acme::ChallengeKind;
use rcgen::{CertificateParams, KeyPair};
use tollkeep_policy::egress::{Giver, Purpose, parse_url};

const NOW: WallMillis = WallMillis(1_795_342_530_000);

fn url(text: &str) -> EgressUrl {
    parse_url(text, Purpose::Acme, Giver::Operator).unwrap()
}

fn names(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn cache(folder: &Path, domains: &str) -> Cache {
    let cache = Cache::new(
        folder,
        &url("https://ca.example/directory"),
        &names(domains),
    );
    cache.prepare().unwrap();
    cache
}

/// A key and its certificate, valid for a very long time.
fn made(domains: &str) -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(names(domains)).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    format!("{}{}", key.serialize_pem(), certificate.pem())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

// EDGE-14
#[test]
fn what_is_kept_is_the_owners_alone_and_is_found_again() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("a/b");
    let cache = cache(&folder, "b.example a.example");
    assert_eq!(mode(&folder), 0o700);
    let domains = names("a.example b.example");
    assert!(cache.exact(&domains, NOW, false).is_none());
    cache
        .keep(&domains, &made("b.example a.example"), NOW)
        .unwrap();
    let state = State {
        failures: 3,
        window_ms: Some((1, 2)),
        ..State::default()
    };
    cache.keep_state(&state).unwrap();
    let entries: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert!(entries.iter().all(|entry| mode(&entry.path()) == 0o600));
    let again = self::cache(&folder, "a.example b.example");
    assert_eq!(again.state(), state);
    assert_eq!(again.exact(&domains, NOW, false).unwrap().names.len(), 2);
    let (served, faults) = again.served(&domains, NOW, false);
    assert_eq!((served.len(), faults), (1, Vec::new()));
    // Another authority, other names: nothing of it.
    let other = Cache::new(&folder, &url("https://staging.example/directory"), &domains);
    assert!(other.served(&domains, NOW, false).0.is_empty());
    let fewer = Cache::new(
        &folder,
        &url("https://ca.example/directory"),
        &names("a.example"),
    );
    assert!(fewer.exact(&names("a.example"), NOW, false).is_none());
    let (served, _) = fewer.served(&names("a.example"), NOW, false);
    assert_eq!(served[0].names, ["a.example"], "until its own is there");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    again.prepare().unwrap();
    assert_eq!(mode(&folder), 0o700);
}

// EDGE-14
#[test]
fn what_was_not_ordered_never_takes_the_place_of_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), "a.example");
    let domains = names("a.example");
    cache.keep(&domains, &made("a.example"), NOW).unwrap();
    let before = fs::read(cache.certificate()).unwrap();
    let (one, two) = (made("a.example"), made("a.example"));
    let key_of = |text: &str| {
        text.split_inclusive("-----END PRIVATE KEY-----\n")
            .next()
            .unwrap()
            .to_owned()
    };
    let chain_of = |text: &str| text.strip_prefix(&key_of(text)).unwrap().to_owned();
    for (name, text) in [
        ("nothing", String::new()),
        ("noise", "<html>".to_owned()),
        ("a chain alone", chain_of(&one)),
        ("a key alone", key_of(&one)),
        (
            "another's key",
            format!("{}{}", key_of(&one), chain_of(&two)),
        ),
        ("two keys", format!("{}{one}", key_of(&two))),
        ("another name", made("b.example")),
        ("a name more", made("a.example b.example")),
        ("half", one.chars().take(one.len() - 200).collect()),
    ] {
        let refused = cache.keep(&domains, &text, NOW).unwrap_err();
        assert!(refused.contains("can't be used"), "{name}: {refused}");
        assert_eq!(fs::read(cache.certificate()).unwrap(), before, "{name}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}");
    }
    cache.keep(&domains, &one, NOW).unwrap();
    assert_eq!(fs::read_to_string(cache.certificate()).unwrap(), one);
}

// EDGE-14
#[test]
fn damage_is_told_and_never_more() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), "a.example");
    let domains = names("a.example");
    cache.keep(&domains, &made("a.example"), NOW).unwrap();
    let path = cache.certificate();
    let whole = fs::read(&path).unwrap();
    for at in [0, 1, 40, 150, 260, whole.len() / 2, whole.len() - 2] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x11;
        fs::write(&path, &damaged).unwrap();
        let (served, faults) = cache.served(&domains, NOW, false);
        // A byte of what is around the base64 may not matter; what is served is whole.
        assert!(served.is_empty() != faults.is_empty(), "{at}");
    }
    fs::write(&path, b"").unwrap();
    assert_eq!(cache.served(&domains, NOW, false).1.len(), 2);
    fs::write(&path, &whole).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(
        cache.exact(&domains, NOW, false).is_none(),
        "others could read the key"
    );
    assert!(cache.exact(&domains, NOW, true).is_some());
    for (path, text) in [
        (cache.path("json"), "{"),
        (cache.account_path(), "{\"id\":3}"),
    ] {
        fs::write(path, text).unwrap();
    }
    assert_eq!(cache.state(), State::default());
    assert!(cache.account().is_none());
    assert!(!cache.account_path().exists(), "put aside");
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    let blocked = Cache::new(&blocked, &url("https://ca.example/directory"), &domains);
    assert!(blocked.prepare().is_err() && blocked.take_turn().is_err());
    assert!(blocked.served(&domains, NOW, false).0.is_empty());
}

// EDGE-14
#[test]
fn one_has_the_turn_and_all_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (
        cache(folder.path(), "a.example"),
        cache(folder.path(), "b.example"),
    );
    let turn = one.take_turn().unwrap().unwrap();
    assert!(two.take_turn().unwrap().is_none());
    let challenge = Challenge {
        kind: ChallengeKind::Http01,
        domain: "a.example".to_owned(),
        token: "t".to_owned(),
        key_authorization: "t.k".to_owned(),
    };
    one.publish(std::slice::from_ref(&challenge), WallMillis(NOW.0 + 10))
        .unwrap();
    assert_eq!(two.open(NOW), [challenge]);
    assert_eq!(two.open(WallMillis(NOW.0 + 11)), [], "left by a crash");
    one.withdraw();
    assert_eq!(two.open(NOW), []);
    drop(turn);
    assert!(two.take_turn().unwrap().is_some());
}
