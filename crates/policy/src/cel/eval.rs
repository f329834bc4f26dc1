//! Asking a condition, with so much effort and no more.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is of no kind that is named is of the wrong kind, whatever it is"
)]
#![expect(
    clippy::float_arithmetic,
    reason = "the language has fractions; no money is reckoned here"
)]

use super::calls::{call, in_time, joined};
use super::tree::{Binary, Each, Expr, Fact, Macro};
use super::value::{Value, entry};
use super::{Facts, Failed, Field, Given, HookFacts};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;
use tollkeep_types::WallMillis;

/// What is asked about.
#[derive(Clone, Copy)]
pub(super) enum About<'a> {
    /// A call, by a policy.
    Call(&'a Facts<'a>),
    /// What a hook is handed.
    Hook(&'a HookFacts),
}

pub(super) struct Eval<'a> {
    about: About<'a>,
    left: u32,
    /// The entries that the macros around are at.
    own: Vec<Value<'a>>,
}

type Valued<'a> = Result<Value<'a>, Failed>;

impl<'a> Eval<'a> {
    pub(super) const fn new(about: About<'a>, cost_max: u32) -> Self {
        Self {
            about,
            left: cost_max,
            own: Vec::new(),
        }
    }

    pub(super) fn pay(&mut self, cost: u32) -> Result<(), Failed> {
        self.left = self.left.checked_sub(cost).ok_or(Failed::Cost)?;
        Ok(())
    }

    /// A value that was copied.
    fn paid(&mut self, value: Value<'a>) -> Valued<'a> {
        self.pay(value.weight())?;
        Ok(value)
    }

    /// The value of a part.
    pub(super) fn value(&mut self, part: &'a Expr) -> Valued<'a> {
        self.pay(1)?;
        Ok(match part {
            Expr::Null => Value::Null,
            Expr::Bool(is_so) => Value::Bool(*is_so),
            Expr::Int(number) => Value::Int(*number),
            Expr::Double(number) => Value::Double(*number),
            Expr::Text(text) => Value::Text(Cow::Borrowed(text)),
            Expr::Time(ms) => Value::Time(*ms),
            Expr::Span(ms) => Value::Span(*ms),
            Expr::List(parts) => Value::List(self.values(parts)?.into()),
            Expr::Map(pairs) => self.map(pairs)?,
            Expr::Fact(fact) => self.fact(*fact)?,
            Expr::Root(name) => self.root(name)?,
            Expr::Own(own) => {
                let own = self.own.get(*own).cloned().ok_or(Failed::Missing)?;
                self.paid(own)?
            }
            Expr::Member(of, name) => self.member(of, name)?.ok_or(Failed::Missing)?,
            Expr::Has(of, name) => Value::Bool(self.member(of, name)?.is_some()),
            Expr::Index(parts) => self.index(parts)?,
            Expr::Not(of) => Value::Bool(!self.truth(of)?),
            Expr::Minus(of) => match self.value(of)? {
                Value::Int(number) => Value::Int(number.checked_neg().ok_or(Failed::Range)?),
                Value::Double(number) => Value::Double(-number),
                Value::Span(ms) => Value::Span(ms.checked_neg().ok_or(Failed::Range)?),
                _ => return Err(Failed::Type),
            },
            Expr::Both(parts) => Value::Bool(self.joint(parts, false)?),
            Expr::Either(parts) => Value::Bool(self.joint(parts, true)?),
            Expr::If(parts) => {
                let [asked, yes, no] = &**parts;
                let chosen = if self.truth(asked)? { yes } else { no };
                self.value(chosen)?
            }
            Expr::Binary(sign, parts) => self.binary(*sign, parts)?,
            Expr::Call(function, parts) => {
                let values = self.values(parts)?;
                // How long something is, is told without looking at it all.
                let weight = |value: &Value<'_>| match value {
                    Value::Given(_) => 1,
                    value => value.weight(),
                };
                self.pay(values.iter().map(weight).fold(0, u32::saturating_add))?;
                call(*function, &values)?
            }
            Expr::Macro(each) => self.each(each)?,
        })
    }

    fn values(&mut self, parts: &'a [Expr]) -> Result<Vec<Value<'a>>, Failed> {
        parts.iter().map(|part| self.value(part)).collect()
    }

    fn truth(&mut self, part: &'a Expr) -> Result<bool, Failed> {
        match self.value(part)? {
            Value::Bool(is_so) => Ok(is_so),
            _ => Err(Failed::Type),
        }
    }

    /// All or any. What decides alone decides, whatever the others are: also if they fail.
    fn joint(&mut self, parts: &'a [Expr], decides: bool) -> Result<bool, Failed> {
        let mut all = Ok(!decides);
        for part in parts {
            match self.truth(part) {
                Ok(is_so) if is_so == decides => return Ok(decides),
                Err(Failed::Cost) => return Err(Failed::Cost),
                told => all = all.and(told),
            }
        }
        all
    }

    fn map(&mut self, pairs: &'a [(Expr, Expr)]) -> Valued<'a> {
        let mut map: Vec<(Value<'a>, Value<'a>)> = Vec::new();
        for (key, value) in pairs {
            let key = self.value(key)?;
            if !matches!(key, Value::Bool(_) | Value::Int(_) | Value::Text(_)) {
                return Err(Failed::Type);
            }
            self.pay(u32::try_from(map.len()).unwrap_or(u32::MAX))?;
            if entry(&map, &key)?.is_some() {
                return Err(Failed::Type);
            }
            let value = self.value(value)?;
            map.push((key, value));
        }
        Ok(Value::Map(map.into()))
    }

    /// A variable of a hook.
    fn root(&self, name: &str) -> Valued<'a> {
        let About::Hook(facts) = self.about else {
            return Err(Failed::Missing);
        };
        let mut known = facts.variables.iter();
        let found = known.find(|(known, _)| *known == name);
        found
            .map(|(_, given)| Value::given(given))
            .ok_or(Failed::Missing)
    }

    fn fact(&self, fact: Fact) -> Valued<'a> {
        let facts = match (self.about, fact) {
            (About::Call(facts), _) => facts,
            (About::Hook(facts), Fact::Now) => return time(facts.now),
            (About::Hook(_), _) => return Err(Failed::Missing),
        };
        let text = |text: &'a str| Ok(Value::Text(Cow::Borrowed(text)));
        let number = |number: u64| Ok(Value::Int(i64::try_from(number).unwrap_or(i64::MAX)));
        // Whoever is nobody has no names.
        let of_caller = |named: Option<&'a str>| text(named.unwrap_or_default());
        match fact {
            Fact::Method => text(facts.method),
            Fact::Path => text(facts.path),
            Fact::Query => text(facts.query),
            Fact::Size => number(facts.size),
            Fact::Headers => Ok(Value::Headers),
            Fact::Ip => Ok(Value::Text(facts.ip.to_string().into())),
            Fact::IsKnown => Ok(Value::Bool(facts.caller.is_some())),
            Fact::Token => of_caller(facts.caller.as_ref().map(|caller| caller.token)),
            Fact::Project => of_caller(facts.caller.as_ref().map(|caller| caller.project)),
            Fact::ProjectId => of_caller(facts.caller.as_ref().map(|caller| caller.project_id)),
            Fact::TenantId => of_caller(facts.caller.as_ref().map(|caller| caller.tenant_id)),
            Fact::Model => text(facts.model),
            Fact::TokensIn => number(facts.tokens_in),
            Fact::Now => time(facts.now),
        }
    }

    fn member(&mut self, of: &'a Expr, name: &'a str) -> Result<Option<Value<'a>>, Failed> {
        let of = self.value(of)?;
        self.entry(&of, &Value::Text(Cow::Borrowed(name)))
    }

    /// The entry of a key, if there is one.
    fn entry(&mut self, of: &Value<'a>, key: &Value<'a>) -> Result<Option<Value<'a>>, Failed> {
        match (of, key) {
            (Value::Map(map), key) => {
                self.pay(u32::try_from(map.len()).unwrap_or(u32::MAX))?;
                let found = entry(map, key)?.cloned();
                found.map(|value| self.paid(value)).transpose()
            }
            (Value::Headers, Value::Text(name)) => {
                // A head has some hundred fields at most.
                self.pay(100)?;
                let About::Call(facts) = self.about else {
                    return Err(Failed::Missing);
                };
                match (facts.field)(&name.to_ascii_lowercase()) {
                    Field::Never => Ok(None),
                    Field::Once(value) => self.paid(Value::Text(value.into())).map(Some),
                    Field::Unclear => Err(Failed::Missing),
                }
            }
            (Value::Given(given), Value::Text(name)) => self.given_entry(given, name),
            _ => Err(Failed::Type),
        }
    }

    fn given_entry(&mut self, of: &'a Given, name: &str) -> Result<Option<Value<'a>>, Failed> {
        match of {
            Given::Map(map) => {
                self.pay(u32::try_from(map.len()).unwrap_or(u32::MAX))?;
                let found = map.iter().find(|(known, _)| **known == *name);
                match found.map(|(_, given)| given) {
                    Some(Given::Unclear) => Err(Failed::Missing),
                    found => Ok(found.map(Value::given)),
                }
            }
            Given::Fields(fields) => {
                self.pay(u32::try_from(fields.len()).unwrap_or(u32::MAX))?;
                let mut fields = fields.iter();
                let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
                match found {
                    None => Ok(None),
                    Some((_, Some(value))) => {
                        self.paid(Value::Text(Cow::Borrowed(value))).map(Some)
                    }
                    Some((_, None)) => Err(Failed::Missing),
                }
            }
            Given::Null
            | Given::Unclear
            | Given::Bool(_)
            | Given::Int(_)
            | Given::Double(_)
            | Given::Text(_)
            | Given::List(_) => Err(Failed::Type),
        }
    }

    fn index(&mut self, parts: &'a [Expr; 2]) -> Valued<'a> {
        let [of, index] = parts;
        let (of, index) = (self.value(of)?, self.value(index)?);
        if let (Value::Given(Given::List(list)), Value::Int(at)) = (&of, &index) {
            let at = usize::try_from(*at).map_err(|_| Failed::Missing)?;
            return list.get(at).map(Value::given).ok_or(Failed::Missing);
        }
        if let (Value::List(list), Value::Int(at)) = (&of, &index) {
            let at = usize::try_from(*at).map_err(|_| Failed::Missing)?;
            return self.paid(list.get(at).cloned().ok_or(Failed::Missing)?);
        }
        self.entry(&of, &index)?.ok_or(Failed::Missing)
    }

    fn binary(&mut self, sign: Binary, parts: &'a [Expr; 2]) -> Valued<'a> {
        let [one, two] = parts;
        let (one, two) = (self.value(one)?, self.value(two)?);
        self.pay(one.weight().saturating_add(two.weight()))?;
        let order = || one.order(&two).ok_or(Failed::Type);
        let is_so = match sign {
            Binary::Equal => one.equals(&two)?,
            Binary::Unequal => !one.equals(&two)?,
            Binary::Less => order()? == Ordering::Less,
            Binary::AtMost => order()? != Ordering::Greater,
            Binary::More => order()? == Ordering::Greater,
            Binary::AtLeast => order()? != Ordering::Less,
            Binary::In => self.is_in(&one, &two)?,
            Binary::Add
            | Binary::Subtract
            | Binary::Multiply
            | Binary::Divide
            | Binary::Remainder => return arithmetic(sign, &one, &two),
        };
        Ok(Value::Bool(is_so))
    }

    fn is_in(&mut self, one: &Value<'a>, all: &Value<'a>) -> Result<bool, Failed> {
        let all = match all {
            Value::Given(Given::List(_)) => &all.clone().opened(),
            _ => all,
        };
        let Value::List(list) = all else {
            return Ok(self.entry(all, one)?.is_some());
        };
        let each = one
            .weight()
            .saturating_mul(u32::try_from(list.len()).unwrap_or(u32::MAX));
        self.pay(each)?;
        for own in list.iter() {
            if own.equals(one)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn each(&mut self, each: &'a Macro) -> Valued<'a> {
        let over = self.value(&each.over)?;
        if let Value::Given(given) = &over {
            self.pay(given.len())?;
        }
        let entries: Rc<[Value<'a>]> = match over.opened() {
            Value::List(list) => list,
            Value::Map(map) => map.iter().map(|(key, _)| key.clone()).collect(),
            _ => return Err(Failed::Type),
        };
        let (mut found, mut kept) = (0_usize, Vec::new());
        let mut failed = None;
        for own in entries.iter() {
            self.pay(own.weight())?;
            self.own.push(own.clone());
            let judged = self.one_of(each, own, &mut kept);
            self.own.pop();
            match (judged, each.what) {
                (Ok(true), Each::Exists) => return Ok(Value::Bool(true)),
                (Ok(false), Each::All) => return Ok(Value::Bool(false)),
                (Ok(is_so), _) => found = found.saturating_add(usize::from(is_so)),
                (Err(Failed::Cost), _) => return Err(Failed::Cost),
                // As with `&&` and `||`: another entry may decide alone.
                (Err(error), Each::All | Each::Exists) => failed = Some(error),
                (Err(error), Each::ExistsOne | Each::Filter | Each::Map) => return Err(error),
            }
        }
        if let Some(failed) = failed {
            return Err(failed);
        }
        Ok(match each.what {
            Each::All => Value::Bool(true),
            Each::Exists => Value::Bool(false),
            Each::ExistsOne => Value::Bool(found == 1),
            Each::Filter | Each::Map => Value::List(kept.into()),
        })
    }

    /// What a macro says of one entry, which it may keep.
    fn one_of(
        &mut self,
        each: &'a Macro,
        own: &Value<'a>,
        kept: &mut Vec<Value<'a>>,
    ) -> Result<bool, Failed> {
        if each.what != Each::Map {
            let is_so = self.truth(&each.body)?;
            if is_so && each.what == Each::Filter {
                kept.push(own.clone());
            }
            return Ok(is_so);
        }
        if let Some(only) = &each.only
            && !self.truth(only)?
        {
            return Ok(false);
        }
        kept.push(self.value(&each.body)?);
        Ok(true)
    }
}

fn time<'a>(at: WallMillis) -> Valued<'a> {
    let ms = i64::try_from(at.0).map_err(|_| Failed::Range)?;
    Ok(Value::Time(ms))
}

fn arithmetic<'a>(sign: Binary, one: &Value<'a>, two: &Value<'a>) -> Valued<'a> {
    let of_time = |ms: Option<i64>| {
        let ms = ms.filter(|ms| in_time(*ms));
        ms.map(Value::Time).ok_or(Failed::Range)
    };
    match (sign, one, two) {
        (_, Value::Int(one), Value::Int(two)) => {
            let number = match sign {
                Binary::Add => one.checked_add(*two),
                Binary::Subtract => one.checked_sub(*two),
                Binary::Multiply => one.checked_mul(*two),
                Binary::Divide => one.checked_div(*two),
                Binary::Remainder => one.checked_rem(*two),
                _ => None,
            };
            number.map(Value::Int).ok_or(Failed::Range)
        }
        (_, Value::Double(one), Value::Double(two)) => Ok(Value::Double(match sign {
            Binary::Add => one + two,
            Binary::Subtract => one - two,
            Binary::Multiply => one * two,
            Binary::Divide => one / two,
            _ => return Err(Failed::Type),
        })),
        (Binary::Add, Value::Text(one), Value::Text(two)) => Ok(Value::Text(joined(one, two)?)),
        (Binary::Add, Value::List(one), Value::List(two)) => {
            Ok(Value::List(one.iter().chain(two.iter()).cloned().collect()))
        }
        (Binary::Add, Value::Time(at), Value::Span(span))
        | (Binary::Add, Value::Span(span), Value::Time(at)) => of_time(at.checked_add(*span)),
        (Binary::Subtract, Value::Time(at), Value::Span(span)) => of_time(at.checked_sub(*span)),
        (Binary::Add, Value::Span(one), Value::Span(two)) => {
            one.checked_add(*two).map(Value::Span).ok_or(Failed::Range)
        }
        (Binary::Subtract, Value::Time(one), Value::Time(two))
        | (Binary::Subtract, Value::Span(one), Value::Span(two)) => {
            one.checked_sub(*two).map(Value::Span).ok_or(Failed::Range)
        }
        _ => Err(Failed::Type),
    }
}
