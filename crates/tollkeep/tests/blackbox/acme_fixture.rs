//! A gateway that orders its certificates from an authority of the test.

use crate::fixture::{before, free, gateway};
use crate::tls_fixture::{Caller, shake};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_testkit::{AcmeFault, Authority, Builder, Gate, Gateway, Origin, eventually};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// An authority, an origin, and the folder of what it orders.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) origin: Origin,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(lifetime: Duration) -> Self {
        let world = Self {
            authority: Authority::start(lifetime),
            origin: Origin::plain(),
            folder: tempfile::tempdir().unwrap(),
        };
        world.authority.write_root(&world.root());
        world
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// Where the certificates are kept.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("acme")
    }

    /// The section, for these names, with these keys more.
    pub(crate) fn acme(&self, domains: &str, more: &str) -> String {
        format!(
            "acme: {{ enabled: true, terms_agreed: true, domains: [{domains}], directory: \"{}\", \
             directory_ca_file: \"{}\", allow_private: [\"127.0.0.1/32\"], cache_dir: \"{}\"{more} }}",
            self.authority.directory(),
            self.root().display(),
            self.cache().display()
        )
    }

    /// A configuration whose data listener has these names.
    pub(crate) fn config(&self, domains: &str) -> String {
        format!(
            "server: {{ allowed_hosts: [\"*\"], tls: {{ enabled: true, {} }} }}\n{}",
            self.acme(domains, ""),
            before(&self.origin, &free("GET /x"))
        )
    }

    pub(crate) fn builder(&self, domains: &str) -> Builder {
        gateway(self.config(domains))
    }

    /// One that orders for these names, which lead to it.
    pub(crate) fn start(&self, domains: &str) -> Gateway {
        let gateway = self.builder(domains).start();
        self.lead_to(&gateway);
        gateway
    }

    pub(crate) fn lead_to(&self, gateway: &Gateway) {
        let port = gateway.data().port();
        self.authority.lead_to(port, port);
    }

    /// Fails the next requests for the resource until the gate opens.
    pub(crate) fn hold(&self, resource: &str) -> Gate {
        let gate = Gate::default();
        self.authority
            .fail(resource, AcmeFault::Slow(gate.clone()), 1);
        gate
    }

    /// A caller that trusts what the authority issues.
    pub(crate) fn caller(&self) -> Caller {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(self.authority.root()))
            .unwrap();
        Caller::with(roots)
    }

    /// The certificate that is served for a name, or why there is none.
    pub(crate) fn served(&self, gateway: &Gateway, name: &str) -> Result<Vec<u8>, String> {
        let config = Arc::new(self.caller().config);
        let (_, session) = shake(&config, gateway.data(), name)?;
        let shown = session.peer_certificates().unwrap();
        Ok(shown[0].to_vec())
    }

    /// Waits until a certificate is served for a name.
    pub(crate) fn wait_served(&self, gateway: &Gateway, name: &str) -> Vec<u8> {
        eventually("a certificate", || self.served(gateway, name).ok())
    }

    /// The one certificate in the folder.
    pub(crate) fn kept(&self) -> PathBuf {
        let all = files(&self.cache(), ".pem");
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }
}

/// Files of a folder with this ending.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.display().to_string().ends_with(ending));
    paths.sort();
    paths
}

/// Reasons that the gateway tells operators.
pub(crate) fn degraded(gateway: &Gateway) -> Vec<String> {
    let (status, told) = gateway.api("GET", "/api/v1/status", None);
    assert_eq!(status, 200, "{told}");
    let reasons = told["degraded"].as_array().unwrap().iter();
    reasons
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

/// What `tollkeep tls check` says: its code, and the certificate that is ordered.
pub(crate) fn checked(gateway: &Gateway) -> (Option<i32>, Value) {
    let data = gateway.data_dir().display().to_string();
    let set = format!("data_dir={data}");
    let told = gateway.cli(&[
        "tls",
        "check",
        "--json",
        "--config",
        "tollkeep.yaml",
        "--set",
        &set,
    ]);
    let json: Value = serde_json::from_slice(&told.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&told.stderr)));
    (told.status.code(), json["ordered"][0].clone())
}

/// Has certificates read again, and ordered at once.
pub(crate) fn again(gateway: &Gateway) {
    let (status, told) = gateway.api("POST", "/api/v1/tls/reload", Some(&json!({})));
    assert_eq!(status, 200, "{told}");
}

/// The records of orders.
pub(crate) fn orders(gateway: &Gateway) -> Vec<Value> {
    let mut lines = gateway.audit_lines();
    lines.retain(|line| line["action"] == "certificate.order");
    lines
}

/// Waits until an order has failed, and why.
pub(crate) fn failed(gateway: &Gateway, count: usize) -> String {
    let of_failures = || {
        let mut failed = orders(gateway);
        failed.retain(|line| line["result"] == "error");
        failed
    };
    let line = eventually("an order that failed", || {
        of_failures().get(count - 1).cloned()
    });
    line["details"]["error"].as_str().unwrap().to_owned()
}
