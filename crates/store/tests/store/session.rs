//! Console sessions, operators and their logins.

use crate::world::{DAY, HOUR, SECOND, SERVICE, World, conflict, digest, first, management_secret};
use std::time::Duration;
use tollkeep_store::{
    Attempt, Conflict, ConsoleSession, KeyChange, LastOwner, ManagementKey, NewConsoleSession,
    NewManagementKey, NewOperator, NewTenant, Operator, OperatorChange, ProviderOperator, Role,
    Scope, SecondFactor, SessionHolder, StoreError,
};
use tollkeep_types::WallMillis;

const IDLE: Duration = Duration::from_secs(1800);

async fn key(world: &World, text: u8) -> ManagementKey {
    let new = NewManagementKey {
        operator_id: None,
        name: "key".to_owned(),
        role: Role::Owner,
        scopes: None,
        allowed_ips: Vec::new(),
        secret: management_secret(text),
        expires_at: WallMillis(world.store.now().0 + 90 * DAY),
        created_by: None,
    };
    world
        .store
        .create_management_key(SERVICE, new)
        .await
        .unwrap()
}

async fn person(world: &World, scope: Scope, (name, role): (&str, Role)) -> Operator {
    let new = NewOperator {
        name: name.to_owned(),
        login: name.to_owned(),
        email: None,
        role,
        password: Some("a hash".to_owned()),
        created_by: None,
    };
    world.store.create_operator(scope, new).await.unwrap()
}

fn session(world: &World, (text, holder): (u8, SessionHolder)) -> NewConsoleSession {
    let now = world.store.now();
    NewConsoleSession {
        digest: digest(text),
        tenant_id: None,
        role: Role::Owner,
        holder,
        proved_at: now,
        expires_at: WallMillis(now.0 + 12 * HOUR),
        ip: Some([192, 0, 2, 1].into()),
        user_agent: Some("browser".to_owned()),
        instead_of: None,
    }
}

async fn begun(world: &World, text: u8, holder: SessionHolder) -> ConsoleSession {
    let new = session(world, (text, holder));
    world.store.create_console_session(new).await.unwrap()
}

async fn goes_on(world: &World, text: u8) -> bool {
    let found = world.store.find_console_session(&digest(text), IDLE).await;
    found.unwrap().is_some()
}

fn of_key(key: &ManagementKey, text: u8) -> SessionHolder {
    SessionHolder::Key {
        id: Some(key.id),
        digest: digest(text),
    }
}

// ID-120
#[tokio::test]
async fn a_session_ends_by_idleness_age_and_its_successor() {
    let world = World::new().await;
    let key = key(&world, 1).await;
    let one = begun(&world, 2, of_key(&key, 1)).await;
    let world = world.restart().await;
    let found = world.store.find_console_session(&digest(2), IDLE).await;
    assert_eq!(found, Ok(Some(one.clone())));
    world.pass(1799 * SECOND);
    world.store.touch_console_session(&one, IDLE).await.unwrap();
    world.pass(1799 * SECOND);
    assert!(goes_on(&world, 2).await, "it was used in between");
    world.pass(SECOND);
    assert!(!goes_on(&world, 2).await, "nobody used it for half an hour");
    let again = NewConsoleSession {
        instead_of: Some(one.id),
        ..session(&world, (3, of_key(&key, 1)))
    };
    world.store.create_console_session(again).await.unwrap();
    let gone = world.store.console_session(SERVICE, one.id).await;
    assert_eq!(
        gone,
        Err(StoreError::NotFound),
        "the new one is in its place"
    );
    for _ in 0..25 {
        let found = world.store.find_console_session(&digest(3), IDLE).await;
        let Some(found) = found.unwrap() else { break };
        world
            .store
            .touch_console_session(&found, IDLE)
            .await
            .unwrap();
        world.pass(1795 * SECOND);
    }
    assert!(
        !goes_on(&world, 3).await,
        "nothing lasts longer than half a day"
    );
}

// ID-120 ID-52
#[tokio::test]
async fn a_session_ends_with_what_its_holder_may_no_longer_do() {
    let world = World::new().await;
    let (key, other) = (key(&world, 1).await, key(&world, 9).await);
    let anna = person(&world, SERVICE, ("anna", Role::Admin)).await;
    let by_anna = || SessionHolder::Operator(anna.id);
    begun(&world, 2, of_key(&key, 1)).await;
    begun(&world, 3, by_anna()).await;
    let settings = ManagementKey {
        name: "renamed".to_owned(),
        ..key.clone()
    };
    let change = |was: ManagementKey, change: KeyChange| {
        world
            .store
            .change_management_key(SERVICE, was, change, LastOwner::Stays)
    };
    let renamed = change(key, KeyChange::Settings(settings)).await.unwrap();
    assert!(goes_on(&world, 2).await, "a name is no right");
    change(renamed, KeyChange::Revoke).await.unwrap();
    assert!(!goes_on(&world, 2).await);
    assert!(goes_on(&world, 3).await, "of somebody else");
    let demoted = Operator {
        role: Role::Viewer,
        ..anna.clone()
    };
    let demoted = OperatorChange::Details(demoted);
    let store = &world.store;
    let anna = store.change_operator(SERVICE, anna.clone(), demoted, LastOwner::Stays);
    let anna = anna.await.unwrap();
    assert!(!goes_on(&world, 3).await, "another role");
    let kept = begun(&world, 4, by_anna()).await;
    begun(&world, 5, by_anna()).await;
    let password = OperatorChange::Password {
        hash: "another".to_owned(),
        keep: Some(kept.id),
    };
    let anna = store
        .change_operator(SERVICE, anna, password, LastOwner::Stays)
        .await
        .unwrap();
    assert_eq!(
        (goes_on(&world, 4).await, goes_on(&world, 5).await),
        (true, false)
    );
    let disabled = store.change_operator(SERVICE, anna, OperatorChange::Disable, LastOwner::Stays);
    assert!(disabled.await.unwrap().disabled_at.is_some());
    assert!(!goes_on(&world, 4).await);
    let last = change(other, KeyChange::Revoke).await;
    assert_eq!(conflict(last), Conflict::LastOwner);
}

// ID-120
#[tokio::test]
async fn the_oldest_of_very_many_sessions_makes_room() {
    let world = World::new().await;
    let key = key(&world, 1).await;
    for text in 10..=60 {
        world.pass(1);
        begun(&world, text, of_key(&key, 1)).await;
    }
    assert_eq!(
        (goes_on(&world, 10).await, goes_on(&world, 11).await),
        (false, true)
    );
    let listed = world
        .store
        .console_sessions(SERVICE, None, IDLE, first(100))
        .await
        .unwrap();
    assert_eq!(listed.rows.len(), 50);
    assert!(
        listed
            .rows
            .is_sorted_by_key(|one| std::cmp::Reverse(one.created_at))
    );
}

// ID-54 ID-80
#[tokio::test]
async fn a_tenant_has_no_hand_on_operators_and_sessions_of_others() {
    let world = World::new().await;
    let tenant = NewTenant {
        name: "a".to_owned(),
        ..NewTenant::default()
    };
    let tenant = world.store.create_tenant(tenant).await.unwrap();
    let a = Scope::Tenant(tenant.id);
    let own = person(&world, a, ("own", Role::TenantAdmin)).await;
    let foreign = person(&world, SERVICE, ("foreign", Role::Owner)).await;
    assert_eq!(own.tenant_id, Some(tenant.id));
    let store = &world.store;
    assert_eq!(
        store.operators(a, first(10)).await.unwrap().rows,
        std::slice::from_ref(&own)
    );
    assert_eq!(
        store.operator(a, foreign.id).await,
        Err(StoreError::NotFound)
    );
    let gone = store.delete_operator(a, foreign.id, LastOwner::MayGo).await;
    assert_eq!(gone, Err(StoreError::NotFound));
    let disabled = store.change_operator(a, foreign, OperatorChange::Disable, LastOwner::MayGo);
    assert_eq!(disabled.await, Err(StoreError::NotFound));
    let begun = NewConsoleSession {
        tenant_id: own.tenant_id,
        role: own.role,
        ..session(&world, (2, SessionHolder::Operator(own.id)))
    };
    let begun = store.create_console_session(begun).await.unwrap();
    assert!(store.console_session(a, begun.id).await.is_ok());
    let key = key(&world, 1).await;
    let other = store
        .create_console_session(session(&world, (3, of_key(&key, 1))))
        .await
        .unwrap();
    let ended = store.end_console_session(a, other.id).await;
    assert_eq!(ended, Err(StoreError::NotFound));
    assert!(goes_on(&world, 3).await);
}

// ID-123
#[tokio::test]
async fn failures_are_counted_before_they_are_judged_and_codes_work_once() {
    let world = World::new().await;
    let store = &world.store;
    let anna = person(&world, SERVICE, ("anna", Role::Viewer)).await;
    let lock = |failures: u64| (failures >= 3).then_some(Duration::from_secs(60));
    let attempt = async || {
        let begun = store.begin_password_login("anna".to_owned(), lock).await;
        begun.unwrap().map(|(.., attempt)| attempt)
    };
    assert_eq!(attempt().await, Some(Attempt::Allowed { failures: 1 }));
    assert_eq!(attempt().await, Some(Attempt::Allowed { failures: 2 }));
    store.forgive_password_login(anna.id, 2).await.unwrap();
    assert_eq!(attempt().await, Some(Attempt::Allowed { failures: 2 }));
    assert_eq!(attempt().await, Some(Attempt::Allowed { failures: 3 }));
    assert_eq!(attempt().await, Some(Attempt::Refused));
    world.pass(60 * SECOND);
    let on = OperatorChange::TotpOn {
        step: 7,
        recovery_codes: vec![digest(1), digest(2)],
    };
    let anna = store.operator(SERVICE, anna.id).await.unwrap();
    let anna = store
        .change_operator(SERVICE, anna, on, LastOwner::Stays)
        .await
        .unwrap();
    for (factor, want) in [
        (SecondFactor::Totp { step: 7 }, None),
        (SecondFactor::Totp { step: 8 }, Some(2)),
        (SecondFactor::Totp { step: 8 }, None),
        (SecondFactor::Recovery(digest(1)), Some(1)),
        (SecondFactor::Recovery(digest(1)), None),
        (SecondFactor::Recovery(digest(3)), None),
    ] {
        let through = store.end_password_login(anna.id, factor).await.unwrap();
        assert_eq!(through.map(|it| it.recovery_codes), want, "{factor:?}");
    }
    assert_eq!(
        attempt().await,
        Some(Attempt::Allowed { failures: 1 }),
        "forgotten"
    );
    let nobody = store.begin_password_login("nobody".to_owned(), lock).await;
    assert!(nobody.unwrap().is_none());
}

// ID-124
#[tokio::test]
async fn a_login_at_a_provider_is_answered_once_and_forgotten_when_it_is_over() {
    let world = World::new().await;
    let until = WallMillis(world.store.now().0 + 600 * SECOND);
    let used = async |text| world.store.use_provider_login(digest(text), until).await;
    assert_eq!(used(1).await, Ok(true));
    assert_eq!(used(1).await, Ok(false));
    assert_eq!(used(2).await, Ok(true));
    world.pass(600 * SECOND);
    // Nobody can answer it any more; the row is not kept for that.
    let later = WallMillis(world.store.now().0 + 600 * SECOND);
    assert_eq!(
        world.store.use_provider_login(digest(1), later).await,
        Ok(true)
    );
}

// ID-124
#[tokio::test]
async fn somebody_of_a_provider_is_known_by_issuer_and_subject() {
    let world = World::new().await;
    let store = &world.store;
    let vouched = |subject: &str, role| ProviderOperator {
        issuer: "https://id.example".to_owned(),
        subject: subject.to_owned(),
        name: format!("{subject} of id.example"),
        email: None,
        role,
    };
    let anna = store
        .provider_operator(vouched("1", Role::Viewer))
        .await
        .unwrap();
    begun(&world, 2, SessionHolder::Operator(anna.id)).await;
    let again = store
        .provider_operator(vouched("1", Role::Viewer))
        .await
        .unwrap();
    assert_eq!(again.id, anna.id);
    assert!(goes_on(&world, 2).await);
    let other = store
        .provider_operator(vouched("2", Role::Viewer))
        .await
        .unwrap();
    assert_ne!(other.id, anna.id);
    let more = store
        .provider_operator(vouched("1", Role::Admin))
        .await
        .unwrap();
    assert_eq!((more.id, more.role), (anna.id, Role::Admin));
    assert!(!goes_on(&world, 2).await, "another role");
    let disabled = store.change_operator(SERVICE, more, OperatorChange::Disable, LastOwner::Stays);
    disabled.await.unwrap();
    let refused = store
        .provider_operator(vouched("1", Role::Owner))
        .await
        .unwrap();
    assert_eq!(
        refused.role,
        Role::Admin,
        "nothing is changed of who is disabled"
    );
    assert!(refused.disabled_at.is_some());
}
