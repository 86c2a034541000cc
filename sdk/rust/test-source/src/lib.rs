//! What a source can do, well and badly, chosen by its configuration. For Geminga's own tests.

use geminga_function::{Emitter, Error, Record, source};
use std::{hint::black_box, thread, time::Duration};

/// Says so when it goes.
struct Connection;

impl Drop for Connection {
    fn drop(&mut self) {
        println!("closed");
    }
}

#[source]
fn act(emitter: &mut Emitter) -> Result<(), Error> {
    let _connection = Connection;
    let script: String = emitter.user_config("act")?.ok_or_else(|| Error::new("no act"))?;
    let words: Vec<&str> = script.split(' ').collect();
    match words.as_slice() {
        ["count", to] => {
            for number in 0..to.parse::<u64>()? {
                emitter.emit(&Record::new(number.to_string()))?;
            }
            Ok(())
        }
        ["tell", to] => {
            for number in 0..to.parse::<u64>()? {
                emitter.emit_then(
                    &Record::new(number.to_string()).key("k").to("there"),
                    move |result| match result {
                        Ok(()) => println!("stored {number}"),
                        Err(why) => println!("refused {number}: {why}"),
                    },
                )?;
            }
            loop {
                emitter.wait(Duration::from_secs(3600))?;
            }
        }
        ["store"] => {
            for payload in ["first", "second"] {
                match emitter.store(&Record::new(payload)) {
                    Ok(()) => println!("{payload} is stored"),
                    Err(why) => println!("{payload} is not: {why}"),
                }
            }
            Ok(())
        }
        ["sleep", ms, times] => {
            for _ in 0..times.parse::<u32>()? {
                thread::sleep(Duration::from_millis(ms.parse()?));
            }
            emitter.emit(&Record::new("slept"))
        }
        ["emit-and-sleep"] => {
            emitter.emit(&Record::new("before"))?;
            println!("goes to sleep");
            thread::sleep(Duration::from_secs(3600));
            Ok(())
        }
        ["spin"] => loop {
            black_box(());
        },
        ["fail", why] => Err(Error::new(why)),
        ["panic", why] => panic!("{why}"),
        ["allocate", mib] => {
            black_box(vec![1_u8; mib.parse::<usize>()? << 20]);
            Ok(())
        }
        ["large", mib] => {
            let refused = emitter.emit(&Record::new(vec![0; mib.parse::<usize>()? << 20]));
            println!("{refused:?}");
            emitter.emit(&Record::new("small"))
        }
        ["about"] => {
            let about = emitter.about();
            let text = format!("{} {:?} {:?}", about.name, about.output, emitter.secret("TOKEN"));
            emitter.emit(&Record::new(text))
        }
        _ => Err(Error::new(format_args!("not understood: {script}"))),
    }
}
