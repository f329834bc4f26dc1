//! Somebody who pays by x402: a key of a chain, and what it signs (EIP-3009, Permit2).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secp256k1::{Message, PublicKey, Secp256k1, SecretKey};
use serde_json::{Value, json};
use sha3::{Digest, Keccak256};
use std::time::{SystemTime, UNIX_EPOCH};

const DOMAIN: &[u8] =
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const TRANSFER: &[u8] = b"TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";

const PERMIT2_DOMAIN: &[u8] =
    b"EIP712Domain(string name,uint256 chainId,address verifyingContract)";
const PERMIT2: &str = "0x000000000022D473030F116dDEE9F6B43aC78BA3";
const PERMITTED: &[u8] = b"TokenPermissions(address token,uint256 amount)";
const EXACT_WITNESS: &[u8] = b"Witness(address to,uint256 validAfter)";
const UPTO_WITNESS: &[u8] = b"Witness(address to,address facilitator,uint256 validAfter)";
const PERMIT: &[u8] = b"PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness)";
/// Who may take what was permitted, by scheme.
const EXACT_SPENDER: &str = "0x402085c248EeA27D92E8b30b2C58ed07f9E20001";
const UPTO_SPENDER: &str = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002";

/// Somebody who pays.
#[derive(Clone)]
pub struct Payer {
    key: SecretKey,
    address: [u8; 20],
}

fn keccak(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.strip_prefix("0x").expect("0x").as_bytes();
    let pair = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("digits")
    };
    digits.chunks(2).map(pair).collect()
}

fn word(bytes: &[u8]) -> [u8; 32] {
    let mut word = [0; 32];
    word[32 - bytes.len()..].copy_from_slice(bytes);
    word
}

fn number(value: u128) -> [u8; 32] {
    word(&value.to_be_bytes())
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn chain_of(offer: &Value) -> u128 {
    let network = text(&offer["network"]);
    let chain = network.strip_prefix("eip155:").expect("CAIP-2");
    chain.parse().expect("a number")
}

/// Seconds since 1970.
fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

impl Payer {
    /// One of them, the same for the same number.
    pub fn new(number: u8) -> Self {
        let mut bytes = [7; 32];
        bytes[31] = number;
        let key = SecretKey::from_slice(&bytes).expect("a key");
        let public = PublicKey::from_secret_key(&Secp256k1::new(), &key);
        let hash = keccak(&[&public.serialize_uncompressed()[1..]]);
        let mut address = [0; 20];
        address.copy_from_slice(&hash[12..]);
        Self { key, address }
    }

    /// Its address, in lower case.
    pub fn address(&self) -> String {
        hex(&self.address)
    }

    /// What it signs for an offer of version 2: `nonce` tells one payment from another.
    pub fn sign(&self, offer: &Value, nonce: u64, times: (u64, u64)) -> Value {
        let is_upto = offer["scheme"] == "upto";
        if is_upto || offer["extra"]["assetTransferMethod"] == "permit2" {
            self.permit(offer, nonce, times)
        } else {
            self.transfer(offer, nonce, times)
        }
    }

    fn permit(&self, offer: &Value, nonce: u64, (after, before): (u64, u64)) -> Value {
        let (asset, to) = (text(&offer["asset"]), text(&offer["payTo"]));
        let (amount, facilitator) = (
            text(&offer["amount"]),
            &offer["extra"]["facilitatorAddress"],
        );
        let facilitator = (offer["scheme"] == "upto").then(|| text(facilitator));
        let spender = match facilitator {
            Some(_) => UPTO_SPENDER,
            None => EXACT_SPENDER,
        };
        let domain = keccak(&[
            &keccak(&[PERMIT2_DOMAIN]),
            &keccak(&[b"Permit2"]),
            &number(chain_of(offer)),
            &word(&unhex(PERMIT2)),
        ]);
        let permitted = keccak(&[
            &keccak(&[PERMITTED]),
            &word(&unhex(&asset)),
            &number(amount.parse().expect("a number")),
        ]);
        let (to_word, after_word) = (word(&unhex(&to)), number(after.into()));
        let (kind, witness) = match &facilitator {
            None => {
                let witness = keccak(&[&keccak(&[EXACT_WITNESS]), &to_word, &after_word]);
                (EXACT_WITNESS, witness)
            }
            Some(by) => {
                let by = word(&unhex(by));
                let witness = keccak(&[&keccak(&[UPTO_WITNESS]), &to_word, &by, &after_word]);
                (UPTO_WITNESS, witness)
            }
        };
        let permit = keccak(&[
            &keccak(&[PERMIT, PERMITTED, kind]),
            &permitted,
            &word(&unhex(spender)),
            &number(nonce.into()),
            &number(before.into()),
            &witness,
        ]);
        let mut told = json!({ "to": to, "validAfter": after.to_string() });
        if let Some(by) = facilitator {
            told["facilitator"] = by.into();
        }
        json!({
            "signature": self.signature(&domain, &permit),
            "permit2Authorization": {
                "from": self.address(),
                "permitted": { "token": asset, "amount": amount },
                "spender": spender,
                "nonce": nonce.to_string(),
                "deadline": before.to_string(),
                "witness": told,
            },
        })
    }

    fn signature(&self, domain: &[u8], what: &[u8]) -> String {
        let digest = keccak(&[b"\x19\x01", domain, what]);
        let signed =
            Secp256k1::new().sign_ecdsa_recoverable(&Message::from_digest(digest), &self.key);
        let (which, signature) = signed.serialize_compact();
        let mut bytes = signature.to_vec();
        bytes.push(27 + u8::try_from(which.to_i32()).expect("small"));
        hex(&bytes)
    }

    fn transfer(&self, offer: &Value, nonce: u64, (after, before): (u64, u64)) -> Value {
        let (asset, to) = (text(&offer["asset"]), text(&offer["payTo"]));
        let amount = text(&offer["amount"]);
        let nonce = number(nonce.into());
        let domain = keccak(&[
            &keccak(&[DOMAIN]),
            &keccak(&[text(&offer["extra"]["name"]).as_bytes()]),
            &keccak(&[text(&offer["extra"]["version"]).as_bytes()]),
            &number(chain_of(offer)),
            &word(&unhex(&asset)),
        ]);
        let transfer = keccak(&[
            &keccak(&[TRANSFER]),
            &word(&self.address),
            &word(&unhex(&to)),
            &number(amount.parse().expect("a number")),
            &number(after.into()),
            &number(before.into()),
            &nonce,
        ]);
        json!({
            "signature": self.signature(&domain, &transfer),
            "authorization": {
                "from": self.address(),
                "to": to,
                "value": amount,
                "validAfter": after.to_string(),
                "validBefore": before.to_string(),
                "nonce": hex(&nonce),
            },
        })
    }

    /// The value of `PAYMENT-SIGNATURE` for the first offer of a `PAYMENT-REQUIRED`.
    pub fn pay(&self, required: &str, nonce: u64) -> String {
        let required = BASE64_STANDARD.decode(required).expect("base64");
        let required: Value = serde_json::from_slice(&required).expect("JSON");
        self.pay_offer(&required["accepts"][0], nonce)
    }

    /// The same, for this offer.
    pub fn pay_offer(&self, offer: &Value, nonce: u64) -> String {
        let seconds = offer["maxTimeoutSeconds"].as_u64().expect("seconds");
        self.pay_until(offer, nonce, now_s() + seconds)
    }

    /// The same, signed until then, in seconds since 1970.
    pub fn pay_until(&self, offer: &Value, nonce: u64, ends_s: u64) -> String {
        let proof = json!({
            "x402Version": 2,
            "accepted": offer,
            "payload": self.sign(offer, nonce, (now_s() - 60, ends_s)),
        });
        BASE64_STANDARD.encode(proof.to_string())
    }

    /// The value of `X-PAYMENT`, of version 1, for this offer of version 2 and the short name of its
    /// network.
    pub fn pay_v1(&self, offer: &Value, network: &str, nonce: u64) -> String {
        let now = now_s();
        let seconds = offer["maxTimeoutSeconds"].as_u64().expect("seconds");
        let proof = json!({
            "x402Version": 1,
            "scheme": "exact",
            "network": network,
            "payload": self.sign(offer, nonce, (now - 60, now + seconds)),
        });
        BASE64_STANDARD.encode(proof.to_string())
    }
}
