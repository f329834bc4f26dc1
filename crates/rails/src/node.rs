//! A node of a chain, which is only read: what became of an authorization (EIP-3009).
//!
//! That a nonce is used proves nothing, since whoever cancels an authorization uses it too: only the
//! transfer does, of at least the amount, from the payer to who is paid.

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};
use std::time::Duration;
use tollkeep_net::dial::Endpoint;
use tollkeep_net::fetch::{self, Bounds, Sent};
use tollkeep_payments::evm::Address;

/// `authorizationState(address,bytes32)`.
const STATE: &str = "0xe94a0102";
/// `AuthorizationUsed(address,bytes32)`.
const USED: &str = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5";
/// `Transfer(address,address,uint256)`.
pub(crate) const TRANSFER: &str =
    "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
/// `DOMAIN_SEPARATOR()`.
const DOMAIN_SEPARATOR: &str = "0x3644e515";
/// `decimals()`.
const DECIMALS: &str = "0x313ce567";
/// How far back it is looked for a transfer: more than a day on quick chains.
const BLOCKS_BACK: u64 = 100_000;
/// How long the way to a node may take, and its answer.
const CONNECT: Duration = Duration::from_secs(2);
const BOUNDS: Bounds = Bounds {
    bytes_max: 256 * 1024,
    patience: Duration::from_secs(5),
};

/// An authorization whose fate is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authorization {
    /// The token.
    pub token: Address,
    /// Who pays.
    pub from: Address,
    /// Who is paid.
    pub to: Address,
    /// Its nonce, `0x` and 64 digits.
    pub nonce: String,
    /// How much at least.
    pub amount: u64,
}

/// What a chain says of an authorization.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fate {
    /// The money moved, in this transaction.
    Moved(String),
    /// It was used, and the money did not move to who is paid.
    Used,
    /// It was not used so far.
    Unused,
}

/// What a token says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TokenTold {
    /// Its EIP-712 domain, `0x` and 64 digits; `None` where it has none.
    pub domain: Option<String>,
    /// Its decimals.
    pub decimals: Option<u64>,
}

/// A node.
pub struct Node(Endpoint);

impl Node {
    /// The node at this endpoint.
    pub const fn new(endpoint: Endpoint) -> Self {
        Self(endpoint)
    }

    /// What became of an authorization; `None` if the node does not say.
    pub async fn fate(&self, of: &Authorization) -> Option<Fate> {
        let call = json!([{ "to": of.token.to_string(), "data": state_call(of) }, "latest"]);
        match word(&self.ask("eth_call", call).await?)? {
            0 => return Some(Fate::Unused),
            1 => {}
            _ => return None,
        }
        let latest = number(&self.ask("eth_blockNumber", json!([])).await?)?;
        let filter = json!([{
            "address": of.token.to_string(),
            "topics": [USED, padded(&of.from.to_string()), of.nonce],
            "fromBlock": format!("{:#x}", latest.saturating_sub(BLOCKS_BACK)),
            "toBlock": "latest",
        }]);
        let logs = self.ask("eth_getLogs", filter).await?;
        for log in logs.as_array()? {
            let hash = log.get("transactionHash")?.as_str()?;
            let receipt = self.ask("eth_getTransactionReceipt", json!([hash])).await?;
            if is_paid_in(&receipt, of) {
                return Some(Fate::Moved(hash.to_owned()));
            }
        }
        Some(Fate::Used)
    }

    /// The number of its chain; `None` if the node does not say.
    pub async fn chain_id(&self) -> Option<u64> {
        number(&self.ask("eth_chainId", json!([])).await?)
    }

    /// What this token says of itself, as far as it does.
    pub async fn token(&self, token: &Address) -> TokenTold {
        let call = |data: &str| json!([{ "to": token.to_string(), "data": data }, "latest"]);
        let domain = self.ask("eth_call", call(DOMAIN_SEPARATOR)).await;
        let decimals = self.ask("eth_call", call(DECIMALS)).await;
        let whole = |told: &&str| told.len() == 66;
        TokenTold {
            domain: domain
                .as_ref()
                .and_then(Value::as_str)
                .filter(whole)
                .map(str::to_ascii_lowercase),
            decimals: decimals.as_ref().and_then(word),
        }
    }

    pub(crate) async fn ask(&self, method: &str, parameters: Value) -> Option<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
        let url = &self.0.url;
        let target = match (url.path(), url.query()) {
            ("", None) => "/".to_owned(),
            (path, None) => path.to_owned(),
            (path, Some(query)) => format!("{path}?{query}"),
        };
        let request = Request::post(target)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.to_string()))
            .ok()?;
        match fetch::once(&self.0, request, CONNECT, BOUNDS).await {
            Sent::Answered { status: 200, body } => {
                let mut answer: Value = serde_json::from_slice(&body).ok()?;
                let result = answer.get_mut("result")?.take();
                (!result.is_null()).then_some(result)
            }
            Sent::Answered { .. } | Sent::Never(_) | Sent::Cut(_) => None,
        }
    }
}

fn state_call(of: &Authorization) -> String {
    let from = padded(&of.from.to_string());
    let digits = |text: &str| text.trim_start_matches("0x").to_owned();
    format!("{STATE}{}{}", digits(&from), digits(&of.nonce))
}

/// An address as a word of 32 bytes, in lower case.
pub(crate) fn padded(address: &str) -> String {
    let digits = address.trim_start_matches("0x").to_ascii_lowercase();
    format!("0x{digits:0>64}")
}

/// A word that is a small number.
fn word(value: &Value) -> Option<u64> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    let is_whole = digits.len() == 64;
    let small = digits.trim_start_matches('0');
    let read = if small.is_empty() {
        Some(0)
    } else {
        u64::from_str_radix(small, 16).ok()
    };
    read.filter(|_| is_whole)
}

pub(crate) fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// Whether a transaction succeeded, and moved the money.
pub(crate) fn is_paid_in(receipt: &Value, of: &Authorization) -> bool {
    let is_done = receipt.get("status").and_then(Value::as_str) == Some("0x1");
    let logs = receipt.get("logs").and_then(Value::as_array);
    let mut logs = logs.into_iter().flatten();
    is_done && logs.any(|log| is_transfer(log, of).unwrap_or(false))
}

fn is_transfer(log: &Value, of: &Authorization) -> Option<bool> {
    let token = Address::from_hex(log.get("address")?.as_str()?)?;
    let mut topics = log.get("topics")?.as_array()?.iter();
    let mut topic = || topics.next()?.as_str().map(str::to_ascii_lowercase);
    let (what, from, to) = (topic()?, topic()?, topic()?);
    let digits = log.get("data")?.as_str()?.strip_prefix("0x")?;
    let small = digits.trim_start_matches('0');
    // More than is counted here is enough.
    let is_enough = digits.len() == 64
        && (small.len() > 16 || u64::from_str_radix(small, 16).ok()? >= of.amount);
    Some(
        token == of.token
            && what == TRANSFER
            && from == padded(&of.from.to_string())
            && to == padded(&of.to.to_string())
            && is_enough,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorization() -> Authorization {
        let address = |text| Address::from_hex(text).unwrap();
        Authorization {
            token: address("0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
            from: address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
            to: address("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
            nonce: format!("0x{:064x}", 7),
            amount: 10_000,
        }
    }

    fn receipt() -> Value {
        let of = authorization();
        json!({ "status": "0x1", "logs": [{
            "address": of.token.to_string(),
            "topics": [TRANSFER, padded(&of.from.to_string()), padded(&of.to.to_string())],
            "data": format!("0x{:064x}", 10_000),
        }]})
    }

    // PAY-62
    #[test]
    fn only_the_transfer_of_the_whole_amount_to_who_is_paid_settles() {
        let of = authorization();
        assert!(is_paid_in(&receipt(), &of));
        let more = format!("0x{:064x}", u128::MAX);
        let less = format!("0x{:064x}", 9_999);
        let elsewhere = padded("0x00000000000000000000000000000000000000aa");
        for (place, value, want) in [
            ("/logs/0/data", json!(more), true),
            ("/logs/0/data", json!(less), false),
            ("/logs/0/data", json!("0x2710"), false),
            ("/logs/0/topics/2", json!(elsewhere), false),
            ("/logs/0/topics/1", json!(elsewhere), false),
            ("/logs/0/topics/0", json!(USED), false),
            ("/logs/0/topics", json!([TRANSFER]), false),
            ("/logs/0/address", json!(of.to.to_string()), false),
            ("/status", json!("0x0"), false),
            ("/logs", json!([]), false),
            ("/logs", json!("none"), false),
        ] {
            let mut changed = receipt();
            *changed.pointer_mut(place).unwrap() = value.clone();
            assert_eq!(is_paid_in(&changed, &of), want, "{place} {value}");
        }
    }

    // PAY-62
    #[test]
    fn a_state_is_read_as_a_whole_word_only() {
        assert_eq!(word(&json!(format!("0x{:064x}", 1))), Some(1));
        assert_eq!(word(&json!(format!("0x{:064x}", 0))), Some(0));
        assert_eq!(word(&json!("0x")), None);
        assert_eq!(word(&json!("0x1")), None);
        assert_eq!(word(&json!(1)), None);
        let call = state_call(&authorization());
        assert_eq!(call.len(), 10 + 64 + 64);
        assert!(call.ends_with(&format!("{:064x}", 7)));
    }
}
