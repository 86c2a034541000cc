//! Who may deploy, and see code, logs and state. Code that is deployed runs on this machine, and there is no authentication
//! yet, so by default only programs of this machine may: the connection comes from loopback and arrives at loopback.
//!
//! A web page in a browser of this machine is such a program, too. It is told apart by what browsers say: a page from
//! elsewhere sends an `Origin` that is not this host, and one that made its own name point here (DNS rebinding) sends
//! that name as `Host`.

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, connect_info::Connected},
    http::{HeaderMap, Method, StatusCode, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::Hosted;
use crate::reply::{Failure, Reply};
use web_listener::{Bounded, Patience};

/// From where functions, sources, sinks and packages may be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployFrom {
    /// Programs of this machine.
    #[default]
    Loopback,
    /// Whoever reaches the port: any of them can run any program here.
    Anywhere,
}

/// Who may deploy functions, sources, sinks and packages, which is to run code here.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Deploying {
    /// `loopback`: programs of this machine. `anywhere`: whoever reaches the port can run any program here.
    pub from: DeployFrom,
    /// Names of this host besides `localhost` and addresses, as clients write them in URLs. A request that calls it
    /// otherwise is refused, since it may come from a web page. `*` stands for all names.
    pub hosts: Vec<String>,
    /// How long a deployment may take, with all that is compiled and installed for it.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for Deploying {
    fn default() -> Self {
        Self { from: DeployFrom::Loopback, hosts: Vec::new(), timeout: Duration::from_secs(600) }
    }
}

/// Both ends of the connection that a request came through.
#[derive(Clone)]
pub(crate) struct Peer {
    remote: SocketAddr,
    /// `None` when the system does not tell.
    local: Option<SocketAddr>,
    patience: Patience,
}

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self { remote: *stream.remote_addr(), local: stream.io().local_addr(), patience: stream.io().patience() }
    }
}

/// Lets a request through, or says why not. What only reads passes; where it reads what is nobody else's business, its handler takes
/// an [`Insider`].
pub(super) async fn check(rules: Arc<Deploying>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.clone());
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !is_reading && let Err(refusal) = admit(&rules, peer.as_ref(), request.uri(), request.headers()) {
        return refusal.into_response();
    }
    // Nothing moves on the connection while code is compiled.
    let _patient = peer.map(|peer| peer.patience.hold());
    next.run(request).await
}

/// Who asks may deploy, and so may see what a function is made of, says and remembers.
pub(super) struct Insider;

impl FromRequestParts<Hosted> for Insider {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, hosted: &Hosted) -> Reply<Self> {
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer);
        admit(&hosted.app.config.deploying, peer, &parts.uri, &parts.headers).map(|()| Self)
    }
}

fn admit(rules: &Deploying, peer: Option<&Peer>, uri: &Uri, headers: &HeaderMap) -> Reply<()> {
    let ends = peer.map(|peer| (peer.remote.ip(), peer.local.map(|local| local.ip())));
    may_deploy(rules, ends, uri, headers)
}

fn may_deploy(rules: &Deploying, ends: Option<(IpAddr, Option<IpAddr>)>, uri: &Uri, headers: &HeaderMap) -> Reply<()> {
    let no = |reason: String| Err(Failure::new(StatusCode::FORBIDDEN, reason));
    if rules.from == DeployFrom::Loopback {
        let is_here = |address: IpAddr| address.to_canonical().is_loopback();
        let both = ends.is_some_and(|(remote, local)| is_here(remote) && local.is_some_and(is_here));
        if !both {
            return no(
                "code can be deployed, and code, logs and state be read, from this machine only, over its loopback \
                       address, because there is no authentication yet; `from = \"anywhere\"` in the section \
                       `admin.deploying` of the configuration lets everybody run code here"
                    .to_owned(),
            );
        }
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return no("the request has no `Host` header, or several".to_owned());
    };
    let host = host.to_str().unwrap_or_default();
    let in_uri = uri.authority().map(|authority| authority.as_str());
    if !is_ours(rules, host) || in_uri.is_some_and(|authority| !authority.eq_ignore_ascii_case(host)) {
        let shown: String = host.chars().take(100).collect();
        return no(format!(
            "the request is for the host {shown:?}, which may be a web page's doing; use localhost or an address, or add \
             the name to `hosts` in the section `admin.deploying` of the configuration"
        ));
    }
    let says = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?").to_owned());
    for origin in says("origin") {
        let same = [format!("http://{host}"), format!("https://{host}")];
        if !same.iter().any(|same| same.eq_ignore_ascii_case(&origin)) {
            let shown: String = origin.chars().take(100).collect();
            return no(format!("the request comes from a web page of {shown:?}; only pages of this host may do that"));
        }
    }
    if says("sec-fetch-site").any(|site| site != "same-origin" && site != "none") {
        return no("the request comes from a web page of another site; only pages of this host may do that".to_owned());
    }
    Ok(())
}

/// Whether `host`, with or without a port, is a name that only this host has.
fn is_ours(rules: &Deploying, host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an address without a port are within brackets.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    // An address is no name that could have been made to point here. But who deploys from here has no use for others.
    let is_address = match bare.parse::<IpAddr>() {
        Ok(address) => rules.from == DeployFrom::Anywhere || address.to_canonical().is_loopback(),
        Err(_) => false,
    };
    let is_named = |own: &String| own == "*" || own.eq_ignore_ascii_case(name);
    is_address || name.eq_ignore_ascii_case("localhost") || rules.hosts.iter().any(is_named)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "127.0.0.1";

    fn check(rules: &Deploying, remote: &str, local: &str, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        let ends = Some((remote.parse().unwrap(), Some(local.parse().unwrap())));
        may_deploy(rules, ends, &Uri::from_static("/admin/v3/functions/a/b/c"), &headers).is_ok()
    }

    #[test]
    fn programs_of_this_machine_may_deploy() {
        let rules = Deploying::default();
        for host in ["localhost:8080", "localhost", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "[::1]", "LocalHost:1"]
        {
            assert!(check(&rules, HERE, HERE, &[("host", host)]), "{host}");
            let origin = format!("http://{host}");
            assert!(check(&rules, "::1", "::1", &[("host", host), ("origin", &origin)]), "{host}");
        }
        assert!(check(&rules, "::ffff:127.0.0.1", "::ffff:127.0.0.1", &[("host", "localhost")]));
    }

    #[test]
    fn other_machines_may_not() {
        let rules = Deploying::default();
        for (remote, local) in [("10.0.0.2", "10.0.0.1"), ("10.0.0.1", HERE), (HERE, "10.0.0.1"), ("::2", "::1")] {
            assert!(!check(&rules, remote, local, &[("host", "localhost:8080")]), "{remote} {local}");
        }
        let unknown = may_deploy(&rules, None, &Uri::from_static("/"), &HeaderMap::new());
        assert!(unknown.is_err());
    }

    #[test]
    fn a_name_that_was_made_to_point_here_may_not() {
        let rules = Deploying::default();
        for host in
            ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1:8080", "", "localhost:x", "a:b:c"]
        {
            let origin = format!("http://{host}");
            assert!(!check(&rules, HERE, HERE, &[("host", host)]), "{host}");
            assert!(!check(&rules, HERE, HERE, &[("host", host), ("origin", &origin)]), "{host}");
        }
        assert!(!check(&rules, HERE, HERE, &[]));
        let twice = [(header::HOST, "localhost"), (header::HOST, "evil.example")];
        let mut headers = HeaderMap::new();
        for (name, value) in twice {
            headers.append(name, value.parse().unwrap());
        }
        let ends = Some((HERE.parse().unwrap(), Some(HERE.parse().unwrap())));
        assert!(may_deploy(&rules, ends, &Uri::from_static("/"), &headers).is_err());
        let absolute = Uri::from_static("http://evil.example/admin");
        let headers = HeaderMap::from_iter([(header::HOST, "localhost".parse().unwrap())]);
        assert!(may_deploy(&rules, ends, &absolute, &headers).is_err());
    }

    #[test]
    fn a_page_from_elsewhere_may_not() {
        let rules = Deploying::default();
        for origin in ["http://evil.example", "null", "http://localhost:3000", "https://localhost.evil.example", ""] {
            assert!(!check(&rules, HERE, HERE, &[("host", "localhost:8080"), ("origin", origin)]), "{origin}");
        }
        for (site, may) in [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)] {
            assert_eq!(check(&rules, HERE, HERE, &[("host", "localhost"), ("sec-fetch-site", site)]), may, "{site}");
        }
    }

    #[test]
    fn it_can_be_opened_in_the_configuration() {
        let mut rules = Deploying { from: DeployFrom::Anywhere, ..Deploying::default() };
        assert!(check(&rules, "10.0.0.2", "10.0.0.1", &[("host", "10.0.0.1:8080")]));
        assert!(!check(&rules, "10.0.0.2", "10.0.0.1", &[("host", "broker:8080")]));
        rules.hosts = vec!["broker".to_owned()];
        assert!(check(&rules, "10.0.0.2", "10.0.0.1", &[("host", "broker:8080")]));
        assert!(!check(&rules, "10.0.0.2", "10.0.0.1", &[("host", "broker"), ("origin", "http://evil.example")]));
        rules.hosts = vec!["*".to_owned()];
        assert!(check(&rules, "10.0.0.2", "10.0.0.1", &[("host", "anything:1")]));
    }
}
