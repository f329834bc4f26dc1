//! `tollkeep own-key …`

use super::Connection;
use super::client::Client;
use super::key::{self, Settings};
use super::noun::{All, Noun, Sure};
use super::token::show_secret_of;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

/// Keys of one's own, of whoever is signed in as an operator.
#[derive(Debug, Subcommand)]
pub(crate) enum OwnKey {
    /// Make a key for yourself; its text is shown once
    Create(Create),
    /// List your keys, newest first
    List(All),
    /// End a key of yours for good
    Revoke(Sure),
}

/// A key to make.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name in lists
    name: String,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    connection: Connection,
}

const NOUN: Noun = Noun {
    path: "/api/v1/own-keys",
    ..key::NOUN
};

impl OwnKey {
    /// Runs the command.
    ///
    /// # Errors
    /// Nobody is signed in, or the gateway can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => {
                let mut body = Map::new();
                body.insert("name".to_owned(), create.name.into());
                create.settings.add_to(&mut body);
                let made =
                    Client::new(&create.connection)?.post(NOUN.path, &Value::Object(body))?;
                show_secret_of(&made, create.connection.json, NOUN.members);
                Ok(())
            }
            Self::List(all) => NOUN.list(&all),
            Self::Revoke(sure) => {
                let one = sure.ask(|id| format!("Revoke {id} for good?"))?;
                NOUN.act(&one, "/revoke")
            }
        }
    }
}
