//! What tokens and units cost: tables, which of their models is meant, and costs.

mod book;
mod cost;
mod document;
mod markup;
mod matching;
mod model;
mod rates;
mod table;

pub use book::{Book, Found, NotPriced, Provider, Source, UnknownModel};
pub use cost::{Cost, CostError, LinePrice, Marked};
pub use markup::{Markup, Payer, Whose};
pub use model::{CapField, Facts, Model};
pub use rates::{Choice, RateSet, Rates, ServiceRates, Tier};
pub use table::{Override, Table, TableError, TableSource, read_overrides};
