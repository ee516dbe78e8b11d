//! Scripts in transit: base64 of gzip of the text.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// Largest script after unpacking, in bytes.
pub const MAX_SCRIPT_BYTES: usize = 16 << 20;
/// Largest script before unpacking, in bytes: what base64 makes of a script that gzip cannot shrink.
pub const MAX_ENCODED_BYTES: usize = MAX_SCRIPT_BYTES / 3 * 4 + (64 << 10);

/// Why a script could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// Longer than [`MAX_ENCODED_BYTES`] before unpacking.
    #[error("the packed script is {0} bytes long, more than {MAX_ENCODED_BYTES}")]
    EncodedTooLong(usize),
    /// Not base64.
    #[error("the script is not base64 ({0}); it has to be base64 of gzip of the text")]
    Base64(#[from] base64::DecodeError),
    /// Base64 of something that is not gzip, or of gzip that was cut or damaged.
    #[error("the script is base64 of something that gzip cannot unpack ({0})")]
    Gzip(#[source] std::io::Error),
    /// Unpacks past [`MAX_SCRIPT_BYTES`].
    #[error("the script unpacks to more than {MAX_SCRIPT_BYTES} bytes")]
    TooLong,
}

/// Packs a script.
pub fn encode(script: &[u8]) -> String {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let _ = gzip.write_all(script);
    STANDARD.encode(gzip.finish().unwrap_or_default())
}

/// Unpacks a script. White space around and within the base64 text is ignored.
///
/// # Errors
/// Where the text is not base64 of gzip, or either form is past its bound.
pub fn decode(encoded: &[u8]) -> Result<Vec<u8>, ScriptError> {
    if encoded.len() > MAX_ENCODED_BYTES {
        return Err(ScriptError::EncodedTooLong(encoded.len()));
    }
    let dense: Vec<u8> = encoded
        .iter()
        .copied()
        .filter(|b| !b.is_ascii_whitespace())
        .collect();
    let packed = STANDARD.decode(dense)?;
    let mut script = Vec::new();
    MultiGzDecoder::new(packed.as_slice())
        .take(MAX_SCRIPT_BYTES as u64 + 1)
        .read_to_end(&mut script)
        .map_err(ScriptError::Gzip)?;
    if script.len() > MAX_SCRIPT_BYTES {
        return Err(ScriptError::TooLong);
    }
    Ok(script)
}

/// How a script is started: by its `#!` line as the kernel reads it, or by `/bin/sh -e`.
///
/// The line gives the interpreter and at most one argument: the rest of the line, as it is.
/// A carriage return at the line's end belongs to the line end, not to the interpreter's name.
pub fn interpreter(script: &[u8]) -> Vec<Vec<u8>> {
    let Some(rest) = script.strip_prefix(b"#!") else {
        return default_shell();
    };
    let line = rest
        .split(|b| *b == b'\n')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let end = line.iter().position(is_blank).unwrap_or(line.len());
    let (program, argument) = line.split_at_checked(end).unwrap_or((line, &[]));
    if program.is_empty() {
        return default_shell();
    }
    let mut words = vec![program.to_vec()];
    let argument = argument.trim_ascii();
    if !argument.is_empty() {
        words.push(argument.to_vec());
    }
    words
}

fn default_shell() -> Vec<Vec<u8>> {
    vec![b"/bin/sh".to_vec(), b"-e".to_vec()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(script: &str) -> Vec<String> {
        interpreter(script.as_bytes())
            .into_iter()
            .map(|w| String::from_utf8(w).unwrap())
            .collect()
    }

    #[test]
    fn the_first_line_names_the_interpreter() {
        assert_eq!(words("#!/bin/bash\nx"), ["/bin/bash"]);
        assert_eq!(
            words("#! /usr/bin/env  -S python3 -u \r\nx"),
            ["/usr/bin/env", "-S python3 -u"]
        );
        assert_eq!(words("#!/bin/sh"), ["/bin/sh"]);
        for plain in ["echo", "", "#!\necho", "#!   \n", "\n#!/bin/bash"] {
            assert_eq!(words(plain), ["/bin/sh", "-e"], "{plain:?}");
        }
    }

    #[test]
    fn unpacks_what_other_tools_packed() {
        // printf 'echo hi\n' | gzip -n | base64, wrapped as base64 does it
        let packed = b"H4sIAAAAAAAAA0tNzshXyMjk\nAgAzRq4KCAAAAA==\n";
        match decode(packed) {
            Ok(script) => assert_eq!(script, b"echo hi\n"),
            Err(e) => panic!("{e}"),
        }
    }

    #[test]
    fn refuses_what_unpacks_past_the_bound() {
        let bomb = encode(&vec![b'x'; MAX_SCRIPT_BYTES + 1]);
        assert!(matches!(decode(bomb.as_bytes()), Err(ScriptError::TooLong)));
        assert_eq!(
            decode(encode(&vec![b'x'; MAX_SCRIPT_BYTES]).as_bytes())
                .unwrap()
                .len(),
            MAX_SCRIPT_BYTES
        );
        let long = vec![b'A'; MAX_ENCODED_BYTES + 1];
        assert!(matches!(decode(&long), Err(ScriptError::EncodedTooLong(_))));
    }

    #[test]
    fn refuses_what_is_broken() {
        let good = encode(b"echo hi\n");
        assert!(matches!(decode(b"#!/bin/sh"), Err(ScriptError::Base64(_))));
        assert!(matches!(decode(b"aGVsbG8="), Err(ScriptError::Gzip(_))));
        assert!(matches!(
            decode(&good.as_bytes()[..good.len() - 8]),
            Err(ScriptError::Gzip(_))
        ));
        assert!(matches!(decode(b""), Err(ScriptError::Gzip(_)) | Ok(_)));
    }

    proptest! {
        #[test]
        fn scripts_survive_packing(script in proptest::collection::vec(any::<u8>(), 0..4096)) {
            prop_assert_eq!(decode(encode(&script).as_bytes()).unwrap(), script);
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode(&bytes);
            let _ = interpreter(&bytes);
        }
    }
}
