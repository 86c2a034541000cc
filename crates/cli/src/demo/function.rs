//! The code of the demo's functions: this program itself, as a child that speaks the JSON lines of `docs/reference/process-protocol.md`.
//!
//! `prime-search` finds the next prime by trial division and then waits, as if for a database: its work is a little processor time and much
//! waiting, which a target of CPU cannot see. `tally` counts messages by key in its state.

use serde::Deserialize;
use serde_json::json;
use std::{
    io::{self, BufRead, Write},
    time::Duration,
};

/// What the two are told; other members of the protocol do not matter here.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Told {
    Hello(Hello),
    Invoke {
        id: u64,
        message: Message,
    },
    #[serde(other)]
    Else,
}

#[derive(Debug, Deserialize)]
struct Hello {
    user_config: Work,
}

/// What the user configuration of the function says.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(tag = "work", rename_all = "kebab-case")]
enum Work {
    #[serde(rename_all = "camelCase")]
    PrimeSearch {
        /// Waiting after each search.
        wait_ms: u64,
    },
    Tally,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    payload: String,
    #[serde(default)]
    key: String,
}

/// Works until its input ends.
///
/// # Errors
/// What is read is not the protocol, or nobody reads what is written.
pub(super) fn serve() -> anyhow::Result<()> {
    let (mut lines, mut out) = (io::stdin().lock().lines(), io::stdout().lock());
    let mut work = None;
    for line in &mut lines {
        let said = match (serde_json::from_str(&line?)?, work) {
            (Told::Hello(hello), _) => {
                work = Some(hello.user_config);
                json!({"type": "ready"})
            }
            (Told::Invoke { id, message }, Some(work)) => answer(id, &message, work),
            _ => continue,
        };
        serde_json::to_writer(&mut out, &said)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(id: u64, message: &Message, work: Work) -> serde_json::Value {
    let key = &message.key;
    match work {
        Work::PrimeSearch { wait_ms } => match message.payload.trim().parse() {
            Ok(from) => {
                let prime = next_prime(from).to_string();
                std::thread::sleep(Duration::from_millis(wait_ms));
                json!({"type": "done", "id": id, "outputs": [{"payload": prime, "key": key}]})
            }
            Err(error) => json!({"type": "done", "id": id, "error": format!("'{}': {error}", message.payload)}),
        },
        Work::Tally => json!({"type": "done", "id": id, "output": format!("{key} {}", message.payload),
            "changes": [{"add": key, "amount": 1}]}),
    }
}

/// The first prime from `from` on that 64 bits hold; they hold one for any `from` the demo makes.
fn next_prime(from: u64) -> u64 {
    (from.max(2)..=u64::MAX).find(|&n| is_prime(n)).unwrap_or(u64::MAX)
}

/// By trial division: slow on purpose.
fn is_prime(n: u64) -> bool {
    (n == 2 || !n.is_multiple_of(2))
        && n > 1
        && (3..).step_by(2).take_while(|d| *d <= n / d).all(|d| !n.is_multiple_of(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_found() {
        let found: Vec<u64> = [0, 3, 4, 90, 1_000_000_000].into_iter().map(next_prime).collect();
        assert_eq!(found, [2, 3, 5, 97, 1_000_000_007]);
    }

    #[test]
    fn each_work_answers_in_the_protocol() {
        let message = Message { payload: "90".to_owned(), key: "key-1".to_owned() };
        let search = answer(7, &message, Work::PrimeSearch { wait_ms: 0 });
        assert_eq!(search, json!({"type": "done", "id": 7, "outputs": [{"payload": "97", "key": "key-1"}]}));
        let tally = answer(8, &message, Work::Tally);
        assert_eq!(tally["changes"], json!([{"add": "key-1", "amount": 1}]));
        let wrong = answer(9, &Message { payload: "x".to_owned(), ..message }, Work::PrimeSearch { wait_ms: 0 });
        assert!(wrong["error"].as_str().is_some_and(|error| error.starts_with("'x': ")));
    }

    #[test]
    fn the_user_configuration_says_which() {
        let hello = json!({"type": "hello", "protocol": 1, "user_config": {"work": "prime-search", "waitMs": 5}});
        let Ok(Told::Hello(hello)) = serde_json::from_value(hello) else { panic!("not a hello") };
        assert!(matches!(hello.user_config, Work::PrimeSearch { wait_ms: 5 }));
    }
}
