//! Handing stories over to the callbacks.

use tokio::sync::mpsc;

use super::Story;

/// What was handed over of one object.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    /// Run, generation and length of the story that was handed over last.
    told: (u32, Option<i64>, usize),
    is_late: bool,
}

impl Telling {
    /// Hands a story over, where it is longer than the last one or, of another generation of the object,
    /// for others.
    pub(crate) fn tell(
        &mut self,
        story: Story,
        generation: Option<i64>,
        stories: &mpsc::Sender<Story>,
    ) {
        let told = (story.run, generation, story.events.len());
        let is_news = !story.events.is_empty() && told != self.told;
        self.is_late = is_news && stories.try_send(story).is_err();
        if is_news && !self.is_late {
            self.told = told;
        }
    }

    /// Whether the last story could not be handed over, and is to be told again.
    pub(crate) fn is_late(&self) -> bool {
        self.is_late
    }
}

#[cfg(test)]
mod tests {
    use baton_callbacks::{Event, Happening};
    use baton_protocol::Timestamp;

    use super::*;

    #[test]
    fn what_is_news_is_handed_over_once_there_is_room() {
        let (stories, mut told) = mpsc::channel(1);
        let mut telling = Telling::default();
        let mut tell = |run, events: usize, generation| {
            let event = Event {
                id: "i".into(),
                source: "s".into(),
                task: "t".into(),
                pod: "p".into(),
                time: Timestamp(std::time::UNIX_EPOCH),
                what: Happening::TaskStarted,
            };
            let story = Story {
                task: "u".into(),
                namespace: "n".into(),
                name: "t".into(),
                run,
                sinks: Vec::new(),
                events: vec![event; events],
                known: Vec::new(),
            };
            telling.tell(story, Some(generation), &stories);
            telling.is_late()
        };
        assert!(!tell(1, 0, 1), "there is nothing to tell");
        assert!(!tell(1, 1, 1));
        assert!(!tell(1, 1, 1), "it was told");
        assert!(tell(1, 2, 1), "there is no room");
        assert_eq!(told.try_recv().unwrap().events.len(), 1);
        assert!(!tell(1, 2, 1));
        assert_eq!(told.try_recv().unwrap().events.len(), 2);
        assert!(told.try_recv().is_err());
        assert!(!tell(1, 2, 2), "there may be other receivers");
        assert!(told.try_recv().is_ok());
    }
}
