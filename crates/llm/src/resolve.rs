//! From a model name to the providers that may serve it.

use memchr::memchr;

/// Longest model name, in bytes.
pub const MODEL_BYTES_MAX: usize = 256;

/// One provider as the resolver sees it. Its index in the list is its identity.
#[derive(Clone, Debug)]
pub struct Source {
    /// The provider's name, for `provider/model`.
    pub name: String,
    /// Model ids and globs it serves.
    pub models: Vec<String>,
    /// Ids and globs it does not serve, whatever `models` says.
    pub excluded_models: Vec<String>,
    /// Higher goes first.
    pub priority: i32,
}

/// The models of all providers.
#[derive(Debug)]
pub struct Resolver {
    listed: Vec<Listed>,
    default_model: Option<String>,
}

/// A source as it is looked through.
#[derive(Debug)]
struct Listed {
    name: String,
    models: Vec<Pattern>,
    excluded: Vec<Pattern>,
    priority: i32,
}

/// A model id or a glob.
#[derive(Debug)]
struct Pattern {
    text: String,
    /// Bytes that are no `*`.
    literal: usize,
}

impl Resolver {
    /// Takes the providers that are enabled.
    pub fn new(sources: Vec<Source>, default_model: Option<String>) -> Self {
        let patterns = |texts: Vec<String>| texts.into_iter().map(Pattern::new).collect();
        let listed = sources.into_iter().map(|source| Listed {
            name: source.name,
            models: patterns(source.models),
            excluded: patterns(source.excluded_models),
            priority: source.priority,
        });
        Self {
            listed: listed.collect(),
            default_model,
        }
    }

    /// The upstream name of a requested model; the indices of the providers that serve it are
    /// put into `candidates`, best first. `None` when no provider does.
    ///
    /// The first that hits wins: `provider/model`, an id that is listed as it is, a pattern (the
    /// one with more literal text goes first), the default model. Among equals the higher
    /// priority goes first, then the order of the list. An exclusion beats any listing.
    pub fn resolve<'a>(
        &'a self,
        requested: &'a str,
        candidates: &mut Vec<usize>,
    ) -> Option<&'a str> {
        candidates.clear();
        if requested.is_empty() || requested.len() > MODEL_BYTES_MAX || has_control(requested) {
            return None;
        }
        self.found(requested, candidates).or_else(|| {
            self.default_model
                .as_deref()
                .filter(|default| *default != requested)
                .and_then(|default| self.found(default, candidates))
        })
    }

    fn found<'a>(&'a self, requested: &'a str, candidates: &mut Vec<usize>) -> Option<&'a str> {
        let slash = memchr(b'/', requested.as_bytes());
        if let Some((provider, model)) = slash.and_then(|_| requested.split_once('/')) {
            let named = |source: &Listed| source.name == provider;
            candidates.extend(
                self.listed
                    .iter()
                    .position(|source| named(source) && source.rank(model).is_some()),
            );
            if !candidates.is_empty() {
                return Some(model);
            }
        }
        let mut best = None;
        for (index, source) in self.listed.iter().enumerate() {
            let rank = source.rank(requested);
            if rank > best {
                best = rank;
                candidates.clear();
            }
            if rank.is_some() && rank == best {
                candidates.push(index);
            }
        }
        candidates.sort_by_key(|index| {
            std::cmp::Reverse(self.listed.get(*index).map(|source| source.priority))
        });
        best.map(|_| requested)
    }

    /// Whether the provider at this place of the list serves a model.
    pub fn serves(&self, index: usize, model: &str) -> bool {
        let fits = !model.is_empty() && model.len() <= MODEL_BYTES_MAX && !has_control(model);
        let source = self.listed.get(index).filter(|_| fits);
        source.is_some_and(|source| source.rank(model).is_some())
    }

    /// The names a list shows: every id that a provider lists as it is, sorted, each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.listed.iter().flat_map(Listed::ids).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The ids that the provider at this place of the list lists as they are.
    pub fn names_of(&self, index: usize) -> impl Iterator<Item = &str> {
        self.listed.get(index).into_iter().flat_map(Listed::ids)
    }
}

/// How well a listing fits a model; the greater the better.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Rank {
    /// A pattern with so much literal text.
    Pattern(usize),
    Exact,
}

impl Listed {
    fn ids(&self) -> impl Iterator<Item = &str> {
        let ids = self.models.iter().filter(|model| model.is_id());
        let ids = ids.map(|model| model.text.as_str());
        ids.filter(|id| self.rank(id).is_some())
    }

    fn rank(&self, model: &str) -> Option<Rank> {
        if self.excluded.iter().any(|pattern| pattern.fits(model)) {
            return None;
        }
        let fitting = self.models.iter().filter(|pattern| pattern.fits(model));
        fitting.map(Pattern::rank).max()
    }
}

impl Pattern {
    fn new(text: String) -> Self {
        let literal = text.bytes().filter(|byte| *byte != b'*').count();
        Self { text, literal }
    }

    /// Whether there is no `*` in it.
    const fn is_id(&self) -> bool {
        self.literal == self.text.len()
    }

    fn fits(&self, model: &str) -> bool {
        if self.is_id() {
            return self.text == model;
        }
        glob(&self.text, model)
    }

    const fn rank(&self) -> Rank {
        if self.is_id() {
            Rank::Exact
        } else {
            Rank::Pattern(self.literal)
        }
    }
}

/// Whether a control character is in the text. Most text is ASCII, where bytes tell.
fn has_control(text: &str) -> bool {
    if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_control())
    } else {
        text.chars().any(char::is_control)
    }
}

/// Whether `text` matches `pattern`, in which `*` is any run of characters and nothing else is
/// special. Linear in the text for each `*`.
pub fn glob(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    if !pattern.bytes().any(|byte| byte == b'*') {
        return pattern == text;
    }
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    // The leftmost place of each part leaves the most room for the next.
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}
