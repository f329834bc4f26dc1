//! The body of a call, as far as its cost is bounded by it.

use std::sync::LazyLock;
use tollkeep_ledger::bound::{Options, bound};
use tollkeep_ledger::price::{Book, Provider, Table, UnknownModel};
use tollkeep_llm::body::CallView;
use tollkeep_llm::demand::{Form, Known, read};
use tollkeep_types::WallMillis;

static BOOK: LazyLock<Option<Book>> = LazyLock::new(|| {
    let table = br#"{"format":"tollkeep-prices/1","version":"1","published_at":"2026-01-01T00:00:00Z","models":[
        {"model":"m","max_input":100000,"max_output":9000,"image_tokens_max":1500,"rates":[{"from":"2020-01-01T00:00:00Z",
        "base":{"in_text":3000000,"in_audio":4000000,"out_text":15000000,"out_audio":20000000,"out_image":30000000,
        "web_search":10000000000,"web_fetch":0,"file_search":2500000,"grounded_prompt":1},
        "tiers":[{"over_input_tokens":2000,"rates":{"in_text":6000000}}]}]}]}"#;
    let table = Table::read(table, "0").ok()?;
    Some(Book::new(table, Vec::new(), UnknownModel::Refuse))
});

/// The bytes are the body of a call.
///
/// Laws: reading ends; a cap is never above the limit, and never written above what the caller
/// asked for; text that is added never makes a bound smaller.
pub fn bound_of(data: &[u8]) {
    let Some(book) = &*BOOK else { return };
    let provider = Provider {
        name: "p",
        kind: "p",
        self_hosted: false,
    };
    let Ok(found) = book.find(provider, "m", WallMillis(1_795_342_530_123)) else {
        return;
    };
    let is_body = CallView::read(data, 128).is_ok();
    for form in Form::ALL {
        let demand = read(form, data, &Known::default());
        assert!(demand.media_bytes <= demand.bytes, "{form:?}");
        let options = Options {
            max_output_tokens: Some(5000),
            ..Options::default()
        };
        let Ok(whole) = bound(&demand, found, &options) else {
            continue;
        };
        if let Some(cap) = whole.cap {
            let asked = demand.cap.unwrap_or(5000);
            assert!(cap.tokens <= asked.min(5000), "{form:?} {cap:?}");
        }
        let mut longer = demand.clone();
        longer.bytes = longer.bytes.saturating_add(1000);
        let longer = bound(&longer, found, &options);
        assert!(
            longer.is_ok_and(|longer| longer.amount >= whole.amount),
            "{form:?}"
        );
        if is_body {
            let again = bound(&read(form, data, &Known::default()), found, &options);
            assert_eq!(again.ok(), Some(whole), "{form:?}");
        }
    }
}
