//! Which kept answers an operator takes out: said to the management API, and known to the data plane
//! that keeps them.

use crate::ProjectId;

/// Which answers are taken out of the cache.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CachePurge {
    /// Those to this method and this path with its query; with `is_prefix`, to all that begin so.
    Url {
        /// The method.
        method: String,
        /// Path and query.
        target: String,
        /// Whether it is how they begin.
        is_prefix: bool,
    },
    /// Those of a project.
    Project(ProjectId),
    /// Those of a model, by the name that was asked for or by its provider's.
    Model(String),
    /// All.
    All,
}
