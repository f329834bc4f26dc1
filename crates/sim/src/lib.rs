//! Drives the ledger's core with faults, from a seed, and looks at every step whether money is lost.
//!
//! Nothing here is in the product. The modules below name the core as `crate::ledger`, so that the
//! tests can put one with a planted fault in its place.

pub mod sim;

use tollkeep_ledger as ledger;
