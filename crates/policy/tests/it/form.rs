//! Forms and media types.

use tollkeep_policy::form::{BodyKind, FormFault, FormField, multipart, urlencoded};

// ID-91
#[test]
fn a_media_type_is_read_whatever_its_case_and_parameters() {
    for (text, want) in [
        ("application/json", Some(BodyKind::Json)),
        ("Application/JSON; Charset=\"UTF-8\"", Some(BodyKind::Json)),
        ("application/json;charset=utf-8;x=y", Some(BodyKind::Json)),
        ("application/vnd.api+json", Some(BodyKind::Json)),
        (
            "application/problem+JSON ; charset=utf-8",
            Some(BodyKind::Json),
        ),
        ("application/json; charset=utf-16", None),
        ("application/json; charset=utf-8; charset=utf-16", None),
        ("application/json; charset", None),
        ("text/json", None),
        ("application/+json", None),
        (
            "application/x-www-form-urlencoded",
            Some(BodyKind::Urlencoded),
        ),
        (
            "multipart/form-data; boundary=aB-1",
            Some(BodyKind::Multipart("aB-1".to_owned())),
        ),
        ("Multipart/Form-Data; boundary=\"aB 1\"", None),
        (
            "multipart/form-data; boundary=\"a:B\"; charset=utf-8",
            Some(BodyKind::Multipart("a:B".to_owned())),
        ),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; boundary*=a", None),
        ("multipart/mixed; boundary=a", None),
        ("text/plain", None),
        ("", None),
    ] {
        assert_eq!(BodyKind::of(text.as_bytes()), want, "{text}");
    }
}

fn told(fields: Result<Vec<FormField>, FormFault>) -> Result<String, &'static str> {
    let fields = fields.map_err(|fault| fault.0)?;
    let told = fields.iter().map(|field| match &field.value {
        Some(value) => format!("{}={value}", field.name),
        None => format!("{}:file", field.name),
    });
    Ok(told.collect::<Vec<_>>().join("|"))
}

// ID-91
#[test]
fn urlencoded_fields_are_decoded_or_the_form_is_refused() {
    for (body, want) in [
        ("model=gpt-4&n=1", Ok("model=gpt-4|n=1")),
        ("m%6Fdel=a+b%2Bc", Ok("model=a b+c")),
        ("model&&x=", Ok("model=|x=")),
        ("model=a;model=b", Err("a byte that must be encoded")),
        ("model=a\nb", Err("a byte that must be encoded")),
        ("model=%f", Err("text that is not UTF-8")),
        ("model=%ff", Err("text that is not UTF-8")),
        ("model=%00", Err("text that is not UTF-8")),
    ] {
        let want = want.map(str::to_owned);
        assert_eq!(told(urlencoded(body.as_bytes())), want, "{body}");
    }
    let many = "a=b&".repeat(1_001);
    assert_eq!(
        urlencoded(many.as_bytes()),
        Err(FormFault("too many fields"))
    );
}

// ID-91
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn multipart_fields_are_read_in_one_way_only() {
    let part = |head: &str, value: &str| format!("--b\r\n{head}\r\n\r\n{value}\r\n");
    let named = |name: &str, value: &str| {
        part(
            &format!("Content-Disposition: form-data; name=\"{name}\""),
            value,
        )
    };
    let odd = Err("a part's disposition is none of a form");
    let whole = |parts: &str| format!("{parts}--b--\r\n");
    let (one, end) = (named("model", "a"), Err("something follows its end"));
    let file =
        "content-disposition: form-data; name=f; filename=\"a;b.txt\"\r\nContent-Type: text/plain";
    let rows = [
        (
            "fields",
            whole(&(named("model", "a") + &named("n", "1\r\n2"))),
            Ok("model=a|n=1\r\n2"),
        ),
        ("a file", whole(&part(file, "\u{1}")), Ok("f:file")),
        ("empty value", whole(&named("x", "")), Ok("x=")),
        ("no last line end", format!("{one}--b--"), Ok("model=a")),
        (
            "a preamble",
            format!("x\r\n{}", whole(&one)),
            Err("it does not begin with its boundary"),
        ),
        ("an epilogue", whole(&one) + &one, end),
        ("no end", one.clone(), Err("it does not end")),
        (
            "an extended name",
            whole(&part(
                "Content-Disposition: form-data; name=a; name*=utf-8''model",
                "x",
            )),
            odd,
        ),
        (
            "a name twice",
            whole(&part(
                "Content-Disposition: form-data; name=a; name=model",
                "x",
            )),
            odd,
        ),
        ("an escaped name", whole(&named("mo\\\"del", "x")), odd),
        ("an encoded name", whole(&named("mod%65l", "x")), odd),
        (
            "no name",
            whole(&part("Content-Disposition: form-data; filename=a", "x")),
            odd,
        ),
        (
            "an attachment",
            whole(&part("Content-Disposition: attachment; name=a", "x")),
            odd,
        ),
        (
            "a coding",
            whole(&part(
                "Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64",
                "eA==",
            )),
            Err("a part has a field twice, or one of another name"),
        ),
        (
            "a charset",
            whole(&part(
                "Content-Disposition: form-data; name=a\r\nContent-Type: text/plain; charset=utf-16",
                "x",
            )),
            Err("a part in another charset than UTF-8"),
        ),
        (
            "two dispositions",
            whole(&part(
                "Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=model",
                "x",
            )),
            Err("a part has a field twice, or one of another name"),
        ),
        (
            "blanks behind a boundary",
            whole(&one).replacen("--b\r\n", "--b \r\n", 1),
            Err("a boundary is not alone on its line"),
        ),
    ];
    for (name, body, want) in rows {
        assert_eq!(
            told(multipart(body.as_bytes(), "b")),
            want.map(str::to_owned),
            "{name}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn reading_anything_ends(body: Vec<u8>, text in "(--b|\r\n|content-disposition: form-data; name=|[a\";:=*%\\\\-]){0,20}") {
        drop(multipart(&body, "b"));
        drop(multipart(text.as_bytes(), "b"));
        drop(urlencoded(&body));
        drop(BodyKind::of(text.as_bytes()));
    }

    #[test]
    fn what_is_encoded_reads_back(pairs in proptest::collection::vec(("[a-zé =&+%]{1,6}", "[a-zé =&;+%]{0,6}"), 0..5)) {
        let pairs: Vec<(String, String)> = pairs;
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(&pairs);
        let fields = urlencoded(text.finish().as_bytes()).unwrap();
        let read: Vec<_> = fields.into_iter().map(|field| (field.name, field.value.unwrap())).collect();
        proptest::prop_assert_eq!(read, pairs);
    }
}
