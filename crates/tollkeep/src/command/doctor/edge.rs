//! What `doctor` looks at where callers come in: public addresses, certificates, the fields of answers.

use super::{Found, Severity, Status, in_production};
use crate::assemble::{Checked, InUse, Listeners};
use crate::system::SystemClock;
use tollkeep_config::ConfigErrors;
use tollkeep_config::settings::Settings;
use tollkeep_net::tls::Ends;
use tollkeep_policy::expiry::Nearness;
use tollkeep_policy::ip_list::Allow;
use tollkeep_types::Clock;

/// Everything that is seen of the edge from here.
pub(super) fn edge(settings: &Settings) -> Vec<Found> {
    let mut all = vec![public_binds(settings), answer_fields(settings)];
    all.extend(certificates(settings));
    all
}

fn public_binds(settings: &Settings) -> Found {
    let listen = settings.server.listen.iter().map(|listen| listen.addr);
    let public: Vec<String> = listen
        .filter(|addr| !addr.ip().is_loopback())
        .map(|addr| addr.to_string())
        .collect();
    let is_for_all = !matches!(settings.server.ip_lists.allow, Allow::Only(_));
    Found {
        number: 68,
        severity: Severity::Warn,
        title: "only listed addresses come to a public address",
        why: "everybody else can try tokens there, if no more",
        status: if is_for_all && !public.is_empty() {
            let found = format!("anybody may come to {}", public.join(", "));
            let fix = "server: { security: { ip_allowlist: { enabled: true, allowed_ips: […] } } }";
            Status::Fail(found, fix.to_owned())
        } else {
            Status::Pass
        },
    }
}

fn answer_fields(settings: &Settings) -> Found {
    let status = match &settings.server.security_headers {
        None => Status::Fail(
            "`server.security.headers.enabled` is off".to_owned(),
            "server: { security: { headers: { enabled: true } } }".to_owned(),
        ),
        Some(headers) if headers.xss_protection.trim_start().starts_with('1') => Status::Fail(
            "`server.security.headers.xss_protection` switches the filter of old browsers on"
                .to_owned(),
            "server: { security: { headers: { xss_protection: \"0\" } } }".to_owned(),
        ),
        Some(_) => Status::Pass,
    };
    Found {
        number: 58,
        severity: Severity::Warn,
        title: "answers carry the security fields that browsers want",
        why: "a page that shows an answer should not be led to do more with it",
        status,
    }
}

/// Whether certificates can be used, for how long, and who vouches for them.
fn certificates(settings: &Settings) -> Vec<Found> {
    let found = |number, severity, title, why, status| Found {
        number,
        severity,
        title,
        why,
        status,
    };
    let whole = "certificates and keys can be used";
    let lost = "a listener without them does not start";
    let now = SystemClock::new().wall();
    let checked = match Checked::load(settings, now, &Listeners::default()) {
        Ok(checked) => checked,
        Err(faults) => {
            let fix = "`tollkeep tls check` tells each".to_owned();
            let status = Status::Fail(ConfigErrors(faults).to_string(), fix);
            return vec![found(52, Severity::Error, whole, lost, status)];
        }
    };
    let lasting = checked.certificates();
    let lasting = lasting
        .iter()
        .filter(|one| one.ends != Ends::RevocationList);
    let nearest = lasting.min_by_key(|one| one.not_after);
    let told = |one: &InUse| {
        let problem = format!("{}: the certificate ends at {}", one.path, one.not_after);
        Status::Fail(problem, "renew it, then `tollkeep tls reload`".to_owned())
    };
    let (severity, ends) = match nearest.map(|one| (Nearness::of(one.not_after, now), one)) {
        Some((near, one)) if near >= Nearness::OneDay => (Severity::Error, told(one)),
        Some((near, one)) if near >= Nearness::ThirtyDays => (Severity::Warn, told(one)),
        Some(_) | None => (Severity::Error, Status::Pass),
    };
    let own = checked
        .warnings
        .iter()
        .find(|text| text.contains("is self-signed"));
    let own = match own {
        Some(warning) => {
            let fix = "order one: `server.tls.acme`, or of your own authority".to_owned();
            Status::Fail(warning.clone(), fix)
        }
        None => Status::Pass,
    };
    vec![
        found(52, Severity::Error, whole, lost, Status::Pass),
        found(
            53,
            severity,
            "certificates last",
            "nobody is served with one that has ended",
            ends,
        ),
        found(
            54,
            in_production(settings),
            "certificates are vouched for by somebody",
            "callers can't tell a self-signed one from an impostor's",
            own,
        ),
    ]
}
