//! Why a proof does not do, in the codes that clients know.

/// Why a proof does not do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is its code")]
pub enum Reason {
    InvalidX402Version,
    InvalidScheme,
    InvalidNetwork,
    InvalidPaymentRequirements,
    InvalidPayload,
    ValueMismatch,
    RecipientMismatch,
    ValidAfter,
    ValidBefore,
    Signature,
    Permit2Spender,
    Permit2Recipient,
    UptoFacilitator,
    Permit2Token,
    Permit2Amount,
    Permit2Deadline,
    Permit2NotYetValid,
    Permit2Signature,
    PriceMismatch,
    AlreadyUsed,
    SettlementFailed,
    Uncollected,
}

impl Reason {
    /// The code on the wire.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidX402Version => "invalid_x402_version",
            Self::InvalidScheme => "invalid_scheme",
            Self::InvalidNetwork => "invalid_network",
            Self::InvalidPaymentRequirements => "invalid_payment_requirements",
            Self::InvalidPayload => "invalid_payload",
            Self::ValueMismatch => "invalid_exact_evm_payload_authorization_value_mismatch",
            Self::RecipientMismatch => "invalid_exact_evm_payload_recipient_mismatch",
            Self::ValidAfter => "invalid_exact_evm_payload_authorization_valid_after",
            Self::ValidBefore => "invalid_exact_evm_payload_authorization_valid_before",
            Self::Signature => "invalid_exact_evm_payload_signature",
            Self::Permit2Spender => "invalid_permit2_spender",
            Self::Permit2Recipient => "invalid_permit2_recipient_mismatch",
            Self::UptoFacilitator => "upto_facilitator_mismatch",
            Self::Permit2Token => "permit2_token_mismatch",
            Self::Permit2Amount => "permit2_amount_mismatch",
            Self::Permit2Deadline => "permit2_deadline_expired",
            Self::Permit2NotYetValid => "permit2_not_yet_valid",
            Self::Permit2Signature => "invalid_permit2_signature",
            Self::PriceMismatch => "price_mismatch",
            Self::AlreadyUsed => "payment_already_used",
            Self::SettlementFailed => "settlement_failed",
            Self::Uncollected => "payment_uncollected",
        }
    }
}
