//! Bindings of a token: from where, with what and for what it may be used.

use super::glob::glob;
use crate::client_ip::fold;
use crate::origin::is_same_origin;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What an access token is bound to (identity 2.2), as the store keeps it; what is empty is not
/// bound.
#[derive(Clone, Copy, Debug)]
pub struct Bindings<'a> {
    /// Client networks.
    pub ips: &'a [IpNet],
    /// Exact origins.
    pub origins: &'a [String],
    /// Name of a field to its allowed values, in which `*` is any run.
    pub headers: &'a BTreeMap<String, Vec<String>>,
    /// Methods.
    pub methods: &'a [String],
    /// Path prefixes on segment borders, which begin with `/`, and route ids, which don't.
    pub routes: &'a [String],
    /// Globs on the public model name.
    pub models: &'a [String],
}

/// What bindings look at in a request, once its head and route are known.
#[derive(Clone, Debug)]
pub struct BindingFacts<'a, F> {
    /// The client address.
    pub ip: IpAddr,
    /// The method as sent.
    pub method: &'a str,
    /// The canonical path.
    pub path: &'a str,
    /// The id of the route, if it has one.
    pub route: Option<&'a str>,
    /// The fields, name and value.
    pub fields: F,
}

/// The binding a request breaks. Callers learn no more than the status and code: 403
/// `token_binding`, but for the two about origins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BindingRefusal {
    /// Not from there.
    Ip,
    /// 400 `origin_required`.
    OriginMissing,
    /// 403 `origin_not_allowed`.
    Origin,
    /// A field is missing, stands there twice, or has another value.
    Header,
    /// Not with this method.
    Method,
    /// Not on this path.
    Route,
    /// Not this model.
    Model,
}

impl BindingRefusal {
    /// The reason in audit.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ip => "binding_ip",
            Self::OriginMissing => "binding_origin_missing",
            Self::Origin => "binding_origin",
            Self::Header => "binding_header",
            Self::Method => "binding_method",
            Self::Route => "binding_route",
            Self::Model => "binding_model",
        }
    }
}

impl Bindings<'_> {
    /// All bindings but that on models (ID-22).
    ///
    /// # Errors
    /// The first one broken.
    pub fn check<'f, F>(&self, facts: &BindingFacts<'f, F>) -> Result<(), BindingRefusal>
    where
        F: Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    {
        let ip = fold(facts.ip);
        if !self.ips.is_empty() && !self.ips.iter().any(|net| net.contains(&ip)) {
            return Err(BindingRefusal::Ip);
        }
        if !self.methods.is_empty() && !self.methods.iter().any(|method| method == facts.method) {
            return Err(BindingRefusal::Method);
        }
        if !self.routes.is_empty()
            && !self
                .routes
                .iter()
                .any(|entry| covers(entry, facts.path, facts.route))
        {
            return Err(BindingRefusal::Route);
        }
        self.check_origin(&facts.fields)?;
        let headers_fit = self.headers.iter().all(|(name, allowed)| {
            let sent = Sent::find(&facts.fields, name);
            matches!(sent, Sent::Once(value) if allowed.iter().any(|allowed| glob(allowed, value)))
        });
        if headers_fit {
            Ok(())
        } else {
            Err(BindingRefusal::Header)
        }
    }

    /// The binding on models, once the body is read.
    ///
    /// # Errors
    /// [`BindingRefusal::Model`].
    pub fn check_model(&self, model: &str) -> Result<(), BindingRefusal> {
        if self.models.is_empty() || self.models.iter().any(|pattern| glob(pattern, model)) {
            return Ok(());
        }
        Err(BindingRefusal::Model)
    }

    fn check_origin<'f, F>(&self, fields: &F) -> Result<(), BindingRefusal>
    where
        F: Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    {
        if self.origins.is_empty() {
            return Ok(());
        }
        match Sent::find(fields, "origin") {
            Sent::Never => Err(BindingRefusal::OriginMissing),
            Sent::Once(value) if self.origins.iter().any(|own| is_same_origin(own, value)) => {
                Ok(())
            }
            Sent::Once(_) | Sent::Repeatedly => Err(BindingRefusal::Origin),
        }
    }
}

/// How often a field was sent.
pub(crate) enum Sent<'f> {
    Never,
    Once(&'f [u8]),
    Repeatedly,
}

impl<'f> Sent<'f> {
    pub(crate) fn find<F>(fields: &F, wanted: &str) -> Self
    where
        F: Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    {
        let mut values = fields
            .clone()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
        match (values.next(), values.next()) {
            (None, _) => Self::Never,
            (Some((_, value)), None) => Self::Once(value),
            (Some(_), Some(_)) => Self::Repeatedly,
        }
    }
}

/// Whether an entry of `routes` covers a request: a path prefix ends on a segment border, an id is
/// equal.
fn covers(entry: &str, path: &str, route: Option<&str>) -> bool {
    if !entry.starts_with('/') {
        return route == Some(entry);
    }
    path.strip_prefix(entry)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || entry.ends_with('/'))
}
