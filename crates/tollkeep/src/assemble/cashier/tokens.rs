//! Whether tokens are what the settings say of them: a chain knows.

use super::rails::endpoint;
use crate::assemble::egress::outside;
use tollkeep_config::settings::Settings;
use tollkeep_payments::evm::Domain;
use tollkeep_payments::x402::{Asset, Network, Transfer};
use tollkeep_rails::{Node, TokenTold};

/// Asks the nodes of `payments.x402.rpc` about the tokens that something is sold for: what differs, in
/// words.
///
/// # Errors
/// There is no way out, or no runtime.
pub(crate) fn differing_tokens(settings: &Settings) -> anyhow::Result<Vec<String>> {
    outside(settings, async |door| {
        let mut differing = Vec::new();
        for (network, url) in &settings.payments.x402.rpc {
            let node = Node::new(endpoint(url.clone(), &settings.payments.x402, &door));
            look(settings, (network, &node), &mut differing).await;
        }
        differing
    })
}

/// The tokens that something is sold for.
pub(crate) fn sold_for(settings: &Settings) -> Vec<&Asset> {
    let routes = settings.routes.iter().filter(|route| route.is_paid());
    let sales = routes.filter_map(|route| route.sale.as_ref());
    let mut assets: Vec<&Asset> = Vec::new();
    for accept in sales.flat_map(|sale| &sale.accepts) {
        if !assets.contains(&&accept.asset) {
            assets.push(&accept.asset);
        }
    }
    assets
}

async fn look(
    settings: &Settings,
    (network, node): (&Network, &Node),
    differing: &mut Vec<String>,
) {
    let Some(chain_id) = node.chain_id().await else {
        return differing.push(format!("{network}: the node does not answer"));
    };
    if network.chain_id() != Some(chain_id) {
        return differing.push(format!("{network}: the node is one of eip155:{chain_id}"));
    }
    let assets = sold_for(settings);
    for asset in assets.into_iter().filter(|it| it.network == *network) {
        let told = node.token(&asset.address).await;
        let what = fault(asset, chain_id, &told);
        differing.extend(what.map(|what| {
            let (symbol, address) = (&asset.symbol, &asset.address);
            format!("{symbol} on {network} ({address}) {what}")
        }));
    }
}

/// What a token is not that the settings say.
fn fault(asset: &Asset, chain_id: u64, told: &TokenTold) -> Option<String> {
    match told.decimals {
        None => return Some("is no token there".to_owned()),
        Some(decimals) if decimals != u64::from(asset.decimals) => {
            let ours = asset.decimals;
            return Some(format!(
                "has {decimals} decimals, not {ours}: amounts would be wrong"
            ));
        }
        Some(_) => {}
    }
    // By Permit2 its own name plays no part.
    if asset.transfer == Transfer::Permit2 {
        return None;
    }
    let domain = Domain {
        name: &asset.name,
        version: Some(&asset.version),
        chain_id,
        contract: asset.address,
    };
    let ours: String = domain
        .separator()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let is_same = told.domain.as_deref() == Some(format!("0x{ours}").as_str());
    (!is_same).then(|| {
        let (name, version) = (&asset.name, &asset.version);
        format!("is not named `{name}`, version `{version}`: every signature would be refused")
    })
}
