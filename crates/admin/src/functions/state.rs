//! A function's state from outside, and a message to it by hand.

use axum::{
    Json,
    body::Bytes,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use model::function::FunctionState;

use super::{Hosted, access::Insider, components::named, form::Form, refused};
use crate::{
    at::At,
    reply::{Done, Failure, Reply},
};

pub(super) async fn get(_: Insider, State(hosted): State<Hosted>, at: At) -> Reply<Json<FunctionState>> {
    let key = at.text("key");
    let row = hosted.worker.state(&named(&at)?, key).await.map_err(refused)?;
    Ok(Json(shown(key, &row.value, row.version)))
}

/// A value in Pulsar's ways to say it: what has eight bytes is a number, and what is text is text. Nothing tells a
/// counter from eight bytes of text, so what nobody would write as text is shown as a number alone.
fn shown(key: &str, value: &[u8], version: u64) -> FunctionState {
    let number = value.try_into().map(i64::from_be_bytes).ok();
    let text = std::str::from_utf8(value).ok().filter(|text| number.is_none() || !text.contains(char::is_control));
    FunctionState {
        key: Some(key.to_owned()),
        string_value: text.map(str::to_owned),
        byte_value: (text.is_none() && number.is_none()).then(|| BASE64_STANDARD.encode(value)),
        number_value: number,
        version: Some(i64::try_from(version).unwrap_or(i64::MAX)),
    }
}

pub(super) async fn put(State(hosted): State<Hosted>, at: At, request: Request) -> Reply {
    let mut form = Form::read(request, hosted.worker.packages(), None).await?;
    let state = form.text("state")?.ok_or_else(|| Failure::bad("the part \"state\" is not provided"))?;
    let state: FunctionState = serde_json::from_str(&state).map_err(|error| Failure::bad(format!("state: {error}")))?;
    let key = at.text("key");
    if state.key.as_deref() != Some(key) {
        return Err(Failure::bad("Path key doesn't match key in json"));
    }
    // Source of the order: `ComponentImpl.putFunctionState`.
    let bytes = state.byte_value.filter(|bytes| !bytes.is_empty());
    let value = match (bytes, state.string_value, state.number_value) {
        (Some(bytes), ..) => {
            BASE64_STANDARD.decode(bytes).map_err(|error| Failure::bad(format!("byteValue: {error}")))?
        }
        (None, Some(text), _) => text.into_bytes(),
        (None, None, Some(number)) => number.to_be_bytes().to_vec(),
        (None, None, None) => return Err(Failure::bad("Invalid state value")),
    };
    hosted.worker.put_state(&named(&at)?, key, value.into()).await.map_err(refused)?;
    Ok(Done)
}

pub(super) async fn trigger(State(hosted): State<Hosted>, at: At, request: Request) -> Reply<Response> {
    let mut form = Form::read(request, hosted.worker.packages(), None).await?;
    let topic = form.text("topic")?;
    let data = form.bytes("dataStream").or_else(|| form.bytes("data"));
    let data = data.ok_or_else(|| Failure::bad("Trigger Data is not provided"))?;
    let answer = hosted.worker.trigger(&named(&at)?, topic.as_deref(), Bytes::from(data)).await.map_err(refused)?;
    Ok(match answer {
        // Pulsar calls it JSON, and sends it as it is.
        Some(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_as_what_it_probably_is() {
        let say = |value: &[u8]| {
            let state = shown("k", value, 3);
            (state.string_value, state.byte_value, state.number_value)
        };
        assert_eq!(say(b"hello"), (Some("hello".to_owned()), None, None));
        assert_eq!(say(&3i64.to_be_bytes()), (None, None, Some(3)));
        assert_eq!(say(&(-1i64).to_be_bytes()), (None, None, Some(-1)));
        assert_eq!(say(b"8 bytes!"), (Some("8 bytes!".to_owned()), None, Some(0x3820_6279_7465_7321)));
        assert_eq!(say(&[0xff, 0]), (None, Some("/wA=".to_owned()), None));
        assert_eq!(shown("k", b"", 3).version, Some(3));
    }
}
