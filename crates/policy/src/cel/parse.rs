//! From words to a tree. What is unknown is refused here, so that no call meets it.

use super::calls::{constant, function};
use super::lex::{Word, words};
use super::tree::{Binary, Call, DEPTH_MAX, Each, Expr, Fact, Macro, PARTS_MAX};
use super::{ConditionFault, Variable};

type Parsed = Result<Expr, ConditionFault>;

/// Reads a condition. With `variables` it asks about those instead of a call.
pub(super) fn parse(text: &str, variables: Option<&'static [Variable]>) -> Parsed {
    let words = words(text)?;
    let mut parser = Parser {
        words,
        variables,
        at: 0,
        own: Vec::new(),
        depth: 0,
        parts: 0,
    };
    let tree = parser.condition()?;
    if *parser.peek() != Word::End {
        return Err(parser.fault("nothing was expected here any more"));
    }
    // Rows of operators stand within each other too.
    if tree.depth() > 2 * DEPTH_MAX {
        return Err(parser.too_deep());
    }
    Ok(tree)
}

struct Parser {
    words: Vec<(usize, Word)>,
    variables: Option<&'static [Variable]>,
    at: usize,
    /// The variables of the macros around.
    own: Vec<String>,
    depth: usize,
    parts: usize,
}

/// The facts, by where they stand.
const FACTS: [(&str, &str, Fact); 14] = [
    ("request", "method", Fact::Method),
    ("request", "path", Fact::Path),
    ("request", "query", Fact::Query),
    ("request", "size", Fact::Size),
    ("request", "headers", Fact::Headers),
    ("caller", "ip", Fact::Ip),
    ("caller", "known", Fact::IsKnown),
    ("caller", "token", Fact::Token),
    ("caller", "project", Fact::Project),
    ("caller", "project_id", Fact::ProjectId),
    ("caller", "tenant_id", Fact::TenantId),
    ("model", "", Fact::Model),
    ("tokens_in", "", Fact::TokensIn),
    ("now", "", Fact::Now),
];

/// Operators between two values, tightest last.
const LEVELS: [&[(&str, Binary)]; 3] = [
    &[
        ("==", Binary::Equal),
        ("!=", Binary::Unequal),
        ("<", Binary::Less),
        ("<=", Binary::AtMost),
        (">", Binary::More),
        (">=", Binary::AtLeast),
    ],
    &[("+", Binary::Add), ("-", Binary::Subtract)],
    &[
        ("*", Binary::Multiply),
        ("/", Binary::Divide),
        ("%", Binary::Remainder),
    ],
];

impl Parser {
    fn peek(&self) -> &Word {
        self.words.get(self.at).map_or(&Word::End, |(_, word)| word)
    }

    fn column(&self) -> usize {
        let last = self.words.last();
        self.words
            .get(self.at)
            .or(last)
            .map_or(1, |(column, _)| *column)
    }

    fn fault(&self, problem: impl Into<String>) -> ConditionFault {
        ConditionFault {
            column: self.column(),
            problem: problem.into(),
        }
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Word::Sign(found) if *found == sign)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is_there = self.is_sign(sign);
        if is_there {
            self.at = self.at.saturating_add(1);
        }
        is_there
    }

    fn want(&mut self, sign: &str) -> Result<(), ConditionFault> {
        match self.takes(sign) {
            true => Ok(()),
            false => Err(self.fault(format!("`{sign}` was expected"))),
        }
    }

    fn too_deep(&self) -> ConditionFault {
        self.fault(format!("the condition nests deeper than {DEPTH_MAX}"))
    }

    /// Counts a part.
    fn part(&mut self, part: Expr) -> Parsed {
        self.parts = self.parts.saturating_add(1);
        match self.parts > PARTS_MAX {
            true => Err(self.fault(format!("the condition has more than {PARTS_MAX} parts"))),
            false => Ok(part),
        }
    }

    /// Reads something that stands within, not too deep.
    fn within(&mut self, read: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.depth >= DEPTH_MAX {
            return Err(self.too_deep());
        }
        self.depth = self.depth.saturating_add(1);
        let read = read(self);
        self.depth = self.depth.saturating_sub(1);
        read
    }

    fn condition(&mut self) -> Parsed {
        self.within(|parser| {
            let asked = parser.either()?;
            if !parser.takes("?") {
                return Ok(asked);
            }
            let yes = parser.condition()?;
            parser.want(":")?;
            let no = parser.condition()?;
            parser.part(Expr::If(Box::new([asked, yes, no])))
        })
    }

    fn either(&mut self) -> Parsed {
        let first = self.both()?;
        if !self.is_sign("||") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.takes("||") {
            parts.push(self.both()?);
        }
        self.part(Expr::Either(parts))
    }

    fn both(&mut self) -> Parsed {
        let first = self.binary(0)?;
        if !self.is_sign("&&") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.takes("&&") {
            parts.push(self.binary(0)?);
        }
        self.part(Expr::Both(parts))
    }

    fn binary(&mut self, level: usize) -> Parsed {
        let Some(signs) = LEVELS.get(level) else {
            return self.unary();
        };
        let tighter = level.saturating_add(1);
        let mut left = self.binary(tighter)?;
        loop {
            let is_in = level == 0 && matches!(self.peek(), Word::Name(name) if name == "in");
            let found = signs.iter().find(|(sign, _)| self.is_sign(sign));
            let sign = match (found, is_in) {
                (Some((_, sign)), _) => *sign,
                (None, true) => Binary::In,
                (None, false) => return Ok(left),
            };
            self.at = self.at.saturating_add(1);
            let right = self.binary(tighter)?;
            left = self.part(Expr::Binary(sign, Box::new([left, right])))?;
        }
    }

    fn unary(&mut self) -> Parsed {
        if self.takes("!") {
            let of = self.within(Self::unary)?;
            return self.part(Expr::Not(Box::new(of)));
        }
        if self.takes("-") {
            let of = self.within(Self::unary)?;
            return self.part(Expr::Minus(Box::new(of)));
        }
        self.chain()
    }

    /// Something, and what is asked of it: members, entries, functions.
    fn chain(&mut self) -> Parsed {
        let mut of = self.first()?;
        loop {
            if self.takes("[") {
                let index = self.condition()?;
                self.want("]")?;
                of = self.part(Expr::Index(Box::new([of, index])))?;
            } else if self.takes(".") {
                let (place, name) = (self.at, self.name()?);
                if self.takes("(") {
                    of = self.method(of, place, &name)?;
                } else {
                    of = self.part(Expr::Member(Box::new(of), name.into()))?;
                }
            } else {
                return Ok(of);
            }
        }
    }

    fn name(&mut self) -> Result<String, ConditionFault> {
        let Word::Name(name) = self.peek() else {
            return Err(self.fault("a name was expected"));
        };
        let name = name.clone();
        self.at = self.at.saturating_add(1);
        Ok(name)
    }

    fn first(&mut self) -> Parsed {
        let word = self.peek().clone();
        if let Word::Name(name) = &word {
            return self.named(name);
        }
        let constant = match word {
            Word::Text(text) => Expr::Text(text.into()),
            Word::Int(number) => Expr::Int(number),
            Word::Double(number) => Expr::Double(number),
            Word::End => return Err(self.fault("the condition ends too early")),
            Word::Name(_) | Word::Sign(_) => return self.bracketed(),
        };
        self.at = self.at.saturating_add(1);
        self.part(constant)
    }

    fn bracketed(&mut self) -> Parsed {
        if self.takes("(") {
            let inner = self.condition()?;
            self.want(")")?;
            return Ok(inner);
        }
        if self.takes("[") {
            let entries = self.list("]")?;
            return self.part(Expr::List(entries));
        }
        if !self.takes("{") {
            return Err(self.fault("a value was expected"));
        }
        let mut pairs = Vec::new();
        while !self.takes("}") {
            let key = self.condition()?;
            self.want(":")?;
            pairs.push((key, self.condition()?));
            if !self.takes(",") {
                self.want("}")?;
                break;
            }
        }
        self.part(Expr::Map(pairs))
    }

    fn list(&mut self, end: &str) -> Result<Vec<Expr>, ConditionFault> {
        let mut entries = Vec::new();
        while !self.takes(end) {
            entries.push(self.condition()?);
            if !self.takes(",") {
                self.want(end)?;
                break;
            }
        }
        Ok(entries)
    }

    fn named(&mut self, name: &str) -> Parsed {
        let place = self.at;
        self.at = self.at.saturating_add(1);
        let word = match name {
            "true" => Some(Expr::Bool(true)),
            "false" => Some(Expr::Bool(false)),
            "null" => Some(Expr::Null),
            _ => None,
        };
        if let Some(word) = word {
            return self.part(word);
        }
        if self.takes("(") {
            return self.function(place, name);
        }
        if let Some(own) = self.own.iter().rposition(|own| own == name) {
            return self.part(Expr::Own(own));
        }
        if let Some(variables) = self.variables {
            return self.variable(variables, place, name);
        }
        if let Some((.., fact)) = FACTS
            .iter()
            .find(|(of, member, _)| *of == name && member.is_empty())
        {
            return self.part(Expr::Fact(*fact));
        }
        if !FACTS.iter().any(|(of, ..)| *of == name) {
            self.at = place;
            let known = "request, caller, model, tokens_in, now";
            return Err(self.fault(format!("there is no `{name}`; there are {known}")));
        }
        self.want(".")?;
        let at = self.at;
        let member = self.name()?;
        let found = FACTS
            .iter()
            .find(|(of, own, _)| *of == name && *own == member);
        match found {
            Some((.., fact)) => self.part(Expr::Fact(*fact)),
            None => {
                self.at = at;
                let known = FACTS.iter().filter(|(of, ..)| *of == name);
                let known: Vec<_> = known.map(|(_, member, _)| *member).collect();
                let known = known.join(", ");
                Err(self.fault(format!("`{name}` has no `{member}`; it has {known}")))
            }
        }
    }

    /// A variable of a hook, and of one that always has the same members, one of those.
    fn variable(&mut self, variables: &'static [Variable], place: usize, name: &str) -> Parsed {
        if name == "now" {
            return self.part(Expr::Fact(Fact::Now));
        }
        let Some(variable) = variables.iter().find(|known| known.name == name) else {
            self.at = place;
            let known: Vec<_> = variables.iter().map(|known| known.name).collect();
            let known = known.join(", ");
            return Err(self.fault(format!("there is no `{name}` here; there are {known}, now")));
        };
        let root = self.part(Expr::Root(variable.name))?;
        if variable.members.is_empty() {
            return Ok(root);
        }
        self.want(".")?;
        let at = self.at;
        let member = self.name()?;
        if !variable.members.contains(&member.as_str()) {
            self.at = at;
            let known = variable.members.join(", ");
            return Err(self.fault(format!("`{name}` has no `{member}`; it has {known}")));
        }
        self.part(Expr::Member(Box::new(root), member.into()))
    }

    /// `has(…)`, or a function that is not written behind its first value.
    fn function(&mut self, place: usize, name: &str) -> Parsed {
        if name == "has" {
            let asked = self.condition()?;
            self.want(")")?;
            let Expr::Member(of, member) = asked else {
                self.at = place;
                return Err(self.fault("`has` asks for a member, such as `has(a.b)`"));
            };
            return self.part(Expr::Has(of, member));
        }
        let values = self.list(")")?;
        self.call(place, name, values, false)
    }

    fn method(&mut self, of: Expr, place: usize, name: &str) -> Parsed {
        let what = match name {
            "all" => Each::All,
            "exists" => Each::Exists,
            "exists_one" => Each::ExistsOne,
            "filter" => Each::Filter,
            "map" => Each::Map,
            _ => {
                let mut values = vec![of];
                values.extend(self.list(")")?);
                return self.call(place, name, values, true);
            }
        };
        let variable = self.name()?;
        self.want(",")?;
        self.own.push(variable);
        let mut body = self.condition()?;
        let mut only = None;
        if what == Each::Map && self.takes(",") {
            only = Some(std::mem::replace(&mut body, self.condition()?));
        }
        self.own.pop();
        self.want(")")?;
        self.part(Expr::Macro(Box::new(Macro {
            what,
            over: of,
            only,
            body,
        })))
    }

    fn call(&mut self, place: usize, name: &str, values: Vec<Expr>, is_method: bool) -> Parsed {
        let end = std::mem::replace(&mut self.at, place);
        let Some((call, wanted)) = function(name, is_method) else {
            return Err(self.fault(match name {
                "matches" => "regular expressions are not supported".to_owned(),
                _ => format!("there is no function `{name}`"),
            }));
        };
        if !wanted.contains(&values.len()) {
            return Err(self.fault(format!("`{name}` has another number of values")));
        }
        let constant = match values.as_slice() {
            [Expr::Text(text)] if matches!(call, Call::ToTime | Call::ToSpan) => {
                let read = constant(call, text)
                    .ok_or_else(|| self.fault(format!("`{name}` can't read what stands there")))?;
                Some(read)
            }
            [_, Expr::Text(zone)] if call.takes_zone() && super::calls::zone_ms(zone).is_none() => {
                let problem = "a time zone is \"UTC\" or such as \"+02:00\"";
                return Err(self.fault(problem));
            }
            _ => None,
        };
        self.at = end;
        self.part(constant.unwrap_or(Expr::Call(call, values)))
    }
}
