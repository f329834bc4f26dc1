//! Payments: one wins, changes name what was read, and the money moves with the row.

use crate::world::{SERVICE, World};
use tollkeep_store::{
    NewPayment, NewSession, PageRequest, PaymentChange, PaymentFilter, PaymentMode, PaymentRecord,
    PaymentState, Reserved, RevenueBy, SessionModel, SessionRecord, StoreError,
};
use tollkeep_types::{PaymentId, RequestId, SessionId, TokenHash, WallMillis};

const LATER: WallMillis = WallMillis(4_000_000_000_000);

fn new(world: &World, number: u8) -> NewPayment {
    NewPayment {
        id: PaymentId::from_bytes([number; 16]),
        tenant: world.store.default_tenant().id,
        key: [number; 32],
        route: "GET /x".to_owned(),
        mode: PaymentMode::Before,
        unit: "eip155:84532/erc20:0x036CbD53842c5426634e7929541eC2318f3dCF7e".to_owned(),
        symbol: "USDC".to_owned(),
        decimals: 6,
        network: "eip155:84532".to_owned(),
        quoted: 10_000,
        request_digest: [1; 32],
        request: RequestId::from_bytes([number; 16]),
        payer: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".to_owned(),
        pay_to: "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC".to_owned(),
        facilitator: "main".to_owned(),
        proof: "enc:v1:sealed".to_owned(),
        ends_at: LATER,
        holder: "me".to_owned(),
        lease_until: LATER,
        named: None,
    }
}

fn to(record: &PaymentRecord, state: PaymentState) -> PaymentChange {
    PaymentChange {
        from: record.state,
        version: record.version,
        to: state,
        calls: 1,
        was_made_good: false,
        due: None,
        facilitator: None,
        transaction: Some("0xabc".to_owned()),
        reason: None,
        lease: state.is_worked_on().then(|| ("me".to_owned(), LATER)),
        look_at: (state == PaymentState::Unknown).then_some(WallMillis(1)),
        opens: None,
    }
}

async fn reserved(world: &World, number: u8) -> PaymentRecord {
    let new = new(world, number);
    let id = new.id;
    let made = world.store.reserve_payment(new).await.unwrap();
    assert!(matches!(made, Reserved::New));
    world.store.payment(SERVICE, id).await.unwrap()
}

async fn change(world: &World, record: &PaymentRecord, state: PaymentState) -> PaymentRecord {
    let changed = world.store.change_payment(record.id, to(record, state));
    changed.await.unwrap().expect("as it was read")
}

/// A session that the money of a payment has become.
pub(crate) async fn bought(world: &World, number: u8, expires_at: WallMillis) -> SessionRecord {
    let pending = reserved(world, number).await;
    let settled = change(world, &pending, PaymentState::Settled).await;
    let opening = PaymentChange {
        opens: Some(NewSession {
            id: SessionId::from_bytes([number; 16]),
            token_hash: TokenHash::from_bytes([number; 32]),
            scope: settled.route.clone(),
            model: SessionModel::Metered,
            calls: 0,
            unit_cost: 4_000,
            expires_at,
        }),
        ..to(&settled, PaymentState::Spent)
    };
    let opened = world.store.change_payment(settled.id, opening).await;
    assert_eq!(opened.unwrap().unwrap().state, PaymentState::Spent);
    let session = world.store.session_of_payment(settled.id).await;
    session.unwrap().expect("a session")
}

pub(crate) async fn checks(world: &World) -> u64 {
    let report = world.store.ledger().check().await.unwrap();
    assert_eq!(report.violations, Vec::<String>::new());
    report.entries
}

// PAY-60 PAY-60a
#[tokio::test]
async fn a_proof_is_reserved_once_and_its_key_is_kept_for_ever() {
    let world = World::new().await;
    let first = reserved(&world, 1).await;
    let mut again = new(&world, 1);
    again.id = PaymentId::from_bytes([9; 16]);
    let Reserved::Known(known) = world.store.reserve_payment(again.clone()).await.unwrap() else {
        panic!("reserved twice");
    };
    assert_eq!((known.id, known.state), (first.id, PaymentState::Pending));
    let gone = change(&world, &first, PaymentState::Released).await;
    assert_eq!(gone.proof, None, "it will not be told again");
    let again = world.store.reserve_payment_again(&gone, again).await;
    assert_eq!(again, Ok(true));
    let pending = world.store.payment(SERVICE, first.id).await.unwrap();
    assert_eq!(pending.state, PaymentState::Pending);
    let stale = world
        .store
        .reserve_payment_again(&gone, new(&world, 1))
        .await;
    assert_eq!(stale, Ok(false));
    let voided = change(&world, &pending, PaymentState::Voided).await;
    let known = world.store.payment_of_key([1; 32]).await.unwrap();
    assert_eq!(known.unwrap().version, voided.version);
    assert_eq!(checks(&world).await, 0);
}

// PAY-61 LED-84
#[tokio::test]
async fn money_moves_with_the_row_or_not_at_all() {
    let world = World::new().await;
    let pending = reserved(&world, 2).await;
    let settled = change(&world, &pending, PaymentState::Settled).await;
    assert_eq!(settled.received, Some(10_000));
    assert!(
        settled.proof.is_some(),
        "it may be shown again for the same"
    );
    assert_eq!(checks(&world).await, 1);
    // What was read is no more.
    let stale = world
        .store
        .change_payment(pending.id, to(&pending, PaymentState::Voided));
    assert!(stale.await.unwrap().is_none());
    // Money that came does not vanish.
    let back = to(&settled, PaymentState::Voided);
    let refused = world.store.change_payment(settled.id, back).await;
    assert!(matches!(
        refused,
        Err(StoreError::Unavailable(_) | StoreError::Invalid(_))
    ));
    let unearned = world.store.credit_sums(SERVICE).await.unwrap();
    assert_eq!(unearned, Vec::new());
    let credit = change(&world, &settled, PaymentState::Credit).await;
    let owed = world.store.credit_sums(SERVICE).await.unwrap();
    assert_eq!((owed[0].total, owed[0].payments), (10_000, 1));
    let redeeming = change(&world, &credit, PaymentState::Redeeming).await;
    let delivering = change(&world, &redeeming, PaymentState::Delivering).await;
    let spent = change(&world, &delivering, PaymentState::Spent).await;
    assert_eq!(spent.settled_at, settled.settled_at);
    assert_eq!(checks(&world).await, 2);
    for by in [RevenueBy::Route, RevenueBy::Rail, RevenueBy::Day] {
        let earned = world.store.revenue(SERVICE, by, None).await.unwrap();
        assert_eq!((earned[0].total, earned.len()), (10_000, 1), "{by:?}");
    }
    let all = crate::ledger::page(1000);
    let accounts = world.store.ledger().accounts(SERVICE, &all).await.unwrap();
    let accounts = accounts.rows;
    let of = |start: &str| {
        let found = accounts.iter().find(|it| it.name.starts_with(start));
        found.map(|it| it.balance)
    };
    assert_eq!(of("outside:x402:"), Some(-10_000));
    assert_eq!(of("credit:pay_"), Some(0));
    assert_eq!(of("revenue:x402:"), Some(10_000));
}

// PAY-62
#[tokio::test]
async fn what_nobody_works_on_or_knows_about_is_found() {
    let world = World::new().await;
    let pending = reserved(&world, 3).await;
    let now = WallMillis(LATER.0 - 1);
    let none = world.store.abandoned_payments(SERVICE, now).await.unwrap();
    assert!(none.is_empty());
    world
        .store
        .renew_payment_leases("me".to_owned(), (now, WallMillis(LATER.0 + 9)))
        .await
        .unwrap();
    let renewed = world
        .store
        .abandoned_payments(SERVICE, LATER)
        .await
        .unwrap();
    assert!(renewed.is_empty(), "it was renewed");
    let late = WallMillis(LATER.0 + 9);
    let abandoned = world.store.abandoned_payments(SERVICE, late).await.unwrap();
    assert_eq!(abandoned.len(), 1);
    let unknown = change(&world, &pending, PaymentState::Unknown).await;
    assert!(unknown.proof.is_some(), "it may have to be told again");
    assert_eq!(world.store.unknown_payments(SERVICE).await, Ok(1));
    let due = world.store.payments_to_look_at(SERVICE, now).await.unwrap();
    assert_eq!(due.len(), 1);
    let turn = (unknown.id, due[0].looks);
    assert_eq!(world.store.look_at_payment(turn, late).await, Ok(true));
    assert_eq!(world.store.look_at_payment(turn, late).await, Ok(false));
    let due = world.store.payments_to_look_at(SERVICE, now).await.unwrap();
    assert!(due.is_empty(), "its time has not come");
    let filter = PaymentFilter {
        state: Some(PaymentState::Unknown),
        ..PaymentFilter::default()
    };
    let page = PageRequest {
        limit: 10,
        after: None,
    };
    let listed = world.store.payments(SERVICE, filter, page).await.unwrap();
    assert_eq!(listed.rows.len(), 1);
    let voided = change(&world, &unknown, PaymentState::Voided).await;
    assert_eq!((voided.proof, voided.received), (None, None));
    assert_eq!(checks(&world).await, 0);
}

// PAY-136
#[tokio::test]
async fn what_is_served_first_moves_what_was_noted_when_it_is_settled() {
    let world = World::new().await;
    let since = WallMillis(0);
    let mut first = new(&world, 1);
    first.mode = PaymentMode::Upto;
    let (id, tenant, payer) = (first.id, first.tenant, first.payer.clone());
    world.store.reserve_payment(first).await.unwrap();
    let pending = world.store.payment(SERVICE, id).await.unwrap();
    assert_eq!((pending.mode, pending.due), (PaymentMode::Upto, None));
    let serving = to(&pending, PaymentState::Serving);
    let unnoted = world.store.change_payment(id, serving.clone()).await;
    assert!(
        unnoted.is_err(),
        "served without a note of what it comes to"
    );
    let noted = PaymentChange {
        due: Some(4_000),
        ..serving
    };
    let too_much = PaymentChange {
        due: Some(10_001),
        ..noted.clone()
    };
    assert!(world.store.change_payment(id, too_much).await.is_err());
    let serving = world.store.change_payment(id, noted).await.unwrap();
    let serving = serving.unwrap();
    assert_eq!((serving.due, serving.amount()), (Some(4_000), 4_000));
    assert!(serving.proof.is_some(), "it is to be told yet");
    let owes = || world.store.uncollected_payments((tenant, &payer), since);
    assert_eq!(owes().await, Ok(0), "it is being served");
    let unknown = change(&world, &serving, PaymentState::Unknown).await;
    assert_eq!(owes().await, Ok(1));
    let now = world.store.uncollected_payments((tenant, &payer), LATER);
    assert_eq!(now.await, Ok(0), "long ago");
    let stranger = (tenant, "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");
    let other = world.store.uncollected_payments(stranger, since).await;
    assert_eq!(other, Ok(0));
    let spent = change(&world, &unknown, PaymentState::Spent).await;
    assert_eq!((spent.received, spent.quoted), (Some(4_000), 10_000));
    assert!(spent.proof.is_none());
    assert_eq!(owes().await, Ok(0));
    assert_eq!(checks(&world).await, 2, "received and earned");
    let mut second = new(&world, 2);
    second.mode = PaymentMode::Upto;
    let id = second.id;
    world.store.reserve_payment(second).await.unwrap();
    let pending = world.store.payment(SERVICE, id).await.unwrap();
    change(&world, &pending, PaymentState::Voided).await;
    assert_eq!(owes().await, Ok(1), "served for nothing");
}
