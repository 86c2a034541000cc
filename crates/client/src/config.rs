//! How a client connects and how patient it is.

use std::time::Duration;

/// How a client reaches brokers. `Config::new(url)` has the values an application wants.
#[derive(Clone, Debug)]
pub struct Config {
    /// `pulsar://host:port[,host:port...]`; the first that answers is used.
    pub service_url: String,
    /// How long a TCP connection and the handshake may take.
    pub connect_timeout: Duration,
    /// How long a request may wait for its answer.
    pub request_timeout: Duration,
    /// A PING is sent this often; a peer that is silent for twice as long is gone. Pulsar: `keepAliveIntervalSeconds`.
    pub keep_alive: Duration,
    /// Connections for each broker address; producers and consumers are spread over them.
    pub connections_per_broker: usize,
    /// What producers and consumers do when their connection is lost; `None`: they fail.
    pub reconnect: Option<Backoff>,
    /// A token for the `token` authentication method.
    pub token: Option<String>,
}

impl Config {
    /// The defaults, for `service_url`.
    #[must_use]
    pub fn new(service_url: impl Into<String>) -> Self {
        Self {
            service_url: service_url.into(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(30),
            connections_per_broker: 1,
            reconnect: Some(Backoff::default()),
            token: None,
        }
    }
}

/// Waits that double from `first` to `most`, until `give_up_after` has passed altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub most: Duration,
    /// The sum of all waits after which the error is final; `None`: never.
    pub give_up_after: Option<Duration>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), most: Duration::from_secs(10), give_up_after: None }
    }
}

impl Backoff {
    /// The waits of one outage, in order; it ends when it is time to give up. `spread` in 0.0..1.0 takes up to a fifth
    /// off each wait, so that clients of one broker do not all return at the same moment.
    pub fn waits(self, spread: f64) -> impl Iterator<Item = Duration> + Send {
        let (mut next, mut spent) = (self.first, Duration::ZERO);
        std::iter::from_fn(move || {
            if self.give_up_after.is_some_and(|limit| spent >= limit) {
                return None;
            }
            let wait = next.mul_f64(1.0 - 0.2 * spread.clamp(0.0, 1.0));
            spent += wait;
            next = (next * 2).min(self.most);
            Some(wait)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_end() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            most: Duration::from_millis(300),
            give_up_after: Some(Duration::from_millis(900)),
        };
        let millis: Vec<_> = backoff.waits(0.0).map(|wait| wait.as_millis()).collect();
        assert_eq!(millis, [100, 200, 300, 300]);
        assert_eq!(backoff.waits(1.0).next(), Some(Duration::from_millis(80)));
    }
}
