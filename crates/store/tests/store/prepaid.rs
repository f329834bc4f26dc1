//! Prepaid accounts: whose they are, what moves them, and that nothing is moved twice.

use crate::world::{SERVICE, World};
use tollkeep_ledger::amount::{Amount, Delta};
use tollkeep_ledger::posting::{Account, Unit};
use tollkeep_ledger::prepaid::{Holder, Prepaid};
use tollkeep_ledger::step::Command;
use tollkeep_ledger::write::Refusal;
use tollkeep_store::ledger::{Job, Movement};
use tollkeep_store::{
    AccountFilter, Conflict, NewAccount, PageRequest, PrepaidAccount, RunKey, Scope, StoreError,
};
use tollkeep_types::{AccountId, EntryId, HoldId, LineageId, ProjectId, TenantId};

fn new(tenant: TenantId, unit: Unit) -> NewAccount {
    NewAccount {
        tenant,
        holder: Holder::Project(ProjectId::from_bytes([7; 16])),
        unit,
        name: "ada".to_owned(),
    }
}

fn up(units: i64, unit: Unit) -> Movement {
    Movement {
        by: Delta::up(Amount::new(units).unwrap()),
        with: Account::Outside(unit),
    }
}

fn down(units: i64, unit: Unit) -> Movement {
    Movement {
        by: Delta::down(Amount::new(units).unwrap()),
        with: Account::Outside(unit),
    }
}

async fn opened(world: &World, unit: Unit) -> AccountId {
    let tenant = world.store.default_tenant().id;
    let made = world.store.open_account(SERVICE, new(tenant, unit)).await;
    made.unwrap().of.id
}

async fn balance(world: &World, id: AccountId) -> i64 {
    world
        .store
        .account(SERVICE, id)
        .await
        .unwrap()
        .balance
        .units()
}

fn conflict<T>(conflict: Conflict) -> Result<T, StoreError> {
    Err(StoreError::Conflict(conflict))
}

// LED-65a LED-70
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one life, step by step")]
async fn an_account_is_there_from_its_opening_to_its_end() {
    let world = World::new().await;
    let store = &world.store;
    let tenant = store.default_tenant().id;
    let id = opened(&world, Unit::Usd).await;
    let account = store.account(SERVICE, id).await.unwrap();
    let of = Prepaid {
        id,
        tenant,
        holder: Holder::Project(ProjectId::from_bytes([7; 16])),
        unit: Unit::Usd,
    };
    let want = PrepaidAccount {
        of,
        name: "ada".to_owned(),
        balance: Amount::ZERO,
        held: Amount::ZERO,
        opened_at: account.opened_at,
        closed_at: None,
    };
    assert_eq!(account, want);
    assert_eq!(*store.accounts_in_use(), [of]);
    let again = store.open_account(SERVICE, new(tenant, Unit::Usd)).await;
    assert_eq!(again, conflict(Conflict::AccountOpen));
    let other = NewAccount {
        holder: Holder::Token(LineageId::from_bytes([8; 16])),
        ..new(tenant, Unit::Usd)
    };
    let other = store.open_account(SERVICE, other).await.unwrap();
    let stranger = Scope::Tenant(TenantId::from_bytes([9; 16]));
    for result in [
        store.account(stranger, id).await.map(|_| ()),
        store.close_account(stranger, id).await.map(|_| ()),
        store
            .open_account(stranger, new(tenant, Unit::Tokens))
            .await
            .map(|_| ()),
        store
            .ledger()
            .transfer(stranger, id, up(1, Unit::Usd))
            .await
            .map(|_| ()),
        store
            .ledger()
            .account_entries(stranger, id, (None, 9))
            .await
            .map(|_| ()),
    ] {
        assert_eq!(result, Err(StoreError::NotFound));
    }
    store
        .ledger()
        .transfer(SERVICE, id, up(5, Unit::Usd))
        .await
        .unwrap();
    assert_eq!(
        store.close_account(SERVICE, id).await,
        conflict(Conflict::AccountNotEmpty)
    );
    store
        .ledger()
        .transfer(SERVICE, id, down(5, Unit::Usd))
        .await
        .unwrap();
    let closed = store.close_account(SERVICE, id).await.unwrap();
    assert!(closed.closed_at.is_some());
    assert_eq!(
        store.close_account(SERVICE, id).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(*store.accounts_in_use(), [other.of]);
    let credit = store.ledger().transfer(SERVICE, id, up(1, Unit::Usd)).await;
    assert_eq!(credit, conflict(Conflict::AccountClosed));
    assert_ne!(
        opened(&world, Unit::Usd).await,
        id,
        "its holder may get another"
    );
    let page = |after| PageRequest { limit: 2, after };
    let listed = store
        .accounts(SERVICE, AccountFilter::default(), page(None))
        .await;
    let listed = listed.unwrap();
    assert!(listed.more && listed.rows.len() == 2, "{listed:?}");
    let filter = AccountFilter {
        holder: Some(LineageId::from_bytes([8; 16]).to_string()),
    };
    let of_one = store.accounts(SERVICE, filter, page(None)).await.unwrap();
    assert_eq!(of_one.rows, [other]);
    assert_eq!(store.ledger().check().await.unwrap().violations, [""; 0]);
}

// LED-2 LED-65
#[tokio::test]
async fn an_account_takes_nothing_in_another_unit_than_its_own() {
    let world = World::new().await;
    let id = opened(&world, Unit::Tokens).await;
    let wrong = Command::Transfer {
        entry: EntryId::from_bytes([1; 16]),
        account: id,
        by: Delta::up(Amount::new(10).unwrap()),
        with: Account::Outside(Unit::Usd),
    };
    let job = Job {
        command: wrong,
        about: None,
    };
    let reply = world
        .store
        .ledger()
        .run(&[job])
        .await
        .pop()
        .unwrap()
        .unwrap();
    assert_eq!(reply.refusal, Some(Refusal::Broken));
    assert_eq!(balance(&world, id).await, 0);
    let ledger = world.store.ledger();
    ledger
        .transfer(SERVICE, id, up(10, Unit::Tokens))
        .await
        .unwrap();
    let all = crate::ledger::page(1000);
    let accounts = ledger.accounts(SERVICE, &all).await.unwrap();
    let accounts = accounts.rows;
    let units: Vec<_> = accounts.iter().map(|one| one.unit.as_str()).collect();
    assert_eq!(units, ["tokens", "tokens"], "{accounts:?}");
    assert_eq!(ledger.check().await.unwrap().violations, [""; 0]);
}

// LED-66 ID-104
#[tokio::test]
async fn what_is_moved_under_a_key_is_moved_once_and_never_more_than_is_there() {
    let world = World::new().await;
    let id = opened(&world, Unit::Usd).await;
    let run = |slot: u8, request: u8| RunKey {
        slot: [slot; 32],
        owner: "owner".to_owned(),
        request: [request; 32],
        run: "run".to_owned(),
    };
    for (slot, request, want) in [(1, 1, 10), (1, 1, 10), (2, 1, 20), (2, 2, 30)] {
        let store = world.store.running(run(slot, request));
        assert!(store.does_it_once());
        store
            .ledger()
            .transfer(SERVICE, id, up(10, Unit::Usd))
            .await
            .unwrap();
        assert_eq!(balance(&world, id).await, want, "{slot} {request}");
    }
    let ledger = world.store.ledger();
    let much = ledger.transfer(SERVICE, id, down(31, Unit::Usd)).await;
    assert_eq!(much, conflict(Conflict::AccountShort));
    let (tried, trial) = world.store.trial();
    tried
        .ledger()
        .transfer(SERVICE, id, down(30, Unit::Usd))
        .await
        .unwrap();
    trial.end().await;
    assert_eq!(balance(&world, id).await, 30, "a trial moves nothing");
    let entries = ledger
        .account_entries(SERVICE, id, (None, 2))
        .await
        .unwrap();
    let seen: Vec<_> = entries
        .iter()
        .map(|entry| (entry.amount, entry.with.as_str()))
        .collect();
    assert_eq!(seen, [(10, "outside"), (10, "outside")]);
    let older = (Some(entries[1].number), 9);
    let older = ledger.account_entries(SERVICE, id, older).await.unwrap();
    assert_eq!(older.len(), 1);
    let none = (id, HoldId::from_bytes([3; 16]));
    let refund = ledger.refund(SERVICE, none, Amount::new(1).unwrap()).await;
    assert_eq!(refund, Err(StoreError::NotFound));
}

// LED-53
#[tokio::test]
async fn a_model_is_in_quarantine_until_somebody_ends_it() {
    let world = World::new().await;
    let store = &world.store;
    let hold = HoldId::from_bytes([4; 16]);
    for provider in ["a", "b", "a"] {
        let done = store
            .quarantine(provider.to_owned(), "m".to_owned(), hold)
            .await;
        done.unwrap();
    }
    let seen = store.quarantines();
    let seen: Vec<_> = seen
        .iter()
        .map(|one| (&*one.provider, &*one.model))
        .collect();
    assert_eq!(seen, [("a", "m"), ("b", "m")]);
    let none = store.end_quarantine("x".to_owned(), None).await;
    assert_eq!(none, Err(StoreError::NotFound));
    let ended = store
        .end_quarantine("m".to_owned(), Some("b".to_owned()))
        .await;
    assert_eq!(ended.unwrap().len(), 1);
    assert_eq!(store.quarantines().len(), 1);
    let ended = store.end_quarantine("m".to_owned(), None).await;
    assert_eq!(ended.unwrap().len(), 1);
    assert!(store.quarantines().is_empty());
}
