//! `wellspring key`: API keys and the master key.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use wellspring_core::ApiKeyId;

use crate::admin::{self, Request};
use crate::config::Config;
use crate::output::Output;
use crate::rotation;
use crate::wiring::DEFAULT_TENANT;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key and print it, this once; makes the tenant if there is none of the name
    Create {
        /// Whose key
        #[arg(long, value_name = "NAME", default_value = DEFAULT_TENANT)]
        tenant: String,
    },
    /// List keys
    List {
        /// Only this tenant's
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
    /// Wrap everything that is encrypted with another master key, while running
    ///
    /// A master key in the data folder is replaced at once; the earlier one is kept beside it for
    /// earlier backups. One that `WELLSPRING_MASTER_KEY` gives is replaced in steps: this command
    /// with `--new-key-file`, a restart of every node with the new key, and `--finish`.
    RotateMaster {
        /// The new key: 32 bytes as 64 hexadecimal digits or as base64
        #[arg(long, value_name = "FILE", conflicts_with_all = ["finish", "cancel"])]
        new_key_file: Option<PathBuf>,
        /// Every node has the new key: let the old one open nothing any more
        #[arg(long, conflicts_with = "cancel")]
        finish: bool,
        /// Stay with the old key
        #[arg(long)]
        cancel: bool,
    },
    /// Let a key work no longer
    Revoke {
        /// The key's id, as `list` shows it
        id: ApiKeyId,
        /// Accepted for symmetry; the id alone names the key
        #[arg(long, value_name = "NAME", hide = true)]
        tenant: Option<String>,
    },
}

pub(crate) async fn run(config: &Config, key: Key, output: Output) -> Result<()> {
    match key {
        Key::Create { tenant } => {
            let reply = admin::run(config, Request::KeyCreate { tenant }).await?;
            output.print(&reply, || {
                reply["key"].as_str().unwrap_or_default().to_owned()
            });
        }
        Key::List { tenant } => {
            let reply = admin::run(config, Request::KeyList { tenant }).await?;
            output.print(&reply, || {
                let mut lines = vec![format!(
                    "{:<36}  {:<20}  {:<24}  revoked",
                    "id", "tenant", "created"
                )];
                for key in reply["keys"].as_array().into_iter().flatten() {
                    let text = |name: &str| key[name].as_str().unwrap_or("").to_owned();
                    let (id, tenant, created) = (text("id"), text("tenant"), text("created_at"));
                    let line = format!(
                        "{id:<36}  {tenant:<20}  {created:<24}  {}",
                        text("revoked_at")
                    );
                    lines.push(line.trim_end().to_owned());
                }
                lines.join("\n")
            });
        }
        Key::RotateMaster {
            new_key_file,
            finish,
            cancel,
        } => {
            let step = rotation::step(new_key_file.as_deref(), finish, cancel)?;
            let reply = admin::run(config, Request::RotateMaster(step)).await?;
            output.print(&reply, || {
                reply["message"].as_str().unwrap_or_default().to_owned()
            });
        }
        Key::Revoke { id, .. } => {
            let reply = admin::run(config, Request::KeyRevoke { id }).await?;
            output.print(&reply, || format!("{id} works no longer"));
        }
    }
    Ok(())
}
