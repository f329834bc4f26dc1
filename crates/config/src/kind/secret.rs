//! Secrets, and the values of fields that may be secrets.

use super::{Kind, Secrecy, Shape, Wrong};
use crate::settings::SecretOrText;
use crate::tree::Node;
use serde_json::json;
use tollkeep_types::Secret;

/// Bytes of a secret or a field value.
const BYTES_MAX: usize = 16 * 1024;

/// A secret text.
pub(crate) struct SecretText;

/// A secret.
pub(crate) const fn secret() -> SecretText {
    SecretText
}

impl Kind for SecretText {
    type Value = Secret;

    fn shape(&self) -> Shape {
        let words = "secret, as `${NAME}` or `${file:/path}`";
        Shape::new(json!({"type": "string"}), words).secret()
    }

    fn read(&self, node: &Node) -> Result<Secret, Vec<Wrong>> {
        let text = node.text()?;
        visible(text, node)?;
        Ok(Secret::new(text))
    }
}

/// The URL of a proxy.
pub(crate) struct ProxyUrl;

/// The URL of a proxy; with a login in it, a secret.
pub(crate) const fn proxy_url() -> ProxyUrl {
    ProxyUrl
}

impl Kind for ProxyUrl {
    type Value = Secret;

    fn shape(&self) -> Shape {
        let words = "URL, one with a login as `${NAME}` or `${file:/path}`";
        Shape::new(json!({"type": "string"}), words).secret()
    }

    fn secrecy_of(&self, node: &Node) -> Secrecy {
        match node.as_text() {
            Some(text) if !text.contains('@') => Secrecy::Open,
            Some(_) | None => Secrecy::Secret,
        }
    }

    fn read(&self, node: &Node) -> Result<Secret, Vec<Wrong>> {
        secret().read(node)
    }
}

/// The secret of a provider credential.
pub(crate) struct CredentialText;

/// A provider's secret, or the word `none` for a call without one. Placeholders are refused (LLM-R5, ID-15).
pub(crate) const fn credential() -> CredentialText {
    CredentialText
}

impl Kind for CredentialText {
    type Value = Option<Secret>;

    fn shape(&self) -> Shape {
        let words = "secret, as `${NAME}` or `${file:/path}`, or `none`";
        Shape::new(json!({"type": "string"}), words).secret()
    }

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let text = node.text()?;
        if text == "none" {
            return Ok(None);
        }
        match credential_fault(text) {
            Some(fault) => Err(Wrong::of(node, fault)),
            None => Ok(Some(Secret::new(text))),
        }
    }
}

/// Whether a text is a secret as lists show it rather than the secret (ID-71).
pub fn looks_masked(text: &str) -> bool {
    ["****", "…", "..."].iter().any(|mask| text.contains(mask))
}

/// What keeps a text from being a provider's secret.
pub fn credential_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("is empty")
    } else if text.len() > BYTES_MAX {
        Some("is longer than 16384 bytes")
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some(NOT_VISIBLE)
    } else if is_placeholder(text) {
        Some("is a placeholder, not a secret")
    } else {
        None
    }
}

const NOT_VISIBLE: &str = "holds a blank, a control byte or a non-ASCII character";

/// The secret of a key that both sides hold.
pub(crate) struct SharedKey;

/// Characters a shared key has at least.
const SHARED_KEY_CHARS_MIN: usize = 32;

/// A key shared with an origin; the bytes of its text are the key.
pub(crate) const fn shared_key() -> SharedKey {
    SharedKey
}

impl Kind for SharedKey {
    type Value = Secret;

    fn shape(&self) -> Shape {
        let words = "secret of at least 32 characters, as `${NAME}` or `${file:/path}`";
        let schema = json!({"type": "string", "minLength": SHARED_KEY_CHARS_MIN});
        Shape::new(schema, words).secret()
    }

    fn read(&self, node: &Node) -> Result<Secret, Vec<Wrong>> {
        let text = node.text()?;
        visible(text, node)?;
        if text.chars().count() < SHARED_KEY_CHARS_MIN {
            let problem = format!("is shorter than {SHARED_KEY_CHARS_MIN} characters");
            return Err(Wrong::of(node, problem));
        }
        if is_placeholder(text) {
            return Err(Wrong::of(node, "is a placeholder, not a secret"));
        }
        Ok(Secret::new(text))
    }
}

/// A secret goes into a field or is decoded; neither takes blanks or control bytes.
fn visible(text: &str, node: &Node) -> Result<(), Vec<Wrong>> {
    if text.len() > BYTES_MAX {
        return Err(Wrong::of(node, format!("is longer than {BYTES_MAX} bytes")));
    }
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Wrong::of(node, NOT_VISIBLE))
}

/// Texts that stand in documentation where a secret should be.
fn is_placeholder(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let starts = ["your-api-key", "your_", "sk-xxxx", "sk-...", "<", "replace"];
    let whole = ["changeme", "change-me", "sk-1234", "e2e-management-token"];
    starts.iter().any(|start| text.starts_with(start)) || whole.contains(&text.as_str())
}

/// The value of a field set on upstream requests.
pub(crate) struct Header {
    secrecy: Secrecy,
}

/// The value of a field set on upstream requests; that of a credential field is a secret.
pub(crate) fn header(name: &str) -> Header {
    let secrecy = if sounds_secret(name) {
        Secrecy::Secret
    } else {
        Secrecy::Open
    };
    Header { secrecy }
}

fn sounds_secret(name: &str) -> bool {
    const SECRET: [&str; 6] = ["auth", "key", "token", "secret", "cookie", "password"];
    SECRET.iter().any(|part| name.contains(part))
}

fn is_field_value(text: &str) -> bool {
    let fits = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    text.len() <= BYTES_MAX && text.bytes().all(fits) && text.trim() == text
}

/// What keeps a field from being set on calls with a credential of the store, where it is kept in
/// the clear. The name is in lower case.
pub fn header_fault(name: &str, value: &str) -> Option<String> {
    if let Err(problem) = crate::field::field_name(name) {
        return Some(problem);
    }
    if sounds_secret(name) {
        let problem = "sounds like a secret, which is not sealed here: the settings can have it";
        return Some(problem.to_owned());
    }
    (!is_field_value(value)).then(|| "is not a field value".to_owned())
}

impl Kind for Header {
    type Value = SecretOrText;

    fn shape(&self) -> Shape {
        let words = "field value, a secret as `${NAME}` or `${file:/path}`";
        let shape = Shape::new(json!({"type": "string"}), words);
        Shape {
            secrecy: self.secrecy,
            ..shape
        }
    }

    fn read(&self, node: &Node) -> Result<SecretOrText, Vec<Wrong>> {
        let text = node.text()?;
        if !is_field_value(text) {
            let problem = "is not a field value: control bytes, outer blanks, or too long";
            return Err(Wrong::of(node, problem));
        }
        if node.interpolated || self.secrecy == Secrecy::Secret {
            return Ok(SecretOrText::Secret(Secret::new(text)));
        }
        Ok(SecretOrText::Text(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LLM-R5
    #[test]
    fn placeholders_are_known_and_secrets_are_not() {
        for text in [
            "your-api-key-1",
            "sk-xxxxxxxx",
            "changeme",
            "YOUR_KEY_HERE",
            "<key>",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in ["sk-proj-8fJq", "gsk_1", "AIzaSyX"] {
            assert!(!is_placeholder(text), "{text}");
        }
    }
}
