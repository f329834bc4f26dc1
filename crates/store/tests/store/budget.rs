//! Budgets: kept whole, seen by their tenant, and brought into line with settings.

use crate::world::{DAY, HOUR, SECOND, SERVICE, World};
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::budget::{Durability, OnShort, Scope as Counts};
use tollkeep_ledger::row::Enforcement;
use tollkeep_ledger::window::{Period, Window, Zone};
use tollkeep_store::{
    BudgetChange, BudgetFilter, BudgetOrigin, BudgetRecord, ConfiguredBudgets, Conflict, NewBudget,
    PageRequest, Scope, StoreError,
};
use tollkeep_types::{CredentialId, LineageId, ProjectId, TenantId};

const DOLLAR: i64 = 1_000_000_000;

pub(crate) fn new(tenant: TenantId, name: &str) -> NewBudget {
    NewBudget {
        tenant,
        name: name.to_owned(),
        scope: Counts::Tenant(tenant),
        measure: Measure::Cost,
        limit: Amount::new(10 * DOLLAR).unwrap(),
        window: Window::Calendar {
            period: Period::Day,
            zone: Zone::named("Europe/Berlin").unwrap(),
        },
        enforcement: Enforcement::Hard,
        on_short: OnShort::Refuse,
        durability: Durability::Lease,
        warn: vec![50, 80, 100],
        origin: BudgetOrigin::Api,
    }
}

fn configured(tenant: TenantId, name: &str) -> NewBudget {
    NewBudget {
        origin: BudgetOrigin::Config,
        ..new(tenant, name)
    }
}

async fn listed(world: &World) -> Vec<BudgetRecord> {
    let page = PageRequest {
        limit: 100,
        after: None,
    };
    let list = world.store.budgets(SERVICE, BudgetFilter::default(), page);
    list.await.unwrap().rows
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

// LED-60 LED-61 LED-70
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a row for each scope")]
async fn a_budget_comes_back_as_it_was_made() {
    let world = World::new().await;
    let store = &world.store;
    let tenant = store.default_tenant().id;
    let lineage = LineageId::from_bytes;
    for (name, scope, window, measure) in [
        (
            "of all",
            Counts::Tenant(tenant),
            Window::Lifetime,
            Measure::Cost,
        ),
        (
            "of a project",
            Counts::Project(ProjectId::from_bytes([1; 16])),
            Window::rolling(DAY).unwrap(),
            Measure::Tokens,
        ),
        (
            "of a token",
            Counts::Token(lineage([2; 16])),
            Window::Calendar {
                period: Period::Month,
                zone: Zone::utc(),
            },
            Measure::Requests,
        ),
        (
            "of a route",
            Counts::Route("chat".to_owned()),
            Window::Lifetime,
            Measure::OutputTokens,
        ),
        (
            "of a provider",
            Counts::Provider("openai".to_owned()),
            Window::Calendar {
                period: Period::Week,
                zone: Zone::named("America/Santiago").unwrap(),
            },
            Measure::BillableTokens,
        ),
        (
            "of a credential",
            Counts::Credential(CredentialId::from_bytes([3; 16])),
            Window::Calendar {
                period: Period::Year,
                zone: Zone::utc(),
            },
            Measure::Cost,
        ),
        (
            "of models",
            Counts::Model("gpt-5*".to_owned()),
            Window::rolling(HOUR).unwrap(),
            Measure::Cost,
        ),
        (
            "of two tokens",
            Counts::Tokens(vec![lineage([4; 16]), lineage([5; 16])]),
            Window::Lifetime,
            Measure::Cost,
        ),
        (
            "of a team",
            Counts::Metadata {
                key: "team".to_owned(),
                value: "a \"b\"".to_owned(),
            },
            Window::Lifetime,
            Measure::Cost,
        ),
    ] {
        let new = NewBudget {
            scope,
            window,
            measure,
            ..new(tenant, name)
        };
        let made = store.create_budget(SERVICE, new.clone()).await.unwrap();
        let again = store.budget(SERVICE, made.budget.id).await.unwrap();
        assert_eq!(again, made, "{name}");
        let budget = again.budget;
        assert_eq!((again.name.as_str(), again.version), (name, 1));
        assert_eq!(
            (budget.scope, budget.window, budget.measure),
            (new.scope, new.window, new.measure),
            "{name}"
        );
        assert_eq!((budget.limit, budget.warn), (new.limit, new.warn));
    }
    let in_use = store.budgets_in_use();
    let all = store.budgets_all().await.unwrap();
    assert_eq!(all.len(), 9);
    assert!(in_use.iter().map(|record| &record.budget).eq(&all));
    assert!(all.is_sorted_by_key(|budget| budget.id));
}

// LED-84
#[tokio::test]
async fn a_budget_is_changed_and_ended_and_its_name_is_free_then() {
    let world = World::new().await;
    let store = &world.store;
    let tenant = store.default_tenant().id;
    let made = store.create_budget(SERVICE, new(tenant, "daily")).await;
    let made = made.unwrap();
    let again = store.create_budget(SERVICE, new(tenant, "daily")).await;
    assert_eq!(again, Err(StoreError::Conflict(Conflict::BudgetName)));
    let other = store.create_budget(SERVICE, new(tenant, "other")).await;
    let rename = BudgetChange {
        name: Some("daily".to_owned()),
        ..BudgetChange::default()
    };
    let renamed = store.change_budget(SERVICE, other.unwrap().budget.id, rename);
    assert_eq!(
        renamed.await,
        Err(StoreError::Conflict(Conflict::BudgetName))
    );
    world.pass(SECOND);
    let change = BudgetChange {
        name: Some("weekly".to_owned()),
        limit: Amount::new(5),
        enforcement: Some(Enforcement::Observe),
        on_short: Some(OnShort::Shrink),
        warn: Some(vec![90]),
    };
    let changed = store.change_budget(SERVICE, made.budget.id, change).await;
    let changed = changed.unwrap();
    assert_eq!((changed.name.as_str(), changed.version), ("weekly", 2));
    assert_eq!(Some(changed.budget.limit), Amount::new(5));
    assert_eq!(changed.budget.enforcement, Enforcement::Observe);
    assert_eq!(changed.budget.on_short, OnShort::Shrink);
    assert_eq!(changed.budget.warn, [90]);
    assert!(changed.updated_at > made.updated_at);
    let shown = store.budgets_in_use();
    assert!(shown.contains(&changed) && !shown.contains(&made));
    let ended = store.end_budget(SERVICE, made.budget.id).await.unwrap();
    assert_eq!(ended, changed);
    assert_eq!(
        store.budget(SERVICE, made.budget.id).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(listed(&world).await.len(), 1);
    assert_eq!(store.budgets_in_use().len(), 1);
    let reused = store.create_budget(SERVICE, new(tenant, "weekly")).await;
    assert_ne!(reused.unwrap().budget.id, made.budget.id);
}

// LED-60
#[tokio::test]
async fn a_budget_that_could_never_be_is_refused() {
    let world = World::new().await;
    let tenant = world.store.default_tenant().id;
    let good = new(tenant, "good");
    for (name, bad) in [
        ("no name", new(tenant, " ")),
        ("a long name", new(tenant, &"n".repeat(101))),
        ("a name of two lines", new(tenant, "a\nb")),
        (
            "another tenant's calls",
            NewBudget {
                scope: Counts::Tenant(TenantId::from_bytes([9; 16])),
                ..good.clone()
            },
        ),
        (
            "nobody's tokens",
            NewBudget {
                scope: Counts::Tokens(Vec::new()),
                ..good.clone()
            },
        ),
        (
            "no provider",
            NewBudget {
                scope: Counts::Provider(String::new()),
                ..good.clone()
            },
        ),
        (
            "a warning beyond the limit",
            NewBudget {
                warn: vec![101],
                ..good.clone()
            },
        ),
        (
            "warnings out of order",
            NewBudget {
                warn: vec![80, 50],
                ..good.clone()
            },
        ),
    ] {
        let refused = world.store.create_budget(SERVICE, bad).await;
        assert!(
            matches!(refused, Err(StoreError::Invalid(_))),
            "{name}: {refused:?}"
        );
    }
    assert!(world.store.create_budget(SERVICE, good).await.is_ok());
}

// LED-60
#[tokio::test]
async fn another_tenants_budgets_are_missing() {
    let (world, a, b) = crate::tenancy::two_tenants(World::new().await).await;
    let store = &world.store;
    let Scope::Tenant(tenant) = a else {
        panic!("a tenant");
    };
    let made = store.create_budget(a, new(tenant, "daily")).await.unwrap();
    let id = made.budget.id;
    let missing = Err(StoreError::NotFound);
    let foreign = store.create_budget(b, new(tenant, "mine")).await;
    assert_eq!(foreign, missing);
    assert_eq!(store.budget(b, id).await, missing);
    let change = BudgetChange::default();
    assert_eq!(store.change_budget(b, id, change).await, missing);
    assert_eq!(store.end_budget(b, id).await, missing);
    let page = PageRequest {
        limit: 100,
        after: None,
    };
    let seen = store.budgets(b, BudgetFilter::default(), page).await;
    assert_eq!(seen.unwrap().rows, []);
    assert_eq!(store.budget(a, id).await, Ok(made));
}

// LED-60
#[tokio::test]
async fn budgets_of_settings_follow_them_and_those_of_operators_stay() {
    let world = World::new().await;
    let store = &world.store;
    let tenant = store.default_tenant().id;
    let own = store.create_budget(SERVICE, new(tenant, "own")).await;
    let own = own.unwrap();
    let set = async |wanted: Vec<NewBudget>| store.set_configured_budgets(wanted).await.unwrap();
    let id_of = |name: &str| {
        let list = store.budgets_in_use();
        let found = list.iter().find(|record| record.name == name);
        found.map(|record| record.budget.id)
    };
    let (one, two) = (configured(tenant, "one"), configured(tenant, "two"));
    let done = set(vec![one.clone(), two.clone()]).await;
    assert_eq!(done.made, words(&["one", "two"]));
    let first = id_of("one");
    assert!(set(vec![one.clone(), two.clone()]).await.is_empty());
    let dearer = NewBudget {
        limit: Amount::MAX,
        ..one.clone()
    };
    let done = set(vec![dearer, two.clone()]).await;
    assert_eq!(done.changed, words(&["one"]));
    assert_eq!(id_of("one"), first, "the same with another limit");
    let done = set(vec![two.clone()]).await;
    let want = ConfiguredBudgets {
        ended: words(&["one"]),
        ..ConfiguredBudgets::default()
    };
    assert_eq!(done, want);
    assert_eq!(id_of("one"), None);
    let done = set(vec![one.clone(), two.clone()]).await;
    assert_eq!(done.made, words(&["one"]));
    assert_eq!(id_of("one"), first, "what was spent is not forgotten");
    let of_tokens = NewBudget {
        measure: Measure::Tokens,
        ..one
    };
    set(vec![of_tokens, two]).await;
    assert_ne!(id_of("one"), first, "another measure is another budget");
    assert_eq!(id_of("own"), Some(own.budget.id));
    assert_eq!(set(Vec::new()).await.ended, words(&["one", "two"]));
    assert_eq!(*store.budgets_in_use(), listed(&world).await);
    assert_eq!(listed(&world).await, [own]);
}
