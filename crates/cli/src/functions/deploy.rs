//! `create` and `update`.

use super::{
    kind::Kind,
    scaling, status,
    wish::{Code, Wish},
};
use crate::{form::Form, http::Admin, output};
use anyhow::Context;
use autoscale::Spec;
use serde_json::json;

impl Wish {
    /// Creates it.
    ///
    /// # Errors
    /// The worker refuses it.
    pub(super) async fn create(self, admin: &Admin, kind: Kind) -> anyhow::Result<()> {
        let call = self.name.at(admin, kind);
        let rules = if self.bounds.is_given() { Some(self.bounds.over(None)?) } else { None };
        call.form(self.form(kind, rules).await?).post().await?;
        output::line(format!("created {}", self.name))?;
        self.tell_of_disk()?;
        if let Some(guarantee) = status::guarantee(admin, kind, &self.name).await {
            output::line(guarantee)?;
        }
        Ok(())
    }

    /// Changes it.
    ///
    /// # Errors
    /// The worker refuses it.
    pub(super) async fn update(self, admin: &Admin, kind: Kind, renews_auth: bool) -> anyhow::Result<()> {
        let call = self.name.at(admin, kind);
        let rules = match self.bounds.is_given() {
            true => Some(self.bounds.over(scaling::rules(self.name.at(admin, kind)).await?)?),
            false => None,
        };
        let mut form = self.form(kind, rules).await?;
        if renews_auth {
            form = form.json("updateOptions", &json!({ "updateAuthData": true }));
        }
        call.form(form).put().await?;
        output::line(format!("updated {}", self.name))?;
        self.tell_of_disk()
    }

    /// Whoever asks for a bound had better know that there is none.
    fn tell_of_disk(&self) -> anyhow::Result<()> {
        if self.config["resources"]["disk"].is_null() {
            return Ok(());
        }
        output::line("resources.disk is kept and not enforced: an instance may write what the disk takes")
    }

    async fn form(&self, kind: Kind, rules: Option<Spec>) -> anyhow::Result<Form> {
        // The configuration goes first: a worker that looks at it can refuse it before a large file comes.
        let mut form = Form::new().json(kind.part(), &self.config);
        if let Some(rules) = rules {
            form = form.json("scaling", &serde_json::to_value(rules)?);
        }
        Ok(match &self.code {
            Code::Stays => form,
            Code::Url(url) => form.text("url", url.clone()),
            Code::File(path) => {
                form.file("data", path).await.with_context(|| format!("cannot read {}", path.display()))?
            }
        })
    }
}
