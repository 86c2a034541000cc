//! What the command line says of the function.

use functions::{
    Code, FunctionSpec, Language,
    worker::{Config, Foreign},
};
use model::function::{AnyConfig, from_details};

use crate::{
    args::{Args, Script},
    error::{Error, Result},
};

impl Args {
    /// The function, resolved: `--function_details` with the file and the language of the command line.
    ///
    /// # Errors
    /// [`Error::Details`]: they are none, or make no sense.
    pub fn function(&self) -> Result<FunctionSpec> {
        let config =
            match from_details(&self.function_details).map_err(|problems| Error::Details(problems.to_string()))? {
                AnyConfig::Function(config) => Config::Function(config),
                AnyConfig::Source(config) => Config::Source(config),
                AnyConfig::Sink(config) => Config::Sink(config),
            };
        let (language, code) = self.code();
        let foreign = Foreign {
            config,
            language,
            code,
            id: self.function_id.clone(),
            version: self.function_version,
            service_url: self.pulsar_serviceurl.clone(),
            admin_url: self.web_serviceurl.clone(),
            cluster: self.cluster_name.clone(),
        };
        foreign.resolve().map_err(|error| Error::Details(error.to_string()))
    }

    fn code(&self) -> (Language, Code) {
        let file = self.function_file.clone();
        let text = || file.to_string_lossy().into_owned();
        match self.language {
            Script::Python => (Language::Python, Code::File(file)),
            Script::Wasm => (Language::Wasm, Code::File(file)),
            Script::Java => (Language::Java, Code::File(file)),
            Script::Executable => (Language::Process, Code::Command(vec![text()])),
            Script::Nodejs => (Language::Process, Code::Command(vec!["node".to_owned(), text()])),
        }
    }
}
