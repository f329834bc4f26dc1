//! `tollkeep account …`

use super::client::Client;
use super::given::{filters, members};
use super::token::{confirm, path_segment};
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Prepaid accounts of those who call.
#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Open an account; from the next call on, all of its holder have to fit it
    Open(Open),
    /// List accounts, closed ones too
    List(List),
    /// Show one account
    Get(One),
    /// Show what moved an account
    Entries(One),
    /// Put on it what was paid, or is given away
    Credit(Credit),
    /// Take off it what is paid out outside
    Debit(Move),
    /// Give back of what a call was charged, once for each call
    Refund(Refund),
    /// Put it right by hand
    Adjust(Adjust),
    /// Close an empty account; its entries stay
    Close(Close),
}

/// An account to open, as `tollkeep account open tid_… "Ada's calls"`.
#[derive(Args, Debug)]
pub(crate) struct Open {
    /// Whose calls it pays for: a token, a project or a tenant, by id
    holder: String,
    /// What it is called
    name: String,
    /// What it counts, for good: usd, tokens or requests
    #[arg(long)]
    unit: Option<String>,
    /// The holder's tenant, by id or slug
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Accounts.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only those of this line of tokens, project or tenant, by its id
    #[arg(long)]
    holder: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// One account.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Its id
    account: String,
    #[command(flatten)]
    connection: Connection,
}

/// How much is moved, and why.
#[derive(Args, Debug)]
pub(crate) struct Move {
    /// The account, by id
    account: String,
    /// How much: "$12.50" or "12.50"; of tokens or requests a number
    amount: String,
    /// Its unit, so that none is taken for another
    #[arg(long)]
    unit: Option<String>,
    /// Why, for the records
    #[arg(long)]
    reason: String,
    /// Names the movement: given again under the same name, it is not done again
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What comes in.
#[derive(Args, Debug)]
pub(crate) struct Credit {
    /// It is given away, and was not paid
    #[arg(long)]
    promo: bool,
    #[command(flatten)]
    movement: Move,
}

/// What is given back of a call.
#[derive(Args, Debug)]
pub(crate) struct Refund {
    /// The call, by its hold
    #[arg(long, value_name = "HOLD")]
    of: String,
    #[command(flatten)]
    movement: Move,
}

/// What is put right.
#[derive(Args, Debug)]
pub(crate) struct Adjust {
    /// Take it off instead of putting it on
    #[arg(long)]
    down: bool,
    #[command(flatten)]
    movement: Move,
}

/// An account to close.
#[derive(Args, Debug)]
pub(crate) struct Close {
    /// Its id
    account: String,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("HOLDER", "/holder"),
    ("UNIT", "/unit"),
    ("BALANCE", "/balance"),
    ("USD", "/balance_usd"),
    ("HELD", "/held"),
    ("CLOSED", "/closed_at"),
];

const ENTRY: &[(&str, &str)] = &[
    ("NUMBER", "/number"),
    ("AT", "/at"),
    ("KIND", "/kind"),
    ("AMOUNT", "/amount"),
    ("WITH", "/with"),
    ("REQUEST", "/request_id"),
    ("ID", "/id"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("tenant", "/tenant_id"),
    ("holder", "/holder"),
    ("unit", "/unit"),
    ("balance", "/balance"),
    ("balance in dollars", "/balance_usd"),
    ("held", "/held"),
    ("opened", "/opened_at"),
    ("closed", "/closed_at"),
];

impl Account {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Open(open) => {
                let body = members([
                    ("holder", Some(open.holder.into())),
                    ("name", Some(open.name.into())),
                    ("unit", open.unit.map(Value::from)),
                    ("tenant", open.tenant.map(Value::from)),
                ]);
                let client = Client::new(&open.connection)?;
                let made = client.post("/api/v1/accounts", &Value::Object(body))?;
                output::one(&made, open.connection.json, MEMBERS);
                Ok(())
            }
            Self::List(list) => {
                let query = filters([("holder", list.holder)]);
                let rows = Client::new(&list.connection)?.all("/api/v1/accounts", &query)?;
                output::list(&rows, list.connection.json, COLUMNS);
                Ok(())
            }
            Self::Get(one) => {
                let account = Client::new(&one.connection)?.get(&place(&one.account))?;
                output::one(&account, one.connection.json, MEMBERS);
                Ok(())
            }
            Self::Entries(one) => {
                let path = format!("{}/entries?limit=1000", place(&one.account));
                let rows = Client::new(&one.connection)?.get(&path)?;
                let rows = rows.as_array().cloned().unwrap_or_default();
                output::list(&rows, one.connection.json, ENTRY);
                Ok(())
            }
            Self::Credit(credit) => {
                let from = if credit.promo { "promo" } else { "paid" };
                credit.movement.run("credit", [("from", json!(from))])
            }
            Self::Debit(debit) => debit.run("debit", []),
            Self::Refund(refund) => {
                let hold = json!(refund.of);
                refund.movement.run("refund", [("hold", hold)])
            }
            Self::Adjust(adjust) => {
                let direction = if adjust.down { "down" } else { "up" };
                let direction = json!(direction);
                adjust.movement.run("adjust", [("direction", direction)])
            }
            Self::Close(close) => {
                if !close.yes {
                    confirm(&format!("Close account {}?", close.account))?;
                }
                Client::new(&close.connection)?.delete(&place(&close.account))?;
                Ok(())
            }
        }
    }
}

impl Move {
    fn run<const N: usize>(self, verb: &str, more: [(&str, Value); N]) -> anyhow::Result<()> {
        if !self.yes {
            let question = format!("Really {verb} {} on {}?", self.amount, self.account);
            confirm(&question)?;
        }
        let amount = self.amount.parse::<u64>();
        let amount = amount.map_or_else(|_| Value::from(self.amount), Value::from);
        let mut body = members([
            ("amount", Some(amount)),
            ("unit", self.unit.map(Value::from)),
            ("reason", Some(self.reason.into())),
        ]);
        body.extend(more.map(|(name, value)| (name.to_owned(), value)));
        let path = format!("{}/{verb}", place(&self.account));
        let client = Client::new(&self.connection)?;
        let after = client.post_once(&path, &Value::Object(body), self.idempotency_key)?;
        output::one(&after, self.connection.json, MEMBERS);
        Ok(())
    }
}

fn place(account: &str) -> String {
    format!("/api/v1/accounts/{}", path_segment(account))
}
