//! Errors in the words of the OpenAI API.

use serde_json::{Value, json};

use crate::fault::{Fault, Wording};

/// Status and body of an error answer.
pub(crate) fn body(fault: &Fault) -> (u16, Value) {
    let wording = wording(fault);
    let value = json!({"error": {
        "message": wording.message,
        "type": wording.kind,
        "param": wording.param,
        "code": wording.code,
    }});
    (wording.status, value)
}

/// `error.code` and `error.message` of a response that failed in the middle.
pub(crate) fn of_response(fault: &Fault) -> Value {
    let wording = wording(fault);
    let code = wording.code.unwrap_or(wording.kind);
    json!({"code": code, "message": wording.message})
}

fn wording(fault: &Fault) -> Wording {
    let invalid = |code: Option<&str>, param: Option<&'static str>, message: String| Wording {
        status: 400,
        kind: "invalid_request_error".to_owned(),
        code: code.map(str::to_owned),
        param,
        message,
    };
    let with_status = |status: u16, wording: Wording| Wording { status, ..wording };
    match fault {
        Fault::NotJson(why) => {
            let message = format!("We could not parse the JSON body of your request: {why}.");
            invalid(None, None, message)
        }
        Fault::Missing(param) => {
            let message = format!("Missing required parameter: '{param}'.");
            invalid(Some("missing_required_parameter"), Some(param), message)
        }
        Fault::Unfit { param, want } => {
            let message = format!("Invalid value for '{param}': expected {want}.");
            invalid(Some("invalid_value"), Some(param), message)
        }
        Fault::UnknownModel(name) => {
            let message =
                format!("The model `{name}` does not exist or you do not have access to it.");
            with_status(404, invalid(Some("model_not_found"), None, message))
        }
        Fault::UnknownPath(line) => {
            with_status(404, invalid(None, None, format!("Invalid URL ({line})")))
        }
        Fault::MethodNotAllowed(allow) => {
            let message = format!("Not allowed; this URL takes {allow}.");
            with_status(405, invalid(Some("method_not_supported"), None, message))
        }
        Fault::TooLarge => {
            let message = "The request body is too large.".to_owned();
            with_status(413, invalid(Some("request_too_large"), None, message))
        }
        Fault::NoVersion => invalid(
            None,
            None,
            "anthropic-version: header is required".to_owned(),
        ),
        Fault::Steering(why) => {
            let message = format!("Unknown sandbox directive. {why}");
            invalid(Some("sandbox_directive"), None, message)
        }
        Fault::Asked { status, code, .. } => of_status(*status, code.as_deref()),
        Fault::Interrupted { code } => of_status(500, code.as_deref()),
    }
}

/// What the vendor says with a status, unless told another code.
fn of_status(status: u16, code: Option<&str>) -> Wording {
    let (kind, usual, message) = match status {
        401 => (
            "invalid_request_error",
            Some("invalid_api_key"),
            "Incorrect API key provided: sk-sandb***ox.",
        ),
        402 => (
            "billing_error",
            Some("billing_hard_limit_reached"),
            "Billing hard limit has been reached.",
        ),
        403 => (
            "permission_error",
            Some("permission_denied"),
            "You have insufficient permissions for this operation.",
        ),
        404 => (
            "invalid_request_error",
            Some("model_not_found"),
            "The model `sandbox-0` does not exist or you do not have access to it.",
        ),
        429 => (
            "requests",
            Some("rate_limit_exceeded"),
            "Rate limit reached for sandbox-1 in organization org-sandbox on requests per min (RPM).",
        ),
        503 => (
            "server_error",
            Some("engine_overloaded"),
            "The engine is currently overloaded, please try again later.",
        ),
        500.. => (
            "server_error",
            None,
            "The server had an error while processing your request. Sorry about that!",
        ),
        _ => (
            "invalid_request_error",
            None,
            "The sandbox was asked to refuse this request.",
        ),
    };
    let quota = code == Some("insufficient_quota");
    Wording {
        status,
        kind: if quota { "insufficient_quota" } else { kind }.to_owned(),
        code: code.or(usual).map(str::to_owned),
        param: None,
        message: if quota {
            "You exceeded your current quota, please check your plan and billing details."
        } else {
            message
        }
        .to_owned(),
    }
}
