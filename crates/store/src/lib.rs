//! Nouns and where they are kept: projects, access tokens, management keys. The only crate with SQL.
