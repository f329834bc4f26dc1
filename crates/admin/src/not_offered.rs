//! Routes of other gateways that are known and not offered: 410, and one sentence why.

use crate::problem::Problem;
use axum::http::Uri;

/// What answers where no operation is.
pub(crate) async fn elsewhere(uri: Uri) -> Problem {
    match reason(uri.path()) {
        Some(why) => Problem::not_offered(why),
        None => Problem::not_found(),
    }
}

const LOGINS: &str = "Logging in with a consumer's subscription is not offered: give the provider an API key, \
                      by `POST /v0/management/auths`.";
const FILES: &str = "Files of log-ins are not offered: credentials are kept sealed in the store.";
const CALLS: &str = "Calling any address with a stored credential is not offered: it would hand the \
                     credential to whoever may call.";
const PLUGINS: &str = "Plugins that run inside the gateway are not offered.";
const SOCKETS: &str = "Log-ins over a WebSocket are not offered: callers bring an access token.";
const PANEL: &str = "A panel that is downloaded while the gateway runs is not offered.";

/// Why a path is not offered; `None` for what is simply not there.
fn reason(path: &str) -> Option<&'static str> {
    if path == "/management.html" {
        return Some(PANEL);
    }
    let below = path.strip_prefix("/v0/management/")?;
    let first = below.split('/').next().unwrap_or_default();
    Some(match first {
        "api-call" => CALLS,
        "get-auth-status" => LOGINS,
        "management.html" => PANEL,
        "ws-auth" => SOCKETS,
        _ if first.starts_with("auth-files") => FILES,
        _ if first.starts_with("plugin") => PLUGINS,
        _ if first.ends_with("-auth-url") && first.len() > "-auth-url".len() => LOGINS,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_and_not_offered_says_why() {
        for (path, want) in [
            ("/v0/management/auth-files", Some(FILES)),
            ("/v0/management/auth-files/download", Some(FILES)),
            ("/v0/management/auth-files-status", Some(FILES)),
            ("/v0/management/codex-auth-url", Some(LOGINS)),
            ("/v0/management/gemini-cli-auth-url", Some(LOGINS)),
            ("/v0/management/get-auth-status", Some(LOGINS)),
            ("/v0/management/api-call", Some(CALLS)),
            ("/v0/management/plugins", Some(PLUGINS)),
            ("/v0/management/plugins/x/config", Some(PLUGINS)),
            ("/v0/management/ws-auth", Some(SOCKETS)),
            ("/management.html", Some(PANEL)),
            ("/v0/management/-auth-url", None),
            ("/v0/management/auths", None),
            ("/v0/management/api-calls", None),
            ("/v0/management/", None),
            ("/v0/auth-files", None),
            ("/api/v1/auth-files", None),
            ("/v0/management/x/auth-files", None),
        ] {
            assert_eq!(reason(path), want, "{path}");
        }
    }
}
