//! The closed word lists of an event: what happened, who did it, how it ended, and which details
//! it may carry.

/// A short text, filled up to a size known beforehand, so that it is copied without a call.
#[derive(Clone, Copy)]
pub(crate) struct Padded {
    text: [u8; 32],
    len: usize,
}

impl Padded {
    /// `word` between two texts.
    pub(crate) const fn new(before: &str, word: &str, after: &str) -> Self {
        let mut text = [0; 32];
        let (head, rest) = text.split_at_mut(before.len());
        head.copy_from_slice(before.as_bytes());
        let (middle, rest) = rest.split_at_mut(word.len());
        middle.copy_from_slice(word.as_bytes());
        let (tail, _) = rest.split_at_mut(after.len());
        tail.copy_from_slice(after.as_bytes());
        let len = before.len() + word.len() + after.len();
        Self { text, len }
    }

    /// HOT. Appends the text.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.text);
        out.truncate(end);
    }
}

/// Appends a word that is not of the list, quoted; one that needs escapes is said as `custom`.
#[cold]
fn own_word(out: &mut Vec<u8>, word: &str) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let is_plain = (1..=64).contains(&word.len()) && word.bytes().all(plain);
    out.push(b'"');
    out.extend_from_slice(if is_plain { word.as_bytes() } else { b"custom" });
    out.push(b'"');
}

/// Declares an enum of wire words with `ALL`, `as_str`, and `write`, which puts two texts around
/// them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident between $before:literal and $after:literal $(or $own:ident)? { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            $(
                /// A word of whoever embeds this crate: letters, digits, dots, underscores and hyphens.
                $own(&'static str),
            )?
        }

        impl $name {
            /// Every word, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                    $(Self::$own(word) => word,)?
                }
            }

            /// HOT. Appends the word with what is around it in a record.
            #[inline]
            pub(crate) fn write(self, out: &mut Vec<u8>) {
                let text = match self {
                    $(Self::$variant => const { &Padded::new($before, $word, $after) },)+
                    $(Self::$own(word) => return own_word(out, word),)?
                };
                text.write(out);
            }
        }
    };
}

words! {
    /// What happened.
    #[expect(missing_docs, reason = "the words are the documentation")]
    Action between "\"" and "\"" or Custom {
        ProxyRequest = "proxy_request",
        TokenAccess = "token.access",
        TokenValidate = "token.validate",
        TokenRefresh = "token.refresh",
        TokenCreate = "token.create",
        TokenRead = "token.read",
        TokenList = "token.list",
        TokenRotate = "token.rotate",
        TokenRevoke = "token.revoke",
        ProjectCreate = "project.create",
        ProjectRead = "project.read",
        ProjectList = "project.list",
        ManagementAuth = "management.auth",
        RateLimitExceeded = "rate_limit.exceeded",
        IpDenied = "ip.denied",
        CircuitOpen = "circuit.open",
        CircuitHalfOpen = "circuit.half_open",
        CircuitClose = "circuit.close",
        IpListAdd = "ip_list.add",
        IpListRemove = "ip_list.remove",
        MaintenanceOn = "maintenance.on",
        MaintenanceOff = "maintenance.off",
        EgressBlocked = "egress.blocked",
        RequestRejected = "request.rejected",
        SecurityViolation = "security_violation",
        ConfigLoad = "config.load",
        ConfigReload = "config.reload",
        ConfigReject = "config.reject",
        AuditOpen = "audit.open",
        AuditClose = "audit.close",
        AuditGap = "audit.gap",
        AuditRecovered = "audit.recovered",
        AuditRotate = "audit.rotate",
        AuditCheckpoint = "audit.checkpoint",
        AuditPrune = "audit.prune",
        SystemStart = "system.start",
        SystemStop = "system.stop",
        SystemDrain = "system.drain",
        SystemDegraded = "system.degraded",
        SystemRecovered = "system.recovered",
        ServiceTokenCreate = "service_token.create",
        ServiceTokenList = "service_token.list",
        ServiceTokenRotate = "service_token.rotate",
        ServiceTokenRevoke = "service_token.revoke",
        ManagementKeyCreate = "management_key.create",
        ManagementKeyRead = "management_key.read",
        ManagementKeyList = "management_key.list",
        ManagementKeyUpdate = "management_key.update",
        ManagementKeyRotate = "management_key.rotate",
        ManagementKeyRevoke = "management_key.revoke",
        OperatorCreate = "operator.create",
        OperatorRead = "operator.read",
        OperatorList = "operator.list",
        OperatorUpdate = "operator.update",
        OperatorPassword = "operator.password",
        OperatorTotp = "operator.totp",
        OperatorDisable = "operator.disable",
        OperatorEnable = "operator.enable",
        OperatorDelete = "operator.delete",
        AdminLogin = "admin.login",
        AdminLogout = "admin.logout",
        AdminAccess = "admin.access",
        SessionEnd = "session.end",
        TenantCreate = "tenant.create",
        TenantRead = "tenant.read",
        TenantList = "tenant.list",
        TenantUpdate = "tenant.update",
        TenantSuspend = "tenant.suspend",
        TenantResume = "tenant.resume",
        TenantDelete = "tenant.delete",
        ProjectUpdate = "project.update",
        ProjectDelete = "project.delete",
        BudgetCreate = "budget.create",
        BudgetRead = "budget.read",
        BudgetList = "budget.list",
        BudgetUpdate = "budget.update",
        BudgetDelete = "budget.delete",
        BudgetReset = "budget.reset",
        BudgetThreshold = "budget.threshold",
        BudgetExhausted = "budget.exhausted",
        MoneyHold = "money.hold",
        MoneyLease = "money.lease",
        BudgetOvershoot = "budget.overshoot",
        AccountOpen = "account.open",
        AccountClose = "account.close",
        MoneySettle = "money.settle",
        MoneyRelease = "money.release",
        MoneyLeaseLost = "money.lease_lost",
        LedgerOverrun = "ledger.overrun",
        LedgerUnpriced = "ledger.unpriced",
        LedgerUsageImplausible = "ledger.usage_implausible",
        MoneyCredit = "money.credit",
        MoneyRefund = "money.refund",
        MoneyAdjust = "money.adjust",
        PaymentChallenge = "payment.challenge",
        PaymentVerify = "payment.verify",
        PaymentSettle = "payment.settle",
        PaymentVoid = "payment.void",
        PaymentUnknown = "payment.unknown",
        PaymentResolve = "payment.resolve",
        SessionOpen = "session.open",
        SessionClose = "session.close",
        PriceAck = "price.ack",
        PriceOverride = "price.override",
        PriceOverrideRemove = "price.override_remove",
        PriceImport = "price.import",
        TokenUpdate = "token.update",
        TokenSuspend = "token.suspend",
        TokenResume = "token.resume",
        TokenRevokeBatch = "token.revoke_batch",
        AdminLockout = "admin.lockout",
        CertificateOrder = "certificate.order",
        CredentialCreate = "credential.create",
        CredentialRead = "credential.read",
        CredentialList = "credential.list",
        CredentialUpdate = "credential.update",
        CredentialRotate = "credential.rotate",
        CredentialDelete = "credential.delete",
        CredentialTest = "credential.test",
        CredentialRefresh = "credential.refresh",
        CredentialDisable = "credential.disable",
        CredentialEnable = "credential.enable",
        CredentialCooldown = "credential.cooldown",
        VaultMigrate = "vault.migrate",
        VaultRekey = "vault.rekey",
        VaultOpenFailed = "vault.open_failed",
        AuditList = "audit.list",
        AuditShow = "audit.show",
        AuditExport = "audit.export",
        AuditVerify = "audit.verify",
        AuditKeyList = "audit.key_list",
        AuditKeyRotate = "audit.key_rotate",
        ReceiptKeyRotate = "receipt.key_rotate",
        CachePurge = "cache.purge",
    }
}

impl Action {
    /// How durable an event of this action and outcome must be: where nothing else is said, as what
    /// operators do.
    pub const fn class(self, outcome: Outcome) -> Class {
        match (self, outcome) {
            (Self::ProxyRequest, _)
            | (Self::TokenAccess | Self::TokenValidate, Outcome::Success) => Class::Access,
            (
                Self::TokenAccess | Self::TokenValidate,
                Outcome::Failure | Outcome::Denied | Outcome::Error,
            ) => Class::Security,
            _ if self.is_of_security() => Class::Security,
            _ if self.is_of_system() => Class::System,
            _ if self.is_of_money() => Class::Money,
            _ => Class::Management,
        }
    }

    const fn is_of_security(self) -> bool {
        matches!(
            self,
            Self::ManagementAuth
                | Self::RateLimitExceeded
                | Self::IpDenied
                | Self::CircuitOpen
                | Self::CircuitHalfOpen
                | Self::CircuitClose
                | Self::IpListAdd
                | Self::IpListRemove
                | Self::MaintenanceOn
                | Self::MaintenanceOff
                | Self::AdminLockout
                | Self::AdminLogin
                | Self::AdminLogout
                | Self::AdminAccess
                | Self::SessionEnd
                | Self::EgressBlocked
                | Self::RequestRejected
                | Self::VaultOpenFailed
                | Self::SecurityViolation
        )
    }

    const fn is_of_money(self) -> bool {
        matches!(
            self,
            Self::BudgetThreshold
                | Self::BudgetExhausted
                | Self::MoneyHold
                | Self::MoneyLease
                | Self::MoneySettle
                | Self::MoneyRelease
                | Self::MoneyLeaseLost
                | Self::LedgerOverrun
                | Self::LedgerUnpriced
                | Self::LedgerUsageImplausible
                | Self::BudgetOvershoot
                | Self::PaymentChallenge
                | Self::PaymentVerify
                | Self::PaymentSettle
                | Self::PaymentVoid
                | Self::PaymentUnknown
                | Self::PaymentResolve
                | Self::SessionOpen
                | Self::SessionClose
        )
    }

    const fn is_of_system(self) -> bool {
        matches!(
            self,
            Self::AuditOpen
                | Self::AuditClose
                | Self::AuditGap
                | Self::AuditRecovered
                | Self::AuditRotate
                | Self::AuditCheckpoint
                | Self::AuditPrune
                | Self::SystemStart
                | Self::SystemStop
                | Self::SystemDrain
                | Self::SystemDegraded
                | Self::SystemRecovered
                | Self::CachePurge
                | Self::CertificateOrder
        )
    }
}

words! {
    /// How durable an event must be.
    Class between "\"" and "\"" {
        /// Calls through the data plane.
        Access = "access",
        /// Refused, denied or suspicious.
        Security = "security",
        /// A change or a read by an operator.
        Management = "management",
        /// The process and the audit itself.
        System = "system",
        /// What was taken aside, charged or given back.
        Money = "money",
    }
}

words! {
    /// Who did it.
    Actor between "\"" and "\"" {
        /// A management key.
        Management = "management",
        /// Tollkeep itself.
        System = "system",
        /// Nobody proven.
        Anonymous = "anonymous",
        /// The holder of an access token.
        Client = "client",
        /// An operator on this machine, by the local socket.
        Local = "local",
    }
}

words! {
    /// How it ended.
    Outcome between "\"" and "\"" {
        /// As asked.
        Success = "success",
        /// A wrong credential.
        Failure = "failure",
        /// A rule said no.
        Denied = "denied",
        /// We or the upstream broke.
        Error = "error",
    }
}

words! {
    /// The names a detail may have, in the order they are written.
    #[expect(missing_docs, reason = "the words are the documentation")]
    Key between ",\"" and "\":" {
        HttpMethod = "http_method",
        Endpoint = "endpoint",
        EntryDigest = "entry_digest",
        DurationMinutes = "duration_minutes",
        DurationMs = "duration_ms",
        TokenId = "token_id",
        UserAgent = "user_agent",
        Reason = "reason",
        Error = "error",
        MaxRequests = "max_requests",
        IsActive = "is_active",
        RevokedCount = "revoked_count",
        TokenRef = "token_ref",
        Fingerprint = "fingerprint",
        StatusCode = "status_code",
        Model = "model",
        Provider = "provider",
        Route = "route",
        Units = "units",
        Outcome = "outcome",
        Stream = "stream",
        BytesIn = "bytes_in",
        BytesOut = "bytes_out",
        InputTokens = "input_tokens",
        OutputTokens = "output_tokens",
        Kind = "kind",
        Count = "count",
        Name = "name",
        List = "list",
        Cidr = "cidr",
        ExpiresAt = "expires_at",
        Message = "message",
        Listener = "listener",
        Version = "version",
        TornBytes = "torn_bytes",
        Seq = "seq",
        Head = "head",
        ThroughSeq = "through_seq",
        LedgerHead = "ledger_head",
        Heads = "heads",
        File = "file",
        PublicKey = "public_key",
        Previous = "previous",
        KeyId = "key_id",
        Sig = "sig",
        Unconfirmed = "unconfirmed",
        DownMs = "down_ms",
        DryRun = "dry_run",
        CertificateSubject = "certificate_subject",
        CertificateNames = "certificate_names",
        CertificateSha256 = "certificate_sha256",
        Changed = "changed",
        Kek = "kek",
        Unreadable = "unreadable",
        Hold = "hold",
        Lease = "lease",
        Budget = "budget",
        Percent = "percent",
        Spent = "spent",
        Limit = "limit",
        WindowEnd = "window_end",
        Amount = "amount",
        Bound = "bound",
        Payment = "payment",
        Rail = "rail",
        Asset = "asset",
        Quality = "quality",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_written_whole() {
        let mut out = Vec::new();
        let mut want = String::new();
        for action in Action::ALL {
            action.write(&mut out);
            want += &format!("\"{}\"", action.as_str());
        }
        for key in Key::ALL {
            key.write(&mut out);
            want += &format!(",\"{}\":", key.as_str());
        }
        assert_eq!(out, want.as_bytes());
    }
}
