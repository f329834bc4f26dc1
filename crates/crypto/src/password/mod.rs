//! Passwords of people: which ones are taken, and what is kept of them.
//!
//! Keys and tokens need none of this: nobody guesses 256 random bits, and a slow hash would be a
//! weapon against us. What people choose is guessed, so it is kept as an Argon2id hash.

mod frequent;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tollkeep_types::{Entropy, Secret};
use zeroize::Zeroizing;

/// Characters of a password at least.
pub const CHARS_MIN: usize = 12;
/// Characters of a password at most: nobody types more, and everything is hashed.
pub const CHARS_MAX: usize = 1000;

/// What OWASP's password storage cheat sheet gives as the least: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How hashes with these parameters begin (the PHC string format).
const START: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// A password was not hashed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct NotHashed;

/// What is wrong with a password that somebody of these names chooses.
pub fn fault(password: &Secret, names: &[&str]) -> Option<&'static str> {
    let text = password.expose();
    let chars = text.chars().count();
    if chars < CHARS_MIN {
        return Some("12 characters at least");
    }
    if chars > CHARS_MAX {
        return Some("1000 characters at most");
    }
    let lower = Zeroizing::new(text.to_lowercase());
    let is_named = |name: &&str| name.chars().count() >= 4 && lower.contains(&name.to_lowercase());
    if names.iter().any(is_named) {
        return Some("has the operator's own name in it");
    }
    frequent::is_frequent(&lower).then_some("is one of the passwords that are tried first")
}

/// What is kept of a password. It takes tens of milliseconds and 19 MiB.
///
/// # Errors
/// There is no memory for it.
pub fn hash(password: &Secret, entropy: &dyn Entropy) -> Result<String, NotHashed> {
    let mut salt = [0; SALT_BYTES];
    entropy.fill(&mut salt);
    let hash = derived(password, &salt)?;
    let (salt, hash) = (
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(&hash[..]),
    );
    Ok(format!("{START}{salt}${hash}"))
}

/// Whether a password is that of a hash. Without one it takes as long, and is not.
pub fn verify(password: &Secret, kept: Option<&str>) -> bool {
    let read = kept.and_then(read);
    let is_there = read.is_some();
    let (salt, kept) = read.unwrap_or(([0; SALT_BYTES], [0; HASH_BYTES]));
    let Ok(hash) = derived(password, &salt) else {
        return false;
    };
    verify_slices_are_equal(&hash[..], &kept).is_ok() && is_there
}

fn read(kept: &str) -> Option<([u8; SALT_BYTES], [u8; HASH_BYTES])> {
    let (salt, hash) = kept.strip_prefix(START)?.split_once('$')?;
    let decode = |text| STANDARD_NO_PAD.decode(text).ok();
    Some((
        decode(salt)?.try_into().ok()?,
        decode(hash)?.try_into().ok()?,
    ))
}

fn derived(password: &Secret, salt: &[u8]) -> Result<Zeroizing<[u8; HASH_BYTES]>, NotHashed> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).map_err(|_| NotHashed)?;
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.expose().as_bytes(), salt, &mut hash[..])
        .map_err(|_| NotHashed)?;
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    // ID-123
    #[test]
    fn a_hash_is_argon2id_with_the_parameters_and_a_salt_of_its_own() {
        let password = Secret::new("correct horse battery");
        let (one, other) = (
            hash(&password, &SystemEntropy).unwrap(),
            hash(&password, &SystemEntropy).unwrap(),
        );
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, other);
        assert!(verify(&password, Some(&one)) && verify(&password, Some(&other)));
        assert!(!verify(&Secret::new("correct horse batterY"), Some(&one)));
        let weaker = one.replace("t=2", "t=1");
        for (name, kept) in [
            ("none", None),
            ("empty", Some("")),
            ("of other parameters", Some(&*weaker)),
            ("cut", one.get(..one.len() - 1)),
        ] {
            assert!(!verify(&password, kept), "{name}");
        }
    }

    // ID-123
    #[test]
    fn the_hash_is_that_of_the_reference_implementation() {
        // What Python's argon2-cffi, which wraps the reference C code, gives.
        let kept = REFERENCE;
        assert!(verify(&Secret::new("correct horse battery"), Some(kept)));
        assert!(!verify(&Secret::new("correct horse"), Some(kept)));
    }

    const REFERENCE: &str = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$69I7qCjDTsQwhQqFvpQJiqEI0lGQvxC84fXE0Ktxca4";

    // ID-123
    #[test]
    fn passwords_that_are_guessed_first_are_refused() {
        for (name, password, is_good) in [
            ("eleven characters", "k3-Zu7!mQw2", false),
            ("twelve characters", "k3-Zu7!mQw2x", true),
            ("twelve characters of two bytes", "äöüßäöüßéèêç", true),
            ("a sentence", "many small blue teapots", true),
            ("on the list", "qwertyuiop123", false),
            ("in other case", "QwertyUIOP123", false),
            ("a common one and a year", "password2026!", false),
            ("a common one between digits", "2026!sunshine!2026", false),
            ("a common one twice", "sunshinesunshine", false),
            ("one character", "aaaaaaaaaaaaaaaa", false),
            ("a few characters", "ababababababab", false),
            ("digits in a row", "123456789012", false),
            ("digits back", "9876543210987", false),
            ("the own name", "xx-jane.roe-2026", false),
            ("huge", &"kZu7!".repeat(201), false),
        ] {
            let fault = fault(&Secret::new(password), &["Jane.Roe", "x"]);
            assert_eq!(fault.is_none(), is_good, "{name}: {fault:?}");
        }
    }
}
