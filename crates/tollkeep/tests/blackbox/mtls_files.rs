//! Files of authorities and revocation lists: what each fault is told as.

use crate::fixture::TOLLKEEP;
use crate::mtls_fixture::{Authority, Believed, Revocable, status};
use crate::tls_fixture::openssl;
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope,
    KeyUsagePurpose, date_time_ymd,
};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tollkeep_testkit::{Origin, eventually};

/// `tollkeep tls check` with these texts as the two files.
fn check(believed: &Believed, ca: &str, crl: Option<&str>) -> (Option<i32>, String, String) {
    fs::write(&believed.ca_file, ca).unwrap();
    match crl {
        Some(crl) => fs::write(&believed.crl_file, crl).unwrap(),
        None => fs::remove_file(&believed.crl_file).unwrap_or_default(),
    }
    run(believed)
}

fn run(believed: &Believed) -> (Option<i32>, String, String) {
    let path = believed.certificates.path("tollkeep.yaml");
    let server = format!("server: {{ {} }}\n", believed.tls("optional"));
    fs::write(&path, server).unwrap();
    let ran = std::process::Command::new(TOLLKEEP)
        .args(["tls", "check", "--json", "--config"])
        .arg(&path)
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}

/// Texts that are no authorities, and what is said of them.
fn wrong_authorities(
    believed: &Believed,
    root: &Authority,
) -> Vec<(&'static str, String, &'static str)> {
    let dated = |from: i32, until: i32| {
        Authority::root_with("Dated", |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
        })
    };
    let no_signer = Authority::root_with("Signer", |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let leaf = root.client("ci");
    let folder = believed.certificates.folder.path();
    let weak = "req -x509 -newkey rsa:1024 -nodes -keyout w.key -out w.pem -days 9 -subj /CN=a";
    openssl(folder, weak);
    let weak = fs::read_to_string(folder.join("w.pem")).unwrap();
    let good = root.pem();
    vec![
        (
            "nothing",
            "nothing\n".to_owned(),
            "holds no certificate in PEM",
        ),
        ("empty", String::new(), "holds no certificate in PEM"),
        (
            "a key",
            leaf.key_pem.clone(),
            "holds no certificate in PEM, but something else",
        ),
        (
            "cut",
            good.replacen("MII", "MIJ", 1),
            "the certificate in it is damaged",
        ),
        (
            "no base64",
            good.replace('A', "%"),
            "holds no certificate in PEM",
        ),
        (
            "a client's own",
            leaf.cert_pem.clone(),
            "the certificate of CN=ci is no authority",
        ),
        (
            "one beside it",
            format!("{good}{}", leaf.cert_pem),
            "CN=ci is no authority",
        ),
        (
            "no signer",
            no_signer.pem(),
            "the certificate of CN=Signer is no authority",
        ),
        (
            "old",
            dated(2001, 2002).pem(),
            "the authority CN=Dated expired at 2002-01-01T00:00:00",
        ),
        (
            "new",
            dated(2090, 2091).pem(),
            "the authority CN=Dated is not valid before 2090-01-01",
        ),
        ("short", weak, "the RSA key has 1024 bits: at least 2048"),
    ]
}

// EDGE-15
#[test]
fn each_fault_of_the_authorities_has_its_message_and_names_the_file() {
    let root = Authority::root("Clients");
    let believed = Believed::new(&[&root]);
    for (name, ca, want) in wrong_authorities(&believed, &root) {
        let (code, _, told) = check(&believed, &ca, None);
        assert_eq!(code, Some(3), "{name}: {told}");
        assert!(
            told.contains("server.tls: ") && told.contains("clients.pem: ") && told.contains(want),
            "{name}: {told}"
        );
    }
    fs::remove_file(&believed.ca_file).unwrap();
    let (code, _, told) = run(&believed);
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("clients.pem: can't be read: No such file"),
        "{told}"
    );
}

/// Texts that are no lists of `root`, and what is said of them.
fn wrong_lists(root: &Authority, between: &Authority) -> Vec<(&'static str, String, &'static str)> {
    let other = Authority::root("Others");
    let namesake = Authority::root("Clients");
    let loud = Authority::root("Mute");
    let dated = |from: i32, until: i32| {
        root.list_with(&[], |params: &mut CertificateRevocationListParams| {
            params.this_update = date_time_ymd(from, 1, 1);
            params.next_update = date_time_ymd(until, 1, 1);
        })
    };
    let good = root.list(&[]);
    vec![
        (
            "nothing",
            "nothing\n".to_owned(),
            "holds no revocation list in PEM",
        ),
        ("empty", String::new(), "holds no revocation list in PEM"),
        (
            "a certificate",
            root.pem(),
            "holds no revocation list in PEM, but something else",
        ),
        (
            "cut",
            good.replacen("MI", "MJ", 1),
            "the revocation list in it is damaged",
        ),
        (
            "another's",
            other.list(&[]),
            "the revocation list of CN=Others is not signed by an authority of /",
        ),
        (
            "a namesake's",
            namesake.list(&[]),
            "the revocation list of CN=Clients is not signed by an authority of /",
        ),
        (
            "one beside it",
            format!("{good}{}", other.list(&[])),
            "CN=Others is not signed",
        ),
        (
            "of one that may not",
            loud.list(&[]),
            "the revocation list of CN=Mute is not signed by an authority of /",
        ),
        (
            "old",
            dated(2001, 2002),
            "CN=Clients expired at 2002-01-01T00:00:00",
        ),
        (
            "new",
            dated(2090, 2091),
            "CN=Clients does not hold before 2090-01-01",
        ),
        (
            "two",
            format!("{good}{good}"),
            "holds two revocation lists of CN=Clients",
        ),
        (
            "an authority",
            root.list(&[between]),
            "revokes CN=Clients 2, which /",
        ),
    ]
}

// EDGE-15
#[test]
fn each_fault_of_a_revocation_list_has_its_message_and_names_the_file() {
    let root = Authority::root("Clients");
    let between = root.below("Clients 2");
    let mute = Authority::root_with("Mute", |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    let believed = Believed::new(&[&root]);
    let ca = format!("{}{}{}", root.pem(), between.pem(), mute.pem());
    for (name, crl, want) in wrong_lists(&root, &between) {
        let (code, _, told) = check(&believed, &ca, Some(&crl));
        assert_eq!(code, Some(3), "{name}: {told}");
        assert!(
            told.contains("server.tls: ") && told.contains("revoked.pem: ") && told.contains(want),
            "{name}: {told}"
        );
    }
}

// EDGE-15
#[test]
fn a_check_tells_what_ends_when_and_whose_list_lacks() {
    let (root, other) = (Authority::root("Clients"), Authority::root("Others"));
    let believed = Believed::new(&[&root]);
    let day = Duration::from_secs(3_600);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let soon = root.list_with(&[], |params| {
        params.next_update = date_time_ymd(1970, 1, 1) + now + day;
    });
    let both = format!("{}{}", root.pem(), other.pem());
    let (code, told, warned) = check(&believed, &both, Some(&soon));
    assert_eq!(
        code,
        Some(0),
        "lists are renewed at the last moment: {warned}"
    );
    let want = "revoked.pem: holds no revocation list of CN=Others: certificates it issued itself";
    assert!(warned.contains(want), "{warned}");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let names = told["certificates"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|one| (&one["name"], &one["subject"])).collect();
    assert_eq!(names[0].0, "server.tls");
    assert_eq!(
        names[1],
        (&"server.tls.client_ca".into(), &"CN=Clients".into())
    );
    assert_eq!(
        names[2],
        (&"server.tls.client_crl".into(), &"CN=Clients".into())
    );
    let short = Authority::root_with("Short", |params| {
        params.not_after = date_time_ymd(1970, 1, 1) + now + day;
    });
    let (code, _, told) = check(&believed, &short.pem(), None);
    assert_eq!(code, Some(8), "{told}");
    assert!(
        told.contains("clients.pem: the certificate expires at"),
        "{told}"
    );
}

// EDGE-15
#[test]
fn a_start_with_a_bad_file_is_refused_and_a_list_that_ends_meanwhile_lets_nobody_in() {
    let root = Authority::root("Clients");
    let believed = Believed::new(&[&root]);
    let origin = Origin::plain();
    believed.revoke(&["nothing\n".to_owned()]);
    let refused = believed
        .gateway(&origin, "required", "")
        .try_start()
        .err()
        .unwrap();
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    let want = "revoked.pem: holds no revocation list in PEM";
    assert!(refused.stderr.contains(want), "{}", refused.stderr);

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    believed.revoke(&[root.list_with(&[], |params| {
        params.next_update = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(4);
    })]);
    let gateway = believed.gateway(&origin, "optional", "").start();
    let ci = root.client("ci");
    let ask = || status(believed.caller(Some(&ci)), gateway.data(), "/x");
    assert_eq!(ask(), Ok(200));
    eventually("the list has ended", || ask().is_err().then_some(()));
    let event = gateway.audit_line("that is told", |line| {
        line["action"] == "system.degraded" && line["details"]["name"] == "server.tls.client_crl"
    });
    assert_eq!(event["details"]["reason"], "expired");
    assert_eq!(status(believed.caller(None), gateway.data(), "/x"), Ok(200));
    believed.revoke(&[root.list(&[])]);
    eventually("a new one is taken", || (ask() == Ok(200)).then_some(()));
}

// EDGE-15
#[test]
fn lists_of_one_authority_stand_side_by_side_only_if_none_hides_the_other() {
    let root = Authority::root("Clients");
    let believed = Believed::new(&[&root]);
    let (lost, fine) = (root.client("lost"), root.client("fine"));
    let part = |name: &str, scope, revoked: &[&dyn Revocable]| {
        root.list_with(revoked, |params| {
            params.issuing_distribution_point = Some(CrlIssuingDistributionPoint {
                distribution_point: CrlDistributionPoint {
                    uris: vec![format!("http://clients.test/{name}")],
                },
                scope,
            });
        })
    };
    let users = || Some(CrlScope::UserCertsOnly);
    let all = |revoked: &[&dyn Revocable]| root.list(revoked);
    for (name, first, second) in [
        ("pieces", part("1", None, &[]), part("2", None, &[&lost])),
        ("all and a piece", all(&[]), part("2", None, &[&lost])),
        (
            "two of users",
            part("1", users(), &[]),
            part("2", users(), &[&lost]),
        ),
        ("of users and all", part("1", users(), &[]), all(&[&lost])),
    ] {
        let (code, _, told) = check(&believed, &root.pem(), Some(&format!("{first}{second}")));
        assert_eq!(code, Some(3), "{name}: {told}");
        let want = "holds two revocation lists of CN=Clients";
        assert!(told.contains(want), "{name}: {told}");
    }
    believed.revoke(&[
        part("1", Some(CrlScope::CaCertsOnly), &[]),
        part("2", users(), &[&lost]),
    ]);
    let origin = Origin::plain();
    let gateway = believed.gateway(&origin, "required", "").start();
    let ask = |who| status(believed.caller(Some(who)), gateway.data(), "/x");
    assert_eq!(ask(&fine), Ok(200));
    assert!(ask(&lost).is_err());
}
