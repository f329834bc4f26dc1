//! Documents, hostile and otherwise: what becomes a route, and what is told instead.

use super::*;

fn document(paths: &str) -> String {
    format!("openapi: 3.1.0\npaths:\n{paths}")
}

fn names(document: &Document) -> Vec<String> {
    let operations = document.operations.iter();
    let name = |known: &Operation| format!("{} {}", known.method.as_str(), known.pattern);
    operations.map(name).collect()
}

// PAY-40
#[test]
fn operations_become_routes_and_what_can_not_be_one_is_told() {
    let cases = [
        ("  /a: {get: {}}", vec!["GET /a"], vec![]),
        (
            "  /a/{id}/b: {get: {}, post: {}, summary: x, parameters: [], x-y: 1}",
            vec!["GET /a/:id/b", "POST /a/:id/b"],
            vec![],
        ),
        ("  /a/{user-id}: {put: {}}", vec!["PUT /a/:user_id"], vec![]),
        ("  /: {get: {}}", vec!["GET /"], vec![]),
        ("  /a/: {head: {}}", vec!["HEAD /a/"], vec![]),
        ("  x-paths: 1\n  /a: {get: {}}", vec!["GET /a"], vec![]),
        (
            "  /a: {get: {}, trace: {}, GET: {}, options: {}, connect: {}}",
            vec!["GET /a"],
            vec![
                "\"TRACE /a\": is no method",
                "\"GET /a\": is no method",
                "\"OPTIONS /a\": is answered for browsers",
                "\"CONNECT /a\": is no method",
            ],
        ),
        (
            "  /a: {get: {}}\n  /f/{n}.json: {get: {}}",
            vec!["GET /a"],
            vec!["has a name within a segment"],
        ),
        (
            "  /a/{x}: {get: {}}\n  /a/{y}: {get: {}, post: {}}",
            vec!["GET /a/:x", "POST /a/:y"],
            vec!["\"GET /a/{y}\": takes the same requests as \"/a/:x\""],
        ),
        (
            "  /a: {$ref: '#/components/pathItems/i'}\ncomponents: {pathItems: {i: {get: {}}}}",
            vec!["GET /a"],
            vec![],
        ),
        (
            "  /a: {get: {}}\n  /b: {$ref: '#/paths/~1b'}\n  /c: {$ref: '#/none'}\n  /d: 7",
            vec!["GET /a"],
            vec![
                "\"/b\": refers on and on",
                "\"/c\": there is nothing at \"#/none\"",
                "\"/d\": is no object",
            ],
        ),
    ];
    for (paths, want, told) in cases {
        let read = read(Format::Yaml, &document(paths)).unwrap();
        assert_eq!(names(&read), want, "{paths}");
        assert_eq!(
            read.left_out.len(),
            told.len(),
            "{paths}: {:?}",
            read.left_out
        );
        for (left, told) in read.left_out.iter().zip(told) {
            assert!(left.contains(told), "{paths}: {left}");
        }
    }
    // Names go to the upstream in their places.
    let read = read(Format::Yaml, &document("  /a/{x.y}/b: {get: {}}")).unwrap();
    assert_eq!(read.operations[0].to, "/a/${params.x_y}/b");
}

// PAY-40
#[test]
fn a_path_that_would_mean_something_else_is_no_route() {
    for (path, problem) in [
        ("/:id", "no segment"),
        ("/a/*", "no segment"),
        ("/a/../b", ""),
        ("/a/%2e%2e/b", ""),
        ("/a/%2Fb", "no segment"),
        ("/a;x=1/b", "no segment"),
        ("/a//b", "empty segment"),
        ("/a?x=1", "no segment"),
        ("/a#x", "no segment"),
        ("/a\\\\b", ""),
        ("/\\u0000", ""),
        ("/{}", "want `:name`"),
        ("/{a b}", "want `:name`"),
        ("/{a}{b}", "within a segment"),
        ("/{a", "within a segment"),
        ("/{a}/{a}", "twice"),
        ("a", "does not start with `/`"),
        ("//evil.example/x", ""),
        ("/ä", ""),
    ] {
        let text = document(&format!(
            "  \"{path}\": {{get: {{}}}}\n  /ok: {{get: {{}}}}"
        ));
        let read = read(Format::Yaml, &text).unwrap();
        assert_eq!(names(&read), ["GET /ok"], "{path}");
        assert!(
            read.left_out[0].contains(problem),
            "{path}: {}",
            read.left_out[0]
        );
        assert!(read.left_out[0].is_ascii() || path == "/ä", "{path}");
        assert!(!read.left_out[0].contains('\0'), "{path}");
    }
}

// PAY-40
#[test]
fn a_document_that_is_none_is_refused_as_a_whole() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(200), close.repeat(200));
    let many = |count: usize| {
        let paths: Vec<String> = (0..count)
            .map(|n| format!("\"/p{n}\":{{\"get\":{{}}}}"))
            .collect();
        format!(
            "{{\"openapi\":\"3.0.3\",\"paths\":{{{}}}}}",
            paths.join(",")
        )
    };
    for (text, problem) in [
        ("{}".to_owned(), "is no OpenAPI document"),
        (
            "{\"swagger\": \"2.0\", \"paths\": {}}".to_owned(),
            "Swagger 2",
        ),
        (
            "{\"openapi\": \"3.2.0\", \"paths\": {}}".to_owned(),
            "want 3.0 or 3.1",
        ),
        (
            "{\"openapi\": \"3.10\", \"paths\": {}}".to_owned(),
            "want 3.0 or 3.1",
        ),
        ("{\"openapi\": \"3.1.0\"}".to_owned(), "has no `paths`"),
        (
            "{\"openapi\": \"3.1.0\", \"paths\": []}".to_owned(),
            "has no `paths`",
        ),
        (
            "{\"openapi\": \"3.1.0\", \"paths\": {}}".to_owned(),
            "no path that could",
        ),
        ("{\"openapi\": \"3.1.0\", ".to_owned(), "not JSON"),
        (
            "{\"openapi\": \"3.1.0\", \"paths\": {\"/a\": {}, \"/a\": {}}}".to_owned(),
            "written twice",
        ),
        (
            "{\"openapi\": \"3.1.0\", \"paths\": {\"/a\": {\"get\": {\"x\": {\"$ref\": \
             \"https://evil.example/x\"}}}}}"
                .to_owned(),
            "which is outside of it",
        ),
        (
            "{\"openapi\": \"3.1.0\", \"paths\": {\"/a\": {\"$ref\": \"other.yaml\"}}}".to_owned(),
            "which is outside of it",
        ),
        (
            format!("{{\"openapi\": \"3.1.0\", \"x\": {}}}", deep("[", "]")),
            "",
        ),
        (many(PATHS_MAX + 1), "more than 1000 paths"),
    ] {
        let refused = read(Format::Json, &text).unwrap_err();
        assert!(refused.contains(problem), "{text:.80}: {refused}");
    }
    assert_eq!(
        read(Format::Json, &many(PATHS_MAX))
            .unwrap()
            .operations
            .len(),
        PATHS_MAX
    );
}

// PAY-40
#[test]
fn an_alias_is_paid_for_in_full_and_so_is_what_is_kept_to_be_repeated() {
    let mut bomb = "openapi: 3.1.0\nx0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for level in 1..8 {
        let last = format!("*x{}", level - 1);
        let list = vec![last; 10].join(", ");
        bomb.push_str(&format!("x{level}: &x{level} [{list}]\n"));
    }
    assert!(read(Format::Yaml, &bomb).unwrap_err().contains("more than"));
    let nested: String = (0..60).map(|level| format!("&a{level} [")).collect();
    let inner = vec!["1"; 10_000].join(",");
    let nested = format!("openapi: 3.1.0\nx: {nested}{inner}{}\n", "]".repeat(60));
    assert!(
        read(Format::Yaml, &nested)
            .unwrap_err()
            .contains("with an anchor")
    );
    let long = " ".repeat(usize::try_from(DOCUMENT_BYTES_MAX).unwrap() + 1);
    assert!(
        read(Format::Yaml, &long)
            .unwrap_err()
            .contains("longer than")
    );
}
