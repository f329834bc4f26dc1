//! Credit that payers buy ahead.

use crate::support::Case;
use std::time::Duration;
use tollkeep_payments::session::CreditTerms;
use tollkeep_types::money::NanoUsd;

fn terms(yaml: &str) -> Result<Option<CreditTerms>, String> {
    let loaded = Case::yaml(yaml).load()?;
    Ok(loaded.settings.payments.credit)
}

// PAY-75
#[test]
fn credit_is_sold_between_its_bounds_unless_it_is_not() {
    let usual = terms("").unwrap().unwrap();
    assert_eq!(usual.told(), "from $0.01 to $20");
    assert_eq!(usual.lasts, Duration::from_secs(30 * 86_400));
    let own = "payments: { credit: { min: \"$1\", max: \"$1\", lasts: 90m } }\n";
    let own = terms(own).unwrap().unwrap();
    let dollar = NanoUsd::new(1_000_000_000);
    assert_eq!(
        (own.min, own.max, own.lasts.as_secs()),
        (dollar, dollar, 5_400)
    );
    assert_eq!(terms("payments: { credit: { sold: false } }\n"), Ok(None));
}

// PAY-75
#[test]
fn what_nobody_could_buy_is_told_where() {
    for (credit, told) in [
        ("min: \"$0\"", "payments.credit.min"),
        ("min: \"$2\", max: \"$1\"", "payments.credit.max"),
        ("max: \"20\"", "payments.credit.max"),
        ("max: \"$20sat\"", "payments.credit.max"),
        ("lasts: 1s", "payments.credit.lasts"),
        ("lasts: 367d", "payments.credit.lasts"),
        ("sold: maybe", "payments.credit.sold"),
        ("most: \"$1\"", "payments.credit.most"),
    ] {
        let problem = terms(&format!("payments: {{ credit: {{ {credit} }} }}\n")).unwrap_err();
        assert!(problem.contains(told), "{credit}: {problem}");
    }
}
