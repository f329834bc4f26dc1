//! Reading the vector files. A member that nobody knows is a fault: it would be a check that
//! nobody makes.

use serde_json::Value;

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
    let known = file["fields"].as_object().unwrap();
    for case in &cases {
        for member in case.as_object().unwrap().keys() {
            let is_known =
                known.contains_key(member) || matches!(member.as_str(), "method" | "headers");
            assert!(is_known, "{name} {}: {member}", case["name"]);
        }
    }
    (file, cases)
}
