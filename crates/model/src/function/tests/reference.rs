//! The reference page of configurations, generated from the comments at the fields.
//!
//! `UPDATE_EXPECT=1 cargo test -p model` writes it anew.

use super::*;
use crate::function::record::{Described, Description};
use std::fmt::Write;

const INTRODUCTION: &str = "\
# Configuration of functions, sources and sinks

What `functions create`, `sources create` and `sinks create` take, as JSON or YAML, and what `/admin/v3` takes and returns. Names
are Pulsar's. Nothing is required but what has no default: inputs, the code, and a name where no class gives one.

A configuration that does not fit is refused with all of its mistakes at once. `null` and the empty text are as good as absent.
Sizes are bytes, times are milliseconds, both plain numbers: `268435456`, not `256m`.
";

const RULES: &str = "
## What excludes what

- `retainOrdering` and `retainKeyOrdering`: the first makes the subscription Failover, the second Key_Shared, neither Shared.
- `EFFECTIVELY_ONCE` (a Failover subscription, too) and `retainKeyOrdering`, `maxMessageRetries`, or `autoAck: false`.
- `ATMOST_ONCE` and `autoAck: false`.
- `timeoutMs` of a function and any guarantee but `ATLEAST_ONCE`.
- `deadLetterTopic` and no `maxMessageRetries`.
- `windowConfig` and `MANUAL`; a length or a sliding interval by count and by time; `lateDataTopic` and no
  `timestampExtractorClassName`.
- `schemaType` and `serdeClassName` of one topic.
- A topic that is read and written, whichever fields name it and however it is spelled.
- More than one of `jar`, `py`, `go`, `wasm` and `exec`; a `runtime` that is not that of the code.
- `GO` and `EFFECTIVELY_ONCE`, `windowConfig`, `maxMessageRetries` or `retainKeyOrdering`: a Go binary brings its own instance,
  which has none of these.

## What an update may change

An update holds what is to change; what it does not name stays. `userConfig`, `configs`, `secrets`, `producerConfig` and
`windowConfig` are replaced whole, `resources` part by part, `inputSpecs` topic by topic. Tenant, namespace, name, input topics,
schema and SerDe of the output, guarantees, ordering, runtime, `autoAck` and the subscription stay what they are.

## Consumer properties

`consumerProperties` of an input are texts. These have an effect; the others of Pulsar's Java client are accepted and have none, which
the log says when a function is deployed, since an instance needs no client and acknowledges within a commit.

| Property | What it does |
|---|---|
| `negativeAckRedeliveryDelayMicros`, `negativeAckRedeliveryDelayMs` | Time until a message that failed comes again, at least 100 ms; 60 s where nothing is said. `timeoutMs` of a function and `negativeAckRedeliveryDelayMs` of a sink win. |
| `receiverQueueSize` | Messages an instance may have in hand; `receiverQueueSize` of the input wins. |
| `consumerName` | The name in the statistics of the topic. |
| `subscriptionInitialPosition` | `Latest` or `Earliest`, for a new subscription. |
";

fn text(comment: &str) -> String {
    // Comment lines begin with a blank; paragraphs after the first are for readers of the code.
    let lines: Vec<&str> = comment.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ").replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

/// A Rust type in words; records and choices link to their section.
fn kind(rust: &str) -> String {
    let rust = rust.replace(char::is_whitespace, "");
    let within = |outer: &str| rust.strip_prefix(outer).and_then(|rest| rest.strip_suffix('>'));
    if let Some(inner) = within("Option<") {
        return kind(inner);
    }
    if let Some(inner) = within("Vec<") {
        return format!("list of {}", kind(inner));
    }
    if rust == "Map<String,Value>" {
        return "object".to_owned();
    }
    if let Some(inner) = within("BTreeMap<String,") {
        return format!("object of {}", kind(inner));
    }
    match rust.as_str() {
        "String" => "text".to_owned(),
        "bool" => "true or false".to_owned(),
        "i32" | "i64" => "whole number".to_owned(),
        "f64" => "number".to_owned(),
        "InitialPosition" => "`Latest` or `Earliest`".to_owned(),
        other => format!("[{other}](#{})", other.to_lowercase()),
    }
}

fn section(page: &mut String, description: &Description) {
    let Description { name, about, fields } = description;
    writeln!(page, "\n## {name}\n\n{}\n", text(about)).unwrap();
    let is_record = fields.iter().any(|(_, rust, _)| !rust.is_empty());
    let head = if is_record { "| Field | Type | Meaning |\n|---|---|---|" } else { "| Value | Meaning |\n|---|---|" };
    writeln!(page, "{head}").unwrap();
    for (json, rust, meaning) in *fields {
        let kind = if is_record { format!(" {} |", kind(rust)) } else { String::new() };
        writeln!(page, "| `{json}` |{kind} {} |", text(meaning)).unwrap();
    }
}

#[test]
fn the_reference_page_says_what_the_comments_say() {
    let mut page = INTRODUCTION.to_owned();
    for description in [
        FunctionConfig::DESCRIPTION,
        SourceConfig::DESCRIPTION,
        SinkConfig::DESCRIPTION,
        ConsumerConfig::DESCRIPTION,
        ProducerConfig::DESCRIPTION,
        BatchingConfig::DESCRIPTION,
        CryptoConfig::DESCRIPTION,
        PayloadProcessorConfig::DESCRIPTION,
        WindowConfig::DESCRIPTION,
        BatchSourceConfig::DESCRIPTION,
        Resources::DESCRIPTION,
        Runtime::DESCRIPTION,
        Guarantees::DESCRIPTION,
        WindowGuarantees::DESCRIPTION,
        Compression::DESCRIPTION,
        ProducerCryptoFailure::DESCRIPTION,
        ConsumerCryptoFailure::DESCRIPTION,
    ] {
        section(&mut page, &description);
    }
    page.push_str(RULES);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/function-config.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(file, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), page, "UPDATE_EXPECT=1 writes it anew");
}
