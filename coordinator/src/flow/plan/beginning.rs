//! What becomes of nodes whose turn has come.

use baton_api::flow_status::{MAX_FLOW_JOBS, MAX_NODE_MESSAGE};
use baton_flow::{Begin, InstanceId, State};

use crate::flow::make::{Maker, Why, child_name};
use crate::text::cut;

/// Decides what becomes of nodes whose turn has come.
pub(super) struct Starter<'a> {
    maker: &'a Maker<'a>,
    pub(super) waiting: Vec<(String, (String, String))>,
    pub(super) notes: Vec<String>,
}

impl<'a> Starter<'a> {
    pub(super) fn new(maker: &'a Maker<'a>) -> Starter<'a> {
        Starter {
            maker,
            waiting: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self, state: &State, place: usize) -> Begin {
        match self.decide(state, place) {
            Begin::Fail(why) => Begin::Fail(cut(&why, MAX_NODE_MESSAGE)),
            other => other,
        }
    }

    fn decide(&mut self, state: &State, place: usize) -> Begin {
        let Some(node) = self.maker.flow.spec.node(place) else {
            return Begin::Fail("there is no such flow".to_owned());
        };
        let count = match node.begin(self.maker.results) {
            Begin::Run(0) => return Begin::Run(0),
            Begin::Run(count) => count,
            other => return other,
        };
        let others: usize = state.nodes.iter().map(|n| n.instances.len()).sum();
        if others.saturating_add(count) > MAX_FLOW_JOBS {
            return Begin::Fail(format!(
                "its {count} Jobs are more than the {MAX_FLOW_JOBS} that a whole flow can have"
            ));
        }
        let first = InstanceId {
            node: place,
            index: 0,
        };
        let name = child_name(&self.maker.view.name, self.maker.flow, first, 1);
        match self.maker.make(first, 1, &name) {
            Ok((_, overruled)) => {
                let name = &node.name;
                let note = |what| format!("flow {name:?}: {what}");
                self.notes.extend(overruled.into_iter().map(note));
                Begin::Run(count)
            }
            Err(Why::Waits(reason, message)) => {
                let why = (reason.to_owned(), cut(&message, MAX_NODE_MESSAGE));
                self.waiting.push((node.name.clone(), why));
                Begin::Wait
            }
            Err(Why::Invalid(why)) => Begin::Fail(why),
        }
    }
}
