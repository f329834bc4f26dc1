//! Signing in at an identity provider from the command line. The command listens on loopback and keeps
//! a verifier; the browser is sent there at the end of its login with a short-lived text, which is
//! good once and only together with the verifier (as RFC 8252 and RFC 7636 have it between a provider
//! and a program). What is handed over says everything, so that any replica can take it.

use super::found::is_same;
use super::login::Proven;
use crate::State;
use crate::authn::Who;
use crate::parameters::Parameters;
use crate::problem::Problem;
use std::sync::Arc;
use tollkeep_crypto::sha256;
use tollkeep_store::SessionHolder;
use tollkeep_types::{OperatorId, Secret, WallMillis};

/// How long it may be taken.
const TAKEN_MS: u64 = 60_000;
/// Characters of a challenge: a SHA-256 digest in hex.
const CHALLENGE_CHARS: usize = 64;

/// The command that waits for a login.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Waiting {
    /// Where it listens on loopback.
    pub(super) port: u16,
    /// What its verifier comes to.
    challenge: String,
}

impl Waiting {
    /// The one that a login is begun for, if it is for one.
    ///
    /// # Errors
    /// Half of what says which, or something else.
    pub(super) fn asked(query: &Parameters) -> Result<Option<Self>, Problem> {
        let (port, challenge) = (query.get("port"), query.get("challenge"));
        if port.is_none() && challenge.is_none() {
            return Ok(None);
        }
        let read = port
            .zip(challenge)
            .and_then(|(port, challenge)| Self::read(&format!("{port}-{challenge}")));
        let problem =
            "`port` is from 1024 to 65535, `challenge` a SHA-256 digest in hex: send both.";
        read.map(Some).ok_or_else(|| Problem::bad_request(problem))
    }

    /// As [`Self::written`] has it.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (port, challenge) = text.split_once('-')?;
        let port = port.parse().ok().filter(|port| *port >= 1024)?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_digest = challenge.len() == CHALLENGE_CHARS && challenge.bytes().all(is_hex);
        is_digest.then(|| Self {
            port,
            challenge: challenge.to_owned(),
        })
    }

    /// For the login's own text.
    pub(super) fn written(&self) -> String {
        format!("{}-{}", self.port, self.challenge)
    }

    /// Whether it is the one with this verifier.
    fn is_of(&self, verifier: &Secret) -> bool {
        let digest = sha256(&[verifier.expose().as_bytes()]);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        is_same(hex.as_bytes(), self.challenge.as_bytes())
    }
}

impl State {
    /// Where the browser of somebody who has proved who they are is sent.
    pub(super) fn hand_over(&self, to: &Waiting, proven: &Proven) -> Result<String, Problem> {
        let SessionHolder::Operator(id) = proven.holder else {
            return Err(Problem::internal());
        };
        let until = self.parts.store.now().0.saturating_add(TAKEN_MS);
        let text = format!("{until}-{id}-{}-{}", proven.proved_at.0, to.written());
        let mark = self.derived("handed over", &Secret::new(&*text));
        let port = to.port;
        Ok(format!(
            "http://127.0.0.1:{port}/?login={text}-{}",
            mark.expose()
        ))
    }

    /// Takes what was handed over, once. Says why not, for the records.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        login: &Secret,
        verifier: &Secret,
    ) -> Result<Result<Proven, &'static str>, Problem> {
        let Some((until, id, proved_at, waiting)) = self.handed_over(login) else {
            return Ok(Err("login_state"));
        };
        let store = &self.parts.store;
        if store.now() >= until {
            return Ok(Err("login_late"));
        }
        if !waiting.is_of(verifier) {
            return Ok(Err("login_verifier"));
        }
        let digest = self.parts.hasher.hash(format!("taken {}", login.expose()));
        if !store.use_provider_login(digest, until).await? {
            return Ok(Err("login_replayed"));
        }
        let Some(person) = store.live_operator(id).await? else {
            return Ok(Err("disabled"));
        };
        Ok(Ok(Proven {
            holder: SessionHolder::Operator(id),
            who: Who::Person(Arc::new(person)),
            proved_at,
        }))
    }

    fn handed_over(&self, login: &Secret) -> Option<(WallMillis, OperatorId, WallMillis, Waiting)> {
        let (text, mark) = login.expose().rsplit_once('-')?;
        let own = self.derived("handed over", &Secret::new(text));
        if !is_same(own.expose().as_bytes(), mark.as_bytes()) {
            return None;
        }
        let mut parts = text.splitn(4, '-');
        let until = WallMillis(parts.next()?.parse().ok()?);
        let id = parts.next()?.parse().ok()?;
        let proved_at = WallMillis(parts.next()?.parse().ok()?);
        Some((until, id, proved_at, Waiting::read(parts.next()?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_a_port_and_a_digest() {
        let digest = "0f".repeat(32);
        for (name, text, want) in [
            ("both", format!("40000-{digest}"), true),
            ("a port of the system", format!("80-{digest}"), false),
            ("no port", format!("-{digest}"), false),
            ("more than a port", format!("70000-{digest}"), false),
            ("short", "40000-0f".to_owned(), false),
            (
                "capitals",
                format!("40000-{}", digest.to_uppercase()),
                false,
            ),
            ("a place", format!("40000-@evil.example/{digest}"), false),
            ("nothing", String::new(), false),
        ] {
            let read = Waiting::read(&text);
            assert_eq!(read.is_some(), want, "{name}");
            assert!(read.is_none_or(|read| read.written() == text), "{name}");
        }
        let waiting = Waiting {
            port: 40_000,
            challenge: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
                .to_owned(),
        };
        assert!(waiting.is_of(&Secret::new("abc")));
        assert!(!waiting.is_of(&Secret::new("abd")) && !waiting.is_of(&Secret::new("")));
    }
}
