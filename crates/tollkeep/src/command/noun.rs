//! What commands do alike whatever they are about: list, show, change, act, forget.

use super::client::Client;
use super::token::{confirm, path_segment};
use super::{Connection, output};
use clap::Args;
use serde_json::{Map, Value, json};

/// What commands are about: where it is in the API, and how it is shown.
pub(super) struct Noun {
    pub(super) path: &'static str,
    pub(super) columns: &'static [(&'static str, &'static str)],
    pub(super) members: &'static [(&'static str, &'static str)],
}

/// All of them.
#[derive(Args, Debug)]
pub(crate) struct All {
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// One of them.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Its id; for a tenant or project its slug too
    pub(super) id: String,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// One of them, after a question.
#[derive(Args, Debug)]
pub(crate) struct Sure {
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    one: One,
}

impl Sure {
    /// Asks, unless that was said not to be needed.
    ///
    /// # Errors
    /// The answer is not yes.
    pub(super) fn ask(self, question: impl FnOnce(&str) -> String) -> anyhow::Result<One> {
        if !self.yes {
            confirm(&question(&self.one.id))?;
        }
        Ok(self.one)
    }
}

impl Noun {
    /// The place of one of them, or of what is `below` it.
    pub(super) fn place(&self, id: &str, below: &str) -> String {
        format!("{}/{}{below}", self.path, path_segment(id))
    }

    /// Shows all.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached, as with all of these.
    pub(super) fn list(&self, all: &All) -> anyhow::Result<()> {
        let rows = Client::new(&all.connection)?.all(self.path, "")?;
        output::list(&rows, all.connection.json, self.columns);
        Ok(())
    }

    /// Shows one.
    pub(super) fn get(&self, one: &One) -> anyhow::Result<()> {
        let shown = Client::new(&one.connection)?.get(&self.place(&one.id, ""))?;
        self.show(&shown, &one.connection);
        Ok(())
    }

    /// Makes one of these members, and shows it.
    pub(super) fn create(
        &self,
        body: Map<String, Value>,
        connection: &Connection,
    ) -> anyhow::Result<()> {
        let made = Client::new(connection)?.post(self.path, &body.into())?;
        self.show(&made, connection);
        Ok(())
    }

    /// Changes the members that are given, and shows what came of it.
    pub(super) fn update(
        &self,
        id: &str,
        body: Map<String, Value>,
        connection: &Connection,
    ) -> anyhow::Result<()> {
        let changed = Client::new(connection)?.patch(&self.place(id, ""), &body.into())?;
        self.show(&changed, connection);
        Ok(())
    }

    /// Does to one what `below` its place names, and shows what came of it.
    pub(super) fn act(&self, one: &One, below: &str) -> anyhow::Result<()> {
        let path = self.place(&one.id, below);
        let after = Client::new(&one.connection)?.post(&path, &json!({}))?;
        self.show(&after, &one.connection);
        Ok(())
    }

    /// Ends one.
    pub(super) fn delete(&self, one: &One) -> anyhow::Result<()> {
        Client::new(&one.connection)?.delete(&self.place(&one.id, ""))?;
        Ok(())
    }

    pub(super) fn show(&self, shown: &Value, connection: &Connection) {
        output::one(shown, connection.json, self.members);
    }
}
