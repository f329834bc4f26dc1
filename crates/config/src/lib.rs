//! Raw file to checked settings: loading, interpolation, origins, schema. The only reader of the
//! environment.
//!
//! [`load()`] does it all and reports every fault at once. Each key is declared once, in
//! `settings/`, beside the field it fills; schema, example, reference page and `show` are made of
//! these declarations.

#![warn(missing_docs)]

mod catalog;
mod check;
mod describe;
mod env;
mod error;
mod example;
mod field;
mod import;
mod interpolate;
mod kind;
mod later;
mod lift;
mod load;
mod openapi;
mod overlay;
mod parse;
mod reader;
mod reference;
mod schema;
mod secret_file;
mod seed;
pub mod settings;
mod show;
mod start_only;
mod tree;
mod yaml;

pub use env::Env;
pub use error::{ConfigError, ConfigErrors, Place};
pub use example::example;
pub use import::{ImportFate, ImportNote, Imported, import_tollbooth};
pub use kind::{credential_fault, header_fault, looks_masked};
pub use load::{Documents, LoadRequest, Loaded, load, load_text};
pub use openapi::{DOCUMENT_BYTES_MAX, check_document, keep_copy};
pub use overlay::{arguments, management_key, secret_from, user_folder};
pub use reference::reference;
pub use schema::schema;
pub use settings::Settings;
pub use show::{Origin, Origins, ShowOptions, show};
pub use yaml::yaml;
