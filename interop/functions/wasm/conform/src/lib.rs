//! One function for every behaviour the conformance scenarios look at: user configuration `do` says which.

use geminga_function::{Context, Error, Record, function};

#[function]
fn conform(input: String, context: &Context) -> Result<Option<String>, Error> {
    let what: String = context.user_config("do")?.unwrap_or_else(|| "seen".to_owned());
    Ok(match what.as_str() {
        "seen" => {
            context.increment("seen", 1);
            Some(input + "!")
        }
        "exclaim" => Some(input + "!"),
        "throw" => {
            context.increment("thrown", 1);
            if input.starts_with("bad") {
                return Err(Error::new(format!("cannot take {input}")));
            }
            Some(input + "!")
        }
        "count" => {
            context.increment(&input, 1);
            Some(format!("{input}={}", context.counter(&input)?))
        }
        "remember" => {
            let before = context.get_state("last")?;
            context.put_state("last", &input);
            Some(before.map_or_else(|| "nothing".to_owned(), |value| String::from_utf8_lossy(&value).into_owned()))
        }
        "publish" => {
            let to: String = context.user_config("to")?.unwrap_or_default();
            context.publish(&Record::new(input + " elsewhere").to(to).property("by", "publish"));
            None
        }
        "log" => {
            context.info(format!("seen {input}"));
            None
        }
        "about" => {
            let (about, message) = (context.about(), context.message());
            let number: Option<i64> = context.user_config("number")?;
            let properties: Vec<String> = message.properties.iter().map(|(k, v)| format!("{k}={v}")).collect();
            Some(
                [
                    about.tenant,
                    about.namespace,
                    about.name,
                    message.topic.clone(),
                    message.key.clone().unwrap_or_default(),
                    properties.join(","),
                    about.output.unwrap_or_default(),
                    number.map_or_else(|| "none".to_owned(), |n| n.to_string()),
                ]
                .join("|"),
            )
        }
        "secret" => {
            let same = context.secret("password").as_deref() == Some("open sesame");
            Some(if same { "same" } else { "different" }.to_owned())
        }
        "metric" => {
            context.record_metric("length", input.len() as f64);
            Some(input)
        }
        _ => None,
    })
}
