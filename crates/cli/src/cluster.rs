//! `geminga tenants` and `geminga brokers`.

use crate::{
    http::{Admin, path},
    show,
};
use clap::Subcommand;

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
pub enum Tenants {
    /// List tenants
    List {
        #[command(flatten)]
        admin: Admin,
    },
    /// Show a tenant
    Get {
        tenant: String,
        #[command(flatten)]
        admin: Admin,
    },
    /// Create a tenant
    Create {
        tenant: String,
        #[command(flatten)]
        admin: Admin,
    },
    /// Delete a tenant
    Delete {
        tenant: String,
        /// With its namespaces and their topics
        #[arg(short, long)]
        force: bool,
        #[command(flatten)]
        admin: Admin,
    },
}

/// What can be asked of the broker.
#[derive(Debug, Subcommand)]
pub enum Brokers {
    /// List brokers
    List {
        #[command(flatten)]
        admin: Admin,
    },
    /// Say whether messages can be stored; fails when they cannot
    Health {
        #[command(flatten)]
        admin: Admin,
    },
    /// Show the version
    Version {
        #[command(flatten)]
        admin: Admin,
    },
}

pub(crate) async fn tenants(command: Tenants) -> anyhow::Result<()> {
    match command {
        Tenants::List { admin } => show::list(&admin, &admin.get("/tenants").await?),
        Tenants::Get { tenant, admin } => show::value(&admin, &admin.get(&path(&["tenants", &tenant])).await?),
        Tenants::Create { tenant, admin } => {
            admin.put(&path(&["tenants", &tenant]), None).await?;
            show::done(&admin, &format!("created {tenant}"));
        }
        Tenants::Delete { tenant, force, admin } => {
            admin.delete(&format!("{}?force={force}", path(&["tenants", &tenant]))).await?;
            show::done(&admin, &format!("deleted {tenant}"));
        }
    }
    Ok(())
}

pub(crate) async fn brokers(command: Brokers) -> anyhow::Result<()> {
    match command {
        Brokers::List { admin } => show::list(&admin, &admin.get("/brokers").await?),
        Brokers::Health { admin } => show::value(&admin, &admin.get("/brokers/health").await?),
        Brokers::Version { admin } => show::value(&admin, &admin.get("/brokers/version").await?),
    }
    Ok(())
}
