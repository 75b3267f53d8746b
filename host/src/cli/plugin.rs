//! `trommel plugin`: packages on their way from their author to a host.

mod inspect;
mod show;

use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use trommel::engine::EngineOptions;
use trommel::registry::bundled::DETECTORS;
use trommel::registry::{KeyError, Layout, Packed, PrivateKey, PublicKey, Shape, Trust};

use super::Exit;
use super::output::shown;

const EXAMPLES: &str = "\
Examples:
  trommel plugin export spam-text my-plugin         writes the bundled one, to be changed
  trommel plugin keygen release                     writes release.key and release.pub
  trommel plugin pack my-plugin                     writes my-plugin-0.1.0.tar
  trommel plugin sign --key release.key my-plugin-0.1.0.tar
  trommel plugin verify --trusted-key release.pub my-plugin-0.1.0.tar
  trommel plugin inspect my-plugin-0.1.0.tar";

/// What can be done with a plugin.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum PluginCommand {
    /// Show what a package holds, who signed it, and whether this host can load it.
    Inspect(inspect::InspectArguments),
    /// Pack a plugin folder into one file that can be signed and sent.
    Pack(PackArguments),
    /// Sign a packed package where it lies.
    Sign(SignArguments),
    /// Check that a packed package is whole, and signed by a trusted key.
    Verify(VerifyArguments),
    /// Make a key to sign with.
    Keygen(KeygenArguments),
    /// Write a bundled detector as a plugin folder, to begin one's own from.
    Export(ExportArguments),
}

/// Arguments of `trommel plugin export`.
#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// The bundled detector's name.
    #[arg(value_name = "NAME")]
    name: String,
    /// The folder to make.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Arguments of `trommel plugin pack`.
#[derive(Debug, Args)]
pub(super) struct PackArguments {
    /// The folder that holds plugin.toml.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where to write the package; NAME-VERSION.tar, or NAME-VERSION, in the working
    /// directory unless given.
    #[arg(long, short, value_name = "PKG")]
    output: Option<PathBuf>,
    /// One tar file, or a folder.
    #[arg(long, value_enum, default_value = "tar")]
    layout: LayoutShape,
}

/// How a package is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LayoutShape {
    /// One tar file.
    Tar,
    /// A folder.
    Folder,
}

/// Arguments of `trommel plugin sign`.
#[derive(Debug, Args)]
pub(super) struct SignArguments {
    /// The private key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The packed package.
    #[arg(value_name = "PKG")]
    package: PathBuf,
}

/// Arguments of `trommel plugin verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// A public key; one of those given must have signed the package.
    #[arg(long, visible_alias = "trusted", value_name = "FILE", required = true)]
    trusted_key: Vec<PathBuf>,
    /// The packed package.
    #[arg(value_name = "PKG")]
    package: PathBuf,
}

/// Arguments of `trommel plugin keygen`.
#[derive(Debug, Args)]
pub(super) struct KeygenArguments {
    /// Where to write the key: NAME.key and NAME.pub.
    #[arg(value_name = "NAME")]
    name: PathBuf,
}

pub(super) fn run(command: &PluginCommand) -> anyhow::Result<Exit> {
    match command {
        PluginCommand::Inspect(arguments) => inspect::run(arguments),
        PluginCommand::Pack(arguments) => pack(arguments),
        PluginCommand::Sign(arguments) => sign(arguments),
        PluginCommand::Verify(arguments) => verify(arguments),
        PluginCommand::Keygen(arguments) => keygen(arguments),
        PluginCommand::Export(arguments) => export(arguments),
    }
}

/// The public keys in some files.
pub(super) fn public_keys(files: &[PathBuf]) -> Result<Vec<PublicKey>, KeyError> {
    files.iter().map(|file| PublicKey::read(file)).collect()
}

fn export(arguments: &ExportArguments) -> anyhow::Result<Exit> {
    let (name, folder) = (&arguments.name, &arguments.folder);
    let Some((_, files)) = DETECTORS.iter().find(|(known, _)| known == name) else {
        let known: Vec<&str> = DETECTORS.iter().map(|(known, _)| *known).collect();
        bail!(
            "no detector `{}` is bundled; the bundled ones are {}",
            shown(name),
            known.join(", ")
        );
    };
    let shown = folder.display();
    std::fs::create_dir(folder).with_context(|| format!("cannot make the folder {shown}"))?;
    for (file, bytes) in *files {
        let path = folder.join(file);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let n_files = files.len();
    writeln!(stdout().lock(), "wrote {shown}, {n_files} files")?;
    Ok(Exit::Done)
}

fn pack(arguments: &PackArguments) -> anyhow::Result<Exit> {
    let options = EngineOptions::default();
    let packed = Packed::of(
        &arguments.folder,
        &options.max_limits,
        options.max_component_bytes,
    )?;
    let (shape, ending) = match arguments.layout {
        LayoutShape::Tar => (Shape::Tar, ".tar"),
        LayoutShape::Folder => (Shape::Folder, ""),
    };
    let default = || format!("{}-{}{ending}", packed.id, packed.version).into();
    let output = arguments.output.clone().unwrap_or_else(default);
    packed.write(&output, shape)?;
    writeln!(
        stdout(),
        "packed {} as {}\n{}",
        arguments.folder.display(),
        output.display(),
        packed.digest
    )?;
    Ok(Exit::Done)
}

/// A packed package, its manifest and signatures read.
fn open(package: &Path, keys: &[PublicKey]) -> anyhow::Result<Layout> {
    if !Layout::is_at(package) {
        bail!(
            "{}: is not packed; `trommel plugin pack` makes a package of a plugin folder",
            package.display()
        );
    }
    let options = EngineOptions::default();
    let max = &options.max_limits;
    Ok(Layout::open(
        package,
        keys,
        max,
        options.max_component_bytes,
    )?)
}

fn sign(arguments: &SignArguments) -> anyhow::Result<Exit> {
    let key = PrivateKey::read(&arguments.key)?;
    let layout = open(&arguments.package, &[key.public()])?;
    let is_new = layout.sign(&key)?;
    writeln!(
        stdout(),
        "{} {} with key {}\n{}",
        if is_new {
            "signed"
        } else {
            "was signed before:"
        },
        arguments.package.display(),
        key.public().id(),
        layout.digest()
    )?;
    Ok(Exit::Done)
}

fn verify(arguments: &VerifyArguments) -> anyhow::Result<Exit> {
    let trust = Trust::Keys(public_keys(&arguments.trusted_key)?);
    let layout = open(&arguments.package, trust.keys())?;
    layout.accept(&trust)?;
    layout.verify()?;
    let mut out = stdout();
    writeln!(out, "{} is whole", arguments.package.display())?;
    writeln!(out, "{}", layout.digest())?;
    for signature in layout.signatures().filter(|signature| signature.verified) {
        let files = arguments.trusted_key.iter().zip(trust.keys());
        for (file, _) in files.filter(|(_, key)| *key.id() == signature.key) {
            writeln!(out, "signed by {} ({})", signature.key, file.display())?;
        }
    }
    Ok(Exit::Done)
}

fn keygen(arguments: &KeygenArguments) -> anyhow::Result<Exit> {
    let name = arguments.name.to_string_lossy();
    let private = PathBuf::from(format!("{name}.key"));
    let public = PathBuf::from(format!("{name}.pub"));
    if public.symlink_metadata().is_ok() {
        bail!(
            "{}: is there already, and a key is never overwritten; give another name",
            public.display()
        );
    }
    let key = PrivateKey::generate().context("the system gives no randomness for a key")?;
    key.write(&private)?;
    key.public().write(&public)?;
    writeln!(
        stdout(),
        "wrote {}, which signs: keep it to yourself\nwrote {}, which verifies: give it to who loads your packages\nkey {}",
        shown(&private.display().to_string()),
        shown(&public.display().to_string()),
        key.public().id()
    )?;
    Ok(Exit::Done)
}
