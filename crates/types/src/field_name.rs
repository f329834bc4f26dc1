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
    /// Who forwarded what for whom, CDNs included.
    Forwarding,
    /// Cookie, credential, payment and gateway fields.
    Private,
}

/// HOT. Whether a name is reserved, and why. Case does not matter and `_` is `-`: what reads
/// fields as environment variables (CGI, WSGI) takes `X_Real_IP` for `X-Real-IP`.
pub fn reserved(name: &[u8]) -> Option<Reserved> {
    RESERVED.find(name)
}

use Reserved::{Forwarding, Framing, HopByHop, Own, Private};

/// `Host` and `Content-Length`, all of EDGE-70 that is not about LLM providers only, and what
/// proxies say of clients' certificates.
static RESERVED: NameTable<Reserved, 61> = NameTable::new([
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
    ("x-forwarded-*", Forwarding),
    ("forwarded", Forwarding),
    ("x-real-ip", Forwarding),
    ("x-client-ip", Forwarding),
    ("x-cluster-client-ip", Forwarding),
    ("x-original-*", Forwarding),
    ("x-rewrite-url", Forwarding),
    ("x-envoy-*", Forwarding),
    ("via", Forwarding),
    ("true-client-ip", Forwarding),
    ("client-ip", Forwarding),
    // Which certificate a client showed to whom: nobody but the handshake knows (RFC 9440).
    ("client-cert*", Forwarding),
    ("x-client-cert*", Forwarding),
    ("ssl-client-*", Forwarding),
    ("x-ssl-client-*", Forwarding),
    // CDNs and clouds.
    ("cf-*", Forwarding),
    ("cdn-*", Forwarding),
    ("x-vercel-*", Forwarding),
    ("fastly-*", Forwarding),
    ("x-amzn-*", Forwarding),
    ("x-amz-cf-*", Forwarding),
    ("x-azure-*", Forwarding),
    ("x-akamai-*", Forwarding),
    ("akamai-*", Forwarding),
    ("x-appengine-*", Forwarding),
    ("x-cloud-trace-context", Forwarding),
    ("fly-*", Forwarding),
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
    ("x-session-*", Private),
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
            ("X-Forwarded-For", Some(Forwarding)),
            ("CF_Ray", Some(Forwarding)),
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
