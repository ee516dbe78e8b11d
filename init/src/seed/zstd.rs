//! Unpacking zstd: all frames of a stream, skippable ones left out, checksums compared.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Reads what a zstd stream holds. A frame whose window is larger than the decoder's bound (as
/// `zstd --ultra --long=31` makes them) is refused.
pub struct Reader<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads from `source`.
    pub fn new(source: R) -> Reader<R> {
        Reader {
            source,
            decoder: FrameDecoder::new(),
            in_frame: false,
        }
    }

    /// Goes to the next frame. False at the end of the stream.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(e) => return Err(io::Error::other(e)),
            }
        }
        Ok(false)
    }

    fn check(&self) -> io::Result<()> {
        let said = self.decoder.get_checksum_from_data();
        match said.is_some() && said != self.decoder.get_calculated_checksum() {
            true => Err(io::Error::other("a checksum does not match")),
            false => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame {
                if !self.next_frame()? {
                    return Ok(0);
                }
                self.in_frame = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            match self.decoder.read(buffer)? {
                0 if !buffer.is_empty() => {
                    self.check()?;
                    self.in_frame = false;
                }
                n => return Ok(n),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One frame with one raw block and this checksum.
    fn frame(checksum: [u8; 4]) -> Vec<u8> {
        let start = [0x28, 0xb5, 0x2f, 0xfd, 0x24, 3, 0x19, 0, 0];
        [&start[..], b"abc", &checksum].concat()
    }

    fn read(bytes: &[u8]) -> io::Result<String> {
        io::read_to_string(Reader::new(bytes))
    }

    #[test]
    fn checksums_are_compared() {
        // The low half of XXH64("abc") with seed 0, 0x44bc2cf5ad770999.
        let good = frame([0x99, 0x09, 0x77, 0xad]);
        assert_eq!(read(&good).unwrap(), "abc");
        assert_eq!(read(&[good.clone(), good].concat()).unwrap(), "abcabc");
        let e = read(&frame([0; 4])).unwrap_err();
        assert_eq!(e.to_string(), "a checksum does not match");
    }

    #[test]
    fn broken_streams_are_errors() {
        let good = frame([0x99, 0x09, 0x77, 0xad]);
        for cut in 1..good.len() {
            assert!(read(&good[..cut]).is_err(), "{cut}");
        }
        assert_eq!(read(b"").unwrap(), "");
        assert!(read(b"\x50\x2a\x4d\x18\xff\xff\xff\xffabc").is_err());
    }
}
