//! Texts of any length, bounded.

/// A text of at most `most` bytes: the beginning of `text` with a mark, where that is longer. `most` is at least
/// the mark's 3 bytes.
pub fn cut(text: &str, most: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(MARK.len());
    let begun = (0..=room).rev().find_map(|end| text.get(..end));
    begun.unwrap_or_default().to_owned() + MARK
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_fits_stays_and_what_does_not_is_marked() {
        assert_eq!(cut("twelve bytes", 12), "twelve bytes");
        assert_eq!(cut("twelve bytes", 11), "twelve b…");
        assert_eq!(cut("ééé", 5), "é…");
        assert_eq!(cut("", 3), "");
    }

    proptest! {
        #[test]
        fn it_is_never_longer(text in "\\PC{0,60}", most in 3..80_usize) {
            let short = cut(&text, most);
            prop_assert!(short.len() <= most);
            prop_assert!(text.starts_with(short.trim_end_matches('…')));
        }
    }
}
