//! placeholder
/// x
#[derive(Clone, Debug)]
pub struct Authority(String);
/// x
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an authority")]
pub struct AuthorityError;
