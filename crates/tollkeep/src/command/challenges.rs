//! Challenges that are too long to be told whole.

use tollkeep_config::settings::{Route, Sale, Settings};
use tollkeep_payments::pricing::Quote;
use tollkeep_payments::session::Billing;
use tollkeep_payments::x402::{Challenge, Extensions, QuoteTag, Resource};

/// Routes whose ways to pay don't all fit into the field that tells them, by the path as it is
/// written.
pub(super) fn cut(settings: &Settings) -> Vec<String> {
    let paid = settings.routes.iter().filter(|route| route.is_paid());
    let sales = paid.filter_map(|route| Some((route, route.sale.as_ref()?)));
    sales
        .filter_map(|(route, sale)| of_route(settings, route, sale))
        .collect()
}

fn of_route(settings: &Settings, route: &Route, sale: &Sale) -> Option<String> {
    let max = settings.payments.challenge_bytes_max;
    let name = route.name();
    let path = name.split_once(' ').map_or("/", |(_, path)| path);
    let base = settings.server.public_url.as_deref().unwrap_or_default();
    let resource = Resource {
        url: format!("{base}{path}"),
        description: sale.billing.as_ref().map(Billing::told).unwrap_or_default(),
        mime_type: "application/json".to_owned(),
    };
    let rules = sale.pricing.rules();
    let longest = sale
        .pricing
        .all()
        .enumerate()
        .filter_map(|(at, (origin, price))| {
            let quote = Quote {
                price: price.clone(),
                origin,
                is_raised: false,
                pay_to: rules.get(at).and_then(|rule| rule.pay_to),
            };
            let offers = sale.offers(&quote);
            // As long as they ever are.
            let tag = QuoteTag {
                expires_s: 0,
                prices: 0,
                mac: [0; 16],
            };
            let challenge = Challenge {
                resource: &resource,
                offers: &offers,
                quotes: &vec![tag.encode(); offers.len()],
                reason: None,
                extensions: &Extensions::default(),
            };
            Some((challenge.payment_required(usize::MAX)?.len(), offers.len()))
        });
    let (bytes, offers) = longest.max()?;
    (bytes > max).then(|| {
        format!(
            "routes.{name:?}: its {offers} ways to pay make a challenge of {bytes} bytes, and \
             `payments.challenge.max_header_bytes` is {max}: the last of them are left out"
        )
    })
}
