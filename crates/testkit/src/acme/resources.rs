//! What each resource of the authority answers.

use super::issue::Request as Csr;
use super::jws::Signed;
use super::{AcmeFault, Asked, Order, Reply, Shared, look};
use crate::request::Request;
use crate::wait::{PATIENCE, wait_until};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn reply(
    shared: &Arc<Shared>,
    request: &Request,
    (resource, id): (&str, &str),
    fault: Option<&AcmeFault>,
) -> Reply {
    if request.field("user-agent") != Some("tollkeep") {
        shared
            .state()
            .problems
            .push(format!("{:?}", request.fields));
    }
    match (request.method.as_str(), resource) {
        ("GET", "directory") => return directory(shared),
        ("HEAD", "new-nonce") => return Reply::json(200, &Value::Null),
        ("GET", "renewal-info") => return renewal_info(shared, id),
        ("POST", _) => {}
        _ => return Reply::problem(404, "malformed", "no such thing"),
    }
    let signed = match Signed::read(shared, request, resource == "new-account") {
        Ok(signed) => signed,
        Err((kind, detail)) => {
            shared.state().problems.push(format!("{kind}: {detail}"));
            return Reply::problem(400, kind, &detail);
        }
    };
    let number: usize = id.parse().unwrap_or(usize::MAX);
    match resource {
        "new-account" => new_account(shared, signed),
        "new-order" => new_order(shared, &signed),
        "authz" => authorization(shared, number),
        kind @ ("http-01" | "tls-alpn-01") => challenge(shared, number, kind),
        "order" => order(shared, 200, number),
        "finalize" => finalize(shared, number, &signed, fault),
        "cert" => certificate(shared, number),
        _ => Reply::problem(404, "malformed", "no such thing"),
    }
}

fn directory(shared: &Shared) -> Reply {
    let mut directory = json!({
        "newNonce": shared.url("/new-nonce"),
        "newAccount": shared.url("/new-account"),
        "newOrder": shared.url("/new-order"),
        "meta": { "termsOfService": "https://terms.example" },
    });
    if shared.state().suggested.is_some() {
        directory["renewalInfo"] = json!(shared.url("/renewal-info"));
    }
    Reply::json(200, &directory)
}

fn renewal_info(shared: &Shared, id: &str) -> Reply {
    let state = shared.state();
    let known = state
        .issued
        .iter()
        .any(|pem| shared.root.identifier(pem) == id);
    match &state.suggested {
        Some((from, to)) if known => {
            let window = json!({ "suggestedWindow": { "start": from, "end": to } });
            Reply::json(200, &window).with("retry-after", "21600")
        }
        _ => Reply::problem(404, "malformed", "no such certificate"),
    }
}

fn new_account(shared: &Shared, signed: Signed) -> Reply {
    let mut state = shared.state();
    if signed.payload["termsOfServiceAgreed"] != true {
        return Reply::problem(403, "userActionRequired", "read the terms");
    }
    let known = state
        .accounts
        .iter()
        .position(|(key, _)| *key == signed.key);
    let (status, number) = match known {
        Some(number) => (200, number),
        None => {
            state.accounts.push((signed.key, signed.payload));
            (201, state.accounts.len() - 1)
        }
    };
    let account = json!({ "status": "valid" });
    Reply::json(status, &account).with("location", &shared.url(&format!("/account/{number}")))
}

fn new_order(shared: &Shared, signed: &Signed) -> Reply {
    let names = signed.payload["identifiers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let domains: Vec<String> = names
        .iter()
        .filter_map(|name| Some(name["value"].as_str()?.to_owned()))
        .collect();
    let mut state = shared.state();
    let mut challenges = Vec::new();
    for domain in &domains {
        let token = state.name("token");
        challenges.push(state.challenges.len());
        let asked = Asked {
            domain: domain.clone(),
            key_authorization: format!("{token}.{}", signed.key.thumbprint()),
            token,
            status: "pending",
            kind: None,
            error: None,
        };
        state.challenges.push(asked);
    }
    let replaces = signed.payload["replaces"].as_str().map(str::to_owned);
    state.orders.push(Order {
        domains,
        challenges,
        replaces,
        certificate: None,
    });
    let number = state.orders.len() - 1;
    drop(state);
    order(shared, 201, number).with("location", &shared.url(&format!("/order/{number}")))
}

fn order(shared: &Shared, status: u16, number: usize) -> Reply {
    let state = shared.state();
    let Some(order) = state.orders.get(number) else {
        return Reply::problem(404, "malformed", "no such order");
    };
    let all = |wanted: &str| {
        let mut challenges = order.challenges.iter();
        challenges.all(|at| state.challenges[*at].status == wanted)
    };
    let mut challenges = order.challenges.iter();
    let stands = if order.certificate.is_some() {
        "valid"
    } else if challenges.any(|at| state.challenges[*at].status == "invalid") {
        "invalid"
    } else if all("valid") {
        "ready"
    } else {
        "pending"
    };
    let names = order.domains.iter();
    let authorizations = order.challenges.iter();
    let mut told = json!({
        "status": stands,
        "identifiers": names.map(|name| json!({ "type": "dns", "value": name })).collect::<Vec<_>>(),
        "authorizations": authorizations.map(|at| shared.url(&format!("/authz/{at}"))).collect::<Vec<_>>(),
        "finalize": shared.url(&format!("/order/{number}/finalize")),
    });
    if let Some(certificate) = order.certificate {
        told["certificate"] = json!(shared.url(&format!("/cert/{certificate}")));
    }
    if let Some(replaces) = &order.replaces {
        told["replaces"] = json!(replaces);
    }
    Reply::json(status, &told)
}

fn challenge_of(shared: &Shared, asked: &Asked, number: usize, kind: &str) -> Value {
    let mut told = json!({
        "type": kind,
        "url": shared.url(&format!("/challenge/{number}/{kind}")),
        "token": asked.token,
        "status": asked.status,
    });
    let tried = asked.kind.as_deref() == Some(kind);
    if let Some(error) = asked.error.as_ref().filter(|_| tried) {
        let kind = "urn:ietf:params:acme:error:unauthorized";
        told["error"] = json!({ "type": kind, "detail": error });
    }
    told
}

fn authorization(shared: &Shared, number: usize) -> Reply {
    let state = shared.state();
    let Some(asked) = state.challenges.get(number) else {
        return Reply::problem(404, "malformed", "no such authorization");
    };
    let status = match asked.status {
        "processing" => "pending",
        other => other,
    };
    let kinds = ["dns-01", "http-01", "tls-alpn-01"];
    let told = json!({
        "status": status,
        "identifier": { "type": "dns", "value": asked.domain },
        "challenges": kinds.map(|kind| challenge_of(shared, asked, number, kind)),
    });
    Reply::json(200, &told)
}

/// Looks, aside, whether the name is the client's.
fn challenge(shared: &Arc<Shared>, number: usize, kind: &str) -> Reply {
    let mut state = shared.state();
    let Some(asked) = state.challenges.get_mut(number) else {
        return Reply::problem(404, "malformed", "no such challenge");
    };
    if asked.status == "pending" {
        asked.status = "processing";
        asked.kind = Some(kind.to_owned());
        let (domain, token) = (asked.domain.clone(), asked.token.clone());
        let expected = asked.key_authorization.clone();
        let (shared, by_tls) = (Arc::clone(shared), kind == "tls-alpn-01");
        std::thread::spawn(move || {
            // Where names lead to may be known only after the client has started.
            let known = || Some(shared.state().ports).filter(|ports| *ports != (0, 0));
            let ports = wait_until(PATIENCE, known).unwrap_or_default();
            let found = if by_tls {
                look::by_tls(ports.0, &domain, &expected)
            } else {
                look::by_http(ports.1, &domain, &token, &expected)
            };
            let mut state = shared.state();
            let asked = &mut state.challenges[number];
            asked.status = if found.is_ok() { "valid" } else { "invalid" };
            asked.error = found.err();
        });
    }
    let told = challenge_of(shared, &state.challenges[number], number, kind);
    Reply::json(200, &told)
}

fn finalize(shared: &Shared, number: usize, signed: &Signed, fault: Option<&AcmeFault>) -> Reply {
    let ready = order(shared, 200, number)
        .body
        .contains("\"status\":\"ready\"");
    let mut state = shared.state();
    let Some(domains) = state.orders.get(number).map(|order| order.domains.clone()) else {
        return Reply::problem(404, "malformed", "no such order");
    };
    if !ready {
        state
            .problems
            .push(format!("order {number} is finalized before it is ready"));
        return Reply::problem(403, "orderNotReady", "not yet");
    }
    let csr = signed.payload["csr"].as_str().unwrap_or_default();
    let csr = match Csr::read(csr, &domains) {
        Ok(csr) => csr,
        Err(problem) => {
            state
                .problems
                .push(format!("request for a certificate: {problem}"));
            return Reply::problem(400, "badCSR", &problem);
        }
    };
    let (csr, names) = match fault {
        Some(AcmeFault::OtherKey) => (Csr::other(), domains),
        Some(AcmeFault::OtherName) => (csr, vec!["other.example".to_owned()]),
        _ => (csr, domains),
    };
    let chain = shared.root.issue(&csr, &names, state.lifetime);
    state.issued.push(chain);
    let issued = state.issued.len() - 1;
    state.orders[number].certificate = Some(issued);
    drop(state);
    order(shared, 200, number)
}

fn certificate(shared: &Shared, number: usize) -> Reply {
    match shared.state().issued.get(number) {
        None => Reply::problem(404, "malformed", "no such certificate"),
        Some(chain) => Reply {
            status: 200,
            fields: "content-type: application/pem-certificate-chain\r\n".to_owned(),
            body: chain.clone(),
        },
    }
}
