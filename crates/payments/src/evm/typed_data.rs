//! Typed data (EIP-712) that payers sign: authorised transfers (EIP-3009) and Permit2 witnesses.
//!
//! Each hash is made of what *we* know of the token and the chain. What a caller says about them
//! is never hashed, or a signature for worthless money would pass.

use super::signature::signer;
use super::{Address, Signature, SignatureFault, keccak256};
use crate::U256;

/// Where a signature is valid.
#[derive(Clone, Copy, Debug)]
pub struct Domain<'a> {
    /// The name of the contract.
    pub name: &'a str,
    /// Its version; Permit2 has none.
    pub version: Option<&'a str>,
    /// The chain.
    pub chain_id: u64,
    /// The contract.
    pub contract: Address,
}

const DOMAIN: &[u8] =
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const DOMAIN_WITHOUT_VERSION: &[u8] =
    b"EIP712Domain(string name,uint256 chainId,address verifyingContract)";

impl Domain<'_> {
    /// What a contract calls its `DOMAIN_SEPARATOR`.
    pub fn separator(&self) -> [u8; 32] {
        let name = keccak256(&[self.name.as_bytes()]);
        let chain = U256::from(self.chain_id);
        let contract = self.contract.word();
        match self.version {
            Some(version) => {
                let kind = keccak256(&[DOMAIN]);
                let version = keccak256(&[version.as_bytes()]);
                keccak256(&[&kind, &name, &version, chain.bytes(), &contract])
            }
            None => {
                let kind = keccak256(&[DOMAIN_WITHOUT_VERSION]);
                keccak256(&[&kind, &name, chain.bytes(), &contract])
            }
        }
    }

    /// What is signed for a struct of this hash.
    fn signed(&self, hashed: [u8; 32]) -> [u8; 32] {
        keccak256(&[b"\x19\x01", &self.separator(), &hashed])
    }
}

/// A transfer that its payer signed (EIP-3009).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TransferAuthorization {
    /// Who pays.
    pub from: Address,
    /// Who is paid.
    pub to: Address,
    /// How much, in the smallest unit of the token.
    pub value: U256,
    /// It is valid after this second.
    pub valid_after: U256,
    /// It is valid before this second.
    pub valid_before: U256,
    /// Each is spent once.
    pub nonce: [u8; 32],
}

const TRANSFER: &[u8] = b"TransferWithAuthorization(address from,address to,uint256 value,\
                          uint256 validAfter,uint256 validBefore,bytes32 nonce)";

impl TransferAuthorization {
    fn hashed(&self) -> [u8; 32] {
        keccak256(&[
            &keccak256(&[TRANSFER]),
            &self.from.word(),
            &self.to.word(),
            self.value.bytes(),
            self.valid_after.bytes(),
            self.valid_before.bytes(),
            &self.nonce,
        ])
    }

    /// What its payer signs.
    pub fn digest(&self, domain: &Domain<'_>) -> [u8; 32] {
        domain.signed(self.hashed())
    }

    /// Whose signature this is. `None` is that of a contract, which only the chain can judge.
    ///
    /// # Errors
    /// It is malleable, or nobody's.
    pub fn signer(
        &self,
        domain: &Domain<'_>,
        signature: &Signature,
    ) -> Result<Option<Address>, SignatureFault> {
        recover(self.digest(domain), signature)
    }
}

/// What a transfer by Permit2 is bound to besides its amount.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Witness {
    /// Who is paid.
    pub to: Address,
    /// Who may settle less than was permitted; in scheme `upto` only.
    pub facilitator: Option<Address>,
    /// It is valid from this second on.
    pub valid_after: U256,
}

/// A transfer by Permit2 that its payer signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Permit2 {
    /// Who pays.
    pub from: Address,
    /// The token.
    pub token: Address,
    /// How much at most, in its smallest unit.
    pub amount: U256,
    /// The contract that may take it.
    pub spender: Address,
    /// Each is spent once.
    pub nonce: U256,
    /// It is valid up to this second.
    pub deadline: U256,
    /// What it is bound to.
    pub witness: Witness,
}

/// The contract of Permit2, the same on every chain.
pub const PERMIT2: Address = Address::from_bytes([
    0x00, 0x00, 0x00, 0x00, 0x00, 0x22, 0xd4, 0x73, 0x03, 0x0f, 0x11, 0x6d, 0xde, 0xe9, 0xf6, 0xb4,
    0x3a, 0xc7, 0x8b, 0xa3,
]);

const PERMITTED: &[u8] = b"TokenPermissions(address token,uint256 amount)";
const WITNESS: &[u8] = b"Witness(address to,uint256 validAfter)";
const WITNESS_UPTO: &[u8] = b"Witness(address to,address facilitator,uint256 validAfter)";
const PERMIT: &[u8] = b"PermitWitnessTransferFrom(TokenPermissions permitted,address spender,\
                        uint256 nonce,uint256 deadline,Witness witness)";

impl Permit2 {
    fn hashed(&self) -> [u8; 32] {
        let witness = &self.witness;
        let (kind, hashed) = match &witness.facilitator {
            None => {
                let kind = keccak256(&[WITNESS]);
                let after = witness.valid_after.bytes();
                (WITNESS, keccak256(&[&kind, &witness.to.word(), after]))
            }
            Some(facilitator) => {
                let kind = keccak256(&[WITNESS_UPTO]);
                let after = witness.valid_after.bytes();
                let parts: [&[u8]; 4] = [&kind, &witness.to.word(), &facilitator.word(), after];
                (WITNESS_UPTO, keccak256(&parts))
            }
        };
        let permitted = keccak256(&[
            &keccak256(&[PERMITTED]),
            &self.token.word(),
            self.amount.bytes(),
        ]);
        keccak256(&[
            // The structs that are named in it follow it, in the order of their names.
            &keccak256(&[PERMIT, PERMITTED, kind]),
            &permitted,
            &self.spender.word(),
            self.nonce.bytes(),
            self.deadline.bytes(),
            &hashed,
        ])
    }

    /// Whose signature this is on this chain. `None` is that of a contract, which only the chain
    /// can judge.
    ///
    /// # Errors
    /// It is malleable, or nobody's.
    pub fn signer(
        &self,
        chain_id: u64,
        signature: &Signature,
    ) -> Result<Option<Address>, SignatureFault> {
        let domain = Domain {
            name: "Permit2",
            version: None,
            chain_id,
            contract: PERMIT2,
        };
        recover(domain.signed(self.hashed()), signature)
    }
}

fn recover(hash: [u8; 32], signature: &Signature) -> Result<Option<Address>, SignatureFault> {
    match signature {
        Signature::Key { compact, recovery } => signer(hash, compact, *recovery).map(Some),
        Signature::Contract(_) => Ok(None),
    }
}
