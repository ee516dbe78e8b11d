//! The mistakes of one document, as they are found.

use crate::diagnostic::{Diagnostic, FieldPath, MAX_DIAGNOSTICS, Origin, Position};

/// The mistakes found in one document.
#[derive(Debug)]
pub(crate) struct Report {
    origin: Origin,
    found: Vec<Diagnostic>,
    more: usize,
    bad: Vec<FieldPath>,
}

impl Report {
    pub(crate) fn new(origin: Origin) -> Report {
        Report {
            origin,
            found: Vec::new(),
            more: 0,
            bad: Vec::new(),
        }
    }

    /// Reports a mistake at a place that the caller knows.
    pub(crate) fn add(
        &mut self,
        position: Option<Position>,
        path: FieldPath,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        let mut found = self.origin.diagnose(position, path, message.into());
        found.suggestion = suggestion;
        self.found.push(found);
    }

    /// Reports that a field holds something else than its type; nothing more is said about it.
    pub(crate) fn mistyped(&mut self, position: Position, path: FieldPath, message: String) {
        if self.bad.len() < MAX_DIAGNOSTICS {
            self.bad.push(path.clone());
        }
        self.add(Some(position), path, message, None);
    }

    /// As [`mistyped`](Report::mistyped), with the one of `candidates` that was probably meant.
    pub(crate) fn misspelt<'a>(
        &mut self,
        position: Position,
        path: FieldPath,
        message: String,
        given: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        let suggestion = did_you_mean(given, candidates);
        if let (Some(parent), Some(meant)) = (path.parent(), &suggestion) {
            let meant = parent.key(meant);
            if !self.origin.has(&meant) {
                self.bad.push(meant); // it is not missing: it is misspelt
            }
        }
        self.bad.push(path.clone());
        self.add(Some(position), path, message, suggestion);
    }

    /// Reports a mistake in a field, unless the field was found to be of another type already.
    pub(crate) fn at(&mut self, path: &FieldPath, message: impl Into<String>) {
        self.suggest(path, message, "", []);
    }

    /// As [`at`](Report::at), with the one of `candidates` that was probably meant.
    pub(crate) fn suggest<'a>(
        &mut self,
        path: &FieldPath,
        message: impl Into<String>,
        given: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) {
        // Once no more is shown, mistakes are counted at no cost: there may be very many.
        if self.is_full() {
            self.more += 1;
        } else if !self.is_bad(path) {
            let position = self.origin.position(path);
            self.add(
                position,
                path.clone(),
                message,
                did_you_mean(given, candidates),
            );
        }
    }

    /// Reports that an object lacks something, unless a field in it is wrong already: that may be it.
    pub(crate) fn incomplete(&mut self, path: &FieldPath, message: impl Into<String>) {
        if !self
            .bad
            .iter()
            .any(|bad| bad.parent().as_ref() == Some(path))
        {
            self.at(path, message);
        }
    }

    fn is_full(&self) -> bool {
        self.found.len() >= MAX_DIAGNOSTICS
    }

    fn is_bad(&self, path: &FieldPath) -> bool {
        self.bad
            .iter()
            .any(|bad| path.segments().starts_with(bad.segments()))
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    /// The mistakes in the order of their places.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|d| d.position);
        if self.more > 0 {
            let message = format!("and {} more mistakes", self.more);
            let last = self.origin.diagnose(None, FieldPath::default(), message);
            self.found.push(last);
        }
        self.found
    }
}

/// The candidate that is most like `given`, where one is like it at all.
pub(crate) fn did_you_mean<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    // Long texts are no typing mistakes, and comparing them costs the product of their lengths.
    const LONGEST: usize = 64;
    const MOST: usize = 1000;
    if given.is_empty() || given.len() > LONGEST {
        return None;
    }
    let folded = given.to_lowercase();
    candidates
        .into_iter()
        .take(MOST)
        .filter(|c| c.len() <= LONGEST)
        .map(|c| {
            let likeness = strsim::jaro_winkler(&folded, &c.to_lowercase());
            let distance = strsim::damerau_levenshtein(&folded, &c.to_lowercase());
            (c, likeness, distance)
        })
        .filter(|(c, likeness, distance)| *distance <= 1.max(c.len() / 3) && *likeness > 0.5)
        .min_by(|a, b| a.2.cmp(&b.2).then(b.1.total_cmp(&a.1)))
        .map(|(c, ..)| c.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_suggested_and_nothing_else() {
        let words = ["timeout", "retries", "retryDelay", "workingDir"];
        for (given, want) in [
            ("tiemout", Some("timeout")),
            ("Timeout", Some("timeout")),
            ("retry", None),
            ("workdir", Some("workingDir")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(given, words).as_deref(), want, "{given}");
        }
    }
}
