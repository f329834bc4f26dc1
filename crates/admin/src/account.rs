//! `/api/v1/accounts`: prepaid accounts, and what is moved on them by hand (LED-65a, LED-66).

mod members;

use self::members::{ADJUST, CREDIT, DEBIT, ENTRY, OPEN, REFUND, SHOWN};
use crate::State;
use crate::authn::Operator;
use crate::budget::{scope_of, usd};
use crate::members::Members;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, next_cursor};
use crate::problem::{Fault, Problem};
use crate::rights::Right;
use crate::router::{Answer, created, no_content, ok};
use crate::shape::{bounded, number, text};
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Event, Key, Value};
use tollkeep_config::settings::{BudgetScope, limit_of};
use tollkeep_ledger::amount::{Amount, Delta};
use tollkeep_ledger::budget::Scope as Counts;
use tollkeep_ledger::posting::{Account, Unit};
use tollkeep_ledger::prepaid::Holder;
use tollkeep_store::ledger::{AccountEntry, Movement, digests};
use tollkeep_store::{AccountFilter, After, NewAccount, PrepaidAccount, Scope, TenantRef};
use tollkeep_types::{AccountId, HoldId};

/// An operation on one account that moves something.
macro_rules! moving {
    ($id:literal, $verb:literal, $about:literal, $action:ident, $body:ident, $run:ident) => {
        Operation {
            id: concat!("account_", $id),
            command: concat!("account ", $verb),
            about: $about,
            method: Method::Post,
            path: concat!("/api/v1/accounts/{account}/", $verb),
            also: None,
            right: Right::Money,
            change: Some(Action::$action),
            query: &[],
            body: Some($body),
            answers: &[(200, Content::Object(&[SHOWN]))],
            refusals: &[409],
            run: |call| Box::pin($run(call)),
        }
    };
}

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "account_list",
        command: "account list",
        about: "Prepaid accounts, the newest first; closed ones too",
        method: Method::Get,
        path: "/api/v1/accounts",
        also: None,
        right: Right::Read,
        change: None,
        query: &[
            LIMIT,
            CURSOR,
            text(
                "holder",
                64,
                "Those of this line of tokens, project or tenant, by its id",
            ),
        ],
        body: None,
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[],
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "account_open",
        command: "account open",
        about: "Open a prepaid account; from the next call on, all of its holder have to fit it",
        method: Method::Post,
        path: "/api/v1/accounts",
        also: None,
        right: Right::Money,
        change: Some(Action::AccountOpen),
        query: &[],
        body: Some(OPEN),
        answers: &[(201, Content::Object(&[SHOWN]))],
        refusals: &[404, 409],
        run: |call| Box::pin(open(call)),
    },
    Operation {
        id: "account_get",
        command: "account get",
        about: "One prepaid account",
        method: Method::Get,
        path: "/api/v1/accounts/{account}",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: &[(200, Content::Object(&[SHOWN]))],
        refusals: &[],
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "account_entries",
        command: "account entries",
        about: "What moved a prepaid account, the last first",
        method: Method::Get,
        path: "/api/v1/accounts/{account}/entries",
        also: None,
        right: Right::Read,
        change: None,
        query: &[
            bounded("limit", 1, 1_000, "How many at most; 100 if not given"),
            number("before", "Those before this number"),
        ],
        body: None,
        answers: &[(200, Content::List(ENTRY))],
        refusals: &[],
        run: |call| Box::pin(entries(call)),
    },
    moving!(
        "credit",
        "credit",
        "Put what was paid or is given away on a prepaid account",
        MoneyCredit,
        CREDIT,
        credit
    ),
    moving!(
        "debit",
        "debit",
        "Take off a prepaid account what is paid out outside",
        MoneyCredit,
        DEBIT,
        debit
    ),
    moving!(
        "refund",
        "refund",
        "Give back of what a call was charged, once for each call",
        MoneyRefund,
        REFUND,
        refund
    ),
    moving!(
        "adjust",
        "adjust",
        "Put a prepaid account right by hand, at the operator's cost or gain",
        MoneyAdjust,
        ADJUST,
        adjust
    ),
    Operation {
        id: "account_close",
        command: "account close",
        about: "Close an empty prepaid account; its entries stay",
        method: Method::Delete,
        path: "/api/v1/accounts/{account}",
        also: None,
        right: Right::Money,
        change: Some(Action::AccountClose),
        query: &[],
        body: None,
        answers: &[(204, Content::None)],
        refusals: &[409],
        run: |call| Box::pin(close(call)),
    },
];

async fn list(call: Call) -> Answer {
    let (state, operator, query) = (&call.state, &call.operator, &call.query);
    let holder = query.get("holder").map(str::to_owned);
    let place = format!("accounts {holder:?}");
    let page = query.page(state, &place)?;
    let filter = AccountFilter { holder };
    let store = &state.parts.store;
    let page = store.accounts(operator.scope(), filter, page).await?;
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| After {
        created_at: last.opened_at,
        id: last.of.id,
    });
    let data: Vec<Json> = page.rows.iter().map(shown).collect();
    Ok(ok(&json!({
        "data": data,
        "has_more": page.more,
        "next_cursor": next_cursor(state, &place, last),
    })))
}

async fn open(call: Call) -> Answer {
    let Call {
        state,
        operator,
        mut body,
        ..
    } = call;
    let (tenant, holder) = (body.text("tenant"), body.text("holder"));
    let unit = body.choice::<String>("unit");
    let name = body.name("name");
    body.done()?;
    let store = &state.parts.store;
    let mut scope = operator.scope();
    if let Some(tenant) = tenant {
        let tenant = store.tenant_by(scope, TenantRef::of(&tenant)).await?;
        scope = Scope::Tenant(tenant.id);
    }
    let tenant = match scope {
        Scope::Tenant(tenant) => tenant,
        Scope::Service(_) => store.default_tenant().id,
    };
    let new = NewAccount {
        tenant,
        holder: holder_of(&state, tenant, &holder.unwrap_or_default()).await?,
        unit: unit_named(unit.as_deref()),
        name: name.unwrap_or_default(),
    };
    state.check_audit()?;
    let account = store.open_account(scope, new).await?;
    state.parts.runtime.apply_overrides();
    state
        .record(event(&state, &operator, Action::AccountOpen, &account))
        .await?;
    let place = format!("/api/v1/accounts/{}", account.of.id);
    Ok(created(&place, &shown(&account)))
}

/// Whoever it names, if that is there and of this tenant.
async fn holder_of(
    state: &State,
    tenant: tollkeep_types::TenantId,
    text: &str,
) -> Result<Holder, Problem> {
    let missing = |message: &str| {
        Problem::invalid(vec![Fault {
            path: "/holder".to_owned(),
            message: message.to_owned(),
        }])
    };
    let scope = if text.starts_with("ten_") {
        if text != tenant.to_string() {
            return Err(missing("want the account's own tenant"));
        }
        BudgetScope::Tenant
    } else if text.starts_with("prj_") {
        BudgetScope::Project(text.to_owned())
    } else {
        let token = text.parse();
        let wrong = "want the id of a token, of a line of tokens, of a project or of a tenant";
        BudgetScope::Token(token.map_err(|_| missing(wrong))?)
    };
    let found = scope_of(&state.parts.store, tenant, scope).await;
    match found.map_err(|error| missing(&error.to_string()))? {
        Counts::Project(id) => Ok(Holder::Project(id)),
        Counts::Token(id) => Ok(Holder::Token(id)),
        Counts::Tenant(_)
        | Counts::Route(_)
        | Counts::Provider(_)
        | Counts::Credential(_)
        | Counts::Model(_)
        | Counts::Tokens(_)
        | Counts::Metadata { .. } => Ok(Holder::Tenant(tenant)),
    }
}

async fn get(call: Call) -> Answer {
    let account = found(&call.state, &call.operator, &call.id).await?;
    Ok(ok(&shown(&account)))
}

async fn entries(call: Call) -> Answer {
    let (scope, query) = (call.operator.scope(), &call.query);
    let number = |name| query.get(name).and_then(|text| text.parse::<u64>().ok());
    let limit = number("limit").and_then(|limit| u32::try_from(limit).ok());
    let ledger = call.state.parts.store.ledger();
    let page = (number("before"), limit.unwrap_or(100));
    let rows = ledger
        .account_entries(scope, id_of(&call.id)?, page)
        .await?;
    Ok(ok(&rows.iter().map(shown_entry).collect::<Json>()))
}

/// What is moved, as it is written.
struct Given {
    account: PrepaidAccount,
    amount: Amount,
    reason: String,
    body: Members,
}

impl Given {
    /// The account, and what all movements say. Other members are still to be taken.
    async fn take(call: &mut Call) -> Result<Self, Problem> {
        let account = found(&call.state, &call.operator, &call.id).await?;
        if !call.state.parts.store.does_it_once() {
            let problem =
                "Idempotency-Key: what moves money needs one, so that it is never moved twice.";
            return Err(Problem::bad_request(problem));
        }
        let none = Members::read(&[], &[])?;
        let mut body = std::mem::replace(&mut call.body, none);
        let unit = body.choice::<String>("unit");
        if unit.is_some_and(|unit| unit != account.of.unit.as_str()) {
            let problem = format!(
                "the account is one of {}, for good",
                account.of.unit.as_str()
            );
            body.fault("unit", problem);
        }
        let measure = account.of.measure();
        let amount = body.take_as("amount", |written| limit_of(measure, &written));
        if amount == Some(Amount::ZERO) {
            body.fault("amount", "must be more than nothing");
        }
        let reason = body.text("reason").unwrap_or_default();
        if reason.trim().is_empty() {
            body.fault("reason", "must say why");
        }
        Ok(Self {
            account,
            amount: amount.unwrap_or_default(),
            reason,
            body,
        })
    }

    /// Does it, and tells of it.
    async fn moved(self, call: &Call, action: Action, movement: Movement) -> Answer {
        let (state, account) = (&call.state, self.account.of.id);
        state.check_audit()?;
        let (ledger, scope) = (state.parts.store.ledger(), call.operator.scope());
        let (entry, made) = ledger.transfer(scope, account, movement).await?;
        let after = state.parts.store.account(scope, account).await?;
        let way = if movement.by < Delta::NONE {
            "down"
        } else {
            "up"
        };
        let event = event(state, &call.operator, action, &after)
            .with_detail(Key::Reason, Value::Text(self.reason.into()))
            .with_detail(Key::Amount, number_of(self.amount))
            .with_detail(Key::Kind, Value::Word(way))
            .with_detail(Key::EntryDigest, Value::OwnedWord(digests(&made).into()))
            .with_detail(Key::Version, Value::OwnedWord(entry.to_string().into()));
        state.record(event).await?;
        Ok(ok(&shown(&after)))
    }
}

async fn credit(mut call: Call) -> Answer {
    let mut given = Given::take(&mut call).await?;
    let from = given.body.choice::<String>("from");
    let given = given.checked()?;
    let unit = given.account.of.unit;
    let with = match from.as_deref() {
        Some("promo") => Account::Promo(unit),
        _ => Account::Outside(unit),
    };
    let by = Delta::up(given.amount);
    given
        .moved(&call, Action::MoneyCredit, Movement { by, with })
        .await
}

async fn debit(mut call: Call) -> Answer {
    let given = Given::take(&mut call).await?.checked()?;
    let with = Account::Outside(given.account.of.unit);
    let by = Delta::down(given.amount);
    given
        .moved(&call, Action::MoneyCredit, Movement { by, with })
        .await
}

async fn adjust(mut call: Call) -> Answer {
    let mut given = Given::take(&mut call).await?;
    let direction = given.body.choice::<String>("direction");
    let given = given.checked()?;
    let by = match direction.as_deref() {
        Some("down") => Delta::down(given.amount),
        _ => Delta::up(given.amount),
    };
    let with = Account::OperatorLoss(given.account.of.unit);
    given
        .moved(&call, Action::MoneyAdjust, Movement { by, with })
        .await
}

async fn refund(mut call: Call) -> Answer {
    let mut given = Given::take(&mut call).await?;
    let hold = given.body.take_as("hold", |written| {
        let text = written.as_str().unwrap_or_default();
        text.parse::<HoldId>()
            .map_err(|_| "want the id of a hold, `hld_…`".to_owned())
    });
    let given = given.checked()?;
    let Some(hold) = hold else {
        return Err(Problem::internal());
    };
    let (state, of) = (&call.state, (given.account.of.id, hold));
    state.check_audit()?;
    let (ledger, scope) = (state.parts.store.ledger(), call.operator.scope());
    let (after, made) = ledger.refund(scope, of, given.amount).await?;
    let event = event(state, &call.operator, Action::MoneyRefund, &after)
        .with_detail(Key::Reason, Value::Text(given.reason.into()))
        .with_detail(Key::Amount, number_of(given.amount))
        .with_detail(Key::Hold, Value::OwnedWord(hold.to_string().into()))
        .with_detail(Key::EntryDigest, Value::OwnedWord(digests(&made).into()));
    state.record(event).await?;
    Ok(ok(&shown(&after)))
}

impl Given {
    /// The same, if nothing is wrong with it.
    fn checked(mut self) -> Result<Self, Problem> {
        let none = Members::read(&[], &[])?;
        std::mem::replace(&mut self.body, none).done()?;
        Ok(self)
    }
}

async fn close(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let account = found(state, operator, &call.id).await?;
    state.check_audit()?;
    let store = &state.parts.store;
    let closed = store.close_account(operator.scope(), account.of.id).await?;
    state.parts.runtime.apply_overrides();
    state
        .record(event(state, operator, Action::AccountClose, &closed))
        .await?;
    Ok(no_content())
}

async fn found(state: &State, operator: &Operator, id: &str) -> Result<PrepaidAccount, Problem> {
    Ok(state
        .parts
        .store
        .account(operator.scope(), id_of(id)?)
        .await?)
}

fn id_of(text: &str) -> Result<AccountId, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

fn unit_named(word: Option<&str>) -> Unit {
    let mut units = Unit::ALL.into_iter();
    let named = units.find(|unit| Some(unit.as_str()) == word);
    named.unwrap_or(Unit::Usd)
}

fn number_of(amount: Amount) -> Value<'static> {
    Value::Number(u64::try_from(amount.units()).unwrap_or_default())
}

fn event(
    state: &State,
    operator: &Operator,
    action: Action,
    account: &PrepaidAccount,
) -> Event<'static> {
    let id = account.of.id.to_string();
    state
        .event(operator, action)
        .with_tenant_id(account.of.tenant)
        .with_detail(Key::Name, Value::OwnedWord(id.into()))
}

fn shown(account: &PrepaidAccount) -> Json {
    let of = &account.of;
    let holder = match of.holder {
        Holder::Tenant(id) => id.to_string(),
        Holder::Project(id) => id.to_string(),
        Holder::Token(id) => id.to_string(),
    };
    json!({
        "id": of.id,
        "tenant_id": of.tenant,
        "holder": holder,
        "unit": of.unit.as_str(),
        "name": account.name,
        "balance": account.balance.units(),
        "held": account.held.units(),
        "balance_usd": usd(of.measure(), account.balance),
        "opened_at": account.opened_at,
        "closed_at": account.closed_at,
    })
}

fn shown_entry(entry: &AccountEntry) -> Json {
    json!({
        "number": entry.number,
        "id": entry.id,
        "kind": entry.kind,
        "amount": entry.amount,
        "with": entry.with,
        "request_id": entry.request,
        "corrects": entry.corrects,
        "at": entry.at,
    })
}
