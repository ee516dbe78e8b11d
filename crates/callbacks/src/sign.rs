//! Standard Webhooks signatures: HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Shortest secret that is accepted, in bytes.
pub const MIN_SECRET_BYTES: usize = 8;
/// Longest secret that is accepted, in bytes.
pub const MAX_SECRET_BYTES: usize = 4096;
const PREFIX: &str = "whsec_";

/// A key shared with a receiver. Never printed.
#[derive(Clone)]
pub struct Secret(ring::hmac::Key);

/// Why a text cannot be a secret. The text itself is never repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// What follows `whsec_` is not base64.
    #[error("the callback secret starts with whsec_, but what follows is not base64 ({0})")]
    Base64(String),
    /// Too short to be one, or absurdly long.
    #[error(
        "the callback secret has {0} bytes; it needs at least {MIN_SECRET_BYTES} and at most {MAX_SECRET_BYTES}"
    )]
    Length(usize),
}

impl std::str::FromStr for Secret {
    type Err = SecretError;

    /// Takes `whsec_<base64>`, or any other text as it is. White space around it (the newline of a
    /// file) does not count.
    ///
    /// # Errors
    /// Where what follows `whsec_` is not base64, or the key's length is out of bounds.
    fn from_str(text: &str) -> Result<Secret, SecretError> {
        let text = text.trim_ascii();
        let decoded = match text.strip_prefix(PREFIX) {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|e| SecretError::Base64(e.to_string()))?,
            None => text.as_bytes().to_vec(),
        };
        if !(MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&decoded.len()) {
            return Err(SecretError::Length(decoded.len()));
        }
        Ok(Secret(ring::hmac::Key::new(
            ring::hmac::HMAC_SHA256,
            &decoded,
        )))
    }
}

impl Secret {
    /// The value of `webhook-signature` for a message with this id, sent at `timestamp` (seconds
    /// since 1970).
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = ring::hmac::Context::with_key(&self.0);
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.sign()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, KeyInit, Mac};
    use proptest::prelude::*;

    /// The example of the Standard Webhooks specification and its libraries.
    #[test]
    fn the_published_example_signs_as_published() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
            .parse::<Secret>()
            .unwrap();
        assert_eq!(
            secret.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1614265330,
                b"{\"test\": 2432232314}"
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        let bad = "whsec_%%%%".parse::<Secret>().unwrap_err();
        assert!(matches!(bad, SecretError::Base64(_)), "{bad}");
        assert!(!bad.to_string().contains("%%"), "{bad}");
        assert_eq!(" \n".parse::<Secret>().unwrap_err(), SecretError::Length(0));
        assert_eq!(
            "short".parse::<Secret>().unwrap_err(),
            SecretError::Length(5)
        );
        assert_eq!(
            format!("{:?}", "raw text of mine".parse::<Secret>().unwrap()),
            "Secret(…)"
        );
    }

    proptest! {
        #[test]
        fn another_implementation_agrees(
            key in "[!-~]{8,200}", id in "[a-z0-9-]{1,60}", time in any::<u64>(),
            body in proptest::collection::vec(any::<u8>(), 0..500),
        ) {
            prop_assume!(!key.starts_with(PREFIX));
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
            mac.update(format!("{id}.{time}.").as_bytes());
            mac.update(&body);
            let want = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
            prop_assert_eq!(key.parse::<Secret>().unwrap().sign(&id, time, &body), want);
        }
    }
}
