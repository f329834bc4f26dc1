//! What became of a transfer by Permit2, as a chain tells it.
//!
//! Permit2 keeps a bit for each nonce and logs nothing. So the payer's transfers to who is paid are
//! looked through for the one that the proxy of x402 made with this very nonce: a bit alone proves
//! nothing, since an owner sets it who takes a signature back, and a transfer alone may have paid for
//! something else.

use crate::node::{Authorization, Fate, Node, TRANSFER, is_paid_in, number, padded};
use serde_json::{Value, json};
use tollkeep_payments::x402::{PERMIT2, Scheme};

/// `nonceBitmap(address,uint256)`.
const BITMAP: &str = "0x4fe02b44";
/// How far back it is looked for the transfer: near first, since nodes answer with so much only.
const BLOCKS_BACK: [u64; 2] = [2_000, 100_000];
/// Transfers that are looked at.
const TRANSFERS_MAX: usize = 100;
/// Digits of a word.
const WORD: usize = 64;

/// A transfer by Permit2 whose fate is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Permit {
    /// What moves, and its nonce.
    pub transfer: Authorization,
    /// Which proxy may take it.
    pub scheme: Scheme,
}

impl Node {
    /// What became of a permit; `None` if the node does not say.
    pub async fn fate_of_permit(&self, of: &Permit) -> Option<Fate> {
        let call = json!([{ "to": PERMIT2.to_string(), "data": bitmap_call(of)? }, "latest"]);
        if !is_used(&self.ask("eth_call", call).await?, of)? {
            return Some(Fate::Unused);
        }
        let latest = number(&self.ask("eth_blockNumber", json!([])).await?)?;
        for back in BLOCKS_BACK {
            let filter = json!([{
                "address": of.transfer.token.to_string(),
                "topics": [
                    TRANSFER,
                    padded(&of.transfer.from.to_string()),
                    padded(&of.transfer.to.to_string()),
                ],
                "fromBlock": format!("{:#x}", latest.saturating_sub(back)),
                "toBlock": "latest",
            }]);
            let logs = self.ask("eth_getLogs", filter).await?;
            for log in logs.as_array()?.iter().rev().take(TRANSFERS_MAX) {
                let hash = log.get("transactionHash")?.as_str()?;
                let sent = self.ask("eth_getTransactionByHash", json!([hash])).await?;
                if !takes(&sent, of).unwrap_or(false) {
                    continue;
                }
                let receipt = self.ask("eth_getTransactionReceipt", json!([hash])).await?;
                if is_paid_in(&receipt, &of.transfer) {
                    return Some(Fate::Moved(hash.to_owned()));
                }
            }
        }
        Some(Fate::Used)
    }
}

/// The digits of the nonce: 64 of them.
fn nonce(of: &Permit) -> Option<String> {
    let digits = of.transfer.nonce.strip_prefix("0x")?.to_ascii_lowercase();
    let fits = digits.len() == WORD && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then_some(digits)
}

fn bitmap_call(of: &Permit) -> Option<String> {
    let from = padded(&of.transfer.from.to_string());
    let nonce = nonce(of)?;
    // All but the last byte say which word it is in.
    let place = nonce.get(..WORD - 2)?;
    let from = from.trim_start_matches("0x");
    Some(format!("{BITMAP}{from}00{place}"))
}

/// Whether the bit of the nonce is set in its word.
fn is_used(word: &Value, of: &Permit) -> Option<bool> {
    let digits = word.as_str()?.strip_prefix("0x")?;
    let bit = u8::from_str_radix(nonce(of)?.get(WORD - 2..)?, 16).ok()?;
    let place = WORD.checked_sub(1 + usize::from(bit / 4))?;
    let digit = digits.chars().nth(place).filter(|_| digits.len() == WORD);
    Some(digit?.to_digit(16)? >> (bit % 4) & 1 == 1)
}

/// Whether a transaction is the call by which the proxy takes this permit.
fn takes(sent: &Value, of: &Permit) -> Option<bool> {
    let to = sent.get("to")?.as_str()?;
    let input = sent.get("input")?.as_str()?.to_ascii_lowercase();
    // `settle`, and where its owner stands: behind the amount, where that is told.
    let (selector, owner) = match of.scheme {
        Scheme::Exact => ("0x13cd3b53", 4),
        Scheme::Upto => ("0xff11e7b4", 5),
    };
    let words = input.strip_prefix(selector)?;
    let word = |at: usize| words.get(at * WORD..(at + 1) * WORD);
    let is_word = |at: usize, wanted: String| word(at) == wanted.strip_prefix("0x");
    Some(
        to.eq_ignore_ascii_case(of.scheme.spender())
            && is_word(0, padded(&of.transfer.token.to_string()))
            && word(2) == nonce(of).as_deref()
            && is_word(owner, padded(&of.transfer.from.to_string())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_payments::evm::Address;

    fn permit(scheme: Scheme) -> Permit {
        let address = |text| Address::from_hex(text).unwrap();
        Permit {
            transfer: Authorization {
                token: address("0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
                from: address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
                to: address("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
                nonce: format!("0x{:064x}", 0x1234),
                amount: 10_000,
            },
            scheme,
        }
    }

    fn call(of: &Permit, selector: &str) -> Value {
        let digits = |text: &str| text.trim_start_matches("0x").to_owned();
        let token = digits(&padded(&of.transfer.token.to_string()));
        let owner = digits(&padded(&of.transfer.from.to_string()));
        let amount = match of.scheme {
            Scheme::Exact => String::new(),
            Scheme::Upto => format!("{:064x}", 9_000),
        };
        let nonce = digits(&of.transfer.nonce);
        let number = format!("{:064x}", 10_000);
        let input = format!("{selector}{token}{number}{nonce}{number}{amount}{owner}{number}");
        json!({ "to": of.scheme.spender().to_lowercase(), "input": input })
    }

    // PAY-62 PAY-124
    #[test]
    fn only_the_call_of_the_proxy_with_this_nonce_and_owner_takes_a_permit() {
        for (scheme, selector, other) in [
            (Scheme::Exact, "0x13cd3b53", "0xff11e7b4"),
            (Scheme::Upto, "0xff11e7b4", "0x13cd3b53"),
        ] {
            let of = permit(scheme);
            let right = call(&of, selector);
            assert_eq!(takes(&right, &of), Some(true));
            assert_ne!(takes(&call(&of, other), &of), Some(true), "another call");
            let mut elsewhere = right.clone();
            elsewhere["to"] = of.transfer.to.to_string().into();
            assert_eq!(takes(&elsewhere, &of), Some(false));
            let mut next = of.clone();
            next.transfer.nonce = format!("0x{:064x}", 0x1235);
            assert_eq!(takes(&right, &next), Some(false));
            let mut stranger = of.clone();
            stranger.transfer.from = of.transfer.to;
            assert_eq!(takes(&right, &stranger), Some(false));
            for input in ["0x", "0x13cd3b53", "none"] {
                let cut = json!({ "to": of.scheme.spender(), "input": input });
                assert_ne!(takes(&cut, &of), Some(true), "{input}");
            }
        }
    }

    // PAY-62 PAY-124
    #[test]
    fn the_bit_of_a_nonce_is_read_in_its_word_and_no_other() {
        let of = permit(Scheme::Upto);
        let call = bitmap_call(&of).unwrap();
        assert_eq!(call.len(), 10 + 64 + 64);
        assert!(call.ends_with(&format!("{:064x}", 0x12)), "{call}");
        // Bit 0x34 is the lowest of the fourteenth digit from the end.
        let word = |value: u128| json!(format!("0x{value:064x}"));
        assert_eq!(is_used(&word(1 << 0x34), &of), Some(true));
        assert_eq!(is_used(&word(!(1 << 0x34)), &of), Some(false));
        assert_eq!(is_used(&word(0), &of), Some(false));
        assert_eq!(is_used(&json!("0x1"), &of), None);
        assert_eq!(is_used(&json!(1), &of), None);
    }
}
