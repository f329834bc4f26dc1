//! The runner of the ledger against the store of the simulator: whatever commands they are given,
//! they answer the same, and are left with the same rows.

use crate::world::{Home, World};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use std::collections::BTreeMap;
use tollkeep_ledger::amount::{Amount, Charge};
use tollkeep_ledger::budget::Budget;
use tollkeep_ledger::posting::{Account, Unit};
use tollkeep_ledger::row::{Quality, UsageRow};
use tollkeep_ledger::step::{Command, LeaseRef};
use tollkeep_ledger::window::{BUCKETS, Window};
use tollkeep_ledger::write::Reply;
use tollkeep_sim::sim::faults::{Fault, Scenario};
use tollkeep_sim::sim::random::Random;
use tollkeep_sim::sim::run;
use tollkeep_sim::sim::store::Store as Model;
use tollkeep_store::ledger::{Job, UsageFilter};
use tollkeep_types::{EntryId, WallMillis};

/// Commands of one run at most.
const COMMANDS_MAX: usize = 1500;

impl Home {
    /// Runs statements past the store that are made by the test.
    pub(crate) async fn run(&self, statements: String) {
        match self {
            Self::Folder(_) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path());
                let mut connection = options.connect().await.unwrap();
                let done = sqlx::raw_sql(AssertSqlSafe(statements));
                done.execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
            Self::Server(database) => database.run(statements).await,
        }
    }
}

/// Lets the server show the time that is written in a table, where the store's clock can't be set
/// by hand.
const SERVER_CLOCK: &str = "CREATE TABLE hand_clock (ms bigint NOT NULL);
  GRANT SELECT ON hand_clock TO tollkeep_jobs;
  INSERT INTO hand_clock VALUES (0);
  CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT to_timestamp(ms / 1000.0) FROM public.hand_clock';
  DO $$ BEGIN EXECUTE format(
    'ALTER ROLE tollkeep_jobs IN DATABASE %I SET search_path = public, pg_catalog',
    current_database()); END $$";

/// A store with the model's budgets, and a clock that is set by hand.
pub(crate) struct Pair {
    pub(crate) world: World,
    pub(crate) model: Model,
    pub(crate) clock: WallMillis,
}

impl Pair {
    pub(crate) async fn new(budgets: &[Budget], at: WallMillis) -> Self {
        let world = World::starting(at.0).await;
        let mut statements = String::new();
        if let Home::Server(database) = &world.home {
            database.run(SERVER_CLOCK.to_owned()).await;
        }
        let tenant = world.store.default_tenant().id;
        let mut model = Model::default();
        for budget in budgets {
            let budget = Budget {
                tenant,
                ..budget.clone()
            };
            statements.push_str(&insert(&budget));
            model.budgets.insert(budget.id, budget);
        }
        world.home.run(statements).await;
        // Connections that were open before do not know the clock.
        let world = world.restart().await;
        let mut pair = Self {
            world,
            model,
            clock: at,
        };
        pair.set_clock(at).await;
        pair
    }

    pub(crate) async fn set_clock(&mut self, at: WallMillis) {
        match &self.world.home {
            // Its clock never goes back.
            Home::Folder(_) => {
                self.clock = self.clock.max(at);
                self.world.set_clock(self.clock.0);
            }
            Home::Server(database) => {
                self.clock = at;
                self.world.set_clock(at.0);
                let set = format!("UPDATE hand_clock SET ms = {}", at.0);
                database.run(set).await;
            }
        }
    }

    /// Gives commands to both, as one transaction; they answer the same.
    pub(crate) async fn give(&mut self, commands: Vec<Command>) -> Vec<Reply> {
        let jobs: Vec<_> = commands
            .into_iter()
            .map(|command| Job {
                command,
                about: None,
            })
            .collect();
        let answers = self.world.store.ledger().run(&jobs).await;
        assert_eq!(answers.len(), jobs.len());
        let mut replies = Vec::new();
        for (job, answer) in jobs.iter().zip(answers) {
            let want = self.model.run(&job.command, self.clock, false).unwrap();
            let mut got = answer.unwrap();
            // The simulator keeps its entries in no chain.
            got.entries.clear();
            assert_eq!(format!("{got:?}"), format!("{want:?}"), "{:?}", job.command);
            replies.push(got);
        }
        replies
    }

    /// Every row is the same: shown by commands that change nothing, or the same in both. Gives what
    /// the check finds.
    pub(crate) async fn compare(&mut self) -> Vec<String> {
        let windows = self.model.windows.keys().map(|key| Command::Recall(*key));
        let holds = self.model.holds.values().map(|row| Command::Confirm {
            hold: row.id,
            version: row.version.wrapping_add(9),
        });
        let leases = self.model.leases.values().map(|row| {
            Command::Renew(LeaseRef {
                id: row.id,
                key: row.key,
                epoch: row.epoch,
                serial: row.serial.wrapping_add(9),
            })
        });
        let all: Vec<_> = windows.chain(holds).chain(leases).collect();
        for some in all.chunks(100) {
            self.give(some.to_vec()).await;
        }
        self.give(vec![Command::Due]).await;
        assert_eq!(self.buckets().await, self.model_buckets());
        self.compare_usage().await;
        self.compare_money().await
    }

    async fn compare_usage(&self) {
        let ledger = self.world.store.ledger();
        let mut page = tollkeep_store::PageRequest {
            limit: 1000,
            after: None,
        };
        let mut found = 0;
        loop {
            let part = ledger
                .usage_records(crate::world::SERVICE, &UsageFilter::default(), &page)
                .await
                .unwrap();
            for record in &part.rows {
                found += 1;
                let want = self.model.usage.get(&record.hold.unwrap()).unwrap();
                let got = UsageRow {
                    hold: record.hold.unwrap(),
                    quality: record.quality,
                    bound: record.bound,
                    charge: record.charge,
                    charged: record.charged.clone(),
                    row: want.row,
                    swept: record.is_swept,
                    corrected: record.is_corrected,
                };
                assert_eq!(&got, want);
            }
            let Some(last) = part.rows.last().filter(|_| part.more) else {
                break;
            };
            page.after = Some(tollkeep_store::After {
                created_at: last.at,
                id: last.id.clone(),
            });
        }
        assert_eq!(found, self.model.usage.len());
    }

    async fn compare_money(&self) -> Vec<String> {
        let ledger = self.world.store.ledger();
        let mut want: BTreeMap<String, i128> = BTreeMap::new();
        let tenant = self.world.store.default_tenant().id;
        for (account, units) in &self.model.balances {
            let name = match account {
                Account::Outside(unit) => named("outside", &tenant, *unit),
                Account::Promo(unit) => named("promo", &tenant, *unit),
                Account::Refunds(unit) => named("refunds", &tenant, *unit),
                Account::OperatorLoss(unit) => named("operator_loss", &tenant, *unit),
                Account::Credit(id) => format!("credit:{id}"),
                Account::Held(id) => format!("held:{id}"),
                Account::Revenue(unit) => named("revenue", &tenant, *unit),
                Account::UpstreamCost => format!("upstream_cost:{tenant}"),
                Account::Payable => format!("payable:{tenant}"),
                Account::Overrun => format!("overrun:{tenant}"),
                Account::Unresolved(id) => format!("unresolved:{id}"),
                Account::InDoubt(id) => format!("in_doubt:{id}"),
            };
            want.insert(name, i128::from(*units));
        }
        let page = crate::ledger::page(1000);
        let accounts = ledger.accounts(crate::world::SERVICE, &page).await.unwrap();
        let got: BTreeMap<String, i128> = accounts
            .rows
            .into_iter()
            .map(|account| (account.name, i128::from(account.balance)))
            .collect();
        assert_eq!(got, want);
        let report = ledger.check().await.unwrap();
        let ours = |told: &&String| !told.starts_with("I6") && !told.contains("slices");
        assert_eq!(report.violations.iter().find(ours), None);
        assert_eq!(report.entries, self.model.entries.len() as u64);
        report.violations
    }

    fn model_buckets(&self) -> Vec<(String, i64, i64)> {
        let buckets = self.model.buckets.iter();
        buckets
            .map(|((key, at), spent)| (key.budget.to_string(), at.0 as i64, spent.units()))
            .collect()
    }

    async fn buckets(&self) -> Vec<(String, i64, i64)> {
        let all = "SELECT budget_id, bucket_start, spent FROM budget_buckets ORDER BY 1, 2";
        match &self.world.home {
            Home::Folder(_) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.world.path());
                let mut connection = options.connect().await.unwrap();
                sqlx::query_as(all)
                    .fetch_all(&mut connection)
                    .await
                    .unwrap()
            }
            Home::Server(database) => {
                let mut connection = database.connect_as("tollkeep_jobs").await;
                sqlx::query_as(all)
                    .fetch_all(&mut connection)
                    .await
                    .unwrap()
            }
        }
    }
}

pub(crate) fn insert(budget: &Budget) -> String {
    let measure = match budget.measure {
        tollkeep_ledger::amount::Measure::Cost => "usd",
        tollkeep_ledger::amount::Measure::Tokens => "tokens",
        tollkeep_ledger::amount::Measure::OutputTokens => "output_tokens",
        tollkeep_ledger::amount::Measure::BillableTokens => "billable_tokens",
        tollkeep_ledger::amount::Measure::Requests => "requests",
    };
    let (kind, period, ms, zone) = match &budget.window {
        Window::Calendar { period, zone } => (
            "calendar",
            format!("'{period:?}'").to_lowercase(),
            "NULL".to_owned(),
            format!("'{}'", zone.name()),
        ),
        Window::Rolling { bucket_ms } => (
            "rolling",
            "NULL".to_owned(),
            (bucket_ms * BUCKETS).to_string(),
            "NULL".to_owned(),
        ),
        Window::Lifetime => ("lifetime", "NULL".into(), "NULL".into(), "NULL".into()),
    };
    let enforcement = format!("{:?}", budget.enforcement).to_lowercase();
    let durability = format!("{:?}", budget.durability).to_lowercase();
    let (id, tenant, limit) = (budget.id, budget.tenant, budget.limit);
    format!(
        "INSERT INTO budgets (id, tenant_id, name, scope_kind, scope_id, measure, limit_units,
           window_kind, window_period, window_ms, timezone, enforcement, durability, warn, origin,
           created_at, updated_at, version)
         VALUES ('{id}', '{tenant}', '{id}', 'tenant', '{tenant}', '{measure}', {limit}, '{kind}',
           {period}, {ms}, {zone}, '{enforcement}', '{durability}', '[]', 'api', 1, 1, 1);"
    )
}

/// How commands come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Order {
    /// As the simulator's replicas give them.
    Theirs,
    /// With some left out, given again and exchanged.
    Disturbed,
}

/// Plays what the simulator's replicas ask of their store in this run, in groups.
async fn play(seed: u64, order: Order) {
    let scenario = Scenario::of_seed(seed);
    let scenario = Scenario {
        faults: scenario.faults.with(Fault::Limits).with(Fault::Twice),
        ..scenario
    };
    let (budgets, mut given) = run::commands(&scenario);
    given.truncate(COMMANDS_MAX);
    let mut random = Random::new(seed);
    let mut pair = Pair::new(&budgets, given.first().unwrap().1).await;
    let mut group = Vec::new();
    for (at, (command, now)) in given.iter().enumerate() {
        let command = command.clone();
        match (order, random.below(40)) {
            (Order::Disturbed, 0) => {}
            (Order::Disturbed, 1) => {
                // Long before or after its time.
                let other = random.below(given.len() as u64);
                let other = given.get(usize::try_from(other).unwrap());
                group.push(other.unwrap().0.clone());
                group.push(command);
            }
            (Order::Disturbed, 2) => group.extend([command.clone(), command]),
            _ => group.push(command),
        }
        // Windows begin with minutes: what is granted before one does may not be written behind that.
        let minute = |at: &WallMillis| at.0 / 60_000;
        let next = given.get(at + 1).map(|(_, next)| minute(next));
        if group.len() as u64 >= random.between(1, 30) || next != Some(minute(now)) {
            pair.set_clock(*now).await;
            pair.give(std::mem::take(&mut group)).await;
            if order == Order::Disturbed {
                evidence(&mut pair, &mut random).await;
            }
        }
    }
    let found = pair.compare().await;
    // Where processes are taken for others, or the end was cut off, slices can't be right.
    if order == Order::Theirs && given.len() < COMMANDS_MAX {
        assert_eq!(found, Vec::<String>::new());
    }
}

/// Accounts in dollars have the plain name.
fn named(kind: &str, tenant: &dyn std::fmt::Display, unit: Unit) -> String {
    match unit {
        Unit::Usd => format!("{kind}:{tenant}"),
        Unit::Tokens | Unit::Requests => format!("{kind}:{tenant}:{}", unit.as_str()),
    }
}

/// An operator corrects what is not known, or what is, and pays in and out.
async fn evidence(pair: &mut Pair, random: &mut Random) {
    if !random.one_in(10) {
        return;
    }
    let usage: Vec<_> = pair.model.usage.values().cloned().collect();
    let Some(at) = usize::try_from(random.below(usage.len() as u64)).ok() else {
        return;
    };
    let Some(row) = usage.get(at) else {
        return;
    };
    let units = |random: &mut Random| Amount::new(random.below(3000) as i64).unwrap();
    let actual = Charge {
        cost: units(random),
        tokens: units(random),
        output_tokens: units(random),
        billable_tokens: units(random),
        requests: Amount::new(1).unwrap(),
    };
    let correct = Command::Correct {
        usage: Box::new(UsageRow {
            quality: random
                .pick(&[row.quality, Quality::Unknown, Quality::Estimated])
                .unwrap(),
            ..row.clone()
        }),
        actual: Box::new(actual),
        asked: None,
    };
    let mut commands = vec![correct];
    let with = pair.model.balances.keys().copied();
    let with = with.filter(|account| matches!(account, Account::Outside(_)));
    let with = { with }.next().unwrap_or(Account::Outside(Unit::Usd));
    for account in pair.model.balances.keys() {
        if let Account::Credit(id) = account {
            let amount = units(random);
            commands.push(Command::Transfer {
                entry: EntryId::from_bytes(random.id()),
                account: *id,
                by: if random.one_in(2) {
                    tollkeep_ledger::amount::Delta::up(amount)
                } else {
                    tollkeep_ledger::amount::Delta::down(amount)
                },
                with,
            });
            commands.push(Command::Refund {
                usage: Box::new(row.clone()),
                account: *id,
                amount,
            });
        }
    }
    pair.give(commands).await;
}

// LED-70 LED-74a LED-103
#[tokio::test]
async fn the_tables_say_what_the_simulators_store_says() {
    for seed in 1..=4 {
        play(seed, Order::Theirs).await;
        play(seed, Order::Disturbed).await;
    }
}

// LED-70 LED-74a LED-103
#[tokio::test]
#[ignore = "minutes long: part of `make soak`"]
async fn the_tables_say_what_the_simulators_store_says_for_long() {
    for seed in 100..=200 {
        play(seed, Order::Theirs).await;
        play(seed, Order::Disturbed).await;
    }
}
