//! When a token may be used.

use std::str::FromStr;
use tollkeep_types::WallMillis;

/// The stored state of a token. Time alone ends tokens too: see [`Standing`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenState {
    /// In use.
    Active,
    /// Replaced, and in use until its grace ends.
    Rotating,
    /// Switched off until it is resumed.
    Suspended,
    /// Ended for good by an operator or by a rotation.
    Revoked,
}

impl TokenState {
    /// The word for it in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Rotating => "rotating",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }
}

impl FromStr for TokenState {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let states = [Self::Active, Self::Rotating, Self::Suspended, Self::Revoked];
        let found = states.into_iter().find(|state| state.as_str() == word);
        found.ok_or(())
    }
}

/// What may be done with a token at a moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It may be used.
    Live,
    /// Switched off, could be resumed.
    Suspended,
    /// Past its end, or unused for too long.
    Expired,
    /// Revoked, or past its grace after a rotation.
    Revoked,
}

/// The facts that decide a [`Standing`].
pub(crate) struct Lifetime {
    pub(crate) state: TokenState,
    pub(crate) expires_at: Option<WallMillis>,
    pub(crate) grace_ends_at: Option<WallMillis>,
    pub(crate) idle_ttl_ms: Option<u64>,
    /// When it was last used, or made.
    pub(crate) last_used_at: WallMillis,
}

impl Lifetime {
    /// The standing at `now`; at the very millisecond of an end the token has ended.
    pub(crate) fn standing(&self, now: WallMillis) -> Standing {
        let passed = |end: Option<WallMillis>| end.is_some_and(|end| end <= now);
        let idle_end = self
            .idle_ttl_ms
            .map(|ttl| WallMillis(self.last_used_at.0.saturating_add(ttl)));
        match self.state {
            TokenState::Revoked => Standing::Revoked,
            TokenState::Rotating if passed(self.grace_ends_at) => Standing::Revoked,
            _ if passed(self.expires_at) || passed(idle_end) => Standing::Expired,
            TokenState::Suspended => Standing::Suspended,
            TokenState::Active | TokenState::Rotating => Standing::Live,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> WallMillis {
        WallMillis(millis)
    }

    const PLAIN: Lifetime = Lifetime {
        state: TokenState::Active,
        expires_at: None,
        grace_ends_at: None,
        idle_ttl_ms: None,
        last_used_at: at(100),
    };

    const fn in_state(state: TokenState) -> Lifetime {
        Lifetime {
            state,
            expires_at: Some(at(1000)),
            ..PLAIN
        }
    }

    // ID-21
    #[test]
    fn time_ends_a_token_at_the_very_millisecond() {
        let until = |end| Lifetime {
            expires_at: Some(at(end)),
            ..PLAIN
        };
        let idle = |ttl| Lifetime {
            idle_ttl_ms: Some(ttl),
            ..PLAIN
        };
        for (name, lifetime, now, want) in [
            ("eternal", PLAIN, u64::MAX, Standing::Live),
            ("just before its end", until(1000), 999, Standing::Live),
            ("at its end", until(1000), 1000, Standing::Expired),
            ("after its end", until(1000), 1001, Standing::Expired),
            ("idle for less", idle(50), 149, Standing::Live),
            ("idle for as long", idle(50), 150, Standing::Expired),
            ("no idle end", idle(u64::MAX), u64::MAX - 1, Standing::Live),
        ] {
            assert_eq!(lifetime.standing(at(now)), want, "{name}");
        }
    }

    // ID-30
    #[test]
    fn the_state_and_the_end_of_the_grace_count_too() {
        let grace = |end| Lifetime {
            grace_ends_at: Some(at(end)),
            ..in_state(TokenState::Rotating)
        };
        let suspended = || in_state(TokenState::Suspended);
        let revoked = || in_state(TokenState::Revoked);
        for (name, lifetime, now, want) in [
            ("suspended", suspended(), 999, Standing::Suspended),
            ("suspended and over", suspended(), 1000, Standing::Expired),
            ("in its grace", grace(500), 499, Standing::Live),
            ("after its grace", grace(500), 500, Standing::Revoked),
            ("over in its grace", grace(2000), 1000, Standing::Expired),
            ("revoked", revoked(), 0, Standing::Revoked),
            ("revoked and over", revoked(), 1000, Standing::Revoked),
        ] {
            assert_eq!(lifetime.standing(at(now)), want, "{name}");
        }
    }

    #[test]
    fn a_state_is_read_from_its_word() {
        for state in [
            TokenState::Active,
            TokenState::Rotating,
            TokenState::Suspended,
            TokenState::Revoked,
        ] {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!("Active".parse::<TokenState>(), Err(()));
    }
}
