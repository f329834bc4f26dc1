//! Names of fields that are not the caller's to choose: the one list of them (EDGE-70), for the
//! codec and for header hygiene alike, and the table such lists are kept in.

mod table;

pub use table::NameTable;

/// What a reserved name is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reserved {
    /// Where a message goes and where it ends; the gateway writes these fields itself.
    Own,
    /// How a message is framed on this connection.
    Framing,
    /// What else ends at this connection.
    HopByHop,
    /// Forwarding, CDN, cookie, credential, payment and gateway fields.
    Private,
}

/// HOT. Whether a name is reserved, and why. Case does not matter and `_` is `-`: what reads
/// fields as environment variables (CGI, WSGI) takes `X_Real_IP` for `X-Real-IP`.
pub fn reserved(name: &[u8]) -> Option<Reserved> {
    RESERVED.find(name)
}

use Reserved::{Framing, HopByHop, Own, Private};

/// `Host` and `Content-Length`, and all of EDGE-70 that is not about LLM providers only.
static RESERVED: NameTable<Reserved, 57> = NameTable::new([
    ("host", Own),
    ("content-length", Own),
    ("transfer-encoding", Framing),
    ("expect", Framing),
    // Hop by hop.
    ("connection", HopByHop),
    ("keep-alive", HopByHop),
    ("proxy-*", HopByHop),
    ("te", HopByHop),
    ("trailer", HopByHop),
    ("upgrade", HopByHop),
    ("http2-settings", HopByHop),
    // Who forwarded what for whom.
    ("x-forwarded-*", Private),
    ("forwarded", Private),
    ("x-real-ip", Private),
    ("x-client-ip", Private),
    ("x-cluster-client-ip", Private),
    ("x-original-*", Private),
    ("x-rewrite-url", Private),
    ("x-envoy-*", Private),
    ("via", Private),
    ("true-client-ip", Private),
    ("client-ip", Private),
    // CDNs and clouds.
    ("cf-*", Private),
    ("cdn-*", Private),
    ("x-vercel-*", Private),
    ("fastly-*", Private),
    ("x-amzn-*", Private),
    ("x-amz-cf-*", Private),
    ("x-azure-*", Private),
    ("x-akamai-*", Private),
    ("akamai-*", Private),
    ("x-appengine-*", Private),
    ("x-cloud-trace-context", Private),
    ("fly-*", Private),
    // Cookies.
    ("cookie", Private),
    ("cookie2", Private),
    // The caller's credentials and payments.
    ("authorization", Private),
    ("x-api-key", Private),
    ("x-goog-api-key", Private),
    ("api-key", Private),
    ("x-management-key", Private),
    ("payment-*", Private),
    ("x-payment*", Private),
    ("x-session-token", Private),
    ("x-bolthub-*", Private),
    ("macaroon", Private),
    ("grpc-metadata-macaroon", Private),
    // Ours, and what steers servers.
    ("x-gateway-*", Private),
    ("x-tollkeep-*", Private),
    ("tollkeep-*", Private),
    ("x-proxy-*", Private),
    ("x-admin-origin", Private),
    ("x-body-hash", Private),
    ("x-accel-*", Private),
    ("x-sendfile", Private),
    ("x-http-method-override", Private),
    ("x-method-override", Private),
]);

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-70
    #[test]
    fn reserved_names_are_told_apart_in_any_spelling() {
        for (name, want) in [
            ("Host", Some(Own)),
            ("content_length", Some(Own)),
            ("Transfer-Encoding", Some(Framing)),
            ("EXPECT", Some(Framing)),
            ("te", Some(HopByHop)),
            ("Proxy_Authorization", Some(HopByHop)),
            ("X-Forwarded-For", Some(Private)),
            ("x_payment", Some(Private)),
            ("tollkeep-hop", Some(Private)),
            ("content-type", None),
            ("x-forwarded", None),
            ("hosts", None),
            ("", None),
        ] {
            assert_eq!(reserved(name.as_bytes()), want, "{name}");
        }
    }
}
