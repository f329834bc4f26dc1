//! Usage and cost of every vector, from the bytes of an answer to nano-dollars.

use crate::vectors::{ANY, LineWant, UsageCase, UsageWant, vectors};
use tollkeep_ledger::price::{Book, Cost, CostError};
use tollkeep_ledger::usage::{Estimating, settle};
use tollkeep_llm::body::CallView;
use tollkeep_llm::surface::UsageDialect;
use tollkeep_llm::usage::{Asked, BatchForm, BatchLine, BodyEnd, BodyUsage, StreamUsage};
use tollkeep_types::usage::{Line, Told, UnknownUsage, UsageReport};

impl UsageCase {
    fn dialect(&self) -> UsageDialect {
        match &*self.dialect {
            "openai.chat" | "openai.completions" => UsageDialect::Chat,
            "openai.responses" => UsageDialect::Responses,
            "openai.embeddings" => UsageDialect::Embeddings,
            "openai.images" => UsageDialect::Images,
            "openai.transcription" => UsageDialect::Transcription,
            "openai.speech" => UsageDialect::Speech,
            "openai.realtime" => UsageDialect::Realtime,
            "anthropic.messages" => UsageDialect::Anthropic,
            "gemini.generate" => UsageDialect::Gemini,
            other => panic!("{other}"),
        }
    }

    fn asked(&self) -> Asked {
        let Some(request) = &self.request else {
            return Asked::default();
        };
        let body = request.to_string();
        let mut asked = Asked::of(&CallView::read(body.as_bytes(), 128).unwrap());
        let text = |name: &str| request.get(name).and_then(serde_json::Value::as_str);
        if self.dialect == "openai.speech" {
            asked.chars_in = text("input").unwrap_or_default().chars().count() as u64;
        }
        let quality = text("quality").unwrap_or("standard");
        let size = text("size").unwrap_or("1024x1024");
        asked.image_sort = Some(format!("{quality}:{size}").into());
        asked
    }

    /// What is told, and the model that is named, if the bytes of a stream come in these pieces.
    fn told(&self, pieces: Option<&[&[u8]]>) -> (Told, Option<String>) {
        let asked = self.asked();
        if let Some(pieces) = pieces {
            let mut stream = StreamUsage::new(self.dialect(), asked);
            for piece in pieces {
                stream.feed(piece);
            }
            let report = stream.finish(BodyEnd::Clean);
            return (report.told, report.model.map(String::from));
        }
        let body = match (&self.response, &self.response_text) {
            (Some(response), _) => response.to_string(),
            (None, Some(text)) => text.clone(),
            (None, None) => panic!("{}", self.id),
        };
        let body = body.as_bytes();
        let read = match &*self.dialect {
            "openai.batch_line" => BatchLine::read(BatchForm::OpenAi, &asked, body),
            "anthropic.batch_line" => BatchLine::read(BatchForm::Anthropic, &asked, body),
            _ => BodyUsage::read(self.dialect(), &asked, self.status.unwrap_or(200), body),
        };
        (read.told, read.model.map(std::borrow::Cow::into_owned))
    }

    fn judged(&self, book: &Book, pieces: Option<&[&[u8]]>) -> UsageWant {
        let (told, served) = self.told(pieces);
        let at = self.at.parse().unwrap();
        let facts = book.find(ANY, &self.model, at).unwrap().model.facts;
        let by = || {
            let hold = self.hold?;
            Some(Estimating {
                input_tokens: hold.in_tokens,
                cap: Some(hold.out_cap),
                hidden_reasoning: facts.hidden_reasoning,
                billing_goes_on: false,
            })
        };
        let mut told = told;
        settle(&mut told, by);
        let (report, flags) = (told.report, told.flags);
        let cost = Cost {
            provider: ANY,
            asked: &self.model,
            served: served.as_deref(),
            at,
        };
        let mut flags: Vec<String> = flags.iter().map(|flag| flag.name().to_owned()).collect();
        if let UsageReport::Unknown(why) = report {
            // The file has one word for whatever cannot be read.
            let why = match why {
                UnknownUsage::Unreadable | UnknownUsage::TooLarge => UnknownUsage::Malformed,
                UnknownUsage::Absent | UnknownUsage::Malformed | UnknownUsage::Cut => why,
            };
            if !flags.iter().any(|flag| flag == why.name()) {
                flags.push(why.name().to_owned());
            }
        }
        flags.sort();
        let (quality, settle) = match &report {
            UsageReport::Reported(_) => ("reported", "usage"),
            UsageReport::Estimated(_) => ("estimated", "usage"),
            UsageReport::Released => ("reported", "release"),
            UsageReport::Unknown(_) => ("unknown", "hold"),
        };
        let priced = report.lines().map(|lines| cost.of(book, lines));
        let unpriced = match &priced {
            Some(Err(CostError::Unpriced(names))) => names.clone(),
            Some(Err(other)) => panic!("{}: {other}", self.id),
            Some(Ok(_)) | None => Vec::new(),
        };
        let lines = report.lines().into_iter().flat_map(|lines| lines.iter());
        UsageWant {
            quality: quality.to_owned(),
            settle: settle.to_owned(),
            flags,
            lines: lines.map(|line| told_line(book, cost, line)).collect(),
            cost_nano_usd: match (&report, priced) {
                (UsageReport::Released, _) => Some(0),
                (_, Some(Ok(cost))) => Some(cost.get()),
                (_, Some(Err(_)) | None) => None,
            },
            unpriced,
        }
    }
}

fn told_line(book: &Book, cost: Cost<'_>, line: &Line) -> LineWant {
    let price = cost.line(book, line).unwrap();
    let tokens = line.usage.iter();
    let tokens = tokens.map(|(class, count)| (class.name().to_owned(), count.into()));
    let units = line.usage.units();
    let units = units.map(|(unit, count)| (unit.name().to_owned(), count.into()));
    let images = line.usage.images();
    let images = images.map(|images| (format!("image:{}", images.sort), images.count.into()));
    let modifiers = line.modifiers.iter();
    LineWant {
        model: price.found.model.id.to_string(),
        service: line.service.name().to_owned(),
        modifiers: modifiers
            .map(|(kind, value)| format!("{kind}:{value}"))
            .collect(),
        usage: tokens.chain(units).chain(images).collect(),
        tier: price
            .tier
            .map_or("base".to_owned(), |over| format!("over_{over}")),
    }
}

// LED-3 LED-10 LED-11 LED-12 LED-13 LED-14 LED-20 LED-21 LED-22 LED-23 LED-24 LED-25 LED-26 LED-28 LED-31 LED-32
#[test]
fn every_vector_reads_and_costs_what_it_says() {
    let vectors = vectors();
    let book = vectors.book();
    let mut wrong = Vec::new();
    assert_eq!(vectors.usage.len(), 148);
    for mut case in vectors.usage {
        case.expect.flags.sort();
        let mut check = |pieces: Option<&[&[u8]]>, how: &str| {
            let judged = case.judged(&book, pieces);
            if judged != case.expect {
                let want = &case.expect;
                wrong.push(format!("{} {how}: {judged:#?}\nwant {want:#?}", case.id));
            }
        };
        let Some(sse) = &case.sse else {
            check(None, "whole");
            continue;
        };
        let bytes = sse.as_bytes();
        check(Some(&[bytes]), "whole");
        check(Some(&bytes.chunks(1).collect::<Vec<_>>()), "byte by byte");
        for at in 1..bytes.len() {
            let (left, right) = bytes.split_at(at);
            check(Some(&[left, right]), "cut");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
