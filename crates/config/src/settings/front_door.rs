//! The front door of a listener: a second factor before the caller is identified.

use super::Egress;
use super::egress::is_clear_text;
use crate::check::Checks;
use crate::field::{KindExt, OnOrOff, field_name, section_or_off};
use crate::kind::{Parsed, choice, list, networks_or_all_private, parsed, seconds};
use crate::reader::keys;
use crate::tree::KeyPath;
use ipnet::IpNet;
use std::time::Duration;
use tollkeep_policy::egress::{EgressUrl, Exceptions, Giver, Purpose, parse_url};
use tollkeep_policy::front_door::{
    Certificates, DoorPath, FrontDoor as Rules, Require, WantedSubject,
};
use tollkeep_types::CertificateSha256;

/// The front door of a listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FrontDoor {
    /// What is behind it, and how many factors open it.
    pub rules: Rules,
    /// Service tokens, if they are a factor.
    pub service_token: Option<ServiceTokenFields>,
    /// Tokens of an identity provider, if they are a factor.
    pub jwt: Option<Jwt>,
    /// Certificates of clients, if they are a factor.
    pub mtls: Option<Certificates>,
}

/// Tokens of an identity provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Jwt {
    /// The field that carries the token.
    pub header: String,
    /// Who must have issued it.
    pub issuer: String,
    /// For whom: one of these.
    pub audience: Vec<String>,
    /// Names of the algorithms it may be signed with.
    pub algorithms: Vec<&'static str>,
    /// How far the clocks may be apart.
    pub leeway: Duration,
    /// Where the keys are published.
    pub jwks_url: EgressUrl,
    /// Private networks that place may be in.
    pub allow_private: Vec<IpNet>,
}

const ALGORITHMS: [(&str, &str); 3] = [("RS256", "RS256"), ("ES256", "ES256"), ("EdDSA", "EdDSA")];

const REQUIRE: [(&str, Require); 2] = [("any", Require::Any), ("all", Require::All)];

keys! {
    /// A second factor that clients show before the caller is identified. On when one is
    /// configured.
    pub(crate) struct FrontDoorFile {
        /// `any` wants one of the factors, `all` every one.
        require: Require = choice(&REQUIRE).or(Require::Any),
        /// Paths behind the door: `/v1/models`, or `/v1/*` for all below. Empty: all.
        paths: Vec<DoorPath> = list(door_path()).or_empty(),
        /// Paths beside the door, though `paths` has them; health paths are behind it unless they
        /// stand here.
        exempt: Vec<DoorPath> = list(door_path()).or_empty(),
        service_token: OnOrOff<ServiceTokenFields> = section_or_off(),
        jwt: OnOrOff<JwtFile> = section_or_off(),
        mtls: OnOrOff<MtlsFile> = section_or_off(),
    }
}

keys! {
    /// Certificates of clients: one of the subjects, or one of the fingerprints. The listener's
    /// `tls.client_auth` must ask for them.
    pub(crate) struct MtlsFile {
        /// Whole subjects such as `CN=ci,O=Example` (RFC 4514), or alternative names such as
        /// `DNS:ci.example.com`, `URI:spiffe://example.com/ci`, `email:…` and `IP:…`.
        subjects: Vec<WantedSubject> = list(parsed("subject of a certificate", str::parse))
            .unsplit()
            .or_empty(),
        /// Fingerprints: the SHA-256 of a certificate, 64 hexadecimal digits, `:` between the
        /// pairs or not.
        sha256: Vec<CertificateSha256> = list(parsed("SHA-256", |text| {
            text.parse()
                .map_err(|error: tollkeep_types::ParseSha256Error| error.to_string())
        }))
        .or_empty(),
    }
}

keys! {
    /// Signed tokens of an identity provider, such as Cloudflare Access.
    pub(crate) struct JwtFile {
        /// The field that carries the token.
        header: String = door_field().or("cf-access-jwt-assertion".to_owned()),
        /// Who must have issued it, exactly as in its `iss`.
        issuer: Option<String> = named().required(),
        /// For whom it must be: one of these stands in its `aud`.
        audience: Vec<String> = list(named()).or_empty(),
        /// Where the provider publishes its keys: `https`, or `http` in a private network.
        jwks_url: Option<EgressUrl> = parsed("URL", |text| {
            parse_url(text, Purpose::Jwks, Giver::Operator).map_err(|error| error.to_string())
        })
        .required(),
        /// How it may be signed.
        algorithms: Vec<&'static str> = list(choice(&ALGORITHMS))
            .or(vec!["RS256", "ES256", "EdDSA"]),
        /// How far the clocks may be apart.
        leeway as "leeway_s": Duration = seconds(0..=600_000).or(Duration::from_secs(60)),
        /// Private networks the place of the keys may be in; other private addresses are refused.
        allow_private: Vec<IpNet> = networks_or_all_private().or_empty(),
    }
}

const fn named() -> Parsed<String> {
    parsed("text of 1 to 512 characters", |text| {
        let fits = (1..=512).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
            .ok_or_else(|| "want 1 to 512 characters, none of them a control character".to_owned())
    })
}

keys! {
    /// Service tokens, made by `tollkeep service-token create`.
    #[derive(Eq, PartialEq)]
    pub struct ServiceTokenFields {
        /// The field that carries the id.
        id_header: String = door_field().or("cf-access-client-id".to_owned()),
        /// The field that carries the secret.
        secret_header: String = door_field().or("cf-access-client-secret".to_owned()),
    }
}

const fn door_path() -> Parsed<DoorPath> {
    parsed("path, or a path with `/*` behind it", |text| {
        text.parse()
            .map_err(|error: tollkeep_policy::front_door::ParseDoorPathError| error.to_string())
    })
}

/// A field of the front door's own: what callers prove themselves with stays theirs.
const fn door_field() -> Parsed<String> {
    parsed("field name", |text| {
        const TAKEN: [&str; 12] = [
            "authorization",
            "x-api-key",
            "x-goog-api-key",
            "api-key",
            "x-management-key",
            "cookie",
            "content-type",
            "content-encoding",
            "accept-encoding",
            "origin",
            "user-agent",
            "x-request-id",
        ];
        let name = text.to_ascii_lowercase();
        field_name(&name)?;
        if TAKEN.contains(&name.as_str()) || name.contains('_') {
            return Err("can't carry a factor of the front door".to_owned());
        }
        Ok(name)
    })
}

/// Whether a listener knows the certificates of its clients; if not, why.
pub(super) type KnowsCertificates = Result<(), String>;

impl FrontDoorFile {
    /// `path` is that of the section.
    pub(super) fn check(
        self,
        path: &KeyPath,
        egress: &Egress,
        certificates: KnowsCertificates,
        checks: &mut Checks<'_>,
    ) -> Option<FrontDoor> {
        let mtls = match self.mtls {
            OnOrOff::On(file) => Some(file.check(&path.name("mtls"), certificates, checks)),
            OnOrOff::Absent | OnOrOff::Off => None,
        };
        let jwt = match self.jwt {
            OnOrOff::On(file) => Some(file.check(&path.name("jwt"), egress, checks)?),
            OnOrOff::Absent | OnOrOff::Off => None,
        };
        let service_token = match self.service_token {
            OnOrOff::On(fields) => Some(fields),
            OnOrOff::Absent | OnOrOff::Off => None,
        };
        if let Some(fields) = &service_token
            && fields.id_header == fields.secret_header
        {
            let problem = "is the field of the id too";
            checks.error_at(&path.name("service_token").name("secret_header"), problem);
        }
        if let (Some(fields), Some(jwt)) = (&service_token, &jwt)
            && [&fields.id_header, &fields.secret_header].contains(&&jwt.header)
        {
            let problem = "is a field of the service token too";
            checks.error_at(&path.name("jwt").name("header"), problem);
        }
        if service_token.is_none() && jwt.is_none() && mtls.is_none() {
            if !self.paths.is_empty() || !self.exempt.is_empty() {
                checks.error_at(
                    path,
                    "names paths, but no factor such as `service_token: {}`",
                );
            }
            return None;
        }
        Some(FrontDoor {
            rules: Rules {
                require: self.require,
                paths: self.paths,
                exempt: self.exempt,
            },
            service_token,
            jwt,
            mtls,
        })
    }
}

impl MtlsFile {
    fn check(
        self,
        path: &KeyPath,
        certificates: KnowsCertificates,
        checks: &mut Checks<'_>,
    ) -> Certificates {
        if let Err(why) = certificates {
            checks.error_at(path, why);
        }
        if self.subjects.is_empty() && self.sha256.is_empty() {
            let problem = "names neither `subjects` nor `sha256`: no certificate would pass";
            checks.error_at(path, problem);
        }
        Certificates {
            subjects: self.subjects,
            sha256: self.sha256,
        }
    }
}

impl JwtFile {
    fn check(self, path: &KeyPath, egress: &Egress, checks: &mut Checks<'_>) -> Option<Jwt> {
        for (key, is_empty) in [
            ("audience", self.audience.is_empty()),
            ("algorithms", self.algorithms.is_empty()),
        ] {
            if is_empty {
                checks.error_at(&path.name(key), "is empty: no token would pass");
            }
        }
        let jwks_url = self.jwks_url?;
        let exceptions = Exceptions {
            allow_private: self.allow_private,
            allow_metadata: false,
        };
        if let Err(problem) = egress.admit(&jwks_url, &exceptions) {
            checks.error_at(&path.name("jwks_url"), problem);
        }
        if is_clear_text(&jwks_url) && exceptions.allow_private.is_empty() {
            let problem = "is `http` outside of `allow_private`: anybody on the way could add keys";
            checks.error_at(&path.name("jwks_url"), problem);
        }
        Some(Jwt {
            header: self.header,
            issuer: self.issuer?,
            audience: self.audience,
            algorithms: self.algorithms,
            leeway: self.leeway,
            jwks_url,
            allow_private: exceptions.allow_private,
        })
    }
}

impl FrontDoor {
    /// The fields that carry factors; they go nowhere from here.
    pub fn fields(&self) -> Vec<&str> {
        let service = self.service_token.iter();
        service
            .flat_map(|fields| [fields.id_header.as_str(), fields.secret_header.as_str()])
            .chain(self.jwt.iter().map(|jwt| jwt.header.as_str()))
            .collect()
    }
}
