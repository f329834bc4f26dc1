//! Which of many patterns a path fits, found segment by segment: with a thousand routes a request
//! looks at those few that begin like its path.

use std::ops::ControlFlow;
use tollkeep_config::settings::{PathPattern, Segment};

/// Patterns below one that they have in common.
#[derive(Debug, Default)]
pub(crate) struct RouteIndex {
    /// What goes on with a literal, in the order of these.
    literals: Vec<(Box<str>, Self)>,
    /// What goes on with any segment.
    any: Option<Box<Self>>,
    /// Numbers of those that end here.
    ends: Vec<usize>,
    /// Numbers of those that take whatever follows.
    rest: Vec<usize>,
}

impl RouteIndex {
    /// Of patterns that are told by their place.
    pub(crate) fn new<'p>(patterns: impl Iterator<Item = &'p PathPattern>) -> Self {
        let mut index = Self::default();
        for (number, pattern) in patterns.enumerate() {
            index.add(&pattern.0, number);
        }
        index
    }

    fn add(&mut self, segments: &[Segment], number: usize) {
        match segments.split_first() {
            None => self.ends.push(number),
            // It is the last one.
            Some((Segment::Rest, _)) => self.rest.push(number),
            Some((Segment::Param(_), behind)) => {
                self.any.get_or_insert_default().add(behind, number);
            }
            Some((Segment::Literal(literal), behind)) => {
                let found = self
                    .literals
                    .binary_search_by(|(known, _)| known.cmp(literal));
                let at = found.unwrap_or_else(|at| {
                    self.literals.insert(at, (literal.clone(), Self::default()));
                    at
                });
                if let Some((_, below)) = self.literals.get_mut(at) {
                    below.add(behind, number);
                }
            }
        }
    }

    /// HOT. Shows the numbers of the patterns that a canonical path fits, until it is told to stop: a
    /// literal before a name before the rest, segment by segment from the left.
    pub(crate) fn fitting<B>(
        &self,
        path: &str,
        mut visit: impl FnMut(usize) -> ControlFlow<B>,
    ) -> Option<B> {
        let left = path.strip_prefix('/').unwrap_or(path);
        self.walk(Some(left), &mut visit).break_value()
    }

    fn walk<B>(
        &self,
        left: Option<&str>,
        visit: &mut impl FnMut(usize) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if let Some(left) = left {
            let (segment, behind) = match left.split_once('/') {
                Some((segment, behind)) => (segment, Some(behind)),
                None => (left, None),
            };
            let found = self
                .literals
                .binary_search_by(|(known, _)| (**known).cmp(segment));
            if let Ok(at) = found
                && let Some((_, below)) = self.literals.get(at)
            {
                below.walk(behind, visit)?;
            }
            if let Some(below) = self.any.as_ref().filter(|_| !segment.is_empty()) {
                below.walk(behind, visit)?;
            }
        } else {
            self.ends.iter().try_for_each(|number| visit(*number))?;
        }
        self.rest.iter().try_for_each(|number| visit(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All sequences of up to so many of these.
    fn sequences<T: Clone>(of: &[T], most: usize) -> Vec<Vec<T>> {
        let mut all: Vec<Vec<T>> = Vec::new();
        let mut last = vec![Vec::new()];
        for _ in 0..most {
            let longer = |begun: &Vec<T>| {
                let begun = begun.clone();
                of.iter().map(move |one| {
                    let mut longer = begun.clone();
                    longer.push(one.clone());
                    longer
                })
            };
            last = last.iter().flat_map(longer).collect();
            all.extend(last.iter().cloned());
        }
        all
    }

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.into())
    }

    /// Every pattern of up to three segments, with and without a rest, each twice.
    fn patterns() -> Vec<PathPattern> {
        let segments = [
            literal("a"),
            literal("b"),
            literal(""),
            Segment::Param("x".into()),
        ];
        let mut all = sequences(&segments, 3);
        let rests = all.iter().map(|begun| {
            let mut rest = begun.clone();
            rest.push(Segment::Rest);
            rest
        });
        let rests: Vec<_> = rests.collect();
        all.extend(rests);
        all.push(vec![Segment::Rest]);
        all.extend(all.clone());
        all.into_iter().map(PathPattern).collect()
    }

    // PAY-11 PAY-12
    #[test]
    fn it_finds_what_fits_in_the_order_of_precedence() {
        let mut patterns = patterns();
        patterns.sort_by_cached_key(PathPattern::precedence);
        let index = RouteIndex::new(patterns.iter());
        for segments in sequences(&["a", "b", "c", ""], 4) {
            let path = format!("/{}", segments.join("/"));
            let all = patterns.iter().enumerate();
            let fits = all.filter(|(_, pattern)| pattern.fits(&path));
            let want: Vec<usize> = fits.map(|(number, _)| number).collect();
            let mut found = Vec::new();
            let stopped: Option<()> = index.fitting(&path, |number| {
                found.push(number);
                ControlFlow::Continue(())
            });
            assert_eq!((stopped, found), (None, want), "{path}");
        }
    }

    // PAY-12
    #[test]
    fn it_stops_when_it_is_told_to() {
        let of = |text: &str| PathPattern(vec![literal(text)]);
        let patterns = [of("a"), of("a"), of("b")];
        let index = RouteIndex::new(patterns.iter());
        assert_eq!(index.fitting("/a", ControlFlow::Break), Some(0));
        assert_eq!(index.fitting("/c", ControlFlow::Break), None);
    }
}
