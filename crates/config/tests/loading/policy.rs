//! Policies on calls as files write them.

use crate::support::Case;
use tollkeep_policy::call_policy::OnExcess;

// ID-90
#[test]
fn a_policy_is_read_as_it_is_written() {
    let file = "policy:
  allowedMethods: [POST]
  allowed_endpoints: [/v1/chat]
  allowed_models: []
  denied_models: ['*-pro']
  allowed_origins: ['https://a.example']
  required_headers: [X-Team]
  param_whitelist: {maxTokens: [100, 'x*', true], /a/b: []}
  param_required: [seed]
  max_output_tokens: 5
  max_input_tokens: 6
  max_n: 1
  max_tools: 0
  max_body_bytes: 8KiB
  on_excess: refuse
  allow_tools: false
  allow_images: true
";
    let settings = Case::yaml(file).settings();
    let written = settings.policy.as_ref().unwrap().written();
    let params = written.param_whitelist.as_ref().unwrap();
    assert_eq!(params["maxTokens"], ["100", "x*", "true"]);
    assert_eq!(params["/a/b"], Vec::<String>::new());
    assert_eq!(written.allowed_models.as_deref(), Some(&[][..]));
    assert_eq!(written.on_excess, Some(OnExcess::Refuse));
    let bounds = [
        written.max_output_tokens,
        written.max_input_tokens,
        written.max_n,
        written.max_tools,
        written.max_body_bytes,
    ];
    assert_eq!(bounds, [Some(5), Some(6), Some(1), Some(0), Some(8_192)]);
    assert_eq!(
        (written.allow_tools, written.allow_images),
        (Some(false), None)
    );
}

// ID-90
#[test]
fn a_policy_that_restricts_nothing_is_none() {
    for file in [
        "",
        "policy: {}",
        "policy: {allow_tools: true, allow_stream: true}",
    ] {
        assert_eq!(Case::yaml(file).settings().policy, None, "{file}");
    }
}

// ID-90
#[test]
fn everything_wrong_with_a_policy_is_told_where_it_stands() {
    let file = "policy:
  allowed_methods: [post]
  param_whitelist: {/~: [x], a: nothing}
  max_n: 0
  on_excess: drop
  allow_tool: false
upstreams: {api: {url: 'https://api.example/'}}
routes:
  GET /x: {upstream: api, policy: {allowed_origins: ['*']}}
";
    let errors = Case::yaml(file).errors();
    for want in [
        "policy.param_whitelist.a: want a list",
        "policy.max_n: ",
        "policy.on_excess: want `clamp`, `refuse`",
        "policy.allow_tool: is no known key; did you mean `allow_tools`?",
    ] {
        assert!(errors.contains(want), "{want} in {errors}");
    }
    let rules = "policy: {allowed_methods: [post], param_whitelist: {/~: [x]}, when: 'a ='}";
    let errors = Case::yaml(rules).errors();
    for want in [
        "policy.allowed_methods: `post`",
        "policy.param_whitelist.\"/~\": is no JSON pointer",
        "policy.when: column 1: there is no `a`; there are request,",
    ] {
        assert!(errors.contains(want), "{want} in {errors}");
    }
}
