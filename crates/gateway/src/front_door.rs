//! The front door: a second factor, before the caller is identified.
//!
//! Whatever is wrong with it, the caller sees one and the same 403. The fields that carry factors
//! go neither upstream nor into records.

use crate::admit::Entry;
use crate::lifecycle::{Exchange, Stop};
use crate::refusal::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_config::settings;
use tollkeep_crypto::jwt::{JwtKeys, JwtRefused, JwtRules, Wait};
use tollkeep_net::Raced;
use tollkeep_policy::front_door::{Certificates, Factor, FrontDoor, Shown};
use tollkeep_store::Door;

/// The data listener's front door.
pub(crate) struct FrontDoorPlan {
    rules: FrontDoor,
    service_token: Option<settings::ServiceTokenFields>,
    jwt: Option<JwtPlan>,
    mtls: Option<Certificates>,
    /// Fields that carry factors, lower case.
    fields: Vec<Box<[u8]>>,
}

/// What tokens of an identity provider are judged by.
struct JwtPlan {
    header: String,
    rules: JwtRules,
    keys: Arc<JwtKeys>,
}

/// How long a request waits for keys that are being fetched.
const KEYS_WAIT: Duration = Duration::from_secs(1);
/// How often it looks whether they have come.
const KEYS_LOOK: Duration = Duration::from_millis(20);

impl FrontDoorPlan {
    /// `keys` are those of the identity provider, where there is one.
    pub(crate) fn new(door: &settings::FrontDoor, keys: Option<&Arc<JwtKeys>>) -> Self {
        let fields = door.fields().into_iter();
        Self {
            rules: door.rules.clone(),
            service_token: door.service_token.clone(),
            jwt: door.jwt.as_ref().zip(keys).map(|(jwt, keys)| JwtPlan {
                header: jwt.header.clone(),
                rules: jwt_rules(jwt),
                keys: Arc::clone(keys),
            }),
            mtls: door.mtls.clone(),
            fields: fields.map(|name| name.as_bytes().into()).collect(),
        }
    }

    /// Whether a field carries a factor.
    pub(crate) fn hides(&self, name: &[u8]) -> bool {
        self.fields.iter().any(|own| name.eq_ignore_ascii_case(own))
    }
}

/// The rules of the settings.
fn jwt_rules(jwt: &settings::Jwt) -> JwtRules {
    let leeway_s = jwt.leeway.as_secs();
    JwtRules::new(&jwt.issuer, &jwt.audience, &jwt.algorithms, leeway_s)
}

/// What a field of a factor says.
enum Value<'v> {
    Absent,
    One(&'v [u8]),
    Twice,
}

impl Exchange<'_> {
    /// The door of what is asked for here. One who does not come in is debited like any other
    /// who proves nothing.
    ///
    /// # Errors
    /// 403; the caller hung up while keys were fetched.
    pub(crate) async fn front_door(
        &mut self,
        door: &FrontDoorPlan,
        entry: &Entry<'_>,
    ) -> Result<(), Stop> {
        let path = if self.work.head.asterisk {
            "*"
        } else {
            &self.work.path
        };
        let is_guarded = door.rules.guards(path);
        let passed = self.pass_front_door(door, is_guarded).await;
        if let Err(Stop::Refused(_)) = &passed {
            self.debit_address(entry);
        }
        passed
    }

    /// As [`Self::front_door`], for a probe.
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn front_door_of_probe(
        &mut self,
        door: &FrontDoorPlan,
        path: &str,
    ) -> Result<(), Stop> {
        let passed = self.pass_front_door(door, door.rules.guards(path)).await;
        // A probe leaves no record; one who was turned away does.
        self.work.facts.is_probe = passed.is_ok();
        passed
    }

    async fn pass_front_door(
        &mut self,
        door: &FrontDoorPlan,
        is_guarded: bool,
    ) -> Result<(), Stop> {
        if !is_guarded {
            return Ok(());
        }
        let service_token = door.service_token.as_ref();
        let service_token = service_token.map(|fields| self.service_token(fields));
        let jwt = match &door.jwt {
            Some(jwt) => Some(self.jwt(jwt).await?),
            None => None,
        };
        // What fields say of a certificate is nobody's proof: only the handshake is.
        let mtls = door.mtls.as_ref().map(|wanted| {
            let client = self.conn.tls().and_then(|tls| tls.client_now());
            wanted.judge(client.map(|client| &**client), self.store_now())
        });
        let findings = [
            (Factor::ServiceToken, service_token),
            (Factor::Jwt, jwt),
            (Factor::Certificate, mtls),
        ];
        let findings = findings
            .into_iter()
            .filter_map(|(factor, shown)| Some((factor, shown?)));
        door.rules.decide(findings).map_err(|refused| {
            tracing::debug!("{refused}");
            Refusal::FrontDoor.into()
        })
    }

    /// Judges the token. One of a key that is not known may be of a new one: if keys are fetched
    /// for it, it waits for them, but not long.
    async fn jwt(&mut self, jwt: &JwtPlan) -> Result<Shown, Stop> {
        let clock = Arc::clone(&self.worker.shared.clock);
        let judged = self.judge_jwt(jwt);
        if judged != Some(JwtRefused::UnknownKey) || jwt.keys.want(clock.mono()) == Wait::InVain {
            return Ok(self.shown_jwt(jwt, judged));
        }
        let started = clock.mono();
        let waited = |now: tollkeep_types::MonoNanos| Duration::from_nanos(now.since(started));
        while jwt.keys.is_pending(clock.mono()) && waited(clock.mono()) < KEYS_WAIT {
            self.conn.slot().set(KEYS_WAIT);
            match self
                .conn
                .race(Box::pin(tokio::time::sleep(KEYS_LOOK)))
                .await
            {
                Raced::Gone => return Err(Stop::CallerGone),
                Raced::Late => break,
                Raced::Done(()) => {}
            }
        }
        let judged = self.judge_jwt(jwt);
        Ok(self.shown_jwt(jwt, judged))
    }

    /// What is wrong with the token; `None` if nothing is, or there is not one of it.
    fn judge_jwt(&self, jwt: &JwtPlan) -> Option<JwtRefused> {
        let Value::One(token) = self.door_field(&jwt.header) else {
            return None;
        };
        let now = self.worker.shared.clock.mono();
        let Some(keys) = jwt.keys.current(now) else {
            return Some(JwtRefused::UnknownKey);
        };
        let now_s = self.store_now().0 / 1_000;
        jwt.rules.verify(token, &keys, now_s).err()
    }

    fn shown_jwt(&self, jwt: &JwtPlan, judged: Option<JwtRefused>) -> Shown {
        match (self.door_field(&jwt.header), judged) {
            (Value::Absent, _) => Shown::Absent,
            (Value::Twice, _) => Shown::Refused("is there twice"),
            (Value::One(_), None) => Shown::Passed,
            (Value::One(_), Some(refused)) => Shown::Refused(refused.words()),
        }
    }

    fn service_token(&self, fields: &settings::ServiceTokenFields) -> Shown {
        let shared = &self.worker.shared;
        let (id, secret) = match (
            self.door_field(&fields.id_header),
            self.door_field(&fields.secret_header),
        ) {
            (Value::Absent, Value::Absent) => return Shown::Absent,
            (Value::One(id), Value::One(secret)) => (id, secret),
            (Value::Absent, _) | (_, Value::Absent) => return Shown::Refused("is half there"),
            (Value::Twice, _) | (_, Value::Twice) => return Shown::Refused("is there twice"),
        };
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        let digest = shared.hasher.hash(secret);
        let known = shared.tokens.service_tokens();
        if known.admits(Door::Data, id, &digest, self.store_now()) {
            Shown::Passed
        } else {
            Shown::Refused("does not hold")
        }
    }

    fn door_field(&self, name: &str) -> Value<'_> {
        let bytes = self.conn.unread();
        let mut fields = self.work.head.fields.iter();
        let mut next =
            || fields.find(|field| field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()));
        match (next(), next()) {
            (None, _) => Value::Absent,
            (Some(field), None) => Value::One(field.value.of(bytes)),
            (Some(_), Some(_)) => Value::Twice,
        }
    }
}
