//! Where callbacks may go: public addresses, and what the operator allows besides.
//!
//! Authors of Tasks choose URLs, and the coordinator stands inside the cluster's network: without a
//! guard they could reach through it what they cannot reach themselves (the API server, a cloud's
//! metadata service, other tenants' pods). The address that a connection is made to is what counts,
//! not the name: a name is looked up once, and only addresses that are allowed are connected to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use baton_callbacks::Refused;
use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Something that is allowed although it is not public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Addresses.
    Net(IpNet),
    /// A host of this name, wherever it is.
    Host(String),
    /// Hosts whose names end so; with its leading full stop.
    Suffix(String),
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Allowed, String> {
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Allowed::Net(net));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Allowed::Net(address.into()));
        }
        let name = text.to_ascii_lowercase();
        let (suffix, plain) = match name.strip_prefix("*.") {
            Some(plain) => (true, plain),
            None => (false, name.as_str()),
        };
        let sound = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // All digits at the end would be an address that is none.
        let numeric = plain
            .rsplit('.')
            .next()
            .is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        if plain.len() > 253 || !plain.split('.').all(sound) || numeric {
            return Err(format!(
                "{text:?} is neither a CIDR (10.0.0.0/8), nor an address, nor a host name, nor *.SUFFIX"
            ));
        }
        Ok(match suffix {
            true => Allowed::Suffix(format!(".{plain}")),
            false => Allowed::Host(plain.to_owned()),
        })
    }
}

/// Decides where callbacks may go. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allowed: Arc<[Allowed]>,
}

impl Guard {
    /// Public addresses, and `allowed`.
    pub fn new(allowed: Vec<Allowed>) -> Guard {
        Guard {
            allowed: allowed.into(),
        }
    }

    /// Judges a URL before any name is looked up: an address in it, or a name that is refused
    /// whatever it leads to.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn url(&self, url: &Url) -> Result<(), Refused> {
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(address) => self.address(address).map_err(Refused),
            Err(_) => Ok(()),
        }
    }

    fn address(&self, address: IpAddr) -> Result<(), String> {
        let plain = plain(address);
        let by_net = self.allowed.iter().any(
            |a| matches!(a, Allowed::Net(net) if net.contains(&plain) || net.contains(&address)),
        );
        match why_private(plain) {
            Some(why) if !by_net => Err(format!(
                "{address} is {why}: callbacks go to public addresses alone, unless --callback-allow names it"
            )),
            _ => Ok(()),
        }
    }

    fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.allowed.iter().any(|allowed| match allowed {
            Allowed::Net(_) => false,
            Allowed::Host(name) => *name == host,
            Allowed::Suffix(suffix) => host.ends_with(suffix.as_str()),
        })
    }

    /// The addresses of `found` that `host` may be reached at.
    fn admitted(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        if self.names(host) {
            return Ok(found);
        }
        let mut refusal = None;
        let mut admitted = Vec::new();
        for address in found {
            match self.address(address.ip()) {
                Ok(()) => admitted.push(address),
                Err(why) => refusal = Some(why),
            }
        }
        match refusal {
            Some(why) if admitted.is_empty() => Err(Refused(format!("{host} is {why}"))),
            _ => Ok(admitted),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            // The port is put in by the caller.
            let found: Vec<_> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if found.is_empty() {
                return Err(io::Error::other(format!("{host} has no address")).into());
            }
            let admitted: Addrs = Box::new(guard.admitted(&host, found)?.into_iter());
            Ok(admitted)
        })
    }
}

/// The IPv4 address that an IPv6 address stands for, or the address itself.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let s = v6.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::from(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        // NAT64 (64:ff9b::/96), IPv4-compatible (::/96 but :: and ::1), 6to4 (2002::/16).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

/// Why an address is not public; `None` where it is.
fn why_private(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => why_private_v4(v4),
        IpAddr::V6(v6) => why_private_v6(v6),
    }
}

fn why_private_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("of this network (0.0.0.0/8)"),
        [127, ..] => Some("a loopback address"),
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] => Some("a private address (RFC 1918)"),
        [169, 254, ..] => Some("a link-local address"),
        [100, 64..=127, ..] => Some("a shared address (100.64.0.0/10)"),
        [192, 0, 0, _] | [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Some("a reserved address")
        }
        [192, 88, 99, _] => Some("a 6to4 relay's address"),
        [198, 18..=19, ..] => Some("an address for benchmarks (198.18.0.0/15)"),
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

fn why_private_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("the unspecified address");
    }
    if address.is_loopback() {
        return Some("a loopback address");
    }
    match address.segments() {
        [0xfc00..=0xfdff, ..] => Some("a unique local address (fc00::/7)"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfec0..=0xfeff, ..] => Some("a site-local address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        // Of 2000::/3, which alone is given out: documentation, Teredo and ORCHID are not hosts'.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("an address for documentation"),
        [0x2001, 0..=0x1ff, ..] => Some("a reserved address"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guard(allowed: &[&str]) -> Guard {
        Guard::new(allowed.iter().map(|a| a.parse().unwrap()).collect())
    }

    fn judged(guard: &Guard, url: &str) -> bool {
        guard.url(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn hostile_urls_are_refused() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://0/",
            "http://10.96.0.1:443/",
            "http://172.31.255.255/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.100.100.200/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a00:1]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[2002:7f00:1::]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://[ff02::1]/",
            "http://[2001:db8::1]/",
        ] {
            assert!(!judged(&guard(&[]), url), "{url}");
        }
        for url in [
            "http://1.1.1.1/",
            "https://[2606:4700::1111]/",
            "http://172.32.0.1/",
            "http://host/",
        ] {
            assert!(judged(&guard(&[]), url), "{url}");
        }
    }

    #[test]
    fn what_is_allowed_may_be_reached() {
        let guard = guard(&[
            "10.0.0.0/8",
            "192.168.3.4",
            "hooks.ci.svc",
            "*.corp.example",
        ]);
        assert!(judged(&guard, "http://10.1.2.3/"));
        assert!(judged(&guard, "http://[::ffff:10.1.2.3]/"));
        assert!(judged(&guard, "http://192.168.3.4/"));
        assert!(!judged(&guard, "http://192.168.3.5/"));
        let inside: SocketAddr = "192.168.9.9:0".parse().unwrap();
        for (host, want) in [
            ("hooks.ci.svc", true),
            ("HOOKS.ci.svc.", true),
            ("a.corp.example", true),
            ("corp.example", false),
            ("evilcorp.example", false),
            ("x.hooks.ci.svc", false),
        ] {
            assert_eq!(guard.admitted(host, vec![inside]).is_ok(), want, "{host}");
        }
    }

    #[test]
    fn of_several_addresses_only_public_ones_are_connected_to() {
        let addresses = ["127.0.0.1:0", "1.1.1.1:0", "[::1]:0"].map(|a| a.parse().unwrap());
        let got = guard(&[]).admitted("rebinding.example", addresses.to_vec());
        assert_eq!(got.unwrap(), ["1.1.1.1:0".parse().unwrap()]);
        let why = guard(&[])
            .admitted("rebinding.example", vec![addresses[0]])
            .unwrap_err();
        assert!(
            why.to_string()
                .starts_with("rebinding.example is 127.0.0.1 is"),
            "{why}"
        );
    }

    proptest! {
        #[test]
        fn mapping_hides_nothing(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            let direct = guard(&[]).address(v4.into()).is_ok();
            let mapped = guard(&[]).address(v4.to_ipv6_mapped().into()).is_ok();
            prop_assert_eq!(direct, mapped);
            if v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_multicast() || v4.is_unspecified() || v4.is_broadcast() {
                prop_assert!(!direct);
            }
        }

        #[test]
        fn rules_never_panic(text in "\\PC{0,80}") {
            let _ = text.parse::<Allowed>();
        }
    }
}
