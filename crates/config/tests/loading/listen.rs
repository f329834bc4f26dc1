//! Several data listeners: what they take from the rest of `server`, and what contradicts it.

use crate::support::Case;

const TLS: &str = "tls: {enabled: true, cert_file: a.pem, key_file: a.key}";

// EDGE-1
#[test]
fn listeners_take_what_they_do_not_say_from_the_server() {
    for (file, want) in [
        ("{}", "127.0.0.1:8317 clear"),
        ("{host: '::1', port: 1}", "[::1]:1 clear"),
        (
            "{listen: [{port: 1}, {host: 127.0.0.2, port: 2, http2: true}]}",
            "127.0.0.1:1 clear, 127.0.0.2:2 clear h2=true",
        ),
        (
            "{listen: [{port: 1}, {port: 2, tls: false}, {port: 3, redirect_http: true}], TLS}",
            "127.0.0.1:1 tls, 127.0.0.1:2 clear, 127.0.0.1:3 clear away",
        ),
        (
            "{listen: [{port: 1, tls: true, http2: false}], TLS}",
            "127.0.0.1:1 tls h2=false",
        ),
        // Each picks a port of its own.
        (
            "{listen: [{port: 0}, {port: 0}]}",
            "127.0.0.1:0 clear, 127.0.0.1:0 clear",
        ),
    ] {
        let server = Case::yaml(&format!("server: {file}\n").replace("TLS", TLS))
            .settings()
            .server;
        let told = server.listen.iter().map(|listen| {
            let speaks = if listen.tls { " tls" } else { " clear" };
            let http2 = listen
                .http2
                .map(|on| format!(" h2={on}"))
                .unwrap_or_default();
            let away = if listen.redirect_http { " away" } else { "" };
            format!("{}{speaks}{http2}{away}", listen.addr)
        });
        assert_eq!(told.collect::<Vec<_>>().join(", "), want, "{file}");
    }
}

// EDGE-1
#[test]
fn a_public_listener_among_several_obeys_the_rules_of_one() {
    let public = "{host: 0.0.0.0, port: 1}";
    let errors = Case::yaml(&format!("server: {{listen: [{{port: 2}}, {public}]}}\n")).errors();
    assert!(
        errors.contains(
            "server.listen[1].host: 0.0.0.0 is a public address without TLS: set `server.tls`, or \
             name the proxy in front in `server.trusted_proxies`, or set \
             `server.insecure_public_http: true`"
        ) && errors.contains("server.allowed_hosts: must name the hosts served"),
        "{errors}"
    );
    for way_out in [
        "trusted_proxies: [10.0.0.0/8]",
        "insecure_public_http: true",
        TLS,
    ] {
        let file = format!(
            "server: {{listen: [{{port: 2}}, {public}], allowed_hosts: [api.example], {way_out}}}\n"
        );
        let warnings = Case::yaml(&file).warnings();
        assert!(
            warnings.contains("server.listen[1].host: 0.0.0.0 is reached from beyond this machine"),
            "{way_out}: {warnings}"
        );
    }
    // TLS on another listener does not make this one safe; leading to it does.
    let beside = |more: &str| {
        let public = format!("{{host: 0.0.0.0, port: 1{more}}}");
        let file = format!(
            "server: {{listen: [{{port: 2}}, {public}], allowed_hosts: [api.example], {TLS}}}\n"
        );
        Case::yaml(&file).load().is_ok()
    };
    assert!(beside("") && beside(", redirect_http: true") && !beside(", tls: false"));
}

// EDGE-1 EDGE-6 EDGE-13
#[test]
fn listeners_that_contradict_something_are_refused() {
    for (file, want) in [
        (
            "{port: 3, listen: [{port: 1}]}",
            "server.port: stands beside `server.listen`",
        ),
        (
            "{host: 127.0.0.2, listen: [{port: 1}]}",
            "server.host: stands beside `server.listen`",
        ),
        (
            "{listen: [{host: 127.0.0.1}]}",
            "server.listen[0].port: is missing",
        ),
        (
            "{listen: [{port: 1}, {port: 1}]}",
            "server.listen[1]: says 127.0.0.1:1 once more",
        ),
        (
            "{listen: [{port: 1, tls: true}]}",
            "server.listen[0].tls: is on, but `server.tls` is not",
        ),
        (
            "{listen: [{port: 1, tls: false}], TLS}",
            "server.listen: has no entry with TLS",
        ),
        (
            "{listen: [{port: 1}, {port: 2, redirect_http: true}]}",
            "server.listen[1].redirect_http: leads nowhere",
        ),
        (
            "{listen: [{port: 1}, {port: 2, redirect_http: true, tls: true}], TLS}",
            "server.listen[1].redirect_http: is for clear text",
        ),
        (
            "{listen: [{port: 1}, {port: 2, redirect_http: true, http2: true}], TLS}",
            "server.listen[1].http2: has no effect",
        ),
        (
            "{listen: [{port: 1}, {port: 2, tls: false, redirect_port: 443}], TLS}",
            "server.listen[1].redirect_port: has no effect",
        ),
        (
            "{listen: [{port: 2, redirect_http: true}], TLS}",
            "server.listen: has no entry with TLS",
        ),
        (
            "{listen: [{port: 1, proxy_protocol: v2}]}",
            "server.listen[0].proxy_protocol: is not supported yet",
        ),
        (
            "{listen: [{port: 1, nonsense: 1}]}",
            "server.listen[0].nonsense: is no known key",
        ),
    ] {
        let errors = Case::yaml(&format!("server: {file}\n").replace("TLS", TLS)).errors();
        assert!(errors.contains(want), "{file}: {errors}");
    }
    let many: Vec<_> = (1..=17).map(|port| format!("{{port: {port}}}")).collect();
    let errors = Case::yaml(&format!("server: {{listen: [{}]}}\n", many.join(", "))).errors();
    assert!(
        errors.contains("server.listen: has more than 16 entries"),
        "{errors}"
    );
}

// EDGE-136
#[test]
fn listeners_are_read_at_start_only() {
    let server =
        |file: &str| Case::yaml(&format!("server: {file}\n").replace("TLS", TLS)).settings();
    for (before, after, want) in [
        ("{listen: [{port: 1}]}", "{listen: [{port: 1}]}", ""),
        (
            "{listen: [{port: 1}]}",
            "{listen: [{port: 2}]}",
            "server.listen",
        ),
        ("{listen: [{port: 1}]}", "{port: 1}", ""),
        ("{port: 1}", "{listen: [{port: 2}]}", "server.listen"),
        ("{port: 1}", "{port: 2}", "server.port"),
        ("{port: 1}", "{port: 1, TLS}", "server.tls.enabled"),
        (
            "{listen: [{port: 1}]}",
            "{listen: [{port: 1, http2: true}]}",
            "server.listen",
        ),
    ] {
        let (before, after) = (server(before), server(after));
        let changed: Vec<_> = before.start_only_changes(&after).collect();
        assert_eq!(changed.join(" "), want);
    }
}
