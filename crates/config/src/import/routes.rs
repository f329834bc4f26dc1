//! The routes of a tollbooth's file, in their order there.

use super::Import;
use super::ImportFate::{Changed, Dropped};
use super::keys::{Keys, items, json, members, text, whole};
use super::tollbooth::{HOOKS, accepts};
use super::write::Lines;
use crate::settings::{Methods, PathPattern, Segment, is_reserved_path};
use crate::tree::{KeyPath, Node, Value};
use serde_json::{Value as Json, json};
use tollkeep_payments::price::{Price, PriceFault};

/// What holds where a route says nothing.
pub(super) struct Usual {
    /// The token that bare numbers are units of.
    pub(super) symbol: String,
    pub(super) rate_limit: Option<Json>,
}

const KEYS: [&str; 16] = [
    "upstream",
    "type",
    "path",
    "price",
    "match",
    "fallback",
    "pricing",
    "accepts",
    "pay_to",
    "hooks",
    "metadata",
    "facilitator",
    "rate_limit",
    "verification_cache",
    "models",
    "settlement",
];

/// Units of a token with six decimals in a dollar: what tollbooth counts in.
const NANOS_OF_UNIT: i64 = 1_000;

/// Writes all routes.
pub(super) fn routes(
    written: Option<(KeyPath, &Node)>,
    usual: &Usual,
    lines: &mut Lines,
    import: &mut Import,
) {
    lines.section(0, "routes");
    let Some((path, node)) = written else {
        return;
    };
    let mut earlier: Vec<(String, Methods, PathPattern)> = Vec::new();
    for entry in members(&path, Some(node), import) {
        let (at, name) = (path.name(&entry.name), entry.name.trim());
        let read = name.split_once(' ').ok_or("want `METHOD /path`".to_owned());
        let read = read.and_then(|(methods, pattern)| {
            Ok((
                methods.parse::<Methods>()?,
                pattern.trim().parse::<PathPattern>()?,
            ))
        });
        let (methods, pattern) = match read {
            Ok(read) => read,
            Err(problem) => {
                import.report.error(&at, &entry.source, problem);
                continue;
            }
        };
        if is_reserved_path(&pattern) {
            import.note(Dropped, &at, "the gateway answers this path itself");
            lines.remark(1, &format!("{name}: the gateway answers this path itself"));
            continue;
        }
        lines.section(1, &format!("{methods} {pattern}"));
        order(&at, (&methods, &pattern), &earlier, lines, import);
        earlier.push((name.to_owned(), methods, pattern));
        route(&at, &entry.node, usual, lines, import);
    }
}

/// Where another route is chosen than the first in the file.
fn order(
    at: &KeyPath,
    (methods, pattern): (&Methods, &PathPattern),
    earlier: &[(String, Methods, PathPattern)],
    lines: &mut Lines,
    import: &mut Import,
) {
    for (name, others, other) in earlier {
        let is_first_here = pattern.precedence() < other.precedence();
        if is_first_here && methods.overlap(others) && meet(pattern, other) {
            let why = format!(
                "takes requests that fit `{name}` too: there the first in the file had them, here the \
                 more exact path has"
            );
            lines.remark(2, &format!("before `{name}`, which tollbooth asked first"));
            import.note(Changed, at, why);
        }
    }
}

/// Whether some path fits both.
fn meet(one: &PathPattern, other: &PathPattern) -> bool {
    let (mut one, mut other) = (one.0.iter(), other.0.iter());
    loop {
        match (one.next(), other.next()) {
            (Some(Segment::Rest), _) | (_, Some(Segment::Rest)) | (None, None) => return true,
            (Some(Segment::Literal(a)), Some(Segment::Literal(b))) if a != b => return false,
            (Some(_), Some(_)) => {}
            (Some(_), None) | (None, Some(_)) => return false,
        }
    }
}

fn route(at: &KeyPath, node: &Node, usual: &Usual, lines: &mut Lines, import: &mut Import) {
    let keys = Keys::of(at, Some(node), &KEYS, import);
    match keys.get("upstream") {
        Some((_, node)) => lines.key(2, "upstream", &json(node)),
        None => import
            .report
            .error(&at.name("upstream"), &node.source, "is missing"),
    }
    if let Some((at, node)) = keys.get("path")
        && let Some(path) = text(&at, node, import)
    {
        // What `*` took is called `rest` here.
        let path = path.replace("${params.*}", "${params.rest}");
        lines.key(2, "path", &json!(path));
    }
    prices(&keys, node, usual, lines, import);
    if let Some(listed) = accepts(keys.get("accepts"), import) {
        lines.key(2, "accepts", &listed);
    }
    if let Some(payee) = pay_to(&keys, import) {
        lines.key(2, "pay_to", &payee);
    }
    for name in ["metadata", "settlement"] {
        if let Some((_, node)) = keys.get(name) {
            lines.key(2, name, &json(node));
        }
    }
    match keys.get("rate_limit") {
        Some((at, node)) => {
            if let Some(limit) = rate_limit(&at, node, import) {
                lines.key(2, "rate_limit", &limit);
            }
        }
        None => {
            if let Some(limit) = &usual.rate_limit {
                lines.told(2, "rate_limit", limit, "from `defaults.rateLimit`");
            }
        }
    }
    if let Some((at, node)) = keys.get("verification_cache")
        && let Some(cache) = verification_cache(&at, node, import)
    {
        lines.key(2, "verification_cache", &cache);
    }
    if let Some((at, node)) = keys.get("facilitator") {
        let problem = "is not supported on a route: name facilitators by network, \
                       `facilitator: {default: https://…, chains: {base/USDC: https://…}}`";
        import.report.error(&at, &node.source, problem);
    }
    if let Some((at, node)) = keys.get("hooks") {
        for hook in members(&at, Some(node), import) {
            import
                .report
                .error(&at.name(&hook.name), &hook.source, HOOKS);
        }
    }
}

/// What stands at a key of the route or, there as well, of its `pricing`.
fn either<'t>(
    name: &str,
    (keys, pricing): (&Keys<'t>, &Keys<'t>),
    import: &mut Import,
) -> Option<(KeyPath, &'t Node)> {
    let (own, inner) = (keys.get(name), pricing.get(name));
    if let (Some(_), Some((at, node))) = (&own, &inner) {
        let problem = format!("is said by `{name}` of the route too: keep one of them");
        import.report.error(at, &node.source, problem);
    }
    own.or(inner)
}

/// How long a pass lasts, where the price is that of one.
fn pass(pricing: &Keys<'_>, import: &mut Import) -> Option<String> {
    let model = pricing.get("model");
    let duration = pricing.get("duration");
    match model.as_ref().map(|(at, node)| (at, node.as_text(), *node)) {
        Some((_, Some("time"), node)) => match duration {
            Some((at, node)) => text(&at, node, import).map(str::to_owned),
            None => {
                let at = pricing.path.name("duration");
                let problem = "is missing: write how long a pass lasts, as `duration: 1h`";
                import.report.error(&at, &node.source, problem);
                None
            }
        },
        Some((_, Some("request"), _)) | None => {
            if let Some((at, _)) = duration {
                import.note(
                    Dropped,
                    &at,
                    "is for `model: time`: each request is paid for",
                );
            }
            None
        }
        Some((at, _, node)) => {
            let problem = "want `request` or `time`";
            import.report.error(at, &node.source, problem);
            None
        }
    }
}

fn prices(keys: &Keys<'_>, route: &Node, usual: &Usual, lines: &mut Lines, import: &mut Import) {
    const PRICING: [&str; 5] = ["model", "duration", "price", "match", "fallback"];
    let (at, written) = keys.get("pricing").unzip();
    let at = at.unwrap_or_else(|| keys.path.name("pricing"));
    let pricing = Keys::of(&at, written, &PRICING, import);
    let both = (keys, &pricing);
    let by_model = keys.get("type");
    if let Some((_, node)) = &by_model {
        lines.key(2, "type", &json(node));
    }
    let rules = either("match", both, import);
    let own = either("price", both, import);
    let fallback = either("fallback", both, import);
    if let Some((at, node)) = &rules {
        lines.section(2, "match");
        for (index, rule) in items(at, node, import).iter().enumerate() {
            one_rule(&at.index(index), rule, usual, lines, import);
        }
        if own.is_none() && fallback.is_none() {
            let problem = "has no `fallback`: write what requests cost that fit no rule, as \
                           `fallback: \"$0.001\"`";
            import.report.error(at, &route.source, problem);
        }
    }
    let (name, written) = match (&rules, own, fallback) {
        (Some(_), Some(own), None) => ("fallback", vec![own]),
        (Some(_), own, fallback) => ("fallback", fallback.or(own).into_iter().collect()),
        (None, own, fallback) => {
            if let Some((at, node)) = &fallback
                && let Some((price, remark)) = price(at, node, &usual.symbol, import)
            {
                let is_needed = own.is_none();
                if is_needed {
                    lines.told(2, "fallback", &price, &remark);
                }
            }
            ("price", own.into_iter().collect::<Vec<_>>())
        }
    };
    for (at, node) in written {
        if let Some((price, remark)) = price(&at, node, &usual.symbol, import) {
            lines.told(2, name, &price, &remark);
        }
    }
    if let Some((at, node)) = keys.get("models") {
        lines.section(2, "models");
        for model in members(&at, Some(node), import) {
            let at = at.name(&model.name);
            if let Some((price, remark)) = price(&at, &model.node, &usual.symbol, import) {
                lines.told(3, &model.name, &price, &remark);
            }
        }
    }
    let pass = pass(&pricing, import);
    if by_model.is_some() || pass.is_some() {
        lines.section(2, "pricing");
    }
    if let Some(duration) = pass {
        lines.key(3, "model", &json!("time"));
        lines.key(3, "duration", &json!(duration));
    }
    if by_model.is_some() {
        lines.told(
            3,
            "unknown_model",
            &json!("fallback"),
            "as there; `reject` refuses models without a price",
        );
    }
}

fn one_rule(at: &KeyPath, rule: &Node, usual: &Usual, lines: &mut Lines, import: &mut Import) {
    let keys = Keys::of(at, Some(rule), &["where", "price", "pay_to"], import);
    let mut members = serde_json::Map::new();
    if let Some((_, node)) = keys.get("where") {
        members.insert("where".to_owned(), json(node));
    }
    let mut told = String::new();
    match keys.get("price") {
        None => import
            .report
            .error(&at.name("price"), &rule.source, "is missing"),
        Some((at, node)) => {
            if let Some((price, remark)) = price(&at, node, &usual.symbol, import) {
                members.insert("price".to_owned(), price);
                told = remark;
            }
        }
    }
    if let Some(payee) = pay_to(&keys, import) {
        members.insert("pay_to".to_owned(), payee);
    }
    lines.item(3, &Json::Object(members), &told);
}

fn pay_to(keys: &Keys<'_>, import: &mut Import) -> Option<Json> {
    let (at, node) = keys.get("pay_to")?;
    if matches!(node.value, Value::List(_)) {
        let problem = "has several payees, and tollbooth paid the first alone: one payment goes to one \
                       address; write that one, and share what it received yourself";
        import.report.error(&at, &node.source, problem);
        return None;
    }
    text(&at, node, import).map(Json::from)
}

/// A price in our words, and what is to be said of it.
pub(super) fn price(
    at: &KeyPath,
    node: &Node,
    symbol: &str,
    import: &mut Import,
) -> Option<(Json, String)> {
    if matches!(node.value, Value::Map(_)) {
        let problem = "is code, which is not run here: write the prices as rules, \
                       `match: [{where: {body.model: \"gpt-4*\"}, price: \"$0.01\"}]` and `fallback`";
        import.report.error(at, &node.source, problem);
        return None;
    }
    let written = text(at, node, import)?;
    if written.contains("${") {
        return Some((json!(written), String::new()));
    }
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits(written) {
        if written.bytes().all(|digit| digit == b'0') {
            return Some((json!("$0"), String::new()));
        }
        let why = format!("{written} are the smallest units of {symbol}");
        import.note(Changed, at, why);
        let price = json!({ "asset": symbol, "amount": written });
        return Some((
            price,
            "the smallest units, as tollbooth reads whole numbers".to_owned(),
        ));
    }
    let parsed: Result<Price, PriceFault> = written.parse();
    let usd = match parsed {
        Ok(price) => price.usd().map_or(0, |usd| usd.get()),
        Err(fault) => {
            let problem = format!("{written:?} {fault}");
            import.report.error(at, &node.source, problem);
            return None;
        }
    };
    if usd % NANOS_OF_UNIT != 0 {
        let problem = format!(
            "{written:?} is no whole number of units of a token with six decimals, which tollbooth cut \
             off: write at most six decimals"
        );
        import.report.error(at, &node.source, problem);
        return None;
    }
    let whole = written.strip_prefix('$').filter(|digits| is_digits(digits));
    if let Some(units) = whole.filter(|_| usd > 0) {
        let why =
            format!("{written} are dollars here; tollbooth charged {units} of the smallest unit");
        import.note(Changed, at, why);
        return Some((
            json!(written),
            format!("dollars; tollbooth charged {units} of the smallest unit"),
        ));
    }
    Some((json!(written), String::new()))
}

/// What is remembered of proofs, in our words.
fn verification_cache(at: &KeyPath, node: &Node, import: &mut Import) -> Option<Json> {
    let keys = Keys::of(at, Some(node), &["ttl"], import);
    let (at, node) = keys.get("ttl")?;
    let ttl = text(&at, node, import)?;
    Some(json!({ "ttl": ttl }))
}

/// A rate limit in our words. Its reference page has another form than its code; both are taken.
pub(super) fn rate_limit(at: &KeyPath, node: &Node, import: &mut Import) -> Option<Json> {
    const KEYS: [&str; 4] = ["requests", "window", "max", "window_ms"];
    let keys = Keys::of(at, Some(node), &KEYS, import);
    let requests = keys.get("requests").or_else(|| keys.get("max"));
    let requests = requests.and_then(|(at, node)| whole(&at, node, import));
    let window = match (keys.get("window"), keys.get("window_ms")) {
        (Some((at, node)), _) => text(&at, node, import).map(str::to_owned),
        (None, Some((at, node))) => whole(&at, node, import).map(|ms| format!("{ms}ms")),
        (None, None) => None,
    };
    match (requests, window) {
        (Some(requests), Some(window)) => Some(json!({ "requests": requests, "window": window })),
        (None, _) | (_, None) => {
            let problem = "want `{requests: 100, window: \"1m\"}`";
            import.report.error(at, &node.source, problem);
            None
        }
    }
}
