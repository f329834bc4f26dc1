//! Errors in the words of the Anthropic API.

use serde_json::{Value, json};

use super::request_id;
use crate::fault::{Fault, Wording};
use crate::ids::Ids;
use crate::script;

/// Status and body of an error answer.
pub(crate) fn body(fault: &Fault, ids: Ids) -> (u16, Value) {
    let wording = wording(fault);
    let value = json!({
        "type": "error",
        "error": {"type": wording.kind, "message": wording.message},
        "request_id": request_id(ids),
    });
    (wording.status, value)
}

/// The event that ends a stream that failed.
pub(super) fn event(fault: &Fault, ids: Ids) -> String {
    let (_, body) = body(fault, ids);
    script::event(&body)
}

fn wording(fault: &Fault) -> Wording {
    let said = |status: u16, kind: &str, message: String| Wording {
        status,
        kind: kind.to_owned(),
        code: None,
        param: None,
        message,
    };
    let invalid = |message: String| said(400, "invalid_request_error", message);
    match fault {
        Fault::NotJson(why) => invalid(format!("The request body is not valid JSON: {why}")),
        Fault::Missing(param) => invalid(format!("{param}: Field required")),
        Fault::Unfit { param, want } => invalid(format!("{param}: Input should be {want}")),
        Fault::UnknownModel(name) => said(404, "not_found_error", format!("model: {name}")),
        Fault::UnknownPath(_) => said(404, "not_found_error", "Not Found".to_owned()),
        Fault::MethodNotAllowed(_) => said(
            405,
            "invalid_request_error",
            "Method Not Allowed".to_owned(),
        ),
        Fault::TooLarge => {
            let message = "Request exceeds the maximum size".to_owned();
            said(413, "request_too_large", message)
        }
        Fault::NoVersion => invalid("anthropic-version: header is required".to_owned()),
        Fault::Steering(why) => invalid(format!("Unknown sandbox directive. {why}")),
        Fault::Asked { status, code, .. } => of_status(*status, code.as_deref()),
        Fault::Interrupted { code } => of_status(529, code.as_deref()),
    }
}

/// What the vendor says with a status, unless told another error type.
fn of_status(status: u16, code: Option<&str>) -> Wording {
    let (kind, message) = match status {
        401 => ("authentication_error", "invalid x-api-key"),
        402 => (
            "billing_error",
            "Your credit balance is too low to access the Anthropic API.",
        ),
        403 => (
            "permission_error",
            "Your API key does not have permission to use the specified resource.",
        ),
        404 => ("not_found_error", "model: sandbox-0"),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => (
            "rate_limit_error",
            "This request would exceed your organization's rate limit.",
        ),
        504 => ("timeout_error", "Request timed out"),
        529 => ("overloaded_error", "Overloaded"),
        500.. => ("api_error", "Internal server error"),
        _ => (
            "invalid_request_error",
            "The sandbox was asked to refuse this request.",
        ),
    };
    Wording {
        status,
        kind: code.unwrap_or(kind).to_owned(),
        code: None,
        param: None,
        message: message.to_owned(),
    }
}
