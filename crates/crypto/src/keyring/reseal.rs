//! Sealing again what is sealed already: under another key, or with another data key.

use super::{Keyring, OpenError, SealContext, SealedParts, fresh_key};
use tollkeep_types::Entropy;

/// How much of a record is made anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Depth {
    /// The data key stays and is wrapped by the key that seals now; a record under it already is
    /// left alone. As the payload is bound to the id of that key, it is encrypted anew too.
    Wrap,
    /// Every record gets a new data key.
    DataKey,
}

/// The id of the key that a text says it is sealed under.
pub fn kek_of(sealed: &str) -> Option<&str> {
    SealedParts::of(sealed).map(|parts| parts.kek)
}

impl Keyring {
    /// The record sealed under the key that seals now; `None` if nothing is to be done.
    ///
    /// # Errors
    /// [`OpenError`]: it does not open. The record is to be left as it is.
    pub fn reseal(
        &self,
        sealed: &str,
        place: &SealContext<'_>,
        depth: Depth,
        entropy: &dyn Entropy,
    ) -> Result<Option<String>, OpenError> {
        let parts = SealedParts::of(sealed).ok_or(OpenError::Malformed)?;
        let Some(kek) = self.find(parts.kek) else {
            return Err(OpenError::UnknownKek(parts.kek.to_owned()));
        };
        // Opened also where nothing is to be done, so that a broken record is told of.
        let (data_key, plain) = kek.open(&parts, place)?;
        let data_key = match depth {
            Depth::Wrap if kek.id == self.sealing.id => return Ok(None),
            Depth::Wrap => data_key,
            Depth::DataKey => fresh_key(entropy),
        };
        let resealed = self.sealing.seal(&data_key, &plain, place, entropy);
        resealed.map(Some).map_err(|_| OpenError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KekState, SystemEntropy};

    const PLACE: SealContext<'static> = SealContext {
        tenant: "ten_a",
        table: "credentials",
        row: "crd_1",
        field: "secret",
    };

    fn old() -> Keyring {
        Keyring::new("k1", &[3; 32]).unwrap()
    }

    fn new_beside_old() -> Keyring {
        let new = Keyring::new("k2", &[4; 32]).unwrap();
        new.with("k1", &[3; 32], KekState::DecryptOnly).unwrap()
    }

    fn reseal(ring: &Keyring, sealed: &str, depth: Depth) -> Option<String> {
        let resealed = ring.reseal(sealed, &PLACE, depth, &SystemEntropy);
        resealed.unwrap()
    }

    // ID-66
    #[test]
    fn a_record_moves_to_the_key_that_seals_now_and_opens_without_the_old_one() {
        let sealed = old().seal(b"sk-upstream", &PLACE, &SystemEntropy).unwrap();
        for depth in [Depth::Wrap, Depth::DataKey] {
            let moved = reseal(&new_beside_old(), &sealed, depth).unwrap();
            assert_eq!(kek_of(&moved), Some("k2"));
            let alone = Keyring::new("k2", &[4; 32]).unwrap();
            let opened = alone.open(&moved, &PLACE).unwrap();
            assert_eq!(opened.as_slice(), b"sk-upstream", "{depth:?}");
            let elsewhere = SealContext {
                row: "crd_2",
                ..PLACE
            };
            assert_eq!(alone.open(&moved, &elsewhere), Err(OpenError::Refused));
        }
    }

    // ID-66
    #[test]
    fn a_record_that_is_where_it_belongs_gets_a_new_data_key_or_stays() {
        let ring = new_beside_old();
        let sealed = ring.seal(b"x", &PLACE, &SystemEntropy).unwrap();
        assert_eq!(reseal(&ring, &sealed, Depth::Wrap), None);
        let deep = reseal(&ring, &sealed, Depth::DataKey).unwrap();
        let wrapped = |text: &str| text.split(':').nth(3).map(str::to_owned);
        assert_ne!(wrapped(&deep), wrapped(&sealed));
        assert_eq!(ring.open(&deep, &PLACE).unwrap().as_slice(), b"x");
    }

    // ID-67
    #[test]
    fn a_record_that_does_not_open_is_not_touched() {
        let sealed = old().seal(b"x", &PLACE, &SystemEntropy).unwrap();
        let elsewhere = SealContext {
            row: "crd_2",
            ..PLACE
        };
        let alone = Keyring::new("k2", &[4; 32]).unwrap();
        let unknown = Err(OpenError::UnknownKek("k1".to_owned()));
        for (name, ring, text, place, want) in [
            (
                "moved",
                &new_beside_old(),
                &*sealed,
                &elsewhere,
                Err(OpenError::Refused),
            ),
            ("unknown key", &alone, &sealed, &PLACE, unknown),
            (
                "no sealed text",
                &alone,
                "x",
                &PLACE,
                Err(OpenError::Malformed),
            ),
        ] {
            let got = ring.reseal(text, place, Depth::DataKey, &SystemEntropy);
            assert_eq!(got, want, "{name}");
        }
    }

    // ID-66
    #[test]
    fn only_an_active_key_can_become_the_one_that_seals() {
        let ring = new_beside_old();
        let ring = ring.with("k3", &[5; 32], KekState::Active).unwrap();
        for (id, want) in [("k3", true), ("k2", true), ("k1", false), ("k9", false)] {
            assert_eq!(ring.sealing_under(id).is_some(), want, "{id}");
        }
        let next = ring.succeeded_by("k4", &[6; 32]).unwrap();
        assert_eq!(next.sealing_id(), "k4");
        assert!(next.sealing_under("k3").is_none(), "it only opens now");
        let third = ring.sealing_under("k3").unwrap();
        assert_eq!(third.sealing_id(), "k3");
        let told: Vec<_> = third.keks().map(|kek| (kek.id, kek.seals)).collect();
        assert_eq!(told, [("k3", true), ("k2", false), ("k1", false)]);
    }
}
