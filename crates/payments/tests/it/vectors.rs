//! Reading the vector files. A member that nobody knows is a fault: it would be a check that
//! nobody makes.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Members of cases that the files don't explain: a request as everybody knows it.
const PLAIN: [&str; 2] = ["method", "headers"];
/// Files that another crate proves: where they are, and how many cases they have.
const ELSEWHERE: [(&str, usize); 2] = [("origin-signature", 10), ("webhook-signature", 10)];

const FILES: [(&str, &str, usize); 7] = [
    ("prices", include_str!("../data/prices.json"), 40),
    ("routes", include_str!("../data/routes.json"), 31),
    (
        "x402-v2-exact",
        include_str!("../data/x402-v2-exact.json"),
        34,
    ),
    (
        "x402-v2-exact-python",
        include_str!("../data/x402-v2-exact-python.json"),
        10,
    ),
    (
        "x402-v1-exact",
        include_str!("../data/x402-v1-exact.json"),
        14,
    ),
    (
        "x402-permit2-upto",
        include_str!("../data/x402-permit2-upto.json"),
        18,
    ),
    (
        "payment-required",
        include_str!("../data/payment-required.json"),
        15,
    ),
];

/// A vector file: all of it, and its cases.
pub(crate) fn vectors(name: &str) -> (Value, Vec<Value>) {
    let (_, text, count) = FILES.iter().find(|(file, ..)| *file == name).unwrap();
    let file: Value = serde_json::from_str(text).unwrap();
    let cases = file["cases"].as_array().unwrap().clone();
    assert_eq!(cases.len(), *count, "{name}");
    check_members(name, &file, &cases);
    (file, cases)
}

/// Every member of a case is explained, and every member that is explained is in some case.
fn check_members(name: &str, file: &Value, cases: &[Value]) {
    let known = file["fields"].as_object().unwrap();
    let mut seen = BTreeSet::new();
    for case in cases {
        for member in case.as_object().unwrap().keys() {
            let is_known = known.contains_key(member) || PLAIN.contains(&member.as_str());
            assert!(is_known, "{name} {}: {member}", case["name"]);
            seen.insert(member.as_str());
        }
    }
    for member in known.keys() {
        let beside = file.get(member.trim_end_matches("[]")).is_some();
        assert!(
            beside || seen.contains(member.as_str()),
            "{name}: no case has {member}"
        );
    }
}

/// The vector files of a folder by name.
fn files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect()
}

// PAY-410
#[test]
fn every_file_of_vectors_is_read_and_has_the_cases_of_the_table() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read: BTreeSet<String> = FILES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(files(&own.join("tests/data")), read);
    let mut total = 0;
    for name in &read {
        total += vectors(name).1.len();
    }
    assert_eq!(
        vectors("payment-required").0["recorded"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let folder = own.join("../crypto/tests/data");
    let elsewhere = ELSEWHERE.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(files(&folder), elsewhere.collect());
    for (name, count) in ELSEWHERE {
        let text = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        let cases = file["cases"].as_array().unwrap();
        assert_eq!(cases.len(), count, "{name}");
        check_members(name, &file, cases);
        total += cases.len();
    }
    assert_eq!((read.len() + ELSEWHERE.len(), total), (9, 182));
}
