//! A container's log that is read again after its connection was lost: nothing is shown twice. Pure.

/// How much of a log's beginning tells it from another, in bytes.
const MAX_HEAD: usize = 4 << 10;

/// Where the reading of a log stands.
#[derive(Debug, Default)]
pub struct Resume {
    /// The log's beginning, as it was read first.
    head: Vec<u8>,
    /// How much of it was given on, in bytes.
    given: u64,
    /// How much of the present reading has come, in bytes.
    come: u64,
    /// It did not begin as before: it was rotated in the meantime.
    rotated: bool,
}

impl Resume {
    /// The log is read from its beginning once more.
    pub fn again(&mut self) {
        self.come = 0;
    }

    /// Takes what came next, and gives what of it is new.
    pub fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.differs(bytes) {
            // From here on this is the log.
            self.head
                .truncate(usize::try_from(self.come).unwrap_or(usize::MAX));
            self.given = self.come;
            self.rotated = true;
        }
        let length = bytes.len() as u64;
        let skip = self.given.saturating_sub(self.come).min(length);
        self.keep_head(bytes);
        self.come += length;
        self.given = self.given.max(self.come);
        let skip = usize::try_from(skip).unwrap_or(bytes.len());
        bytes.get(skip..).unwrap_or_default()
    }

    /// Whether the log was found to be another one, its beginning gone: what was printed in between
    /// may be missing. Told once.
    pub fn was_rotated(&mut self) -> bool {
        std::mem::take(&mut self.rotated)
    }

    fn keep_head(&mut self, bytes: &[u8]) {
        if self.come == self.head.len() as u64 {
            let room = MAX_HEAD - self.head.len();
            let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
            self.head.extend_from_slice(kept);
        }
    }

    fn differs(&self, bytes: &[u8]) -> bool {
        let from = usize::try_from(self.come).unwrap_or(usize::MAX);
        let known = self.head.get(from..).unwrap_or_default();
        known.iter().zip(bytes).any(|(was, is)| was != is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_shown_twice() {
        let mut log = Resume::default();
        assert_eq!(log.take(b"one\ntw"), b"one\ntw");
        log.again();
        assert_eq!(log.take(b"one"), b"");
        assert_eq!(log.take(b"\ntwo\n"), b"o\n");
        assert!(!log.was_rotated());
    }

    #[test]
    fn a_rotated_log_is_shown_from_its_beginning() {
        let mut log = Resume::default();
        log.take(b"one\ntwo\n");
        log.again();
        assert_eq!(log.take(b"three\n"), b"three\n");
        assert!(log.was_rotated());
        assert!(!log.was_rotated());
        assert_eq!(log.take(b"four\n"), b"four\n");
        log.again();
        assert_eq!(log.take(b"three\nfour\nfive\n"), b"five\n");
    }

    proptest! {
        #[test]
        fn a_log_is_whole_however_often_its_connection_is_lost(
            text in proptest::collection::vec(any::<u8>(), 0..9000),
            cuts in proptest::collection::vec((0usize..9000, 1usize..700), 1..8),
        ) {
            let mut log = Resume::default();
            let mut shown = Vec::new();
            let readings = cuts.iter().copied().chain([(text.len(), 512)]);
            for (length, piece) in readings {
                log.again();
                for piece in text[..length.min(text.len())].chunks(piece) {
                    shown.extend_from_slice(log.take(piece));
                    prop_assert!(!log.was_rotated());
                }
            }
            prop_assert_eq!(shown, text);
        }
    }
}
