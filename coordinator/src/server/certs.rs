//! The coordinator's own certificate authority and serving certificate: made, checked, renewed.
//! No I/O and no clock; keys are random.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// How long a certificate authority lives.
pub const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// How long a serving certificate lives.
pub const SERVING_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How far clocks of other machines may be behind ours.
const SKEW: Duration = Duration::from_secs(3600);
/// Longest PEM that is read, in bytes: a Secret cannot hold more.
const MAX_PEM_BYTES: usize = 1 << 20;

/// What the Secret holds, all of it PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Certificates that clients trust: the authority in use first, earlier ones after it.
    pub ca_crt: String,
    /// The key of the authority in use.
    pub ca_key: String,
    /// The serving certificate.
    pub tls_crt: String,
    /// Its key.
    pub tls_key: String,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bundle(…)")
    }
}

/// What is to be done about a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is in order until then.
    Good {
        /// When it is to be renewed.
        renew_at: SystemTime,
        /// When the serving certificate ends.
        ends_at: SystemTime,
    },
    /// Its authority is in order, its serving certificate is not.
    Renew(String),
    /// Nothing of it can be used, for this reason.
    Replace(String),
}

/// Why no certificate could be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// Making it.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Reading it.
    #[error("reading {what}: {cause}")]
    Read {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

/// Judges a bundle that should serve all of `names` at `now`.
pub fn check(bundle: &Bundle, names: &[String], now: SystemTime) -> Verdict {
    let (ca_der, ca_life) = match life("ca.crt", &bundle.ca_crt) {
        Ok(read) => read,
        Err(error) => return Verdict::Replace(error.to_string()),
    };
    match KeyPair::from_pem(&bundle.ca_key) {
        Ok(key) if same_key(&ca_der, &key) => {}
        Ok(_) => return Verdict::Replace("ca.key is not the key of ca.crt".to_owned()),
        Err(error) => return Verdict::Replace(format!("reading ca.key: {error}")),
    }
    if !ca_life.lasts(now) {
        return Verdict::Replace("the certificate authority is near its end".to_owned());
    }
    match serving(bundle, &ca_der, names) {
        Err(why) => Verdict::Renew(why),
        Ok(life) if !life.lasts(now) => {
            Verdict::Renew("the serving certificate is near its end".to_owned())
        }
        Ok(life) => Verdict::Good {
            renew_at: life.renew_at().min(ca_life.renew_at()),
            ends_at: life.to,
        },
    }
}

fn serving(bundle: &Bundle, ca: &[u8], names: &[String]) -> Result<Life, String> {
    let (der, life) = life("tls.crt", &bundle.tls_crt).map_err(|e| e.to_string())?;
    certified_key(bundle).map_err(|e| e.to_string())?;
    let cause = |e: x509_parser::nom::Err<_>| format!("reading a certificate: {e}");
    let (_, cert) = X509Certificate::from_der(&der).map_err(cause)?;
    let (_, ca) = X509Certificate::from_der(ca).map_err(cause)?;
    cert.verify_signature(Some(ca.public_key()))
        .map_err(|_| "tls.crt is not signed by ca.crt".to_owned())?;
    let alternative = cert.subject_alternative_name().ok().flatten();
    let has = |name: &String| {
        alternative.as_ref().is_some_and(|alternative| {
            let mut names = alternative.value.general_names.iter();
            names.any(|n| matches!(n, GeneralName::DNSName(n) if n == name))
        })
    };
    match names.iter().find(|name| !has(name)) {
        Some(name) => Err(format!("tls.crt is not for {name}")),
        None => Ok(life),
    }
}

/// A new authority with a new serving certificate. The authority of `earlier` stays trusted, as long
/// as it lives: what it signed is still in use for a moment.
///
/// # Errors
/// Where keys or certificates cannot be made.
pub fn make(
    earlier: Option<&Bundle>,
    names: &[String],
    now: SystemTime,
) -> Result<Bundle, CertError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Two authorities must not have one name, or clients that know both try the wrong one.
    let serial = now.duration_since(SystemTime::UNIX_EPOCH);
    let name = format!(
        "baton-coordinator-ca-{}",
        serial.unwrap_or_default().as_secs()
    );
    params.distinguished_name.push(DnType::CommonName, name);
    span(&mut params, now, CA_LIFE);
    let mut ca_crt = params.self_signed(&key)?.pem();
    if let Some(bundle) = earlier
        && let Ok((_, life)) = life("ca.crt", &bundle.ca_crt)
        && life.to > now
        && let Some(first) = first_pem(&bundle.ca_crt)
    {
        ca_crt.push_str(first);
    }
    let bundle = Bundle {
        ca_crt,
        ca_key: key.serialize_pem(),
        tls_crt: String::new(),
        tls_key: String::new(),
    };
    renew(&bundle, names, now)
}

/// The bundle with a new serving certificate.
///
/// # Errors
/// Where its authority cannot be used.
pub fn renew(bundle: &Bundle, names: &[String], now: SystemTime) -> Result<Bundle, CertError> {
    let issuer = Issuer::from_ca_cert_pem(&bundle.ca_crt, KeyPair::from_pem(&bundle.ca_key)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params
        .distinguished_name
        .push(DnType::CommonName, "baton-coordinator");
    span(&mut params, now, SERVING_LIFE);
    Ok(Bundle {
        tls_crt: params.signed_by(&key, &issuer)?.pem(),
        tls_key: key.serialize_pem(),
        ..bundle.clone()
    })
}

/// What TLS serves with.
///
/// # Errors
/// Where the certificate or the key cannot be read, or they do not belong together.
pub fn certified_key(bundle: &Bundle) -> Result<CertifiedKey, CertError> {
    let read = |what, cause: String| CertError::Read { what, cause };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(bundle.tls_crt.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| read("tls.crt", e.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(bundle.tls_key.as_bytes())
        .map_err(|e| read("tls.key", e.to_string()))?;
    let provider = rustls::crypto::ring::default_provider();
    let certified = CertifiedKey::from_der(chain, key, &provider)
        .map_err(|e| read("tls.crt and tls.key", e.to_string()))?;
    Ok(certified)
}

fn span(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let at = rcgen::date_time_ymd(1970, 1, 1) + since;
    params.not_before = at - SKEW.min(since);
    params.not_after = at + life;
}

/// From when to when a certificate holds.
#[derive(Debug, Clone, Copy)]
struct Life {
    from: SystemTime,
    to: SystemTime,
}

impl Life {
    /// Two thirds of its life.
    fn renew_at(self) -> SystemTime {
        let all = self.to.duration_since(self.from).unwrap_or_default();
        self.from + all * 2 / 3
    }

    fn lasts(self, now: SystemTime) -> bool {
        self.from <= now && now < self.renew_at()
    }
}

/// The first certificate of a PEM, and its life.
fn life(what: &'static str, pem: &str) -> Result<(Vec<u8>, Life), CertError> {
    let read = |cause: String| CertError::Read { what, cause };
    if pem.len() > MAX_PEM_BYTES {
        return Err(read(format!("it is longer than {MAX_PEM_BYTES} bytes")));
    }
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| read(e.to_string()))?;
    let (_, cert) = X509Certificate::from_der(&der).map_err(|e| read(e.to_string()))?;
    let at = |seconds: i64| {
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        SystemTime::UNIX_EPOCH.checked_add(since)
    };
    let validity = cert.validity();
    let life = at(validity.not_before.timestamp())
        .zip(at(validity.not_after.timestamp()))
        .map(|(from, to)| Life { from, to })
        .ok_or_else(|| read("its times are out of bounds".to_owned()))?;
    Ok((der.to_vec(), life))
}

fn same_key(der: &[u8], key: &KeyPair) -> bool {
    use rcgen::PublicKeyData;
    X509Certificate::from_der(der)
        .is_ok_and(|(_, cert)| cert.public_key().raw == key.subject_public_key_info())
}

fn first_pem(text: &str) -> Option<&str> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let end = text.find(END)?;
    text.get(..end + END.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> Vec<String> {
        ["a.ns.svc", "a.ns.svc.cluster.local"]
            .map(str::to_owned)
            .to_vec()
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn what_was_made_is_good_until_two_thirds_of_its_life() {
        let bundle = make(None, &names(), now()).unwrap();
        let Verdict::Good { renew_at, ends_at } = check(&bundle, &names(), now()) else {
            panic!("{:?}", check(&bundle, &names(), now()));
        };
        assert_eq!(ends_at, now() + SERVING_LIFE);
        assert!(renew_at > now() + 59 * DAY && renew_at < now() + 61 * DAY);
        let before = renew_at - Duration::from_secs(1);
        assert!(matches!(
            check(&bundle, &names(), before),
            Verdict::Good { .. }
        ));
        assert!(matches!(
            check(&bundle, &names(), renew_at),
            Verdict::Renew(_)
        ));
        // A clock far behind sees a certificate that is not valid yet.
        assert!(!matches!(
            check(&bundle, &names(), now() - DAY),
            Verdict::Good { .. }
        ));
    }

    #[test]
    fn renewal_keeps_the_authority_and_replacement_keeps_its_trust() {
        let first = make(None, &names(), now()).unwrap();
        let later = now() + 80 * DAY;
        let second = renew(&first, &names(), later).unwrap();
        assert_eq!(second.ca_crt, first.ca_crt);
        assert_ne!(second.tls_key, first.tls_key);
        assert!(matches!(
            check(&second, &names(), later),
            Verdict::Good { .. }
        ));
        let old = now() + CA_LIFE * 2 / 3 + DAY;
        assert!(matches!(check(&second, &names(), old), Verdict::Replace(_)));
        let third = make(Some(&second), &names(), old).unwrap();
        assert!(third.ca_crt.ends_with(&first.ca_crt) && third.ca_crt.len() > first.ca_crt.len());
        assert!(matches!(check(&third, &names(), old), Verdict::Good { .. }));
        // An authority that ended is trusted no more, and they do not pile up.
        let fourth = make(Some(&third), &names(), old + CA_LIFE + DAY).unwrap();
        assert_eq!(fourth.ca_crt.matches("BEGIN").count(), 1);
    }

    #[test]
    fn what_does_not_fit_together_is_not_used() {
        let good = make(None, &names(), now()).unwrap();
        let other = make(None, &names(), now()).unwrap();
        let verdict = |bundle: &Bundle| check(bundle, &names(), now());
        let mixed = Bundle {
            ca_key: other.ca_key.clone(),
            ..good.clone()
        };
        assert!(matches!(verdict(&mixed), Verdict::Replace(_)));
        let foreign = Bundle {
            tls_crt: other.tls_crt.clone(),
            tls_key: other.tls_key.clone(),
            ..good.clone()
        };
        assert_eq!(
            verdict(&foreign),
            Verdict::Renew("tls.crt is not signed by ca.crt".to_owned())
        );
        let keyless = Bundle {
            tls_key: other.tls_key.clone(),
            ..good.clone()
        };
        assert!(matches!(verdict(&keyless), Verdict::Renew(_)));
        let wrong = check(&good, &["b.ns.svc".to_owned()], now());
        assert_eq!(
            wrong,
            Verdict::Renew("tls.crt is not for b.ns.svc".to_owned())
        );
    }

    proptest! {
        #[test]
        fn garbage_is_replaced(text in "\\PC{0,80}", at in 0_usize..2000) {
            let mut bundle = Bundle { ca_crt: text.clone(), ca_key: text.clone(), tls_crt: text.clone(), tls_key: text };
            let verdict = check(&bundle, &names(), now());
            prop_assert!(matches!(verdict, Verdict::Replace(_)));
            // Damage within what was good never panics either.
            bundle = make(None, &names(), now()).unwrap();
            let at = at % bundle.ca_crt.len();
            bundle.ca_crt.replace_range(at..=at, "!");
            let verdict = check(&bundle, &names(), now());
            prop_assert!(!matches!(verdict, Verdict::Renew(_)));
        }
    }
}
