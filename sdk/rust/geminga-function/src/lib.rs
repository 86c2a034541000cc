//! Write a function, a sink or a source for Geminga in Rust: one attribute on one function.
//!
//! ```ignore
//! use geminga_function::{Context, function};
//!
//! #[function]
//! fn exclaim(input: String, context: &Context) -> String {
//!     context.increment("seen", 1);
//!     format!("{input}!")
//! }
//! ```
//!
//! Build it as a `cdylib` with `cargo build --release --target wasm32-wasip2`; the `.wasm` file is the package.
//!
//! What a function takes, is an [`Input`]: bytes, text, numbers, [`Json`], or a whole [`Message`]; with `#[function(window)]` it takes a
//! `Vec` of them. What it returns, is an [`Output`]: the same, `()` or an `Option` where there may be none, [`Record`]s where key,
//! properties or topic matter, and a `Result` of these. An error, and a panic, fail the message; nothing it asked for happens then.
//! A sink is a function that returns nothing, or a `Result` of nothing.
//!
//! A source takes an [`Emitter`], and goes on until it has no more, or the emitter says that it is to end:
//!
//! ```ignore
//! use geminga_function::{Emitter, Error, Record, source};
//! use std::time::Duration;
//!
//! #[source]
//! fn tick(emitter: &mut Emitter) -> Result<(), Error> {
//!     for number in 0_u64.. {
//!         emitter.emit(&Record::new(number.to_string()))?;
//!         emitter.wait(Duration::from_secs(1))?;
//!     }
//!     Ok(())
//! }
//! ```

extern crate self as geminga_function;

mod context;
mod convert;
mod emitter;
mod instance;
mod record;

pub use context::Context;
pub use convert::{Error, Input, Json, Output};
pub use emitter::{Emitter, Ended};
pub use function::geminga::function::{
    context::Info,
    types::{Message, MessageId, NewMessage as Record},
};
pub use geminga_function_macros::{function, setup, source};
pub use instance::{Instance, Level};

use function::geminga::function::messages;

#[doc(hidden)]
pub mod function {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "function",
        pub_export_macro: true,
        export_macro_name: "export_function",
        runtime_path: "::geminga_function::__private::wit_bindgen::rt",
    });
}

#[doc(hidden)]
pub mod window_function {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "window-function",
        pub_export_macro: true,
        export_macro_name: "export_window_function",
        runtime_path: "::geminga_function::__private::wit_bindgen::rt",
        with: {
            "geminga:function/types@0.1.0": super::function::geminga::function::types,
            "geminga:function/messages@0.1.0": super::function::geminga::function::messages,
            "geminga:function/state@0.1.0": super::function::geminga::function::state,
            "geminga:function/context@0.1.0": super::function::geminga::function::context,
        },
    });
}

#[doc(hidden)]
pub mod source {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "source",
        pub_export_macro: true,
        export_macro_name: "export_source",
        runtime_path: "::geminga_function::__private::wit_bindgen::rt",
        with: {
            "geminga:function/types@0.1.0": super::function::geminga::function::types,
            "geminga:function/messages@0.1.0": super::function::geminga::function::messages,
            "geminga:function/state@0.1.0": super::function::geminga::function::state,
            "geminga:function/context@0.1.0": super::function::geminga::function::context,
        },
    });
}

#[doc(hidden)]
pub mod with_setup {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "with-setup",
        pub_export_macro: true,
        export_macro_name: "export_with_setup",
        runtime_path: "::geminga_function::__private::wit_bindgen::rt",
        with: {
            "geminga:function/types@0.1.0": super::function::geminga::function::types,
            "geminga:function/messages@0.1.0": super::function::geminga::function::messages,
            "geminga:function/state@0.1.0": super::function::geminga::function::state,
            "geminga:function/context@0.1.0": super::function::geminga::function::context,
        },
    });
}

/// What the attributes expand to.
#[doc(hidden)]
pub mod __private {
    use super::{Context, Emitter, Ended, Input, Output, messages};
    use std::fmt::Display;

    pub use super::{
        function::{self, export_function},
        source::{self, export_source},
        window_function::{self, export_window_function},
        with_setup::{self, export_with_setup},
    };
    pub use wit_bindgen;

    /// Serves messages until there are no more.
    pub fn run<I: Input, O: Output>(function: impl Fn(I, &Context) -> O) {
        while let Some(mut message) = messages::next() {
            let input = I::decode(&mut message);
            let context = Context::new(message.invocation, vec![message]);
            finish(input.and_then(|input| function(input, &context).encode()));
        }
    }

    /// Serves windows until there are no more.
    pub fn run_windows<I: Input, O: Output>(function: impl Fn(Vec<I>, &Context) -> O) {
        while let Some(mut window) = messages::next_window() {
            let inputs: Result<Vec<I>, String> = window.iter_mut().map(I::decode).collect();
            let invocation = window.first().map_or(0, |message| message.invocation);
            let context = Context::new(invocation, window);
            finish(inputs.and_then(|inputs| function(inputs, &context).encode()));
        }
    }

    /// Runs a source until it ends.
    pub fn run_source<R: Ended>(source: impl FnOnce(&mut Emitter) -> R) -> Result<(), String> {
        super::emitter::run(source)
    }

    fn finish(outcome: Result<Option<Vec<u8>>, String>) {
        match outcome {
            Ok(output) => messages::done(output.as_deref()),
            Err(error) => messages::fail(&error),
        }
    }

    pub fn setup<E: Display>(result: Result<(), E>) -> Result<(), String> {
        result.map_err(|error| error.to_string())
    }
}
