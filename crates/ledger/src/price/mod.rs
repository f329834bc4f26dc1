//! What tokens and units cost: tables, which of their models is meant, and costs.

mod book;
mod cost;
mod document;
mod matching;
mod model;
mod rates;
mod table;

pub use book::{Book, Found, NotPriced, Provider, Source, UnknownModel};
pub use cost::{Cost, CostError, LinePrice};
pub use model::{CapField, Facts, Model};
pub use rates::{Choice, RateSet, Rates, ServiceRates, Tier};
pub use table::{Table, TableError, TableSource, read_overrides};
