//! Another master key, while everything runs.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wellspring_server::{AccessError, read_keyring, replace_keyring};
use wellspring_vault::{Handover, Keyring, MasterKey, RotateError};
use zeroize::Zeroizing;

use crate::master_key::{self, Keeper};
use crate::wiring::Opened;

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(crate) enum Step {
    /// Wrap the keyring with a new key.
    Begin {
        /// The key; made up where the folder keeps it.
        new_key: Option<NewKey>,
    },
    /// Let the old key go.
    Finish,
    /// Let the new key go.
    Cancel,
}

/// A master key on its way to the server; it does not print.
#[derive(Serialize, Deserialize)]
pub(crate) struct NewKey(Zeroizing<String>);

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewKey")
    }
}

/// Reads the command's options.
pub(crate) fn step(new_key_file: Option<&Path>, finish: bool, cancel: bool) -> Result<Step> {
    if finish {
        return Ok(Step::Finish);
    }
    if cancel {
        return Ok(Step::Cancel);
    }
    let new_key = new_key_file.map(|path| {
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        let key: MasterKey = text
            .parse()
            .with_context(|| format!("in {}", path.display()))?;
        anyhow::Ok(NewKey(key.to_hex()))
    });
    Ok(Step::Begin {
        new_key: new_key.transpose()?,
    })
}

/// Does it, for everything that shares the vault.
pub(crate) async fn perform(opened: &Opened, step: Step) -> Result<Value> {
    let _one_at_a_time = opened.rotating.lock().await;
    catch_up(opened).await?;
    let old = opened.vault.keyring();
    let (done, message) = match step {
        Step::Begin { new_key } => {
            let new_key = new_key.map(|key| key.0.parse::<MasterKey>()).transpose()?;
            match &opened.keeper {
                Keeper::Folder(folder) => {
                    let new = new_key.unwrap_or_else(MasterKey::generate);
                    at_once(opened, folder, &old, new).await?;
                    let previous = master_key::previous(folder);
                    let message = format!(
                        "the master key in {} is a new one; backups from before need the earlier one, now {}: \
                         keep that elsewhere, then remove it",
                        folder.join("master.key").display(),
                        previous.display()
                    );
                    ("rotated", message)
                }
                Keeper::Operator => {
                    let Some(new) = new_key else {
                        bail!(
                            "the master key is given by WELLSPRING_MASTER_KEY: make a new one with \
                             `openssl rand -hex 32` and name its file with --new-key-file"
                        );
                    };
                    let now = opened.clock.now().as_millis();
                    let ring = opened.vault.rotate_master(&new, Handover::InSteps, now)?;
                    replace(opened, &old, &ring).await?;
                    let message = "both master keys open the database now; restart every node with the new one, \
                         one after the other, then run `wellspring key rotate-master --finish` with it";
                    ("begun", message.to_owned())
                }
            }
        }
        Step::Finish => {
            let ring = opened.vault.finish_rotation();
            let ring = ring.map_err(|error| with_key(error, "new"))?;
            replace(opened, &old, &ring).await?;
            let message =
                "the old master key opens the database no longer, only copies from before";
            ("finished", message.to_owned())
        }
        Step::Cancel => {
            let ring = opened.vault.cancel_rotation();
            let ring = ring.map_err(|error| with_key(error, "old"))?;
            replace(opened, &old, &ring).await?;
            let message = "the master key stays the old one";
            ("cancelled", message.to_owned())
        }
    };
    Ok(json!({"rotation": done, "message": message}))
}

/// The new key is kept before the database needs it, and takes its place after.
async fn at_once(opened: &Opened, folder: &Path, old: &Keyring, new: MasterKey) -> Result<()> {
    let previous = master_key::previous(folder);
    if previous.exists() {
        bail!(
            "{} is still there: keep it elsewhere for backups from its time, then remove it",
            previous.display()
        );
    }
    let now = opened.clock.now().as_millis();
    let ring = opened.vault.rotate_master(&new, Handover::AtOnce, now)?;
    master_key::save_next(folder, &new)?;
    let replaced = replace_keyring(opened.backend.as_ref(), old, &ring).await;
    if !replaced.context("whether the master key was replaced is found at the next start")? {
        master_key::settle(folder, &opened.vault.fingerprint())?;
        bail!(MEANWHILE);
    }
    let fingerprint = new.fingerprint();
    opened.vault.install_with(new, &ring)?;
    master_key::settle(folder, &fingerprint)
}

fn with_key(error: RotateError, which: &str) -> anyhow::Error {
    match error {
        RotateError::LocksOut => {
            anyhow::anyhow!(
                "{error}: do it with the {which} one, with which everything runs by then"
            )
        }
        RotateError::SameKey | RotateError::UnderWay | RotateError::NotUnderWay => error.into(),
    }
}

async fn replace(opened: &Opened, old: &Keyring, ring: &Keyring) -> Result<()> {
    if old != ring && !replace_keyring(opened.backend.as_ref(), old, ring).await? {
        bail!(MEANWHILE);
    }
    Ok(opened.vault.install(ring)?)
}

/// Takes over what another process, or an attempt with an unknown outcome, has done to the ring.
async fn catch_up(opened: &Opened) -> Result<()> {
    let ring = read_keyring(opened.backend.as_ref()).await?;
    let ring = ring.context("the database has lost its keyring")?;
    match &opened.keeper {
        Keeper::Operator => Ok(opened.vault.install(&ring)?),
        Keeper::Folder(folder) => {
            let (_, keys) = master_key::read(folder, None, false)?;
            let fitting = keys.into_iter().find(|key| ring.opens_with(key));
            let key = fitting.ok_or(AccessError::MasterKey)?;
            opened.vault.install_with(key, &ring)?;
            master_key::settle(folder, &opened.vault.fingerprint())
        }
    }
}

const MEANWHILE: &str = "the keyring was changed meanwhile; try again";
