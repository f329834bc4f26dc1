//! Errors in the words of the Gemini API.

use serde_json::{Value, json};

use crate::fault::Fault;

/// Status and body of an error answer.
pub(crate) fn body(fault: &Fault) -> (u16, Value) {
    let (status, kind, message) = wording(fault);
    let mut error = json!({"code": status, "message": message, "status": kind});
    if let (Value::Object(members), Some(details)) = (&mut error, details(fault)) {
        members.insert("details".to_owned(), details);
    }
    (status, json!({"error": error}))
}

/// The line that ends a stream that failed.
pub(super) fn event(fault: &Fault) -> String {
    let (_, body) = body(fault);
    format!("data: {body}\n\n")
}

fn wording(fault: &Fault) -> (u16, String, String) {
    let said = |status: u16, message: String| (status, of_status(status).to_owned(), message);
    match fault {
        Fault::NotJson(why) => said(400, format!("Invalid JSON payload received. {why}")),
        Fault::Missing(param) => said(400, format!("* {param}: {param} is not specified")),
        Fault::Unfit { param, want } => said(400, format!("* {param}: should be {want}")),
        Fault::UnknownModel(name) => {
            let message = format!("models/{name} is not found for API version v1beta.");
            said(404, message)
        }
        Fault::UnknownPath(_) => said(404, "Not Found".to_owned()),
        Fault::MethodNotAllowed(_) => said(405, "Method Not Allowed".to_owned()),
        Fault::TooLarge => said(413, "Request payload size exceeds the limit.".to_owned()),
        // That is another vendor's.
        Fault::NoVersion => said(400, "A header is missing.".to_owned()),
        Fault::Steering(why) => said(400, format!("Unknown sandbox directive. {why}")),
        Fault::Asked { status, code, .. } => asked(*status, code.as_deref()),
        Fault::Interrupted { code } => asked(503, code.as_deref()),
    }
}

fn asked(status: u16, code: Option<&str>) -> (u16, String, String) {
    let message = match status {
        401 => "Request had invalid authentication credentials.",
        403 => "The caller does not have permission",
        404 => "models/sandbox-0 is not found for API version v1beta.",
        429 => "You exceeded your current quota, please check your plan and billing details.",
        503 => "The model is overloaded. Please try again later.",
        500.. => "An internal error has occurred.",
        _ => "The sandbox was asked to refuse this request.",
    };
    let kind = code.unwrap_or(of_status(status));
    (status, kind.to_owned(), message.to_owned())
}

/// The canonical code of a status.
const fn of_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

/// When to come again, which this vendor says in the body as well.
fn details(fault: &Fault) -> Option<Value> {
    let Fault::Asked {
        retry_after_s: Some(seconds),
        ..
    } = fault
    else {
        return None;
    };
    let kind = "type.googleapis.com/google.rpc.RetryInfo";
    Some(json!([{"@type": kind, "retryDelay": format!("{seconds}s")}]))
}
