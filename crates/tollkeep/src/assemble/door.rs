//! The door from the data listener to management.

use http::{HeaderName, HeaderValue, Method, Request};
use std::pin::Pin;
use tollkeep_admin::DataPort;
use tollkeep_gateway::{ManagementAnswer, ManagementDoor, ManagementRequest};

/// Management, run on the control runtime: no worker waits for the store.
pub(crate) struct Door {
    /// The API.
    pub(crate) api: DataPort,
    /// Where it runs.
    pub(crate) control: tokio::runtime::Handle,
}

impl ManagementDoor for Door {
    fn ask(
        &self,
        request: ManagementRequest,
    ) -> Pin<Box<dyn Future<Output = Option<ManagementAnswer>> + Send>> {
        let api = self.api.clone();
        // An act goes on to its end if the caller goes away.
        let answered = self.control.spawn(async move {
            let peer = request.peer;
            let answer = api.answer(of_admin(request)?, peer).await?;
            Some(of_gateway(answer))
        });
        Box::pin(async move { answered.await.ok().flatten() })
    }
}

/// What the codec let through is a request for everybody.
fn of_admin(request: ManagementRequest) -> Option<Request<Vec<u8>>> {
    let mut made = Request::new(request.body);
    *made.method_mut() = Method::from_bytes(request.method.as_bytes()).ok()?;
    *made.uri_mut() = std::str::from_utf8(&request.target).ok()?.parse().ok()?;
    for (name, value) in &request.fields {
        let name = HeaderName::from_bytes(name).ok()?;
        made.headers_mut()
            .append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(made)
}

fn of_gateway(answer: http::Response<Vec<u8>>) -> ManagementAnswer {
    let (head, body) = answer.into_parts();
    // Framing is the data plane's own.
    let kept = head.headers.iter().filter(|(name, _)| {
        !["content-length", "transfer-encoding", "connection", "date"].contains(&name.as_str())
    });
    let fields = kept.map(|(name, value)| {
        let name = Box::from(name.as_str().as_bytes());
        (name, Box::from(value.as_bytes()))
    });
    ManagementAnswer {
        status: head.status.as_u16(),
        fields: fields.collect(),
        body,
    }
}
