//! `facilitator` as tollbooth writes it: an address, or one for all networks and others for some.

use super::payments::FacilitatorFile;
use super::payments::Uses;
use crate::check::Checks;
use crate::kind::{Kind, Shape, Wrong};
use crate::tree::{KeyPath, Node, Value};
use serde_json::json;

/// Addresses as they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    default: Option<String>,
    /// By network, or by network and token as `base/USDC`.
    chains: Vec<(String, String)>,
}

/// The name of the one for all networks, as `payments` and metrics tell it.
const DEFAULT: &str = "default";
/// tollbooth's word for one that moves no money.
const MOCK: &str = "mock";

impl Addresses {
    /// Whether one of them is tollbooth's word for the sandbox.
    pub(super) fn is_mock(&self) -> bool {
        let mut chains = self.chains.iter();
        self.default.as_deref() == Some(MOCK) || chains.any(|(_, url)| url == MOCK)
    }

    /// The facilitators, by name, and which network has which of them; nothing if none is written.
    pub(super) fn facilitators(
        self,
        checks: &mut Checks<'_>,
    ) -> Option<(Vec<(String, FacilitatorFile)>, Uses)> {
        let place = KeyPath::of("facilitator");
        let mut files = Vec::new();
        let mut by_network: Vec<(Option<String>, Vec<String>)> = Vec::new();
        let mut add = |name: &str, at: &KeyPath, url: &str, checks: &mut Checks<'_>| {
            // The sandbox, which stands for itself.
            if url == MOCK {
                return false;
            }
            match FacilitatorFile::at(url) {
                Ok(file) => files.push((name.to_owned(), file)),
                Err(problem) => checks.error_at(at, problem),
            }
            true
        };
        let default = self.default.filter(|url| add(DEFAULT, &place, url, checks));
        for (chain, url) in &self.chains {
            let at = place.name("chains").name(chain);
            let network = chain
                .split_once('/')
                .map_or(chain.as_str(), |(network, _)| network);
            let known = by_network
                .iter()
                .any(|(known, _)| known.as_deref() == Some(network));
            if known {
                let problem = "is not supported: a network has one facilitator, whatever the token";
                checks.error_at(&at, problem);
            } else if add(chain, &at, url, checks) {
                let spare = default.as_ref().map(|_| DEFAULT.to_owned());
                let names = std::iter::once(chain.clone()).chain(spare).collect();
                by_network.push((Some(network.to_owned()), names));
            }
        }
        if files.is_empty() {
            return None;
        }
        by_network.extend(default.map(|_| (None, vec![DEFAULT.to_owned()])));
        Some((files, Uses::by_network(by_network)))
    }
}

/// The kind of [`Addresses`].
pub(super) struct AddressesKind;

impl Kind for AddressesKind {
    type Value = Addresses;

    fn shape(&self) -> Shape {
        let chains = json!({"type": "object", "additionalProperties": {"type": "string"}});
        let map = json!({
            "type": "object",
            "properties": {"default": {"type": "string"}, "chains": chains},
            "additionalProperties": false,
        });
        Shape::new(
            json!({"anyOf": [{"type": "string"}, map]}),
            "a URL, or `{default: URL, chains: {base/USDC: URL}}`",
        )
    }

    fn read(&self, node: &Node) -> Result<Addresses, Vec<Wrong>> {
        let Value::Map(entries) = &node.value else {
            let url = node.text()?;
            return Ok(Addresses {
                default: Some(url.to_owned()).filter(|url| !url.is_empty()),
                chains: Vec::new(),
            });
        };
        let mut addresses = Addresses::default();
        for entry in entries {
            match (entry.name.as_str(), &entry.node.value) {
                (DEFAULT, _) => addresses.default = Some(entry.node.text()?.to_owned()),
                ("chains", Value::Map(chains)) => {
                    for chain in chains {
                        let url = chain.node.text()?.to_owned();
                        addresses.chains.push((chain.name.clone(), url));
                    }
                }
                (name, _) => {
                    let problem = format!("want `default` and `chains`, not `{name}`");
                    return Err(Wrong::of(&entry.node, problem));
                }
            }
        }
        Ok(addresses)
    }
}
