//! The way from hooks to those who are asked and told: the binary hands it in, and it works on the
//! control runtime.

use std::pin::Pin;
use std::sync::Arc;
use tollkeep_config::settings::{Callout, Receiver};
use tollkeep_types::RequestId;

/// What somebody answered: the body of a 200, or why there is none.
pub type HookAnswer = Pin<Box<dyn Future<Output = Result<Vec<u8>, &'static str>> + Send>>;

/// A request that failed for something that is not the caller's fault.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Which.
    pub request: RequestId,
    /// On which route.
    pub route: Option<Arc<str>>,
    /// Its method.
    pub method: &'static str,
    /// Why, as the caller is told.
    pub code: &'static str,
    /// What it was answered with.
    pub status: u16,
    /// What it was paid with, if it was.
    pub payment: Option<Box<str>>,
    /// Who wants to know.
    pub to: Arc<[Receiver]>,
}

/// Asks and tells others.
pub trait HookDoor: Send + Sync {
    /// Asks somebody, for so long at most as that may take.
    fn ask(&self, callout: Arc<Callout>, body: Vec<u8>) -> HookAnswer;
    /// A request failed; nothing waits for whoever is told.
    fn failed(&self, request: Failed);
}
