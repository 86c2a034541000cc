//! `geminga mesh apply`: makes the server run what a manifest says.

use super::{
    code::Code,
    files::{self, Files, Paths},
    progress, resource,
};
use crate::{http::Admin, output};
use admin_api::mesh::{File, Plan, Request, Status};
use std::{collections::BTreeMap, time::Duration};

/// Run what a manifest says: make what is not there, change what differs, delete what is in it no more
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    geminga mesh apply app.yaml --wait\n  \
    geminga mesh apply app.yaml --wait --rollback --timeout 2m\n  \
    geminga mesh apply functions.yaml secrets.yaml --name staging/shop\n  \
    kustomize build . | geminga mesh apply -f -\n  \
    geminga mesh apply app.yaml --dry-run\n\n\
    Code that the manifest names by a path is looked for beside the manifest and sent along; function://, http:// and\n\
    https:// are fetched by the server. What the manifest does not change is not touched. The server goes on with an\n\
    apply by itself, also after a restart; apply again to go on with one that failed.\n\
    With --wait it exits with 1 when something does not come up.")]
pub(crate) struct Args {
    #[command(flatten)]
    paths: Paths,
    /// What the mesh is called [default: what the manifest calls itself, else the file]
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    name: Option<String>,
    /// Wait until all of it runs, and tell how far it is
    #[arg(short, long)]
    wait: bool,
    /// How long instances may take to come up; then the apply has failed
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "2m")]
    timeout: Duration,
    /// When it fails, make all as it was before
    #[arg(long)]
    rollback: bool,
    /// Take over functions of these names that no mesh made
    #[arg(long, conflicts_with = "rollback")]
    adopt: bool,
    /// Only if the mesh is at this version; 0: only if it is not there
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    asked: resource::Asked,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let files = Files::read(&args.paths.all())?;
    let checked = files.check();
    checked.warn(&files);
    let manifest = checked.or_refuse(&files)?;
    let name = match &args.name {
        Some(name) => resource::Name::parse(name)?,
        None => resource::Name::parse(&files::name_or_file(&manifest, &files)?)?,
    };
    let code = Code::find(&files, &manifest)?;
    let admin = args.asked.admin()?;
    let request = Request {
        version: args.if_version,
        adopt: args.adopt,
        rollback: args.rollback,
        timeout_ms: Some(u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX)),
        ..request(&files, code.urls())
    };
    if args.dry_run {
        let plan = plan(&admin, &name, request).await?;
        return if args.asked.is_json() { output::json(&plan) } else { output::print(&progress::plan(&plan)) };
    }
    // What the server would refuse, it refuses before anything is sent.
    plan(&admin, &name, request.clone()).await?;
    code.send(&admin).await?;
    let before = version(&admin, &name).await?;
    let status: Status = name.at(&admin).json(&request).put_for().await?;
    let is_new = status.version != before;
    if !args.wait {
        return if args.asked.is_json() {
            output::json(&status)
        } else {
            output::print(&progress::begun(&name, &status, is_new))
        };
    }
    let plain = !args.asked.is_json();
    // The steps of the apply before this one are no news.
    let status = match is_new || status.state.is_moving() {
        true => progress::follow(&admin, &name, status, plain).await?,
        false => Some(status),
    };
    progress::ended(&name, status, is_new, plain)
}

/// What is sent of files, with code at these URLs.
pub(crate) fn request(files: &Files, code: BTreeMap<String, String>) -> Request {
    let parts = files.names.iter().zip(&files.texts);
    let files = parts.map(|(name, text)| File { name: name.clone(), text: text.clone() }).collect();
    Request { files, code, ..Request::default() }
}

/// What an apply would do.
pub(crate) async fn plan(admin: &Admin, name: &resource::Name, request: Request) -> anyhow::Result<Plan> {
    Ok(name.at(admin).at(["plan"]).json(&request).post_for().await?)
}

async fn version(admin: &Admin, name: &resource::Name) -> anyhow::Result<u64> {
    match name.at(admin).at(["status"]).query("nodes", false).get::<Status>().await {
        Ok(status) => Ok(status.version),
        Err(error) if error.is_not_found() => Ok(0),
        Err(error) => Err(error.into()),
    }
}
