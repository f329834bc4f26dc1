//! Cookies: which ones are believed, and how they are set.
//!
//! Over TLS the names start with `__Host-`: browsers take such a cookie from this very host alone,
//! with `Secure`, for all paths. A neighbour's page, or somebody on a clear connection, can plant
//! cookies of other names beside it, but not one of that name.

use crate::request::Channel;
use axum::http::{HeaderMap, HeaderValue, header};
use tollkeep_types::Secret;

/// A cookie of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cookie {
    /// Who is signed in.
    Session,
    /// A login at an identity provider that is under way.
    Login,
}

impl Cookie {
    /// What it is called; `None` where nobody signs in.
    const fn name(self, channel: Channel) -> Option<&'static str> {
        match (self, channel) {
            (Self::Session, Channel::Tls) => Some("__Host-tollkeep_session"),
            (Self::Session, Channel::Local) => Some("tollkeep_session"),
            (Self::Login, Channel::Tls) => Some("__Host-tollkeep_login"),
            (Self::Login, Channel::Local) => Some("tollkeep_login"),
            (_, Channel::Clear) => None,
        }
    }

    /// The longest that it can be.
    const fn chars_max(self) -> usize {
        match self {
            Self::Session => 100,
            Self::Login => 200,
        }
    }

    /// A login comes back from another site, so its cookie must come along from there.
    const fn same_site(self) -> &'static str {
        match self {
            Self::Session => "Strict",
            Self::Login => "Lax",
        }
    }

    /// What a request carries under its name. Two of one name are none: one of them is somebody
    /// else's.
    pub(crate) fn of(self, fields: &HeaderMap, channel: Channel) -> Option<Secret> {
        let name = self.name(channel)?;
        let mut lines = fields.get_all(header::COOKIE).iter();
        let line = lines.next()?.as_bytes();
        if lines.next().is_some() {
            return None;
        }
        let mut found = None;
        for pair in line.split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            let Some(equals) = pair.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (own, value) = pair.split_at(equals);
            if own != name.as_bytes() {
                continue;
            }
            if found.is_some() {
                return None;
            }
            found = value.strip_prefix(b"=");
        }
        let text = std::str::from_utf8(found?).ok()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_ours = (1..=self.chars_max()).contains(&text.len()) && text.bytes().all(is_plain);
        is_ours.then(|| Secret::new(text))
    }

    /// The line that sets it, or takes it away if there is no value.
    pub(crate) fn line(self, value: Option<&Secret>, channel: Channel) -> Option<HeaderValue> {
        let name = self.name(channel)?;
        let secure = match channel {
            Channel::Tls => "; Secure",
            Channel::Local | Channel::Clear => "",
        };
        let same_site = self.same_site();
        let (text, end) = match value {
            Some(value) => (value.expose(), ""),
            None => ("", "; Max-Age=0"),
        };
        let line = format!("{name}={text}; Path=/; HttpOnly; SameSite={same_site}{secure}{end}");
        let mut line = HeaderValue::try_from(line).ok()?;
        line.set_sensitive(true);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(lines: &[&str], channel: Channel) -> Option<String> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(header::COOKIE, line.parse().unwrap());
        }
        let found = Cookie::Session.of(&fields, channel);
        found.map(|secret| secret.expose().to_owned())
    }

    // ID-120 ID-121
    #[test]
    #[rustfmt::skip]
    fn one_cookie_of_the_right_name_is_believed_and_no_other() {
        const TLS: &str = "__Host-tollkeep_session";
        const LOCAL: &str = "tollkeep_session";
        for (name, channel, lines, want) in [
            ("alone", Channel::Tls, &[format!("{TLS}=csn-a")][..], Some("csn-a")),
            ("among others", Channel::Tls, &[format!("a=b; {TLS}=csn-a ;c")], Some("csn-a")),
            ("twice", Channel::Tls, &[format!("{TLS}=csn-a; {TLS}=csn-b")], None),
            ("twice the same", Channel::Tls, &[format!("{TLS}=csn-a; {TLS}=csn-a")], None),
            ("two lines", Channel::Tls, &[format!("{TLS}=csn-a"), "a=b".to_owned()], None),
            ("without its prefix", Channel::Tls, &[format!("{LOCAL}=csn-a")], None),
            ("prefix in lower case", Channel::Tls, &["__host-tollkeep_session=csn-a".to_owned()], None),
            ("prefix behind a blank", Channel::Tls, &["\u{a0}__Host-tollkeep_session=csn-a".to_owned()], None),
            ("of TLS in clear", Channel::Local, &[format!("{TLS}=csn-a")], None),
            ("local", Channel::Local, &[format!("{LOCAL}=csn-a")], Some("csn-a")),
            ("both in clear", Channel::Local, &[format!("{TLS}=csn-b; {LOCAL}=csn-a")], Some("csn-a")),
            ("from elsewhere in clear", Channel::Clear, &[format!("{LOCAL}=csn-a; {TLS}=csn-a")], None),
            ("empty", Channel::Local, &[format!("{LOCAL}=")], None),
            ("quoted", Channel::Local, &[format!("{LOCAL}=\"csn-a\"")], None),
            ("no value", Channel::Local, &[LOCAL.to_owned()], None),
            ("longer than any", Channel::Local, &[format!("{LOCAL}={}", "a".repeat(101))], None),
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(carried(&lines, channel).as_deref(), want, "{name}");
        }
    }

    // ID-120 EDGE-16
    #[test]
    fn lines_have_the_attributes_of_their_channel() {
        let value = Secret::new("csn-a");
        for (cookie, channel, value, want) in [
            (
                Cookie::Session,
                Channel::Tls,
                Some(&value),
                Some("__Host-tollkeep_session=csn-a; Path=/; HttpOnly; SameSite=Strict; Secure"),
            ),
            (
                Cookie::Session,
                Channel::Local,
                Some(&value),
                Some("tollkeep_session=csn-a; Path=/; HttpOnly; SameSite=Strict"),
            ),
            (
                Cookie::Session,
                Channel::Local,
                None,
                Some("tollkeep_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"),
            ),
            (
                Cookie::Login,
                Channel::Tls,
                Some(&value),
                Some("__Host-tollkeep_login=csn-a; Path=/; HttpOnly; SameSite=Lax; Secure"),
            ),
            (Cookie::Session, Channel::Clear, Some(&value), None),
        ] {
            let line = cookie.line(value, channel);
            assert_eq!(line.as_ref().and_then(|line| line.to_str().ok()), want);
        }
    }
}
