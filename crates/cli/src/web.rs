//! Which web service the administration commands talk to, and how they print.

use crate::{http::Admin, produce::Output};

/// How to reach the broker's web service.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Broker and output")]
pub(crate) struct Reach {
    /// Where the broker's web service is
    #[arg(long, global = true, value_name = "URL", env = "GEMINGA_ADMIN_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) admin_url: String,
    /// A token to authenticate with
    #[arg(long, global = true, value_name = "TOKEN", env = "GEMINGA_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

impl Reach {
    /// A client for it; connects when it is used.
    ///
    /// # Errors
    /// The URL is none.
    pub(crate) fn admin(&self) -> anyhow::Result<Admin> {
        Ok(Admin::new(&self.admin_url, self.token.clone())?)
    }
}

/// How to reach it, and how all commands of a group print.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Broker and output")]
pub(crate) struct Web {
    #[command(flatten)]
    reach: Reach,
    /// How answers are printed; JSON is what the broker answered
    #[arg(short, long, global = true, value_enum, default_value = "pretty")]
    pub(crate) output: Output,
}

impl Web {
    /// A client for it; connects when it is used.
    ///
    /// # Errors
    /// The URL is none.
    pub(crate) fn admin(&self) -> anyhow::Result<Admin> {
        self.reach.admin()
    }
}

/// How one command prints, in a group where another's `--output` is a topic.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Broker and output")]
pub(crate) struct Printed {
    /// How the answer is printed; JSON is what the broker answered
    #[arg(short, long, value_enum, default_value = "pretty")]
    pub(crate) output: Output,
}

impl Printed {
    /// Whether for programs.
    #[must_use]
    pub(crate) fn is_json(self) -> bool {
        self.output == Output::Json
    }
}
