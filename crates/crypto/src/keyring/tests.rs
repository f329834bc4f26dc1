//! What sealing promises.

use super::*;
use crate::SystemEntropy;

const KEY: [u8; 32] = [3; 32];
const PLACE: SealContext<'static> = SealContext {
    tenant: "ten_a",
    table: "credentials",
    row: "crd_1",
    field: "secret",
};

fn ring() -> Keyring {
    Keyring::new("k1", &KEY).unwrap()
}

fn sealed() -> String {
    ring().seal(b"sk-upstream", &PLACE, &SystemEntropy).unwrap()
}

// ID-62
#[test]
fn a_sealed_value_has_the_documented_form_and_opens() {
    let text = sealed();
    let parts: Vec<_> = text.split(':').collect();
    assert_eq!(parts[..3], ["enc", "v2", "k1"]);
    assert_eq!(parts.len(), 5);
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap().len();
    assert_eq!(bytes(parts[3]), 12 + 32 + 16);
    assert_eq!(bytes(parts[4]), 12 + "sk-upstream".len() + 16);
    assert!(!text.contains("upstream"));
    assert_eq!(
        ring().open(&text, &PLACE).unwrap().as_slice(),
        b"sk-upstream"
    );
}

// ID-62
#[test]
fn a_value_sealed_by_another_program_opens() {
    // Made with Python's `cryptography` 48 from the written rules: data key 09…, nonces 01… and
    // 02…, AAD `tollkeep|dek|crd_1|k1` and `tollkeep|2|ten_a|credentials|crd_1|secret|k1`.
    let text = concat!(
        "enc:v2:k1:",
        "AQEBAQEBAQEBAQEBlbs4l4Y6VksQqr0UTH0008QHqcwFirRXNlxNNCFH4Sy0OGSSVJuZ__MB6lpfKJSk:",
        "AgICAgICAgICAgICknGKGDGf8BhTXo8LhoyJ3vAAhZOF"
    );
    assert_eq!(ring().open(text, &PLACE).unwrap().as_slice(), b"hello");
}

// ID-62
#[test]
fn sealing_twice_gives_two_texts() {
    assert_ne!(sealed(), sealed());
}

// ID-62
#[test]
fn a_moved_value_does_not_open() {
    let text = sealed();
    for (name, place) in [
        (
            "other tenant",
            SealContext {
                tenant: "ten_b",
                ..PLACE
            },
        ),
        (
            "other table",
            SealContext {
                table: "meta",
                ..PLACE
            },
        ),
        (
            "other row",
            SealContext {
                row: "crd_2",
                ..PLACE
            },
        ),
        (
            "other field",
            SealContext {
                field: "label",
                ..PLACE
            },
        ),
    ] {
        assert_eq!(
            ring().open(&text, &place),
            Err(OpenError::Refused),
            "{name}"
        );
    }
}

// ID-62
#[test]
fn parts_of_two_values_do_not_make_a_third() {
    let (first, second) = (sealed(), sealed());
    let (head, _) = first.rsplit_once(':').unwrap();
    let (_, tail) = second.rsplit_once(':').unwrap();
    let mixed = format!("{head}:{tail}");
    assert_eq!(ring().open(&mixed, &PLACE), Err(OpenError::Refused));
}

#[test]
fn a_place_that_could_be_read_in_two_ways_is_refused() {
    for (name, place) in [
        (
            "separator",
            SealContext {
                row: "crd_1|secret",
                ..PLACE
            },
        ),
        (
            "empty part",
            SealContext {
                tenant: "",
                ..PLACE
            },
        ),
    ] {
        let got = ring().seal(b"x", &place, &SystemEntropy);
        assert_eq!(got, Err(SealError::Context), "{name}");
        assert_eq!(
            ring().open(&sealed(), &place),
            Err(OpenError::Malformed),
            "{name}"
        );
    }
}

#[test]
fn what_is_not_a_sealed_value_is_refused() {
    let good = sealed();
    for (name, text, want) in [
        ("empty", String::new(), OpenError::Malformed),
        ("plain text", "sk-upstream".to_owned(), OpenError::Malformed),
        (
            "older version",
            good.replace("v2", "v1"),
            OpenError::Malformed,
        ),
        (
            "no payload",
            good.rsplit_once(':').unwrap().0.to_owned(),
            OpenError::Malformed,
        ),
        ("one part more", format!("{good}:x"), OpenError::Malformed),
        ("padded", format!("{good}=="), OpenError::Malformed),
        (
            "empty payload",
            format!("{}:", good.rsplit_once(':').unwrap().0),
            OpenError::Refused,
        ),
        (
            "other key",
            good.replace("k1", "k2"),
            OpenError::UnknownKek("k2".to_owned()),
        ),
    ] {
        assert_eq!(ring().open(&text, &PLACE), Err(want), "{name}");
    }
}

// ID-62
#[test]
fn an_older_key_opens_and_does_not_seal() {
    let both = Keyring::new("k2", &[4; 32])
        .unwrap()
        .with("k1", &KEY, KekState::DecryptOnly)
        .unwrap();
    assert_eq!(
        both.open(&sealed(), &PLACE).unwrap().as_slice(),
        b"sk-upstream"
    );
    let new = both.seal(b"x", &PLACE, &SystemEntropy).unwrap();
    assert!(new.starts_with("enc:v2:k2:"));
    assert_eq!(
        ring().open(&new, &PLACE),
        Err(OpenError::UnknownKek("k2".to_owned()))
    );
}

#[test]
fn key_ids_are_short_and_plain() {
    for (name, id, ok) in [
        ("usual", "kek-1", true),
        ("underscore", "k_1", true),
        ("longest", &"k".repeat(32), true),
        ("longer", &"k".repeat(33), false),
        ("empty", "", false),
        ("colon", "k:1", false),
        ("bar", "k|1", false),
        ("upper case", "K1", false),
    ] {
        assert_eq!(Keyring::new(id, &KEY).is_ok(), ok, "{name}");
    }
    let twice = ring().with("k1", &KEY, KekState::Active).map(|_| ());
    assert_eq!(twice, Err(KeyringError::Twice("k1".to_owned())));
}

#[test]
fn debug_shows_ids_only() {
    let both = ring().with("k0", &KEY, KekState::DecryptOnly).unwrap();
    assert_eq!(format!("{both:?}"), "Keyring(k1, k0)");
}

proptest::proptest! {
    // ID-62
    #[test]
    fn sealing_and_opening_are_inverse(plain: Vec<u8>) {
        let text = ring().seal(&plain, &PLACE, &SystemEntropy).unwrap();
        let opened = ring().open(&text, &PLACE).unwrap();
        proptest::prop_assert_eq!(opened.as_slice(), plain.as_slice());
    }

    // ID-62
    #[test]
    fn one_flipped_bit_and_it_does_not_open(at: proptest::sample::Index, bit in 0_u8..8) {
        let mut bytes = sealed().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let opened = String::from_utf8(bytes).map(|text| ring().open(&text, &PLACE).is_ok());
        proptest::prop_assert_ne!(opened, Ok(true));
    }

    #[test]
    fn no_text_panics(text in "(enc:v2:k1:)?[A-Za-z0-9_:-]{0,200}") {
        proptest::prop_assert!(ring().open(&text, &PLACE).is_err());
    }
}
