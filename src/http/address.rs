//! Keys for policies: one for each host that is called, or for each client that calls.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ::http::{HeaderMap, HeaderName, Uri};

/// The host and the port that a URI leads to: a key for policies that each host has of its own.
///
/// `uri` is a [`Uri`], or text that can be read as one: `authority(request.uri())`, `authority(url.as_str())`.
///
/// The host is in lower case. A port that the URI does not name is that of its scheme, where it is `http`, `https`,
/// `ws` or `wss`. User and password are left out. The key is empty if there is no host, as in most requests to a
/// server, or if the text is not that of a URI. So these share one policy.
///
/// ```
/// use withstand::http::authority;
///
/// assert_eq!(authority("https://me:secret@API.example/users"), "api.example:443");
/// assert_eq!(authority("https://api.example:443/orders"), "api.example:443");
/// assert_eq!(authority(&http::Uri::from_static("http://api.example/users")), "api.example:80");
/// assert_eq!(authority(reqwest::Url::parse("http://api.example:8080").unwrap().as_str()), "api.example:8080");
/// assert_eq!(authority("/users"), "");
/// ```
pub fn authority(uri: impl TryInto<Uri>) -> String {
    let Ok(uri) = uri.try_into() else { return String::new() };
    let mut key = uri.host().unwrap_or_default().to_ascii_lowercase();
    let port = uri.port_u16().or(match uri.scheme_str() {
        Some("http" | "ws") => Some(80),
        Some("https" | "wss") => Some(443),
        Some(_) | None => None,
    });
    if let Some(port) = port.filter(|_| !key.is_empty()) {
        key.push(':');
        key.push_str(&port.to_string());
    }
    key
}

/// The address of the client that sent a request, as the proxies in front of this server tell it.
///
/// `peer` is the other end of the connection. `trusted_proxies` is how many proxies of yours a request passes before it
/// is here: each of them adds to `X-Forwarded-For` the address that it was called from. With 0 the header is not read.
/// With `n` the answer is the n-th address from the right. **Whatever is further left was written by the client, and
/// may be anything.** Where there are fewer addresses, or one cannot be read, it is the last that could be read.
///
/// An IPv4 address that is written as an IPv6 one (`::ffff:192.0.2.1`) becomes IPv4. So a client has one address,
/// however it is written.
///
/// ```
/// # use std::net::IpAddr;
/// use http::HeaderMap;
/// use withstand::http::client_ip;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("x-forwarded-for", "203.0.113.9, 198.51.100.7".parse().unwrap());
/// let peer = IpAddr::from([10, 0, 0, 1]);
/// assert_eq!(client_ip(peer, &headers, 0), peer);
/// assert_eq!(client_ip(peer, &headers, 1), IpAddr::from([198, 51, 100, 7]));
/// ```
pub fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted_proxies: usize) -> IpAddr {
    static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

    let lines = headers.get_all(&X_FORWARDED_FOR).iter().rev();
    let from_the_right = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let addresses = from_the_right.take(trusted_proxies).map_while(parse_address);
    addresses.last().unwrap_or(peer).to_canonical()
}

/// An address as it is, or with a port as some proxies add it.
fn parse_address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let alone = || entry.parse().ok();
    let with_port = || entry.parse().ok().map(|socket: SocketAddr| socket.ip());
    let bracketed = || Some(IpAddr::V6(entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?));
    alone().or_else(with_port).or_else(bracketed)
}

/// The address that a client's limit is counted under: an IPv4 address as it is, an IPv6 address without its last 72
/// bits.
///
/// One client of IPv6 has a whole network, 2⁶⁴ addresses or more: commonly a /56. A limit for each address would limit
/// nothing. An IPv4 address that is written as an IPv6 one becomes IPv4 first.
///
/// ```
/// # use std::net::IpAddr;
/// use withstand::http::ip_key;
///
/// let ip = |text: &str| text.parse::<IpAddr>().unwrap();
/// assert_eq!(ip_key(ip("2001:db8:1:23ff::7")), ip("2001:db8:1:2300::"));
/// assert_eq!(ip_key(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
/// ```
pub fn ip_key(address: IpAddr) -> IpAddr {
    const NETWORK_BITS: u32 = 56;
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - NETWORK_BITS))).into(),
    }
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;
    use proptest::prelude::*;

    use super::{super::testing::headers, *};

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn w1_an_authority_is_the_same_however_it_is_written() {
        for (uri, is) in [
            ("http://Example.COM", "example.com:80"),
            ("http://example.com:80/path?query", "example.com:80"),
            ("https://example.com:8443/", "example.com:8443"),
            ("wss://example.com/", "example.com:443"),
            ("http://user:pass@example.com/", "example.com:80"),
            ("http://[2001:DB8::1]/", "[2001:db8::1]:80"),
            ("redis://example.com/", "example.com"),
            ("redis://example.com:6379/", "example.com:6379"),
            ("/path", ""),
            ("*", ""),
        ] {
            assert_eq!(authority(uri), is, "{uri}");
            let parsed: Uri = uri.parse().expect("a URI");
            assert_eq!(authority(&parsed), is, "{uri}");
            assert_eq!(authority(parsed), is, "{uri}");
        }
        // The form of a CONNECT has no scheme.
        assert_eq!(authority("Example.com:443"), "example.com:443");
        assert_eq!(authority("Example.com"), "example.com");
        for none in ["", " ", "http://", "http:///path", "http://:80/", "no host", "http://[::1/"] {
            assert_eq!(authority(none), "", "{none:?}");
        }
    }

    #[test]
    fn w2_the_client_is_as_many_addresses_from_the_right_as_there_are_proxies() {
        let peer = ip("10.0.0.1");
        let told = headers(&[("x-forwarded-for", "6.6.6.6, 1.1.1.1"), ("x-forwarded-for", "2.2.2.2 ,3.3.3.3")]);
        let expected = ["10.0.0.1", "3.3.3.3", "2.2.2.2", "1.1.1.1", "6.6.6.6", "6.6.6.6"];
        for (proxies, is) in expected.into_iter().enumerate() {
            assert_eq!(client_ip(peer, &told, proxies), ip(is), "{proxies} proxies");
        }
        assert_eq!(client_ip(peer, &told, usize::MAX), ip("6.6.6.6"));
        assert_eq!(client_ip(ip("::ffff:10.0.0.1"), &HeaderMap::new(), 3), peer);
    }

    #[test]
    fn w2_an_address_that_cannot_be_read_ends_the_walk() {
        let peer = ip("10.0.0.1");
        for garbage in ["", "unknown", "1.2.3", "1.2.3.4:", "[::1", "999.1.1.1", "fe80::1%eth0"] {
            let told = headers(&[("x-forwarded-for", &format!("6.6.6.6,{garbage},3.3.3.3"))]);
            assert_eq!(client_ip(peer, &told, 3), ip("3.3.3.3"), "{garbage:?}");
            let told = headers(&[("x-forwarded-for", &format!("6.6.6.6,{garbage}"))]);
            assert_eq!(client_ip(peer, &told, 1), peer, "{garbage:?}");
        }
        let mut told = HeaderMap::new();
        told.insert("x-forwarded-for", HeaderValue::from_bytes(b"\xff, 3.3.3.3").expect("any byte but a control"));
        assert_eq!(client_ip(peer, &told, 1), ip("3.3.3.3"), "what is further left does not matter");
    }

    #[test]
    fn w2_an_address_may_have_a_port_and_is_ipv4_by_its_bits() {
        for (entry, is) in [
            ("1.2.3.4:5678", "1.2.3.4"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("::ffff:102:304", "1.2.3.4"),
            ("0:0:0:0:0:FFFF:0102:0304", "1.2.3.4"),
            ("[::ffff:1.2.3.4]:80", "1.2.3.4"),
        ] {
            assert_eq!(client_ip(ip("10.0.0.1"), &headers(&[("x-forwarded-for", entry)]), 1), ip(is), "{entry}");
        }
    }

    #[test]
    fn w2_a_client_of_ipv6_is_its_network() {
        for (address, key) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
            ("2001:db8:1:2345:6789:abcd:ef01:2345", "2001:db8:1:2300::"),
            ("2001:db8:1:23ff::", "2001:db8:1:2300::"),
            ("2001:db8:1:2400::", "2001:db8:1:2400::"),
            ("::1", "::"),
        ] {
            assert_eq!(ip_key(ip(address)), ip(key), "{address}");
        }
    }

    #[test]
    fn w2_ten_thousand_addresses_are_walked_only_as_far_as_needed() {
        let mut told = HeaderMap::new();
        for _ in 0..10_000 {
            told.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
        }
        told.append("x-forwarded-for", HeaderValue::from_static("1.1.1.1, 2.2.2.2"));
        assert_eq!(client_ip(ip("10.0.0.1"), &told, 2), ip("1.1.1.1"));
    }

    proptest! {
        #[test]
        fn w2_any_bytes_are_walked_without_a_panic(lines: Vec<Vec<u8>>, proxies in 0..10_usize) {
            let mut told = HeaderMap::new();
            for value in lines.iter().filter_map(|bytes| HeaderValue::from_bytes(bytes).ok()) {
                told.append("x-forwarded-for", value);
            }
            let _ = ip_key(client_ip(ip("::1"), &told, proxies));
        }

        /// What a client writes on the left changes nothing.
        #[test]
        fn w2_a_client_cannot_choose_its_address(forged in "[ -~]{0,60}", octets: [u8; 4], proxies in 1..4_usize) {
            let real = IpAddr::from(octets);
            let added = vec!["10.1.1.1"; proxies - 1].join(",");
            let list = [forged, real.to_string(), added].join(",");
            let told = headers(&[("x-forwarded-for", list.trim_end_matches(','))]);
            prop_assert_eq!(client_ip(ip("10.0.0.1"), &told, proxies), real);
        }

        #[test]
        fn w1_any_text_has_an_authority_or_none_without_a_panic(text in "[a-z]{1,6}://[ -~]{0,40}") {
            let _ = authority(text);
        }
    }
}
