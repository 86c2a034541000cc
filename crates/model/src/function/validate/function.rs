//! What must hold for a function. Source: `FunctionConfigUtils.doCommonChecks`, `doJavaChecks`, `doPythonChecks`,
//! `doGolangChecks`, `convert`.

use super::{Checks, Host};
use crate::function::{
    config::{FunctionConfig, Guarantees, Runtime},
    details::WINDOW_CONFIG_KEY,
    inputs::{self, Inputs},
    problem::Problems,
};

const LOG_LEVELS: [&str; 4] = ["INFO", "DEBUG", "WARN", "ERROR"];

/// Everything that is wrong with `config`, whose defaults are filled in.
pub(crate) fn check(config: &FunctionConfig, host: Host) -> Result<(), Problems> {
    let mut checks = Checks::new("Function", host);
    let (inputs, unread) = inputs::of_function(config);
    checks.identity(&config.tenant, &config.namespace, &config.name);
    checks.fqfn(config);
    checks.code(config);
    checks.runtime(config);
    checks.inputs(&inputs, "No input topic(s) specified for the function");
    for problem in unread {
        checks.problems.add(problem.field, problem.message);
    }
    checks.outputs(config, &inputs);
    checks.log(config.log_topic.as_deref(), config.log_level.as_deref(), &LOG_LEVELS);
    checks.parallelism(config.parallelism);
    checks.words("runtimeFlags", config.runtime_flags.as_deref());
    if let Some(window) = &config.window_config {
        checks.window(config, window);
    } else {
        checks.auto_ack(config.auto_ack, config.processing_guarantees);
    }
    checks.resources(config.resources.as_ref());
    checks.timeout(config);
    checks.retries(config.max_message_retries, config.dead_letter_topic.as_deref(), config.processing_guarantees);
    checks.ordering(config.retain_ordering, config.retain_key_ordering, config.processing_guarantees);
    for (topic, spec) in &inputs {
        checks.consumer(topic, spec, "Only one of schemaType or serdeClassName should be set in inputSpec");
    }
    checks.producer(config.producer_config.as_ref(), config.batch_builder.as_deref());
    checks.reserved("userConfig", config.user_config.as_ref(), &[WINDOW_CONFIG_KEY]);
    let pending = config.max_pending_async_requests.is_some_and(|pending| pending <= 0);
    checks.refuse_if(pending, "maxPendingAsyncRequests", "maxPendingAsyncRequests must be a positive number");
    checks.done()
}

impl Checks {
    fn fqfn(&mut self, config: &FunctionConfig) {
        let Some(fqfn) = &config.fqfn else { return };
        let parts: Vec<&str> = fqfn.split('/').collect();
        let [tenant, namespace, name] = parts[..] else {
            let message = "Fully qualified function names (FQFNs) must be of the form tenant/namespace/name";
            self.problems.add("fqfn", message);
            return;
        };
        let given = [&config.tenant, &config.namespace, &config.name].map(Option::as_deref);
        self.refuse_if(
            given != [Some(tenant), Some(namespace), Some(name)],
            "fqfn",
            "You must specify either a Fully Qualified Function Name (FQFN) or tenant, namespace, and function name",
        );
    }

    /// One place where the code lies, and one that fits the runtime.
    fn code(&mut self, config: &FunctionConfig) {
        let given: Vec<(&str, &String, Runtime)> = [
            ("jar", &config.jar, Runtime::Java),
            ("py", &config.py, Runtime::Python),
            ("go", &config.go, Runtime::Go),
            ("wasm", &config.wasm, Runtime::Wasm),
            ("exec", &config.exec, Runtime::Process),
        ]
        .into_iter()
        .filter_map(|(field, code, runtime)| Some((field, code.as_ref()?, runtime)))
        .collect();
        if let [(first, ..), .., (last, ..)] = given[..] {
            self.problems
                .add(last, format!("Only one of jar, py, go, wasm and exec can be given, found {first} and {last}"));
        }
        for (field, code, _) in &given {
            let escapes = code.starts_with("builtin") && code.contains("..");
            self.refuse_if(escapes, field, format!("Invalid filename: {code}"));
        }
        self.words("exec", config.exec.as_deref());
        let blank = config.exec.as_deref().is_some_and(|exec| exec.trim().is_empty());
        self.refuse_if(blank, "exec", "exec names no program");
        if let ([(field, _, fits)], Some(runtime)) = (&given[..], config.runtime) {
            let message =
                format!("{field} is the code of a {} function, but runtime is {}", fits.name(), runtime.name());
            self.refuse_if(*fits != runtime, "runtime", message);
        }
    }

    fn runtime(&mut self, config: &FunctionConfig) {
        let once = config.processing_guarantees == Some(Guarantees::EffectivelyOnce);
        let windows = config.window_config.is_some();
        let retries = config.max_message_retries.is_some_and(|retries| retries >= 0);
        match config.runtime {
            Some(Runtime::Java) => {
                // A built-in function and a NAR bring the name of their class; so may what comes beside the configuration.
                let brings =
                    config.jar.as_ref().is_none_or(|jar| jar.starts_with("builtin://") || jar.ends_with(".nar"))
                        || config.function_type.is_some();
                let nameless = config.class_name.as_deref().unwrap_or_default().trim().is_empty();
                self.refuse_if(nameless && !brings, "className", "Function class name is not provided.");
            }
            Some(Runtime::Python) => {
                self.refuse_if(config.class_name.is_none(), "className", "Function classname cannot be null");
                // Pulsar's Python instance cannot do these; ours can.
                let theirs = self.host == Host::Pulsar;
                self.refuse_if(
                    once && theirs,
                    "processingGuarantees",
                    "Effectively-once processing guarantees not yet supported in Python",
                );
                self.refuse_if(windows && theirs, "windowConfig", "There is currently no support windowing in python");
                self.refuse_if(retries && theirs, "maxMessageRetries", "Message retries not yet supported in python");
            }
            // A Go binary brings the whole instance with it, so it is the same everywhere.
            Some(Runtime::Go) => {
                self.refuse_if(
                    once,
                    "processingGuarantees",
                    "Effectively-once processing guarantees not yet supported in Go function",
                );
                self.refuse_if(windows, "windowConfig", "Windowing is not supported in Go function yet");
                self.refuse_if(retries, "maxMessageRetries", "Message retries not yet supported in Go function");
                self.refuse_if(
                    config.retain_key_ordering == Some(true),
                    "retainKeyOrdering",
                    "Retain Key Orderering not yet supported in Go function",
                );
            }
            Some(Runtime::Wasm | Runtime::Process) if self.host == Host::Geminga => {}
            Some(Runtime::Wasm | Runtime::Process) | None => {
                self.problems.add("runtime", "Function language runtime is either not set or cannot be determined")
            }
        }
    }

    fn outputs(&mut self, config: &FunctionConfig, inputs: &Inputs) {
        let (output, dead_letters) = (config.output.as_deref(), config.dead_letter_topic.as_deref());
        self.topic("output", output, |topic| format!("Output topic {topic} is invalid"));
        self.topic("deadLetterTopic", dead_letters, |topic| format!("DeadLetter topic {topic} is invalid"));
        let late = config.window_config.as_ref().and_then(|window| window.late_data_topic.as_deref());
        self.no_loop(inputs, "output", "Output", output);
        self.no_loop(inputs, "deadLetterTopic", "DeadLetter", dead_letters);
        self.no_loop(inputs, "logTopic", "LogTopic", config.log_topic.as_deref());
        self.no_loop(inputs, "windowConfig.lateDataTopic", "Late data", late);
        self.refuse_if(
            config.output_serde_class_name.is_some() && config.output_schema_type.is_some(),
            "outputSchemaType",
            "Only one of outputSchemaType or outputSerdeClassName should be set",
        );
        let schema = output.and_then(|output| config.custom_schema_outputs.as_ref()?.get(output));
        if let (Some(json), Some(output)) = (schema.filter(|json| !json.is_empty()), output) {
            let wrong = format!("Incorrect custom schema outputs,Topic {output}");
            let field = format!("customSchemaOutputs.{output}");
            inputs::consumer_in_text(json, &field, &wrong, &mut self.problems);
        }
    }

    fn timeout(&mut self, config: &FunctionConfig) {
        let Some(timeout) = config.timeout_ms else { return };
        self.refuse_if(timeout <= 0, "timeoutMs", "Function timeout must be a positive number");
        self.refuse_if(
            config.processing_guarantees.is_some_and(|guarantees| guarantees != Guarantees::AtLeastOnce),
            "timeoutMs",
            "Message timeout can only be specified with processing guarantee is ATLEAST_ONCE",
        );
    }
}
