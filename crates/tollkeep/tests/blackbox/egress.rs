//! The one door out: what is never dialled, whatever a name resolves to.

use crate::fixture::{before, free, gateway, head};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Gateway, NameServer, Origin, Reply, eventually, free_addr, ok};

fn addresses(list: &[&str]) -> Reply {
    Reply::Addresses(list.iter().map(|ip| ip.parse().unwrap()).collect())
}

pub(crate) fn resolver(server: &NameServer) -> String {
    format!(
        "egress: {{ resolver: {{ mode: servers, servers: [\"{}\"], timeout_ms: 300, attempts: 1 }} }}\n",
        server.addr()
    )
}

/// An upstream and a free route `/<name>` to it.
pub(crate) fn upstream(name: &str, url: &str, more: &str) -> (String, String) {
    let upstream = format!("  {name}: {{ url: \"{url}\"{more} }}\n");
    let route = format!(
        "  \"GET /{name}\": {{ upstream: {name}, access: free, rate_limit: {{ requests: 1000000, window: 1s }} }}\n"
    );
    (upstream, route)
}

pub(crate) fn config(parts: &[(String, String)]) -> String {
    let (upstreams, routes): (Vec<_>, Vec<_>) = parts.iter().cloned().unzip();
    format!(
        "upstreams:\n{}routes:\n{}",
        upstreams.concat(),
        routes.concat()
    )
}

pub(crate) fn ask(gateway: &Gateway, name: &str) -> Answer {
    gateway.call(&head(&format!("GET /{name}"), ""))
}

// EDGE-103
#[test]
fn only_listed_hosts_are_called_or_the_others_are_told() {
    let origin = Origin::plain();
    let server = NameServer::start(answers);
    let port = origin.addr().port();
    let allowed = ", allow_private: [\"127.0.0.1/32\"]";
    let parts = [
        upstream("one", &format!("http://one.test.example:{port}"), allowed),
        upstream("two", &format!("http://two.other.example:{port}"), allowed),
    ];
    let with = |hosts: &str| {
        let resolver = resolver(&server).replace("egress: { ", &format!("egress: {{ {hosts}, "));
        gateway(format!("{resolver}{}", config(&parts)))
    };
    let refused = with("allow_hosts: [\"*.test.example\"]").try_start().err();
    let refused = refused.expect("one upstream is not listed");
    assert!(
        refused.stderr.contains("upstreams.two.url")
            && refused.stderr.contains("egress.allow_hosts")
            && !refused.stderr.contains("upstreams.one"),
        "{}",
        refused.stderr
    );
    let both = with("allow_hosts: [\"*.test.example\", two.other.example]").start();
    for name in ["one", "two"] {
        assert_eq!(ask(&both, name).status, 200, "{name}");
    }
    let told = with("allow_hosts: [\"*.test.example\"], mode: report").start();
    for name in ["one", "two"] {
        assert_eq!(ask(&told, name).status, 200, "{name}");
    }
    let tells = |host: &str| {
        told.stderr()
            .contains(&format!("`{host}` is called though"))
    };
    eventually("the host that is not listed", || {
        tells("two.other.example").then_some(())
    });
    assert!(!tells("one.test.example"));
}

// EDGE-97
#[test]
fn a_private_upstream_without_its_exception_is_a_start_error_that_names_the_line_to_add() {
    for (name, url, more, hint) in [
        ("loopback", "http://127.0.0.1:9000", "", "allow_private"),
        ("private", "http://10.1.2.3:9000", "", "allow_private"),
        (
            "another's exception",
            "http://10.1.2.3:9000",
            ", allow_private: [\"10.9.0.0/16\"]",
            "allow_private",
        ),
        (
            "a local name",
            "http://localhost:9000",
            "",
            "allow_private: [",
        ),
        ("v6 loopback", "http://[::1]:9000", "", "allow_private"),
        ("in hex", "http://0x7f000001:9000", "", "allow_private"),
        (
            "metadata",
            "http://169.254.169.254",
            ", allow_private: [\"169.254.0.0/16\"]",
            "dangerously_allow_metadata",
        ),
        (
            "a blocked port",
            "https://mail.example:25",
            "",
            "egress.allow_ports: [25]",
        ),
    ] {
        let refused = gateway(config(&[upstream("u", url, more)]))
            .try_start()
            .err();
        let refused = refused.unwrap_or_else(|| panic!("{name} started"));
        assert_eq!(refused.code, Some(3), "{name}: {}", refused.stderr);
        assert!(
            refused.stderr.contains("upstreams.u.url") && refused.stderr.contains(hint),
            "{name}: {}",
            refused.stderr
        );
    }
    gateway(config(&[upstream(
        "u",
        "http://127.0.0.1:9000",
        ", allow_private: [\"127.0.0.1/32\"]",
    )]))
    .start();
}

/// What a name resolves to, by its first label.
pub(crate) fn answers(name: &str) -> Reply {
    let many: Vec<IpAddr> = (0..65)
        .map(|last| IpAddr::from([93, 184, 216, last]))
        .collect();
    match name.split('.').next().unwrap_or_default() {
        "private" => addresses(&["10.0.0.1"]),
        "metadata" => addresses(&["169.254.169.254"]),
        "shared" => addresses(&["100.64.0.1"]),
        "nowhere" => addresses(&["0.0.0.0"]),
        "local" => addresses(&["fc00::1"]),
        "loopback6" => addresses(&["::1"]),
        "mapped" => addresses(&["::ffff:127.0.0.1"]),
        "nat64" => addresses(&["64:ff9b::7f00:1"]),
        "mixed" => addresses(&["93.184.216.34", "127.0.0.1"]),
        "mixed6" => addresses(&["93.184.216.34", "::1"]),
        "many" => Reply::Addresses(many),
        "empty" => addresses(&[]),
        "missing" => Reply::NoSuchName,
        "failing" => Reply::Failed,
        "silent" => Reply::Silence,
        "aliased" => Reply::Aliases(
            vec!["inner.example".to_owned()],
            vec![IpAddr::from([127, 0, 0, 1])],
        ),
        "endless" => Reply::Aliases(
            (0..9).map(|number| format!("a{number}.example")).collect(),
            vec![IpAddr::from([93, 184, 216, 34])],
        ),
        _ => addresses(&["127.0.0.1"]),
    }
}

// EDGE-96 EDGE-98 EDGE-102 EDGE-104
#[test]
fn a_name_with_an_address_that_is_not_allowed_is_never_dialled() {
    const CASES: [(&str, &str, &str); 18] = [
        ("private", "egress_refused", "private"),
        ("loopback", "egress_refused", "private"),
        ("metadata", "egress_refused", "metadata"),
        ("shared", "egress_refused", "private special"),
        ("nowhere", "egress_refused", "special"),
        ("local", "egress_refused", "private"),
        ("loopback6", "egress_refused", "private special embedded_v4"),
        ("mapped", "egress_refused", "embedded_v4"),
        ("nat64", "egress_refused", "embedded_v4"),
        ("mixed", "egress_refused", "mixed_answer"),
        ("mixed6", "egress_refused", "mixed_answer"),
        ("many", "egress_refused", "too_many"),
        ("aliased", "egress_refused", "private"),
        ("endless", "upstream_dns", ""),
        ("empty", "upstream_dns", ""),
        ("missing", "upstream_dns", ""),
        ("failing", "upstream_dns", ""),
        ("silent", "upstream_dns", ""),
    ];
    let trap = Origin::plain();
    let server = NameServer::start(answers);
    let port = trap.addr().port();
    let parts: Vec<_> = CASES
        .iter()
        .map(|(name, ..)| upstream(name, &format!("http://{name}.test.example:{port}"), ""))
        .collect();
    let gateway = gateway(format!("{}{}", resolver(&server), config(&parts))).start();
    for (name, code, reasons) in CASES {
        let answer = ask(&gateway, name);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, code),
            "{name}"
        );
        assert_eq!(
            answer.text(),
            format!("{{\"error\":\"The upstream could not answer.\",\"code\":\"{code}\"}}"),
            "{name}: no address, no name"
        );
        if code == "egress_refused" {
            let counted = |reason: &str| {
                gateway.metrics_text().lines().any(|line| {
                    line.starts_with("tollkeep_egress_refused_total")
                        && line.contains(&format!("reason=\"{reason}\""))
                        && !line.ends_with(" 0")
                })
            };
            eventually(name, || reasons.split(' ').any(counted).then_some(()));
        }
    }
    let event = gateway.audit_line("the audit event", |line| line["action"] == "egress.blocked");
    gateway.audit_line("the violation", |line| {
        line["action"] == "security_violation" && line["reason"] == "egress"
    });
    assert!(!event.to_string().contains("10.0.0.1"), "{event}");
    assert_eq!(trap.connections(), 0);
    assert!(server.asked().contains(&"mixed.test.example".to_owned()));
}

// EDGE-98
#[test]
fn a_name_whose_answers_alternate_is_judged_at_every_dial() {
    let trap = Origin::plain();
    let turn = std::sync::atomic::AtomicUsize::new(0);
    // The first look-up is for the allowed address, later ones for one that is not.
    let server = NameServer::start(move |_| {
        let asked = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if asked < 2 {
            addresses(&["127.0.0.2"])
        } else {
            addresses(&["127.0.0.1"])
        }
    });
    let listener = TcpListener::bind(("127.0.0.2", trap.addr().port())).unwrap();
    let url = format!("http://rebinding.test.example:{}", trap.addr().port());
    let part = upstream(
        "u",
        &url,
        ", allow_private: [\"127.0.0.2/32\"], timeouts: { first_byte_ms: 200 }, breaker: off, pool: { idle_per_host_max: 0 }",
    );
    let gateway = gateway(format!("{}{}", resolver(&server), config(&[part]))).start();
    assert_eq!(
        ask(&gateway, "u").code(),
        "timeout",
        "the allowed address is dialled, and says nothing"
    );
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_ok());
    eventually("the changed answer refused", || {
        (ask(&gateway, "u").code() == "egress_refused").then_some(())
    });
    assert_eq!(trap.connections(), 0);
}

// EDGE-98 EDGE-102
#[test]
fn a_name_is_resolved_by_the_configured_servers_once_and_kept_for_a_while() {
    let origin = Origin::start(|request| ok(request.field("host").unwrap().as_bytes()));
    let server = NameServer::start(answers);
    let url = format!("http://good.test.example:{}", origin.addr().port());
    let part = upstream(
        "u",
        &url,
        ", allow_private: [\"127.0.0.1/32\"], pool: { idle_per_host_max: 0 }",
    );
    let gateway = gateway(format!("{}{}", resolver(&server), config(&[part]))).start();
    let mut client = gateway.connect();
    for _ in 0..20 {
        let answer = client.call(&head("GET /u", ""));
        assert_eq!(
            answer.text(),
            format!("good.test.example:{}", origin.addr().port()),
            "Host is the name"
        );
    }
    let asked = server.asked();
    assert!(
        origin.connections() == 20 && asked.len() <= 12,
        "{} look-ups",
        asked.len()
    );
    assert!(
        asked.iter().all(|name| name == "good.test.example"),
        "{asked:?}"
    );
}

// EDGE-98
#[test]
fn a_name_that_failed_is_not_asked_about_again_at_once() {
    let server = NameServer::start(answers);
    let parts = [
        upstream("missing", "http://missing.test.example:9000", ""),
        upstream("failing", "http://failing.test.example:9000", ""),
    ];
    let gateway = gateway(format!("{}{}", resolver(&server), config(&parts))).start();
    let began = Instant::now();
    for name in [
        "missing", "failing", "missing", "failing", "missing", "failing",
    ] {
        assert_eq!(ask(&gateway, name).code(), "upstream_dns", "{name}");
    }
    let asked = server.asked().len();
    // A, AAAA, and a second try of each that failed.
    assert!(
        asked <= 6 || began.elapsed() > Duration::from_secs(5),
        "{asked} questions"
    );
}

// EDGE-102
#[test]
fn a_resolver_that_says_nothing_holds_up_nobody_else() {
    let origin = Origin::plain();
    let server = NameServer::start(answers);
    let parts = [
        upstream("silent", "http://silent.test.example:9000", ""),
        upstream(
            "good",
            &format!("http://good.test.example:{}", origin.addr().port()),
            ", allow_private: [\"127.0.0.1/32\"]",
        ),
    ];
    let gateway = gateway(format!("{}{}", resolver(&server), config(&parts)))
        .set("server.workers", "1")
        .start();
    let mut waiting = gateway.connect();
    waiting.send(&head("GET /silent", ""));
    eventually("the question", || {
        server
            .asked()
            .contains(&"silent.test.example".to_owned())
            .then_some(())
    });
    assert_eq!(ask(&gateway, "good").status, 200);
    let began = Instant::now();
    let answer = waiting.answer(tollkeep_testkit::PATIENCE).unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream_dns")
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

// EDGE-101
#[test]
fn no_listener_of_our_own_is_dialled_even_where_its_network_is_allowed() {
    let [data, management, metrics] = [(); 3].map(|()| free_addr().port());
    let server = NameServer::start(answers);
    let everything = ", allow_private: [\"127.0.0.0/8\"]";
    let parts = [
        upstream("data", &format!("http://127.0.0.1:{data}"), everything),
        upstream(
            "management",
            &format!("http://127.0.0.1:{management}"),
            everything,
        ),
        upstream(
            "metrics",
            &format!("http://127.0.0.1:{metrics}/metrics"),
            everything,
        ),
        upstream(
            "name",
            &format!("http://good.test.example:{data}"),
            everything,
        ),
    ];
    let gateway = gateway(format!("{}{}", resolver(&server), config(&parts)))
        .set("server.port", data.to_string())
        .set("management.listen", format!("127.0.0.1:{management}"))
        .set("metrics.port", metrics.to_string())
        .start();
    for name in ["data", "management", "metrics", "name"] {
        let answer = ask(&gateway, name);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "egress_refused"),
            "{name}"
        );
    }
    eventually("the reason counted", || {
        let text = gateway.metrics_text();
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("tollkeep_egress_refused_total"));
        lines
            .any(|line| line.contains("reason=\"self\"") && line.ends_with(" 4"))
            .then_some(())
    });
}

/// A private address of an interface of this machine, or else one of loopback. Nothing is sent.
fn interface() -> IpAddr {
    let routed = |own: &str, other: &str| {
        let probe = UdpSocket::bind(own).ok()?;
        probe.connect(other).ok()?;
        Some(probe.local_addr().ok()?.ip())
    };
    let v4 = routed("0.0.0.0:0", "198.51.100.1:9");
    let v6 = routed("[::]:0", "[2001:db8::1]:9").or_else(|| routed("[::]:0", "[fd00::9]:9"));
    let found = [v4, v6].into_iter().flatten();
    let mut private = found.filter(|ip| match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    });
    private.next().unwrap_or(IpAddr::from([127, 0, 0, 2]))
}

// EDGE-101
#[test]
fn bound_to_every_address_none_of_them_is_dialled() {
    let (data, own) = (free_addr().port(), interface());
    let (every, loopback) = if own.is_ipv4() {
        ("0.0.0.0", IpAddr::from([127, 0, 0, 1]))
    } else {
        ("::", IpAddr::from(Ipv6Addr::LOCALHOST))
    };
    let allowed = format!(", allow_private: [\"{own}\", \"{loopback}\"]");
    let parts = [("interface", own), ("loopback", loopback)].map(|(name, ip)| {
        let addr = SocketAddr::new(ip, data);
        upstream(name, &format!("http://{addr}"), &allowed)
    });
    let gateway = gateway(config(&parts))
        .set("server.host", every)
        .set("server.port", data.to_string())
        .set("server.insecure_public_http", "true")
        .set("server.allowed_hosts", "127.0.0.1")
        .start();
    for name in ["interface", "loopback"] {
        let answer = ask(&gateway, name);
        let told = (answer.status, answer.code());
        assert_eq!(told, (502, "egress_refused".to_owned()), "{name} {own}");
    }
}

// EDGE-98
#[test]
fn no_proxy_variable_of_the_environment_is_obeyed() {
    let (origin, proxy) = (Origin::plain(), Origin::plain());
    let mut started = gateway(before(&origin, &free("GET /x")));
    for name in [
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "https_proxy",
    ] {
        started = started.env(name, proxy.url());
    }
    assert_eq!(started.start().call(&head("GET /x", "")).status, 200);
    assert_eq!((origin.count(), proxy.connections()), (1, 0));
}
