//! `trustProxy`, as tollbooth's files say whom to believe about the client (EDGE-61).

use crate::kind::{Kind, Shape, Wrong, list, network, whole};
use crate::reader::snake;
use crate::tree::{Node, Step, Value};
use ipnet::IpNet;
use serde_json::json;

/// Proxies in front at most, as with `server.client_ip.hops`.
const HOPS_MAX: i64 = 32;

/// Whom to believe about the client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum TrustProxy {
    /// Nobody.
    Nobody,
    /// A proxy on this machine, with so many hops behind it.
    Loopback { hops: usize },
    /// These proxies; 0 hops walk to the first that is none of them.
    Named { hops: usize, cidrs: Vec<IpNet> },
}

impl TrustProxy {
    /// The networks that are trusted, and how many hops.
    pub(crate) fn networks(self) -> (Vec<IpNet>, usize) {
        match self {
            Self::Nobody => (Vec::new(), 0),
            Self::Loopback { hops } => {
                let own = ["127.0.0.0/8", "::1/128"];
                (
                    own.iter().filter_map(|net| net.parse().ok()).collect(),
                    hops,
                )
            }
            Self::Named { hops, cidrs } => (cidrs, hops),
        }
    }
}

/// The kind of `trustProxy`.
pub(crate) struct TrustProxyKind;

impl Kind for TrustProxyKind {
    type Value = TrustProxy;

    fn shape(&self) -> Shape {
        let cidrs = list(network()).shape().schema;
        let hops = json!({"type": "integer", "minimum": 0, "maximum": HOPS_MAX});
        let members = json!({"hops": hops, "cidrs": cidrs});
        let section =
            json!({"type": "object", "properties": members, "additionalProperties": false});
        let schema = json!({"anyOf": [{"type": "boolean"}, hops, section]});
        Shape::new(schema, "`true`, a number of hops, or `{hops, cidrs}`")
    }

    fn read(&self, node: &Node) -> Result<TrustProxy, Vec<Wrong>> {
        let hops = |node: &Node| whole::<usize>(0..=HOPS_MAX).read(node);
        let of_number = |hops| match hops {
            0 => TrustProxy::Nobody,
            hops => TrustProxy::Loopback { hops },
        };
        match &node.value {
            Value::Bool(false) => Ok(TrustProxy::Nobody),
            Value::Bool(true) => Ok(TrustProxy::Loopback { hops: 1 }),
            Value::Loose(text) if text == "false" => Ok(TrustProxy::Nobody),
            Value::Loose(text) if text == "true" => Ok(TrustProxy::Loopback { hops: 1 }),
            Value::Number(_) | Value::Loose(_) => hops(node).map(of_number),
            Value::Map(entries) => {
                let (mut count, mut cidrs) = (0, None);
                for entry in entries {
                    let read = match snake(&entry.name).as_str() {
                        "hops" => hops(&entry.node).map(|read| count = read),
                        "cidrs" => list(network())
                            .read(&entry.node)
                            .map(|read| cidrs = Some(read)),
                        _ => Err(Wrong::of(&entry.node, "is no known key")),
                    };
                    read.map_err(|wrongs| inside(wrongs, &entry.name))?;
                }
                Ok(match cidrs {
                    Some(cidrs) => TrustProxy::Named { hops: count, cidrs },
                    None => of_number(count),
                })
            }
            Value::Null | Value::Text(_) | Value::List(_) => {
                let problem = format!(
                    "want `true`, a number of hops, or `{{hops, cidrs}}`, not {}",
                    node.told()
                );
                Err(Wrong::of(node, problem))
            }
        }
    }
}

fn inside(mut wrongs: Vec<Wrong>, name: &str) -> Vec<Wrong> {
    for wrong in &mut wrongs {
        wrong.inside.insert(0, Step::Name(name.to_owned()));
    }
    wrongs
}
