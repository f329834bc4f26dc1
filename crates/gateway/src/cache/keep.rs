//! Keeping an answer: only one that is whole, and only what its upstream gave (LLM-83).

use super::ask::Keeping;
use super::directives::Directives;
use super::plan::Rules;
use super::{Kept, SECOND_NS};
use crate::lifecycle::Exchange;
use crate::plan::Target;
use crate::send::LlmReply;
use crate::stream_back::is_event_stream;
use std::sync::Arc;
use tollkeep_config::settings::CacheScope;
use tollkeep_http1::{AnswerFraming, Known, write};
use tollkeep_llm::exact::Repeated;
use tollkeep_policy::headers;
use tollkeep_types::MonoNanos;

/// Fields of an answer that are told anew each time, or never come back.
const NOT_KEPT: [&[u8]; 5] = [
    b"date",
    b"age",
    b"content-length",
    b"retry-after",
    b"cache-status",
];

/// Adds a piece to a copy, as long as that is short.
pub(crate) fn copy_within(copy: &mut Option<(Vec<u8>, u64)>, data: &[u8]) {
    if let Some((kept, max)) = copy {
        let len = kept.len().saturating_add(data.len());
        if u64::try_from(len).unwrap_or(u64::MAX) <= *max {
            kept.extend_from_slice(data);
        } else {
            *copy = None;
        }
    }
}

/// Where a copy of a body goes, and how long it may get.
pub(crate) type Copying = Option<(Vec<u8>, u64)>;

impl Exchange<'_> {
    /// Where a copy of the body that follows goes, if it may be kept. Where its head says that it may
    /// not, nobody waits for it any longer. HOT: one look where nothing is kept.
    pub(crate) fn copy_to_keep(&mut self) -> Copying {
        let keeping = self.caching.as_ref()?.keeping.as_ref()?;
        let max = keeping.rules.object_bytes_max;
        if !self.may_keep_head(&keeping.rules, max) {
            self.keep_nothing();
            return None;
        }
        Some((Vec::new(), max))
    }

    /// The answer is not kept: whoever waits for it goes by itself.
    pub(crate) fn keep_nothing(&mut self) {
        if let Some(caching) = &mut self.caching {
            caching.keeping = None;
        }
    }

    /// Whether the head of an answer lets it be kept.
    fn may_keep_head(&self, rules: &Rules, max: u64) -> bool {
        let (answer, bytes) = (&self.work.answer, &self.work.answer_bytes);
        // What ends with its connection may have been cut.
        let is_bounded = match answer.framing {
            AnswerFraming::Length(length) => length <= max,
            AnswerFraming::Chunked => true,
            AnswerFraming::None | AnswerFraming::UntilClose => false,
        };
        if answer.status != 200 || !is_bounded {
            return false;
        }
        let values = |wanted: &'static [u8]| {
            let fields = answer.fields.iter();
            let named =
                fields.filter(move |field| field.name.of(bytes).eq_ignore_ascii_case(wanted));
            named.map(|field| field.value.of(bytes))
        };
        // Meant for one caller alone; or decided by more than the request says.
        if values(b"set-cookie").next().is_some() || values(b"vary").any(names_everything) {
            return false;
        }
        let said = Directives::read(values(b"cache-control"));
        rules.ignores_directives || !(said.no_store || said.private || said.no_cache)
    }

    /// Keeps what a model answered, if that may be, and says so to those who wait for it.
    pub(crate) fn keep_model_answer(
        &mut self,
        (target, llm): (&Target, &LlmReply),
        body: &[u8],
        is_stream: bool,
    ) {
        let Some(keeping) = self.take_keeping() else {
            return;
        };
        let llm_facts = self.work.facts.llm.as_ref();
        // A budget that was short let it get no longer: others may have more.
        let is_bounded_by_us = llm_facts.is_some_and(|it| it.output_cap != keeping.output_cap);
        let may_be = |read: Repeated| {
            read.is_complete()
                && !(read.is_cut_short && is_bounded_by_us)
                && (!read.calls_tools || keeping.rules.tools)
                && (!read.is_sealed || keeping.rules.scope == CacheScope::Token)
        };
        let read = match is_stream {
            true => Repeated::of_stream(llm.surface, body),
            false => Repeated::of_body(llm.surface, body),
        };
        let is_coded = self
            .work
            .answer
            .value(&self.work.answer_bytes, Known::ContentEncoding)
            .is_some();
        if !may_be(read) || is_coded {
            return;
        }
        let secret = llm.credential.secret_bytes();
        self.keep(keeping, (target, secret), (body, is_stream));
    }

    /// Keeps what a plain upstream answered.
    pub(crate) fn keep_plain_answer(&mut self, target: &Target, copy: Copying) {
        let Some(keeping) = self.take_keeping() else {
            return;
        };
        let answer = &self.work.answer;
        let kind = answer.value(&self.work.answer_bytes, Known::ContentType);
        let is_whole = match answer.framing {
            AnswerFraming::Length(length) => copy
                .as_ref()
                .is_some_and(|(body, _)| u64::try_from(body.len()) == Ok(length)),
            AnswerFraming::Chunked => true,
            AnswerFraming::None | AnswerFraming::UntilClose => false,
        };
        if let Some((body, _)) = copy.filter(|_| is_whole && !kind.is_some_and(is_event_stream)) {
            self.keep(keeping, (target, b""), (&body, false));
        }
    }

    fn take_keeping(&mut self) -> Option<Keeping> {
        self.caching.as_mut()?.keeping.take()
    }

    fn keep(
        &mut self,
        keeping: Keeping,
        (target, secret): (&Target, &[u8]),
        (body, is_stream): (&[u8], bool),
    ) {
        let Keeping {
            key,
            rules,
            of,
            purges,
            lead,
            ..
        } = keeping;
        let is_long = u64::try_from(body.len()).unwrap_or(u64::MAX) > rules.object_bytes_max;
        if is_long || !self.may_keep_head(&rules, rules.object_bytes_max) {
            return;
        }
        let now = self.worker.shared.clock.mono();
        let Some((ends, age_s)) = self.ends(&rules, now) else {
            return;
        };
        let llm = self.work.facts.llm.as_ref();
        let kept = Arc::new(Kept {
            head: self.head_to_keep((target, secret), body.len()),
            body: body.into(),
            is_stream,
            told: llm.and_then(|llm| llm.told.clone()),
            model_served: llm.and_then(|llm| llm.model_served.clone()),
            kept_at: now,
            age_s,
            ends,
            of,
        });
        let is_kept = self.worker.shared.cache.keep((key, purges), &kept, now);
        if let Some(lead) = lead {
            lead.land(&kept);
        }
        if let Some(caching) = self.caching.as_mut().filter(|_| is_kept) {
            caching.note_stored();
        }
    }

    /// Until when it may be given again, and how old it is now. `None`: it is stale already.
    fn ends(&self, rules: &Rules, now: MonoNanos) -> Option<(MonoNanos, u64)> {
        let (answer, bytes) = (&self.work.answer, &self.work.answer_bytes);
        let mut ttl_s = rules.ttl.as_secs();
        let mut age_s = 0;
        if !rules.ignores_directives {
            let values = |wanted: &'static [u8]| {
                let fields = answer.fields.iter();
                let named =
                    fields.filter(move |field| field.name.of(bytes).eq_ignore_ascii_case(wanted));
                named.map(|field| field.value.of(bytes))
            };
            let said = Directives::read(values(b"cache-control"));
            let age = values(b"age")
                .next()
                .and_then(|age| std::str::from_utf8(age).ok());
            // An age that can't be read is none that may be relied on.
            age_s = age.map_or(0, |age| age.trim().parse().unwrap_or(u64::MAX));
            if let Some(fresh_s) = said.s_maxage.or(said.max_age) {
                ttl_s = ttl_s.min(fresh_s.saturating_sub(age_s));
            }
        }
        let ends = now.0.saturating_add(ttl_s.saturating_mul(SECOND_NS));
        (ttl_s > 0).then_some((MonoNanos(ends), age_s.min(u64::from(u32::MAX))))
    }

    /// A head like the upstream's, without what is told anew and without secrets.
    fn head_to_keep(&self, (target, secret): (&Target, &[u8]), len: usize) -> Box<[u8]> {
        let bytes = &self.work.answer_bytes;
        let mut head = b"HTTP/1.1 200 OK\r\ncontent-length: ".to_vec();
        write::number(&mut head, u64::try_from(len).unwrap_or(u64::MAX));
        head.extend_from_slice(b"\r\n");
        for field in self.work.answer.fields.iter().filter(|field| !field.hop) {
            let (name, value) = (field.name.of(bytes), field.value.of(bytes));
            let is_anew = NOT_KEPT.iter().any(|own| headers::same_field(name, own))
                || headers::tells_upstream_limits(name)
                || headers::response_field_never_returned(name);
            let is_secret = headers::carries_credential(value, secret) || target.brings_back(value);
            if !is_anew && !is_secret {
                write::field(&mut head, name, value);
            }
        }
        write::end(&mut head);
        head.into()
    }
}

/// `Vary: *`: by what nobody can say.
fn names_everything(value: &[u8]) -> bool {
    let mut names = value.split(|byte| *byte == b',');
    names.any(|name| name.trim_ascii() == b"*")
}

#[cfg(test)]
mod tests {
    use super::*;

    // LLM-83
    #[test]
    fn a_copy_ends_where_it_gets_too_long() {
        let mut copy = Some((Vec::new(), 4));
        copy_within(&mut copy, b"abc");
        copy_within(&mut copy, b"d");
        assert_eq!(copy.as_ref().unwrap().0, b"abcd");
        copy_within(&mut copy, b"e");
        assert_eq!(copy, None);
        copy_within(&mut copy, b"f");
        assert_eq!(copy, None);
    }

    #[test]
    fn a_star_among_names_is_everything() {
        for (value, want) in [
            ("*", true),
            ("accept, *", true),
            ("accept", false),
            ("", false),
        ] {
            assert_eq!(names_everything(value.as_bytes()), want, "{value}");
        }
    }
}
