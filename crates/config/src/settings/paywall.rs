//! The page that people see where a request is to be paid for.

use crate::field::KindExt;
use crate::kind::{Parsed, choice, parsed};
use crate::reader::keys;

keys! {
    /// The page that browsers get instead of JSON where a request is to be paid for.
    #[derive(Eq, PartialEq)]
    pub struct Paywall {
        /// Whether there is one: for `GET` where `Accept` has `text/html` before JSON.
        html: bool = choice(&SHOWN).or(true),
        /// Its heading. Default: that payment is required.
        title: Box<str> = title().or("".into()),
        /// An image: `data:image/png;base64,…`, or a path of this gateway that is free.
        logo: Box<str> = logo().or("".into()),
    }
}

const SHOWN: [(&str, bool); 2] = [("on", true), ("off", false)];

const TITLE_CHARS_MAX: usize = 200;
const LOGO_BYTES_MAX: usize = 64 * 1024;

const fn title() -> Parsed<Box<str>> {
    parsed("text", |text| {
        if text.chars().count() > TITLE_CHARS_MAX || text.chars().any(char::is_control) {
            return Err(format!(
                "want a line of at most {TITLE_CHARS_MAX} characters"
            ));
        }
        Ok(text.into())
    })
}

const fn logo() -> Parsed<Box<str>> {
    parsed("image", |text| {
        let data = text.strip_prefix("data:image/");
        let data = data.and_then(|data| data.split_once(";base64,"));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-._".contains(&byte);
        let is_data = data.is_some_and(|(kind, data)| {
            ["png", "jpeg", "gif", "webp", "svg+xml"].contains(&kind) && data.bytes().all(is_plain)
        });
        let is_path = text.starts_with('/')
            && !text.starts_with("//")
            && text
                .bytes()
                .all(|byte| byte == b'?' || byte == b'&' || byte == b'%' || is_plain(byte));
        if text.len() > LOGO_BYTES_MAX || !(text.is_empty() || is_data || is_path) {
            return Err(format!(
                "want `data:image/png;base64,…` of at most {LOGO_BYTES_MAX} bytes, or a path of this \
                 gateway as `/logo.png`"
            ));
        }
        Ok(text.into())
    })
}
