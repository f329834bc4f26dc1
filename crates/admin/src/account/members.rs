//! What is sent of accounts, and shown.

use crate::shape::{Member, amount, choice, id, number, signed, text, time};

pub(super) const UNITS: &[&str] = &["usd", "tokens", "requests"];
pub(super) const REASON: Member = text("reason", 200, "Why, for the records").required();

pub(super) const OPEN: &[Member] = &[
    text(
        "holder",
        64,
        "Whose calls it pays for: the id of a token or of its line, a project, or a tenant",
    )
    .required(),
    choice(
        "unit",
        UNITS,
        "What it counts, for good; `usd` if not given",
    ),
    text("name", 100, "What it is called").required(),
    text(
        "tenant",
        64,
        "The tenant of the holder, by id or slug; the key's own or `default` if not given",
    ),
];

pub(super) const AMOUNT: Member = amount(
    "amount",
    "How much: money as \"$12.50\", \"12.50\" or {\"nano_usd\": N}, others as a number",
)
.required();

pub(super) const UNIT: Member =
    choice("unit", UNITS, "Its unit, so that none is taken for another");

pub(super) const CREDIT: &[Member] = &[
    AMOUNT,
    UNIT,
    choice(
        "from",
        &["paid", "promo"],
        "Whether it was paid or is given away; `paid` if not given",
    ),
    REASON,
];

pub(super) const DEBIT: &[Member] = &[AMOUNT, UNIT, REASON];

pub(super) const ADJUST: &[Member] = &[
    AMOUNT,
    UNIT,
    choice("direction", &["up", "down"], "Which way").required(),
    REASON,
];

pub(super) const REFUND: &[Member] = &[
    id("hold", "hld_", "The call, by its hold").required(),
    AMOUNT,
    UNIT,
    REASON,
];

pub(super) const SHOWN: &[Member] = &[
    id("id", "acc_", "Its id"),
    id("tenant_id", "ten_", "Its tenant"),
    text("holder", 64, "Whose calls it pays for"),
    choice("unit", UNITS, "What it counts"),
    text("name", 100, "What it is called"),
    number("balance", "What may be spent"),
    number("held", "What is taken aside for calls under way"),
    text("balance_usd", 30, "What may be spent, in dollars").or_null(),
    time("opened_at", "Since when it is there"),
    time("closed_at", "Since when no call has to fit it any more").or_null(),
];

pub(super) const ENTRY: &[Member] = &[
    number("number", "Its place among all entries"),
    id("id", "ent_", "Its id"),
    choice(
        "kind",
        &["hold", "settle", "correct", "lease", "transfer"],
        "Why it was made: `transfer`: by hand or by a rail",
    ),
    signed(
        "amount",
        i64::MIN,
        i64::MAX,
        "What the account has more by it, or less",
    ),
    text("with", 20, "The kind of account on the other side"),
    id("request_id", "req_", "The request it is for").or_null(),
    id("corrects", "ent_", "The entry that it puts right").or_null(),
    time("at", "When it was written"),
];
