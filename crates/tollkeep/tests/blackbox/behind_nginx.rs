//! Behind nginx, set up with the lines of tollbooth's page as they stand there: the gateway sees
//! who calls, and whether they came over TLS.

use crate::fixture::{TOLLKEEP, before, free, head, post};
use crate::tls_fixture::{Certificates, Kind};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use tollkeep_testkit::{
    BodyEnd, Client, Gateway, Origin, chunk, chunked_head, eventually, free_addr, ok, wait_until,
};

/// What the page says a proxy must forward.
const FORWARD: &str = "\
proxy_set_header Host $host;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
";

/// What the page says against floods.
const ZONE: &str = "\
# Nginx — 10 requests/second per IP
limit_req_zone $binary_remote_addr zone=tollbooth:10m rate=10r/s;
";

/// An nginx before a gateway, on a port in clear text and one with TLS; dropped, it is killed.
struct Nginx {
    child: Child,
    clear: SocketAddr,
    tls: SocketAddr,
}

impl Nginx {
    fn start(gateway: &Gateway, certificates: &Certificates) -> Self {
        // Another process may take a port between the two steps.
        for _ in 0..10 {
            let (clear, tls) = (free_addr(), free_addr());
            let mut nginx = Self {
                child: spawn(gateway, certificates, clear, tls),
                clear,
                tls,
            };
            let accepts = wait_until(tollkeep_testkit::PATIENCE, || {
                let ended = nginx.child.try_wait().unwrap().is_some();
                let listens = TcpStream::connect(clear).is_ok() && TcpStream::connect(tls).is_ok();
                (ended || listens).then_some(!ended)
            });
            if accepts == Some(true) {
                return nginx;
            }
        }
        panic!("nginx does not start");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(
    gateway: &Gateway,
    certificates: &Certificates,
    clear: SocketAddr,
    tls: SocketAddr,
) -> Child {
    let pair = certificates.pair("front", Kind::Ecdsa, &["127.0.0.1"]);
    let folder = certificates.folder.path().display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
        .concat();
    let config = format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;\n\
         events {{ }}\n\
         http {{\naccess_log off;\n{temporary}{ZONE}\
         server {{\nlisten {clear};\nlisten {tls} ssl;\n\
         ssl_certificate {}; ssl_certificate_key {};\n\
         location / {{\n{FORWARD}proxy_pass http://{};\n\
         limit_req zone=tollbooth burst=1000 nodelay;\n}}\n}}\n}}\n",
        pair.cert.display(),
        pair.key.display(),
        gateway.data(),
    );
    let file = certificates.path("nginx.conf");
    fs::write(&file, config).unwrap();
    let program = std::env::var("TEST_NGINX").unwrap_or_else(|_| "nginx".to_owned());
    let mut command = Command::new(program);
    command.arg("-e").arg(certificates.path("nginx.err"));
    command.arg("-c").arg(&file).stdin(Stdio::null());
    command
        .spawn()
        .expect("nginx, at TEST_NGINX or on the path")
}

struct World {
    certificates: Certificates,
    origin: Origin,
    gateway: Gateway,
    nginx: Nginx,
}

fn world(config: &str) -> World {
    let certificates = Certificates::new();
    let origin = Origin::start(|request| {
        if request.target == "/stream" {
            let pieces = (0..50).map(|_| chunk(&[b's'; 1_000]));
            let head = [chunked_head("text/plain")].into_iter();
            let end = [chunk(b"")];
            return head.chain(pieces).chain(end).collect();
        }
        ok(&request.body)
    });
    let routes = before(&origin, &["ANY /x", "GET /stream"].map(free).concat());
    let routes = routes.replace("allow_private:", "forward_client_ip: true, allow_private:");
    let gateway = Gateway::builder(TOLLKEEP)
        .config(format!("trustProxy: true\n{config}{routes}"))
        .start();
    let nginx = Nginx::start(&gateway, &certificates);
    World {
        certificates,
        origin,
        gateway,
        nginx,
    }
}

const OPEN: &str = "server: { security: { rate_limiting: { enabled: false } } }\n";

/// An address of this machine that is not the proxy's.
const CALLER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

// EDGE-60 EDGE-61
#[test]
#[ignore = "wants nginx; `make test` runs it"]
fn behind_nginx_the_caller_is_who_called_nginx_whatever_it_claims() {
    let world = world(OPEN);
    for claimed in [
        "",
        "X-Forwarded-For: 198.51.100.7\r\n",
        "X-Forwarded-For: 198.51.100.7, 127.0.0.1\r\n",
        "X-Real-IP: 198.51.100.7\r\nForwarded: for=198.51.100.7\r\n",
        "CF-Connecting-IP: 198.51.100.7\r\nTrue-Client-IP: 198.51.100.7\r\n",
    ] {
        let mut client = Client::connect_from(CALLER, world.nginx.clear);
        let answer = client.call(&head("GET /x", claimed));
        assert_eq!(answer.status, 200, "{claimed}: {}", answer.text());
        let told = world.origin.last();
        for field in ["x-forwarded-for", "x-real-ip"] {
            assert_eq!(told.field(field), Some("127.0.0.77"), "{claimed} {field}");
        }
        let scheme = told.field("x-forwarded-proto");
        assert_eq!(scheme, Some("http"), "{claimed}");
    }
    let recorded = eventually("five access lines", || {
        let lines = world.gateway.access_lines();
        (lines.len() == 5).then_some(lines)
    });
    for line in recorded {
        assert!(line.to_string().contains("127.0.0.77"), "{line}");
        assert!(!line.to_string().contains("198.51.100.7"), "{line}");
    }
}

// EDGE-85 EDGE-60
#[test]
#[ignore = "wants nginx; `make test` runs it"]
fn behind_nginx_each_caller_has_its_own_limit_and_lists_name_callers() {
    let world = world(
        "server: { security: { rate_limiting: { requests_per_second: 1, burst: 5, scope: all }, \
         ip_denylist: { enabled: true, denied_ips: [127.0.0.66] } } }\n",
    );
    let statuses = |from: [u8; 4]| -> Vec<u16> {
        let call = |_| {
            let forged = "X-Forwarded-For: 203.0.113.9\r\n";
            let mut client = Client::connect_from(from.into(), world.nginx.clear);
            client.call(&head("GET /x", forged)).status
        };
        (0..8).map(call).collect()
    };
    for caller in [77, 78] {
        let statuses = statuses([127, 0, 0, caller]);
        assert_eq!(statuses[..5], [200; 5], "{caller}: a limit of its own");
        assert!(statuses[5..].contains(&429), "{caller}: {statuses:?}");
    }
    assert_eq!(statuses([127, 0, 0, 66]), [403; 8]);
}

// EDGE-16 EDGE-62
#[test]
#[ignore = "wants nginx; `make test` runs it"]
fn behind_nginx_transport_security_is_asked_for_where_the_caller_came_over_tls() {
    let world = world(OPEN);
    for claimed in ["", "X-Forwarded-Proto: https\r\n"] {
        let answer = Client::connect(world.nginx.clear).call(&head("GET /x", claimed));
        assert_eq!(answer.status, 200);
        assert!(
            answer.field("strict-transport-security").is_none(),
            "{claimed}"
        );
    }
    for claimed in ["", "X-Forwarded-Proto: http\r\n"] {
        let mut client = world
            .certificates
            .caller()
            .connect(world.nginx.tls, "127.0.0.1");
        let answer = client.call(&head("GET /x", claimed));
        let told = answer.field("strict-transport-security");
        assert_eq!(
            told,
            Some("max-age=31536000; includeSubDomains"),
            "{claimed}"
        );
        let scheme = world.origin.last();
        assert_eq!(
            scheme.field("x-forwarded-proto"),
            Some("https"),
            "{claimed}"
        );
    }
    let refused = world
        .certificates
        .caller()
        .connect(world.nginx.tls, "127.0.0.1");
    let mut refused = refused;
    let answer = refused.call(&head("GET /nowhere", ""));
    assert_eq!(answer.status, 404);
    assert!(answer.field("strict-transport-security").is_some());
}

// EDGE-50 EDGE-52
#[test]
#[ignore = "wants nginx; `make test` runs it"]
fn behind_nginx_bodies_and_streams_come_whole() {
    let world = world(OPEN);
    for length in [0, 1, 65_536, 1_000_000] {
        let body: Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
        let answer = Client::connect(world.nginx.clear).call(&post("/x", "", &body));
        assert_eq!(answer.status, 200, "{length}: {}", answer.text());
        assert!(answer.body == body, "{length}");
    }
    let answer = Client::connect(world.nginx.clear).call(&head("GET /stream", ""));
    assert_eq!((answer.status, answer.end), (200, BodyEnd::Whole));
    assert_eq!(answer.body.len(), 50_000);
}
