//! What a function can do, well and badly, chosen by the first word of a message. For Geminga's own tests.

#![allow(unconditional_recursion)]

use geminga_function::{Context, Error, Level, Record, function, setup};
use std::{hint::black_box, thread, time::Duration};

static mut STARTED: bool = false;
static mut CALLS: u32 = 0;

#[setup]
fn start() -> Result<(), Error> {
    // One thread, no reentrance: a component is called once at a time.
    unsafe { STARTED = true };
    println!("hello from setup");
    Ok(())
}

#[function]
fn act(input: String, context: &Context) -> Result<Option<String>, Error> {
    let calls = unsafe {
        CALLS += 1;
        CALLS
    };
    let words: Vec<&str> = input.split(' ').collect();
    match words.as_slice() {
        ["echo", text] => Ok(Some((*text).to_owned())),
        ["nothing"] => Ok(None),
        ["started"] => Ok(Some(unsafe { STARTED }.to_string())),
        ["calls"] => Ok(Some(calls.to_string())),
        ["fail", text] => Err(Error::new(text)),
        ["panic", text] => panic!("{text}"),
        ["loop"] => loop {
            black_box(());
        },
        ["recurse"] => Ok(Some(recurse(1).to_string())),
        ["spin", ms] => {
            let start = std::time::Instant::now();
            while start.elapsed() < Duration::from_millis(ms.parse()?) {
                black_box(());
            }
            Ok(None)
        }
        ["sleep", ms] => {
            thread::sleep(Duration::from_millis(ms.parse()?));
            Ok(None)
        }
        ["allocate", mib] => {
            let bytes = vec![1_u8; mib.parse::<usize>()? << 20];
            Ok(Some(black_box(bytes).len().to_string()))
        }
        ["leak", mib] => {
            std::mem::forget(black_box(vec![1_u8; mib.parse::<usize>()? << 20]));
            Ok(None)
        }
        ["huge", mib] => {
            let record = Record::new(vec![0_u8; 1 << 20]).to("elsewhere");
            for _ in 0..mib.parse::<usize>()? {
                context.publish(&record);
            }
            Ok(None)
        }
        ["put", key, value] => {
            context.put_state(key, value);
            Ok(None)
        }
        ["delete", key] => {
            context.delete_state(key);
            Ok(None)
        }
        ["get", key] => Ok(context.get_state(key)?.map(|value| String::from_utf8_lossy(&value).into_owned())),
        ["add", key, amount] => {
            context.increment(key, amount.parse()?);
            Ok(Some(context.counter(key)?.to_string()))
        }
        ["put-get-delete-get", key] => {
            context.put_state(key, "own");
            let own = context.get_state(key)?;
            context.delete_state(key);
            Ok(Some(format!("{own:?} {:?}", context.get_state(key)?)))
        }
        ["put-then-fail", key] => {
            context.put_state(key, "lost");
            context.publish(&Record::new("lost").to("elsewhere"));
            context.record_metric("tried", 1.0);
            Err(Error::new("after changes"))
        }
        ["publish", topic] => {
            context.publish(&Record::new("news").to(*topic).key("k").property("a", "b").event_time_ms(7));
            Ok(None)
        }
        ["metric", value] => {
            context.record_metric("size", value.parse()?);
            Ok(None)
        }
        ["ack"] => {
            context.ack();
            Ok(None)
        }
        ["log", text] => {
            context.log(Level::Warn, text);
            println!("to stdout: {text}");
            eprint!("to stderr: ");
            eprintln!("{text}");
            Ok(None)
        }
        ["flood", lines] => {
            let line = "x".repeat(100);
            (0..lines.parse::<usize>()?).for_each(|_| println!("{line}"));
            Ok(None)
        }
        ["config", name] => Ok(context.user_config::<String>(name)?),
        ["number", name] => Ok(context.user_config::<i64>(name)?.map(|number| number.to_string())),
        ["secret", name] => Ok(context.secret(name)),
        ["about"] => {
            let about = context.about();
            let fqfn = format!("{}/{}/{}", about.tenant, about.namespace, about.name);
            Ok(Some(format!(
                "{fqfn} {} of {}, {:?} to {:?}",
                about.instance, about.parallelism, about.inputs, about.output
            )))
        }
        ["message"] => {
            let m = context.message();
            Ok(Some(format!(
                "{} {}:{} {:?} {:?} {}",
                m.topic, m.id.ledger, m.id.entry, m.key, m.properties, m.event_time_ms
            )))
        }
        ["env"] => Ok(Some(format!("{:?}", std::env::vars().collect::<Vec<_>>()))),
        ["read", path] => Ok(Some(std::fs::read_to_string(path)?)),
        ["write", path] => Ok(std::fs::write(path, "written").map(|()| None)?),
        ["listen", address] => Ok(std::net::TcpListener::bind(address).map(|_| None)?),
        ["connect", address] => Ok(std::net::TcpStream::connect(address).map(|_| None)?),
        _ => Err(Error::new(format_args!("not understood: {input}"))),
    }
}

/// Deeper than any stack.
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    recurse(depth + 1) + frame[0]
}
