//! One-time codes of operators: each switches on their own; whoever may make them can only switch
//! them off, for somebody who lost their device.

use super::{changed, check_grant, find, is_own, told};
use crate::State;
use crate::authn::Who;
use crate::operation::Call;
use crate::problem::Problem;
use crate::router::{Answer, ok};
use crate::shape::{Member, text, texts};
use serde_json::json;
use tollkeep_audit::Action;
use tollkeep_crypto::{SealContext, totp};
use tollkeep_store::{
    LastOwner, Operator as Person, OperatorChange, OperatorSecrets, SecondFactor,
};
use tollkeep_types::{Secret, TokenHash};

/// Codes for when the device is lost.
const RECOVERY_CODES: usize = 10;
/// Who the codes are for, as devices show it.
const ISSUER: &str = "Tollkeep";

pub(super) const BEGUN: &[Member] = &[
    text(
        "secret",
        64,
        "What a device makes codes from, shown here alone",
    ),
    text(
        "link",
        1000,
        "The same as a link for devices, shown here alone",
    ),
];

pub(super) const CONFIRM: &[Member] =
    &[text("code", 6, "A code of the device, which shows that it works").required()];

pub(super) const CONFIRMED: &[Member] = &[texts(
    "recovery_codes",
    10,
    40,
    "Codes to sign in with without the device, each once, shown here alone",
)];

pub(super) async fn begin(call: Call) -> Answer {
    check_own(&call)?;
    let person = find(&call).await?;
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
    body.done()?;
    if person.login.is_none() || person.totp_is_on {
        let detail = "Codes are asked for already, or the identity provider asks for them.";
        return Err(Problem::conflict(detail));
    }
    state.check_audit()?;
    let mut secret = [0; totp::SECRET_BYTES];
    state.parts.entropy.fill(&mut secret);
    let sealed = state.sealed_totp(&person, &secret)?;
    let change = OperatorChange::TotpBegin { sealed };
    let store = &state.parts.store;
    let person = store
        .change_operator(operator.scope(), person, change, LastOwner::MayGo)
        .await?;
    let begun = told(&state, &operator, Action::OperatorTotp, &person).with_reason("begun");
    state.record(begun).await?;
    Ok(ok(&json!({
        "secret": totp::base32(&secret).expose(),
        "link": totp::link(ISSUER, &person.name, &secret).expose(),
    })))
}

pub(super) async fn confirm(call: Call) -> Answer {
    check_own(&call)?;
    let person = find(&call).await?;
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let code = members.text("code");
    members.done()?;
    let store = &state.parts.store;
    let secrets = store.operator_secrets(operator.scope(), person.id).await?;
    if person.totp_is_on || secrets.totp.is_none() {
        return Err(Problem::conflict("There is no device to confirm."));
    }
    let secret = state.opened_totp(&person, &secrets)?;
    let now_s = store.now().0 / 1000;
    let step = totp::matching_step(&secret, &code.unwrap_or_default(), now_s, None);
    let Some(step) = step else {
        state.count_failure(&operator.asked);
        return Err(Problem::wrong_code());
    };
    state.check_audit()?;
    let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| state.recovery_code()).collect();
    let change = OperatorChange::TotpOn {
        step,
        recovery_codes: codes
            .iter()
            .map(|code| state.recovery_digest(code))
            .collect(),
    };
    let person = store
        .change_operator(operator.scope(), person, change, LastOwner::MayGo)
        .await?;
    let on = told(&state, &operator, Action::OperatorTotp, &person).with_reason("on");
    state.record(on).await?;
    Ok(ok(&json!({ "recovery_codes": codes })))
}

pub(super) async fn off(call: Call) -> Answer {
    let person = find(&call).await?;
    let (state, operator) = (&call.state, &call.operator);
    if is_own(operator, &person) {
        // Whoever found a session open must not make it the only thing that is needed.
        let holds = state.settings().management.session.proof;
        let now = state.parts.store.now();
        if let Some(signed) = &operator.session {
            signed.check_proof(now, holds)?;
        }
    } else {
        check_grant(operator, person.role)?;
    }
    let change = OperatorChange::TotpOff;
    changed(state, operator, person, change, Action::OperatorTotp).await
}

/// Nobody switches codes on for somebody else.
fn check_own(call: &Call) -> Result<(), Problem> {
    match &call.operator.who {
        Who::Person(own) if own.id.to_string() == call.id => Ok(()),
        Who::Person(_)
        | Who::Key(_)
        | Who::Environment
        | Who::Local { .. }
        | Who::Loopback
        | Who::Nobody(_) => Err(Problem::forbidden()),
    }
}

impl State {
    fn sealed_totp(&self, person: &Person, secret: &[u8]) -> Result<String, Problem> {
        let (row, tenant) = self.totp_place(person);
        let entropy = self.parts.entropy.as_ref();
        let keyring = self.parts.runtime.keyring();
        let sealed = keyring.seal(secret, &place(&row, &tenant), entropy);
        sealed.map_err(|_| Problem::internal())
    }

    fn opened_totp(&self, person: &Person, secrets: &OperatorSecrets) -> Result<Vec<u8>, Problem> {
        let (row, tenant) = self.totp_place(person);
        let sealed = secrets.totp.as_deref().unwrap_or_default();
        let opened = self
            .parts
            .runtime
            .keyring()
            .open(sealed, &place(&row, &tenant));
        opened.map(|secret| secret.to_vec()).map_err(|error| {
            tracing::error!("The secret of an operator's codes does not open: {error}");
            Problem::internal()
        })
    }

    fn totp_place(&self, person: &Person) -> (String, String) {
        let default = self.parts.store.default_tenant().id;
        let tenant = person.tenant_id.unwrap_or(default);
        (person.id.to_string(), tenant.to_string())
    }

    /// A code such as `k3zu-7mqw-2xpa-9rty`: 80 random bits.
    fn recovery_code(&self) -> String {
        let mut bytes = [0; 10];
        self.parts.entropy.fill(&mut bytes);
        let letters = totp::base32(&bytes).expose().to_ascii_lowercase();
        let letters: Vec<char> = letters.chars().collect();
        let parts: Vec<String> = letters
            .chunks(4)
            .map(|part| part.iter().collect())
            .collect();
        parts.join("-")
    }

    fn recovery_digest(&self, code: &str) -> TokenHash {
        let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
        let plain = plain.to_ascii_lowercase();
        self.parts.hasher.hash(format!("recovery {plain}"))
    }

    /// What was shown beside a right password; `None` if it is no code of theirs.
    pub(crate) fn second_factor(
        &self,
        person: &Person,
        secrets: &OperatorSecrets,
        code: &Secret,
    ) -> Result<Option<SecondFactor>, Problem> {
        let code = code.expose().trim();
        let is_totp = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        if !is_totp {
            return Ok(Some(SecondFactor::Recovery(self.recovery_digest(code))));
        }
        let secret = self.opened_totp(person, secrets)?;
        let now_s = self.parts.store.now().0 / 1000;
        let step = totp::matching_step(&secret, code, now_s, secrets.totp_step);
        Ok(step.map(|step| SecondFactor::Totp { step }))
    }
}

const fn place<'p>(row: &'p str, tenant: &'p str) -> SealContext<'p> {
    SealContext {
        tenant,
        table: "operators",
        row,
        field: "totp",
    }
}
