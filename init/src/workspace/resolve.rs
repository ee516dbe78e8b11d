//! From names to places: what services need, and which is the main one.

use std::collections::BTreeMap;

use super::config::Service;
use super::error::{ConfigError, Mistake};
use super::plan::Index;

/// Most services of a workspace.
const MAX_SERVICES: usize = 64;

/// A service with its needs by name.
pub(super) struct Draft {
    pub(super) service: Service,
    pub(super) needs: Vec<(String, usize)>,
    pub(super) main: bool,
    /// Where it stands.
    pub(super) line: usize,
}

/// Turns names into places, and finds the main service.
pub(super) fn resolve(mut drafts: Vec<Draft>) -> Result<(Vec<Service>, Index), ConfigError> {
    let Some(first) = drafts.first() else {
        return Err(ConfigError::at(0, Mistake::NoService));
    };
    if drafts.len() > MAX_SERVICES {
        return Err(ConfigError::at(first.line, Mistake::Services(MAX_SERVICES)));
    }
    let mut places = BTreeMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        if places.insert(draft.service.name.clone(), index).is_some() {
            let name = draft.service.name.clone();
            return Err(ConfigError::at(draft.line, Mistake::Twice(name)));
        }
    }
    for draft in &mut drafts {
        for (need, line) in &draft.needs {
            let Some(place) = places.get(need) else {
                let names: Vec<_> = places.keys().map(String::as_str).collect();
                let meant = crate::cli::suggest(need, &names);
                return Err(ConfigError::at(*line, Mistake::Need(need.clone(), meant)));
            };
            draft.service.needs.push(*place);
        }
    }
    if let Some((at, names)) = cycle(&drafts) {
        let line = drafts.get(at).map_or(0, |draft| draft.line);
        return Err(ConfigError::at(line, Mistake::Cycle(names.join(" -> "))));
    }
    let mut mains = drafts.iter().enumerate().filter(|(_, draft)| draft.main);
    let main = match (mains.next(), mains.next()) {
        (Some((main, _)), None) => main,
        (None, _) if drafts.len() == 1 => 0,
        (None, _) => return Err(ConfigError::at(0, Mistake::NoMain)),
        (Some((_, first)), Some((_, second))) => {
            let names = (first.service.name.clone(), second.service.name.clone());
            let mistake = Mistake::TwoMains(names.0, names.1);
            return Err(ConfigError::at(second.line, mistake));
        }
    };
    Ok((
        drafts.into_iter().map(|draft| draft.service).collect(),
        main,
    ))
}

/// The names along a cycle of needs, the first one again at its end, and the place of that one.
fn cycle(drafts: &[Draft]) -> Option<(Index, Vec<String>)> {
    let mut safe = vec![false; drafts.len()];
    for start in 0..drafts.len() {
        let mut path = Vec::new();
        if let Some(at) = walk(drafts, start, &mut path, &mut safe) {
            let from = path.iter().position(|index| *index == at)?;
            let round = path.get(from..)?.iter().chain([&at]);
            let names = round.filter_map(|index| Some(drafts.get(*index)?.service.name.clone()));
            return Some((at, names.collect()));
        }
    }
    None
}

/// Follows needs depth first: gives a service that was met twice, with the way to it in `path`.
fn walk(drafts: &[Draft], index: Index, path: &mut Vec<Index>, safe: &mut [bool]) -> Option<Index> {
    if safe.get(index).is_none_or(|safe| *safe) {
        return None;
    }
    if path.contains(&index) {
        return Some(index);
    }
    path.push(index);
    for need in &drafts.get(index)?.service.needs {
        if let Some(at) = walk(drafts, *need, path, safe) {
            return Some(at);
        }
    }
    path.pop();
    if let Some(safe) = safe.get_mut(index) {
        *safe = true;
    }
    None
}
