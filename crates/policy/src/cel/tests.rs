//! What conditions say, and what is no condition.

use super::*;

fn field(name: &str) -> Field {
    match name {
        "x-team" => Field::Once("blue".into()),
        "x-twice" => Field::Unclear,
        _ => Field::Never,
    }
}

fn facts() -> Facts<'static> {
    Facts {
        method: "POST",
        path: "/v1/chat/completions",
        query: "a=b",
        size: 120,
        field: &field,
        ip: IpAddr::from([10, 0, 0, 7]),
        caller: Some(CallerFacts {
            token: "tid_1",
            project: "team-a",
            project_id: "prj_1",
            tenant_id: "ten_1",
        }),
        model: "gpt-4o-mini",
        tokens_in: 40,
        // A Sunday.
        now: "2026-11-22T10:15:30.250Z".parse().unwrap(),
    }
}

fn asked(text: &str) -> Result<bool, Failed> {
    Condition::new(text)
        .unwrap_or_else(|fault| panic!("{text}: {fault}"))
        .holds(&facts())
}

// ID-90
#[test]
fn conditions_say_what_the_language_says() {
    for text in [
        "true",
        "!false",
        "request.method == 'POST' && request.path.startsWith(\"/v1/\")",
        "request.query == 'a=b' && request.size < 1000",
        "model in ['gpt-4o', 'gpt-4o-mini']",
        "!(model in [])",
        "tokens_in <= 100 || model == 'small'",
        "caller.known && caller.project == 'team-a' && caller.ip.startsWith('10.')",
        "caller.token + caller.project_id + caller.tenant_id == 'tid_1prj_1ten_1'",
        "request.headers['X-Team'] == 'blue'",
        "'x-team' in request.headers && !('x-other' in request.headers)",
        "!has(request.headers.authorization)",
        "now.getHours() >= 9 && now.getHours('+02:00') == 12 && now.getHours('-11:00') == 23",
        "now.getDayOfWeek() == 0 && now.getDayOfWeek('+14:00') == 1",
        "now.getFullYear() == 2026 && now.getMonth() == 10 && now.getDate() == 22",
        "now.getDayOfMonth() == 21 && now.getDayOfYear() == 325",
        "now.getMinutes() == 15 && now.getSeconds() == 30 && now.getMilliseconds() == 250",
        "now < timestamp('2030-01-01T00:00:00Z') && now - duration('1h30m') > timestamp('2026-11-22T08:00:00Z')",
        "(now - timestamp('2026-11-22T00:00:00Z')).getHours() == 10",
        "duration('1.5h') == duration('90m') && -duration('1s') < duration('0s') && duration('250ms').getMilliseconds() == 250",
        "timestamp(int(now)) <= now && string(timestamp(0)).startsWith('1970-01-01T00:00:00')",
        "1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 7 / 2 == 3 && 7 % 2 == 1 && -7 / 2 == -3 && 2 - 3 - 4 == -5",
        "1 == 1.0 && 1 < 1.5 && 2.5 > 2 && 9007199254740993 != 9007199254740992.0 && 1 != '1'",
        "0x1F == 31 && 1e3 == 1000 && .5 + .5 == 1.0",
        "size('aé') == 2 && 'abc'.size() == 3 && size([1, 2]) == 2 && size({'a': 1}) == 1",
        "int('7') == 7 && int(7.9) == 7 && double('1.5') == 1.5 && string(7) + string(true) == '7true'",
        "'AbC'.lowerAscii() == 'abc' && 'AbC'.upperAscii() == 'ABC' && 'abc'.contains('b') && 'abc'.endsWith('c')",
        "'a\\tb\\x41\\u00e9\\'' == \"a\tbAé'\" && r'a\\n' == 'a\\\\n'",
        "[1, 2, 3].all(x, x > 0) && [1, 2, 3].exists(x, x == 2) && [1, 2, 2].exists_one(x, x == 1)",
        "[1, 2, 3].filter(x, x > 1) == [2, 3] && [1, 2].map(x, x * 2) == [2, 4] && [1, 2].map(x, x > 1, x) == [2]",
        "[[1, 2], [3]].exists(x, x.exists(y, y == 3)) && [1].all(x, [2].all(x, x == 2) && x == 1)",
        "{'a': 1, 'b': [2]}.b[0] == 2 && {1: 'x'}[1] == 'x' && 'a' in {'a': 1} && {'a': 1}.all(k, k == 'a')",
        "{'a': 1, 'b': 2} == {'b': 2, 'a': 1} && {'a': 1} != {'a': 2} && has({'a': 1}.a) && !has({'a': 1}.b)",
        "model == 'x' ? false : tokens_in == 40",
        "true || 1 / 0 == 1",
        "1 / 0 == 1 || true",
        "!(false && 1 / 0 == 1) && !(1 / 0 == 1 && false)",
        "[1, 0].exists(x, 1 / x == 1) && ![0, 1].all(x, 1 / x == 2)",
        "null == null && null != 0 // with a remark",
    ] {
        assert_eq!(asked(text), Ok(true), "{text}");
    }
    for (text, want) in [
        ("model == 'gpt-4o'", Ok(false)),
        ("request.headers['x-other'] == 'a'", Err(Failed::Missing)),
        ("request.headers['x-twice'] == 'a'", Err(Failed::Missing)),
        ("'x-twice' in request.headers", Err(Failed::Missing)),
        ("[1][1] == 1", Err(Failed::Missing)),
        ("[1][-1] == 1", Err(Failed::Missing)),
        ("{'a': 1}.b == 1", Err(Failed::Missing)),
        ("1 / 0 == 1", Err(Failed::Range)),
        ("9223372036854775807 + 1 > 0", Err(Failed::Range)),
        ("int('x') == 1", Err(Failed::Range)),
        ("timestamp(model) < now", Err(Failed::Range)),
        ("now - duration('1000000h') < now", Err(Failed::Range)),
        ("now.getHours(model) == 1", Err(Failed::Range)),
        ("model < 1", Err(Failed::Type)),
        ("!{'a': 1}.a", Err(Failed::Type)),
        ("{'a': 1}.a", Err(Failed::Type)),
        ("model && true", Err(Failed::Type)),
        ("request.headers == request.headers", Err(Failed::Type)),
        ("{'a': 1, 'a': 2}.a == 1", Err(Failed::Type)),
    ] {
        assert_eq!(asked(text), want, "{text}");
    }
}

// ID-90
#[test]
fn nobody_in_particular_has_no_names() {
    let facts = Facts {
        caller: None,
        ..facts()
    };
    for text in [
        "!caller.known",
        "caller.project == '' && caller.token == ''",
    ] {
        assert_eq!(
            Condition::new(text).unwrap().holds(&facts),
            Ok(true),
            "{text}"
        );
    }
}

// ID-90
#[test]
fn what_is_no_condition_is_refused_with_its_place() {
    let deep = format!("{}true{}", "(".repeat(40), ")".repeat(40));
    let row = format!("1{} == 1", " + 1".repeat(80));
    let long = format!("'{}' == ''", "a".repeat(5000));
    let many = format!("true{}", "||true".repeat(600));
    for (text, column, problem) in [
        ("", 1, "ends too early"),
        ("true tru", 6, "any more"),
        ("modl == 'x'", 1, "there is no `modl`"),
        ("true && caller.nam == 'x'", 16, "`caller` has no `nam`"),
        ("request == 1", 9, "`.` was expected"),
        ("1 + 2", 1, "neither true nor false"),
        ("model", 1, "neither true nor false"),
        ("true ? 'a' : true", 1, "neither true nor false"),
        (
            "model.matches('a.*')",
            7,
            "regular expressions are not supported",
        ),
        ("open('x') == 1", 1, "there is no function `open`"),
        ("startsWith('a', 'b')", 1, "there is no function"),
        ("size() == 1", 1, "another number of values"),
        ("model.startsWith() ", 7, "another number of values"),
        ("b'x' == b'x'", 1, "bytes are not supported"),
        ("1u == 1u", 1, "unsigned numbers are not supported"),
        ("'''a''' == ''", 1, "several lines"),
        ("model == 'x", 10, "without its end"),
        ("model == '\\q'", 10, "unknown escape"),
        ("model == '\\ud800'", 10, "names no character"),
        ("99999999999999999999 > 1", 1, "beyond 64 bits"),
        ("1.2.3 > 1", 1, "no number"),
        ("12ab > 1", 1, "no number"),
        ("model = 'x'", 7, "any more"),
        ("model == #", 10, "no part of a condition"),
        ("has(model)", 1, "`has` asks for a member"),
        ("(true", 6, "`)` was expected"),
        ("[1, 2 == 1", 11, "`]` was expected"),
        ("{1 2} == 1", 4, "`:` was expected"),
        ("[1].all(1, true)", 9, "a name was expected"),
        ("timestamp('yesterday') < now", 1, "can't read"),
        ("duration('1 day') < duration('1h')", 1, "can't read"),
        ("now.getHours('Europe/Berlin') > 1", 5, "a time zone is"),
        ("x == 1 && [1].all(x, true)", 1, "there is no `x`"),
        (&deep, 33, "nests deeper"),
        (&row, 327, "nests deeper"),
        (&long, 1, "longer than 4096 bytes"),
    ] {
        let fault = Condition::new(text).unwrap_err();
        assert_eq!(fault.column, column, "{text}: {fault}");
        assert!(fault.problem.contains(problem), "{text}: {fault}");
    }
    assert!(
        Condition::new(&many).is_ok(),
        "a long row of `||` is no depth"
    );
}

// ID-90
#[test]
fn no_condition_costs_more_than_it_may() {
    let list = format!("[{}]", vec!["1"; 100].join(","));
    let nested = format!("{list}.all(a, {list}.all(b, {list}.all(c, a + b + c > 0)))");
    assert_eq!(asked(&nested), Err(Failed::Cost));
    assert_eq!(
        asked(&format!("{nested} || true")),
        Err(Failed::Cost),
        "nothing makes up for it"
    );
    let grows = format!(
        "{list}.map(a, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa').all(a, size(a + a + a + a) > 0)"
    );
    assert_eq!(asked(&grows), Ok(true));
    let path = "/".repeat(60_000);
    let facts = Facts {
        path: &path,
        ..facts()
    };
    for (text, want) in [
        ("request.path + request.path == ''", Err(Failed::Cost)),
        ("request.path.contains('x')", Ok(false)),
        (
            "[1,2,3,4,5,6,7,8].all(x, !request.path.contains('x'))",
            Err(Failed::Cost),
        ),
        (
            "[request.path.lowerAscii()].all(x, [x, x, x, x, x, x] == [])",
            Err(Failed::Cost),
        ),
    ] {
        assert_eq!(Condition::new(text).unwrap().holds(&facts), want, "{text}");
    }
}

proptest::proptest! {
    // ID-90
    #[test]
    fn no_text_makes_a_condition_panic(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "true", "false", "null", "1", "-", "1.5", "'a'", "model", "now", "tokens_in",
                "request.headers", "caller.project", "==", "!=", "<", "&&", "||", "!", "+", "*",
                "/", "%", "?", ":", "(", ")", "[", "]", "{", "}", ",", ".", "in", "size", "x",
                ".all(x,", ".map(x,", ".getHours()", ".startsWith('a')", "duration('1h')",
                "9223372036854775807", "has(",
            ]),
            0..24,
        )
    ) {
        if let Ok(condition) = Condition::new(&words.join(" ")) {
            let _answer = condition.holds(&facts());
        }
    }

    // ID-90
    #[test]
    fn no_bytes_make_a_condition_panic(text in "\\PC{0,60}") {
        if let Ok(condition) = Condition::new(&text) {
            let _answer = condition.holds(&facts());
        }
    }

    // ID-90
    #[test]
    fn numbers_are_those_of_the_machine(one in -1000_i64..1000, two in 1_i64..1000) {
        let text = format!(
            "({one}) + {two} == {} && ({one}) * {two} == {} && ({one}) / {two} == {} && ({one}) % {two} == {} && (({one}) < {two}) == {}",
            one + two, one * two, one / two, one % two, one < two,
        );
        proptest::prop_assert_eq!(asked(&text), Ok(true), "{}", text);
    }
}
