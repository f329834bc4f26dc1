//! `/api/v1/prices/overrides` and the signed table: prices that operators write or take in while the
//! gateway runs (LED-34, LED-35).

use crate::operation::{Call, Content, Method, Operation};
use crate::problem::{Fault, Problem};
use crate::rights::Right;
use crate::router::{Answer, no_content, ok};
use crate::shape::{Member, document, number, text, time};
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Key, Value};
use tollkeep_crypto::{price_key, sha256};
use tollkeep_ledger::price::{Override, Table, TableError, read_overrides};
use tollkeep_store::{Conflict, KeptTable, PriceOverride, StoreError};

const ID_BYTES_MAX: usize = 64;
/// Bytes of an override at most.
const OVERRIDE_BYTES_MAX: usize = 65_536;
/// Bytes of a table that is taken in at most: what a request may bring.
const TABLE_BYTES_MAX: usize = 1_000_000;

const SHOWN: &[Member] = &[
    text("id", ID_BYTES_MAX, "Its name"),
    document("override", "A model as price tables have them, or a markup"),
    time("updated_at", "When it was written"),
];

const PUT: &[Member] = &[document(
    "override",
    "A model as price tables have them, which replaces the whole model of its name; or a markup, such as \
     `{\"markup\": \"11/10\", \"project\": \"prj_…\"}`, of a token (`tid_…`, or its line, `lin_…`), a project or a \
     provider",
)
.required()];

const IMPORT: &[Member] = &[
    text(
        "document",
        TABLE_BYTES_MAX,
        "A price table, of format `tollkeep-prices/1`, as it was signed",
    )
    .required(),
    text(
        "signature",
        100,
        "The Ed25519 signature of its bytes by one of `prices.keys`, in base64",
    )
    .required(),
];

const TABLE: &[Member] = &[
    text("version", 64, "Version of the price table in use"),
    text("sha256", 64, "Hash of its document"),
    time("published_at", "When it was published"),
    number("models", "How many models it has"),
];

const ONE: &[(u16, Content)] = &[(200, Content::Object(&[SHOWN]))];
const IN_USE: &[(u16, Content)] = &[(200, Content::Object(&[TABLE]))];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "price_overrides",
        command: "price overrides",
        about: "Prices that were written while the gateway ran",
        method: Method::Get,
        path: "/api/v1/prices/overrides",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: &[(200, Content::List(SHOWN))],
        refusals: &[],
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "price_override_get",
        command: "price override",
        about: "One of them",
        method: Method::Get,
        path: "/api/v1/prices/overrides/{id}",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: ONE,
        refusals: &[404],
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "price_override_put",
        command: "price set",
        about: "Write a price of your own, for calls from now on",
        method: Method::Put,
        path: "/api/v1/prices/overrides/{id}",
        also: None,
        right: Right::Configuration,
        change: Some(Action::PriceOverride),
        query: &[],
        body: Some(PUT),
        answers: ONE,
        refusals: &[409],
        run: |call| Box::pin(put(call)),
    },
    Operation {
        id: "price_override_delete",
        command: "price unset",
        about: "Take a price of your own away",
        method: Method::Delete,
        path: "/api/v1/prices/overrides/{id}",
        also: None,
        right: Right::Configuration,
        change: Some(Action::PriceOverrideRemove),
        query: &[],
        body: None,
        answers: &[(204, Content::None)],
        refusals: &[404],
        run: |call| Box::pin(delete(call)),
    },
    Operation {
        id: "price_import",
        command: "price import",
        about: "Take in a newer price table that is signed",
        method: Method::Post,
        path: "/api/v1/prices/import",
        also: None,
        right: Right::Configuration,
        change: Some(Action::PriceImport),
        query: &[],
        body: Some(IMPORT),
        answers: IN_USE,
        refusals: &[409],
        run: |call| Box::pin(import(call)),
    },
    Operation {
        id: "price_restore",
        command: "price restore",
        about: "Use the shipped price table again",
        method: Method::Delete,
        path: "/api/v1/prices/import",
        also: None,
        right: Right::Configuration,
        change: Some(Action::PriceImport),
        query: &[],
        body: None,
        answers: IN_USE,
        refusals: &[409],
        run: |call| Box::pin(restore(call)),
    },
];

async fn list(call: Call) -> Answer {
    let kept = call.state.parts.store.prices();
    Ok(ok(&kept.overrides.iter().map(shown).collect::<Json>()))
}

async fn get(call: Call) -> Answer {
    let kept = call.state.parts.store.prices();
    let found = kept.overrides.iter().find(|one| *one.id == *call.id);
    Ok(ok(&shown(found.ok_or_else(Problem::not_found)?)))
}

async fn put(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        mut body,
        ..
    } = call;
    let given = body.take_as("override", |written| {
        let text = written.to_string();
        if !written.is_object() || text.len() > OVERRIDE_BYTES_MAX {
            return Err("want a model or a markup, of at most 64 KiB".to_owned());
        }
        let one = read_one(written).map_err(|error| error.to_string())?;
        Ok((
            text,
            one.ok_or_else(|| "want a model or a markup".to_owned())?,
        ))
    });
    body.done()?;
    let (text, given) = given.ok_or_else(Problem::internal)?;
    if !is_name(&id) {
        let problem =
            "The name wants 1 to 64 of a-z, 0-9, `-`, `_` and `.`, a letter or digit first.";
        return Err(Problem::bad_request(problem));
    }
    let store = &state.parts.store;
    state.check_audit()?;
    let wanted = given.clone();
    let is_of_the_same = move |document: &str| is_of(document, &wanted);
    let written = store.put_price(id.to_string(), text, is_of_the_same);
    let written = match written.await {
        Err(StoreError::Conflict(Conflict::PriceKnown)) => {
            let kept = store.prices();
            let mut others = kept.overrides.iter().filter(|one| *one.id != *id);
            let other = others.find(|one| is_of(&one.document, &given));
            let other = other.ok_or(StoreError::Conflict(Conflict::PriceKnown))?;
            let what = match given {
                Override::Model(_) => "has that model",
                Override::Markup(_) => "marks up the same calls",
            };
            let problem = format!("The override `{}` {what}.", other.id);
            return Err(Problem::conflict(problem));
        }
        written => written?,
    };
    state.parts.runtime.apply_overrides();
    let mut event = state
        .event(&operator, Action::PriceOverride)
        .with_detail(Key::Name, Value::Text(written.id.clone().into()));
    if let Override::Model(model) = &given {
        event = event.with_detail(Key::Model, Value::Text(model.id.to_string().into()));
    }
    state.record(event).await?;
    Ok(ok(&shown(&written)))
}

async fn delete(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body,
        ..
    } = call;
    body.done()?;
    state.check_audit()?;
    state.parts.store.delete_price(id.to_string()).await?;
    state.parts.runtime.apply_overrides();
    let event = state
        .event(&operator, Action::PriceOverrideRemove)
        .with_detail(Key::Name, Value::Text(id.to_string().into()));
    state.record(event).await?;
    Ok(no_content())
}

async fn import(call: Call) -> Answer {
    let Call {
        state,
        operator,
        mut body,
        ..
    } = call;
    // It is taken as it was signed, with its lines.
    let text = body.take_as("document", |written| {
        let text = written
            .as_str()
            .filter(|text| text.len() <= TABLE_BYTES_MAX);
        let text = text.ok_or_else(|| format!("want a text of at most {TABLE_BYTES_MAX} bytes"));
        text.map(str::to_owned)
    });
    let signature = body.text("signature");
    body.done()?;
    let (text, signature) = (text.unwrap_or_default(), signature.unwrap_or_default());
    let settings = state.settings();
    check_no_file(&settings.prices)?;
    // Who may say so comes before what is said.
    let keys = &settings.prices.keys;
    let is_signed = |key: &String| price_key::has_signed(key, text.as_bytes(), &signature);
    if !keys.iter().any(is_signed) {
        let message = match keys.is_empty() {
            true => "nobody may sign price tables: `prices.keys` has no key",
            false => "is not that of one of `prices.keys` for these bytes",
        };
        return Err(fault("/signature", message.to_owned()));
    }
    let hash = sha256(&[text.as_bytes()]);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let table = Table::read(text.as_bytes(), &hash);
    let table = table.map_err(|error| fault("/document", error.to_string()))?;
    let before = state.parts.runtime.prices();
    if table.published_at <= before.about().published_at {
        let (version, _) = before.version();
        let problem = format!("The table in use, {version}, is not older than this one.");
        return Err(Problem::conflict(problem));
    }
    state.check_audit()?;
    let kept = KeptTable {
        sha256: hash,
        version: table.version.to_string(),
        document: text,
        imported_at: state.parts.store.now(),
    };
    state.parts.store.use_price_table(Some(kept)).await?;
    state.parts.runtime.apply_overrides();
    let event = state
        .event(&operator, Action::PriceImport)
        .with_detail(Key::Name, Value::Text(table.version.to_string().into()));
    state.record(event).await?;
    Ok(ok(&told(&table, table.models.len())))
}

async fn restore(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
    body.done()?;
    check_no_file(&state.settings().prices)?;
    state.check_audit()?;
    state.parts.store.use_price_table(None).await?;
    state.parts.runtime.apply_overrides();
    let book = state.parts.runtime.prices();
    let version = book.version().0.to_owned();
    let event = state
        .event(&operator, Action::PriceImport)
        .with_detail(Key::Name, Value::Text(version.into()));
    state.record(event).await?;
    Ok(ok(&told(book.about(), book.models().len())))
}

/// A table of the settings stands before all others.
fn check_no_file(prices: &tollkeep_config::settings::Prices) -> Result<(), Problem> {
    match &prices.file {
        None => Ok(()),
        Some(_) => Err(Problem::conflict(
            "The settings name the price table: change it there, at `prices.file`.",
        )),
    }
}

fn fault(path: &str, message: String) -> Problem {
    Problem::invalid(vec![Fault {
        path: path.to_owned(),
        message,
    }])
}

fn is_name(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().next().is_some_and(is_plain)
        && id
            .bytes()
            .all(|byte| is_plain(byte) || matches!(byte, b'-' | b'_' | b'.'))
}

fn read_one(document: Json) -> Result<Option<Override>, TableError> {
    Ok(read_overrides(vec![document])?.pop())
}

/// Whether this document is of the same model, or of the same calls.
fn is_of(document: &str, given: &Override) -> bool {
    let document = serde_json::from_str(document).unwrap_or_default();
    matches!(read_one(document), Ok(Some(other)) if other.is_of_the_same(given))
}

fn shown(one: &PriceOverride) -> Json {
    let document: Json = serde_json::from_str(&one.document).unwrap_or_default();
    json!({ "id": one.id, "override": document, "updated_at": one.updated_at })
}

fn told(table: &Table, models: usize) -> Json {
    json!({
        "version": table.version,
        "sha256": table.sha256,
        "published_at": table.published_at,
        "models": models,
    })
}
