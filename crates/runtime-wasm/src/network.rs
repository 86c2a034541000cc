//! Where a function may connect to: places it was granted by `host:port`, over TCP, and nowhere else. It listens nowhere.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};
use wasmtime_wasi::{WasiCtxBuilder, sockets::SocketAddrUse};

/// Stands for any host, or any port, in what a broker lets functions have.
const ANY: &str = "*";

/// A place that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    host: String,
    port: u16,
    /// The broker lets functions have any host on this port, which does not mean this machine: that is to be said by name.
    is_elsewhere: bool,
}

impl Place {
    /// The place of this text, if one of `grantable` has it.
    ///
    /// # Errors
    /// It is no place; it may not be granted.
    pub(crate) fn parse(text: &str, grantable: &[String]) -> Result<Self, String> {
        let no_place = || format!("network: {text:?} is not host:port");
        let (host, port) = split(text).filter(|(host, _)| *host != ANY).ok_or_else(no_place)?;
        let number = port.parse().ok().filter(|port| *port != 0).ok_or_else(no_place)?;
        let fits = |grantable: &&String| {
            let (its_host, its_port) = split(grantable)?;
            let is_named = its_host.eq_ignore_ascii_case(host);
            let is_fit = (is_named || its_host == ANY) && (its_port == ANY || its_port.parse() == Ok(number));
            is_fit.then_some(is_named)
        };
        let by_name = grantable.iter().filter_map(|grantable| fits(&grantable)).max();
        let Some(by_name) = by_name else {
            return Err(format!("{text} may not be granted: this broker's `grantable-addresses` do not have it"));
        };
        Ok(Self { host: host.to_owned(), port: number, is_elsewhere: !by_name })
    }

    fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether it is this address. Takes as long as looking up a name.
    fn is(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        if address.port() != self.port || self.is_elsewhere && (ip.is_loopback() || ip.is_unspecified()) {
            return false;
        }
        match self.address() {
            Some(granted) => granted.to_canonical() == ip,
            None => (self.host.as_str(), self.port)
                .to_socket_addrs()
                .is_ok_and(|mut found| found.any(|found| found.ip().to_canonical() == ip)),
        }
    }
}

/// Host and port; an IPv6 address is in brackets.
fn split(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(bare) => Some((bare, port)),
        None => (!host.is_empty() && !host.contains([':', '[', ']'])).then_some((host, port)),
    }
}

/// Lets a guest connect to these places.
pub(crate) fn give(places: &[Place], wasi: &mut WasiCtxBuilder) {
    if places.is_empty() {
        return;
    }
    let has_names = places.iter().any(|place| place.address().is_none());
    let places: Arc<[Place]> = places.into();
    wasi.allow_tcp(true).allow_ip_name_lookup(has_names).socket_addr_check(move |address, usage| {
        let places = Arc::clone(&places);
        Box::pin(async move {
            match usage {
                // Before it connects, a socket is bound to whatever the system likes.
                SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
                SocketAddrUse::TcpConnect => {
                    let is_granted = move || places.iter().any(|place| place.is(address));
                    tokio::task::spawn_blocking(is_granted).await.unwrap_or(false)
                }
                _ => false,
            }
        })
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, grantable: &[&str]) -> Result<Place, String> {
        Place::parse(text, &grantable.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
    }

    fn is(place: &Place, address: &str) -> bool {
        place.is(address.parse().unwrap())
    }

    #[test]
    fn a_place_is_granted_where_the_broker_has_its_host_and_its_port() {
        for grantable in ["db.example.org:5432", "DB.example.org:*", "*:5432", "*:*"] {
            assert!(place("db.example.org:5432", &["other:1", grantable]).is_ok(), "{grantable}");
        }
        for grantable in ["db.example.org:5433", "example.org:5432", "nonsense", ""] {
            assert!(
                place("db.example.org:5432", &[grantable]).unwrap_err().contains("may not be granted"),
                "{grantable}"
            );
        }
        assert!(place("db.example.org:5432", &[]).is_err());
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "db", "db:", "db:0", "db:70000", "db:*", "*:80", ":80", "::1:80", "[::1]"] {
            assert!(place(text, &["*:*"]).unwrap_err().contains("is not host:port"), "{text}");
        }
    }

    #[test]
    fn an_address_is_that_address_and_that_port() {
        let place = place("127.0.0.1:80", &["127.0.0.1:*"]).unwrap();
        assert!(is(&place, "127.0.0.1:80") && is(&place, "[::ffff:127.0.0.1]:80"));
        assert!(!is(&place, "127.0.0.1:81") && !is(&place, "127.0.0.2:80"));
        assert!(is(&self::place("[::1]:80", &["[::1]:80"]).unwrap(), "[::1]:80"));
    }

    #[test]
    fn any_host_does_not_mean_this_machine_whatever_a_name_leads_to() {
        for host in ["127.0.0.1", "localhost", "0.0.0.0"] {
            let elsewhere = place(&format!("{host}:80"), &["*:80"]).unwrap();
            assert!(!is(&elsewhere, "127.0.0.1:80") && !is(&elsewhere, "0.0.0.0:80"), "{host}");
        }
        let named = place("localhost:80", &["*:80", "localhost:80"]).unwrap();
        assert!(is(&named, "127.0.0.1:80"));
        assert!(is(&place("10.0.0.7:80", &["*:80"]).unwrap(), "10.0.0.7:80"));
    }
}
